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

#[derive(Debug)]
struct Waiting<T> {
    to: SocketAddr,
    /// The batch of changes that must have been acknowledged.
    needs: u64,
    until: Time,
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

    /// When something must leave whatever was acknowledged.
    pub fn next_deadline(&self) -> Option<Time> {
        self.queue.iter().map(|waiting| waiting.until).min()
    }

    /// Gives `what` back if it may be sent at once: its batch is acknowledged (`needs` ≤ `acked`), and nothing waits for
    /// the same peer.
    pub fn pass(&mut self, to: SocketAddr, needs: u64, acked: u64, until: Time, what: T) -> Option<T> {
        if needs <= acked && !self.peers.contains_key(&to) {
            return Some(what);
        }
        *self.peers.entry(to).or_default() += 1;
        self.queue.push_back(Waiting { to, needs, until, what });
        None
    }

    /// Takes out what may be sent now, in order.
    pub fn release(&mut self, now: Time, acked: u64) -> Vec<T> {
        if self.queue.is_empty() {
            return Vec::new();
        }
        let mut free = Vec::new();
        let mut blocked: HashSet<SocketAddr> = HashSet::new();
        let mut crowd = self.queue.len().saturating_sub(MOST);
        for waiting in std::mem::take(&mut self.queue) {
            let known = waiting.needs <= acked;
            let over = waiting.until <= now || crowd > 0;
            if blocked.contains(&waiting.to) || !(known || over) {
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

    const LATER: Time = Time::from_millis(50);

    #[test]
    fn what_is_acknowledged_goes_at_once_and_the_rest_waits_for_it() {
        let mut held = Held::default();
        assert_eq!(held.pass(peer(1), 7, 7, LATER, "known"), Some("known"));
        assert_eq!(held.pass(peer(1), 8, 7, LATER, "new"), None);
        assert_eq!(held.release(Time::ZERO, 7), Vec::<&str>::new());
        assert_eq!(held.release(Time::ZERO, 8), ["new"]);
        assert_eq!((held.len(), held.overdue), (0, 0));
        assert_eq!(held.pass(peer(1), 8, 8, LATER, "next"), Some("next"));
    }

    #[test]
    fn a_later_message_to_the_same_peer_waits_behind() {
        let mut held = Held::default();
        assert_eq!(held.pass(peer(1), 8, 7, LATER, "answer"), None);
        assert_eq!(held.pass(peer(1), 0, 7, Time::NEVER, "bye"), None);
        assert_eq!(held.pass(peer(2), 0, 7, Time::NEVER, "other"), Some("other"));
        assert_eq!(held.release(Time::ZERO, 7), Vec::<&str>::new());
        assert_eq!(held.release(Time::ZERO, 9), ["answer", "bye"]);
    }

    #[test]
    fn an_answer_leaves_when_its_time_is_over_and_is_counted() {
        let mut held = Held::default();
        assert_eq!(held.pass(peer(1), 8, 7, LATER, "answer"), None);
        assert_eq!(held.next_deadline(), Some(LATER));
        assert!(held.release(Time::from_millis(49), 7).is_empty());
        assert_eq!(held.release(LATER, 7), ["answer"]);
        assert_eq!(held.overdue, 1);
    }

    #[test]
    fn nothing_waits_beyond_the_bound() {
        let mut held = Held::default();
        for n in 0..=MOST {
            assert_eq!(held.pass(peer(1), 8, 7, LATER, n), None);
        }
        assert_eq!(held.release(Time::ZERO, 7), [0]);
        assert_eq!((held.len(), held.overdue), (MOST, 1));
    }

    #[test]
    fn a_host_that_stops_sends_none() {
        let mut held = Held::default();
        assert_eq!(held.pass(peer(1), 8, 7, LATER, "answer"), None);
        held.clear();
        assert!(held.release(Time::NEVER, 9).is_empty());
        assert_eq!(held.pass(peer(1), 9, 9, LATER, "next"), Some("next"));
    }
}
