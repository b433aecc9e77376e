//! Session timers (RFC 4028): both roles on each leg, 422 both ways, refreshes by UPDATE and re-INVITE, and BYE at the
//! time that the RFC names.

use super::harness::*;
use crate::{
    config::{Config, SessionTimerMode},
    sip::{
        endpoint::Cause,
        message::{HeaderName, Message, Method},
    },
};

/// Alice's INVITE with these header lines.
fn invite_with(net: &mut Net, lines: &[(HeaderName, &str)]) -> Message {
    let mut invite = net.invite(A, "100");
    lines.iter().for_each(|(name, value)| invite.headers.push(name.clone(), *value));
    invite
}

/// A call in which alice and bob say this about session timers. The 200 to alice is returned too.
fn call(net: &mut Net, alice: &[(HeaderName, &str)], bob: &[(HeaderName, &str)]) -> (Up, Message) {
    let invite_a = invite_with(net, alice);
    net.send(A, &invite_a);
    net.response_to(A, 100);
    let invite_b = net.request_to(B, Method::Invite);
    let mut ok_b = respond(B, &invite_b, 200, "b-tag", Some(6_000));
    bob.iter().for_each(|(name, value)| ok_b.headers.push(name.clone(), *value));
    net.send(B, &ok_b);
    net.request_to(B, Method::Ack);
    let ok_a = net.response_to(A, 200);
    let (a, b) = (Ends::caller(A, &invite_a, &ok_a), Ends::callee(B, &invite_b, &ok_b));
    let message = ack(net, &a, 1);
    net.send(A, &message);
    (Up { a, b, invite_a, invite_b }, ok_a)
}

const ALLOW_UPDATE: (HeaderName, &str) = (HeaderName::Allow, "INVITE, ACK, BYE, CANCEL, UPDATE");
const TIMER: (HeaderName, &str) = (HeaderName::Supported, "timer");

fn expires(value: &str) -> (HeaderName, &str) {
    (HeaderName::SessionExpires, value)
}

fn requesting(config: &mut Config) {
    config.sip.session_timer.mode = SessionTimerMode::Request;
}

fn off(config: &mut Config) {
    config.sip.session_timer.mode = SessionTimerMode::Off;
}

fn get(message: &Message, name: HeaderName) -> Option<&str> {
    message.headers.get(&name)
}

#[test]
fn the_default_speaks_of_timers_and_asks_for_none() {
    let mut net = Net::new();
    let (up, ok_a) = call(&mut net, &[], &[]);
    assert_eq!(get(&up.invite_b, HeaderName::Supported), Some("100rel, timer"));
    assert_eq!(get(&up.invite_b, HeaderName::SessionExpires), None);
    assert_eq!(get(&ok_a, HeaderName::SessionExpires), None);
    net.pass(10_000_000);
    net.nothing_to(A);
    net.nothing_to(B);
    take_down(&mut net, &up, 2);
}

#[test]
fn off_says_nothing_and_does_not_know_the_extension() {
    let mut net = Net::with(off);
    let invite = invite_with(&mut net, &[(HeaderName::Require, "timer")]);
    net.send(A, &invite);
    assert_eq!(header(&net.response_to(A, 420), HeaderName::Unsupported), "timer");
    let mut net = Net::with(off);
    let (up, ok_a) = call(&mut net, &[TIMER, expires("90;refresher=uac")], &[expires("90;refresher=uas")]);
    assert_eq!(get(&up.invite_b, HeaderName::Supported), Some("100rel"));
    assert_eq!(get(&ok_a, HeaderName::SessionExpires), None);
    net.pass(10_000_000);
    net.nothing_to(A);
    net.nothing_to(B);
}

#[test]
fn a_trunk_has_its_own_mode() {
    let mut net = Net::with(|config| {
        config.trunks[0].session_timer = Some(SessionTimerMode::Off);
        config.trunks[1].session_timer = Some(SessionTimerMode::Request);
        config.sip.session_timer.expires_s = 600;
    });
    let (up, ok_a) = call(&mut net, &[TIMER, expires("90")], &[]);
    assert_eq!(get(&up.invite_b, HeaderName::SessionExpires), Some("600"));
    assert_eq!(get(&ok_a, HeaderName::SessionExpires), None);
}

