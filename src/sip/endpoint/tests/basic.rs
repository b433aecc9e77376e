//! A call from INVITE to BYE, and what the two legs see of each other.

use super::harness::*;
use crate::{
    base::ids::Side,
    control::Phase,
    sip::{
        endpoint::{Cause, EndedBy},
        message::{HeaderName, Method},
    },
};

#[test]
fn a_call_is_answered_and_hung_up_by_the_caller() {
    let mut net = Net::new();
    let invite_a = net.invite(A, "100");
    net.send(A, &invite_a);
    net.response_to(A, 100);
    let invite_b = net.request_to(B, Method::Invite);
    net.pass(50);
    net.send(B, &respond(B, &invite_b, 180, "b-tag", None));
    let ringing = net.response_to(A, 180);
    net.pass(950);
    let ok_b = respond(B, &invite_b, 200, "b-tag", Some(6_000));
    net.send(B, &ok_b);
    let ack_b = net.request_to(B, Method::Ack);
    let ok_a = net.response_to(A, 200);
    assert_eq!(header(&ok_a, HeaderName::To), header(&ringing, HeaderName::To), "one dialog, early and confirmed");
    assert_eq!(ack_b.uri().unwrap().to_string(), "sip:bob@198.18.1.2:5060", "the ACK goes to the Contact");
    let a = Ends::caller(A, &invite_a, &ok_a);
    let acknowledged = ack(&mut net, &a, 1);
    net.send(A, &acknowledged);
    assert_eq!((net.endpoint.in_progress(), net.endpoint.counters().answered), (1, 1));
    net.pass(60_000);
    net.nothing_to(A);
    let bye = net.in_dialog(&a, "BYE", 2);
    net.send(A, &bye);
    net.response_to(A, 200);
    let bye_b = net.request_to(B, Method::Bye);
    assert_eq!(bye_b.cseq().unwrap().seq, 2);
    net.send(B, &respond(B, &bye_b, 200, "", None));
    let record = net.the_record();
    assert_eq!((record.cause, record.ended_by, record.status), (Cause::Hangup, EndedBy::Caller, 200));
    assert_eq!(record.start_ms, EPOCH_MS);
    assert_eq!(record.ringing_ms, Some(EPOCH_MS + 50));
    assert_eq!(record.answer_ms, Some(EPOCH_MS + 1_000));
    assert_eq!((record.end_ms, record.duration_ms), (EPOCH_MS + 61_000, 60_000));
    assert_eq!((record.trunk_a.as_str(), record.trunk_b.as_deref()), ("alice", Some("carrier")));
    assert_eq!(record.destination.as_deref(), Some("sip:198.18.1.2"));
    assert_eq!(Some(record.call_id_a.as_str()), invite_a.call_id());
    assert_eq!(record.call_id_b.as_deref(), invite_b.call_id());
    assert_eq!(record.codecs, [Some("PCMU".into()), Some("PCMA".into())]);
    assert!(record.transcoded && record.legs.is_some());
    assert_eq!(record.attempts.iter().map(|a| a.status).collect::<Vec<_>>(), [Some(200)]);
    net.run_out();
}

#[test]
fn the_called_side_hangs_up() {
    let mut net = Net::new();
    let up = call_up(&mut net);
    let mut bye = net.in_dialog(&up.b, "BYE", 1);
    bye.headers.push(HeaderName::Reason, "Q.850;cause=16");
    net.send(B, &bye);
    net.response_to(B, 200);
    let bye_a = net.request_to(A, Method::Bye);
    assert_eq!(header(&bye_a, HeaderName::Reason), "Q.850;cause=16", "RFC 3326: the reason is carried");
    assert_eq!(bye_a.uri().unwrap().to_string(), "sip:alice@198.18.0.2:5060");
    net.send(A, &respond(A, &bye_a, 200, "", None));
    let record = net.the_record();
    assert_eq!((record.cause, record.ended_by), (Cause::Hangup, EndedBy::Callee));
    assert_eq!(record.reason.as_deref(), Some("Q.850;cause=16"));
    net.run_out();
}

