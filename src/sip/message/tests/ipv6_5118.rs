//! RFC 5118: IPv6 in SIP.

use super::*;

fn ip(text: &str) -> Host {
    Host::Ip(text.parse().unwrap())
}

#[test]
fn s4_1_valid_message_with_an_ipv6_reference() {
    let message = parse(
        "REGISTER sip:[2001:db8::10] SIP/2.0
To: sip:user@example.com
From: sip:user@example.com;tag=81x2
Via: SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111
Call-ID: SSG9559905523997077@hlau_4100
Max-Forwards: 70
Contact: \"Caller\" <sip:caller@[2001:db8::1]>
CSeq: 98176 REGISTER
Content-Length: 0

",
    );
    assert_eq!(message.uri().unwrap().host, ip("2001:db8::10"));
    assert_eq!(message.top_via().unwrap().host, ip("2001:db8::9:1"));
    assert_eq!(message.contacts().unwrap()[0].uri.host, ip("2001:db8::1"));
}

#[test]
fn s4_2_invalid_message_with_a_missing_delimiter() {
    let found = refusal(
        "REGISTER sip:2001:db8::10 SIP/2.0
To: sip:user@example.com
From: sip:user@example.com;tag=81x2
Via: SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111
Call-ID: SSG9559905523997077@hlau_4100
Max-Forwards: 70
Contact: \"Caller\" <sip:caller@[2001:db8::1]>
CSeq: 98176 REGISTER
Content-Length: 0

",
    );
    assert_eq!(found, (MalformedKind::BadRequestUri, Some(400)));
}

#[test]
fn s4_3_and_4_4_port_within_and_behind_the_brackets() {
    let within = Uri::parse("sip:[2001:db8::10:5070]").unwrap();
    assert_eq!((within.host, within.port), (ip("2001:db8::10:5070"), None));
    let behind = Uri::parse("sip:[2001:db8::10]:5070").unwrap();
    assert_eq!((behind.host, behind.port), (ip("2001:db8::10"), Some(5070)));
}

#[test]
fn s4_5_received_with_and_without_delimiters() {
    for received in ["[2001:db8::9:255]", "2001:db8::9:255"] {
        let message = parse(&format!(
            "BYE sip:[2001:db8::10] SIP/2.0
To: sip:user@example.com;tag=bd76ya
From: sip:user@example.com;tag=81x2
Via: SIP/2.0/UDP [2001:db8::9:1];received={received};branch=z9hG4bKas3-111
Call-ID: SSG9559905523997077@hlau_4100
Max-Forwards: 70
CSeq: 321 BYE
Content-Length: 0

"
        ));
        let via = message.top_via().unwrap();
        assert_eq!(via.received(), Some("2001:db8::9:255".parse().unwrap()));
        assert_eq!(via.branch(), Some("z9hG4bKas3-111"));
    }
}

#[test]
fn s4_7_and_4_9_several_addresses_and_mapped_ones() {
    let vias = Via::parse_list("SIP/2.0/UDP [::ffff:192.0.2.10]:19823;branch=z9hG4bKbh19, SIP/2.0/UDP 192.0.2.1:5060");
    let vias = vias.unwrap();
    assert_eq!((&vias[0].host, vias[0].port), (&ip("::ffff:192.0.2.10"), Some(19823)));
    assert_eq!((&vias[1].host, vias[1].port), (&ip("192.0.2.1"), Some(5060)));
    let contact = NameAddr::parse("\"T. desk phone\" <sip:ted@[::ffff:192.0.2.2]>").unwrap();
    assert_eq!(contact.uri.host, ip("::ffff:192.0.2.2"));
}

#[test]
fn s4_10_both_forms_before_an_embedded_ipv4_address() {
    assert_eq!(Host::parse("[2001:db8:::192.0.2.1]").unwrap(), ip("2001:db8::192.0.2.1"));
    assert_eq!(Host::parse("[2001:db8::192.0.2.1]").unwrap(), ip("2001:db8::192.0.2.1"));
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
