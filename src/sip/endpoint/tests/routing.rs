//! The dial plan: longest prefix, rules for one trunk, numbers as they are written.

use super::harness::*;
use crate::sip::message::{HeaderName, Message, Method};

#[test]
fn the_longest_prefix_wins_and_a_rule_may_name_its_trunk() {
    let mut net = Net::new();
    // 12… is a rule for the carrier's calls only.
    let invite = net.invite(A, "123");
    net.send(A, &invite);
    net.request_to(B, Method::Invite);
    let invite = net.invite(B, "123");
    net.send(B, &invite);
    net.request_to(C, Method::Invite);
    net.run_out();
}

#[test]
fn a_route_whose_trunk_has_no_destination_is_503() {
    let mut net = Net::new();
    let invite = net.invite(A, "400");
    net.send(A, &invite);
    assert_eq!(net.take(A).last().unwrap().status(), Some(503));
    net.run_out();
}

#[test]
fn parameters_of_the_number_do_not_count_and_tel_uris_work() {
    let mut net = Net::new();
    let mut invite = net.invite(A, "100;phone-context=example");
    net.send(A, &invite);
    let passed = net.request_to(B, Method::Invite);
    assert_eq!(passed.uri().unwrap().to_string(), "sip:100;phone-context=example@198.18.1.2");
    let text = String::from_utf8(net.invite(A, "100").write()).unwrap();
    let text = text.replacen("INVITE sip:100@198.18.0.1", "INVITE tel:1-00.9;phone-context=example", 1);
    invite = Message::parse(text.as_bytes()).unwrap();
    net.send(A, &invite);
    let passed = net.request_to(B, Method::Invite);
    // RFC 3261 §19.1.6: the parameters go along, and the user part is marked as a telephone number.
    assert_eq!(passed.uri().unwrap().to_string(), "sip:1009;phone-context=example@198.18.1.2;user=phone");
    assert_eq!(header(&passed, HeaderName::To), "<sip:1009;phone-context=example@198.18.1.2;user=phone>");
    net.run_out();
}

#[test]
fn no_user_part_matches_only_the_empty_prefix() {
    let with_default = |config: &mut crate::config::Config| config.routes[2].prefix = String::new();
    let text = |net: &mut Net| {
        let text = String::from_utf8(net.invite(A, "100").write()).unwrap();
        text.replacen("INVITE sip:100@198.18.0.1", "INVITE sip:198.18.0.1", 1)
    };
    let mut net = Net::new();
    let request = text(&mut net);
    net.send_bytes(Net::udp(A), request.as_bytes());
    net.response_to(A, 404);
    let mut net = Net::with(with_default);
    let request = text(&mut net);
    net.send_bytes(Net::udp(A), request.as_bytes());
    let passed = net.request_to(C, Method::Invite);
    assert_eq!(passed.uri().unwrap().to_string(), "sip:198.18.2.2:5070;transport=tcp");
}
