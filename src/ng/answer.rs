//! `answer`: the answerer's description becomes what the offerer is answered, and what both have agreed on takes effect. An
//! answer may come again, from the same tag or another (a fork): media follows the last one. Pure; slow-path thread.

use super::{
    NgError,
    call::{Exchange, OfferedLine},
    codecs::{self, CodecEdits},
    machine::Ng,
    offer::{remember, rewritten},
    request::{Options, Request},
    rewrite::{Carried, Fate, rewrite},
    section::{self, Section},
    value::Dictionary,
};
use crate::{
    base::{
        Time,
        ids::{SessionId, Side},
        limits::NG_FORKS,
    },
    control::{LegMedia, MediaControl, Phase},
    sip::sdp::{
        Sdp,
        formats::{Agreed, Spec, agree},
    },
};

/// What both sides of a section have agreed on.
struct Settled {
    /// The offerer's leg and the answerer's.
    legs: [LegMedia; 2],
    /// What the offerer is told; of opaque media no codecs.
    specs: Vec<Spec>,
    numbers: Vec<(u8, u8)>,
    opaque: bool,
    proto: String,
}

impl Ng {
    pub(super) fn answer(
        &mut self,
        now: Time,
        request: &Request,
        media: &mut dyn MediaControl,
    ) -> Result<Dictionary, NgError> {
        let call_id = request.needs_call_id()?;
        let from = request.needs_from_tag()?;
        let to = request.to_tag.as_deref().ok_or(NgError::Missing("to-tag"))?;
        let sdp = request.needs_sdp()?;
        let number = *self.by_id.get(call_id).ok_or(NgError::UnknownCall)?;
        let call = self.calls.get(&number).ok_or(NgError::UnknownCall)?;
        let (at, offerer) = call.answered_by(from, to, request.branch.as_deref()).ok_or(NgError::NoOffer)?;
        let mut pair = call.pairs[at].clone();
        let exchange = pair.exchange.clone().ok_or(NgError::NoOffer)?;
        let answerer = offerer.other();
        let mut description = Sdp::parse(sdp)?.0;
        let (offered, answered) = (exchange.lines.len(), description.medias.len());
        if offered != answered {
            return Err(NgError::Sections { offered, answered });
        }
        let mut settled = Vec::with_capacity(offered);
        for (line, said) in exchange.lines.iter().zip(&description.medias) {
            let mut why = NgError::NoMedia;
            let section = section::read(&description, said, &request.options, &mut why);
            settled.push(match (line, section) {
                (Some(line), Some(section)) => Some(settle(&exchange, line, section, &request.options)?),
                (Some(_), None) if said.port != 0 => return Err(why),
                _ => None,
            });
        }
        let mut fates = Vec::with_capacity(offered);
        for (line, settled) in pair.lines.iter().zip(&settled) {
            fates.push(match (settled, &line.session) {
                (Some(settled), Some(session)) => Fate::Carried(Carried {
                    local: &session.local[offerer.index()],
                    proto: settled.proto.clone(),
                    specs: (!settled.opaque).then_some(settled.specs.as_slice()),
                    numbers: &settled.numbers,
                    mux: settled.legs[0].rtcp_mux,
                    mux_only: settled.legs[0].rtcp_mux,
                    ptime: exchange.ptime_reverse,
                    keys: settled.opaque,
                }),
                _ => Fate::Refused,
            });
        }
        rewrite(&mut description, &fates, &request.options);
        drop(fates);
        pair.told[offerer.index()].apply(&mut description, request.options.replace);
        let again = pair.answered && pair.tag(answerer) == Some(to);
        pair.speaks(answerer, to, if answerer == Side::A { 1 } else { NG_FORKS });
        if let Some(label) = request.set_label.as_ref().or(request.label.as_ref()) {
            pair.labels[answerer.index()] = Some(label.clone());
        }
        pair.asymmetric[answerer.index()] = request.options.asymmetric;
        pair.answered = true;
        for (line, settled) in pair.lines.iter_mut().zip(&settled) {
            let Some(session) = &line.session else { continue };
            line.agreed = settled.is_some();
            line.silent = false;
            let legs = settled.as_ref().map(|settled| settled.legs.clone());
            let [own, other] = legs.unwrap_or_else(|| [LegMedia::nowhere(), LegMedia::nowhere()]);
            line.signalled[answerer.index()] = other.rtp;
            if settled.as_ref().is_some_and(|settled| !settled.opaque) {
                remember(&mut line.known[answerer.index()], other.formats.iter());
            }
            media.update(now, session.id, offerer, &own);
            if again && is_unheard(media, session.id, answerer) {
                // An early answer may have come long before there was anything to hear, and its window may have closed.
                media.update(now, session.id, answerer, &LegMedia::nowhere());
            }
            media.update(now, session.id, answerer, &other);
            media.phase(now, session.id, Phase::Confirmed);
        }
        self.put(now, number, Some(at), pair, request, media);
        Ok(rewritten(Sdp(description).write()))
    }
}