#[test]
fn nothing_of_leg_a_shows_on_leg_b() {
    let mut net = Net::new();
    let mut invite_a = net.invite(A, "100");
    invite_a.headers.push(HeaderName::Via, "SIP/2.0/UDP inner.example;branch=z9hG4bKinner");
    invite_a.headers.push(HeaderName::RecordRoute, "<sip:198.18.0.2;lr>");
    invite_a.headers.push(HeaderName::UserAgent, "phone of alice");
    invite_a.headers.push(HeaderName::Subject, "lunch");
    net.send(A, &invite_a);
    let invite_b = net.request_to(B, Method::Invite);
    assert_ne!(invite_b.call_id(), invite_a.call_id());
    assert_ne!(invite_b.from().unwrap().tag(), Some("a-tag"));
    assert_eq!(invite_b.from().unwrap().uri.to_string(), "sip:alice@192.0.2.7");
    assert_eq!(invite_b.from().unwrap().display.as_deref(), Some("Alice"));
    assert_eq!(header(&invite_b, HeaderName::To), "<sip:100@198.18.1.2>");
    assert_eq!(invite_b.uri().unwrap().to_string(), "sip:100@198.18.1.2");
    assert_eq!(header(&invite_b, HeaderName::Contact), format!("<sip:{TANDEM_B}>"), "the advertised address");
    let vias = invite_b.vias().unwrap();
    assert_eq!(vias.len(), 1);
    assert!(vias[0].to_string().starts_with(&format!("SIP/2.0/UDP {TANDEM_B};branch=z9hG4bK")), "{}", vias[0]);
    assert!(vias[0].rport().is_some(), "RFC 3581 §3");
    assert_eq!(invite_b.max_forwards(), Some(69));
    assert_eq!(header(&invite_b, HeaderName::Subject), "lunch");
    assert_eq!(header(&invite_b, HeaderName::UserAgent), concat!("tandem/", env!("CARGO_PKG_VERSION"), " (t1)"));
    assert!(!invite_b.headers.contains(&HeaderName::RecordRoute));
    let text = String::from_utf8(invite_b.write()).unwrap();
    assert!(!text.contains("198.18.0."), "an address of leg A leaks:\n{text}");
    net.send(B, &respond(B, &invite_b, 486, "b-tag", None));
    net.run_out();
}

#[test]
fn media_is_opened_for_both_sides_and_told_what_was_agreed() {
    let mut net = Net::new();
    let up = call_up(&mut net);
    let request = &net.media.requests[0];
    assert_eq!(request.media, [vec!["a".to_owned()], vec!["b".to_owned()]]);
    assert_eq!(Some(request.call_id.as_str()), up.invite_a.call_id());
    assert!(body(&up.invite_b).contains("c=IN IP4 192.0.2.7\r\n"), "{}", body(&up.invite_b));
    assert!(body(&up.invite_b).contains("m=audio 20006 "), "{}", body(&up.invite_b));
    let legs = &net.media.open[&1];
    assert_eq!(legs[Side::A.index()].as_ref().unwrap().rtp, Some("198.18.0.2:4000".parse().unwrap()));
    assert_eq!(legs[Side::B.index()].as_ref().unwrap().rtp, Some("198.18.1.2:6000".parse().unwrap()));
    assert_eq!(net.media.phases, [(1, Phase::Confirmed)]);
    take_down(&mut net, &up, 2);
}