/// RFC 4028 §9, table 2, and the headers of the 2xx.
#[test]
fn as_uas_the_refresher_is_who_the_table_says() {
    for (supported, asked, said, require) in [
        (true, "1200;refresher=uac", "1200;refresher=uac", Some("timer")),
        (true, "1200;refresher=uas", "1200;refresher=uas", None),
        (true, "1200", "1200;refresher=uas", None),
        // A proxy put it in; the caller knows nothing of it.
        (false, "1200", "1200;refresher=uas", None),
        (false, "1200;refresher=uac", "1200;refresher=uas", None),
    ] {
        let mut net = Net::new();
        let mut lines = vec![expires(asked)];
        lines.extend(supported.then_some(TIMER));
        let (up, ok_a) = call(&mut net, &lines, &[]);
        assert_eq!(get(&ok_a, HeaderName::SessionExpires), Some(said));
        assert_eq!(get(&ok_a, HeaderName::Require), require, "{asked}");
        // Nothing of it crosses.
        assert_eq!(get(&up.invite_b, HeaderName::SessionExpires), None);
        net.nothing_to(B);
    }
}

#[test]
fn as_uas_a_short_interval_gets_422() {
    let mut net = Net::with(|config| config.sip.session_timer.min_se_s = 300);
    let invite = invite_with(&mut net, &[TIMER, expires("299")]);
    net.send(A, &invite);
    assert_eq!(header(&net.response_to(A, 422), HeaderName::MinSe), "300");
    net.nothing_to(B);
    assert_eq!(net.the_record().cause, Cause::BadRequest);
    // Who does not know what 422 means gets a longer interval instead.
    let (_, ok_a) = call(&mut net, &[expires("200")], &[]);
    assert_eq!(get(&ok_a, HeaderName::SessionExpires), Some("300;refresher=uas"));
}

/// RFC 4028 §5: no element may go below 90 s, so nobody may ask tandem to.
#[test]
fn as_uas_less_than_90_s_is_always_too_short() {
    let mut net = Net::new();
    let invite = invite_with(&mut net, &[TIMER, expires("89")]);
    net.send(A, &invite);
    assert_eq!(header(&net.response_to(A, 422), HeaderName::MinSe), "90");
}

#[test]
fn as_uac_a_422_is_obeyed_with_the_highest_min_se() {
    let mut net = Net::with(|config| {
        requesting(config);
        config.sip.session_timer.expires_s = 600;
    });
    let invite_a = net.invite(A, "100");
    net.send(A, &invite_a);
    net.response_to(A, 100);
    let first = net.request_to(B, Method::Invite);
    assert_eq!(get(&first, HeaderName::SessionExpires), Some("600"), "the other end chooses who refreshes");
    let mut short = respond(B, &first, 422, "b-tag", None);
    short.headers.push(HeaderName::MinSe, "700");
    short.headers.push(HeaderName::MinSe, "3600");
    net.send(B, &short);
    let to_b = net.take(B);
    assert_eq!(to_b[0].method(), Some(&Method::Ack));
    let second = &to_b[1];
    assert_eq!(get(second, HeaderName::SessionExpires), Some("3600"));
    assert_eq!(get(second, HeaderName::MinSe), Some("3600"));
    // RFC 4028 §7.3: a new transaction of the same call, outside any dialog.
    assert_eq!((second.call_id(), second.cseq().unwrap().seq), (first.call_id(), 2));
    assert_eq!(second.from().unwrap(), first.from().unwrap());
    assert_eq!(second.to().unwrap().tag(), None);
    assert_eq!(second.body, first.body, "the same description in the same version");
    net.nothing_to(A);
    let mut ok = respond(B, second, 200, "b-tag", Some(6_000));
    ok.headers.push(HeaderName::SessionExpires, "3600;refresher=uas");
    net.send(B, &ok);
    assert_eq!(net.request_to(B, Method::Ack).cseq().unwrap().seq, 2);
    net.response_to(A, 200);
    assert_eq!(net.endpoint.in_progress(), 1);
}

