//! A caller on IPv6, a called side on IPv4.

use std::net::SocketAddr;

use super::harness::*;
use crate::{
    config::SipTransport,
    sip::{
        flow::{Flow, ListenerId},
        message::{HeaderName, Message, Method},
    },
};

#[test]
fn a_call_from_ipv6_to_ipv4() {
    let mut net = Net::with(|config| {
        config.addresses[0].local = "2001:db8::1".parse().unwrap();
        config.trunks[0].from = vec!["2001:db8::/64".parse().unwrap()];
    });
    let peer: SocketAddr = "[2001:db8::2]:5060".parse().unwrap();
    let flow = Flow { local: ListenerId(0), transport: SipTransport::Udp, remote: peer, connection: None };
    let text = format!(
        "INVITE sip:100@[2001:db8::1] SIP/2.0\r\nVia: SIP/2.0/UDP {peer};branch=z9hG4bK6;rport\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@[2001:db8::2]>;tag=a\r\nTo: <sip:100@[2001:db8::1]>\r\nCall-ID: six\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:alice@{peer}>\r\nContent-Type: application/sdp\r\n\r\n"
    );
    let mut invite = Message::parse(text.as_bytes()).unwrap();
    invite.body = sdp(peer.ip(), 4_000, 1, "").replace("IP4", "IP6").into();
    net.send_on(flow, &invite);
    let trying = net.response_to(peer, 100);
    assert_eq!(trying.top_via().unwrap().received(), Some(peer.ip()));
    let invite_b = net.request_to(B, Method::Invite);
    assert!(body(&invite_b).contains("c=IN IP4 192.0.2.7\r\n"), "{}", body(&invite_b));
    net.send(B, &respond(B, &invite_b, 200, "b", Some(6_000)));
    let ok = net.response_to(peer, 200);
    assert_eq!(header(&ok, HeaderName::Contact), "<sip:[2001:db8::1]:5060>");
    let id = net.endpoint.calls().next().unwrap().id;
    let ends = Ends::caller(peer, &invite, &ok);
    let message = ack(&mut net, &ends, 1);
    net.send_on(flow, &message);
    net.endpoint.hang_up(net.now, id, &mut net.media);
    net.collect();
    let bye = net.request_to(peer, Method::Bye);
    assert_eq!(bye.uri().unwrap().to_string(), "sip:alice@[2001:db8::2]:5060");
    assert!(header(&bye, HeaderName::Via).starts_with("SIP/2.0/UDP [2001:db8::1]:5060;branch="));
}
