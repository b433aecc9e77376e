//! RFC 3261 §17.1.1, §17.2.1 and RFC 6026: timers A, B, D, M and G, H, I, L.

use std::time::Duration;

use super::*;
use crate::sip::transaction::{
    Timing,
    client_invite::{self, ClientInvite},
    server_invite::{self, ServerInvite},
};

#[test]
fn timer_a_doubles_until_timer_b() {
    let timing = Timing::default();
    let mut m = ClientInvite::start(T0, &timing, false);
    let mut expected = resend(&[500, 1_500, 3_500, 7_500, 15_500, 31_500], Transmit::Request);
    expected.push(told(32_000, Up::Timeout));
    assert_eq!(run!(m, &timing), expected);
    assert_eq!(m.state(), client_invite::State::Terminated);
}

#[test]
fn over_a_reliable_transport_only_timer_b_runs() {
    let timing = Timing::default();
    let mut m = ClientInvite::start(T0, &timing, true);
    assert_eq!(run!(m, &timing), [told(32_000, Up::Timeout)]);
}

#[test]
fn t1_is_configurable() {
    let timing = Timing::new(Duration::from_millis(100));
    let mut m = ClientInvite::start(T0, &timing, false);
    let mut expected = resend(&[100, 300, 700, 1_500, 3_100, 6_300], Transmit::Request);
    expected.push(told(6_400, Up::Timeout));
    assert_eq!(run!(m, &timing), expected);
}

#[test]
fn a_provisional_response_stops_both_timers() {
    let timing = Timing::default();
    let mut m = ClientInvite::start(T0, &timing, false);
    assert_eq!(m.response(at(200), &timing, 100).up, Some(Up::Response));
    assert_eq!(m.next_deadline(), None);
    assert_eq!(m.response(at(90_000), &timing, 180).up, Some(Up::Response));
}

#[test]
fn a_failure_is_acknowledged_each_time_until_timer_d() {
    let timing = Timing::default();
    let mut m = ClientInvite::start(T0, &timing, false);
    let first = m.response(at(100), &timing, 486);
    assert_eq!(first, Step { transmit: Transmit::Ack, up: Some(Up::Response) });
    assert_eq!(m.response(at(600), &timing, 486), Step { transmit: Transmit::Ack, up: None });
    // A later 2xx of another fork finds no transaction in a state to take it.
    assert_eq!(m.response(at(700), &timing, 200), Step::NOTHING);
    assert_eq!(run!(m, &timing), [quiet(32_100)]);
    assert_eq!(m.response(at(40_000), &timing, 486), Step::NOTHING);
}

#[test]
fn timer_d_is_never_below_32_seconds_and_zero_when_reliable() {
    let short = Timing::new(Duration::from_millis(100));
    let mut m = ClientInvite::start(T0, &short, false);
    m.response(at(0), &short, 503);
    assert_eq!(run!(m, &short), [quiet(32_000)]);
    let mut m = ClientInvite::start(T0, &short, true);
    assert_eq!(m.response(at(0), &short, 503).transmit, Transmit::Ack);
    assert_eq!((m.state(), m.next_deadline()), (client_invite::State::Terminated, None));
}

#[test]
fn every_2xx_reaches_the_user_until_timer_m() {
    let timing = Timing::default();
    for reliable in [false, true] {
        let mut m = ClientInvite::start(T0, &timing, reliable);
        m.response(at(100), &timing, 180);
        assert_eq!(m.response(at(5_000), &timing, 200), Step { transmit: Transmit::Nothing, up: Some(Up::Response) });
        assert_eq!(m.response(at(5_500), &timing, 200).up, Some(Up::Response));
        assert_eq!(m.response(at(5_600), &timing, 180), Step::NOTHING);
        assert_eq!(m.response(at(5_700), &timing, 486), Step::NOTHING);
        assert_eq!(run!(m, &timing), [quiet(37_000)]);
    }
}

#[test]
fn a_transport_error_ends_calling_and_is_told_once() {
    let timing = Timing::default();
    let mut m = ClientInvite::start(T0, &timing, false);
    assert_eq!(m.transport_failed().up, Some(Up::TransportFailed));
    assert_eq!(m.transport_failed(), Step::NOTHING);
    assert_eq!(m.next_deadline(), None);
    // In Proceeding the peer has spoken: the final response may still come, on another connection.
    let mut m = ClientInvite::start(T0, &timing, true);
    m.response(at(1), &timing, 180);
    assert_eq!(m.transport_failed(), Step::NOTHING);
    assert_eq!(m.state(), client_invite::State::Proceeding);
}

#[test]
fn timer_g_doubles_to_t2_until_timer_h() {
    let timing = Timing::default();
    let mut m = ServerInvite::start(false);
    assert_eq!(m.respond(T0, &timing, 180).transmit, Transmit::Response);
    assert_eq!(m.next_deadline(), None);
    assert_eq!(m.respond(T0, &timing, 486).transmit, Transmit::Response);
    let mut expected =
        resend(&[500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500], Transmit::Response);
    expected.push(told(32_000, Up::Timeout));
    assert_eq!(run!(m, &timing), expected);
}

#[test]
fn over_a_reliable_transport_timer_g_does_not_run_and_i_is_zero() {
    let timing = Timing::default();
    let mut m = ServerInvite::start(true);
    m.respond(T0, &timing, 404);
    assert_eq!(m.next_deadline(), Some(at(32_000)));
    m.ack(at(50), &timing);
    assert_eq!((m.state(), m.next_deadline()), (server_invite::State::Terminated, None));
}

#[test]
fn an_ack_stops_timer_g_and_timer_i_ends() {
    let timing = Timing::default();
    let mut m = ServerInvite::start(false);
    m.respond(T0, &timing, 486);
    assert_eq!(m.repeated().transmit, Transmit::Response);
    assert_eq!(m.ack(at(700), &timing), Step::NOTHING);
    assert_eq!(m.state(), server_invite::State::Confirmed);
    // Stragglers are swallowed.
    assert_eq!(m.repeated(), Step::NOTHING);
    assert_eq!(m.ack(at(800), &timing), Step::NOTHING);
    assert_eq!(run!(m, &timing), [quiet(5_700)]);
}

#[test]
fn accepted_lets_the_user_repeat_its_2xx_until_timer_l() {
    let timing = Timing::default();
    let mut m = ServerInvite::start(false);
    assert_eq!(m.respond(T0, &timing, 200).transmit, Transmit::Response);
    assert_eq!(m.repeated(), Step::NOTHING);
    assert_eq!(m.respond(at(500), &timing, 200).transmit, Transmit::Response);
    assert_eq!(m.respond(at(600), &timing, 486), Step::NOTHING);
    assert_eq!(m.ack(at(900), &timing).up, Some(Up::Ack));
    assert_eq!(run!(m, &timing), [quiet(32_000)]);
}

#[test]
fn a_repeated_invite_draws_the_last_provisional_response() {
    let timing = Timing::default();
    let mut m = ServerInvite::start(false);
    m.respond(T0, &timing, 100);
    assert_eq!(m.repeated().transmit, Transmit::Response);
    assert_eq!(m.ack(at(1), &timing), Step::NOTHING);
    assert_eq!(m.state(), server_invite::State::Proceeding);
}
