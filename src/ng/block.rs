//! `block media`, `block DTMF` and their ends: for a whole call, or for what one participant sends. Pure; slow-path thread.
//!
//! The two are apart: what was blocked of one participant stays so when the call as a whole is unblocked, unless `all` is said.

use super::{
    NgError,
    call::{Blocked, Call, Pair},
    machine::Ng,
    offer::is_at,
    request::Request,
    value::Dictionary,
};
use crate::{
    base::{
        Time,
        ids::{SessionId, Side},
    },
    control::{Manner, MediaControl},
};

impl Ng {
    pub(super) fn block(
        &mut self,
        now: Time,
        request: &Request,
        events: bool,
        on: bool,
        media: &mut dyn MediaControl,
    ) -> Result<Dictionary, NgError> {
        let call_id = request.needs_call_id()?;
        let number = *self.by_id.get(call_id).ok_or(NgError::UnknownCall)?;
        let call = self.calls.get_mut(&number).ok_or(NgError::UnknownCall)?;
        let set = |blocked: &mut Blocked| *if events { &mut blocked.events } else { &mut blocked.media } = on;
        if request.from_tag.is_none() && request.label.is_none() && request.address.is_none() {
            set(&mut call.blocked);
            if request.all && !on {
                call.pairs.iter_mut().flat_map(|pair| &mut pair.blocked).for_each(set);
            }
        } else {
            let found = participants(call, request);
            if found.is_empty() {
                return Err(NgError::UnknownParticipant);
            }
            for (at, side) in found {
                let pair = &mut call.pairs[at];
                set(&mut pair.blocked[side.index()]);
                if let Some(label) = &request.set_label {
                    pair.labels[side.index()] = Some(label.clone());
                }
            }
        }
        self.treat(now, number, media);
        self.changed(now, number);
        Ok(Dictionary::default().with("result", "ok"))
    }

    /// Call control learns how each side of the call is treated now.
    pub(super) fn treat(&self, now: Time, number: u64, media: &mut dyn MediaControl) {
        let Some(call) = self.calls.get(&number) else { return };
        let manners = |pair: &Pair| Side::BOTH.map(|side| (side, call.manner(pair, side)));
        let of_pair = |pair: &Pair| -> Vec<(SessionId, [(Side, Manner); 2])> {
            pair.sessions().map(|id| (id, manners(pair))).collect()
        };
        for (id, manners) in call.pairs.iter().flat_map(of_pair) {
            manners.into_iter().for_each(|(side, manner)| media.treat(now, id, side, manner));
        }
    }
}

/// Those that a tag, a label or an address names, by their pair.
fn participants(call: &Call, request: &Request) -> Vec<(usize, Side)> {
    let is_meant = |pair: &Pair, side: Side| {
        let tag = request.from_tag.as_deref().map(|tag| pair.has(side, tag));
        let label = request.label.as_ref().map(|label| pair.labels[side.index()].as_ref() == Some(label));
        let address = request.address.map(|ip| pair.lines.iter().any(|line| is_at(line, side, ip)));
        tag.or(label).or(address).unwrap_or(false)
    };
    let sides = |(at, pair): (usize, &Pair)| -> Vec<(usize, Side)> {
        Side::BOTH.into_iter().filter(|side| is_meant(pair, *side)).map(|side| (at, side)).collect()
    };
    call.pairs.iter().enumerate().flat_map(sides).collect()
}
