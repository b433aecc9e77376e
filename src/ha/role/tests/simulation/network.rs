//! Two paths between two hosts. Each direction of each path has its own faults.

use rand_chacha::{ChaCha8Rng, rand_core::Rng};

/// 0 to `below` - 1.
pub fn below(random: &mut ChaCha8Rng, below: u64) -> u64 {
    random.next_u64() % below.max(1)
}

pub fn chance(random: &mut ChaCha8Rng, percent: u64) -> bool {
    below(random, 100) < percent
}

/// One direction of one path.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wire {
    pub loss_percent: u64,
    pub repeat_percent: u64,
    pub delay_us: u64,
    /// On top, at random: what overtakes what.
    pub jitter_us: u64,
    pub cut: bool,
}

impl Wire {
    /// When each copy of what is sent now arrives.
    pub fn carry(&self, random: &mut ChaCha8Rng) -> Vec<u64> {
        let copies = 1 + u64::from(chance(random, self.repeat_percent));
        let arrives = |random: &mut ChaCha8Rng| self.delay_us + below(random, self.jitter_us + 1);
        (0..copies)
            .filter_map(|_| {
                let lost = self.cut || chance(random, self.loss_percent);
                let after = arrives(random);
                (!lost).then_some(after)
            })
            .collect()
    }

    pub fn calm(random: &mut ChaCha8Rng) -> Wire {
        Wire { delay_us: 50 + below(random, 1_500), jitter_us: below(random, 500), ..Wire::default() }
    }

    pub fn rough(random: &mut ChaCha8Rng) -> Wire {
        Wire {
            loss_percent: [0, 5, 30, 70][below(random, 4) as usize],
            repeat_percent: [0, 20][below(random, 2) as usize],
            delay_us: [100, 3_000, 40_000][below(random, 3) as usize],
            jitter_us: [100, 20_000, 150_000][below(random, 3) as usize],
            cut: chance(random, 30),
        }
    }
}
