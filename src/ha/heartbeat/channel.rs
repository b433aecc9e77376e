//! Which heartbeats are news. Every process has a nonce of 64 random bits and counts its heartbeats; every heartbeat echoes
//! the recipient's nonce and newest counter.
//!
//! Always holds: what is news was sent by the peer's present process, after every earlier news of it, and after it had
//! heard this very process. A process of the peer is believed in only once it has answered a heartbeat that was sent after it
//! was first heard: a recording answers older ones. A process that was succeeded is never heard again.

use std::collections::VecDeque;

use super::{Advert, Echo, Heartbeat};
use crate::base::{Time, limits::HA_PATHS};

/// Times of our newest heartbeats that are remembered: five seconds at 50 a second.
const REMEMBERED: usize = 256;
/// Processes of the peer that are known to have been succeeded.
const SUCCEEDED: usize = 16;
/// A newcomer has so many of our heartbeats to answer one before another may take its place.
const CHANCE: u64 = 8;

/// Why a sealed heartbeat is no news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// From a process that has not yet answered us.
    Unproven,
    /// It was heard before, or something newer was.
    Old,
}

/// What a heartbeat tells that was not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    pub advert: Advert,
    /// When the newest of our heartbeats was sent that its sender had heard and accepted. `Time::ZERO`: none, or long ago.
    pub answered: Time,
    /// It is the first of its process.
    pub restarted: bool,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    process: Echo,
    /// The newest counter on each path.
    on_path: [u64; HA_PATHS],
}

#[derive(Clone, Copy, Debug)]
struct Newcomer {
    process: Echo,
    /// Our first heartbeat that named it.
    challenge: Option<u64>,
}

#[derive(Debug)]
pub struct Channel {
    own: Echo,
    sent: [Time; REMEMBERED],
    known: Option<Known>,
    newcomer: Option<Newcomer>,
    succeeded: VecDeque<u64>,
    heard: [Option<Time>; HA_PATHS],
}

impl Channel {
    /// `nonce` is of this process alone, and cannot be guessed.
    pub fn new(nonce: u64) -> Self {
        Channel {
            // 0 stands for no process.
            own: Echo { nonce: nonce.max(1), counter: 0 },
            sent: [Time::ZERO; REMEMBERED],
            known: None,
            newcomer: None,
            succeeded: VecDeque::with_capacity(SUCCEEDED),
            heard: [None; HA_PATHS],
        }
    }

    /// The next heartbeat. `now` was read before: it is not later than when the heartbeat leaves.
    pub fn next(&mut self, now: Time, advert: Advert) -> Heartbeat {
        self.own.counter += 1;
        self.sent[self.own.counter as usize % REMEMBERED] = now;
        if let Some(newcomer) = &mut self.newcomer {
            newcomer.challenge.get_or_insert(self.own.counter);
        }
        Heartbeat {
            own: self.own,
            known: self.known.map(|known| known.process).unwrap_or_default(),
            newcomer: self.newcomer.map(|newcomer| newcomer.process).unwrap_or_default(),
            advert,
        }
    }

    /// A heartbeat whose seal is right, that came in on path `came` and says that it left on path `left`. None: it says that
    /// this path lives, and nothing else that is new.
    pub fn take(&mut self, now: Time, came: usize, left: u8, heartbeat: &Heartbeat) -> Result<Option<News>, Rejected> {
        let from = heartbeat.own;
        let straight = usize::from(left) == came;
        if let Some(known) = self.known.as_mut().filter(|known| known.process.nonce == from.nonce) {
            let newer = from.counter > known.process.counter;
            let newer_here = straight && known.on_path.get(came).is_some_and(|counter| from.counter > *counter);
            if !newer && !newer_here {
                return Err(Rejected::Old);
            }
            known.process.counter = from.counter.max(known.process.counter);
            if newer_here {
                known.on_path[came] = from.counter;
                self.heard[came] = Some(now);
            }
            return Ok(newer.then(|| self.news(heartbeat, false)));
        }
        if self.succeeded.contains(&from.nonce) || from.nonce == 0 {
            return Err(Rejected::Old);
        }
        if !self.proves_itself(heartbeat) {
            self.note(from);
            return Err(Rejected::Unproven);
        }
        if let Some(before) = self.known.take() {
            if self.succeeded.len() == SUCCEEDED {
                self.succeeded.pop_front();
            }
            self.succeeded.push_back(before.process.nonce);
        }
        let mut on_path = [0; HA_PATHS];
        if straight && came < HA_PATHS {
            on_path[came] = from.counter;
            self.heard[came] = Some(now);
        }
        self.newcomer = None;
        self.known = Some(Known { process: from, on_path });
        Ok(Some(self.news(heartbeat, true)))
    }

    /// When this path last carried something new.
    pub fn heard_on(&self, path: usize) -> Option<Time> {
        self.heard.get(path).copied().flatten()
    }

    fn proves_itself(&self, heartbeat: &Heartbeat) -> bool {
        let Some(newcomer) = self.newcomer.filter(|one| one.process.nonce == heartbeat.own.nonce) else { return false };
        let echoed = [heartbeat.known, heartbeat.newcomer].into_iter().filter(|echo| echo.nonce == self.own.nonce);
        let newest = echoed.map(|echo| echo.counter).max();
        newcomer.challenge.zip(newest).is_some_and(|(challenge, newest)| newest >= challenge)
    }

