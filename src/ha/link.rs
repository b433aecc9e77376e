//! What the pair thread and the slow path say to each other, and the snapshot of the pair that everybody else reads.
//!
//! Neither waits for the other: orders and reports go through queues, and the slow path shows that it lives by a counter.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use crossbeam::channel::{Receiver, Sender};
use mio::Waker;
use serde::{Deserialize, Serialize};

pub use super::role::{Cause, Order, Reason, Wish};
use super::{generation::Generation, heartbeat::Role};
use crate::base::Time;

/// What the slow path, and who works for it, tells the pair thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Whether workers turn, links are up and the exception devices take frames; until the first one: no. To be said when it
    /// changes.
    Fit(Result<(), String>),
    /// As standby: whether every call of the active host is here.
    Synced(bool),
    /// As standby: whether every call is here as things were once.
    Whole(bool),
    /// As active: whether the peer has every call.
    PeerSynced(bool),
    /// How far the standby's acknowledgements are behind.
    Lag {
        messages: u64,
        ms: u64,
    },
    /// `Order::Prepare` is carried out: the peer knows all.
    Prepared,
    /// `Order::Activate` is carried out: the addresses are on and announced. Again, with `first_packet`, once a packet has
    /// left since.
    Activated {
        announced: Time,
        first_packet: Option<Time>,
    },
    Wish(Wish),
}

/// The slow path's end.
#[derive(Debug)]
pub struct Link {
    pub(super) orders: Receiver<Order>,
    pub(super) reports: Sender<Report>,
    pub(super) waker: Arc<Waker>,
    pub(super) beats: Arc<AtomicU64>,
    pub(super) shared: Arc<Shared>,
}

impl Link {
    /// The next order; to be asked in every round until there is none.
    pub fn order(&self) -> Option<Order> {
        self.orders.try_recv().ok()
    }

    /// False: the pair thread is so far behind that its queue is full. To be said again.
    pub fn report(&self, report: Report) -> bool {
        let taken = self.reports.try_send(report).is_ok();
        let _ = self.waker.wake();
        taken
    }

    /// The slow path turns: once a round.
    pub fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    pub fn status(&self) -> Arc<PairStatus> {
        self.shared.read()
    }

    /// Passes an operator's wish on, or says why it cannot be fulfilled as things stand.
    pub fn wish(&self, wish: Wish) -> Result<Arc<PairStatus>, String> {
        let status = self.status();
        if let Some(objection) = status.objection(wish) {
            return Err(objection);
        }
        if !self.report(Report::Wish(wish)) {
            return Err("the pair thread does not take it now: try again".into());
        }
        Ok(status)
    }

    /// The snapshot, for those who only read.
    pub fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }
}

/// The newest snapshot.
#[derive(Debug, Default)]
pub struct Shared(Mutex<Arc<PairStatus>>);

impl Shared {
    pub fn read(&self) -> Arc<PairStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Leaves the old one where a reader is just at it: the pair thread waits for nobody.
    pub(super) fn publish(&self, status: PairStatus) {
        if let Ok(mut slot) = self.0.try_lock() {
            *slot = Arc::new(status);
        }
    }
}

/// The pair as this host sees it. Times are spans, so that it can be read on another host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PairStatus {
    pub node: String,
    pub role: Role,
    /// What it is active under or claims; else the newest that it knows of.
    pub generation: Option<Generation>,
    /// In this role.
    pub for_s: f64,
    pub provider: String,
    /// It would take over without a loss.
    pub ready: bool,
    /// As standby: every call is here.
    pub synced: bool,
    /// Why it cannot be active.
    pub unfit: Option<String>,
    /// Why the provider would not move the addresses.
    pub provider_objects: Option<String>,
    /// Why it could not write under which generation it is active.
    pub disk_objects: Option<String>,
    pub frozen: bool,
    pub held_down_s: Option<f64>,
    /// Until workers stop; none: they do not transmit.
    pub lease_left_s: Option<f64>,
    /// It woke, and sends nothing before it knows that the peer has not taken over.
    pub revalidating: bool,
    pub peer: PeerStatus,
    pub paths: Vec<PathStatus>,
    pub lag: Option<Lag>,
    /// By cause and by reason, since the start.
    pub takeovers: Vec<Count>,
    pub stops: Vec<Count>,
    /// How often the lease ran out on an active host.
    pub overslept: u64,
    pub abandoned_claims: u64,
    pub last_takeover: Option<Takeover>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    pub node: String,
    /// Nothing was heard of it for a detection time; what follows is old then.
    pub silent: bool,
    pub role: Option<Role>,
    pub fit: bool,
    pub synced: bool,
    pub ready: bool,
    pub frozen: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PathStatus {
    /// Counted from 1, in the order of the configuration.
    pub path: usize,
    pub local: String,
    pub peer: String,
    /// Since the last heartbeat that came on it; none: none came.
    pub heard_s: Option<f64>,
    pub heard: u64,
    pub refused: Vec<Count>,
    pub send_errors: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    pub name: String,
    pub count: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lag {
    pub messages: u64,
    pub seconds: f64,
}

/// The last one, split into what it waited for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Takeover {
    pub cause: Cause,
    pub generation: Generation,
    pub ago_s: f64,
    /// From the last heartbeat of the peer to the decision; 0 where its silence was not the cause.
    pub detect_s: f64,
    /// From the decision to the lease: the provider, and the disk where it had not taken the generation beforehand.
    pub claim_s: f64,
    /// From the lease to the announcement of the addresses.
    pub announce_s: Option<f64>,
    /// From the lease to the first packet that left.
    pub first_packet_s: Option<f64>,
}

impl PairStatus {
    /// Why this wish cannot be fulfilled as things stand.
    pub fn objection(&self, wish: Wish) -> Option<String> {
        let peer = &self.peer.node;
        let no_switchover = || -> Option<String> {
            if self.frozen || self.peer.frozen {
                return Some("a host of the pair is frozen: `tandem ha join` on it first".into());
            }
            if self.peer.silent {
                return Some(format!("{peer} is not heard"));
            }
            match (self.role, self.peer.role) {
                (Role::Active, Some(Role::Standby)) if !self.peer.ready => {
                    let why = if self.peer.synced { "see `tandem ha status` there" } else { "it is not synchronised" };
                    Some(format!("{peer} is not ready: {why}"))
                }
                (Role::Active, Some(Role::Standby)) => None,
                (Role::Standby, Some(Role::Active)) if !self.ready => {
                    Some("this host is not ready: see `tandem ha status`".into())
                }
                (Role::Standby, Some(Role::Active)) => None,
                (own, of_peer) => Some(format!(
                    "this host is {}, {peer} is {}: one has to be active, the other standby",
                    own.as_str(),
                    of_peer.map_or("unknown", Role::as_str)
                )),
            }
        };
        match wish {
            Wish::Switchover => no_switchover(),
            Wish::Freeze | Wish::Join => None,
        }
    }
}
