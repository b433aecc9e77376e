//! The plan compiler: from what both sides' descriptions say to what a worker does with each packet. Pure.

use super::{Encoding, Format, LegMedia};
use crate::{
    base::limits::MAX_PT_RULES,
    codec::Law,
    flow::{PtOp, PtRule},
};

/// Rules for what arrives from `from` and goes to `to`: one for each payload type that `from` may send and `to` can
/// take, as it is, converted, or under another number. What is not here is dropped.
pub fn rules(from: &LegMedia, to: &LegMedia) -> Vec<PtRule> {
    let mut rules: Vec<PtRule> = Vec::new();
    for format in &from.formats {
        if rules.len() < MAX_PT_RULES
            && !rules.iter().any(|r| r.pt_in == format.pt)
            && let Some(rule) = rule(format, &to.formats)
        {
            rules.push(rule);
        }
    }
    rules
}

fn rule(format: &Format, to: &[Format]) -> Option<PtRule> {
    let law = law(&format.encoding);
    let relay = |out: &Format| PtRule { pt_in: format.pt, pt_out: out.pt, op: PtOp::Relay, law };
    // The same encoding, under the first number it is listed with: the other side's own (RFC 3264 §6.1).
    let same = |out: &&Format| {
        out.encoding == format.encoding && out.clock_hz == format.clock_hz && out.channels == format.channels
    };
    if let Some(out) = to.iter().find(same) {
        return Some(relay(out));
    }
    let (op, wanted) = match format.encoding {
        Encoding::Pcmu => (PtOp::MuToA, Encoding::Pcma),
        Encoding::Pcma => (PtOp::AToMu, Encoding::Pcmu),
        _ => return None,
    };
    let convertible =
        |out: &&Format| out.encoding == wanted && out.clock_hz == format.clock_hz && out.channels == format.channels;
    to.iter().find(convertible).map(|out| PtRule { pt_in: format.pt, pt_out: out.pt, op, law })
}

pub fn law(encoding: &Encoding) -> Option<Law> {
    match encoding {
        Encoding::Pcmu => Some(Law::Mu),
        Encoding::Pcma => Some(Law::A),
        _ => None,
    }
}

/// The clock that jitter is measured in: that of the first format.
pub fn clock_hz(leg: &LegMedia) -> u32 {
    leg.formats.first().map_or(8_000, |f| f.clock_hz.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Direction;

    fn format(pt: u8, encoding: Encoding) -> Format {
        Format { pt, encoding, clock_hz: 8_000, channels: 1, fmtp: None }
    }

    fn leg(formats: Vec<Format>) -> LegMedia {
        LegMedia { rtp: None, rtcp: None, rtcp_mux: false, formats, direction: Direction::SendRecv }
    }

    #[test]
    fn g711_is_converted_only_where_the_other_side_lacks_it() {
        let mu = leg(vec![format(0, Encoding::Pcmu)]);
        let both = leg(vec![format(8, Encoding::Pcma), format(0, Encoding::Pcmu)]);
        let a = leg(vec![format(8, Encoding::Pcma)]);
        assert_eq!(rules(&mu, &a), [PtRule { pt_in: 0, pt_out: 8, op: PtOp::MuToA, law: Some(Law::Mu) }]);
        assert_eq!(rules(&mu, &both), [PtRule { pt_in: 0, pt_out: 0, op: PtOp::Relay, law: Some(Law::Mu) }]);
        let back = rules(&both, &mu);
        assert_eq!(back[0], PtRule { pt_in: 8, pt_out: 0, op: PtOp::AToMu, law: Some(Law::A) });
        assert_eq!(back[1], PtRule { pt_in: 0, pt_out: 0, op: PtOp::Relay, law: Some(Law::Mu) });
    }

    #[test]
    fn dynamic_numbers_are_mapped_by_encoding_and_clock() {
        let dtmf = |pt| format(pt, Encoding::TelephoneEvent);
        let from = leg(vec![format(0, Encoding::Pcmu), dtmf(101)]);
        let to = leg(vec![format(0, Encoding::Pcmu), dtmf(96)]);
        assert_eq!(rules(&from, &to)[1], PtRule { pt_in: 101, pt_out: 96, op: PtOp::Relay, law: None });
        let mut wide = dtmf(101);
        wide.clock_hz = 16_000;
        assert_eq!(rules(&leg(vec![wide]), &to), [], "another clock is another format");
        assert_eq!(rules(&leg(vec![format(9, Encoding::Other("G722".into()))]), &to), []);
    }
}
