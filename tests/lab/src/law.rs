//! What a far end must hear: G.711's conversion tables as libspandsp has them. Pure but for loading the library.

use anyhow::{Context, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    Mu,
    A,
}

impl Law {
    /// RFC 3551 §6: static payload types.
    pub const fn payload_type(self) -> u8 {
        match self {
            Law::Mu => 0,
            Law::A => 8,
        }
    }

    pub const fn encoding(self) -> &'static str {
        match self {
            Law::Mu => "PCMU",
            Law::A => "PCMA",
        }
    }
}

/// The two direct conversions.
pub struct Tables {
    to_alaw: [u8; 256],
    to_ulaw: [u8; 256],
}

impl Tables {
    pub fn load() -> Result<Self> {
        let (to_alaw, to_ulaw) = crate::sys::spandsp_tables()
            .context("libspandsp.so.2 is needed to judge the conversion: run scripts/install")?;
        Ok(Tables { to_alaw, to_ulaw })
    }

    pub fn convert(&self, from: Law, to: Law, payload: &[u8]) -> Vec<u8> {
        match (from, to) {
            (Law::Mu, Law::A) => payload.iter().map(|code| self.to_alaw[usize::from(*code)]).collect(),
            (Law::A, Law::Mu) => payload.iter().map(|code| self.to_ulaw[usize::from(*code)]).collect(),
            _ => payload.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recommendation G.711, table 3: μ-law's values 0 (0xFF) and 1 (0xFE) both become A-law's 1 (0xD5); table 4: A-law's
    /// 1 becomes μ-law's 1. The largest positive values (0x80, 0xAA) are each other's.
    #[test]
    fn the_library_has_the_recommendations_ends() {
        let tables = Tables::load().expect("libspandsp.so.2");
        assert_eq!(tables.convert(Law::Mu, Law::A, &[0xff, 0xfe, 0x80]), [0xd5, 0xd5, 0xaa]);
        assert_eq!(tables.convert(Law::A, Law::Mu, &[0xd5, 0xaa]), [0xfe, 0x80]);
        assert_eq!(tables.convert(Law::A, Law::A, &[1, 2]), [1, 2]);
    }
}
