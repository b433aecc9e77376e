//! Reliable provisional responses (RFC 3262), on both legs, with the offers and answers that they and their PRACKs
//! carry.

use super::harness::*;
use crate::{
    config::{Config, ReliableProvisionals},
    sip::{
        endpoint::Cause,
        message::{HeaderName, Message, Method},
    },
};

const RELIABLE: (HeaderName, &str) = (HeaderName::Supported, "100rel");

/// Alice calls with these header lines; tandem's INVITE to bob comes back too.
fn begin(net: &mut Net, lines: &[(HeaderName, &str)], offer: bool) -> (Message, Message) {
    let mut invite_a = net.invite(A, "100");
    lines.iter().for_each(|(name, value)| invite_a.headers.push(name.clone(), *value));
    if !offer {
        invite_a.body = "".into();
        invite_a.headers.remove(&HeaderName::ContentType);
    }
    net.send(A, &invite_a);
    net.response_to(A, 100);
    let invite_b = net.request_to(B, Method::Invite);
    (invite_a, invite_b)
}

/// Bob's reliable provisional response.
fn reliably(invite: &Message, status: u16, tag: &str, rseq: u32, port: Option<u16>) -> Message {
    let mut response = respond(B, invite, status, tag, port);
    response.headers.push(HeaderName::Require, "100rel");
    response.headers.push(HeaderName::RSeq, rseq.to_string());
    response.headers.push(HeaderName::Allow, "INVITE, ACK, BYE, CANCEL, PRACK, UPDATE");
    response
}

/// Alice's PRACK for tandem's response.
fn prack(net: &mut Net, invite: &Message, response: &Message, seq: u32) -> Message {
    let mut prack = net.in_dialog(&Ends::caller(A, invite, response), "PRACK", seq);
    prack.headers.push(HeaderName::RAck, format!("{} 1 INVITE", header(response, HeaderName::RSeq)));
    prack
}

fn with_sdp(mut message: Message, peer: std::net::SocketAddr, port: u16, version: u32) -> Message {
    message.headers.push(HeaderName::ContentType, "application/sdp");
    message.body = sdp(peer.ip(), port, version, "").into();
    message
}

fn rack(message: &Message) -> String {
    header(message, HeaderName::RAck)
}

fn is_reliable(message: &Message) -> bool {
    message.headers.get(&HeaderName::Require) == Some("100rel") && message.headers.contains(&HeaderName::RSeq)
}

fn mode(at: usize, mode: ReliableProvisionals) -> impl FnOnce(&mut Config) {
    move |config| config.trunks[at].reliable_provisionals = mode
}

/// RFC 3262 §3 and RFC 3261 §13: answer in the 183, acknowledged on both legs, and none in the 200.
#[test]
fn an_answer_in_a_183_is_acknowledged_end_to_end() {
    let mut net = Net::new();
    let (invite_a, invite_b) = begin(&mut net, &[RELIABLE], true);
    assert!(header(&invite_b, HeaderName::Supported).contains("100rel"));
    net.send(B, &reliably(&invite_b, 183, "b-tag", 700, Some(6_000)));
    let progress = net.response_to(A, 183);
    assert!(is_reliable(&progress) && body(&progress).contains("m=audio 20004 "));
    // Bob's PRACK waits for alice's; his repetition changes nothing.
    net.send(B, &reliably(&invite_b, 183, "b-tag", 700, Some(6_000)));
    net.nothing_to(B);
    net.nothing_to(A);
    let message = prack(&mut net, &invite_a, &progress, 2);
    net.send(A, &message);
    assert_eq!(net.response_to(A, 200).cseq().unwrap().method, Method::Prack);
    let passed = net.request_to(B, Method::Prack);
    assert_eq!(rack(&passed), "700 1 INVITE");
    assert_eq!((passed.cseq().unwrap().seq, passed.to().unwrap().tag()), (2, Some("b-tag")));
    net.send(B, &respond(B, &passed, 200, "", None));
    net.pass(100_000);
    assert!(net.take(A).iter().all(|m| m.status() == Some(183)), "the keep-alive of RFC 3261 §13.3.1.1 only");
    net.send(B, &respond(B, &invite_b, 200, "b-tag", None));
    assert_eq!(net.request_to(B, Method::Ack).cseq().unwrap().seq, 1, "RFC 3261 §13.2.2.4");
    let ok = net.response_to(A, 200);
    assert!(ok.body.is_empty(), "the answer was given, and acknowledged");
    assert_eq!(net.media.open[&1][1].as_ref().unwrap().rtp, Some("198.18.1.2:6000".parse().unwrap()));
    let message = ack(&mut net, &Ends::caller(A, &invite_a, &ok), 1);
    net.send(A, &message);
    assert_eq!(net.endpoint.in_progress(), 1);
}

