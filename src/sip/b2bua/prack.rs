//! PRACK on leg B (RFC 3262 §4, the UAC's part), and the RAck header. Slow-path thread.

use bytes::Bytes;

use super::{
    call::Call,
    leg::Peer,
    reliable::{self, Couple},
};
use crate::{
    base::{Time, ids::Side},
    config::ReliableProvisionals,
    sip::{
        endpoint::{Core, SDP, Use},
        message::{HeaderName, Message, Method},
        transaction::ClientId,
    },
};

/// Where a provisional response stands among the reliable ones of its dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It is not reliable.
    Unreliable,
    /// The next one, with this RSeq.
    Next(u32),
    /// A repetition, or one whose predecessor has not come: RFC 3262 §4 wants neither acknowledged.
    Discard,
}

pub fn order(peer: &mut Peer, response: &Message) -> Order {
    let is_reliable = response.tokens(&HeaderName::Require).any(|tag| tag.eq_ignore_ascii_case(reliable::RELIABLE));
    let rseq = response.headers.get(&HeaderName::RSeq).and_then(|value| value.trim().parse::<u32>().ok());
    match (is_reliable, rseq, peer.rseq) {
        (false, ..) => Order::Unreliable,
        // RFC 3262 §7.1: it would have to have a number.
        (true, None, _) => Order::Discard,
        (true, Some(rseq), last) if last.is_none_or(|last| last.checked_add(1) == Some(rseq)) => {
            peer.rseq = Some(rseq);
            Order::Next(rseq)
        }
        (true, Some(_), _) => Order::Discard,
    }
}

/// RAck: the RSeq, and CSeq number and method of what it answers.
pub fn rack(request: &Message) -> Option<(u32, u32, Method)> {
    let mut parts = request.headers.get(&HeaderName::RAck)?.split_ascii_whitespace();
    let numbers = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let method = Method::parse(parts.next()?).ok()?;
    parts.next().is_none().then_some((numbers.0, numbers.1, method))
}

/// Completes the INVITE of leg B. A caller without an offer must answer leg B's in a PRACK of its own; one that has no
/// 100rel cannot, so leg B is not told of it then.
pub fn ask(core: &Core, call: &Call, trunk: &str, invite: &mut Message) {
    let policy = reliable::policy(core, trunk);
    // A call of tandem's own has no caller to pass a reliable response to.
    if call.origin.is_some() || call.late && call.reliable.is_none() {
        let others: Vec<&str> = core.extensions(trunk).into_iter().filter(|tag| *tag != reliable::RELIABLE).collect();
        invite.headers.remove(&HeaderName::Supported);
        if !others.is_empty() {
            invite.headers.push(HeaderName::Supported, others.join(", "));
        }
    } else if policy == ReliableProvisionals::Require {
        invite.headers.push(HeaderName::Require, reliable::RELIABLE);
    }
}

/// Acknowledges a reliable provisional response of leg B; whatever comes back does not matter.
pub fn send(core: &mut Core, now: Time, call: &mut Call, couple: &Couple, body: Option<Bytes>) {
    send_for(core, now, call, couple, body, Use::Alone);
}

/// In the dialog of the fork that sent it. None: that is no more.
pub fn send_for(
    core: &mut Core,
    now: Time,
    call: &mut Call,
    couple: &Couple,
    body: Option<Bytes>,
    purpose: Use,
) -> Option<ClientId> {
    let leg = call.leg_mut(Side::B)?;
    let trunk = leg.trunk.clone();
    let (dialog, _) = leg.with_tag(Some(&couple.tag))?;
    let mut prack = dialog.request(Method::Prack);
    prack.headers.push(HeaderName::RAck, format!("{} {} INVITE", couple.rseq, couple.seq));
    if let Some(body) = body {
        prack.headers.push(HeaderName::ContentType, SDP);
        prack.body = body;
    }
    let path = core.path(dialog, &trunk);
    core.send(now, &trunk, prack, path, 0, purpose)
}
