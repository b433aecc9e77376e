//! RFC 3261 §17.1.2 and §17.2.2: timers E, F, K and J.

use super::*;
use crate::sip::transaction::{
    Timing,
    client::{self, Client},
    server::{self, Server},
};

#[test]
fn timer_e_doubles_to_t2_until_timer_f() {
    let timing = Timing::default();
    let mut m = Client::start(T0, &timing, false);
    let times = [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
    let mut expected = resend(&times, Transmit::Request);
    expected.push(told(32_000, Up::Timeout));
    assert_eq!(run!(m, &timing), expected);
}

#[test]
fn after_a_provisional_response_timer_e_runs_at_t2() {
    let timing = Timing::default();
    let mut m = Client::start(T0, &timing, false);
    assert_eq!(m.response(at(400), &timing, 100).up, Some(Up::Response));
    let times = [500, 4_500, 8_500, 12_500, 16_500, 20_500, 24_500, 28_500];
    let mut expected = resend(&times, Transmit::Request);
    // At 32.5 s it would fire again; timer F comes first.
    expected.push(told(32_000, Up::Timeout));
    assert_eq!(run!(m, &timing), expected);
}

#[test]
fn over_a_reliable_transport_only_timer_f_runs() {
    let timing = Timing::default();
    let mut m = Client::start(T0, &timing, true);
    assert_eq!(run!(m, &timing), [told(32_000, Up::Timeout)]);
}

#[test]
fn timer_k_swallows_repetitions() {
    let timing = Timing::default();
    let mut m = Client::start(T0, &timing, false);
    assert_eq!(m.response(at(100), &timing, 200).up, Some(Up::Response));
    assert_eq!(m.response(at(300), &timing, 200), Step::NOTHING);
    assert_eq!(run!(m, &timing), [quiet(5_100)]);
    let mut m = Client::start(T0, &timing, true);
    m.response(at(100), &timing, 481);
    assert_eq!((m.state(), m.next_deadline()), (client::State::Terminated, None));
}

#[test]
fn a_transport_error_is_told() {
    let timing = Timing::default();
    let mut m = Client::start(T0, &timing, true);
    assert_eq!(m.transport_failed().up, Some(Up::TransportFailed));
    assert_eq!(m.transport_failed(), Step::NOTHING);
}

#[test]
fn timer_j_answers_repetitions_with_the_same_response() {
    let timing = Timing::default();
    let mut m = Server::start(false);
    assert_eq!(m.repeated(), Step::NOTHING);
    assert_eq!(m.respond(T0, &timing, 200).transmit, Transmit::Response);
    assert_eq!(m.repeated().transmit, Transmit::Response);
    // RFC 3261 §17.2.2: any further final response of the user is dropped.
    assert_eq!(m.respond(at(10), &timing, 500), Step::NOTHING);
    assert_eq!(run!(m, &timing), [quiet(32_000)]);
    assert_eq!(m.state(), server::State::Terminated);
}

#[test]
fn over_a_reliable_transport_timer_j_is_zero() {
    let timing = Timing::default();
    let mut m = Server::start(true);
    assert_eq!(m.respond(T0, &timing, 200).transmit, Transmit::Response);
    assert_eq!((m.state(), m.next_deadline()), (server::State::Terminated, None));
}