/// Nobody has been let through on this side yet.
fn is_unheard(media: &dyn MediaControl, id: SessionId, side: Side) -> bool {
    media.report(id).is_some_and(|report| report.legs[side.index()].rtp.packets == 0)
}

fn settle(exchange: &Exchange, offer: &OfferedLine, answer: Section, options: &Options) -> Result<Settled, NgError> {
    if offer.section.opaque != answer.opaque {
        return Err(NgError::NoCommonFormat);
    }
    let Agreed { offerer, answerer, numbers } = match answer.opaque {
        true => Agreed {
            offerer: Vec::new(),
            answerer: section::in_common(&offer.section.leg, &answer.leg),
            numbers: Vec::new(),
        },
        false => audio(exchange, offer, &answer, options)?,
    };
    if answerer.is_empty() {
        return Err(NgError::NoCommonFormat);
    }
    let (formats, numbers) = match answer.opaque {
        true => (answerer.clone(), answerer.iter().map(|format| (format.pt, format.pt)).collect()),
        false => (offerer.iter().map(|spec| spec.format.clone()).collect(), kept(numbers, &offerer)),
    };
    let mux = exchange.mux;
    let (own, other) = (&offer.section, &answer);
    let own_mux = own.leg.rtcp_mux && !mux.reject && (mux.accept || mux.demux || other.leg.rtcp_mux);
    let other_mux = other.leg.rtcp_mux && offer.mux_offered;
    let rtcp = |section: &Section, mux: bool| if mux { section.leg.rtp } else { section.rtcp_apart };
    let direction = section::direction(own.leg.direction, other.leg.direction);
    let legs = [
        LegMedia { rtcp: rtcp(own, own_mux), rtcp_mux: own_mux, formats, ..own.leg.clone() },
        LegMedia {
            rtcp: rtcp(other, other_mux),
            rtcp_mux: other_mux,
            formats: answerer,
            direction,
            ..other.leg.clone()
        },
    ];
    let proto = if options.accept_protocol { other.proto.clone() } else { own.proto.clone() };
    Ok(Settled { legs, specs: offerer, numbers, opaque: answer.opaque, proto })
}

fn audio(exchange: &Exchange, offer: &OfferedLine, answer: &Section, options: &Options) -> Result<Agreed, NgError> {
    let mut agreed = agree(&offer.offered, &offer.theirs, &answer.specs).ok_or(NgError::NoCommonFormat)?;
    let accept = [exchange.accept.as_slice(), &options.codecs.accept].concat();
    CodecEdits { accept, ..CodecEdits::default() }.accept(&offer.theirs, &mut agreed);
    if options.single_codec {
        codecs::single(&mut agreed.offerer);
    }
    Ok(agreed)
}

/// The numbers of codecs that the offerer is told.
fn kept(numbers: Vec<(u8, u8)>, specs: &[Spec]) -> Vec<(u8, u8)> {
    numbers.into_iter().filter(|(_, to)| specs.iter().any(|spec| spec.format.pt == *to)).collect()
}
