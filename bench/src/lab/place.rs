//! A subject in its place: caller's and callee's network, the subject between them on its own core, the generator at the
//! caller's end of one cable and the sink at the callee's end of the other. Main thread.
//!
//! ```text
//!   CPU 0                                      CPU 1
//!   generator ── eth0 ═══════ p0 ── subject ── p1 ═══════ eth0 ── sink
//!                caller             (tandem's network)    callee
//! ```
//!
//! What a frame costs between `eth0` and the subject's receive ring or socket falls to the generator's core (the
//! receiver's kernel work runs where the frame was put in), for all subjects alike; what it costs from the subject's
//! send to the sink's counter falls to the subject's core, for all alike.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tandem_lab::{
    frame::{self, Content, Rtp},
    law::{Law, Tables},
    net::Namespace,
    sys::{PacketSocket, in_netns},
    topology::{Between, Topology},
};

use super::{
    bpf::{pin, prefer},
    generator::{Generator, PAYLOAD_BYTES, STAMP_BYTES, Sent, Stream, Way},
    incumbent::Rtpengine,
    search::Trial,
    sink,
    subject::{Tandem, Testpmd},
    usage::{Threads, threads_on},
};

/// Where the generator runs, with all that is not the subject.
pub const GENERATOR_CPU: usize = 0;
pub const SUBJECT_CPU: usize = 1;
/// Half of what a ring of 2,048 frames holds at the highest rates that are searched: a longer absence may overflow it.
const RING_HOLDS: Duration = Duration::from_millis(1);
/// rtpengine's 500 sockets hold far more, but the time is missing: so much is half of what the search tells apart.
const TIME_TO_SPARE: Duration = Duration::from_millis(10);
/// Share of the asked rate that a generator which keeps pace sends.
const KEPT: f64 = 0.97;
/// Calls of each kind.
pub const CALLS: u32 = 500;
/// Descriptors of each ring of a DPDK port, and buffers in its pool.
pub const DESCRIPTORS: u16 = 2048;
pub const BUFFERS: u32 = 32_767;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    Tandem,
    Rtpengine,
    Testpmd,
}

impl Who {
    pub const fn name(self) -> &'static str {
        match self {
            Who::Tandem => "tandem",
            Who::Rtpengine => "rtpengine",
            Who::Testpmd => "testpmd io",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    Relay,
    /// PCMU to PCMA.
    Transcode,
}

impl Work {
    pub const fn name(self) -> &'static str {
        match self {
            Work::Relay => "relay",
            Work::Transcode => "PCMU to PCMA",
        }
    }

    /// What arrives at the callee.
    pub const fn law_out(self) -> Law {
        match self {
            Work::Relay => Law::Mu,
            Work::Transcode => Law::A,
        }
    }
}

/// What runs on the subject's core. Dropped before the ground it stands on.
pub enum Subject {
    Tandem(Box<Tandem>),
    Rtpengine(Rtpengine),
    Testpmd(Testpmd),
}

impl Subject {
    fn pid(&self) -> u32 {
        match self {
            Subject::Tandem(tandem) => tandem.appliance.process.pid(),
            Subject::Rtpengine(rtpengine) => rtpengine.pid(),
            Subject::Testpmd(testpmd) => testpmd.pid(),
        }
    }

    /// Whatever else the machine does, the threads on the subject's core come first; these are returned.
    pub fn prefer(&self) -> Result<Vec<u32>> {
        let threads = threads_on(self.pid(), SUBJECT_CPU)?;
        ensure!(!threads.is_empty(), "the subject has no thread on CPU {SUBJECT_CPU}");
        threads.iter().try_for_each(|thread| prefer(*thread)).context("the subject's priority could not be raised")?;
        Ok(threads)
    }
}

/// What was offered, what came out, and what its forwarding thread took for it.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub sent: Sent,
    pub arrived: u64,
    /// What the subject ran on its core.
    pub ran: Duration,
    /// For how long somebody else had the subject's core.
    pub away: Duration,
    /// Away for longer, it may lose what it would not have lost.
    bears: Duration,
}

impl Load {
    pub fn loss(&self) -> f64 {
        1.0 - self.arrived as f64 / self.sent.packets.max(1) as f64
    }

    fn judge(&self, rate: f64) -> Trial {
        Trial {
            offered: self.sent.rate(),
            loss: self.loss(),
            kept_pace: self.sent.rate() > rate * KEPT,
            disturbed: self.away > self.bears,
            starved: self.sent.waited.as_secs_f64() > self.sent.took.as_secs_f64() * (1.0 - KEPT) / 2.0,
        }
    }
}

