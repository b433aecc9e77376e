//! Transfers that tandem carries out: the flows of RFC 5589 §6 and §7, and RFC 3891's rules for an INVITE with Replaces.

use std::net::SocketAddr;

use super::harness::*;
use crate::{
    base::{ids::Side, limits::TRANSFERS_PER_CALL},
    config::{Config, Transfer},
    control::Direction,
    sip::{
        endpoint::{EndedBy, TransferKind},
        message::{HeaderName, Message, Method},
    },
};

/// A third party, at a trunk of its own; calls to 5… go there.
pub const D: SocketAddr = addr([198, 18, 3, 2], 5060);

pub fn transfers(config: &mut Config) {
    let more = "
        [[trunk]]
        name = 'desk'
        from = ['198.18.3.0/24']
        address = 'b'
        destinations = ['sip:198.18.3.2']
        [[route]]
        prefix = '5'
        to = ['desk']";
    let more: Config = toml::from_str(&format!("{CONFIG}{more}")).unwrap();
    *config = Config { trunks: more.trunks, routes: more.routes, ..config.clone() };
    config.trunks.iter_mut().for_each(|trunk| trunk.transfer = Transfer::Local);
}

pub fn refer(net: &mut Net, ends: &Ends, seq: u32, to: &str) -> Message {
    let mut refer = net.in_dialog(ends, "REFER", seq);
    refer.headers.push(HeaderName::ReferTo, to);
    refer
}

/// Reads a NOTIFY about a REFER, and answers it.
pub fn notified(net: &mut Net, peer: SocketAddr, notify: &Message) -> (String, String) {
    assert_eq!(notify.method(), Some(&Method::Notify), "{notify:#?}");
    assert!(header(notify, HeaderName::Event).starts_with("refer"));
    assert_eq!(header(notify, HeaderName::ContentType), "message/sipfrag;version=2.0");
    net.send(peer, &respond(peer, notify, 200, "", None));
    (body(notify), header(notify, HeaderName::SubscriptionState))
}

pub fn methods(all: &[Message]) -> Vec<String> {
    let text = |m: &Message| m.method().map_or_else(|| m.status().unwrap().to_string(), |method| method.to_string());
    all.iter().map(text).collect()
}

fn said(line: &str, state: &str) -> (String, String) {
    (format!("SIP/2.0 {line}\r\n"), state.to_owned())
}

/// Bob, whom alice called, refers her to 500; the INVITE that desk gets.
fn referred(net: &mut Net, up: &Up) -> Message {
    let refer = refer(net, &up.b, 2, "<sip:500@198.18.1.1>");
    net.send(B, &refer);
    let to_bob = net.take(B);
    assert_eq!(methods(&to_bob), ["202", "NOTIFY"]);
    assert!(!to_bob[0].headers.contains(&HeaderName::Other("Refer-Sub".into())));
    assert_eq!(notified(net, B, &to_bob[1]), said("100 Trying", "active;expires=120"));
    net.nothing_to(A);
    net.request_to(D, Method::Invite)
}

/// Answers BYEs to a peer.
pub fn bye(net: &mut Net, peer: SocketAddr) {
    let request = net.request_to(peer, Method::Bye);
    net.send(peer, &respond(peer, &request, 200, "", None));
}

fn remote(net: &Net, session: u64, side: Side) -> Option<SocketAddr> {
    net.media.open[&session][side.index()].as_ref().unwrap().rtp
}

