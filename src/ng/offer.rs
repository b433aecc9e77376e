//! `offer`: one side's description becomes what the other side is offered, with ports of tandem's for both. Nothing is let
//! through before it is answered, and an offer that fails leaves the call as it was. Pure; slow-path thread.

use std::net::IpAddr;

use bytes::Bytes;
use sdp_types::{Attribute, Session as Description};

use super::{
    NgError,
    call::{Call, Exchange, Line, OfferedLine, Pair},
    machine::Ng,
    request::{Family, Options, Request},
    rewrite::{Carried, Fate, LOOP_MARK, rewrite},
    section::{self, Section},
    value::Dictionary,
};
use crate::{
    base::{
        Time,
        ids::{SessionId, Side},
        limits::{NG_BRANCHES, NG_FORKS},
    },
    control::{Format, MediaControl, OpenRequest},
    sip::sdp::{Sdp, formats::Spec},
};

/// Payload types that are remembered of a side, per section.
const KNOWN_FORMATS: usize = 32;

impl Ng {
    pub(super) fn offer(
        &mut self,
        now: Time,
        request: &Request,
        media: &mut dyn MediaControl,
    ) -> Result<Dictionary, NgError> {
        let call_id = request.needs_call_id()?;
        let from = request.needs_from_tag()?;
        let sdp = request.needs_sdp()?;
        let mut description = Sdp::parse(sdp)?.0;
        if request.options.loop_protect && is_marked(&description, &self.mark) {
            return Ok(rewritten(sdp.clone()));
        }
        let sections = sections(&description, &request.options)?;
        let known = self.by_id.get(call_id).copied();
        let to = request.to_tag.as_deref();
        let place = known.and_then(|n| self.calls.get(&n)?.offered_by(from, to, request.branch.as_deref()));
        let (mut pair, side) = match (place, known.and_then(|n| self.calls.get(&n))) {
            (Some((at, side)), Some(call)) => (call.pairs[at].clone(), side),
            (_, call) => {
                self.takes_new(call)?;
                let names = self.names(&request.options, &sections)?;
                (Pair::new(from, request.branch.as_deref(), names, self.wall_ms(now)), Side::A)
            }
        };
        let mut opened = Vec::new();
        let told = prepare(&mut pair, side, &mut description, sections, request, &mut |pair, line| {
            let id = open(now, pair, line, call_id, media)?;
            opened.push(id);
            Ok(())
        });
        if let Err(error) = told {
            opened.into_iter().for_each(|id| drop(media.close(now, id)));
            return Err(error);
        }
        if request.options.loop_protect {
            description.attributes.push(Attribute::with_value(LOOP_MARK, self.mark.clone()));
        }
        pair.told[side.other().index()].apply(&mut description, request.options.replace);
        label(&mut pair, side, request);
        pair.speaks(side, from, if side == Side::A { 1 } else { NG_FORKS });
        if let Some(to) = to {
            pair.speaks(side.other(), to, if side == Side::B { 1 } else { NG_FORKS });
        }
        pair.asymmetric[side.index()] = request.options.asymmetric;
        let number = match known {
            Some(number) => number,
            None => {
                self.counters.calls += 1;
                self.insert(Call::new(call_id, now, self.wall_ms(now)))
            }
        };
        self.put(now, number, place.map(|(at, _)| at), pair, request, media);
        Ok(rewritten(Sdp(description).write()))
    }

    /// Whether there is room for another call, or for another branch of this one.
    fn takes_new(&self, call: Option<&Call>) -> Result<(), NgError> {
        if self.draining.is_some() {
            return Err(NgError::Full("this node is drained"));
        }
        match call {
            Some(call) if call.pairs.len() >= NG_BRANCHES => Err(NgError::Branches),
            None if self.calls.len() >= self.settings.max_calls => Err(NgError::Full("ng.max_calls are in progress")),
            _ => Ok(()),
        }
    }

