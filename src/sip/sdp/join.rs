//! Two sides that have each talked to somebody else are joined (a transfer): what each has said so far is offer and
//! answer to the other. Pure; slow-path thread.
//!
//! Always holds: who is told nothing that matters to it is not told again; what a side was told grows by versions of the
//! one session that it knows, whichever anchor told it before.

use bytes::Bytes;
use sdp_types::Session;

use super::{Sdp, SdpAnchor, SdpError, audio::direction_named};
use crate::{
    base::ids::Side,
    config::Codec,
    control::{LegMedia, Local},
};

/// What comes of joining two sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    /// What the newcomer is told: the answer, if what it said is an offer.
    pub sdp: Bytes,
    /// Both sides' media from now on, by `Side::index`.
    pub legs: [LegMedia; 2],
    /// Whether a side was told something before, and must be told otherwise now.
    pub changed: [bool; 2],
}

impl Sdp {
    /// As if its side held nobody: whoever was on hold towards one is not so towards another.
    pub fn active(mut self) -> Sdp {
        self.0.attributes.retain(|a| direction_named(&a.attribute).is_none());
        for media in &mut self.0.medias {
            media.attributes.retain(|a| direction_named(&a.attribute).is_none());
        }
        self
    }

    /// Its audio as section `at` of as many as `like` has: it becomes the answer to what it never saw.
    fn answering(&self, like: &Session, at: usize) -> Result<Sdp, SdpError> {
        let audio = self.media()?.section;
        let mut fit = self.clone();
        let said = fit.0.medias.get(audio).cloned();
        fit.0.medias = like.medias.clone();
        if let (Some(place), Some(said)) = (fit.0.medias.get_mut(at), said) {
            *place = said;
        }
        Ok(fit)
    }
}

impl SdpAnchor {
    /// The peer of `theirs` takes the place of ours.
    pub fn adopt(&mut self, side: Side, theirs: &SdpAnchor, their_side: Side) {
        *self.told_mut(side) = theirs.told[their_side.index()].clone();
    }

    /// Joins `newcomer`, which said `new`, with the other side, which said `kept` when it talked to another. `codecs`: what
    /// the other side's trunk is offered.
    pub fn join(
        &mut self,
        newcomer: Side,
        new: Sdp,
        kept: Sdp,
        locals: &[Local; 2],
        codecs: &[Codec],
    ) -> Result<Joined, SdpError> {
        let before = self.told.clone();
        let (new, kept) = (new.active(), kept.active());
        let audio = new.media()?.section;
        self.offer_to_other_side(newcomer, &new, &locals[newcomer.other().index()], codecs)?;
        let kept = kept.answering(&new.0, audio)?;
        let answered = self.answer_to_offerer(&kept, &locals[newcomer.index()])?;
        let mut changed = [false; 2];
        for side in Side::BOTH {
            let (told, was) = (self.told_mut(side), &before[side.index()]);
            let served = was.last.as_ref().is_none_or(|was| serves(was, told.last.as_deref().unwrap_or_default()));
            changed[side.index()] = !served;
            if served && was.last.is_some() {
                (told.version, told.last) = (was.version, was.last.clone());
            }
        }
        Ok(Joined { sdp: answered.sdp, legs: answered.legs, changed })
    }
}

/// Whether a peer that goes by the old description does as the new one wants: the same address and direction, and no
/// codec in use that the other side lacks, G.711 aside, which tandem translates.
fn serves(old: &str, new: &str) -> bool {
    let read = |text: &str| Sdp::parse(text.as_bytes()).and_then(|sdp| sdp.media()).map(|audio| audio.leg).ok();
    let (Some(old), Some(new)) = (read(old), read(new)) else { return false };
    let place = |leg: &LegMedia| (leg.rtp, leg.rtcp, leg.rtcp_mux, leg.direction);
    let new_has_g711 = new.formats.iter().any(|format| format.encoding.is_g711());
    place(&old) == place(&new)
        && old.formats.iter().all(|format| {
            let kept = new.formats.iter().any(|other| other.pt == format.pt && other.encoding == format.encoding);
            kept || format.encoding.is_beside() || format.encoding.is_g711() && new_has_g711
        })
}
