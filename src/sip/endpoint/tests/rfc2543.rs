//! A caller from before RFC 3261 (RFC 4475 §3.4.1): no branch, no From tag, no Contact, no Max-Forwards.

use super::harness::*;
use crate::sip::message::{HeaderName, Message, Method};

const FROM: &str = "<sip:+13035551111@ift.client.example.net;user=phone>";

fn old(net: &mut Net, method: &str, to: &str, seq: u32, body: &str) {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let text = format!(
        "{method} sip:100@198.18.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 198.18.0.2\r\nFrom: {FROM}\r\nTo: {to}\r\n\
         Call-ID: inv2543\r\nCSeq: {seq} {method}\r\n{kind}\r\n{body}"
    );
    net.send_bytes(Net::udp(A), text.as_bytes());
}

/// The call is up; the To of its 200.
fn up(net: &mut Net) -> (String, Message) {
    old(net, "INVITE", "<sip:100@198.18.0.1>", 56, &sdp(A.ip(), 4_000, 1, ""));
    net.response_to(A, 100);
    let invite = net.request_to(B, Method::Invite);
    assert!(invite.max_forwards().is_some(), "RFC 3261 §16.6: where there is none, there is one afterwards");
    net.send(B, &respond(B, &invite, 200, "b-tag", Some(6_000)));
    net.request_to(B, Method::Ack);
    let to = header(&net.response_to(A, 200), HeaderName::To);
    old(net, "ACK", &to, 56, "");
    net.pass(10_000);
    net.nothing_to(A);
    (to, invite)
}

#[test]
fn calls_and_hangs_up() {
    let mut net = Net::new();
    let (to, _) = up(&mut net);
    old(&mut net, "BYE", &to, 57, "");
    net.response_to(A, 200);
    let bye = net.request_to(B, Method::Bye);
    net.send(B, &respond(B, &bye, 200, "", None));
    net.run_out();
}

#[test]
fn is_hung_up_where_it_called_from_under_the_name_of_its_from() {
    let mut net = Net::new();
    let (to, invite) = up(&mut net);
    let ends = Ends {
        peer: B,
        call_id: invite.call_id().unwrap().into(),
        local: format!("{};tag=b-tag", header(&invite, HeaderName::To)),
        remote: header(&invite, HeaderName::From),
        target: invite.contacts().unwrap()[0].uri.to_string(),
    };
    let bye = net.in_dialog(&ends, "BYE", 1);
    net.send(B, &bye);
    net.response_to(B, 200);
    let bye = net.request_to(A, Method::Bye);
    assert_eq!(bye.uri().unwrap().to_string(), "sip:+13035551111@ift.client.example.net;user=phone");
    assert_eq!((header(&bye, HeaderName::From), header(&bye, HeaderName::To)), (to, FROM.to_owned()));
    net.send(A, &respond(A, &bye, 200, "", None));
    net.run_out();
}