#[test]
fn a_422_that_asks_for_no_more_is_a_refusal() {
    let mut net = Net::with(requesting);
    let invite_a = net.invite(A, "100");
    net.send(A, &invite_a);
    net.response_to(A, 100);
    let first = net.request_to(B, Method::Invite);
    let mut short = respond(B, &first, 422, "b-tag", None);
    short.headers.push(HeaderName::MinSe, "90");
    net.send(B, &short);
    net.request_to(B, Method::Ack);
    net.response_to(A, 422);
    net.run_out();
}

/// RFC 4028 §7.2, §10: at half the interval, by UPDATE, again and again.
#[test]
fn as_uac_tandem_refreshes_by_update() {
    let mut net = Net::with(|config| {
        requesting(config);
        config.trunks[0].session_timer = Some(SessionTimerMode::Off);
    });
    let bob = [expires("600;refresher=uac"), (HeaderName::Require, "timer"), ALLOW_UPDATE];
    let (up, _) = call(&mut net, &[], &bob);
    for round in 2..5 {
        net.pass(299_999);
        net.nothing_to(B);
        net.pass(1);
        let update = net.request_to(B, Method::Update);
        assert_eq!(update.cseq().unwrap().seq, round);
        assert!(update.body.is_empty());
        assert_eq!(get(&update, HeaderName::SessionExpires), Some("600;refresher=uac"));
        assert_eq!(get(&update, HeaderName::Supported), Some("100rel, timer"));
        let mut ok = respond(B, &update, 200, "", None);
        ok.headers.push(HeaderName::SessionExpires, "600;refresher=uac");
        net.send(B, &ok);
    }
    net.nothing_to(A);
    take_down(&mut net, &up, 2);
}

#[test]
fn as_uas_tandem_refreshes_by_re_invite_with_the_same_description() {
    let mut net = Net::new();
    let (up, ok_a) = call(&mut net, &[TIMER, expires("600;refresher=uas")], &[]);
    for round in 1..3 {
        net.pass(300_000);
        let refresh = net.request_to(A, Method::Invite);
        assert_eq!(refresh.cseq().unwrap().seq, round);
        assert_eq!(refresh.body, ok_a.body, "the version does not change");
        assert_eq!(get(&refresh, HeaderName::SessionExpires), Some("600;refresher=uac"), "the roles of this request");
        let mut ok = respond(A, &refresh, 200, "", Some(4_000));
        ok.headers.push(HeaderName::SessionExpires, "600;refresher=uac");
        net.send(A, &ok);
        assert_eq!(net.request_to(A, Method::Ack).cseq().unwrap().seq, round);
    }
    net.nothing_to(B);
    take_down(&mut net, &up, 2);
}

#[test]
fn a_refresh_whose_answer_moved_moves_the_media_of_that_leg() {
    let mut net = Net::new();
    let (up, _) = call(&mut net, &[TIMER, expires("600;refresher=uas")], &[]);
    net.pass(300_000);
    let refresh = net.request_to(A, Method::Invite);
    net.send(A, &respond(A, &refresh, 200, "", Some(4_444)));
    net.request_to(A, Method::Ack);
    assert_eq!(net.media.open[&1][0].as_ref().unwrap().rtp, Some("198.18.0.2:4444".parse().unwrap()));
    net.nothing_to(B);
    take_down(&mut net, &up, 2);
}

