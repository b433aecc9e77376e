//! Which formats each side is told: what the other side has, and the G.711 that tandem can make of it.

use serde::{Deserialize, Serialize};

use crate::{
    base::limits::MAX_PT_RULES,
    config::Codec,
    control::{Encoding, Format},
};

/// A format with the words that named it, so that they are passed on as they were written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    pub format: Format,
    /// `name/clock[/channels]`.
    pub rtpmap: String,
}

impl Spec {
    pub fn new(format: Format) -> Spec {
        Spec { rtpmap: format.rtpmap(), format }
    }

    /// Formats that wrap others carry payload type numbers inside, which would have to be rewritten in flight.
    pub fn can_be_carried(format: &Format) -> bool {
        let Encoding::Other(name) = &format.encoding else { return true };
        !matches!(name.as_str(), "RED" | "ULPFEC" | "PARITYFEC" | "FLEXFEC" | "FLEXFEC-03" | "RTX")
    }

    /// Kept before others where there are more than a plan holds.
    fn is_essential(&self) -> bool {
        self.format.encoding.is_g711()
            || (self.format.encoding == Encoding::TelephoneEvent && self.format.clock_hz == 8_000)
    }

    fn numbered(&self, pt: u8) -> Spec {
        Spec { format: Format { pt, ..self.format.clone() }, rtpmap: self.rtpmap.clone() }
    }
}

/// A format that one side was offered, and the offerer's own format that it stands for. None: tandem added it, and
/// converts between it and the offerer's other G.711.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offered {
    pub told: Spec,
    pub theirs: Option<Spec>,
}

/// At most as many as a plan holds, the essential ones first to stay, in their order.
pub fn limit<T>(list: &mut Vec<T>, spec: impl Fn(&T) -> &Spec) {
    while list.len() > MAX_PT_RULES {
        let last = list.iter().rposition(|item| !spec(item).is_essential()).unwrap_or(list.len() - 1);
        list.remove(last);
    }
}

pub fn limited(specs: &[Spec]) -> Vec<Format> {
    let mut specs: Vec<&Spec> = specs.iter().collect();
    limit(&mut specs, |spec| spec);
    specs.into_iter().map(|spec| spec.format.clone()).collect()
}

/// What to offer the other side. `codecs`: the G.711 it may be offered, in its order; it takes the place of the first
/// G.711 in the offer. `known`: payload types that have been in use with that side.
pub fn to_offer(theirs: &[Spec], codecs: &[Codec], known: &[Format]) -> Vec<Offered> {
    let mut list: Vec<Offered> = Vec::new();
    let mut g711_done = false;
    for spec in theirs {
        if !spec.format.encoding.is_g711() {
            list.push(Offered { told: spec.clone(), theirs: Some(spec.clone()) });
        } else if !std::mem::replace(&mut g711_done, true) {
            list.extend(codecs.iter().map(|codec| offered_g711(*codec, theirs)));
        }
    }
    limit(&mut list, |offered| &offered.told);
    number(&mut list, known);
    list
}

fn offered_g711(codec: Codec, theirs: &[Spec]) -> Offered {
    let (encoding, pt) = match codec {
        Codec::Pcmu => (Encoding::Pcmu, 0),
        Codec::Pcma => (Encoding::Pcma, 8),
    };
    let same = theirs.iter().find(|spec| spec.format.encoding == encoding).cloned();
    let made = || Spec::new(Format { pt, encoding: encoding.clone(), clock_hz: 8_000, channels: 1, fmtp: None });
    Offered { told: same.clone().unwrap_or_else(made), theirs: same }
}

/// RFC 3264 §8.3.2: within a session a number keeps its codec. What a side knows keeps the number it knows; the rest
/// keeps the offerer's numbers, unless they mean something else to that side.
pub fn number(list: &mut Vec<Offered>, known: &[Format]) {
    let mut taken: Vec<u8> = Vec::new();
    // The offerer's own formats choose first: those that tandem adds take what is left.
    let (own, added): (Vec<usize>, Vec<usize>) =
        (0..list.len()).partition(|&at| list.get(at).is_some_and(|o| o.theirs.is_some()));
    let mut unnumbered = Vec::new();
    for at in own.into_iter().chain(added) {
        let Some(offered) = list.get_mut(at) else { continue };
        match pick(&offered.told.format, known, &taken) {
            Some(pt) => {
                taken.push(pt);
                offered.told = offered.told.numbered(pt);
            }
            None => unnumbered.push(at),
        }
    }
    unnumbered.sort_unstable();
    for at in unnumbered.into_iter().rev() {
        list.remove(at);
    }
}

