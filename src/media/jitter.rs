//! Interarrival jitter, RFC 3550 §6.4.1 in the integer form of §A.8: kept scaled by 16, in units of the RTP clock.

/// One word in a state line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Jitter {
    /// Sixteen times the estimate, RTP clock units.
    pub scaled: u32,
    /// Relative transit time of the last packet.
    pub transit: u32,
}

impl Jitter {
    /// The stream's first packet: there is nothing to compare with yet.
    #[inline]
    pub fn first(&mut self, arrival: u32, timestamp: u32) {
        self.transit = arrival.wrapping_sub(timestamp);
    }

    /// `arrival` and `timestamp` in units of the RTP clock; both may wrap.
    #[inline]
    pub fn update(&mut self, arrival: u32, timestamp: u32) {
        let transit = arrival.wrapping_sub(timestamp);
        let d = (transit.wrapping_sub(self.transit) as i32).unsigned_abs();
        self.transit = transit;
        // RFC 3550 §A.8: J += |D| - (J + 8) / 16, with J scaled by 16.
        self.scaled = self.scaled.saturating_add(d).saturating_sub((self.scaled + 8) >> 4);
    }

    pub fn millis(&self, clock_hz: u32) -> f64 {
        f64::from(self.scaled) / 16.0 * 1_000.0 / f64::from(clock_hz.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3550 §6.4.1's real-valued definition.
    fn reference(samples: &[(u32, u32)]) -> f64 {
        let mut j = 0.0;
        for pair in samples.windows(2) {
            let d = (f64::from(pair[1].0) - f64::from(pair[0].0)) - (f64::from(pair[1].1) - f64::from(pair[0].1));
            j += (d.abs() - j) / 16.0;
        }
        j
    }

    #[test]
    fn the_integer_form_follows_the_definition() {
        let mut seed = 1u32;
        let samples: Vec<(u32, u32)> = (0..500)
            .map(|i| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (10_000 + i * 160 + (seed >> 24), i * 160)
            })
            .collect();
        let mut jitter = Jitter::default();
        jitter.first(samples[0].0, samples[0].1);
        samples[1..].iter().for_each(|&(a, t)| jitter.update(a, t));
        let expected = reference(&samples);
        assert!((f64::from(jitter.scaled) / 16.0 - expected).abs() < 1.0, "{} {expected}", jitter.scaled);
    }

    #[test]
    fn a_steady_stream_has_none_even_across_the_wrap() {
        let mut jitter = Jitter::default();
        jitter.first(u32::MAX - 100, u32::MAX - 300);
        for i in 1..100u32 {
            jitter.update((u32::MAX - 100).wrapping_add(i * 160), (u32::MAX - 300).wrapping_add(i * 160));
        }
        assert_eq!(jitter.scaled, 0);
    }

    #[test]
    fn a_hostile_timestamp_cannot_overflow() {
        let mut jitter = Jitter::default();
        for i in 0..1_000u32 {
            jitter.update(0, if i % 2 == 0 { 0 } else { 0x8000_0000 });
        }
        assert!(jitter.millis(0).is_finite());
    }
}
