//! CANCEL (RFC 3261 §9) and what crosses it.

use super::harness::*;
use crate::sip::{
    endpoint::{Cause, EndedBy},
    message::{HeaderName, Message, Method},
};

/// Alice's CANCEL of her INVITE.
fn cancel(invite: &Message) -> Message {
    let mut cancel = crate::sip::transaction::table::within_transaction(invite, Method::Cancel);
    cancel.headers.push(HeaderName::Reason, "SIP;cause=200;text=\"Call completed elsewhere\"");
    cancel
}

fn ringing(net: &mut Net) -> (Message, Message) {
    let invite_a = net.invite(A, "100");
    net.send(A, &invite_a);
    net.response_to(A, 100);
    let invite_b = net.request_to(B, Method::Invite);
    net.send(B, &respond(B, &invite_b, 180, "b-tag", None));
    net.response_to(A, 180);
    (invite_a, invite_b)
}

fn acknowledge_failure(net: &mut Net, invite: &Message, response: &Message) {
    let mut ack = crate::sip::transaction::table::within_transaction(invite, Method::Ack);
    ack.headers.set(HeaderName::To, header(response, HeaderName::To));
    net.send(A, &ack);
}

#[test]
fn a_stranger_who_guesses_the_branch_cancels_nothing() {
    let mut net = Net::new();
    let (invite_a, _) = ringing(&mut net);
    let stranger = "203.0.113.66:5060".parse().unwrap();
    net.send(stranger, &cancel(&invite_a));
    net.nothing_to(B);
    net.nothing_to(A);
    assert_eq!(net.take(stranger).iter().map(Message::status).collect::<Vec<_>>(), [Some(403)]);
    // Nor does a genuine one that follows find its place taken.
    net.send(A, &cancel(&invite_a));
    net.request_to(B, Method::Cancel);
}

#[test]
fn a_stranger_who_knows_the_tags_ends_nothing() {
    let mut net = Net::new();
    let up = call_up(&mut net);
    let bye = net.in_dialog(&up.a, "BYE", 2);
    net.send("203.0.113.66:5060".parse().unwrap(), &bye);
    net.nothing_to(B);
    take_down(&mut net, &up, 2);
}

#[test]
fn a_ringing_call_is_cancelled() {
    let mut net = Net::new();
    let (invite_a, invite_b) = ringing(&mut net);
    net.send(A, &cancel(&invite_a));
    let to_a = net.take(A);
    assert_eq!(to_a.iter().map(Message::status).collect::<Vec<_>>(), [Some(200), Some(487)]);
    assert_eq!(to_a[0].cseq().unwrap().method, Method::Cancel);
    assert_eq!(header(&to_a[0], HeaderName::To), header(&to_a[1], HeaderName::To), "RFC 3261 §9.2: one To tag");
    acknowledge_failure(&mut net, &invite_a, &to_a[1]);
    let cancel_b = net.request_to(B, Method::Cancel);
    assert_eq!(cancel_b.top_via().unwrap(), invite_b.top_via().unwrap(), "RFC 3261 §9.1: the INVITE's branch");
    assert_eq!(cancel_b.uri(), invite_b.uri());
    assert_eq!(cancel_b.cseq().unwrap().to_string(), "1 CANCEL");
    assert!(cancel_b.to().unwrap().tag().is_none());
    assert!(header(&cancel_b, HeaderName::Reason).contains("elsewhere"));
    net.send(B, &respond(B, &cancel_b, 200, "b-tag", None));
    net.send(B, &respond(B, &invite_b, 487, "b-tag", None));
    net.request_to(B, Method::Ack);
    let record = net.the_record();
    assert_eq!((record.cause, record.ended_by, record.status), (Cause::Cancelled, EndedBy::Caller, 487));
    assert_eq!(record.answer_ms, None);
    net.run_out();
}

#[test]
fn leg_b_is_cancelled_only_after_a_provisional_response() {
    let mut net = Net::new();
    let invite_a = net.invite(A, "100");
    net.send(A, &invite_a);
    net.response_to(A, 100);
    let invite_b = net.request_to(B, Method::Invite);
    net.send(A, &cancel(&invite_a));
    assert_eq!(net.take(A).len(), 2);
    net.nothing_to(B);
    net.pass(500);
    assert_eq!(net.request_to(B, Method::Invite), invite_b, "the INVITE is still repeated");
    net.send(B, &respond(B, &invite_b, 100, "", None));
    net.request_to(B, Method::Cancel);
    net.send(B, &respond(B, &invite_b, 180, "b-tag", None));
    net.nothing_to(B);
    net.send(B, &respond(B, &invite_b, 487, "b-tag", None));
    net.request_to(B, Method::Ack);
    net.run_out();
}