#[test]
fn early_media_passes_with_183() {
    let mut net = Net::new();
    let invite_a = net.invite(A, "100");
    net.send(A, &invite_a);
    net.response_to(A, 100);
    let invite_b = net.request_to(B, Method::Invite);
    net.send(B, &respond(B, &invite_b, 183, "b-tag", Some(6_000)));
    let progress = net.response_to(A, 183);
    assert!(body(&progress).contains("c=IN IP4 198.18.0.1\r\n") && body(&progress).contains("m=audio 20004 "));
    assert_eq!(header(&progress, HeaderName::ContentType), "application/sdp");
    assert_eq!(net.media.phases, [(1, Phase::Early)]);
    assert!(net.media.open[&1].iter().all(Option::is_some), "both sides are known before the answer");
    net.send(B, &respond(B, &invite_b, 200, "b-tag", Some(6_000)));
    net.request_to(B, Method::Ack);
    let ok = net.response_to(A, 200);
    assert_eq!(body(&ok), body(&progress), "RFC 3261 §13.2.1: the answer is the same");
    assert_eq!(net.media.phases, [(1, Phase::Early), (1, Phase::Confirmed)]);
}

#[test]
fn record_routes_and_routes_are_kept_apart_on_each_leg() {
    let mut net = Net::new();
    let mut invite_a = net.invite(A, "100");
    invite_a.headers.push(HeaderName::RecordRoute, "<sip:198.18.0.3:5080;lr>");
    net.send(A, &invite_a);
    net.response_to(A, 100);
    let invite_b = net.request_to(B, Method::Invite);
    let mut ok_b = respond(B, &invite_b, 200, "b-tag", Some(6_000));
    ok_b.headers.push(HeaderName::RecordRoute, "<sip:198.18.1.9;lr>");
    ok_b.headers.push(HeaderName::RecordRoute, "<sip:198.18.1.8;lr>");
    net.send(B, &ok_b);
    let ack_b = net.request_to("198.18.1.8:5060".parse().unwrap(), Method::Ack);
    let routes: Vec<&str> = ack_b.headers.all(&HeaderName::Route).collect();
    assert_eq!(routes, ["<sip:198.18.1.8;lr>", "<sip:198.18.1.9;lr>"]);
    let ok_a = net.response_to(A, 200);
    assert_eq!(header(&ok_a, HeaderName::RecordRoute), "<sip:198.18.0.3:5080;lr>", "RFC 3261 §12.1.1");
    let a = Ends::caller(A, &invite_a, &ok_a);
    let message = ack(&mut net, &a, 1);
    net.send(A, &message);
    let bye = net.in_dialog(&Ends::callee(B, &invite_b, &ok_b), "BYE", 1);
    net.send(B, &bye);
    let bye_a = net.request_to("198.18.0.3:5080".parse().unwrap(), Method::Bye);
    assert_eq!(header(&bye_a, HeaderName::Route), "<sip:198.18.0.3:5080;lr>");
}

#[test]
fn the_operator_sees_calls_and_hangs_up() {
    let mut net = Net::new();
    let up = call_up(&mut net);
    let calls: Vec<_> = net.endpoint.calls().collect();
    assert_eq!(calls.len(), 1);
    let detail = net.endpoint.call(calls[0].id).unwrap();
    assert_eq!(detail.summary, calls[0]);
    assert_eq!(detail.legs.len(), 2);
    assert_eq!(Some(detail.legs[1].call_id.as_str()), up.invite_b.call_id());
    assert_eq!(detail.legs[1].remote_target, "sip:bob@198.18.1.2:5060");
    let json = serde_json::to_string(&detail).unwrap();
    assert!(json.contains(&format!("\"id\":\"{:016x}\"", calls[0].id.0)), "{json}");
    assert_eq!(calls[0].id.to_string().parse(), Ok(calls[0].id));
    assert!(net.endpoint.hang_up(net.now, calls[0].id, &mut net.media));
    net.collect();
    for peer in [A, B] {
        let bye = net.request_to(peer, Method::Bye);
        net.send(peer, &respond(peer, &bye, 200, "", None));
    }
    assert_eq!(net.the_record().ended_by, EndedBy::Operator);
    assert!(!net.endpoint.hang_up(net.now, calls[0].id, &mut net.media));
    net.run_out();
}