/// RFC 4028 §10: the smaller of 32 s and a third of the interval before the session expires.
#[test]
fn without_the_peers_refresh_the_call_ends_in_time() {
    for (interval, ends_s) in [("1800", 1_768), ("90", 60)] {
        let mut net = Net::new();
        let asked = format!("{interval};refresher=uac");
        let (_, ok_a) = call(&mut net, &[TIMER, expires(&asked)], &[]);
        assert_eq!(get(&ok_a, HeaderName::Require), Some("timer"));
        net.pass(ends_s * 1_000 - 1);
        net.nothing_to(A);
        assert_eq!(net.endpoint.in_progress(), 1);
        net.pass(1);
        let bye = net.request_to(A, Method::Bye);
        assert!(header(&bye, HeaderName::Reason).contains("Session timer expired"));
        net.request_to(B, Method::Bye);
        assert_eq!(net.the_record().cause, Cause::SessionExpired);
        net.run_out();
    }
}

#[test]
fn as_uac_the_callee_that_does_not_refresh_ends_the_call() {
    let mut net = Net::with(requesting);
    call(&mut net, &[], &[expires("90;refresher=uas")]);
    // Leg A has a timer of its own, which tandem refreshes.
    net.pass(60_000);
    net.request_to(B, Method::Bye);
    assert_eq!(net.the_record().cause, Cause::SessionExpired);
    net.take(A);
    net.run_out();
}

/// By UPDATE without a description; by a re-INVITE that changes nothing: neither crosses.
#[test]
fn the_peers_refresh_is_answered_here_and_starts_the_time_anew() {
    for method in ["UPDATE", "INVITE"] {
        let mut net = Net::new();
        let (up, ok_a) = call(&mut net, &[TIMER, expires("90;refresher=uac")], &[]);
        for round in 2..5 {
            net.pass(59_999);
            let mut refresh = net.in_dialog(&up.a, method, round);
            refresh.headers.push(HeaderName::Supported, "timer");
            refresh.headers.push(HeaderName::SessionExpires, "90;refresher=uac");
            if method == "INVITE" {
                refresh.headers.push(HeaderName::ContentType, "application/sdp");
                refresh.body = up.invite_a.body.clone();
            }
            net.send(A, &refresh);
            let ok = net.response_to(A, 200);
            assert_eq!(get(&ok, HeaderName::SessionExpires), Some("90;refresher=uac"));
            assert_eq!(get(&ok, HeaderName::Require), Some("timer"));
            assert!(ok.headers.contains(&HeaderName::Contact), "RFC 3311 §5.2");
            if method == "INVITE" {
                assert_eq!(ok.body, ok_a.body);
                let message = ack(&mut net, &up.a, round);
                net.send(A, &message);
            }
            net.nothing_to(B);
        }
        net.pass(60_000);
        net.request_to(A, Method::Bye);
        net.run_out();
    }
}

#[test]
fn a_refresh_that_changes_something_crosses_and_refreshes_both_legs() {
    let mut net = Net::with(requesting);
    let bob = [expires("1800;refresher=uas"), ALLOW_UPDATE];
    let (up, _) = call(&mut net, &[TIMER, expires("1800;refresher=uac")], &bob);
    net.pass(1_000_000);
    let mut hold = net.in_dialog(&up.a, "INVITE", 2);
    hold.headers.push(HeaderName::Supported, "timer");
    hold.headers.push(HeaderName::SessionExpires, "1800;refresher=uac");
    hold.headers.push(HeaderName::ContentType, "application/sdp");
    hold.body = sdp(A.ip(), 4_000, 2, "a=sendonly\r\n").into();
    net.send(A, &hold);
    net.response_to(A, 100);
    let passed = net.request_to(B, Method::Invite);
    assert_eq!(get(&passed, HeaderName::SessionExpires), Some("1800;refresher=uas"), "leg B's own roles");
    // Bob wants longer: that is between him and tandem.
    let mut short = respond(B, &passed, 422, "", None);
    short.headers.push(HeaderName::MinSe, "2000");
    net.send(B, &short);
    let to_b = net.take(B);
    let passed = to_b.last().unwrap();
    assert_eq!(get(passed, HeaderName::SessionExpires), Some("2000;refresher=uas"));
    assert_eq!(get(passed, HeaderName::MinSe), Some("2000"));
    net.nothing_to(A);
    let mut ok = respond(B, passed, 200, "", Some(6_000));
    ok.headers.push(HeaderName::SessionExpires, "2000;refresher=uas");
    net.send(B, &ok);
    net.request_to(B, Method::Ack);
    let ok = net.response_to(A, 200);
    assert_eq!(get(&ok, HeaderName::SessionExpires), Some("1800;refresher=uac"));
    let message = ack(&mut net, &up.a, 2);
    net.send(A, &message);
    net.pass(1_767_999);
    net.nothing_to(A);
    net.pass(1);
    net.request_to(A, Method::Bye);
    net.take(B);
    net.run_out();
}

