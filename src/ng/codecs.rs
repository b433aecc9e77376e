//! Which codecs the answerer is offered of those in an offer, and which the offerer may use after the answer: what `codec`
//! asks for, as rtpengine understands it, within what tandem can convert. Pure; slow-path thread.

use crate::{
    base::limits::MAX_PT_RULES,
    control::{Encoding, Format},
    sip::sdp::formats::{Agreed, Offered, Spec, limit, number},
};

/// Names of codecs: `PCMU`, `opus/48000/2`, or `all`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CodecEdits {
    pub strip: Vec<String>,
    pub mask: Vec<String>,
    pub offer: Vec<String>,
    pub except: Vec<String>,
    pub transcode: Vec<String>,
    pub accept: Vec<String>,
}

/// What becomes of an offer's codecs.
pub struct Edited {
    /// Those of the offerer that may be used, also where they are not offered.
    pub theirs: Vec<Spec>,
    pub offered: Vec<Offered>,
}

impl CodecEdits {
    /// None: nothing would be left to speak in. `known`: payload types that have been in use with the answerer.
    pub fn apply(&self, theirs: &[Spec], known: &[Format]) -> Option<Edited> {
        let mut kept: Vec<(Spec, bool)> = self.kept(theirs, &self.strip);
        if !kept.iter().any(|(spec, _)| is_voice(spec)) {
            // To strip everything is an error, and leaves the list as it was.
            kept = self.kept(theirs, &[]);
        }
        let mut offered: Vec<Offered> = kept
            .iter()
            .filter(|(_, masked)| !masked)
            .map(|(spec, _)| Offered { told: spec.clone(), theirs: Some(spec.clone()) })
            .collect();
        if is_all(&self.strip) || is_all(&self.mask) {
            let place = |o: &Offered| self.offer.iter().position(|name| names(name, &o.told)).unwrap_or(usize::MAX);
            offered.sort_by_key(place);
        }
        let theirs: Vec<Spec> = kept.into_iter().map(|(spec, _)| spec).collect();
        for name in &self.transcode {
            self.add(name, &theirs, &mut offered);
        }
        limit(&mut offered, |offered| &offered.told);
        number(&mut offered, known);
        offered.iter().any(|o| is_voice(&o.told)).then_some(Edited { theirs, offered })
    }

    /// Without what is stripped; with whether it is masked.
    fn kept(&self, theirs: &[Spec], strip: &[String]) -> Vec<(Spec, bool)> {
        let hit = |list: &[String], spec: &Spec| {
            let by_name = list.iter().any(|name| !is_everything(name) && names(name, spec));
            by_name || is_all(list) && !self.is_saved(list, spec)
        };
        let kept = theirs.iter().filter(|spec| !hit(strip, spec));
        kept.map(|spec| (spec.clone(), hit(&self.mask, spec))).collect()
    }

    /// Whether `all` spares it. What is to be transcoded and was there before is spared too, but by `full`.
    fn is_saved(&self, list: &[String], spec: &Spec) -> bool {
        let full = list.iter().any(|name| name == "full");
        let transcode = self.transcode.iter().filter(|_| !full);
        self.except.iter().chain(&self.offer).chain(transcode).any(|name| names(name, spec))
    }

    /// G.711 that the offerer lacks, if it has the other law. In front of what goes beside a voice.
    fn add(&self, name: &str, theirs: &[Spec], offered: &mut Vec<Offered>) {
        let (encoding, pt) = match Encoding::from_name(name.split('/').next().unwrap_or_default()) {
            Encoding::Pcmu => (Encoding::Pcmu, 0),
            Encoding::Pcma => (Encoding::Pcma, 8),
            _ => return,
        };
        if offered.iter().any(|o| o.told.format.encoding == encoding) {
            return;
        }
        let same = theirs.iter().find(|spec| spec.format.encoding == encoding).cloned();
        if same.is_none() && !theirs.iter().any(|spec| spec.format.encoding.is_g711()) {
            return;
        }
        let made = || Spec::new(Format { pt, encoding, clock_hz: 8_000, channels: 1, fmtp: None });
        let at = offered.iter().rposition(|o| is_voice(&o.told)).map_or(0, |last| last + 1);
        offered.insert(at, Offered { told: same.clone().unwrap_or_else(made), theirs: same });
    }

    /// G.711 of the offerer that it may go on sending, though the answerer took other G.711 only.
    pub fn accept(&self, theirs: &[Spec], agreed: &mut Agreed) {
        if !agreed.answerer.iter().any(|format| format.encoding.is_g711()) {
            return;
        }
        for spec in theirs.iter().filter(|spec| spec.format.encoding.is_g711()) {
            let wanted = is_all(&self.accept) || self.accept.iter().any(|name| names(name, spec));
            let there = agreed.offerer.iter().any(|own| own.format.pt == spec.format.pt);
            if wanted && !there && agreed.offerer.len() < MAX_PT_RULES {
                let at = agreed.offerer.iter().rposition(is_voice).map_or(0, |last| last + 1);
                agreed.offerer.insert(at, spec.clone());
            }
        }
    }
}