#[test]
fn a_caller_without_100rel_gets_it_plainly_and_bob_his_prack_at_once() {
    let mut net = Net::new();
    let (_, invite_b) = begin(&mut net, &[], true);
    net.send(B, &reliably(&invite_b, 183, "b-tag", 9, Some(6_000)));
    let progress = net.response_to(A, 183);
    assert!(!is_reliable(&progress) && !progress.body.is_empty());
    assert_eq!(rack(&net.request_to(B, Method::Prack)), "9 1 INVITE");
    // RFC 3261 §13.2.1: the 200 to her must hold the answer, though bob does not repeat it.
    net.send(B, &respond(B, &invite_b, 200, "b-tag", None));
    assert!(body(&net.response_to(A, 200)).contains("m=audio 20004 "));
}

#[test]
fn who_only_supports_it_gets_plain_ringing_and_who_requires_it_does_not() {
    for (line, expected) in [(RELIABLE, false), ((HeaderName::Require, "100rel"), true)] {
        let mut net = Net::new();
        let (_, invite_b) = begin(&mut net, &[line], true);
        net.send(B, &respond(B, &invite_b, 180, "b-tag", None));
        assert_eq!(is_reliable(&net.response_to(A, 180)), expected);
        net.nothing_to(B);
    }
}

#[test]
fn off_and_require_do_what_they_say() {
    let mut net = Net::with(mode(0, ReliableProvisionals::Off));
    let mut invite = net.invite(A, "100");
    invite.headers.push(HeaderName::Require, "100rel");
    net.send(A, &invite);
    assert_eq!(header(&net.response_to(A, 420), HeaderName::Unsupported), "100rel");
    let (_, invite_b) = begin(&mut net, &[RELIABLE], true);
    net.send(B, &respond(B, &invite_b, 183, "b-tag", Some(6_000)));
    let progress = net.response_to(A, 183);
    assert!(!is_reliable(&progress));
    assert!(!header(&progress, HeaderName::Allow).contains("PRACK"), "Allow is the leg's own");
    assert!(header(&invite_b, HeaderName::Allow).contains("PRACK"));

    let mut net = Net::with(mode(0, ReliableProvisionals::Require));
    let invite = net.invite(A, "100");
    net.send(A, &invite);
    assert_eq!(header(&net.response_to(A, 421), HeaderName::Require), "100rel");

    let mut net = Net::with(mode(1, ReliableProvisionals::Require));
    let (_, invite_b) = begin(&mut net, &[], true);
    assert_eq!(header(&invite_b, HeaderName::Require), "100rel");
    let mut net = Net::with(mode(1, ReliableProvisionals::Off));
    let (_, invite_b) = begin(&mut net, &[], true);
    assert_eq!(header(&invite_b, HeaderName::Supported), "timer");
}

/// RFC 3262 §3: T1, doubling without a ceiling, and a 5xx after 64·T1.
#[test]
fn without_a_prack_it_is_repeated_and_then_the_call_is_refused() {
    let mut net = Net::new();
    let (_, invite_b) = begin(&mut net, &[RELIABLE], true);
    net.send(B, &reliably(&invite_b, 183, "b-tag", 1, Some(6_000)));
    let first = net.response_to(A, 183);
    let start = net.now;
    net.pass(31_999);
    let times: Vec<u128> = net.sent.iter().filter(|s| s.flow.remote == A).map(|s| (s.at - start).as_millis()).collect();
    assert_eq!(times, [500, 1_500, 3_500, 7_500, 15_500, 31_500]);
    assert!(net.take(A).iter().all(|again| *again == first));
    net.nothing_to(B);
    net.pass(1);
    net.response_to(A, 504);
    net.request_to(B, Method::Cancel);
    assert_eq!(net.the_record().cause, Cause::NoAck);
    net.run_out();
}