    /// The addresses of the offerer's and the answerer's side.
    fn names(&self, options: &Options, sections: &[Option<Section>]) -> Result<[Vec<String>; 2], NgError> {
        let own = sections.iter().flatten().find_map(|section| section.leg.rtp).map(|rtp| Family::of(rtp.ip()));
        let own = own.unwrap_or(Family::V4);
        let [from, to] = &options.interfaces;
        Ok([self.addresses(from.as_deref(), own)?, self.addresses(to.as_deref(), options.family.unwrap_or(own))?])
    }

    /// Those of an interface in one family; all of them, where it has none of that family.
    fn addresses(&self, interface: Option<&str>, family: Family) -> Result<Vec<String>, NgError> {
        let all = match interface {
            None => &self.settings.media,
            Some(name) => {
                let found = self.settings.interfaces.get(name);
                found.ok_or_else(|| NgError::Interface(name.chars().take(64).collect()))?
            }
        };
        let fits = |name: &&String| self.settings.families.get(*name) == Some(&family);
        let fitting: Vec<String> = all.iter().filter(fits).cloned().collect();
        Ok(if fitting.is_empty() { all.clone() } else { fitting })
    }

    /// A pair as a command has made it comes to its place, and what the command says of the call as a whole.
    pub(super) fn put(
        &mut self,
        now: Time,
        number: u64,
        at: Option<usize>,
        pair: Pair,
        request: &Request,
        media: &mut dyn MediaControl,
    ) {
        let wall_ms = self.wall_ms(now);
        let Some(call) = self.calls.get_mut(&number) else { return };
        match at.and_then(|at| call.pairs.get_mut(at)) {
            Some(place) => *place = pair,
            None => call.pairs.push(pair),
        }
        (call.signalled, call.signalled_ms, call.delete_at) = (now, wall_ms, None);
        if let Some(metadata) = &request.metadata {
            call.metadata = Some(metadata.clone());
        }
        if let Some(tos) = request.options.tos {
            call.tos = tos;
        }
        if let Some(drop) = request.options.drop_traffic {
            call.blocked.all = drop;
        }
        self.treat(now, number, media);
        self.changed(now, number);
    }
}

impl Call {
    pub fn new(id: &str, now: Time, wall_ms: u64) -> Call {
        Call {
            id: id.to_owned(),
            created_ms: wall_ms,
            signalled_ms: wall_ms,
            signalled: now,
            active: now,
            packets: 0,
            delete_at: None,
            metadata: None,
            tos: None,
            blocked: Default::default(),
            pairs: Vec::new(),
        }
    }
}

pub(super) fn rewritten(sdp: Bytes) -> Dictionary {
    Dictionary::default().with("sdp", sdp).with("result", "ok")
}

fn is_marked(description: &Description, mark: &str) -> bool {
    description.attributes.iter().any(|a| a.attribute == LOOP_MARK && a.value.as_deref() == Some(mark))
}

/// What is to be carried of each section; an error if there is something, and none of it can be.
fn sections(description: &Description, options: &Options) -> Result<Vec<Option<Section>>, NgError> {
    let mut why = NgError::NoMedia;
    let sections: Vec<Option<Section>> =
        description.medias.iter().map(|media| section::read(description, media, options, &mut why)).collect();
    let asked = description.medias.iter().any(|media| media.port != 0);
    if asked && sections.iter().all(Option::is_none) { Err(why) } else { Ok(sections) }
}

