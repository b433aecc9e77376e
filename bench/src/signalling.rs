//! Calls set up and torn down per second on one slow-path thread, and what a call in progress costs in memory. Main
//! thread; the generator has one of its own.
//!
//! The real appliance stands in the laboratory's veth ground (af_xdp). Its slow path has CPU 0 to itself; the worker
//! (adaptive) and the generator share CPU 1. Each call is INVITE, 180, 200, ACK, BYE, 200 at both ends, with a session
//! description each way, μ-law on one side and A-law on the other, so that ports are allotted and transcoding plans made.
//!
//! A rate holds when every call of a trial ends as it should and no message is sent twice by anyone. The highest such
//! rate is searched for as RFC 2544 §26.1 does for frames. A transaction over UDP lingers for 32 s (RFC 3261 §17.2), so
//! one longer trial shows that the rate also holds with those tables full.

mod calls;
mod messages;

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::socket::{setsockopt, sockopt},
    unistd::Pid,
};
use tandem_lab::{
    appliance::{Appliance, Device},
    net::Namespace,
    sys::in_netns,
    topology::{self, Between, Topology},
};

use self::calls::{Generator, Load, Outcome, Phone, Phones};
use crate::{
    Bench,
    report::{Better, Report, Row, Series},
};

/// The generator shares it with the worker.
const GENERATOR_CPU: usize = 1;
const ROUNDS: usize = 3;
/// How long calls are offered in one trial of the search.
const TRIAL: Duration = Duration::from_secs(4);
/// From the answer to the BYE.
const HOLD: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(3);
/// Longer than a transaction lingers.
const LONG_TRIAL: Duration = Duration::from_secs(40);
/// Of the lowest rate that a round found: the long trial's.
const LONG_SHARE: f64 = 0.9;
/// The search ends when the rates that held and that did not are as near as this.
const NEAR_ENOUGH: f64 = 1.05;
const FIRST_RATE: f64 = 2_000.0;
/// Bounds of the search.
const LOWEST_RATE: f64 = 50.0;
const HIGHEST_RATE: f64 = 12_000.0;
/// What the generator is asked for without the appliance.
const ALONE_RATE: f64 = 10_000.0;
/// Calls in progress at once when memory is looked at.
const HELD_CALLS: usize = 5_000;
/// Media addresses on either side: a port that was freed rests 10 s.
const ADDRESSES: u8 = 4;

pub fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let room = bench.out.join("signalling");
    std::fs::create_dir_all(&room).with_context(|| format!("cannot make {}", room.display()))?;
    alone(report)?;
    let mut lab = Lab::lay(bench, room.canonicalize()?)?;
    memory(&mut lab, report)?;
    rates(&mut lab, report)
}

/// The generator without the appliance: the kernel routes in its place, callers and callees talk directly.
fn alone(report: &mut Report) -> Result<()> {
    let ground = Topology::lay(Between::Cable)?;
    ground.route_in_kernel()?;
    let phones = Phones {
        caller: phone(&ground.caller, topology::CALLER, topology::CALLEE)?,
        callee: phone(&ground.callee, topology::CALLEE, topology::CALLER)?,
    };
    let load = load(0, ALONE_RATE, Duration::from_secs(3));
    let outcome = generate(&phones, load)?;
    let share = outcome.busy.as_secs_f64() / outcome.took.as_secs_f64();
    report.facts.push((
        "signalling: the generator alone".to_owned(),
        format!(
            "{:.0} calls/s offered, {:.0} ended well, faults: {}, {:.0} % of its CPU",
            load.per_second,
            outcome.per_second(&load),
            outcome.faults(),
            share * 100.0
        ),
    ));
    Ok(())
}

fn load(trial: u32, per_second: f64, length: Duration) -> Load {
    let calls = (per_second * length.as_secs_f64()) as usize;
    Load { trial, calls, per_second, hold: HOLD, patience: PATIENCE }
}

fn phone(namespace: &Namespace, own: IpAddr, peer: IpAddr) -> Result<Phone> {
    let at = |ip| SocketAddr::new(ip, topology::SIP_PORT);
    let ends = messages::Ends { own: at(own), peer: at(peer) };
    let socket = in_netns(&namespace.name, || {
        let socket = UdpSocket::bind(ends.own)?;
        socket.connect(ends.peer)?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20))?;
        setsockopt(&socket, sockopt::SndBuf, &(1 << 20))?;
        Ok(socket)
    })?;
    Ok(Phone { socket, ends })
}

