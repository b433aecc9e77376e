//! `[ha.ec2]`: each way with what it needs, what it does not use, and a build without the SDK.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use super::*;
use crate::tls::testing::Folder;

/// `SOUND` with a floating address, and `table` behind it.
fn with(table: &str) -> String {
    SOUND.replace("advertise = \"203.0.113.9\" ", "advertise = \"203.0.113.9\"\nfloating = true ") + table
}

/// `[ha]` of a sound pair with this provider.
fn ha(folder: &Folder, provider: &str) -> String {
    let key = folder.path("pair.key");
    fs::write(&key, [7; 32]).unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    let links = "replication = { local = \"10.9.0.1:5090\", peer = \"10.9.0.2:5090\" }\n\
        path = [{ local = \"10.9.0.1:5091\", peer = \"10.9.0.2:5091\" }, { local = \"10.8.0.1:5091\", peer = \"10.8.0.2:5091\" }]";
    format!("[ha]\npeer = \"b\"\nkey_file = \"{}\"\n{links}\nprovider = \"{provider}\"\n", key.display())
}

/// What is said of `[ha]`, without the place. A build without the SDK says so first, whatever else is wrong.
fn said(text: &str) -> Vec<String> {
    let mut all: Vec<String> = complaints(text);
    if !cfg!(feature = "ec2") {
        let without = all.iter().position(|line| line.contains("which this build was made without"));
        all.remove(without.expect("a build without the SDK says so"));
    }
    all
}

/// Of `table` behind a pair that moves its addresses by the API.
fn expect(table: &str, expected: &[&str]) {
    let folder = Folder::made();
    let found = said(&with(&(ha(&folder, "ec2") + table)));
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{found}\n{expected}");
    }
}

#[test]
fn each_way_with_what_it_needs_draws_no_word() {
    for way in [
        "by = \"secondary\"",
        "by = \"secondary\"\ninterface = \"eni-0123456789abcdef0\"",
        "by = \"elastic\"\nallocation = \"eipalloc-0123456789abcdef0\"",
        "by = \"route\"\ntables = [\"rtb-01234567\", \"rtb-0123456789abcdef0\"]",
        "by = \"route\"\ntables = [\"rtb-01234567\"]\ndestination = \"198.18.0.0/24\"",
    ] {
        let keys = "endpoint = \"http://127.0.0.1:5000\"\nregion = \"eu-central-1\"\nattempt_ms = 500\n";
        expect(&format!("[ha.ec2]\n{keys}[[ha.ec2.address]]\nname = \"v4\"\n{way}\n"), &[]);
    }
}

#[test]
fn only_what_a_route_leads_to_may_be_in_no_subnet() {
    let folder = Folder::made();
    let overlay = |way: &str| {
        let table = format!("[ha.ec2]\n[[ha.ec2.address]]\nname = \"v4\"\n{way}\n");
        said(&with(&(ha(&folder, "ec2") + &table)).replace("local = \"198.18.0.10\"", "local = \"203.0.113.77\""))
    };
    assert_eq!(overlay("by = \"route\"\ntables = [\"rtb-01234567\"]"), [""; 0]);
    let found = overlay("by = \"secondary\"");
    assert!(found.len() == 1 && found[0].contains("address[v4].local: found 203.0.113.77"), "{found:?}");
}

#[test]
fn what_a_way_lacks_or_does_not_use_is_told() {
    for (way, expected) in [
        ("by = \"elastic\"", "ha.ec2.address[v4].by: found \"elastic\" without allocation"),
        ("by = \"route\"", "ha.ec2.address[v4].by: found \"route\" without tables"),
        (
            "by = \"secondary\"\nallocation = \"eipalloc-01234567\"",
            "ha.ec2.address[v4].allocation: found a key that by = \"secondary\"",
        ),
        (
            "by = \"secondary\"\ntables = [\"rtb-01234567\"]",
            "ha.ec2.address[v4].tables: found a key that by = \"secondary\"",
        ),
        ("by = \"secondary\"\ndestination = \"198.18.0.10/32\"", "ha.ec2.address[v4].destination: found a key that by"),
        (
            "by = \"elastic\"\nallocation = \"eni-01234567\"",
            "ha.ec2.address[v4].allocation: found \"eni-01234567\"; allowed: eipalloc-",
        ),
        ("by = \"route\"\ntables = [\"rtb-1\"]", "ha.ec2.address[v4].tables[1]: found \"rtb-1\"; allowed: rtb- and"),
        ("by = \"secondary\"\ninterface = \"eth0\"", "ha.ec2.address[v4].interface: found \"eth0\"; allowed: eni- and"),
        (
            "by = \"route\"\ntables = [\"rtb-01234567\"]\ndestination = \"198.19.0.0/24\"",
            "ha.ec2.address[v4].destination: found 198.19.0.0/24; allowed: a network that holds 198.18.0.10",
        ),
    ] {
        expect(&format!("[ha.ec2]\n[[ha.ec2.address]]\nname = \"v4\"\n{way}\n"), &[expected]);
    }
    expect(&format!("[ha.ec2]\nendpoint = \"ec2\"\n{ENTRY}"), &["ha.ec2.endpoint: found \"ec2\""]);
    expect(&format!("{ENTRY}{ENTRY}"), &["ha.ec2.address[v4].name: found \"v4\" again"]);
}

#[test]
fn floating_addresses_and_entries_belong_together() {
    let six = "[[ha.ec2.address]]\nname = \"v6\"\nby = \"secondary\"\n";
    expect(
        six,
        &[
            "address[v4].floating: found \"v4\", which nothing moves",
            "ha.ec2.address[v6].name: found \"v6\", which is not floating",
            "ha.ec2.address[v6].by: found \"secondary\" for 2001:db8::10; allowed: \"route\"",
        ],
    );
    expect("", &["ha.provider: found \"ec2\" without [ha.ec2]"]);
    let folder = Folder::made();
    let elastic = "[[ha.ec2.address]]\nname = \"v4\"\nby = \"elastic\"\nallocation = \"eipalloc-01234567\"\n";
    let text = with(&(ha(&folder, "ec2") + elastic)).replace("advertise = \"203.0.113.9\"\n", "");
    let found = said(&text);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("ha.ec2.address[v4].name: found \"v4\" without address.advertise"), "{found:#?}");
}

const ENTRY: &str = "[[ha.ec2.address]]\nname = \"v4\"\nby = \"secondary\"\n";

#[test]
fn the_table_without_the_provider_is_told() {
    let folder = Folder::made();
    let found = complaints(&with(&(ha(&folder, "garp") + ENTRY)));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("ha.ec2: found a table that nothing reads"), "{found:#?}");
}

#[cfg(not(feature = "ec2"))]
#[test]
fn a_build_without_the_sdk_refuses_the_provider() {
    let folder = Folder::made();
    let found = complaints(&with(&(ha(&folder, "ec2") + ENTRY)));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("ha.provider: found \"ec2\", which this build was made without"), "{found:#?}");
    assert!(found[0].contains("cargo build --features ec2"), "{found:#?}");
}