/// The first codec, and what goes beside it.
pub fn single(specs: &mut Vec<Spec>) {
    let first = specs.iter().position(is_voice);
    let mut at = 0;
    specs.retain(|spec| {
        at += 1;
        Some(at - 1) == first || !is_voice(spec)
    });
}

fn is_voice(spec: &Spec) -> bool {
    !spec.format.encoding.is_beside()
}

fn is_everything(name: &str) -> bool {
    matches!(name, "all" | "full")
}

fn is_all(list: &[String]) -> bool {
    list.iter().any(|name| is_everything(name))
}

/// `name[/clock[/channels[/…]]]`; names compare without case, what is not said fits anything.
fn names(name: &str, spec: &Spec) -> bool {
    let mut parts = name.split('/');
    let is = |part: Option<&str>, value: u32| part.is_none_or(|p| p.is_empty() || p.parse() == Ok(value));
    let by_name = parts.next().is_some_and(|p| p.eq_ignore_ascii_case(spec.format.encoding.name()));
    by_name && is(parts.next(), spec.format.clock_hz) && is(parts.next(), spec.format.channels.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::sdp::formats::agree;

    fn specs(maps: &[(u8, &str)]) -> Vec<Spec> {
        maps.iter().map(|(pt, map)| Spec::new(Format::from_rtpmap(*pt, map).unwrap())).collect()
    }

    const USUAL: &[(u8, &str)] = &[(0, "PCMU/8000"), (9, "G722/8000"), (101, "telephone-event/8000")];

    fn edits(strip: &[&str], mask: &[&str], offer: &[&str], transcode: &[&str]) -> CodecEdits {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        CodecEdits {
            strip: list(strip),
            mask: list(mask),
            offer: list(offer),
            transcode: list(transcode),
            ..CodecEdits::default()
        }
    }

    fn told(edits: &CodecEdits, theirs: &[(u8, &str)]) -> Vec<u8> {
        let edited = edits.apply(&specs(theirs), &[]).unwrap();
        edited.offered.iter().map(|o| o.told.format.pt).collect()
    }

    #[test]
    fn strip_mask_except_and_offer_choose_among_what_is_there() {
        assert_eq!(told(&edits(&[], &[], &[], &[]), USUAL), [0, 9, 101]);
        assert_eq!(told(&edits(&["g722"], &[], &[], &[]), USUAL), [0, 101]);
        assert_eq!(told(&edits(&["G722/16000"], &[], &[], &[]), USUAL), [0, 9, 101]);
        assert_eq!(told(&edits(&["all"], &[], &["G722", "PCMU"], &[]), USUAL), [9, 0]);
        assert_eq!(told(&edits(&["all"], &[], &[], &[]), USUAL), [0, 9, 101], "to strip all leaves all");
        assert!(edits(&[], &["all"], &[], &[]).apply(&specs(USUAL), &[]).is_none(), "all masked, nothing in its place");
    }

    #[test]
    fn transcoding_adds_the_other_g711_before_what_goes_beside_it() {
        assert_eq!(told(&edits(&[], &[], &[], &["PCMA"]), USUAL), [0, 9, 8, 101]);
        assert_eq!(told(&edits(&[], &["PCMU"], &[], &["PCMA"]), USUAL), [9, 8, 101]);
        assert_eq!(told(&edits(&["all"], &[], &[], &["PCMU"]), USUAL), [0], "what was there is restored");
        assert_eq!(told(&edits(&[], &[], &[], &["opus"]), USUAL), [0, 9, 101], "what cannot be converted is not added");
        assert_eq!(told(&edits(&["PCMU"], &[], &[], &["PCMA"]), USUAL), [9, 101], "there is no G.711 to make it of");
    }

    #[test]
    fn what_is_masked_or_accepted_stays_open_to_the_offerer() {
        let theirs = specs(&[(0, "PCMU/8000"), (8, "PCMA/8000")]);
        let answer = specs(&[(8, "PCMA/8000")]);
        let offerer = |edits: &CodecEdits| -> Vec<u8> {
            let edited = edits.apply(&theirs, &[]).unwrap();
            let mut agreed = agree(&edited.offered, &edited.theirs, &answer).unwrap();
            edits.accept(&edited.theirs, &mut agreed);
            agreed.offerer.iter().map(|spec| spec.format.pt).collect()
        };
        assert_eq!(offerer(&CodecEdits::default()), [8]);
        assert_eq!(offerer(&CodecEdits { accept: vec!["PCMU".into()], ..CodecEdits::default() }), [8, 0]);
        let only_mu = specs(&[(0, "PCMU/8000")]);
        let edited = edits(&[], &["PCMU"], &[], &["PCMA"]).apply(&only_mu, &[]).unwrap();
        let agreed = agree(&edited.offered, &edited.theirs, &answer).unwrap();
        assert_eq!(agreed.offerer[0].format.pt, 0, "the offerer speaks what it has");
        assert_eq!(agreed.answerer[0].pt, 8);
    }
}