    fn note(&mut self, from: Echo) {
        match &mut self.newcomer {
            Some(newcomer) if newcomer.process.nonce == from.nonce => {
                newcomer.process.counter = newcomer.process.counter.max(from.counter);
            }
            Some(newcomer) if newcomer.challenge.is_none_or(|sent| self.own.counter < sent + CHANCE) => {}
            slot => *slot = Some(Newcomer { process: from, challenge: None }),
        }
    }

    fn news(&self, heartbeat: &Heartbeat, restarted: bool) -> News {
        let echo = heartbeat.known;
        let ours = echo.nonce == self.own.nonce && echo.counter <= self.own.counter;
        let remembered = ours && self.own.counter - echo.counter < REMEMBERED as u64;
        let answered = if remembered { self.sent[echo.counter as usize % REMEMBERED] } else { Time::ZERO };
        News { advert: heartbeat.advert, answered, restarted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ha::heartbeat::Role;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    fn next(from: &mut Channel, ms: u64) -> Heartbeat {
        from.next(at(ms), Advert::default())
    }

    /// Two processes that have accepted each other.
    fn acquainted() -> (Channel, Channel) {
        let (mut a, mut b) = (Channel::new(1), Channel::new(2));
        let first = next(&mut a, 0);
        assert_eq!(b.take(at(1), 0, 0, &first), Err(Rejected::Unproven));
        let answer = next(&mut b, 2);
        assert_eq!(a.take(at(3), 0, 0, &answer), Err(Rejected::Unproven));
        let second = next(&mut a, 4);
        assert!(b.take(at(5), 0, 0, &second).unwrap().unwrap().restarted);
        let answer = next(&mut b, 6);
        let news = a.take(at(7), 0, 0, &answer).unwrap().unwrap();
        assert_eq!((news.answered, news.restarted), (at(4), true));
        (a, b)
    }

    #[test]
    fn processes_get_acquainted_by_answering_each_other() {
        let (mut a, mut b) = acquainted();
        let third = next(&mut a, 8);
        let news = b.take(at(9), 0, 0, &third).unwrap().unwrap();
        assert_eq!((news.answered, news.restarted), (at(6), false));
    }

    #[test]
    fn each_counter_is_news_once_and_shows_each_path_once() {
        let (mut a, mut b) = acquainted();
        let (older, newer) = (next(&mut a, 10), next(&mut a, 12));
        assert!(b.take(at(13), 0, 0, &newer).unwrap().is_some());
        assert_eq!(b.take(at(14), 1, 1, &newer), Ok(None));
        assert_eq!(b.heard_on(1), Some(at(14)));
        assert_eq!(b.take(at(15), 0, 0, &newer), Err(Rejected::Old));
        assert_eq!(b.take(at(16), 1, 1, &newer), Err(Rejected::Old));
        assert_eq!(b.take(at(17), 0, 0, &older), Err(Rejected::Old));
        // What left on one path does not show that the other lives.
        let third = next(&mut a, 18);
        assert!(b.take(at(19), 1, 0, &third).unwrap().is_some());
        assert_eq!(b.heard_on(1), Some(at(14)));
    }

    #[test]
    fn a_recording_of_a_former_process_is_never_news() {
        let (mut a, mut b) = acquainted();
        let recorded = next(&mut b, 20);
        // The peer starts anew, and is accepted.
        let mut successor = Channel::new(3);
        for ms in [21, 23, 25] {
            let heartbeat = next(&mut a, ms);
            let _ = successor.take(at(ms), 0, 0, &heartbeat);
            let heartbeat = next(&mut successor, ms + 1);
            let _ = a.take(at(ms + 1), 0, 0, &heartbeat);
        }
        assert_eq!(a.known.unwrap().process.nonce, 3);
        assert_eq!(a.take(at(30), 0, 0, &recorded), Err(Rejected::Old));
    }

    #[test]
    fn a_recording_that_was_never_heard_answers_nothing_that_is_asked_now() {
        let (mut a, mut b) = acquainted();
        // A process of the peer heard us, and we never heard it; the attacker has what it sent.
        let mut unheard = Channel::new(9);
        let ours = next(&mut a, 20);
        assert_eq!(unheard.take(at(20), 0, 0, &ours), Err(Rejected::Unproven));
        let recorded: Vec<Heartbeat> = (0..20).map(|ms| next(&mut unheard, 21 + ms)).collect();
        for (step, heartbeat) in recorded.iter().enumerate() {
            assert_eq!(a.take(at(50), 0, 0, heartbeat), Err(Rejected::Unproven));
            let _ = next(&mut a, 50 + step as u64);
        }
        let present = next(&mut b, 90);
        assert!(a.take(at(91), 0, 0, &present).unwrap().is_some(), "the present process is heard all the while");
        // Our next process: what was recorded before its start echoes another nonce.
        let mut again = Channel::new(4);
        for heartbeat in &recorded {
            assert_eq!(again.take(at(100), 0, 0, heartbeat), Err(Rejected::Unproven));
            let _ = next(&mut again, 100);
        }
        assert!(again.known.is_none());
    }

    #[test]
    fn what_is_said_comes_through() {
        let (mut a, mut b) = acquainted();
        let advert = Advert { role: Role::Active, claim: 7, ..Advert::default() };
        let heartbeat = a.next(at(10), advert);
        assert_eq!(b.take(at(11), 0, 0, &heartbeat).unwrap().unwrap().advert, advert);
    }
}
