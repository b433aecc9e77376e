//! Sound files, and how alike two pieces of sound are. Pure but for reading and writing files.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::speech::Speech;

/// Recommendation G.711, A-law: the 13-bit value of a code, left-justified in 16 bits.
fn alaw_value(code: u8) -> i16 {
    let code = code ^ 0x55;
    let (segment, step) = (code >> 4 & 7, i16::from(code & 15));
    let magnitude = if segment == 0 { (step << 4) + 8 } else { ((step << 4) + 0x108) << (segment - 1) };
    if code & 0x80 != 0 { magnitude } else { -magnitude }
}

pub fn decode_alaw(speech: &Speech) -> Vec<i16> {
    speech.packets.iter().flat_map(|said| said.payload.iter().map(|code| alaw_value(*code))).collect()
}

/// One channel, 8 kHz, 16 bits.
pub fn write(path: &Path, samples: &[i16]) -> Result<()> {
    let bytes = u32::try_from(samples.len() * 2)?;
    let mut file = Vec::with_capacity(samples.len() * 2 + 44);
    file.extend(b"RIFF");
    file.extend((36 + bytes).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16u32.to_le_bytes());
    file.extend([1, 0, 1, 0]);
    file.extend(8_000u32.to_le_bytes());
    file.extend(16_000u32.to_le_bytes());
    file.extend([2, 0, 16, 0]);
    file.extend(b"data");
    file.extend(bytes.to_le_bytes());
    samples.iter().for_each(|sample| file.extend(sample.to_le_bytes()));
    std::fs::write(path, file).with_context(|| format!("cannot write {}", path.display()))
}

/// The samples of a 16-bit file; whatever its header says of its length (a recorder may not have lived to say it).
pub fn read(path: &Path) -> Result<Vec<i16>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let at = bytes.windows(4).position(|window| window == b"data").context("no sound in the file")?;
    let samples: Vec<i16> =
        bytes[at + 8..].chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    ensure!(samples.len() > 8_000, "{} holds {} samples only", path.display(), samples.len());
    Ok(samples)
}

/// The largest normalised correlation of one second from the middle of `played` with any second of `recorded`: 1 is
/// the same sound, 0 is unrelated.
pub fn likeness(played: &[i16], recorded: &[i16]) -> f64 {
    const SECOND: usize = 8_000;
    let middle = played.len() / 2;
    let Some(probe) = played.get(middle..middle + SECOND) else { return 0.0 };
    let probe: Vec<f64> = probe.iter().map(|sample| f64::from(*sample)).collect();
    let energy: f64 = probe.iter().map(|s| s * s).sum();
    let recorded: Vec<f64> = recorded.iter().map(|sample| f64::from(*sample)).collect();
    recorded
        .windows(SECOND)
        .map(|window| {
            let (mut product, mut square) = (0.0, 0.0);
            for (a, b) in probe.iter().zip(window) {
                product += a * b;
                square += b * b;
            }
            if square > 0.0 { product / (energy * square).sqrt() } else { 0.0 }
        })
        .fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recommendation G.711, table 1a: the largest value is 4032 of 4096 in 13 bits, the smallest 1 of 4096.
    #[test]
    fn alaw_ends_are_the_tables() {
        assert_eq!(alaw_value(0xaa), 4032 * 8);
        assert_eq!(alaw_value(0xd5), 8);
        assert_eq!(alaw_value(0x55), -8);
    }

    #[test]
    fn likeness_finds_the_piece_and_not_another() {
        let tone = |step: f64| -> Vec<i16> {
            (0..40_000)
                .map(|i| (8000.0 * (f64::from(i) * step + (f64::from(i) / 900.0).sin() * 3.0).sin()) as i16)
                .collect()
        };
        let played = tone(0.31);
        let mut recorded = vec![0; 12_345];
        recorded.extend(&played);
        assert!(likeness(&played, &recorded) > 0.999);
        assert!(likeness(&played, &tone(0.7)) < 0.5);
    }
}
