//! Latching: whose RTP a flow admits when a peer behind a NAT sends from elsewhere than its description says. Runs on
//! the slow path; sans-IO.
//!
//! It resists RTP Bleed and RTP Inject (CVE-2025-53399) by rule, not by luck:
//! 1. The exact signalled source is always admitted, and always wins over a latched one.
//! 2. A window opens once per description that moves the remote, and closes in bounded time: `window` after the call is
//!    confirmed; before that, no later than `early` allows a call to ring.
//! 3. A candidate is valid RTP of a negotiated payload type (the worker has seen to that), and it takes two packets in
//!    sequence with one SSRC from one source.
//! 4. The first to be latched closes the window. Nothing but a new description opens it again: not silence, not a
//!    refresh that changes nothing, not a takeover.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::base::Time;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    source: SocketAddr,
    ssrc: u32,
    sequence: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latch {
    enabled: bool,
    window: Duration,
    early: Duration,
    signalled: Option<SocketAddr>,
    admitted: Option<SocketAddr>,
    /// When the window closes; None: it is closed.
    closes: Option<Time>,
    candidate: Option<Seen>,
    confirmed: bool,
}

/// A latch as another host is told of it. Where a candidate stood is not: it has to show itself anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedLatch {
    signalled: Option<SocketAddr>,
    admitted: Option<SocketAddr>,
    /// What is left of the window; None: it is closed.
    left: Option<Duration>,
    confirmed: bool,
}

impl Latch {
    pub fn saved(&self, now: Time) -> SavedLatch {
        SavedLatch {
            signalled: self.signalled,
            admitted: self.admitted,
            left: self.closes.filter(|closes| now < *closes).map(|closes| closes - now),
            confirmed: self.confirmed,
        }
    }

    /// What another host told `age` ago. A window stays open no longer than it would have there, nor than it may here;
    /// one that has closed here is not opened again for the same description.
    pub fn adopt(&mut self, now: Time, age: Duration, saved: SavedLatch, enabled: bool) {
        let longest = if saved.confirmed { self.window } else { self.early + self.window };
        let left = saved.left.filter(|_| enabled).map(|left| left.saturating_sub(age).min(longest));
        let mut closes = left.filter(|left| !left.is_zero()).map(|left| now + left);
        if saved.signalled == self.signalled {
            closes = closes.and_then(|closes| Some(closes.min(self.closes?)));
        }
        *self = Latch {
            enabled,
            window: self.window,
            early: self.early,
            signalled: saved.signalled,
            admitted: saved.admitted,
            closes,
            candidate: None,
            confirmed: saved.confirmed,
        };
    }

    pub fn new(enabled: bool, window: Duration, early: Duration) -> Self {
        Latch {
            enabled,
            window,
            early,
            signalled: None,
            admitted: None,
            closes: None,
            candidate: None,
            confirmed: false,
        }
    }

    /// Where packets are admitted from, and where they are sent to.
    pub fn admitted(&self) -> Option<SocketAddr> {
        self.admitted
    }

    /// A description names this remote. The same one again changes nothing.
    pub fn signalled(&mut self, now: Time, remote: Option<SocketAddr>) {
        if remote == self.signalled {
            return;
        }
        self.signalled = remote;
        self.admitted = remote;
        self.candidate = None;
        let open_for = if self.confirmed { self.window } else { self.early + self.window };
        self.closes = (self.enabled && remote.is_some()).then(|| now + open_for);
    }

    /// The call is answered: an open window begins to run out.
    pub fn confirmed(&mut self, now: Time) {
        if !self.confirmed {
            self.confirmed = true;
            self.closes = self.closes.map(|closes| closes.min(now + self.window));
        }
    }

    /// The admitted source sends: if it is the signalled one, nobody else is waited for.
    pub fn heard(&mut self, _now: Time) {
        if self.admitted == self.signalled {
            self.close();
        }
    }

    /// Whether packets from sources that are not admitted are of interest.
    pub fn wants_candidates(&self, now: Time) -> bool {
        self.is_open(now) || self.admitted != self.signalled
    }

    pub fn is_open(&self, now: Time) -> bool {
        self.closes.is_some_and(|closes| now < closes)
    }

    /// A valid packet of a negotiated payload type from a source that is not admitted. Returns the source that is
    /// admitted from now on, if this packet decides it.
    pub fn candidate(&mut self, now: Time, source: SocketAddr, ssrc: u32, sequence: u16) -> Option<SocketAddr> {
        if Some(source) == self.admitted {
            return None;
        }
        if Some(source) == self.signalled {
            self.close();
            self.admitted = self.signalled;
            return self.admitted;
        }
        if !self.is_open(now) {
            self.close();
            return None;
        }
        let follows = self.candidate.is_some_and(|last| {
            last.source == source && last.ssrc == ssrc && sequence == last.sequence.wrapping_add(1)
        });
        if !follows {
            self.candidate = Some(Seen { source, ssrc, sequence });
            return None;
        }
        self.close();
        self.admitted = Some(source);
        self.admitted
    }