#[test]
fn a_blind_transfer_puts_the_target_in_the_place_of_who_asked() {
    let mut net = Net::with(transfers);
    let up = call_up(&mut net);
    let port_of_alice = body(&net_told(&net, Side::A));
    let invite = referred(&mut net, &up);
    assert_eq!(invite.uri().unwrap().to_string(), "sip:500@198.18.3.2");
    assert!(invite.from().unwrap().uri.to_string().starts_with("sip:alice@"), "the transferee calls");
    let told = body(&invite);
    net.send(D, &respond(D, &invite, 180, "d-tag", None));
    let ringing = net.request_to(B, Method::Notify);
    assert_eq!(notified(&mut net, B, &ringing), said("180 Ringing", "active;expires=120"));
    assert_eq!(net.endpoint.in_progress(), 2, "the call, and the one that tandem makes");
    let ok = respond(D, &invite, 200, "d-tag", Some(7_000));
    net.send(D, &ok);
    net.request_to(D, Method::Ack);
    let to_bob = net.take(B);
    assert_eq!(methods(&to_bob), ["NOTIFY", "BYE"]);
    assert_eq!(notified(&mut net, B, &to_bob[0]), said("200 OK", "terminated;reason=noresource"));
    net.send(B, &respond(B, &to_bob[1], 200, "", None));
    // Alice was not on hold, and hears the target through the port that she knows.
    net.nothing_to(A);
    assert_eq!(net.media.open.len(), 1);
    assert_eq!(
        (remote(&net, 1, Side::A), remote(&net, 1, Side::B)),
        (Some("198.18.0.2:4000".parse().unwrap()), Some("198.18.3.2:7000".parse().unwrap()))
    );
    assert_eq!(body(&net_told(&net, Side::A)), port_of_alice);
    assert!(told.contains("m=audio 20010 "), "the port of the target's own session: {told}");
    assert_eq!(net.endpoint.in_progress(), 1);
    // The two that are left talk, and hang up like any two.
    let d = Ends::callee(D, &invite, &ok);
    let bye_d = net.in_dialog(&d, "BYE", 1);
    net.send(D, &bye_d);
    net.response_to(D, 200);
    bye(&mut net, A);
    let records = std::mem::take(&mut net.records);
    let [target, call] = &records[..] else { panic!("{records:#?}") };
    assert_eq!((call.trunk_b.as_deref(), target.trunk_b.as_deref()), (Some("carrier"), Some("desk")));
    assert_eq!((call.transfers[0].kind, call.transfers[0].left), (TransferKind::Blind, EndedBy::Callee));
    assert_eq!((call.transfers[0].with, target.joined), (target.id, Some(call.id)));
    assert_eq!((target.called.as_str(), target.status, target.trunk_a.as_str()), ("500", 200, "alice"));
    net.run_out();
}

/// What tandem would tell that side again.
fn net_told(net: &Net, side: Side) -> Message {
    let call = net.endpoint.calls.values().find(|call| call.origin.is_none()).unwrap();
    let uri = crate::sip::message::Uri::parse("sip:x@y").unwrap();
    Message { body: crate::sip::b2bua::media::told(call, side).unwrap(), ..Message::request(Method::Invite, uri) }
}

