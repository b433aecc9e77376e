//! `tandem replay`: captures through the real worker: made from a recipe, as fast as it goes, or at their own timing.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{CliError, Outcome};
use crate::{
    codec::Law,
    replay::{
        generate::{self, Recipe},
        sessions::Convert,
    },
};

/// Send a capture through the worker and count what becomes of it
///
/// Needs no running tandem: the command is its own appliance, with the appliance's worker, plans and device edge, and one
/// flow provisioned for each that the capture holds.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem replay generate calls.pcap --flows 10000
  tandem replay run calls.pcap --convert mu-to-a
  tandem --json replay run calls.pcap --seconds 10 | jq .mpps
  tandem replay paced calls.pcap --device net_af_packet0,iface=veth0 --to 02:00:00:00:00:09

Exit codes: 0 done, and every packet accounted for; 1 not.")]
pub struct Replay {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Generate(Generate),
    Run(Run),
    Paced(Paced),
}

/// Write a capture of many flows
///
/// Every flow sends packets in sequence; neighbours in the file belong to different flows. In the middle of its packets a
/// flow changes its SSRC, so that a capture that is replayed without end restarts instead of repeating itself.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem replay generate calls.pcap
  tandem replay generate calls.pcap --flows 1000 --packets 100 --ipv6 20 --rtcp 2 --unknown 1
  tandem replay generate small.pcap --frame-bytes 60 --seed 7

Exit codes: 0 written; 1 not.")]
struct Generate {
    /// The capture to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Flows: RTP streams in one direction
    #[arg(long, default_value_t = 10_000)]
    flows: u32,
    /// Packets of each flow
    #[arg(long, default_value_t = 8)]
    packets: u16,
    /// Milliseconds of sound in a packet
    #[arg(long, value_name = "MS", default_value_t = 20)]
    ptime_ms: u32,
    /// What the packets hold
    #[arg(long, value_enum, default_value_t = Codec::Pcmu)]
    codec: Codec,
    /// Frames of this size on the wire, 60 to 1514 [default: what the codec makes]
    #[arg(long, value_name = "BYTES")]
    frame_bytes: Option<usize>,
    /// Percent of the flows that use IPv6
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    ipv6: u32,
    /// Percent of the packets that are RTCP
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    rtcp: u32,
    /// Percent of the packets that belong to no flow
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    unknown: u32,
    /// The same seed makes the same file
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Codec {
    Pcmu,
    Pcma,
}

/// Replay a capture without end, as fast as the worker goes
///
/// The capture is received from net_pcap with infinite_rx=1 and what is forwarded is dropped behind the port. Sources in
/// 203.0.113.0/24 and 2001:db8:ffff::/48 are strangers: nothing is provisioned for them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem replay run calls.pcap
  tandem replay run calls.pcap --convert mu-to-a --cpus 1,2 --seconds 10
  tandem --json replay run calls.pcap | jq '{mpps, cycles_per_packet, verdicts}'

Exit codes: 0 done, and every packet accounted for; 1 not.")]
struct Run {
    /// The capture to replay: classic pcap, Ethernet
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    common: Common,
    /// CPUs for the workers, one each
    #[arg(long, value_name = "CPU,…", value_delimiter = ',', default_value = "1")]
    cpus: Vec<u16>,
    /// How long to measure, after half a second to warm up
    #[arg(long, default_value_t = 3)]
    seconds: u64,

    /// Measure a window for each line of standard input, as many milliseconds as it says, and print its Mpps; report when
    /// the input ends: for whoever takes turns with another program on the same core [default: off]
    #[arg(long, conflicts_with = "seconds")]
    on_request: bool,
}

/// Replay a capture once, at its own timing, out of a port
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem replay paced calls.pcap --device net_af_packet0,iface=veth0 --to 02:00:00:00:00:09
  tandem replay paced calls.pcap --device 0000:00:06.0 --to 02:00:00:00:00:09 --convert a-to-mu

Exit codes: 0 done, and every packet accounted for; 1 not.")]
struct Paced {
    /// The capture to replay: classic pcap, Ethernet
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    common: Common,
    /// The port by which forwarded frames leave, as in port.device
    #[arg(long, value_name = "DEVICE")]
    device: String,
    /// The MAC that they are for
    #[arg(long, value_name = "MAC", value_parser = mac)]
    to: [u8; 6],
    /// CPU for the worker
    #[arg(long, default_value_t = 1)]
    cpu: u16,
}

#[derive(Debug, Args)]
struct Common {
    /// What becomes of G.711 payloads
    #[arg(long, value_enum, default_value_t = Convert::None)]
    convert: Convert,
    /// Flows to provision, as [[flow]] tables with source, local and, if need be, destination, departs_from, rtcp,
    /// payload_types, convert [default: those that the capture holds]
    #[arg(long, value_name = "FILE")]
    sessions: Option<PathBuf>,
    /// CPU for everything but the worker
    #[arg(long, default_value_t = 0)]
    main_cpu: u16,
    /// Use ordinary memory: slower, for laboratories [default: off]
    #[arg(long)]
    no_huge: bool,
}

fn mac(text: &str) -> Result<[u8; 6], String> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|b| u8::from_str_radix(b, 16).ok()).collect();
    bytes.and_then(|b| b.try_into().ok()).ok_or_else(|| "a MAC is six bytes: 02:00:00:00:00:09".to_owned())
}