/// Opens what the offer needs, writes the description for the other side, and keeps what its answer must be like.
fn prepare(
    pair: &mut Pair,
    side: Side,
    description: &mut Description,
    sections: Vec<Option<Section>>,
    request: &Request,
    open: &mut dyn FnMut(&mut Pair, usize) -> Result<(), NgError>,
) -> Result<(), NgError> {
    let options = &request.options;
    let to = side.other();
    pair.lines.resize_with(pair.lines.len().max(sections.len()), Line::default);
    let mut lines = Vec::with_capacity(sections.len());
    let mut protos = Vec::with_capacity(sections.len());
    for (at, section) in sections.into_iter().enumerate() {
        let Some(section) = section else {
            lines.push(None);
            protos.push(String::new());
            continue;
        };
        let proto = section::protocol(&section, options)?;
        let offered = choose(section, options, &pair.lines[at].known[to.index()])?;
        if pair.lines[at].session.is_none() {
            open(pair, at)?;
        }
        let line = &mut pair.lines[at];
        line.media.clone_from(&description.medias[at].media);
        line.proto[side.index()].clone_from(&offered.section.proto);
        line.proto[to.index()].clone_from(&proto);
        line.signalled[side.index()] = offered.section.leg.rtp;
        remember(&mut line.known[side.index()], offered.section.specs.iter().map(|spec| &spec.format));
        remember(&mut line.known[to.index()], offered.offered.iter().map(|o| &o.told.format));
        lines.push(Some(offered));
        protos.push(proto);
    }
    let parts: Vec<Option<Parts>> = lines.iter().map(|line| line.as_ref().map(parts)).collect();
    let mut fates = Vec::with_capacity(lines.len());
    for (at, line) in lines.iter().enumerate() {
        let session = pair.lines[at].session.as_ref();
        let (Some(line), Some(session), Some((specs, numbers))) = (line, session, &parts[at]) else {
            fates.push(Fate::Refused);
            continue;
        };
        fates.push(Fate::Carried(Carried {
            local: &session.local[to.index()],
            proto: protos[at].clone(),
            specs: (!line.section.opaque).then_some(specs.as_slice()),
            numbers,
            mux: line.mux_offered,
            mux_only: options.mux.require,
            ptime: options.ptime,
            keys: line.section.opaque,
        }));
    }
    rewrite(description, &fates, options);
    drop(fates);
    pair.exchange = Some(Exchange {
        offerer: side,
        lines,
        mux: options.mux,
        ptime_reverse: options.ptime_reverse,
        accept: options.codecs.accept.clone(),
    });
    Ok(())
}

/// What is made of a section's codecs.
fn choose(section: Section, options: &Options, known: &[Format]) -> Result<OfferedLine, NgError> {
    let mux = options.mux;
    let passed_on = section.leg.rtcp_mux && !mux.demux;
    let mux_offered = mux.offer || mux.require || passed_on;
    if section.opaque {
        return Ok(OfferedLine { section, theirs: Vec::new(), offered: Vec::new(), mux_offered });
    }
    let edited = options.codecs.apply(&section.specs, known).ok_or(NgError::NoCommonFormat)?;
    Ok(OfferedLine { section, theirs: edited.theirs, offered: edited.offered, mux_offered })
}

/// Codecs to be told, and numbers as they were and are.
type Parts = (Vec<Spec>, Vec<(u8, u8)>);

fn parts(line: &OfferedLine) -> Parts {
    if line.section.opaque {
        return (Vec::new(), line.section.leg.formats.iter().map(|format| (format.pt, format.pt)).collect());
    }
    let specs = line.offered.iter().map(|o| o.told.clone()).collect();
    let numbers = line.offered.iter().filter_map(|o| Some((o.theirs.as_ref()?.format.pt, o.told.format.pt)));
    (specs, numbers.collect())
}

fn open(
    now: Time,
    pair: &mut Pair,
    line: usize,
    call_id: &str,
    media: &mut dyn MediaControl,
) -> Result<SessionId, NgError> {
    let session = media.open(now, &OpenRequest { media: pair.names.clone(), call_id: call_id.to_owned() })?;
    let id = session.id;
    pair.lines[line].session = Some(session);
    Ok(id)
}

pub(super) fn remember<'a>(known: &mut Vec<Format>, formats: impl Iterator<Item = &'a Format>) {
    for format in formats {
        let room = known.len() < KNOWN_FORMATS;
        match known.iter_mut().find(|k| k.pt == format.pt) {
            Some(k) => k.clone_from(format),
            None if room => known.push(format.clone()),
            None => {}
        }
    }
}

fn label(pair: &mut Pair, side: Side, request: &Request) {
    if let Some(label) = request.set_label.as_ref().or(request.label.as_ref()) {
        pair.labels[side.index()] = Some(label.clone());
    }
    if let Some(label) = &request.to_label {
        pair.labels[side.other().index()] = Some(label.clone());
    }
}

/// The address of a participant's description.
pub(super) fn is_at(line: &Line, side: Side, ip: IpAddr) -> bool {
    line.signalled[side.index()].is_some_and(|at| at.ip() == ip)
}