/// One trial, on a thread that is pinned.
fn generate(phones: &Phones, load: Load) -> Result<Outcome> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut cpus = CpuSet::new();
            cpus.set(GENERATOR_CPU)?;
            sched_setaffinity(Pid::from_raw(0), &cpus)?;
            Generator::new(phones, load).run()
        });
        thread.join().map_err(|_| anyhow::anyhow!("the generator died"))?
    })
}

/// The appliance on its ground, and the phones on either side.
struct Lab {
    appliance: Option<Appliance>,
    phones: Phones,
    binary: PathBuf,
    room: PathBuf,
    trials: u32,
    ground: Topology,
}

impl Lab {
    fn lay(bench: &Bench, room: PathBuf) -> Result<Self> {
        let ground = Topology::lay(Between::Cable)?;
        ground.deafen_ports()?;
        let phones = Phones {
            caller: phone(&ground.caller, topology::CALLER, topology::TANDEM_A)?,
            callee: phone(&ground.callee, topology::CALLEE, topology::TANDEM_B)?,
        };
        let binary = bench.tandem.canonicalize().with_context(|| format!("no appliance {}", bench.tandem.display()))?;
        Ok(Lab { appliance: None, phones, binary, room, trials: 0, ground })
    }

    /// A new process, which has taken a few calls: neighbours are known, pages are touched.
    fn start_anew(&mut self) -> Result<()> {
        self.appliance = None;
        let toml = configuration(&self.room);
        self.appliance = Some(Appliance::start_with(&self.binary, &toml, &self.ground, &self.room)?);
        for _ in 0..3 {
            let outcome = self.trial(100.0, Duration::from_secs(1))?.1;
            if outcome.flawless() {
                return Ok(());
            }
        }
        anyhow::bail!("100 calls a second do not go through; see {}", self.room.display())
    }

    fn appliance(&self) -> Result<&Appliance> {
        self.appliance.as_ref().context("the appliance does not run")
    }

    fn next_load(&mut self, per_second: f64, length: Duration) -> Load {
        self.trials += 1;
        load(self.trials, per_second, length)
    }

    fn trial(&mut self, per_second: f64, length: Duration) -> Result<(Load, Outcome)> {
        let load = self.next_load(per_second, length);
        Ok((load, generate(&self.phones, load)?))
    }

    /// Processor time of the slow path: the process's first thread.
    fn slow_path_time(&self) -> Result<Duration> {
        let pid = self.appliance()?.process.pid();
        let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat"))?;
        Ok(Duration::from_nanos(text.split(' ').next().context("no time in schedstat")?.parse()?))
    }

    fn metric(&self, name: &str) -> Result<f64> {
        let samples = self.appliance()?.metrics()?;
        Ok(samples.iter().filter(|(at, _)| at.starts_with(name)).map(|(_, value)| value).sum())
    }
}