impl Replay {
    pub fn execute(&self, json: bool) -> Result<Outcome, CliError> {
        match &self.action {
            Action::Generate(generate) => generate.execute(json),
            Action::Run(run) => run.execute(json),
            Action::Paced(paced) => paced.execute(json),
        }
    }
}

impl Generate {
    fn execute(&self, json: bool) -> Result<Outcome, CliError> {
        let recipe = Recipe {
            flows: self.flows,
            packets: self.packets,
            ptime_ms: self.ptime_ms,
            law: match self.codec {
                Codec::Pcmu => Law::Mu,
                Codec::Pcma => Law::A,
            },
            frame_bytes: self.frame_bytes,
            ipv6: self.ipv6,
            rtcp: self.rtcp,
            unknown: self.unknown,
            seed: self.seed,
        };
        let written = generate::generate(&recipe, &self.file)?;
        Outcome::show(json, &written, |w| {
            format!(
                "{}: {} packets: {} RTP, {} RTCP, {} of strangers; {} over IPv6\n",
                self.file.display(),
                w.packets,
                w.rtp,
                w.rtcp,
                w.unknown,
                w.ipv6
            )
        })
    }
}

#[cfg(feature = "dpdk")]
impl Run {
    fn execute(&self, json: bool) -> Result<Outcome, CliError> {
        use crate::{
            cli::table::Table,
            replay::run::{Options, Report, Window, run, run_windows},
        };
        let options = Options {
            capture: self.file.clone(),
            sessions: self.common.sessions.clone(),
            convert: self.common.convert,
            cpus: self.cpus.clone(),
            main_cpu: self.common.main_cpu,
            seconds: self.seconds,
            hugepages: !self.common.no_huge,
        };
        let report = if self.on_request {
            let lines = std::io::stdin().lines().map_while(Result::ok);
            let lengths = lines.map_while(|line| line.trim().parse().ok()).map(std::time::Duration::from_millis);
            run_windows(&options, lengths, |window: &Window| println!("{:.4}", window.mpps()))?
        } else {
            run(&options)?
        };
        let percent = |shares: &[(&str, f64)]| {
            shares.iter().map(|(name, share)| format!("{name} {:.1} %", share * 100.0)).collect::<Vec<_>>().join(", ")
        };
        Outcome::show(json, &report, |r: &Report| {
            let mut table = Table::new(&["", ""]);
            let mut row = |name: &str, value: String| {
                table.row([name.to_owned(), value]);
            };
            row("workers", format!("{}, {}", r.workers, r.kernel));
            row("capture", format!("{} packets of {} flows", r.packets, r.flows));
            row("rate", format!("{:.2} million packets a second, {:.1} Gb/s", r.mpps, r.gbps));
            row("a packet takes", format!("{:.1} ticks of the time-stamp counter", r.cycles_per_packet));
            row("received", r.received.to_string());
            row("forwarded", format!("{} ({} converted)", r.forwarded, r.transcoded));
            row("dropped", counted(r.dropped, &r.drops));
            row("punted", counted(r.punted, &r.punts));
            row("sequence", percent(&r.verdicts));
            row("flow table", format!("{} bytes, {:.1} a flow", r.memory.bytes, r.memory.bytes_per_flow));
            table.render()
        })
    }
}

#[cfg(feature = "dpdk")]
fn counted(all: u64, reasons: &[(String, u64)]) -> String {
    use std::fmt::Write;
    let mut text = all.to_string();
    for (i, (name, count)) in reasons.iter().enumerate() {
        let _ = write!(text, "{}{name} {count}", if i == 0 { ": " } else { ", " });
    }
    text
}

#[cfg(feature = "dpdk")]
impl Paced {
    fn execute(&self, json: bool) -> Result<Outcome, CliError> {
        use crate::replay::paced::{Options, Report, run};
        let report = run(&Options {
            capture: self.file.clone(),
            sessions: self.common.sessions.clone(),
            convert: self.common.convert,
            device: self.device.clone(),
            to: self.to,
            cpu: self.cpu,
            main_cpu: self.common.main_cpu,
            hugepages: !self.common.no_huge,
        })?;
        Outcome::show(json, &report, |r: &Report| {
            format!(
                "{} packets in {:.3} s: {} forwarded, {} dropped, {} punted; none left more than {} µs late\n",
                r.received, r.capture_seconds, r.forwarded, r.dropped, r.punted, r.latest_us
            )
        })
    }
}

/// Without DPDK there is no port to replay on.
#[cfg(not(feature = "dpdk"))]
mod without {
    use super::*;

    fn refuse() -> Result<Outcome, CliError> {
        Err(crate::replay::ReplayError::Recipe("this build has no DPDK: build with the feature `dpdk`".into()).into())
    }

    impl Run {
        pub(super) fn execute(&self, _: bool) -> Result<Outcome, CliError> {
            refuse()
        }
    }

    impl Paced {
        pub(super) fn execute(&self, _: bool) -> Result<Outcome, CliError> {
            refuse()
        }
    }
}