#[test]
fn a_transferee_on_hold_is_told_that_it_is_held_no_longer() {
    let mut net = Net::with(transfers);
    let up = call_up(&mut net);
    let mut hold = net.in_dialog(&up.b, "INVITE", 2);
    hold.headers.push(HeaderName::ContentType, "application/sdp");
    hold.body = sdp(B.ip(), 6_000, 2, "a=sendonly\r\n").into();
    net.send(B, &hold);
    net.response_to(B, 100);
    let held = net.request_to(A, Method::Invite);
    let mut ok = respond(A, &held, 200, "", Some(1));
    ok.body = sdp(A.ip(), 4_000, 2, "a=recvonly\r\n").into();
    net.send(A, &ok);
    net.request_to(A, Method::Ack);
    net.response_to(B, 200);
    let message = ack(&mut net, &up.b, 2);
    net.send(B, &message);
    let refer = refer(&mut net, &up.b, 3, "sip:500@198.18.1.1");
    net.send(B, &refer);
    net.take(B);
    let invite = net.request_to(D, Method::Invite);
    assert!(body(&invite).contains("a=sendrecv"), "the target is not held: {}", body(&invite));
    net.send(D, &respond(D, &invite, 200, "d-tag", Some(7_000)));
    net.request_to(D, Method::Ack);
    net.pass(0);
    let told = net.request_to(A, Method::Invite);
    assert!(body(&told).contains("a=sendrecv"), "{}", body(&told));
    assert!(body(&told).contains("m=audio 20004 "), "{}", body(&told));
    // RFC 3264 §8: one session, whose version grows.
    let origin = |message: &Message| body(message).lines().find(|l| l.starts_with("o=")).unwrap().to_owned();
    let number = |message: &Message| origin(message).split(' ').nth(2).unwrap().parse::<u32>().unwrap();
    assert_eq!(number(&told), number(&held) + 1);
    let mut ok = respond(A, &told, 200, "", Some(1));
    ok.body = sdp(A.ip(), 4_400, 3, "").into();
    net.send(A, &ok);
    net.request_to(A, Method::Ack);
    assert_eq!(remote(&net, 1, Side::A), Some("198.18.0.2:4400".parse().unwrap()), "where she moved to");
    assert_eq!(net.media.open[&1][0].as_ref().unwrap().direction, Direction::SendRecv);
    let id = net.endpoint.calls().next().unwrap().id;
    net.endpoint.hang_up(net.now, id, &mut net.media);
    net.run_out();
}

#[test]
fn a_refusal_is_told_and_both_stay_as_they_were() {
    let mut net = Net::with(transfers);
    let up = call_up(&mut net);
    let before = net.media.open[&1].clone();
    let invite = referred(&mut net, &up);
    net.send(D, &respond(D, &invite, 486, "d-tag", None));
    net.request_to(D, Method::Ack);
    let busy = net.request_to(B, Method::Notify);
    assert_eq!(notified(&mut net, B, &busy), said("486 Busy Here", "terminated;reason=noresource"));
    net.nothing_to(A);
    assert_eq!(net.media.open, [(1, before)].into());
    assert_eq!(net.records.len(), 1, "of the call to the target");
    net.records.clear();
    // A second try names its subscription (RFC 3515 §2.4.6), and a number without a route is told like a refusal.
    let again = refer(&mut net, &up.b, 3, "<tel:999>");
    net.send(B, &again);
    let to_bob = net.take(B);
    assert_eq!(methods(&to_bob), ["202", "NOTIFY", "NOTIFY"]);
    assert_eq!(header(&to_bob[1], HeaderName::Event), "refer;id=3");
    assert_eq!(notified(&mut net, B, &to_bob[2]).0, "SIP/2.0 404 Not Found\r\n");
    take_down(&mut net, &up, 2);
    assert_eq!(net.the_record().transfers, []);
}

#[test]
fn a_transferor_that_hangs_up_at_once_leaves_the_call_to_the_others() {
    for answers in [true, false] {
        let mut net = Net::with(transfers);
        let up = call_up(&mut net);
        let invite = referred(&mut net, &up);
        let bye_b = net.in_dialog(&up.b, "BYE", 3);
        net.send(B, &bye_b);
        net.response_to(B, 200);
        net.nothing_to(A);
        assert_eq!(remote(&net, 1, Side::B), None, "she hears nobody yet");
        if answers {
            net.send(D, &respond(D, &invite, 200, "d-tag", Some(7_000)));
            net.request_to(D, Method::Ack);
            let told = net.request_to(B, Method::Notify);
            assert_eq!(told.call_id(), Some(up.b.call_id.as_str()), "RFC 5057: the subscription is still there");
            net.send(B, &respond(B, &told, 481, "", None));
            assert_eq!(remote(&net, 1, Side::B), Some("198.18.3.2:7000".parse().unwrap()));
            let bye_a = net.in_dialog(&up.a, "BYE", 2);
            net.send(A, &bye_a);
            net.response_to(A, 200);
            bye(&mut net, D);
        } else {
            net.send(D, &respond(D, &invite, 404, "d-tag", None));
            net.request_to(D, Method::Ack);
            net.request_to(B, Method::Notify);
            let bye_a = net.request_to(A, Method::Bye);
            assert_eq!(header(&bye_a, HeaderName::Reason), "SIP;cause=404");
        }
        net.run_out();
    }
}

