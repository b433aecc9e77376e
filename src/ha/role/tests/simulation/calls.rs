//! What the hosts carry besides their roles: the seam for the machines that replicate calls. The simulation tells it what
//! happens to the hosts; it says which standby is synchronised, and whether a call was lost that should not have been.

use crate::base::Time;

pub trait Calls {
    /// The host follows an order: it has the calls of its shadow from now on.
    fn activated(&mut self, node: usize, now: Time);
    /// It forgets all calls.
    fn deactivated(&mut self, node: usize, now: Time);
    fn crashed(&mut self, node: usize);
    /// Both hosts run and can reach each other over the connection of the replication, or not.
    fn connected(&mut self, now: Time, both: bool);
    /// Whether this host, as a standby, has every call.
    fn synced(&self, node: usize) -> bool;
    /// A broken promise.
    fn complaint(&self) -> Option<String>;
}

/// No calls, and a synchronisation that takes a while after the connection is there.
#[derive(Debug)]
pub struct Delay {
    takes_us: u64,
    active: [bool; 2],
    synced: [bool; 2],
    since: Option<Time>,
}

impl Delay {
    pub fn new(takes_us: u64) -> Self {
        Delay { takes_us, active: [false; 2], synced: [false; 2], since: None }
    }
}

impl Calls for Delay {
    fn activated(&mut self, node: usize, now: Time) {
        (self.active[node], self.synced[node]) = (true, false);
        self.since = Some(now);
    }

    fn deactivated(&mut self, node: usize, now: Time) {
        (self.active[node], self.synced[node]) = (false, false);
        self.since = Some(now);
    }

    fn crashed(&mut self, node: usize) {
        (self.active[node], self.synced[node]) = (false, false);
        self.since = None;
    }

    fn connected(&mut self, now: Time, both: bool) {
        if !both {
            self.since = None;
            return;
        }
        let since = *self.since.get_or_insert(now);
        if now.since(since).as_micros() >= u128::from(self.takes_us) {
            for node in 0..2 {
                self.synced[node] |= !self.active[node] && self.active[1 - node];
            }
        }
    }

    fn synced(&self, node: usize) -> bool {
        self.synced[node]
    }

    fn complaint(&self) -> Option<String> {
        None
    }
}
