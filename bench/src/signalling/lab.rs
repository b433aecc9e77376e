//! What the calls are measured on: the appliance on its ground with a configuration that has room for them, the phones on
//! either side, and the thread of the generator. Main thread.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
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

use super::{
    calls::{Generator, Load, Outcome, Phone, Phones},
    messages::{self, Codec},
};
use crate::{Bench, lab::usage::Threads};

/// The generator shares it with the worker.
const GENERATOR_CPU: usize = 1;
/// From the answer to the BYE.
const HOLD: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(3);
/// Media addresses on either side: a port that was freed rests 10 s.
const ADDRESSES: u8 = 4;

pub fn load(trial: u32, per_second: f64, length: Duration) -> Load {
    let calls = (per_second * length.as_secs_f64()) as usize;
    Load { trial, calls, per_second, hold: HOLD, patience: PATIENCE }
}

pub fn phone(namespace: &Namespace, own: IpAddr, peer: IpAddr, codec: Codec) -> Result<Phone> {
    let at = |ip| SocketAddr::new(ip, topology::SIP_PORT);
    let ends = messages::Ends { own: at(own), peer: at(peer), codec };
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
pub fn generate(phones: &Phones, load: Load) -> Result<Outcome> {
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
pub struct Lab {
    appliance: Option<Appliance>,
    pub phones: Phones,
    binary: PathBuf,
    room: PathBuf,
    trials: u32,
    ground: Topology,
}

impl Lab {
    pub fn lay(bench: &Bench, room: PathBuf) -> Result<Self> {
        let ground = Topology::lay(Between::Cable)?;
        ground.deafen_ports()?;
        let phones = Phones {
            caller: phone(&ground.caller, topology::CALLER, topology::TANDEM_A, Codec::Pcmu)?,
            callee: phone(&ground.callee, topology::CALLEE, topology::TANDEM_B, Codec::Pcma)?,
        };
        let binary = bench.tandem.canonicalize().with_context(|| format!("no appliance {}", bench.tandem.display()))?;
        Ok(Lab { appliance: None, phones, binary, room, trials: 0, ground })
    }

    /// A new process, which has taken a few calls: neighbours are known, pages are touched.
    pub fn start_anew(&mut self) -> Result<()> {
        if let Some(mut old) = self.appliance.take() {
            // What is left hanging after a rate that did not hold is not worth waiting for.
            old.process.signal(libc::SIGKILL)?;
            old.process.wait(Duration::from_secs(30))?;
        }
        let toml = configuration(&self.room);
        self.appliance = Some(Appliance::start_with(&self.binary, &toml, &self.ground.tandem.name, &self.room)?);
        for _ in 0..3 {
            let outcome = self.trial(100.0, Duration::from_secs(1))?.1;
            if outcome.flawless() {
                return Ok(());
            }
        }
        bail!("100 calls a second do not go through; see {}", self.room.display())
    }

    pub fn appliance(&self) -> Result<&Appliance> {
        self.appliance.as_ref().context("the appliance does not run")
    }

    pub fn next_load(&mut self, per_second: f64, length: Duration) -> Load {
        self.trials += 1;
        load(self.trials, per_second, length)
    }

    pub fn trial(&mut self, per_second: f64, length: Duration) -> Result<(Load, Outcome)> {
        let load = self.next_load(per_second, length);
        Ok((load, generate(&self.phones, load)?))
    }

    /// Processor time so far.
    pub fn times(&self) -> Result<Times> {
        let pid = self.appliance()?.process.pid();
        let threads = Threads::of(pid, &[])?;
        let slow = threads.one(pid).context("the appliance has no slow path")?;
        Ok(Times { slow_path: slow.ran, waited: slow.waited, others: threads.ran().saturating_sub(slow.ran) })
    }

    pub fn metric(&self, name: &str) -> Result<f64> {
        let samples = self.appliance()?.metrics()?;
        Ok(samples.iter().filter(|(at, _)| at.starts_with(name)).map(|(_, value)| value).sum())
    }
}

/// Processor time of the appliance, by the kernel's scheduler.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// The process's first thread.
    pub slow_path: Duration,
    /// How long that thread could have run and another had its CPU.
    pub waited: Duration,
    /// Above all the worker, which shares the generator's CPU.
    pub others: Duration,
}

impl Times {
    pub fn since(self, before: Times) -> Times {
        Times {
            slow_path: self.slow_path.saturating_sub(before.slow_path),
            waited: self.waited.saturating_sub(before.waited),
            others: self.others.saturating_sub(before.others),
        }
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