#[test]
fn a_short_interval_in_mid_call_gets_422_and_the_call_goes_on() {
    let mut net = Net::new();
    let (up, _) = call(&mut net, &[TIMER, expires("1800;refresher=uac")], &[]);
    for (seq, method) in [(2, "UPDATE"), (3, "INVITE")] {
        let mut refresh = net.in_dialog(&up.a, method, seq);
        refresh.headers.push(HeaderName::Supported, "timer");
        refresh.headers.push(HeaderName::SessionExpires, "60;refresher=uac");
        net.send(A, &refresh);
        assert_eq!(header(&net.response_to(A, 422), HeaderName::MinSe), "90");
    }
    net.nothing_to(B);
    assert_eq!(net.endpoint.in_progress(), 1);
}

/// Up to tandem's first UPDATE to bob, with an interval of 600 s.
fn refreshing(net: &mut Net) -> (Up, Message) {
    let (up, _) = call(net, &[], &[expires("600;refresher=uac"), ALLOW_UPDATE]);
    net.pass(300_000);
    let update = net.request_to(B, Method::Update);
    (up, update)
}

#[test]
fn a_refresh_that_is_lost_ends_the_call() {
    for status in [None, Some(408), Some(481)] {
        let mut net = Net::new();
        let (_, update) = refreshing(&mut net);
        match status {
            Some(status) => net.send(B, &respond(B, &update, status, "", None)),
            None => net.pass(32_000),
        }
        net.request_to(A, Method::Bye);
        assert!(net.take(B).iter().any(|m| m.method() == Some(&Method::Bye)));
        assert_eq!(net.the_record().cause, Cause::DialogLost);
        net.run_out();
    }
}

#[test]
fn a_refresh_that_is_refused_is_tried_again_until_the_session_ends() {
    let mut net = Net::new();
    let (_, update) = refreshing(&mut net);
    let mut busy = respond(B, &update, 500, "", None);
    busy.headers.push(HeaderName::RetryAfter, "100");
    net.send(B, &busy);
    net.pass(99_999);
    net.nothing_to(B);
    net.pass(1);
    let update = net.request_to(B, Method::Update);
    net.send(B, &respond(B, &update, 488, "", None));
    // 600 s less 32 s from the beginning; until then every 5 s.
    let mut tries = 0;
    for _ in 0..34 {
        net.pass(5_000);
        for message in net.take(B) {
            match message.method() {
                Some(Method::Update) => {
                    tries += 1;
                    net.send(B, &respond(B, &message, 488, "", None));
                }
                method => assert_eq!(method, Some(&Method::Bye)),
            }
        }
    }
    assert!((30..34).contains(&tries), "{tries}");
    assert_eq!(net.the_record().cause, Cause::SessionExpired);
    net.take(A);
    net.run_out();
}

#[test]
fn a_peer_that_does_not_take_update_after_all_gets_a_re_invite() {
    let mut net = Net::new();
    let (up, update) = refreshing(&mut net);
    net.send(B, &respond(B, &update, 405, "", None));
    net.pass(0);
    let refresh = net.request_to(B, Method::Invite);
    assert_eq!(refresh.body, up.invite_b.body, "the version does not change");
    let mut ok = respond(B, &refresh, 200, "", Some(6_000));
    ok.headers.push(HeaderName::SessionExpires, "600;refresher=uac");
    net.send(B, &ok);
    net.request_to(B, Method::Ack);
    take_down(&mut net, &up, 2);
}