    fn close(&mut self) {
        self.closes = None;
        self.candidate = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(3);
    const EARLY: Duration = Duration::from_secs(120);

    fn at(s: &str) -> SocketAddr {
        s.parse().unwrap()
    }

    fn signalled() -> SocketAddr {
        at("10.0.0.5:4000")
    }

    fn nat() -> SocketAddr {
        at("198.18.1.20:61000")
    }

    fn attacker() -> SocketAddr {
        at("203.0.113.66:5555")
    }

    /// A call that was confirmed at 10 s, with the window open.
    fn answered() -> Latch {
        let mut latch = Latch::new(true, WINDOW, EARLY);
        latch.signalled(Time::from_secs(10), Some(signalled()));
        latch.confirmed(Time::from_secs(10));
        latch
    }

    fn t(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn two_packets_in_sequence_from_one_source_latch_it() {
        let mut latch = answered();
        assert_eq!(latch.candidate(t(10_100), nat(), 1, 500), None);
        assert_eq!(latch.candidate(t(10_120), nat(), 1, 501), Some(nat()));
        assert_eq!(latch.admitted(), Some(nat()));
        assert!(!latch.is_open(t(10_121)));
    }

    #[test]
    fn one_packet_a_gap_another_ssrc_or_another_source_latch_nothing() {
        for (source, ssrc, sequence) in [(nat(), 1, 502), (nat(), 2, 501), (attacker(), 1, 501), (nat(), 1, 500)] {
            let mut latch = answered();
            latch.candidate(t(10_100), nat(), 1, 500);
            assert_eq!(latch.candidate(t(10_120), source, ssrc, sequence), None);
            assert_eq!(latch.admitted(), Some(signalled()));
        }
    }

    #[test]
    fn after_the_window_nobody_is_latched() {
        let mut latch = answered();
        assert!(latch.wants_candidates(t(12_999)));
        assert!(!latch.wants_candidates(t(13_000)));
        assert_eq!(latch.candidate(t(13_000), attacker(), 1, 1), None);
        assert_eq!(latch.candidate(t(13_020), attacker(), 1, 2), None);
    }

    #[test]
    fn a_candidate_begun_inside_the_window_does_not_end_outside() {
        let mut latch = answered();
        latch.candidate(t(12_990), attacker(), 1, 1);
        assert_eq!(latch.candidate(t(13_010), attacker(), 1, 2), None);
    }

    #[test]
    fn the_signalled_source_closes_the_window_by_speaking() {
        let mut latch = answered();
        latch.heard(t(10_050));
        latch.candidate(t(10_100), attacker(), 1, 1);
        assert_eq!(latch.candidate(t(10_120), attacker(), 1, 2), None);
        assert_eq!(latch.admitted(), Some(signalled()));
    }

    #[test]
    fn the_signalled_source_wins_over_a_latched_one_at_any_time() {
        let mut latch = answered();
        latch.candidate(t(10_100), attacker(), 1, 1);
        latch.candidate(t(10_120), attacker(), 1, 2);
        assert_eq!(latch.admitted(), Some(attacker()));
        assert!(latch.wants_candidates(t(60_000)), "the signalled source is still listened for");
        assert_eq!(latch.candidate(t(60_000), signalled(), 9, 77), Some(signalled()));
        assert!(!latch.wants_candidates(t(60_001)));
        assert_eq!(latch.candidate(t(60_010), attacker(), 1, 3), None);
        assert_eq!(latch.candidate(t(60_030), attacker(), 1, 4), None);
    }

    #[test]
    fn a_latched_source_is_not_displaced_by_a_third() {
        let mut latch = answered();
        latch.candidate(t(10_100), nat(), 1, 1);
        latch.candidate(t(10_120), nat(), 1, 2);
        latch.candidate(t(10_140), attacker(), 2, 1);
        assert_eq!(latch.candidate(t(10_160), attacker(), 2, 2), None);
        assert_eq!(latch.admitted(), Some(nat()));
    }

    #[test]
    fn a_description_that_repeats_the_remote_opens_nothing() {
        // Hold and resume, session refreshes: the remote stays.
        let mut latch = answered();
        latch.candidate(t(10_100), nat(), 1, 1);
        latch.candidate(t(10_120), nat(), 1, 2);
        latch.signalled(t(20_000), Some(signalled()));
        assert!(!latch.is_open(t(20_001)));
        assert_eq!(latch.admitted(), Some(nat()), "the latched source goes on");
    }

    #[test]
    fn a_description_that_moves_the_remote_opens_a_window_once() {
        let mut latch = answered();
        latch.heard(t(10_050));
        let moved = at("10.0.0.6:4000");
        latch.signalled(t(20_000), Some(moved));
        assert_eq!(latch.admitted(), Some(moved));
        assert!(latch.is_open(t(22_999)) && !latch.is_open(t(23_000)));
        latch.candidate(t(20_100), nat(), 1, 1);
        assert_eq!(latch.candidate(t(20_120), nat(), 1, 2), Some(nat()));
    }

    #[test]
    fn a_hold_without_address_admits_nobody_and_resume_opens_anew() {
        let mut latch = answered();
        latch.signalled(t(20_000), None);
        assert_eq!(latch.admitted(), None);
        latch.candidate(t(20_100), attacker(), 1, 1);
        assert_eq!(latch.candidate(t(20_120), attacker(), 1, 2), None);
        latch.signalled(t(30_000), Some(signalled()));
        assert!(latch.is_open(t(30_001)));
    }

    #[test]
    fn while_ringing_the_window_is_bounded_and_runs_out_after_the_answer() {
        let mut latch = Latch::new(true, WINDOW, EARLY);
        latch.signalled(Time::from_secs(10), Some(signalled()));
        assert!(latch.is_open(Time::from_secs(132)) && !latch.is_open(Time::from_secs(133)));
        latch.confirmed(Time::from_secs(40));
        assert!(latch.is_open(t(42_999)) && !latch.is_open(t(43_000)));
        latch.confirmed(Time::from_secs(42));
        assert!(!latch.is_open(t(43_000)), "a second answer prolongs nothing");
    }

    #[test]
    fn switched_off_it_admits_the_signalled_source_alone() {
        let mut latch = Latch::new(false, WINDOW, EARLY);
        latch.signalled(Time::from_secs(10), Some(signalled()));
        assert!(!latch.wants_candidates(t(10_001)));
        latch.candidate(t(10_100), nat(), 1, 1);
        assert_eq!(latch.candidate(t(10_120), nat(), 1, 2), None);
    }

    /// Told as the pair tells it, `age` ago; this host's clock shows `now`.
    fn cross(latch: &Latch, at: Time, to: &mut Latch, now: Time, age: Duration) {
        let told = serde_json::to_string(&latch.saved(at)).unwrap();
        to.adopt(now, age, serde_json::from_str(&told).unwrap(), true);
    }

    #[test]
    fn a_window_that_crosses_closes_no_later_than_it_would_have() {
        let latch = answered();
        let mut here = Latch::new(true, WINDOW, EARLY);
        // A second of three is over; the news took 200 ms.
        cross(&latch, t(11_000), &mut here, t(500_000), Duration::from_millis(200));
        assert!(here.is_open(t(501_799)) && !here.is_open(t(501_800)));
        // Told again by a channel that was slower than it says: nothing is gained.
        cross(&latch, t(11_000), &mut here, t(500_500), Duration::ZERO);
        assert!(!here.is_open(t(501_800)));
        // Nor by a description that says the same.
        here.signalled(t(501_900), Some(signalled()));
        assert!(!here.is_open(t(501_900)));
        cross(&latch, t(12_999), &mut here, t(600_000), Duration::from_millis(1));
        assert!(!here.is_open(t(600_000)));
    }

    #[test]
    fn a_window_that_is_closed_stays_closed_and_what_was_latched_stays_admitted() {
        let mut latch = answered();
        latch.candidate(t(10_100), nat(), 1, 500);
        latch.candidate(t(10_120), nat(), 1, 501);
        let mut here = Latch::new(true, WINDOW, EARLY);
        cross(&latch, t(10_130), &mut here, t(500), Duration::ZERO);
        assert_eq!(here.admitted(), Some(nat()));
        assert!(!here.is_open(t(500)) && here.wants_candidates(t(500)));
        here.candidate(t(510), attacker(), 1, 1);
        assert_eq!(here.candidate(t(530), attacker(), 1, 2), None);
        assert_eq!(here.candidate(t(540), signalled(), 1, 1), Some(signalled()));
    }

    #[test]
    fn where_latching_is_off_no_window_crosses() {
        let mut here = Latch::new(false, WINDOW, EARLY);
        here.adopt(t(500), Duration::ZERO, answered().saved(t(10_000)), false);
        assert!(!here.is_open(t(500)));
        assert_eq!(here.admitted(), Some(signalled()));
    }
}
