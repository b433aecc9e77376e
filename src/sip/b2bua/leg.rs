//! One leg: its dialog, or its early dialogs where the called side forked, and what their peers have said. Slow-path
//! thread; all of it is saved.
//!
//! Always: `dialog` leads: media and requests that cross go there. The others wait in `forks` until one of them leads
//! or the answer ends them.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    refresh::{Refreshing, Reoffer},
    session_timer::{SHORTEST_S, SessionTimer},
};
use crate::{
    base::Time,
    sip::{
        dialog::Dialog,
        endpoint::Core,
        flow::Flow,
        message::{HeaderName, Message},
        transaction::{ClientId, ServerId},
    },
};

/// Early dialogs of one INVITE beside the leading one; further forks are not heard.
const MAX_FORKS: usize = 15;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LegState {
    /// No 2xx yet.
    Early,
    Confirmed,
    /// To be hung up as soon as our 2xx is acknowledged (RFC 3261 §15); with this Reason.
    ByeWaits(Option<String>),
    /// Our BYE is under way.
    ByeSent,
    /// The dialog is no more.
    Gone,
}

/// Our 2xx to an INVITE, which is repeated until its ACK (RFC 3261 §13.3.1.4).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unacked {
    pub server: ServerId,
    /// The INVITE's CSeq number.
    pub seq: u32,
    pub interval: Duration,
    pub next: Time,
    pub give_up: Time,
    /// Our 2xx carried an offer: the answer comes in the ACK, and goes on to the other leg in the ACK that its 2xx
    /// still waits for.
    pub late: Option<Late>,
}

/// The 2xx of the other leg that waits for our ACK.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Late {
    pub client: ClientId,
    pub seq: u32,
}

/// What the peer of a dialog has said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Its last Allow named UPDATE.
    pub update: bool,
    /// RSeq of its last reliable provisional response (RFC 3262 §4).
    pub rseq: Option<u32>,
    /// Its description in the set-up: the answer to the INVITE's offer or, if that had none, its offer.
    pub description: Option<Bytes>,
    /// The first offer and answer are both known to have arrived: what RFC 3311 §5.1 wants of an early dialog before
    /// it is changed.
    pub agreed: bool,
    /// The Privacy (RFC 3323) that it asked for last.
    #[serde(default)]
    pub privacy: Option<String>,
}

impl Peer {
    pub fn note(&mut self, message: &Message) {
        if message.headers.contains(&HeaderName::Allow) {
            self.update = message.tokens(&HeaderName::Allow).any(|method| method == "UPDATE");
        }
        if let Some(privacy) = message.headers.get(&HeaderName::Privacy) {
            self.privacy = Some(privacy.to_owned());
        }
    }
}

/// Another early dialog of the same INVITE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fork {
    pub dialog: Dialog,
    pub peer: Peer,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Leg {
    pub dialog: Dialog,
    pub peer: Peer,
    pub forks: Vec<Fork>,
    pub trunk: String,
    pub state: LegState,
    pub unacked: Option<Unacked>,
    pub timer: Option<SessionTimer>,
    /// The highest Min-SE that the peer has asked for.
    pub min_se_s: u32,
    pub refreshing: Option<Refreshing>,
    /// The destination that we called, as configured; None: this side called us.
    #[serde(default)]
    pub place: Option<String>,
    /// Another party is at the other end: this side is to be told what changed.
    #[serde(default)]
    pub reoffer: Option<Reoffer>,
    /// A REFER of this peer was accepted: the next one's NOTIFYs name theirs (RFC 3515 §2.4.6).
    #[serde(default)]
    pub referred: bool,
}

impl Leg {
    pub fn new(dialog: Dialog, trunk: &str) -> Self {
        Leg {
            dialog,
            peer: Peer::default(),
            forks: Vec::new(),
            trunk: trunk.to_owned(),
            state: LegState::Early,
            unacked: None,
            timer: None,
            min_se_s: SHORTEST_S,
            refreshing: None,
            place: None,
            reoffer: None,
            referred: false,
        }
    }

    /// One that we call.
    pub fn calling(dialog: Dialog, trunk: &str, place: &str) -> Self {
        Leg { place: Some(place.to_owned()), ..Leg::new(dialog, trunk) }
    }

    /// The dialog ended: nothing finds the leg any more.
    pub fn gone(&mut self, core: &mut Core) {
        core.live.dialogs.remove(&self.dialog.key());
        self.state = LegState::Gone;
        self.unacked = None;
        self.timer = None;
        self.reoffer = None;
        self.forks.clear();
    }

    /// Whether a request comes from the peer of one of its dialogs.
    pub fn knows(&self, request: &Message) -> bool {
        self.dialog.is_from_peer(request) || self.forks.iter().any(|fork| fork.dialog.is_from_peer(request))
    }

    /// The dialog with the peer of that tag, and what that peer said.
    pub fn with_tag(&mut self, tag: Option<&str>) -> Option<(&mut Dialog, &mut Peer)> {
        if self.dialog.remote_tag() == tag {
            return Some((&mut self.dialog, &mut self.peer));
        }
        let fork = self.forks.iter_mut().find(|fork| fork.dialog.remote_tag() == tag)?;
        Some((&mut fork.dialog, &mut fork.peer))
    }

    /// A response to our INVITE makes an early dialog, or belongs to one (RFC 3261 §12.1.2).
    /// `fresh`: the dialog as it was before any response. None: too many of them.
    pub fn establish(&mut self, response: &Message, flow: Flow, fresh: Option<Dialog>) -> Option<()> {
        let to = response.to().ok()?;
        let tag = to.tag()?;
        let first = self.dialog.remote_tag().is_none();
        if !first && self.with_tag(Some(tag)).is_none() {
            if self.forks.len() >= MAX_FORKS {
                return None;
            }
            self.forks.push(Fork { dialog: fresh?, peer: Peer::default() });
            if let Some(fork) = self.forks.last_mut() {
                fork.dialog.establish(response, flow);
            }
        }
        let (dialog, peer) = if first { (&mut self.dialog, &mut self.peer) } else { self.with_tag(Some(tag))? };
        dialog.establish(response, flow);
        peer.note(response);
        Some(())
    }

    /// Lets the dialog with that tag lead.
    pub fn lead(&mut self, tag: &str) {
        let other = self.forks.iter_mut().find(|fork| fork.dialog.remote_tag() == Some(tag));
        if let Some(fork) = other.filter(|_| self.dialog.remote_tag() != Some(tag)) {
            std::mem::swap(&mut self.dialog, &mut fork.dialog);
            std::mem::swap(&mut self.peer, &mut fork.peer);
        }
    }

    pub fn next_deadline(&self) -> Option<Time> {
        let unacked = self.unacked.as_ref().map(|unacked| unacked.next.min(unacked.give_up));
        let timer = self.timer.as_ref().map(SessionTimer::next_deadline);
        let reoffer = self.reoffer.as_ref().map(|reoffer| reoffer.at);
        unacked.into_iter().chain(timer).chain(reoffer).min()
    }
}