#[test]
fn a_200_that_crosses_the_cancel_is_acknowledged_and_hung_up() {
    let mut net = Net::new();
    let (invite_a, invite_b) = ringing(&mut net);
    net.send(A, &cancel(&invite_a));
    net.request_to(B, Method::Cancel);
    let ok = respond(B, &invite_b, 200, "b-tag", Some(6_000));
    net.send(B, &ok);
    let to_b = net.take(B);
    assert_eq!(to_b.iter().filter_map(Message::method).collect::<Vec<_>>(), [&Method::Ack, &Method::Bye]);
    assert_eq!(to_b[1].uri().unwrap().to_string(), "sip:bob@198.18.1.2:5060");
    assert_eq!(header(&to_b[1], HeaderName::To), header(&ok, HeaderName::To));
    assert_eq!(to_b[1].cseq().unwrap().seq, 2);
    // The 200 again: the ACK again, and nothing more.
    net.send(B, &ok);
    net.request_to(B, Method::Ack);
    net.send(B, &respond(B, &to_b[1], 200, "", None));
    assert_eq!(net.the_record().cause, Cause::Cancelled);
    net.run_out();
}

#[test]
fn a_cancel_after_the_answer_has_no_effect() {
    let mut net = Net::new();
    let (invite_a, invite_b) = ringing(&mut net);
    let ok_b = respond(B, &invite_b, 200, "b-tag", Some(6_000));
    net.send(B, &ok_b);
    net.request_to(B, Method::Ack);
    let ok_a = net.response_to(A, 200);
    net.send(A, &cancel(&invite_a));
    assert_eq!(net.response_to(A, 200).cseq().unwrap().method, Method::Cancel);
    net.nothing_to(B);
    let a = Ends::caller(A, &invite_a, &ok_a);
    let message = ack(&mut net, &a, 1);
    net.send(A, &message);
    assert_eq!(net.endpoint.in_progress(), 1);
    let up = Up { a, b: Ends::callee(B, &invite_b, &ok_b), invite_a, invite_b };
    take_down(&mut net, &up, 2);
}

#[test]
fn a_cancel_for_nothing_gets_481() {
    let mut net = Net::new();
    let invite = net.invite(A, "100");
    net.send(A, &cancel(&invite));
    net.response_to(A, 481);
    net.run_out();
}

#[test]
fn the_487_is_repeated_until_its_ack() {
    let mut net = Net::new();
    let (invite_a, invite_b) = ringing(&mut net);
    net.send(A, &cancel(&invite_a));
    let refused = net.take(A).remove(1);
    net.pass(1_500);
    assert_eq!(net.take(A).iter().map(Message::status).collect::<Vec<_>>(), [Some(487), Some(487)], "timer G");
    acknowledge_failure(&mut net, &invite_a, &refused);
    net.pass(10_000);
    net.nothing_to(A);
    net.send(B, &respond(B, &invite_b, 487, "b-tag", None));
    net.run_out();
}

#[test]
fn leg_b_that_never_answers_the_cancel_is_forgotten() {
    let mut net = Net::new();
    let (invite_a, _) = ringing(&mut net);
    net.send(A, &cancel(&invite_a));
    // RFC 3261 §9.1: 64·T1.
    net.pass(31_999);
    assert!(net.endpoint.table_sizes().0 > 0);
    net.pass(1);
    assert_eq!(net.endpoint.table_sizes().0, 0);
    net.run_out();
}

#[test]
fn a_bye_in_the_early_dialog_is_a_cancel() {
    let mut net = Net::new();
    let invite_a = net.invite(A, "100");
    net.send(A, &invite_a);
    net.response_to(A, 100);
    let invite_b = net.request_to(B, Method::Invite);
    net.send(B, &respond(B, &invite_b, 180, "b-tag", None));
    let ringing = net.response_to(A, 180);
    let bye = net.in_dialog(&Ends::caller(A, &invite_a, &ringing), "BYE", 2);
    net.send(A, &bye);
    assert_eq!(net.take(A).iter().map(Message::status).collect::<Vec<_>>(), [Some(200), Some(487)]);
    net.request_to(B, Method::Cancel);
    // Bob must not do the same (RFC 3261 §15).
    assert_eq!(net.the_record().cause, Cause::Cancelled);
    net.run_out();
}
