//! Messages that wait until the standby knows the state that sent them: a caller who has heard that the call is answered
//! must find it on the host that takes over. Slow-path thread; pure.
//!
//! What follows for the same peer waits behind, so that nobody hears a later message before an earlier one. Nothing waits
//! longer than its time, which is counted: the call in progress goes before the copy of it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::SocketAddr,
};

use crate::base::Time;

/// More than this never wait: then the oldest leaves as if its time were over.
const MOST: usize = 65_536;

/// A session of the replication and the number of a batch in it.
pub type Token = (u64, u64);

#[derive(Debug)]
struct Waiting<T> {
    to: SocketAddr,
    /// What must have been acknowledged, and until when that is waited for. None: only those before it to the same peer.
    needs: Option<(Token, Time)>,
    what: T,
}

#[derive(Debug)]
pub struct Held<T> {
    /// In the order in which they were to be sent.
    queue: VecDeque<Waiting<T>>,
    /// How many wait for each peer.
    peers: HashMap<SocketAddr, usize>,
    /// Sent before they were acknowledged, because their time was over.
    pub overdue: u64,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Held { queue: VecDeque::new(), peers: HashMap::new(), overdue: 0 }
    }
}

impl<T> Held<T> {
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// When something leaves at the latest, whatever was acknowledged.
    pub fn next_deadline(&self) -> Option<Time> {
        self.queue.iter().filter_map(|waiting| waiting.needs.map(|(_, until)| until)).min()
    }

    /// Gives `what` back if it may be sent at once: it needs no acknowledgement, and nothing waits for the same peer.
    pub fn pass(&mut self, to: SocketAddr, needs: Option<(Token, Time)>, what: T) -> Option<T> {
        if needs.is_none() && !self.peers.contains_key(&to) {
            return Some(what);
        }
        *self.peers.entry(to).or_default() += 1;
        self.queue.push_back(Waiting { to, needs, what });
        None
    }

    /// Takes out what may be sent now, in order. `safe`: whether the standby has that batch; None: there is none that it
    /// would be worth waiting for.
    pub fn release(&mut self, now: Time, safe: impl Fn(Token) -> Option<bool>) -> Vec<T> {
        if self.queue.is_empty() {
            return Vec::new();
        }
        let mut free = Vec::new();
        let mut blocked: HashSet<SocketAddr> = HashSet::new();
        let mut crowd = self.queue.len().saturating_sub(MOST);
        for waiting in std::mem::take(&mut self.queue) {
            let known = waiting.needs.is_none_or(|(token, _)| safe(token) == Some(true));
            let over = waiting.needs.is_some_and(|(token, until)| until <= now || safe(token).is_none());
            if blocked.contains(&waiting.to) || !(known || over || crowd > 0) {
                blocked.insert(waiting.to);
                self.queue.push_back(waiting);
                continue;
            }
            crowd = crowd.saturating_sub(1);
            self.overdue += u64::from(!known);
            if let Some(count) = self.peers.get_mut(&waiting.to) {
                *count -= 1;
                if *count == 0 {
                    self.peers.remove(&waiting.to);
                }
            }
            free.push(waiting.what);
        }
        free
    }

    /// A host that is no longer active sends none of them.
    pub fn clear(&mut self) {
        self.queue.clear();
        self.peers.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> SocketAddr {
        SocketAddr::from(([198, 18, 1, n], 5060))
    }

    const UNTIL: Time = Time::from_millis(50);
    const NEEDS: Option<(Token, Time)> = Some(((3, 8), UNTIL));

    fn acknowledged(up_to: u64) -> impl Fn(Token) -> Option<bool> {
        move |(session, seq)| (session == 3).then_some(seq <= up_to)
    }

    #[test]
    fn what_needs_no_acknowledgement_goes_at_once_and_the_rest_waits_for_it() {
        let mut held = Held::default();
        assert_eq!(held.pass(peer(1), None, "free"), Some("free"));
        assert_eq!(held.pass(peer(1), NEEDS, "answer"), None);
        assert_eq!(held.release(Time::ZERO, acknowledged(7)), Vec::<&str>::new());
        assert_eq!(held.release(Time::ZERO, acknowledged(8)), ["answer"]);
        assert_eq!((held.len(), held.overdue), (0, 0));
        assert_eq!(held.pass(peer(1), None, "next"), Some("next"));
    }

    #[test]
    fn a_later_message_to_the_same_peer_waits_behind() {
        let mut held = Held::default();
        assert_eq!(held.pass(peer(1), NEEDS, "answer"), None);
        assert_eq!(held.pass(peer(1), None, "bye"), None);
        assert_eq!(held.pass(peer(2), None, "other"), Some("other"));
        assert_eq!(held.release(Time::ZERO, acknowledged(7)), Vec::<&str>::new());
        assert_eq!(held.release(Time::ZERO, acknowledged(9)), ["answer", "bye"]);
    }

    #[test]
    fn an_answer_leaves_when_its_time_is_over_and_is_counted() {
        let mut held = Held::default();
        assert_eq!(held.pass(peer(1), NEEDS, "answer"), None);
        assert_eq!(held.next_deadline(), Some(UNTIL));
        assert!(held.release(Time::from_millis(49), acknowledged(7)).is_empty());
        assert_eq!(held.release(UNTIL, acknowledged(7)), ["answer"]);
        assert_eq!(held.overdue, 1);
    }

    #[test]
    fn nobody_waits_for_a_standby_that_is_gone() {
        let mut held = Held::default();
        assert_eq!(held.pass(peer(1), NEEDS, "answer"), None);
        assert_eq!(held.release(Time::ZERO, |_| None), ["answer"]);
        assert_eq!(held.overdue, 1);
    }

    #[test]
    fn nothing_waits_beyond_the_bound() {
        let mut held = Held::default();
        for n in 0..=MOST {
            assert_eq!(held.pass(peer(1), NEEDS, n), None);
        }
        assert_eq!(held.release(Time::ZERO, acknowledged(7)), [0]);
        assert_eq!((held.len(), held.overdue), (MOST, 1));
    }

    #[test]
    fn a_host_that_stops_sends_none() {
        let mut held = Held::default();
        assert_eq!(held.pass(peer(1), NEEDS, "answer"), None);
        held.clear();
        assert!(held.release(Time::NEVER, acknowledged(9)).is_empty());
        assert_eq!(held.pass(peer(1), None, "next"), Some("next"));
    }
}