#[test]
fn a_transferee_that_hangs_up_ends_the_call_to_the_target() {
    let mut net = Net::with(transfers);
    let up = call_up(&mut net);
    let invite = referred(&mut net, &up);
    net.send(D, &respond(D, &invite, 180, "d-tag", None));
    net.take(B);
    let bye_a = net.in_dialog(&up.a, "BYE", 2);
    net.send(A, &bye_a);
    net.response_to(A, 200);
    assert_eq!(methods(&net.take(B)), ["NOTIFY", "BYE"]);
    let cancel = net.request_to(D, Method::Cancel);
    net.send(D, &respond(D, &cancel, 200, "", None));
    net.send(D, &respond(D, &invite, 487, "d-tag", None));
    assert_eq!(net.media.open.len(), 0);
    net.run_out();
}

#[test]
fn no_subscription_where_none_is_wanted() {
    let mut net = Net::with(transfers);
    let up = call_up(&mut net);
    let mut refer = refer(&mut net, &up.b, 2, "<sip:500@198.18.1.1>");
    refer.headers.push(HeaderName::Other("Refer-Sub".into()), "false");
    refer.headers.push(HeaderName::Require, "norefersub");
    net.send(B, &refer);
    let accepted = net.response_to(B, 202);
    assert_eq!(header(&accepted, HeaderName::Other("Refer-Sub".into())), "false", "RFC 4488 §4");
    let invite = net.request_to(D, Method::Invite);
    net.send(D, &respond(D, &invite, 200, "d-tag", Some(7_000)));
    bye(&mut net, B);
    let id = net.endpoint.calls().next().unwrap().id;
    net.endpoint.hang_up(net.now, id, &mut net.media);
    net.run_out();
}

#[test]
fn what_is_no_transfer_is_refused_and_harms_nothing() {
    let mut net = Net::with(transfers);
    let up = call_up(&mut net);
    for (seq, (to, status)) in
        [("nonsense", 400), ("<http://x.y>", 416), ("<sips:500@x>", 416), ("<sip:500@x;method=BYE>", 603)]
            .iter()
            .enumerate()
    {
        let refer = refer(&mut net, &up.b, 2 + u32::try_from(seq).unwrap(), to);
        net.send(B, &refer);
        net.response_to(B, *status);
    }
    let mut two = refer(&mut net, &up.b, 10, "<sip:500@x>");
    two.headers.push(HeaderName::ReferTo, "<sip:501@x>");
    net.send(B, &two);
    net.response_to(B, 400);
    // One at a time.
    let first = refer(&mut net, &up.b, 11, "<sip:500@x>");
    net.send(B, &first);
    net.take(B);
    let second = refer(&mut net, &up.a, 2, "<sip:501@x>");
    net.send(A, &second);
    net.response_to(A, 491);
    net.endpoint.drain(net.now, net.now, &mut net.media);
    net.run_out();
}

#[test]
fn a_trunk_that_may_not_gets_405_and_is_told_of_nothing() {
    let mut net = Net::with(|config| {
        transfers(config);
        config.trunks[1].transfer = Transfer::Refuse;
    });
    let up = call_up(&mut net);
    assert!(!header(&up.invite_b, HeaderName::Allow).contains("REFER"));
    assert!(!header(&up.invite_b, HeaderName::Supported).contains("replaces"));
    let refer = refer(&mut net, &up.b, 2, "<sip:500@x>");
    net.send(B, &refer);
    assert!(!header(&net.response_to(B, 405), HeaderName::Allow).contains("REFER"));
    take_down(&mut net, &up, 2);
}