fn pick(format: &Format, known: &[Format], taken: &[u8]) -> Option<u8> {
    let free = |pt: &u8| !taken.contains(pt);
    let same = |exact: bool| {
        let fits = move |k: &&Format| k.same_codec(format) && (!exact || k.fmtp == format.fmtp);
        known.iter().filter(fits).map(|k| k.pt).find(free)
    };
    let unknown = |pt: &u8| free(pt) && known.iter().all(|k| k.pt != *pt || k.same_codec(format));
    // RFC 3551 §6: 96 to 127 are dynamic; then those that no profile assigns.
    let dynamic = || (96..=127).chain(35..=63).find(|pt| unknown(pt));
    same(true).or_else(|| same(false)).or_else(|| Some(format.pt).filter(unknown)).or_else(dynamic)
}

/// Both sides' formats after an answer.
pub struct Agreed {
    /// What the offerer is answered, in its own numbers. Parameters are those of the answer.
    pub offerer: Vec<Spec>,
    /// What the answerer may send and wants to receive.
    pub answerer: Vec<Format>,
    /// Payload type numbers of the answer and of the offerer that mean the same.
    pub numbers: Vec<(u8, u8)>,
}

/// None: nothing that can be carried. `theirs`: all that the offerer offered.
pub fn agree(offered: &[Offered], theirs: &[Spec], answer: &[Spec]) -> Option<Agreed> {
    let matched = match_answer(offered, answer);
    let mut agreed = Agreed { offerer: Vec::new(), answerer: Vec::new(), numbers: Vec::new() };
    let mut converted = false;
    for (offer, said) in &matched {
        match &offer.theirs {
            Some(own) => {
                let format = Format { fmtp: said.format.fmtp.clone(), ..own.format.clone() };
                agreed.numbers.push((said.format.pt, own.format.pt));
                agreed.offerer.push(Spec { format, rtpmap: own.rtpmap.clone() });
            }
            None => converted = true,
        }
        agreed.answerer.push(said.format.clone());
    }
    // What needs no conversion comes first. If the answer also has G.711 that the offerer has not, the offerer must
    // have some to convert it to.
    if converted && !agreed.offerer.iter().any(|spec| spec.format.encoding.is_g711()) {
        let own = theirs.iter().find(|spec| spec.format.encoding.is_g711())?;
        let format = Format { fmtp: None, ..own.format.clone() };
        let voice = agreed.offerer.iter().rposition(|spec| !spec.format.encoding.is_beside()).map_or(0, |at| at + 1);
        agreed.offerer.insert(voice, Spec { format, rtpmap: own.rtpmap.clone() });
    }
    limit(&mut agreed.offerer, |spec| spec);
    also_under_offered_numbers(&mut agreed.answerer, &matched);
    agreed.offerer.iter().any(|spec| !spec.format.encoding.is_beside()).then_some(agreed)
}

/// Each format of the answer with the offered one it means: by number, else by codec (RFC 3264 §6.1: the answerer
/// should keep the numbers, and may add formats that nobody offered).
fn match_answer<'a>(offered: &'a [Offered], answer: &'a [Spec]) -> Vec<(&'a Offered, &'a Spec)> {
    let mut matched: Vec<(&Offered, &Spec)> = Vec::new();
    for said in answer {
        let unused = |o: &&Offered| {
            o.told.format.same_codec(&said.format) && !matched.iter().any(|(before, _)| std::ptr::eq(*before, *o))
        };
        let by_number = offered.iter().filter(unused).find(|o| o.told.format.pt == said.format.pt);
        if let Some(offer) = by_number.or_else(|| offered.iter().find(unused)) {
            matched.push((offer, said));
        }
    }
    matched
}

/// RFC 3264 §5.1 and §6.1: what the answerer sends has the offer's numbers, what it receives has its own. Where they
/// differ both are listed, its own first.
fn also_under_offered_numbers(answerer: &mut Vec<Format>, matched: &[(&Offered, &Spec)]) {
    for (offer, said) in matched {
        let pt = offer.told.format.pt;
        if answerer.len() < MAX_PT_RULES && !answerer.iter().any(|f| f.pt == pt) {
            answerer.push(Format { pt, ..said.format.clone() });
        }
    }
}
