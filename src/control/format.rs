//! RTP payload formats as signalling names them, and how the formats of two sides are joined.

use serde::{Deserialize, Serialize};

/// An encoding name as tandem understands it (RFC 3551 §6, RFC 4733). Names compare without case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Encoding {
    Pcmu,
    Pcma,
    TelephoneEvent,
    /// Comfort noise, RFC 3389.
    ComfortNoise,
    /// Relayed unchanged where both sides have it; upper case.
    Other(String),
}

impl Encoding {
    pub fn from_name(name: &str) -> Encoding {
        match name.to_ascii_uppercase().as_str() {
            "PCMU" => Encoding::Pcmu,
            "PCMA" => Encoding::Pcma,
            "TELEPHONE-EVENT" => Encoding::TelephoneEvent,
            "CN" => Encoding::ComfortNoise,
            other => Encoding::Other(other.to_owned()),
        }
    }

    pub fn is_g711(&self) -> bool {
        matches!(self, Encoding::Pcmu | Encoding::Pcma)
    }

    /// Goes beside a voice codec and never alone.
    pub fn is_beside(&self) -> bool {
        matches!(self, Encoding::TelephoneEvent | Encoding::ComfortNoise)
    }

    /// As it stands in `a=rtpmap`.
    pub fn name(&self) -> &str {
        match self {
            Encoding::Pcmu => "PCMU",
            Encoding::Pcma => "PCMA",
            Encoding::TelephoneEvent => "telephone-event",
            Encoding::ComfortNoise => "CN",
            Encoding::Other(name) => name,
        }
    }
}

/// One payload type of a media section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// RTP payload type, 0–127.
    pub pt: u8,
    pub encoding: Encoding,
    /// RTP clock, Hz.
    pub clock_hz: u32,
    pub channels: u8,
    /// The value of `a=fmtp` for this payload type, without the number.
    pub fmtp: Option<String>,
}

/// RFC 3551 §6, tables 4 and 5: audio payload types whose meaning needs no `a=rtpmap`.
const STATIC: &[(u8, &str, u32, u8)] = &[
    (0, "PCMU", 8_000, 1),
    (3, "GSM", 8_000, 1),
    (4, "G723", 8_000, 1),
    (5, "DVI4", 8_000, 1),
    (6, "DVI4", 16_000, 1),
    (7, "LPC", 8_000, 1),
    (8, "PCMA", 8_000, 1),
    (9, "G722", 8_000, 1),
    (10, "L16", 44_100, 2),
    (11, "L16", 44_100, 1),
    (12, "QCELP", 8_000, 1),
    (13, "CN", 8_000, 1),
    (14, "MPA", 90_000, 1),
    (15, "G728", 8_000, 1),
    (16, "DVI4", 11_025, 1),
    (17, "DVI4", 22_050, 1),
    (18, "G729", 8_000, 1),
];

impl Format {
    /// The meaning of a static payload type.
    pub fn of_static(pt: u8) -> Option<Format> {
        let (_, name, clock_hz, channels) = *STATIC.iter().find(|(number, ..)| *number == pt)?;
        Some(Format { pt, encoding: Encoding::from_name(name), clock_hz, channels, fmtp: None })
    }

    /// From what follows the number in `a=rtpmap`: `name/clock[/channels]`.
    pub fn from_rtpmap(pt: u8, text: &str) -> Option<Format> {
        let mut parts = text.trim().split('/');
        let name = parts.next().filter(|n| !n.is_empty())?;
        let clock_hz = parts.next()?.parse().ok().filter(|&hz| hz > 0)?;
        let channels = match parts.next() {
            Some(channels) => channels.parse().ok().filter(|&n| n > 0)?,
            None => 1,
        };
        let encoding = match Encoding::from_name(name) {
            // G.711 at another rate is relayed, not converted.
            law if law.is_g711() && (clock_hz, channels) != (8_000, 1) => Encoding::Other(law.name().to_owned()),
            encoding => encoding,
        };
        Some(Format { pt, encoding, clock_hz, channels, fmtp: None })
    }

    /// What follows the number in `a=rtpmap`.
    pub fn rtpmap(&self) -> String {
        match self.channels {
            0 | 1 => format!("{}/{}", self.encoding.name(), self.clock_hz),
            channels => format!("{}/{}/{channels}", self.encoding.name(), self.clock_hz),
        }
    }

    /// The same codec, whatever its number and parameters.
    pub fn same_codec(&self, other: &Format) -> bool {
        self.encoding == other.encoding && self.clock_hz == other.clock_hz && self.channels == other.channels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_types_mean_what_rfc_3551_says() {
        // RFC 3551 §6, table 4.
        for (pt, map) in [(0, "PCMU/8000"), (8, "PCMA/8000"), (9, "G722/8000"), (10, "L16/44100/2"), (18, "G729/8000")]
        {
            assert_eq!(Format::of_static(pt).unwrap().rtpmap(), map);
            assert_eq!(Format::of_static(pt), Format::from_rtpmap(pt, map));
        }
        for unassigned in [1, 2, 19, 34, 96, 127] {
            assert_eq!(Format::of_static(unassigned), None, "{unassigned}");
        }
    }

    #[test]
    fn names_compare_without_case_and_channels_default_to_one() {
        let a = Format::from_rtpmap(101, "Telephone-Event/8000").unwrap();
        assert_eq!(a.encoding, Encoding::TelephoneEvent);
        assert!(a.same_codec(&Format::from_rtpmap(96, "telephone-event/8000/1").unwrap()));
        assert!(!a.same_codec(&Format::from_rtpmap(96, "telephone-event/48000").unwrap()));
        assert_eq!(Format::from_rtpmap(96, "opus/48000/2").unwrap().encoding, Encoding::Other("OPUS".into()));
        assert_eq!(Format::from_rtpmap(96, "PCMU/16000").unwrap().encoding, Encoding::Other("PCMU".into()));
        for bad in ["", "/8000", "PCMU", "PCMU/", "PCMU/x", "PCMU/0", "PCMU/8000/0", "PCMU/8000/x"] {
            assert_eq!(Format::from_rtpmap(96, bad), None, "{bad}");
        }
    }
}