#[test]
fn a_prack_that_acknowledges_nothing_gets_481() {
    let mut net = Net::new();
    let (invite_a, invite_b) = begin(&mut net, &[RELIABLE], true);
    net.send(B, &reliably(&invite_b, 183, "b-tag", 1, Some(6_000)));
    let progress = net.response_to(A, 183);
    let rseq: u32 = header(&progress, HeaderName::RSeq).parse().unwrap();
    assert!((1..1 << 31).contains(&rseq), "RFC 3262 §3");
    for (seq, wrong) in
        [(2, format!("{} 1 INVITE", rseq + 1)), (3, format!("{rseq} 2 INVITE")), (4, format!("{rseq} 1 UPDATE"))]
    {
        let mut message = prack(&mut net, &invite_a, &progress, seq);
        message.headers.set(HeaderName::RAck, wrong);
        net.send(A, &message);
        net.response_to(A, 481);
    }
    let mut message = prack(&mut net, &invite_a, &progress, 5);
    message.headers.set(HeaderName::RAck, "one 1 INVITE");
    net.send(A, &message);
    net.response_to(A, 400);
    net.nothing_to(B);
    let message = prack(&mut net, &invite_a, &progress, 6);
    net.send(A, &message);
    net.response_to(A, 200);
    // The same PRACK again is a repetition; another one for the same response acknowledges nothing.
    net.send(A, &message);
    net.response_to(A, 200);
    let message = prack(&mut net, &invite_a, &progress, 7);
    net.send(A, &message);
    net.response_to(A, 481);
    assert_eq!(net.take(B).len(), 1);
}

/// RFC 3262 §4: RSeq counts up by one in each dialog; what is out of order is not acknowledged.
#[test]
fn bobs_responses_are_taken_in_their_order() {
    let mut net = Net::new();
    let (_, invite_b) = begin(&mut net, &[], true);
    net.send(B, &reliably(&invite_b, 180, "b-tag", 41, None));
    assert_eq!(rack(&net.request_to(B, Method::Prack)), "41 1 INVITE");
    net.response_to(A, 180);
    for (rseq, taken) in [(43, false), (41, false), (42, true), (42, false), (43, true)] {
        net.send(B, &reliably(&invite_b, 183, "b-tag", rseq, None));
        let (to_a, to_b) = (net.take(A), net.take(B));
        assert_eq!((to_a.len(), to_b.len()), (usize::from(taken), usize::from(taken)), "{rseq}");
        if taken {
            assert_eq!(rack(&to_b[0]), format!("{rseq} 1 INVITE"));
        }
    }
    // Without a number it cannot be acknowledged.
    let mut nameless = reliably(&invite_b, 183, "b-tag", 44, None);
    nameless.headers.remove(&HeaderName::RSeq);
    net.send(B, &nameless);
    net.nothing_to(A);
    net.nothing_to(B);
}

#[test]
fn our_prack_is_repeated_until_it_is_answered() {
    let mut net = Net::new();
    let (_, invite_b) = begin(&mut net, &[], true);
    net.send(B, &reliably(&invite_b, 180, "b-tag", 1, None));
    let first = net.request_to(B, Method::Prack);
    net.pass(3_500);
    let again = net.take(B);
    assert_eq!(again.len(), 3, "timer E: 500, 1500, 3500 ms");
    assert!(again.iter().all(|m| *m == first));
    net.send(B, &respond(B, &first, 200, "", None));
    net.pass(20_000);
    net.nothing_to(B);
}

