//! Calls as the operator sees them. Slow-path thread; values that can be written as JSON.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::call::{Call, Leg, Phase};
use crate::{
    base::ids::SessionId,
    config::SipTransport,
    sip::endpoint::{AttemptRecord, CallId, Core},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallState {
    /// No destination has reacted yet.
    Calling,
    Ringing,
    Answered,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallSummary {
    pub id: CallId,
    /// The Call-ID of leg A.
    pub call_id: String,
    pub state: CallState,
    pub from: String,
    pub called: String,
    pub trunk_a: String,
    /// The one that is tried, or that answered.
    pub trunk_b: Option<String>,
    /// Milliseconds since 1970.
    pub start_ms: u64,
    pub answer_ms: Option<u64>,
    pub session: Option<SessionId>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LegDetail {
    pub call_id: String,
    pub trunk: String,
    /// The peer's URI and the Contact it gave.
    pub remote_uri: String,
    pub remote_target: String,
    /// Where its last message came from.
    pub source: SocketAddr,
    pub transport: SipTransport,
    /// Our 2xx to this side waits for its ACK.
    pub unacknowledged: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallDetail {
    pub summary: CallSummary,
    pub to: String,
    /// A re-INVITE is under way.
    pub renegotiating: bool,
    pub attempts: Vec<AttemptRecord>,
    /// Leg A, and leg B once there is one.
    pub legs: Vec<LegDetail>,
}

impl CallSummary {
    pub(in crate::sip) fn of(core: &Core, call: &Call) -> CallSummary {
        CallSummary {
            id: call.id,
            call_id: call.record.call_id_a.clone(),
            state: match call.phase {
                Phase::Setup if call.rang.is_none() => CallState::Calling,
                Phase::Setup => CallState::Ringing,
                Phase::Answered | Phase::Ended => CallState::Answered,
            },
            from: call.record.from.clone(),
            called: call.record.called.clone(),
            trunk_a: call.a.trunk.clone(),
            trunk_b: call.b.as_ref().map(|leg| leg.trunk.clone()),
            start_ms: core.clock.epoch_ms(call.started),
            answer_ms: call.answered.map(|at| core.clock.epoch_ms(at)),
            session: call.media.as_ref().map(|media| media.session.id),
        }
    }
}

impl CallDetail {
    pub(in crate::sip) fn of(core: &Core, call: &Call) -> CallDetail {
        CallDetail {
            summary: CallSummary::of(core, call),
            to: call.record.to.clone(),
            renegotiating: call.reinvite.is_some(),
            attempts: call.record.attempts.clone(),
            legs: std::iter::once(&call.a).chain(&call.b).map(leg_detail).collect(),
        }
    }
}

fn leg_detail(leg: &Leg) -> LegDetail {
    LegDetail {
        call_id: leg.dialog.call_id.clone(),
        trunk: leg.trunk.clone(),
        remote_uri: leg.dialog.remote.uri.to_string(),
        remote_target: leg.dialog.remote_target().to_string(),
        source: leg.dialog.source.remote,
        transport: leg.dialog.source.transport,
        unacknowledged: leg.unacked.is_some(),
    }
}
