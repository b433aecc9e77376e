//! Tags, branches and Call-IDs that cannot be guessed (RFC 3261 §19.3), from a seed that production takes from the
//! kernel and a test chooses. Slow-path thread.

use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};

pub type Seed = [u8; 32];

#[cfg_attr(test, derive(Clone))]
pub struct Random(ChaCha20Rng);

impl Random {
    pub fn new(seed: Seed) -> Self {
        Random(ChaCha20Rng::from_seed(seed))
    }

    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    #[cfg(test)]
    pub fn for_tests() -> Self {
        Random::new([5; 32])
    }

    /// 128 bits as 32 hexadecimal digits.
    pub fn token(&mut self) -> String {
        format!("{:016x}{:016x}", self.u64(), self.u64())
    }

    /// 32 bits as 8 hexadecimal digits.
    pub fn short(&mut self) -> String {
        format!("{:08x}", self.0.next_u32())
    }

    /// 256 bits to sign with.
    pub fn key(&mut self) -> [u8; 32] {
        let mut key = [0; 32];
        self.0.fill_bytes(&mut key);
        key
    }

    /// A number from 0 to `below` - 1.
    pub fn below(&mut self, below: u32) -> u32 {
        self.0.next_u32() % below.max(1)
    }
}