#[test]
fn limits_of_the_targets_trunk_hold_for_transfers_too() {
    let mut net = Net::with(|config| {
        transfers(config);
        config.trunks.last_mut().unwrap().limits.max_calls_out = Some(0);
    });
    let up = call_up(&mut net);
    let refer = refer(&mut net, &up.b, 2, "<sip:500@x>");
    net.send(B, &refer);
    let to_bob = net.take(B);
    assert_eq!(methods(&to_bob), ["202", "NOTIFY", "NOTIFY"]);
    assert!(body(&to_bob[2]).starts_with("SIP/2.0 503"), "{}", body(&to_bob[2]));
    net.nothing_to(D);
    net.records.clear();
    take_down(&mut net, &up, 2);
}

/// The dialog of `ends`, as its peer, tandem, sees it: what a transferor writes into Refer-To (RFC 3891 §4).
pub fn replaces(ends: &Ends) -> String {
    let tag = |text: &str| text.split("tag=").nth(1).unwrap().to_owned();
    format!("{};to-tag={};from-tag={}", ends.call_id, tag(&ends.remote), tag(&ends.local))
}

pub fn escaped(text: &str) -> String {
    text.replace('@', "%40").replace(';', "%3B").replace('=', "%3D")
}

/// Bob at B, who talks with alice, calls desk as well: RFC 5589 §7.1, the consultation.
pub fn consultation(net: &mut Net) -> (Ends, Message, Ends) {
    let mut invite = net.invite(B, "500");
    invite.headers.set(HeaderName::From, "<sip:bob@198.18.1.2>;tag=b2-tag");
    net.send(B, &invite);
    net.response_to(B, 100);
    let to_desk = net.request_to(D, Method::Invite);
    let ok = respond(D, &to_desk, 200, "d-tag", Some(7_000));
    net.send(D, &ok);
    net.request_to(D, Method::Ack);
    let answered = net.response_to(B, 200);
    let ends = Ends::caller(B, &invite, &answered);
    let message = ack(net, &ends, 1);
    net.send(B, &message);
    (ends, answered, Ends::callee(D, &to_desk, &ok))
}

#[test]
fn an_attended_transfer_joins_the_two_far_sides() {
    let mut net = Net::with(transfers);
    let up = call_up(&mut net);
    let (second, _, desk) = consultation(&mut net);
    let refer = refer(&mut net, &up.b, 2, &format!("<sip:500@198.18.1.1?Replaces={}>", escaped(&replaces(&second))));
    net.send(B, &refer);
    let to_bob = net.take(B);
    assert_eq!(methods(&to_bob), ["202", "NOTIFY", "NOTIFY", "BYE", "BYE"], "both of the transferor's legs end");
    assert_eq!(notified(&mut net, B, &to_bob[2]), said("200 OK", "terminated;reason=noresource"));
    let mut ended: Vec<&str> = to_bob[3..].iter().map(|bye| bye.call_id().unwrap()).collect();
    ended.sort_unstable();
    let mut both = [up.b.call_id.as_str(), second.call_id.as_str()];
    both.sort_unstable();
    assert_eq!(ended, both);
    for request in &to_bob[3..] {
        net.send(B, &respond(B, request, 200, "", None));
    }
    // Neither was on hold: both keep the ports and descriptions that they know.
    net.nothing_to(A);
    net.nothing_to(D);
    assert_eq!(net.media.open.len(), 1);
    assert_eq!(
        (remote(&net, 1, Side::A), remote(&net, 1, Side::B)),
        (Some("198.18.0.2:4000".parse().unwrap()), Some("198.18.3.2:7000".parse().unwrap()))
    );
    // They are one call now: a hold crosses.
    let mut hold = net.in_dialog(&desk, "INVITE", 1);
    hold.headers.push(HeaderName::ContentType, "application/sdp");
    hold.body = sdp(D.ip(), 7_000, 2, "a=sendonly\r\n").into();
    net.send(D, &hold);
    net.response_to(D, 100);
    let held = net.request_to(A, Method::Invite);
    assert!(body(&held).contains("a=sendonly"));
    net.send(A, &respond(A, &held, 488, "", None));
    net.request_to(A, Method::Ack);
    net.response_to(D, 488);
    let bye_a = net.in_dialog(&up.a, "BYE", 2);
    net.send(A, &bye_a);
    net.response_to(A, 200);
    bye(&mut net, D);
    let records = std::mem::take(&mut net.records);
    assert_eq!(records.len(), 2);
    assert_eq!(records[1].transfers[0].kind, TransferKind::Attended);
    assert_eq!(records[0].joined, Some(records[1].id));
    net.run_out();
}

