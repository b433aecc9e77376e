//! The sink: what arrived at the far end. Main thread.
//!
//! For rates, the interface counts, and the ingress hook drops all but ARP: the least that a packet can cost a receiver
//! that is no device. For delay, a program on a packet socket takes the time that the
//! generator wrote into each payload from the time now; it keeps a histogram and passes nothing on.

use std::{os::fd::OwnedFd, time::Duration};

use anyhow::{Context, Result};
use tandem_lab::net::Namespace;

use super::{
    asm::{Alu, Assembler, Helper, If, R, Size},
    bpf::{Kind, Map, Program},
    generator::{FRAME_BYTES, in_namespace},
};

/// From now on nothing passes the ingress hook but ARP.
pub fn shut(far: &Namespace, interface: &str) -> Result<()> {
    far.nft(&format!(
        "table netdev sink {{ chain everything {{ type filter hook ingress device \"{interface}\" priority -10; policy drop; \
         meta protocol arp accept; }}; }}"
    ))
}

/// Frames that have arrived at the interface so far. Some ARP may be among them, one in many seconds.
pub fn arrived(far: &Namespace, interface: &str) -> Result<u64> {
    let text = far.ip(&["-s", "-j", "link", "show", "dev", interface])?;
    let parsed: serde_json::Value = serde_json::from_str(&text).context("`ip -s -j link` said something else")?;
    parsed[0]["stats64"]["rx"]["packets"].as_u64().context("the interface counts nothing")
}

/// Each bucket is 128 ns wide; the last takes all that is later (8.4 ms).
const BUCKET_BITS: i32 = 7;
const BUCKETS: i32 = 1 << 16;

pub struct DelayMeter {
    buckets: Map<1>,
    _socket: OwnedFd,
}

#[derive(Clone, Debug, Default)]
pub struct Delays {
    /// How many in each bucket.
    pub counts: Vec<u64>,
    pub total: u64,
}

impl DelayMeter {
    pub fn open(namespace: &str, interface: &str) -> Result<Self> {
        let buckets = Map::new(BUCKETS as u32)?;
        let program = Program::load(Kind::SocketFilter, &program(buckets.fd())?)?;
        let socket = in_namespace(namespace, || program.listen(interface))?;
        Ok(DelayMeter { buckets, _socket: socket })
    }

    pub fn read(&self) -> Result<Delays> {
        let counts: Vec<u64> = (0..BUCKETS as u32).map(|i| Ok(self.buckets.get(i)?[0])).collect::<Result<_>>()?;
        Ok(Delays { total: counts.iter().sum(), counts })
    }
}

impl Delays {
    /// The middle of the bucket that the quantile falls into.
    pub fn quantile(&self, q: f64) -> Duration {
        let wanted = (q * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_nanos(((2 * bucket as u64 + 1) << BUCKET_BITS) / 2);
            }
        }
        Duration::MAX
    }
}

fn program(buckets: i32) -> Result<Vec<u64>> {
    // RTP's fixed header and the stamp behind it, so that the stamp is aligned on the frame.
    const LOADED: i16 = 20;
    const AT: i16 = -28;
    let ctx = R(6);
    let mut a = Assembler::default();
    a.mov(ctx, R(1));
    a.load(Size::W, R(1), ctx, 0);
    a.jump_if(R(1), If::Ne, FRAME_BYTES as i32, "done");
    a.mov(R(1), ctx);
    a.mov(R(2), 42);
    a.mov(R(3), R(10));
    a.alu(Alu::Add, R(3), i32::from(AT));
    a.mov(R(4), i32::from(LOADED));
    a.call(Helper::SkbLoadBytes);
    a.jump_if(R(0), If::Ne, 0, "done");
    a.load(Size::B, R(1), R(10), AT);
    a.jump_if(R(1), If::Ne, 0x80, "done");
    a.call(Helper::KtimeNs);
    a.load(Size::D, R(1), R(10), AT + 12);
    a.alu(Alu::Sub, R(0), R(1));
    a.alu(Alu::Rsh, R(0), BUCKET_BITS);
    a.jump_if(R(0), If::Lt, BUCKETS - 1, "fits");
    a.mov(R(0), BUCKETS - 1);
    a.label("fits");
    a.store(Size::W, R(10), -4, R(0));
    a.entry(buckets, -4, "done");
    a.load(Size::D, R(1), R(0), 0);
    a.alu(Alu::Add, R(1), 1);
    a.store(Size::D, R(0), 0, R(1));
    a.label("done");
    a.exit(0);
    a.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_middle_of_its_bucket() {
        let mut delays = Delays { counts: vec![0; 100], total: 1000 };
        delays.counts[10] = 998;
        delays.counts[50] = 2;
        assert_eq!(delays.quantile(0.5), Duration::from_nanos(10 * 128 + 64));
        assert_eq!(delays.quantile(0.998), Duration::from_nanos(10 * 128 + 64));
        assert_eq!(delays.quantile(0.999), Duration::from_nanos(50 * 128 + 64));
    }
}
