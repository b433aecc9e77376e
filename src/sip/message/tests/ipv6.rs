//! IPv6 in SIP, around RFC 5118, whose own messages are in tests/torture/.

use super::*;

fn ip(text: &str) -> Host {
    Host::Ip(text.parse().unwrap())
}

#[test]
fn no_other_colons_and_no_zone() {
    for bad in [
        "[2001:db8:::10]",
        "[2001:db8::::192.0.2.1]",
        "[2001:db8::1:::192.0.2.1]",
        "[fe80::1%eth0]",
        "[::1",
        "::1",
        "[]",
    ] {
        assert!(Host::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn an_ipv6_host_is_written_in_brackets() {
    let uri = Uri::sip(Some("a"), ip("2001:db8::9:255"), Some(5070));
    assert_eq!(uri.to_string(), "sip:a@[2001:db8::9:255]:5070");
    let via = Via::new("UDP", ip("::1"), None, "z9hG4bK1");
    assert_eq!(via.to_string(), "SIP/2.0/UDP [::1];branch=z9hG4bK1");
}