#[test]
fn both_sides_of_an_attended_transfer_come_off_hold() {
    let mut net = Net::with(transfers);
    let up = call_up(&mut net);
    let (second, _, _) = consultation(&mut net);
    for (ends, peer) in [(&up.b, A), (&second, D)] {
        let mut hold = net.in_dialog(ends, "INVITE", 5);
        hold.headers.push(HeaderName::ContentType, "application/sdp");
        hold.body = sdp(B.ip(), 6_000, 2, "a=sendonly\r\n").into();
        net.send(B, &hold);
        let held = net.request_to(peer, Method::Invite);
        let mut ok = respond(peer, &held, 200, "", Some(1));
        ok.body = sdp(peer.ip(), 4_000, 2, "a=recvonly\r\n").into();
        net.send(peer, &ok);
        net.take(peer);
        let message = ack(&mut net, ends, 5);
        net.send(B, &message);
    }
    net.take(B);
    let refer = refer(&mut net, &up.b, 6, &format!("<sip:500@x?Replaces={}>", escaped(&replaces(&second))));
    net.send(B, &refer);
    net.take(B);
    // One after the other, since each is a negotiation of the same call.
    net.pass(1_000);
    let mut told = Vec::new();
    for _ in 0..3 {
        for peer in [A, D] {
            for invite in net.take(peer).into_iter().filter(|m| m.method() == Some(&Method::Invite)) {
                assert!(body(&invite).contains("a=sendrecv"), "{}", body(&invite));
                let mut ok = respond(peer, &invite, 200, "", Some(1));
                ok.body = sdp(peer.ip(), 4_000, 3, "").into();
                net.send(peer, &ok);
                told.push(peer);
            }
        }
        net.pass(1_000);
    }
    told.sort_unstable();
    told.dedup();
    assert_eq!(told, [A, D]);
    let directions: Vec<_> = net.media.open[&1].iter().map(|leg| leg.as_ref().unwrap().direction).collect();
    assert_eq!(directions, [Direction::SendRecv; 2]);
    let id = net.endpoint.calls().next().unwrap().id;
    net.endpoint.hang_up(net.now, id, &mut net.media);
    net.run_out();
}

#[test]
fn an_attended_transfer_that_cannot_be_leaves_both_calls() {
    let mut net = Net::with(transfers);
    let up = call_up(&mut net);
    let (second, _, _) = consultation(&mut net);
    // Its tags are not those of the dialog.
    let wrong = replaces(&second).replace("b2-tag", "b3-tag");
    let refer_wrong = refer(&mut net, &up.b, 2, &format!("<sip:500@x?Replaces={}>", escaped(&wrong)));
    net.send(B, &refer_wrong);
    let to_bob = net.take(B);
    assert_eq!(methods(&to_bob), ["202", "NOTIFY", "NOTIFY"]);
    assert!(body(&to_bob[2]).starts_with("SIP/2.0 481"));
    // A call cannot replace a part of itself.
    let own = refer(&mut net, &up.b, 3, &format!("<sip:500@x?Replaces={}>", escaped(&replaces(&up.b))));
    net.send(B, &own);
    net.response_to(B, 603);
    assert_eq!(net.endpoint.in_progress(), 2);
    net.endpoint.drain(net.now, net.now, &mut net.media);
    net.collect();
    net.run_out();
}