/// One port and four media addresses on either side, and room for all that rests and lingers.
fn configuration(room: &Path) -> String {
    let mut toml = "[node]\nname = \"bench\"\ndrain_s = 1\n\n[sip]\nmax_calls = 30000\n\n\
                    [dpdk]\nhugepages = false\nmemory_mb = 1024\nmbufs = 32767\n\n\
                    [cores]\nworkers = [1]\nslow = 0\npoll = \"adaptive\"\n"
        .to_owned();
    for (port, side, net) in [(0, "a", 1), (1, "b", 2)] {
        let locals: Vec<Ipv4Addr> = (0..ADDRESSES).map(|i| Ipv4Addr::new(198, 18, net, 10 + i)).collect();
        let on_port: Vec<String> = locals.iter().map(|ip| format!("\"{ip}/24\"")).collect();
        let _ = write!(
            toml,
            "\n[[port]]\nname = \"port{port}\"\ndevice = \"{}\"\nexception = \"tandem{port}\"\naddresses = [{}]\n",
            Device::AfXdp.vdev(port, 1),
            on_port.join(", ")
        );
        for (i, ip) in locals.iter().enumerate() {
            let _ = write!(toml, "\n[[address]]\nname = \"{side}{i}\"\nport = \"port{port}\"\nlocal = \"{ip}\"\n");
        }
        let _ = write!(toml, "\n[[sip.listen]]\naddress = \"{side}0\"\n");
        let media: Vec<String> = (0..ADDRESSES).map(|i| format!("\"{side}{i}\"")).collect();
        let (codecs, to) = if side == "a" { ("PCMU", "") } else { ("PCMA", "\"sip:198.18.2.20:5060\"") };
        let _ = write!(
            toml,
            "\n[[trunk]]\nname = \"{side}\"\nfrom = [\"198.18.{net}.20/32\"]\naddress = \"{side}0\"\nmedia = [{}]\n\
             codecs = [\"{codecs}\"]\ndestinations = [{to}]\n",
            media.join(", ")
        );
    }
    let room = room.display();
    let _ = write!(
        toml,
        "\n[[route]]\nprefix = \"7\"\nfrom = \"a\"\nto = [\"b\"]\n\n\
         [media]\nports = {{ low = 10000, high = 59999 }}\ntimeout_s = 0\nmax_sessions = 30000\n\n\
         [cdr]\nfile = \"{room}/cdr.jsonl\"\n\n[metrics]\nlisten = \"127.0.0.1:9464\"\n\n\
         [admin]\nsocket = \"{room}/admin.sock\"\n"
    );
    toml
}

fn memory(lab: &mut Lab, report: &mut Report) -> Result<()> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        lab.start_anew()?;
        let before = lab.appliance()?.resident_kib()?;
        let per_second = 1_000.0;
        let set_up = Duration::from_secs_f64(HELD_CALLS as f64 / per_second);
        let mut load = lab.next_load(per_second, set_up);
        load.hold = set_up + Duration::from_secs(2);
        let (kib, outcome) = std::thread::scope(|scope| -> Result<(u64, Outcome)> {
            let calls = scope.spawn(|| generate(&lab.phones, load));
            std::thread::sleep(set_up + Duration::from_millis(1_200));
            let in_progress = lab.metric("tandem_calls_in_progress");
            let kib = lab.appliance()?.resident_kib()?;
            let outcome = calls.join().map_err(|_| anyhow::anyhow!("the generator died"))??;
            let up = in_progress? as usize;
            ensure!(up == HELD_CALLS, "{up} calls are in progress, not {HELD_CALLS}: {}", outcome.faults());
            Ok((kib, outcome))
        })?;
        ensure!(outcome.done == HELD_CALLS, "calls that were held did not end well: {}", outcome.faults());
        rounds.push(kib.saturating_sub(before) as f64 * 1024.0 / HELD_CALLS as f64);
    }
    let mut row = Row::figure(
        "memory_per_call",
        "resident memory of the appliance per call in progress: SIP, media session, four plans",
        "bytes",
        rounds,
    )
    .note(format!(
        "growth of VmRSS from idle to {HELD_CALLS} calls, ÷ {HELD_CALLS}; their INVITE transactions, which linger for \
         32 s, are still there"
    ));
    row.better = Better::Lower;
    report.rows.push(row);
    Ok(())
}

/// A rate that held.
struct Held {
    per_second: f64,
    slow_path: f64,
    setup_p99_ms: f64,
}

fn rates(lab: &mut Lab, report: &mut Report) -> Result<()> {
    let mut trials = Series {
        plot: "signalling".to_owned(),
        x: "calls offered per second".to_owned(),
        y: "calls ended well per second".to_owned(),
        log_x: false,
        name: "tandem".to_owned(),
        points: Vec::new(),
    };
    let mut best = Vec::new();
    let mut limits = Vec::new();
    for _ in 0..ROUNDS {
        let (held, limit) = search(lab, &mut trials)?;
        best.push(held);
        limits.push(limit);
    }
    let lowest = best.iter().map(|held| held.per_second).fold(f64::MAX, f64::min);
    let long = long_trial(lab, (lowest * LONG_SHARE).floor())?;
    let list = |of: fn(&Held) -> f64| best.iter().map(|held| format!("{:.0}", of(held))).collect::<Vec<_>>().join(", ");
    report.facts.push(("signalling: % of the slow path's CPU at these rates".to_owned(), list(|h| h.slow_path)));
    report.facts.push(("signalling: 99 % of calls answered within, ms".to_owned(), list(|h| h.setup_p99_ms)));
    report.facts.push(("signalling: what failed at the next higher rate".to_owned(), limits.join(" | ")));
    report.facts.push(("signalling: with all tables full".to_owned(), long.clone()));
    trials.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    report.series.push(trials);
    let row = Row::figure(
        "calls_per_second",
        "calls set up and torn down per second on one slow-path thread, each with media sessions on both sides",
        "calls/s",
        best.iter().map(|held| held.per_second).collect(),
    );
    report.rows.push(row.bar(Better::Higher, 1_000.0, 3_000.0).note(format!(
        "highest rate at which no call of {} s failed and no message was sent twice; {long}",
        TRIAL.as_secs()
    )));
    Ok(())
}