#[test]
fn a_422_to_a_refresh_is_obeyed() {
    let mut net = Net::new();
    let (up, update) = refreshing(&mut net);
    let mut short = respond(B, &update, 422, "", None);
    short.headers.push(HeaderName::MinSe, "900");
    net.send(B, &short);
    net.pass(0);
    let update = net.request_to(B, Method::Update);
    assert_eq!(get(&update, HeaderName::SessionExpires), Some("900;refresher=uac"));
    assert_eq!(get(&update, HeaderName::MinSe), Some("900"));
    // RFC 4028 §7.2: a 2xx without the header ends the timer.
    net.send(B, &respond(B, &update, 200, "", None));
    net.pass(10_000_000);
    net.nothing_to(B);
    take_down(&mut net, &up, 2);
}

/// RFC 3261 §14.1: 2.1 to 4 s for who made the Call-ID, 0 to 2 s for the other, in steps of 10 ms.
#[test]
fn glare_waits_as_long_as_the_rfc_says() {
    let mut waits = [Vec::new(), Vec::new()];
    for seed in 0..20 {
        for (at, peer) in [(0, A), (1, B)] {
            let mut net = Net::seeded(seed);
            let (alice, bob) = match at {
                0 => (vec![TIMER, expires("600;refresher=uas"), ALLOW_UPDATE], vec![]),
                _ => (vec![], vec![expires("600;refresher=uac"), ALLOW_UPDATE]),
            };
            call(&mut net, &alice, &bob);
            net.pass(300_000);
            let update = net.request_to(peer, Method::Update);
            net.send(peer, &respond(peer, &update, 491, "", None));
            let from = net.now;
            net.pass(4_000);
            let again = net.sent.iter().find(|s| s.flow.remote == peer).unwrap();
            waits[at].push(u64::try_from((again.at - from).as_millis()).unwrap());
        }
    }
    assert!(waits[0].iter().all(|ms| *ms <= 2_000 && ms % 10 == 0), "{waits:?}");
    assert!(waits[1].iter().all(|ms| (2_100..=4_000).contains(ms) && ms % 10 == 0), "{waits:?}");
    assert!(waits.iter().all(|waits| waits.iter().max() > waits.iter().min()), "random: {waits:?}");
}

#[test]
fn a_refresh_waits_for_a_negotiation_under_way() {
    let mut net = Net::new();
    let (up, _) = call(&mut net, &[], &[expires("600;refresher=uac"), ALLOW_UPDATE]);
    net.pass(299_500);
    let mut hold = net.in_dialog(&up.a, "INVITE", 2);
    hold.headers.push(HeaderName::ContentType, "application/sdp");
    hold.body = sdp(A.ip(), 4_000, 2, "a=sendonly\r\n").into();
    net.send(A, &hold);
    let passed = net.request_to(B, Method::Invite);
    net.send(B, &respond(B, &passed, 180, "", None));
    let to_a: Vec<_> = net.take(A).iter().filter_map(Message::status).collect();
    assert_eq!(to_a, [100, 180], "provisional responses to a re-INVITE are passed on");
    net.pass(5_000);
    net.nothing_to(B);
    net.send(B, &respond(B, &passed, 488, "", None));
    net.request_to(B, Method::Ack);
    net.pass(1_000);
    assert_eq!(net.take(B)[0].method(), Some(&Method::Update));
}

#[test]
fn a_re_invite_meets_a_refresh_of_ours_with_491() {
    let mut net = Net::new();
    let (up, _) = refreshing(&mut net);
    for (ends, seq) in [(&up.a, 2), (&up.b, 1)] {
        let mut hold = net.in_dialog(ends, "INVITE", seq);
        hold.headers.push(HeaderName::ContentType, "application/sdp");
        hold.body = sdp(ends.peer.ip(), 4_000, 2, "a=sendonly\r\n").into();
        net.send(ends.peer, &hold);
        net.response_to(ends.peer, 491);
    }
}