/// Dave at D calls with the Replaces of a leg.
fn invite_replacing(net: &mut Net, value: &str) -> Message {
    let mut invite = net.invite(D, "100");
    invite.headers.set(HeaderName::From, "<sip:dave@198.18.3.2>;tag=dave");
    invite.headers.push(HeaderName::Replaces, value);
    invite
}

#[test]
fn an_invite_with_replaces_takes_the_place_of_the_leg() {
    let mut net = Net::with(transfers);
    let up = call_up(&mut net);
    // As bob's peer, tandem, sees the dialog between them.
    let invite = invite_replacing(&mut net, &replaces(&up.b));
    net.send(D, &invite);
    let to_dave = net.take(D);
    assert_eq!(methods(&to_dave), ["100", "200"]);
    assert!(body(&to_dave[1]).contains("m=audio 20008 "), "{}", body(&to_dave[1]));
    let dave = Ends::caller(D, &invite, &to_dave[1]);
    let message = ack(&mut net, &dave, 1);
    net.send(D, &message);
    bye(&mut net, B);
    net.nothing_to(A);
    assert_eq!(net.media.open.len(), 1);
    assert_eq!(
        (remote(&net, 1, Side::A), remote(&net, 1, Side::B)),
        (Some("198.18.0.2:4000".parse().unwrap()), Some("198.18.3.2:4000".parse().unwrap()))
    );
    let bye_a = net.in_dialog(&up.a, "BYE", 2);
    net.send(A, &bye_a);
    net.response_to(A, 200);
    bye(&mut net, D);
    assert_eq!(net.records.len(), 2);
    assert_eq!(net.records[1].transfers[0].kind, TransferKind::Replaced);
    net.run_out();
}

/// RFC 3891 §3, rule by rule.
#[test]
fn an_invite_with_replaces_that_fits_no_leg_is_refused() {
    let mut net = Net::with(transfers);
    let up = call_up(&mut net);
    let good = replaces(&up.b);
    let cases = [
        (good.replace(up.b.call_id.as_str(), "other"), 481),
        (good.replace("b-tag", "c-tag"), 481),
        (format!("{good};early-only"), 486),
        ("nonsense".to_owned(), 400),
    ];
    for (value, status) in cases {
        let invite = invite_replacing(&mut net, &value);
        net.send(D, &invite);
        assert_eq!(net.take(D).last().unwrap().status(), Some(status), "{value}");
        let mut message = crate::sip::transaction::table::within_transaction(&invite, Method::Ack);
        message.headers.set(HeaderName::To, "<sip:100@198.18.0.1>;tag=x");
        net.send(D, &message);
    }
    let mut twice = invite_replacing(&mut net, &good);
    twice.headers.push(HeaderName::Replaces, good.as_str());
    net.send(D, &twice);
    assert_eq!(net.take(D).last().unwrap().status(), Some(400));
    net.nothing_to(B);
    net.records.clear();
    // The dialog has ended: nobody knows it any more.
    take_down_only(&mut net, &up);
    let late = invite_replacing(&mut net, &good);
    net.send(D, &late);
    assert_eq!(net.take(D).last().unwrap().status(), Some(481));
    net.run_out();
}

fn take_down_only(net: &mut Net, up: &Up) {
    let bye_a = net.in_dialog(&up.a, "BYE", 2);
    net.send(A, &bye_a);
    net.response_to(A, 200);
    bye(net, B);
}