/// The highest rate that holds, and what went wrong at the lowest that did not.
fn search(lab: &mut Lab, trials: &mut Series) -> Result<(Held, String)> {
    let (mut low, mut high) = (LOWEST_RATE, HIGHEST_RATE);
    let mut rate = FIRST_RATE;
    let mut best: Option<Held> = None;
    let mut limit = "none: the search ended at its highest rate".to_owned();
    lab.start_anew()?;
    while high / low > NEAR_ENOUGH {
        let before = lab.slow_path_time()?;
        let (load, outcome) = lab.trial(rate, TRIAL)?;
        let slow_path = (lab.slow_path_time()? - before).as_secs_f64() / outcome.took.as_secs_f64() * 100.0;
        let per_second = outcome.per_second(&load).min(load.per_second);
        eprintln!(
            "signalling: {rate:.0} calls/s: {:.0} ended well, slow path {slow_path:.0} %, generator {:.0} %, at most \
             {:.0} ms late; faults: {}",
            per_second,
            outcome.busy.as_secs_f64() / outcome.took.as_secs_f64() * 100.0,
            outcome.latest.as_secs_f64() * 1e3,
            outcome.faults()
        );
        trials.points.push((rate, per_second));
        if outcome.flawless() {
            low = rate;
            if best.as_ref().is_none_or(|held| held.per_second < per_second) {
                best = Some(Held { per_second, slow_path, setup_p99_ms: outcome.setup_ms(0.99) });
            }
        } else {
            high = rate;
            limit = format!("{rate:.0}: {}", outcome.faults());
            // What was left hanging must not burden the next trial.
            lab.start_anew()?;
        }
        rate = if high < HIGHEST_RATE { (low * high).sqrt() } else { (low * 1.5).min(HIGHEST_RATE * 0.99) };
    }
    Ok((best.with_context(|| format!("no rate holds; the last fault: {limit}"))?, limit))
}

/// Until transactions end as fast as they begin. What the calls were is checked by the appliance's own figures.
fn long_trial(lab: &mut Lab, rate: f64) -> Result<String> {
    lab.start_anew()?;
    let names = ["tandem_calls_answered_total", "tandem_plans_published_total", "tandem_cdr_records_total"];
    let look = |lab: &Lab| names.iter().map(|name| lab.metric(name)).collect::<Result<Vec<f64>>>();
    let before = look(lab)?;
    let time = lab.slow_path_time()?;
    let (load, outcome) = lab.trial(rate, LONG_TRIAL)?;
    let share = (lab.slow_path_time()? - time).as_secs_f64() / outcome.took.as_secs_f64() * 100.0;
    // Figures are published four times a second.
    std::thread::sleep(Duration::from_millis(600));
    let risen: Vec<f64> = look(lab)?.iter().zip(&before).map(|(after, before)| after - before).collect();
    let resident = lab.appliance()?.resident_kib()? / 1024;
    if outcome.flawless() {
        let calls = load.calls as f64;
        ensure!(risen[0] == calls && risen[2] == calls, "{calls} calls, but {names:?} rose by {risen:?}");
        ensure!(risen[1] >= calls * 4.0, "{calls} calls, but {} plans were published", risen[1]);
    }
    Ok(format!(
        "{rate:.0} calls/s for {} s: faults: {}; {share:.0} % of the slow path's CPU, {resident} MiB resident",
        LONG_TRIAL.as_secs(),
        outcome.faults()
    ))
}
