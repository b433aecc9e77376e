//! `[ha.ec2]`: each way with what it needs, what it does not use, and a build without the SDK.

use super::*;

/// `SOUND` with a floating address, and `table` behind it.
fn with(table: &str) -> String {
    SOUND.replace("advertise = \"203.0.113.9\" ", "advertise = \"203.0.113.9\"\nfloating = true ") + table
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

fn expect(text: &str, expected: &[&str]) {
    let found = said(text);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{found}\n{expected}");
    }
}

const HA: &str = "[ha]\nprovider = \"ec2\"\n";

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
        expect(&with(&format!("{HA}[ha.ec2]\n{keys}[[ha.ec2.address]]\nname = \"v4\"\n{way}\n")), &[]);
    }
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
        ("by = \"route\"\ntables = [\"rtb-1\"]", "ha.ec2.address[v4].tables[0]: found \"rtb-1\"; allowed: rtb- and"),
        ("by = \"secondary\"\ninterface = \"eth0\"", "ha.ec2.address[v4].interface: found \"eth0\"; allowed: eni- and"),
        (
            "by = \"route\"\ntables = [\"rtb-01234567\"]\ndestination = \"198.19.0.0/24\"",
            "ha.ec2.address[v4].destination: found 198.19.0.0/24; allowed: a network that holds 198.18.0.10",
        ),
    ] {
        expect(&with(&format!("{HA}[ha.ec2]\n[[ha.ec2.address]]\nname = \"v4\"\n{way}\n")), &[expected]);
    }
    let entry = "[[ha.ec2.address]]\nname = \"v4\"\nby = \"secondary\"\n";
    expect(&with(&format!("{HA}[ha.ec2]\nendpoint = \"ec2\"\n{entry}")), &["ha.ec2.endpoint: found \"ec2\""]);
    expect(&with(&format!("{HA}[ha.ec2]\n{entry}{entry}")), &["ha.ec2.address[v4].name: found \"v4\" again"]);
}

#[test]
fn floating_addresses_and_entries_belong_together() {
    let six = "[[ha.ec2.address]]\nname = \"v6\"\nby = \"secondary\"\n";
    expect(
        &with(&format!("{HA}[ha.ec2]\n{six}")),
        &[
            "address[v4].floating: found \"v4\", which nothing moves",
            "ha.ec2.address[v6].name: found \"v6\", which is not floating",
            "ha.ec2.address[v6].by: found \"secondary\" for 2001:db8::10; allowed: \"route\"",
        ],
    );
    let elastic = "[[ha.ec2.address]]\nname = \"v4\"\nby = \"elastic\"\nallocation = \"eipalloc-01234567\"\n";
    let text = with(&format!("{HA}[ha.ec2]\n{elastic}")).replace("advertise = \"203.0.113.9\"\n", "");
    expect(&text, &["ha.ec2.address[v4].name: found \"v4\" without address.advertise"]);
    expect(&(SOUND.to_owned() + HA), &["ha.provider: found \"ec2\" without [ha.ec2]"]);
}

#[test]
fn the_table_without_the_provider_is_told() {
    let entry = "[[ha.ec2.address]]\nname = \"v4\"\nby = \"secondary\"\n";
    let found = complaints(&with(&format!("[ha]\nprovider = \"garp\"\n[ha.ec2]\n{entry}")));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("ha.ec2: found a table that nothing reads"), "{found:#?}");
}

#[cfg(not(feature = "ec2"))]
#[test]
fn a_build_without_the_sdk_refuses_the_provider() {
    let entry = "[[ha.ec2.address]]\nname = \"v4\"\nby = \"secondary\"\n";
    let found = complaints(&with(&format!("{HA}[ha.ec2]\n{entry}")));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("ha.provider: found \"ec2\", which this build was made without"), "{found:#?}");
    assert!(found[0].contains("cargo build --features ec2"), "{found:#?}");
}