#[test]
fn a_leg_of_a_trunk_without_transfers_is_not_replaced_by_another() {
    let mut net = Net::with(|config| {
        transfers(config);
        config.trunks[1].transfer = Transfer::Refuse;
    });
    let up = call_up(&mut net);
    let invite = invite_replacing(&mut net, &replaces(&up.b));
    net.send(D, &invite);
    assert_eq!(net.take(D).last().unwrap().status(), Some(403));
    net.nothing_to(B);
    net.records.clear();
    take_down(&mut net, &up, 2);
}

#[test]
fn a_transfer_under_way_is_taken_over() {
    let mut net = Net::with(transfers);
    let up = call_up(&mut net);
    let invite = referred(&mut net, &up);
    take_over(&mut net, transfers);
    net.send(D, &respond(D, &invite, 200, "d-tag", Some(7_000)));
    net.request_to(D, Method::Ack);
    assert_eq!(methods(&net.take(B)), ["NOTIFY", "BYE"]);
    let bye_a = net.in_dialog(&up.a, "BYE", 2);
    net.send(A, &bye_a);
    net.response_to(A, 200);
    bye(&mut net, D);
    assert_eq!(net.records.len(), 2);
    net.run_out();
}

/// Another host goes on with what the first one saved.
pub fn take_over(net: &mut Net, change: impl FnOnce(&mut Config)) {
    let saved = net.endpoint.save(net.now);
    let mut config: Config = toml::from_str(CONFIG).unwrap();
    change(&mut config);
    let config = std::sync::Arc::new(config);
    net.endpoint = crate::sip::endpoint::Endpoint::from_shadow(config, [9; 32], net.now, EPOCH_MS, &saved);
}

#[test]
fn a_call_comes_by_so_many_transfers_and_no_more() {
    let mut net = Net::with(transfers);
    let up = call_up(&mut net);
    let (mut leg, mut peer) = (up.b.clone(), B);
    for turn in 0..=TRANSFERS_PER_CALL {
        let value = replaces(&leg);
        let invite = invite_replacing(&mut net, &value);
        net.send(D, &invite);
        let to_dave = net.take(D);
        if turn == TRANSFERS_PER_CALL {
            assert_eq!(to_dave.last().unwrap().status(), Some(603));
            break;
        }
        let ok = to_dave.iter().find(|message| message.status() == Some(200)).unwrap();
        leg = Ends::caller(D, &invite, ok);
        let message = ack(&mut net, &leg, 1);
        net.send(D, &message);
        let byes: Vec<Message> = net.take(peer).into_iter().chain(to_dave).collect();
        for request in byes.iter().filter(|message| message.method() == Some(&Method::Bye)) {
            net.send(peer, &respond(peer, request, 200, "", None));
        }
        peer = D;
    }
    assert_eq!(net.media.open.len(), 1);
    let id = net.endpoint.calls().next().unwrap().id;
    net.endpoint.hang_up(net.now, id, &mut net.media);
    net.collect();
    let ended = net.records.iter().filter(|record| record.status == 200).count();
    assert_eq!(ended, 1 + TRANSFERS_PER_CALL, "each party's record is written at the common end");
    net.run_out();
}

#[test]
fn a_transferor_that_does_not_want_to_know_more_is_told_no_more() {
    let mut net = Net::with(transfers);
    let up = call_up(&mut net);
    let refer = refer(&mut net, &up.b, 2, "<sip:500@198.18.1.1>");
    net.send(B, &refer);
    let to_bob = net.take(B);
    // RFC 6665 §4.2.2: it does not know the subscription, and the call goes on.
    net.send(B, &respond(B, &to_bob[1], 481, "", None));
    let invite = net.request_to(D, Method::Invite);
    net.send(D, &respond(D, &invite, 180, "d-tag", None));
    net.send(D, &respond(D, &invite, 486, "d-tag", None));
    net.nothing_to(B);
    assert_eq!(net.endpoint.in_progress(), 1);
    net.records.clear();
    take_down(&mut net, &up, 2);
}