/// RFC 3262 §3: the second waits for the PRACK of the first; each has the next number.
#[test]
fn the_next_one_waits_for_the_prack_of_the_one_before() {
    let mut net = Net::new();
    let (invite_a, invite_b) = begin(&mut net, &[(HeaderName::Require, "100rel")], true);
    net.send(B, &respond(B, &invite_b, 180, "b-tag", None));
    let ringing = net.response_to(A, 180);
    net.send(B, &reliably(&invite_b, 183, "b-tag", 5, Some(6_000)));
    net.send(B, &respond(B, &invite_b, 182, "b-tag", None));
    net.nothing_to(A);
    let rseq: u32 = header(&ringing, HeaderName::RSeq).parse().unwrap();
    let message = prack(&mut net, &invite_a, &ringing, 2);
    net.send(A, &message);
    let to_a = net.take(A);
    assert_eq!(to_a.iter().map(Message::status).collect::<Vec<_>>(), [Some(200), Some(183)]);
    assert_eq!(header(&to_a[1], HeaderName::RSeq), (rseq + 1).to_string());
    net.nothing_to(B);
    let message = prack(&mut net, &invite_a, &to_a[1], 3);
    net.send(A, &message);
    let to_a = net.take(A);
    assert_eq!(to_a.iter().map(Message::status).collect::<Vec<_>>(), [Some(200), Some(182)]);
    assert_eq!(header(&to_a[1], HeaderName::RSeq), (rseq + 2).to_string());
    net.request_to(B, Method::Prack);
}

/// RFC 3262 §3: no 2xx while a description is not acknowledged.
#[test]
fn the_200_waits_for_the_prack_of_a_description() {
    let mut net = Net::new();
    let (invite_a, invite_b) = begin(&mut net, &[RELIABLE], true);
    net.send(B, &respond(B, &invite_b, 183, "b-tag", Some(6_000)));
    let progress = net.response_to(A, 183);
    assert!(is_reliable(&progress));
    let ok_b = respond(B, &invite_b, 200, "b-tag", Some(6_000));
    net.send(B, &ok_b);
    net.send(B, &ok_b);
    net.nothing_to(A);
    net.pass(500);
    net.response_to(A, 183);
    let message = prack(&mut net, &invite_a, &progress, 2);
    net.send(A, &message);
    let to_a = net.take(A);
    let of: Vec<_> = to_a.iter().map(|m| (m.status().unwrap(), m.cseq().unwrap().method)).collect();
    assert_eq!(of, [(200, Method::Prack), (200, Method::Invite)]);
    net.request_to(B, Method::Ack);
    net.pass(300);
    net.nothing_to(A);
    assert_eq!(net.endpoint.counters().answered, 1);
}

#[test]
fn a_200_that_waited_in_vain_is_acknowledged_and_hung_up() {
    for cancel in [true, false] {
        let mut net = Net::new();
        let (invite_a, invite_b) = begin(&mut net, &[RELIABLE], true);
        net.send(B, &respond(B, &invite_b, 183, "b-tag", Some(6_000)));
        net.take(A);
        net.send(B, &respond(B, &invite_b, 200, "b-tag", Some(6_000)));
        if cancel {
            net.send(A, &crate::sip::transaction::table::within_transaction(&invite_a, Method::Cancel));
        } else {
            net.pass(32_000);
        }
        let to_b: Vec<_> = net.take(B).iter().filter_map(|m| m.method().cloned()).collect();
        assert_eq!(to_b[..2], [Method::Ack, Method::Bye]);
        let last = net.take(A).pop().unwrap();
        assert_eq!(last.status(), Some(if cancel { 487 } else { 504 }));
        net.run_out();
    }
}

#[test]
fn a_200_overtakes_what_was_still_in_line() {
    let mut net = Net::new();
    let (invite_a, invite_b) = begin(&mut net, &[(HeaderName::Require, "100rel")], true);
    net.send(B, &respond(B, &invite_b, 180, "b-tag", None));
    let ringing = net.response_to(A, 180);
    net.send(B, &respond(B, &invite_b, 183, "b-tag", Some(6_000)));
    net.nothing_to(A);
    net.send(B, &respond(B, &invite_b, 200, "b-tag", Some(6_000)));
    let ok = net.response_to(A, 200);
    assert!(!ok.body.is_empty(), "she was not told yet");
    // Her PRACK for the 180 is late, and still right.
    let message = prack(&mut net, &invite_a, &ringing, 2);
    net.send(A, &message);
    assert_eq!(net.response_to(A, 200).cseq().unwrap().method, Method::Prack);
    net.request_to(B, Method::Ack);
}

#[test]
fn a_refusal_does_not_wait() {
    let mut net = Net::new();
    let (_, invite_b) = begin(&mut net, &[RELIABLE], true);
    net.send(B, &reliably(&invite_b, 183, "b-tag", 1, Some(6_000)));
    net.take(A);
    net.send(B, &respond(B, &invite_b, 486, "b-tag", None));
    net.response_to(A, 486);
    net.take(B);
    net.pass(400);
    net.nothing_to(A);
    net.run_out();
}

