//! What the parser understands by RFC 5118's messages: addresses, ports, and where one ends.

use tandem::sip::message::Host;

use crate::understood::message;

fn ip(text: &str) -> Host {
    Host::Ip(text.parse().unwrap())
}

#[test]
fn ipv6_good() {
    let message = message("rfc5118/ipv6-good");
    assert_eq!(message.uri().unwrap().host, ip("2001:db8::10"));
    assert_eq!(message.top_via().unwrap().host, ip("2001:db8::9:1"));
    assert_eq!(message.contacts().unwrap()[0].uri.host, ip("2001:db8::1"));
}

#[test]
fn port_ambiguous_and_port_unambiguous() {
    let within = message("rfc5118/port-ambiguous");
    let within = within.uri().unwrap();
    assert_eq!((&within.host, within.port), (&ip("2001:db8::10:5070"), None));
    let behind = message("rfc5118/port-unambiguous");
    let behind = behind.uri().unwrap();
    assert_eq!((&behind.host, behind.port), (&ip("2001:db8::10"), Some(5070)));
}

#[test]
fn via_received_param_with_and_without_delim() {
    for (name, branch) in [("with", "z9hG4bKas3-111"), ("no", "z9hG4bKas3")] {
        let via = message(&format!("rfc5118/via-received-param-{name}-delim")).top_via().unwrap();
        assert_eq!(via.received(), Some("2001:db8::9:255".parse().unwrap()));
        assert_eq!(via.branch(), Some(branch));
    }
}

#[test]
fn mult_ip_in_header() {
    let vias = message("rfc5118/mult-ip-in-header").vias().unwrap();
    let seen: Vec<_> = vias.iter().map(|via| (&via.host, via.port, via.received())).collect();
    let (v6, v4) = (ip("2001:db8::9:1"), ip("192.0.2.1"));
    let last = ip("2001:db8::9:255");
    let received = Some("192.0.2.200".parse().unwrap());
    assert_eq!(seen, [(&v6, Some(6050), None), (&v4, None, None), (&last, None, received)]);
}

#[test]
fn ipv4_mapped_ipv6() {
    let message = message("rfc5118/ipv4-mapped-ipv6");
    let vias = message.vias().unwrap();
    assert_eq!((&vias[0].host, vias[0].port), (&ip("::ffff:192.0.2.10"), Some(19823)));
    assert_eq!(vias[1].host, ip("::ffff:192.0.2.2"));
    assert_eq!(message.contacts().unwrap()[0].uri.host, ip("::ffff:192.0.2.2"));
}

#[test]
fn two_and_three_colons() {
    let [two, three] = ["correct-abnf-2", "bug-abnf-3"].map(|name| message(&format!("rfc5118/ipv6-{name}-colons")));
    assert_eq!(two.uri().unwrap().host, ip("2001:db8::192.0.2.1"));
    assert_eq!(three.uri(), two.uri());
    assert_eq!(three.to().unwrap().uri, two.to().unwrap().uri);
}
