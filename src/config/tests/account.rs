//! `[trunk.auth]` and `[trunk.register]`: what is wrong with them is told, a password never.

use std::os::unix::fs::PermissionsExt;

use super::*;

const LINE_29: &str = "codecs = [\"PCMU\"]";

/// With this on line 29, in the trunk `left`.
#[track_caller]
fn expect_of(line: &str, expected: &[&str]) {
    expect(&[(LINE_29, line)], expected);
}

#[test]
fn an_account_has_one_password() {
    expect_of("auth = { username = \"u\", password = \"p\" }", &[]);
    expect_of(
        "auth = { username = \"u\" }",
        &["t.toml:29:8: error: trunk[left].auth: found no password; allowed: password or password_file"],
    );
    expect_of(
        "auth = { password = \"p\" }",
        &["t.toml:29:8: error: trunk[left].auth.username: found nothing; allowed: a string that is not empty"],
    );
    expect_of(
        "auth = { username = \"u\", password_file = \"/nonexistent/p\" }",
        &["t.toml:29:42: error: trunk[left].auth.password_file: found \"/nonexistent/p\": No such file or directory \
           (os error 2); allowed: a file that can be read, with a password in its first line"],
    );
}

#[test]
fn a_password_of_the_wrong_kind_is_not_shown() {
    for wrong in ["738255", "[\"738255\"]", "{ a = 738255 }"] {
        let text = SOUND.replace(LINE_29, &format!("auth = {{ username = \"u\", password = {wrong} }}"));
        let told = complaints(&text);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("trunk[left].auth.password: found something that is not shown"), "{told:?}");
    }
    // Nor is a good one that stands beside a mistake, or in what is written out.
    let text = SOUND.replace(LINE_29, "auth = { username = 7, password = \"738255\", relm = \"x\" }");
    let told = complaints(&text).join("\n");
    assert!(told.contains("relm") && !told.contains("738255"), "{told}");
}

#[test]
fn a_password_may_stand_in_a_file_of_its_own() {
    let room = std::env::temp_dir().join(format!("tandem-secret-{}", std::process::id()));
    std::fs::create_dir_all(&room).unwrap();
    let mode = |mode| std::fs::set_permissions(room.join("p"), std::fs::Permissions::from_mode(mode)).unwrap();
    let read = |line: &str| parse(&room.join("t.toml"), &SOUND.replace(LINE_29, line), &host());
    std::fs::write(room.join("p"), "zanzibar 7\nsecond line\n").unwrap();
    mode(0o600);
    // A relative path begins where the configuration lies.
    let reading = read("auth = { username = \"u\", password_file = \"p\" }");
    assert_eq!(reading.problems, []);
    let auth = reading.config.unwrap().trunks[0].auth.clone().unwrap();
    assert_eq!(auth.password, Some(Secret::new("zanzibar 7")));
    mode(0o644);
    let told = read("auth = { username = \"u\", password_file = \"p\" }").problems;
    assert_eq!((told.len(), told[0].severity), (1, Severity::Warning));
    assert_eq!(told[0].allowed, "a file of mode 0600 or 0400");
    mode(0o600);
    let told = read("auth = { username = \"u\", password = \"x\", password_file = \"p\" }").problems;
    assert_eq!((told.len(), told[0].found.as_str()), (1, "a password beside it"));
    std::fs::write(room.join("p"), "\n").unwrap();
    let told = read("auth = { username = \"u\", password_file = \"p\" }").problems;
    assert_eq!((told.len(), told[0].found.as_str()), (1, "an empty first line"));
    std::fs::remove_dir_all(&room).unwrap();
}

#[test]
fn a_realm_of_ones_own_is_not_the_other_sides() {
    expect_of(
        "auth = { username = \"u\", password = \"p\", realm = \"r\", challenge = \"r\" }",
        &[
            "t.toml:29:67: warning: trunk[left].auth.challenge: found \"r\", the realm of the trunk; allowed: a realm of \
           its own: what tandem answers could be shown back to it",
        ],
    );
}

#[test]
fn a_registration_can_be_sent() {
    expect_of("register = { registrar = \"sip:192.0.2.1\", aor = \"sip:1@example.com\" }", &[]);
    expect_of("register = { registrar = \"sip:example.com;transport=tcp\", aor = \"sip:1@example.com\" }", &[]);
    expect_of(
        "register = { registrar = \"sip:[2001:db8::1]\", aor = \"sip:example.com\", retry_s = 60, retry_max_s = 59 }",
        &[
            "t.toml:29:26: error: trunk[left].register.registrar: found \"sip:[2001:db8::1]\"; allowed: a destination of \
             the family of 198.18.0.10, the address that signals with this trunk",
            "t.toml:29:53: error: trunk[left].register.aor: found \"sip:example.com\"; allowed: sip:USER@DOMAIN",
            "t.toml:29:100: error: trunk[left].register.retry_max_s: found 59; allowed: retry_s (60) or more",
        ],
    );
}