/// RFC 3262 §5: no offer in the INVITE, the offer in a 183, the answer in its PRACK.
#[test]
fn an_offer_in_a_183_is_answered_in_its_prack() {
    let mut net = Net::new();
    let (invite_a, invite_b) = begin(&mut net, &[RELIABLE], false);
    assert!(invite_b.body.is_empty());
    net.send(B, &reliably(&invite_b, 183, "b-tag", 3, Some(6_000)));
    let progress = net.response_to(A, 183);
    assert!(is_reliable(&progress) && body(&progress).contains("m=audio 20004 "));
    let message = with_sdp(prack(&mut net, &invite_a, &progress, 2), A, 4_000, 1);
    net.send(A, &message);
    net.response_to(A, 200);
    let passed = net.request_to(B, Method::Prack);
    assert!(body(&passed).contains("m=audio 20006 "));
    net.send(B, &respond(B, &passed, 200, "", None));
    net.send(B, &respond(B, &invite_b, 200, "b-tag", None));
    // Nothing is open any more: the ACK goes at once, and both 200 are bare.
    assert!(net.request_to(B, Method::Ack).body.is_empty());
    let ok = net.response_to(A, 200);
    assert!(ok.body.is_empty());
    let legs = &net.media.open[&1];
    assert_eq!(legs[0].as_ref().unwrap().rtp, Some("198.18.0.2:4000".parse().unwrap()));
    assert_eq!(legs[1].as_ref().unwrap().rtp, Some("198.18.1.2:6000".parse().unwrap()));
}

#[test]
fn an_offer_in_a_183_that_nobody_answers_ends_the_call() {
    let mut net = Net::new();
    let (invite_a, invite_b) = begin(&mut net, &[RELIABLE], false);
    net.send(B, &reliably(&invite_b, 183, "b-tag", 3, Some(6_000)));
    let progress = net.response_to(A, 183);
    let message = prack(&mut net, &invite_a, &progress, 2);
    net.send(A, &message);
    assert_eq!(net.take(A).iter().map(Message::status).collect::<Vec<_>>(), [Some(200), Some(488)]);
    net.request_to(B, Method::Cancel);
    assert_eq!(net.the_record().cause, Cause::BadAnswer);
    net.run_out();
}

/// Who has no 100rel cannot answer an offer in a 183, so bob is not asked for one.
#[test]
fn a_late_offer_without_100rel_is_in_the_200() {
    let mut net = Net::new();
    let (_, invite_b) = begin(&mut net, &[], false);
    assert_eq!(header(&invite_b, HeaderName::Supported), "timer");
    net.send(B, &respond(B, &invite_b, 200, "b-tag", Some(6_000)));
    assert!(body(&net.response_to(A, 200)).contains("m=audio 20004 "));
}

/// RFC 3262 §5: a further offer in the PRACK; its answer is in the 200 to the PRACK.
#[test]
fn an_offer_in_a_prack_crosses_in_a_prack() {
    let mut net = Net::new();
    let (invite_a, invite_b) = begin(&mut net, &[RELIABLE], true);
    net.send(B, &reliably(&invite_b, 183, "b-tag", 3, Some(6_000)));
    let progress = net.response_to(A, 183);
    let message = with_sdp(prack(&mut net, &invite_a, &progress, 2), A, 4_100, 2);
    net.send(A, &message);
    net.nothing_to(A);
    let passed = net.request_to(B, Method::Prack);
    assert_eq!(rack(&passed), "3 1 INVITE");
    assert!(body(&passed).contains("m=audio 20006 "));
    let mut ok = respond(B, &passed, 200, "", Some(6_100));
    ok.body = sdp(B.ip(), 6_100, 2, "").into();
    net.send(B, &ok);
    let ok = net.response_to(A, 200);
    assert_eq!(ok.cseq().unwrap().method, Method::Prack);
    assert!(body(&ok).contains("m=audio 20004 "));
    let legs = &net.media.open[&1];
    assert_eq!(legs[0].as_ref().unwrap().rtp, Some("198.18.0.2:4100".parse().unwrap()));
    assert_eq!(legs[1].as_ref().unwrap().rtp, Some("198.18.1.2:6100".parse().unwrap()));
    net.send(B, &respond(B, &invite_b, 200, "b-tag", None));
    assert!(net.response_to(A, 200).body.is_empty());
}