pub struct Place {
    pub who: Who,
    pub subject: Subject,
    preferred: Vec<u32>,
    relay: Generator,
    transcode: Option<Generator>,
    room: PathBuf,
    pub ground: Topology,
}

impl Place {
    /// Lays the ground, starts the subject and sets its calls up.
    pub fn take(who: Who, binary: &Path, out: &Path) -> Result<Self> {
        let ground = Topology::lay(Between::Cable).context("the network could not be laid")?;
        pin(&[GENERATOR_CPU, SUBJECT_CPU])?;
        let room = room(out, who)?;
        let (subject, relay, transcode) = match who {
            Who::Tandem => {
                ground.deafen_ports()?;
                let (tandem, relay, transcode) = Tandem::start(binary, &ground, &room)?;
                (Subject::Tandem(Box::new(tandem)), relay, transcode)
            }
            Who::Rtpengine => {
                Rtpengine::prepare(&ground)?;
                let (rtpengine, relay, transcode) = Rtpengine::start(&ground, &room)?;
                (Subject::Rtpengine(rtpengine), relay, transcode)
            }
            Who::Testpmd => {
                ground.deafen_ports()?;
                (Subject::Testpmd(Testpmd::start(&ground, &room, false)?), plain_streams(), Vec::new())
            }
        };
        sink::shut(&ground.callee, "eth0")?;
        // From here on the subject has its core to itself, as far as that lies with us.
        pin(&[GENERATOR_CPU])?;
        let preferred = subject.prefer()?;
        let way = way(&ground)?;
        let transcode = match transcode.as_slice() {
            [] => None,
            streams => Some(Generator::new(way.clone(), streams, GENERATOR_CPU)?),
        };
        let relay = Generator::new(way, &relay, GENERATOR_CPU)?;
        Ok(Place { who, subject, preferred, relay, transcode, room, ground })
    }

    /// After an overload, rtpengine begins anew: a stream whose queue it found full several times (its log: "UDP receive
    /// queue exceeded 5 times") stays dead for good, and no later trial would be one of all streams. Others go on.
    pub fn recover(&mut self) -> Result<()> {
        let Subject::Rtpengine(rtpengine) = &mut self.subject else { return Ok(()) };
        rtpengine.end()?;
        pin(&[GENERATOR_CPU, SUBJECT_CPU])?;
        let started = Rtpengine::start(&self.ground, &self.room);
        pin(&[GENERATOR_CPU])?;
        let (rtpengine, relay, transcode) = started?;
        self.subject = Subject::Rtpengine(rtpengine);
        self.preferred = self.subject.prefer()?;
        let way = way(&self.ground)?;
        self.transcode = Some(Generator::new(way.clone(), &transcode, GENERATOR_CPU)?);
        self.relay = Generator::new(way, &relay, GENERATOR_CPU)?;
        // The first packets teach it its peers.
        for work in [Work::Relay, Work::Transcode] {
            self.send(work, 10_000.0, Duration::from_millis(100))?;
        }
        Ok(())
    }

    fn generator(&self, work: Work) -> Result<&Generator> {
        match work {
            Work::Relay => Ok(&self.relay),
            Work::Transcode => self.transcode.as_ref().context("testpmd converts nothing"),
        }
    }

    pub fn send(&self, work: Work, rate: f64, length: Duration) -> Result<Sent> {
        self.generator(work)?.send(rate, length)
    }

    pub fn trial(&self, work: Work, rate: f64, length: Duration) -> Result<Trial> {
        Ok(self.load(work, rate, length)?.judge(rate))
    }

    /// Offers a rate and counts what comes out.
    pub fn load(&self, work: Work, rate: f64, length: Duration) -> Result<Load> {
        let before = sink::arrived(&self.ground.callee, "eth0")?;
        let threads = self.threads()?;
        let sent = self.send(work, rate, length)?;
        let now = self.threads()?;
        let (busiest, all) = (now.busiest_since(&threads), now.ran_since(&threads));
        let arrived = settled(&self.ground.callee, before + sent.packets)? - before;
        let (ran, away, bears) = match self.subject {
            // One thread on this core polls and never sleeps.
            Subject::Tandem(_) | Subject::Testpmd(_) => (busiest.usage.ran, busiest.away(), RING_HOLDS),
            // Its threads share the core: while one of them waits, another may be running.
            Subject::Rtpengine(_) => (all, busiest.usage.waited.saturating_sub(all - busiest.usage.ran), TIME_TO_SPARE),
        };
        Ok(Load { sent, arrived: arrived.min(sent.packets), ran, away, bears })
    }

