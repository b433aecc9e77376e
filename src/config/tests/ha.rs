//! `[ha]` and `address.floating`: pairs that could not hear each other, addresses that could not move.

use std::{os::unix::fs::PermissionsExt, path::PathBuf};

use super::*;

const FLOATS: (&str, &str) = ("advertise = \"203.0.113.9\"", "floating = true");

struct Key(PathBuf);

impl Key {
    fn of(name: &str, bytes: &[u8]) -> Key {
        let path = std::env::temp_dir().join(format!("tandem-pair-key-{name}-{}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        Key(path)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const PATHS: &str = "path = [{ local = \"10.9.0.1:5091\", peer = \"10.9.0.2:5091\" }, \
                     { local = \"10.8.0.1:5091\", peer = \"10.8.0.2:5091\" }]\n";
const REPLICATION: &str = "replication = { local = \"10.9.0.1:5090\", peer = \"10.9.0.2:5090\" }\n";

/// `SOUND` with an address that floats and this at its end, without the place of each complaint.
fn said(ha: &str, edits: &[(&str, &str)]) -> Vec<String> {
    let mut text = SOUND.to_owned() + ha;
    for (from, to) in edits {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        text = text.replace(from, to);
    }
    let without_place = |line: String| line.splitn(4, ':').nth(3).unwrap().trim_start().to_owned();
    complaints(&text).into_iter().map(without_place).collect()
}

fn pair(key: &Key, more: &str, replication: &str, paths: &str) -> String {
    format!("[ha]\npeer = \"b\"\nkey_file = {:?}\n{more}\n{replication}{paths}", key.0.display().to_string())
}

#[test]
fn a_sound_pair_draws_no_word() {
    let key = Key::of("sound", &[b'x'; 48]);
    assert_eq!(said(&pair(&key, "provider = \"garp\"", REPLICATION, PATHS), &[FLOATS]), [""; 0]);
    // A line end does not count; the configuration has the key and shows it nowhere.
    std::fs::write(&key.0, [&[b'k'; 32][..], b"\n"].concat()).unwrap();
    let text = SOUND.to_owned() + &pair(&key, "", REPLICATION, PATHS);
    let config = parse(Path::new("t.toml"), &text, &host()).config.unwrap();
    assert_eq!(config.ha.as_ref().unwrap().key.expose(), [b'k'; 32]);
    let shown = format!("{config:?}{}", serde_json::to_string(&config).unwrap());
    assert!(!shown.contains("kkkk") && !shown.contains("107, 107"), "{shown}");
}

#[test]
fn a_key_is_there_and_long_enough_and_nobody_elses() {
    let key = Key::of("short", &[b'x'; 31]);
    let sound = pair(&key, "", REPLICATION, PATHS);
    assert_eq!(
        said(&sound, &[FLOATS]),
        [
            "error: ha.key_file: found a key of 31 bytes; allowed: 32 bytes or more, as `openssl rand -base64 48` makes them"
        ]
    );
    std::fs::write(&key.0, [b'x'; 32]).unwrap();
    std::fs::set_permissions(&key.0, std::fs::Permissions::from_mode(0o640)).unwrap();
    let told = said(&sound, &[FLOATS]);
    assert!(
        told.len() == 1 && told[0].starts_with("warning: ha.key_file: found ") && told[0].ends_with("0400"),
        "{told:?}"
    );
    std::fs::remove_file(&key.0).unwrap();
    let told = said(&sound, &[FLOATS]);
    assert!(told.len() == 1 && told[0].contains("No such file or directory"), "{told:?}");
}

#[test]
fn a_host_is_not_its_own_peer() {
    let key = Key::of("names", &[b'x'; 48]);
    let own = pair(&key, "", REPLICATION, PATHS).replace("peer = \"b\"", "peer = \"tandem\"");
    assert_eq!(
        said(&own, &[FLOATS]),
        ["error: ha.peer: found \"tandem\", the name of this host; allowed: node.name of the other host"]
    );
}

#[test]
fn something_floats_and_somebody_moves_it() {
    let key = Key::of("floats", &[b'x'; 48]);
    let allowed = "an [[address]] with floating = true: one that moves to the host that is active";
    assert_eq!(
        said(&pair(&key, "provider = \"garp\"", REPLICATION, PATHS), &[]),
        [format!("error: ha.provider: found \"garp\", and no address that floats; allowed: {allowed}")]
    );
    assert_eq!(
        said(&pair(&key, "", REPLICATION, PATHS), &[]),
        [format!("warning: ha: found no address that floats; allowed: {allowed}")]
    );
    assert_eq!(
        said("", &[FLOATS]),
        ["warning: address[v4].floating: found an address that floats alone; allowed: a host of a pair, see [ha]"]
    );
}

#[test]
fn paths_lead_to_the_other_host() {
    let key = Key::of("paths", &[b'x'; 48]);
    let other = "an address and a port that the other host can reach";
    let paths = "path = [{ local = \"127.0.0.1:5091\", peer = \"[2001:db8::2]:5091\" }, \
                 { local = \"10.8.0.1:5091\", peer = \"10.8.0.1:5092\" }]\n";
    let replication = "replication = { local = \"198.18.0.10:5090\", peer = \"198.18.0.11:0\" }\n";
    assert_eq!(
        said(&pair(&key, "", replication, paths), &[FLOATS]),
        [
            "error: ha.replication.local: found 198.18.0.10, which floats as [[address]] \"v4\"; \
             allowed: an address that stays with its host"
                .to_owned(),
            format!("error: ha.replication.peer: found 198.18.0.11:0; allowed: {other}"),
            format!("error: ha.path[1].local: found 127.0.0.1:5091; allowed: {other}"),
            "error: ha.path[1].peer: found [2001:db8::2]:5091; allowed: an address of the family of 127.0.0.1:5091"
                .into(),
            "error: ha.path[2].peer: found 10.8.0.1, this host; allowed: an address of the other host".into(),
        ]
    );
}

#[test]
fn paths_do_not_fail_together() {
    let key = Key::of("apart", &[b'x'; 48]);
    let one = "path = [{ local = \"10.9.0.1:5091\", peer = \"10.9.0.2:5091\" }]\n";
    assert_eq!(
        said(&pair(&key, "", REPLICATION, one), &[FLOATS]),
        [
            "warning: ha.path: found one path, from 10.9.0.1; allowed: two, over networks that do not fail together: where \
          the only one fails, both hosts are active"
        ]
    );
    let twice = "path = [{ local = \"10.9.0.1:5091\", peer = \"10.9.0.2:5091\" }, \
                 { local = \"10.9.0.1:5091\", peer = \"10.9.0.2:5092\" }]\n";
    assert_eq!(
        said(&pair(&key, "", REPLICATION, twice), &[FLOATS]),
        ["error: ha.path[2].local: found 10.9.0.1:5091 again; allowed: a socket of its own; path 1 has it"]
    );
    let same = twice.replace(
        "{ local = \"10.9.0.1:5091\", peer = \"10.9.0.2:5092\" }",
        "{ local = \"10.9.0.1:5092\", peer = \"10.9.0.2:5092\" }",
    );
    assert_eq!(
        said(&pair(&key, "", REPLICATION, &same), &[FLOATS]),
        [
            "warning: ha.path[2].local: found 10.9.0.1 and 10.9.0.2, as path 1; allowed: a path over another network: these \
          two fail together"
        ]
    );
}
