//! `[sip.tls]` and `[trunk.tls]`: files that are missing, wrong, expired or not each other's.

use super::*;
use crate::tls::testing::{Authority, Folder};

/// `SOUND` with TLS: a listener on a port of its own, the files of `folder`, and `trunk` as what the first trunk says.
fn with_tls(folder: &Folder, trunk: &str) -> String {
    let path = |name: &str| folder.path(name).display().to_string();
    let sip = format!(
        "listen = [{{ address = \"v4\" }}, {{ address = \"v6\" }}, {{ address = \"v4\", transports = [\"tls\"] }}]\n\
         tls = {{ certificate = \"{}\", key = \"{}\" }}\n",
        path("own.pem"),
        path("own.key")
    );
    let listen = SOUND.lines().find(|line| line.starts_with("listen = ")).unwrap();
    let codecs = SOUND.lines().find(|line| line.starts_with("codecs = ")).unwrap();
    SOUND.replace(listen, &sip).replace(codecs, &trunk.replace("DIR/", &path("")))
}

fn folder() -> (Authority, Folder) {
    let (authority, folder) = (Authority::new("ours"), Folder::made());
    std::fs::write(folder.path("ca.pem"), &authority.pem).unwrap();
    authority.issue("tandem.example").write(&folder.path("own.pem"), &folder.path("own.key"));
    (authority, folder)
}

/// What is said, without the folder's name.
fn said(folder: &Folder, text: &str) -> Vec<String> {
    let place = folder.path("").display().to_string();
    complaints(text).into_iter().map(|line| line.replace(&place, "DIR/")).collect()
}

const ALL: &str =
    r#"tls = { ca = "DIR/ca.pem", server_name = "sbc.example", peer_names = ["a.example", "192.0.2.1"] }"#;

#[test]
fn files_that_fit_draw_no_word() {
    let (_, folder) = folder();
    assert_eq!(said(&folder, &with_tls(&folder, ALL)), [""; 0]);
}

#[test]
fn a_listener_over_tls_needs_a_certificate() {
    expect(
        &[("{ address = \"v6\" }]  ", "{ address = \"v6\", transports = [\"tls\"] }]  ")],
        &[
            "t.toml:24:63: error: sip.listen[2].transports[1]: found tls without a certificate; allowed: tls with [sip.tls], \
             which names certificate and key",
            "t.toml:35:17: error: trunk[right].destinations[1]: found \"sip:[2001:db8:5::1]:5080;transport=tcp\"; allowed: a \
             transport that \"v6\" has in sip.listen, or tcp added there",
        ],
    );
}

#[test]
fn files_that_are_missing_or_hold_something_else_are_named() {
    let (authority, folder) = folder();
    std::fs::remove_file(folder.path("own.pem")).unwrap();
    std::fs::write(folder.path("own.key"), &authority.pem).unwrap();
    std::fs::write(folder.path("ca.pem"), "nothing").unwrap();
    let said = said(&folder, &with_tls(&folder, ALL));
    assert_eq!(
        said,
        [
            "t.toml:25:23: error: sip.tls.certificate: found cannot read DIR/own.pem: No such file or directory (os error 2); \
             allowed: a file in PEM with a certificate, then those between it and a root",
            "t.toml:25:SAME: error: sip.tls.key: found DIR/own.key holds no private key in PEM without a passphrase; allowed: \
             a file in PEM with a private key",
            "t.toml:31:14: error: trunk[left].tls.ca: found DIR/ca.pem holds no certificate in PEM; allowed: a file in PEM \
             with certificates of authorities",
        ]
        .map(|line| line.replace("SAME", said[1].split(':').nth(2).unwrap()))
    );
}

#[test]
fn a_key_of_another_certificate_is_told() {
    let (authority, folder) = folder();
    std::fs::write(folder.path("own.key"), authority.issue("tandem.example").key).unwrap();
    let said = said(&folder, &with_tls(&folder, ALL));
    let end = "error: sip.tls.key: found the key in DIR/own.key is not that of the certificate in DIR/own.pem; allowed: the \
               key of the certificate";
    assert!(said.len() == 1 && said[0].ends_with(end), "{said:?}");
}

#[test]
fn an_expired_certificate_is_a_warning() {
    let (authority, folder) = folder();
    authority.issue_until("tandem.example", 2002).write(&folder.path("own.pem"), &folder.path("own.key"));
    assert_eq!(
        said(&folder, &with_tls(&folder, ALL)),
        [
            "t.toml:25:23: warning: sip.tls.certificate: found expired on 2002-01-01; allowed: a certificate that is valid today"
        ]
    );
}

#[test]
fn names_that_no_certificate_can_show_and_halves_of_a_pair_are_told() {
    let (_, folder) = folder();
    let wrong = r#"tls = { ca = "DIR/ca.pem", peer_names = ["*.example"], server_name = "a b", key = "DIR/own.key" }"#;
    let said = said(&folder, &with_tls(&folder, wrong));
    let name = "allowed: a host name or an IP address, whole: no * and no port";
    let expected = [
        format!("error: trunk[left].tls.peer_names[1]: found \"*.example\"; {name}"),
        format!("error: trunk[left].tls.server_name: found \"a b\"; {name}"),
        "error: trunk[left].tls.key: found a key without its certificate; allowed: certificate and key, or neither"
            .into(),
    ];
    assert_eq!(said.len(), 3, "{said:?}");
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.ends_with(&expected), "{said}");
    }
}

#[test]
fn certificates_that_are_demanded_where_none_can_be_shown_are_an_error() {
    expect(
        &[("codecs = [\"PCMU\"]", "tls = { peer_names = [\"a.example\"] }")],
        &[
            "t.toml:29:22: error: trunk[left].tls.peer_names: found certificates demanded where no TLS is heard; allowed: a \
             trunk whose address has tls in sip.listen, or tls added to \"v4\"",
        ],
    );
}

#[test]
fn tls_and_tcp_have_ports_of_their_own() {
    let (_, folder) = folder();
    let text = with_tls(&folder, "").replace("transports = [\"tls\"]", "port = 5060, transports = [\"tls\"]");
    let said = said(&folder, &text);
    let end = "error: sip.listen[3].transports[1]: found tls on \"v4\" port 5060 again; allowed: each address, port and \
               transport once; tcp and tls have ports of their own";
    assert!(said.len() == 1 && said[0].ends_with(end), "{said:?}");
}