    pub fn threads(&self) -> Result<Threads> {
        Threads::of(self.subject.pid(), &self.preferred)
    }

    /// Looks at what comes out: every stream once, the right payload type, length and checksum, and, but for rtpengine,
    /// the right bytes (it converts through linear samples, which differs in some codes).
    pub fn verify(&self, work: Work, tables: &Tables) -> Result<String> {
        let mut socket = in_netns(&self.ground.callee.name, || PacketSocket::open("eth0", 16 << 20))?;
        // The first packets teach rtpengine its peers; they are looked at like all others.
        let sent = self.send(work, 10_000.0, Duration::from_millis(300))?;
        let original = self.generator(work)?.payload().to_vec();
        let expected = tables.convert(Law::Mu, work.law_out(), &original);
        let (mut seen, mut ports) = (0u64, BTreeSet::new());
        let deadline = Instant::now() + Duration::from_secs(2);
        while seen < sent.packets && Instant::now() < deadline {
            for (stamp, bytes) in (0..socket.read()?).map(|i| socket.frame(i)) {
                let Content::Udp { to, payload, .. } = frame::read(bytes) else { continue };
                if stamp.outgoing || payload.len() != 12 + PAYLOAD_BYTES {
                    continue;
                }
                let rtp = Rtp::read(payload).context("what arrived is no RTP")?;
                ensure!(rtp.pt == work.law_out().payload_type(), "payload type {} arrived", rtp.pt);
                ensure!(frame::checksums_hold(bytes), "a frame arrived with a wrong checksum");
                ensure!(
                    self.who == Who::Rtpengine || rtp.payload[STAMP_BYTES..] == expected[STAMP_BYTES..],
                    "other bytes arrived than the conversion's tables say"
                );
                seen += 1;
                ports.insert(to.port());
            }
        }
        ensure!(
            seen == sent.packets && ports.len() == CALLS as usize,
            "{} of {} packets of {} to {} streams came out of {}",
            seen,
            sent.packets,
            work.name(),
            ports.len(),
            self.who.name()
        );
        Ok(format!("{seen} packets to {} streams, {}", ports.len(), work.law_out().encoding()))
    }
}

fn room(out: &Path, who: Who) -> Result<PathBuf> {
    let room = out.join("lab").join(who.name().split(' ').next().unwrap_or_default());
    std::fs::create_dir_all(&room).with_context(|| format!("cannot make {}", room.display()))?;
    Ok(room.canonicalize()?)
}

/// What no relay knows: testpmd passes anything on.
pub fn plain_streams() -> Vec<Stream> {
    (0..CALLS as u16)
        .map(|i| Stream {
            from: SocketAddr::new(tandem_lab::topology::CALLER, 30_000 + 4 * i),
            to: SocketAddr::new(tandem_lab::topology::TANDEM_A, 20_000 + 2 * i),
        })
        .collect()
}

/// From the caller into the subject's first port.
pub fn way(ground: &Topology) -> Result<Way> {
    Ok(Way {
        namespace: ground.caller.name.clone(),
        interface: "eth0".to_owned(),
        source: mac(&ground.caller, "eth0")?,
        destination: mac(&ground.tandem, "p0")?,
    })
}

fn mac(namespace: &Namespace, interface: &str) -> Result<[u8; 6]> {
    let text = namespace.ip(&["-j", "link", "show", "dev", interface])?;
    let parsed: serde_json::Value = serde_json::from_str(&text)?;
    let address = parsed[0]["address"].as_str().context("an interface without address")?;
    let bytes: Vec<u8> = address.split(':').map(|hex| u8::from_str_radix(hex, 16)).collect::<Result<_, _>>()?;
    bytes.try_into().map_err(|_| anyhow::anyhow!("{address} is no Ethernet address"))
}

/// The sink's count once it has stood still, or all have come.
fn settled(far: &Namespace, expected: u64) -> Result<u64> {
    let mut last = sink::arrived(far, "eth0")?;
    for _ in 0..20 {
        if last >= expected {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        let now = sink::arrived(far, "eth0")?;
        if now == last {
            break;
        }
        last = now;
    }
    Ok(last)
}