#[test]
fn an_offer_in_a_prack_after_bobs_own_crosses_as_update() {
    let mut net = Net::new();
    let (invite_a, invite_b) = begin(&mut net, &[RELIABLE], true);
    net.send(B, &reliably(&invite_b, 183, "b-tag", 3, Some(6_000)));
    let progress = net.response_to(A, 183);
    let message = prack(&mut net, &invite_a, &progress, 2);
    net.send(A, &message);
    net.response_to(A, 200);
    net.request_to(B, Method::Prack);
    // Ringing, reliable because bob's is; he is not kept waiting for it.
    net.send(B, &reliably(&invite_b, 180, "b-tag", 4, None));
    net.request_to(B, Method::Prack);
    let ringing = net.response_to(A, 180);
    let message = with_sdp(prack(&mut net, &invite_a, &ringing, 3), A, 4_100, 2);
    net.send(A, &message);
    let passed = net.request_to(B, Method::Update);
    net.send(B, &respond(B, &passed, 200, "", Some(6_100)));
    let ok = net.response_to(A, 200);
    assert_eq!(ok.cseq().unwrap().method, Method::Prack);
    assert!(!ok.body.is_empty());
}

/// Each fork counts its own RSeq and gets its own PRACKs; the first 200 decides whose media it is.
#[test]
fn each_fork_is_acknowledged_in_its_own_dialog() {
    let mut net = Net::new();
    let (_, invite_b) = begin(&mut net, &[], true);
    for (tag, rseq, port) in [("fork-1", 100, 6_100), ("fork-2", 900, 6_200), ("fork-1", 101, 6_100)] {
        let mut response = reliably(&invite_b, 183, tag, rseq, Some(port));
        response.headers.set(HeaderName::Contact, format!("<sip:{tag}@198.18.1.2>"));
        net.send(B, &response);
        let prack = net.request_to(B, Method::Prack);
        assert_eq!((prack.to().unwrap().tag(), rack(&prack)), (Some(tag), format!("{rseq} 1 INVITE")));
        assert_eq!(prack.uri().unwrap().to_string(), format!("sip:{tag}@198.18.1.2"));
        assert_eq!(net.media.open[&1][1].as_ref().unwrap().rtp.unwrap().port(), port, "the one that spoke last");
        let expected = if rseq == 101 { 3 } else { 2 };
        assert_eq!(prack.cseq().unwrap().seq, expected, "each dialog has its own numbers");
    }
    assert_eq!(net.take(A).len(), 3);
    // Fork 2 answers, without repeating its description.
    net.send(B, &respond(B, &invite_b, 200, "fork-2", None));
    assert_eq!(net.request_to(B, Method::Ack).to().unwrap().tag(), Some("fork-2"));
    assert!(!net.response_to(A, 200).body.is_empty());
    assert_eq!(net.media.open[&1][1].as_ref().unwrap().rtp, Some("198.18.1.2:6200".parse().unwrap()));
    // Fork 1 answers too late.
    net.send(B, &respond(B, &invite_b, 200, "fork-1", None));
    let to_b: Vec<_> = net.take(B).iter().filter_map(|m| m.method().cloned()).collect();
    assert_eq!(to_b, [Method::Ack, Method::Bye]);
    assert_eq!(net.endpoint.in_progress(), 1);
}

#[test]
fn early_media_follows_the_fork_that_spoke_last() {
    let mut net = Net::new();
    let (_, invite_b) = begin(&mut net, &[], true);
    for (tag, port) in [("fork-1", 6_100), ("fork-2", 6_200), ("fork-1", 6_100)] {
        net.send(B, &respond(B, &invite_b, 183, tag, Some(port)));
        let heard = net.media.open[&1][1].as_ref().unwrap().rtp.unwrap();
        assert_eq!(heard.port(), port);
    }
    let to_a = net.take(A);
    assert!(to_a.windows(2).all(|pair| pair[0].to().unwrap() == pair[1].to().unwrap()), "one early dialog");
}
