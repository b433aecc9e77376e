//! RFC 3261 §12: how dialogs begin, and what requests in them look like.

use super::*;
use crate::{
    config::SipTransport,
    sip::{flow::ListenerId, message::Method},
};

fn flow(port: u16) -> Flow {
    Flow {
        local: ListenerId(0),
        transport: SipTransport::Udp,
        remote: ([198, 18, 0, 2], port).into(),
        connection: None,
    }
}

fn parse(text: &str) -> Message {
    Message::parse(text.as_bytes()).unwrap()
}

fn invite(record_routes: &str) -> Message {
    parse(&format!(
        "INVITE sip:100@198.18.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 198.18.0.2;branch=z9hG4bKx\r\n{record_routes}\
         From: <sip:a@198.18.0.2>;tag=theirs\r\nTo: <sip:100@198.18.0.1>\r\nCall-ID: c1\r\nCSeq: 7 INVITE\r\n\
         Contact: <sip:a@198.18.0.9:5070;x=y>\r\nContent-Length: 0\r\n\r\n"
    ))
}

fn routes(message: &Message) -> Vec<&str> {
    message.headers.all(&HeaderName::Route).collect()
}

#[test]
fn who_was_called_keeps_the_route_set_in_order() {
    let rr = "Record-Route: <sip:p1.example;lr>, <sip:p2.example;lr>\r\nRecord-Route: <sip:p3.example;lr>\r\n";
    let mut dialog = Dialog::answering(&invite(rr), "ours", flow(5060)).unwrap();
    let bye = dialog.request(Method::Bye);
    assert_eq!(bye.uri().unwrap().to_string(), "sip:a@198.18.0.9:5070;x=y");
    assert_eq!(routes(&bye), ["<sip:p1.example;lr>", "<sip:p2.example;lr>", "<sip:p3.example;lr>"]);
    assert_eq!(bye.from().unwrap().to_string(), "<sip:100@198.18.0.1>;tag=ours");
    assert_eq!(bye.to().unwrap().to_string(), "<sip:a@198.18.0.2>;tag=theirs");
    assert_eq!((bye.call_id(), bye.cseq().unwrap().to_string().as_str()), (Some("c1"), "1 BYE"));
    assert_eq!(dialog.next_hop().to_string(), "sip:p1.example;lr");
}

#[test]
fn the_caller_reverses_it() {
    let local = NameAddr::parse("<sip:a@198.18.0.1>;tag=ours").unwrap();
    let remote = NameAddr::parse("<sip:100@198.18.0.2>").unwrap();
    let mut dialog = Dialog::calling("c2", local, remote, 4, flow(5060));
    let ok = parse(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 198.18.0.1;branch=z9hG4bKy\r\nRecord-Route: <sip:p1.example;lr>\r\n\
         Record-Route: <sip:p2.example;lr>\r\nFrom: <sip:a@198.18.0.1>;tag=ours\r\nTo: <sip:100@198.18.0.2>;tag=theirs\r\n\
         Call-ID: c2\r\nCSeq: 4 INVITE\r\nContact: <sip:100@198.18.0.8>\r\nContent-Length: 0\r\n\r\n",
    );
    dialog.establish(&ok, flow(5061));
    let ack = dialog.ack(4);
    assert_eq!(ack.uri().unwrap().to_string(), "sip:100@198.18.0.8");
    assert_eq!(routes(&ack), ["<sip:p2.example;lr>", "<sip:p1.example;lr>"]);
    assert_eq!(ack.cseq().unwrap().to_string(), "4 ACK");
    assert_eq!(ack.to().unwrap().tag(), Some("theirs"));
    assert_eq!(dialog.request(Method::Bye).cseq().unwrap().to_string(), "5 BYE");
    assert_eq!(dialog.source, flow(5061));
}

#[test]
fn a_strict_router_gets_itself_as_request_uri() {
    // RFC 3261 §12.2.1.1's own example.
    let rr = "Record-Route: <sip:proxy1>, <sip:proxy2>, <sip:proxy3;lr>, <sip:proxy4>\r\n";
    let text = String::from_utf8(invite(rr).write()).unwrap().replace("sip:a@198.18.0.9:5070;x=y", "sip:user@remoteua");
    let mut dialog = Dialog::answering(&parse(&text), "ours", flow(5060)).unwrap();
    let request = dialog.request(Method::Options);
    assert_eq!(request.uri().unwrap().to_string(), "sip:proxy1");
    assert_eq!(routes(&request), ["<sip:proxy2>", "<sip:proxy3;lr>", "<sip:proxy4>", "<sip:user@remoteua>"]);
}

#[test]
fn a_lower_cseq_is_out_of_order() {
    let mut dialog = Dialog::answering(&invite(""), "ours", flow(5060)).unwrap();
    let request = |seq: u32| {
        parse(&format!(
            "INFO sip:100@198.18.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 198.18.0.2;branch=z9hG4bK{seq}\r\n\
             From: <sip:a@198.18.0.2>;tag=theirs\r\nTo: <sip:100@198.18.0.1>;tag=ours\r\nCall-ID: c1\r\nCSeq: {seq} INFO\r\n\
             Content-Length: 0\r\n\r\n"
        ))
    };
    assert_eq!(dialog.note_request(&request(6), flow(5061)), Err(OutOfOrder));
    assert_eq!(dialog.source, flow(5060), "what is refused moves nothing");
    assert_eq!(dialog.note_request(&request(20), flow(5061)), Ok(()), "gaps are allowed");
    assert_eq!(dialog.note_request(&request(19), flow(5060)), Err(OutOfOrder));
    assert_eq!(dialog.source, flow(5061));
    assert_eq!(DialogKey::of_request(&request(6)), Some(dialog.key()));
    assert!(dialog.is_from_peer(&request(6)));
}

#[test]
fn a_target_refresh_moves_the_peer() {
    let mut dialog = Dialog::answering(&invite(""), "ours", flow(5060)).unwrap();
    let moved = String::from_utf8(invite("").write()).unwrap().replace("198.18.0.9:5070", "198.18.0.7");
    dialog.refresh(&parse(&moved), flow(5062));
    assert_eq!(dialog.next_hop().to_string(), "sip:a@198.18.0.7;x=y");
    assert_eq!(dialog.request(Method::Bye).uri().unwrap().to_string(), "sip:a@198.18.0.7;x=y");
}
