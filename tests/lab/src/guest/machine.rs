//! A machine in QEMU: its power, its console, and the way in. Main thread.
//!
//! Two sockets of two cores and 5 GiB each, an IOMMU, and the card for calls behind a bridge of the second socket's own.
//! Its disk is a copy, gone with the handle. When it starts anew its power is switched off and on: QEMU's own reset trips over
//! interrupt tables that a driver in user space left behind.

use std::{
    net::SocketAddr,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    net::{Namespace, http_get},
    process::{Running, command_in, run},
    runner::Disturbed,
    topology::{MANAGED, MANAGEMENT_TAP, MANAGER, MEDIA_TAP, plug_media},
};

/// What a machine is made from.
#[derive(Clone, Debug)]
pub struct Parts {
    /// What `ami/build-local` made: `disk.raw`, and `key` for the way in.
    pub image: PathBuf,
    /// The folder that QEMU was unpacked in.
    pub qemu: PathBuf,
    /// `tcg`, or `kvm` where that boots.
    pub accelerator: String,
}

/// The card for calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Card {
    Virtio,
    /// Intel's 82576, a virtual function of it.
    IgbFunction,
}

impl Card {
    pub const fn name(self) -> &'static str {
        match self {
            Card::Virtio => "virtio",
            Card::IgbFunction => "igb_vf",
        }
    }

    /// Where the machine finds it: on the bus behind the second socket's bridge.
    pub const fn address(self) -> &'static str {
        match self {
            Card::Virtio => "0000:41:00.0",
            // The first virtual function's routing id is 128 more than the physical one's.
            Card::IgbFunction => "0000:41:10.0",
        }
    }

    /// One for a worker, one for the slow path; a virtual function of igb has one.
    const fn queues(self) -> usize {
        match self {
            Card::Virtio => 2,
            Card::IgbFunction => 1,
        }
    }

    /// The kernel's driver of it.
    pub const fn driver(self) -> &'static str {
        match self {
            Card::Virtio => "virtio-pci",
            Card::IgbFunction => "igbvf",
        }
    }
}

const CONSOLE: &str = "console.log";
/// More is a machine that does not come to rest.
const RESTARTS: usize = 3;

pub struct Machine {
    process: Running,
    parts: Parts,
    card: Card,
    room: PathBuf,
    namespace: String,
    /// Kept as long as the machine.
    _names: Running,
    power_on: Instant,
    /// How often it started anew.
    pub restarts: usize,
}

impl Machine {
    pub fn power_on(parts: &Parts, card: Card, host: &Namespace, room: &Path) -> Result<Self> {
        let image = parts.image.join("disk.raw");
        ensure!(image.exists(), "no image at {}: ami/build-local makes it", image.display());
        let names = hand_out_address(host, room)?;
        plug_media(host, card.queues() > 1)?;
        run("cp", &["--sparse=always", &image.to_string_lossy(), &disk(room).to_string_lossy()])?;
        let power_on = Instant::now();
        let process = start(parts, card, &host.name, room, 0)?;
        Ok(Machine {
            process,
            parts: parts.clone(),
            card,
            room: room.to_owned(),
            namespace: host.name.clone(),
            _names: names,
            power_on,
            restarts: 0,
        })
    }

    /// Since the power was switched on.
    pub fn age(&self) -> Duration {
        self.power_on.elapsed()
    }

    /// What its console said so far.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.room.join(CONSOLE)).unwrap_or_default()).replace('\r', "")
    }

    fn last_words(&self) -> String {
        let console = self.console();
        let lines: Vec<&str> = console.lines().collect();
        format!(
            "{}\n(all of it: {})",
            lines[lines.len().saturating_sub(12)..].join("\n"),
            self.room.join(CONSOLE).display()
        )
    }

    fn wait_for<T>(&mut self, what: &str, limit: Duration, mut look: impl FnMut(&Self) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(found) = look(self) {
                return Ok(found);
            }
            if let Some(disturbed) = self.crashed() {
                return Err(disturbed.into());
            }
            if let Some(status) = self.process.ended()? {
                ensure!(status.success(), "QEMU ended with {status}: {}", self.process.tail());
                ensure!(self.restarts < RESTARTS, "it starts anew again and again; the console: {}", self.last_words());
                self.restarts += 1;
                self.process = start(&self.parts, self.card, &self.namespace, &self.room, self.restarts)?;
            }
            if Instant::now() > deadline {
                bail!("no {what} within {} s; the console: {}", limit.as_secs(), self.last_words());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// What QEMU fell over, if it did: its own assertions ended it, or the kernel says, before it runs anything of
    /// the image's, that no timer goes off any more. Its processors are threads, and with them neither its memory map nor its
    /// clocks are always one. That is no finding about what it runs.
    pub fn crashed(&mut self) -> Option<Disturbed> {
        let of = |text: &str, words: &str| text.lines().find(|line| line.contains(words)).map(str::to_owned);
        let aborted = self.process.ended().ok().flatten().is_some_and(|status| status.signal() == Some(libc::SIGABRT));
        let asserted = aborted.then(|| of(&self.process.output(), ": Assertion `")).flatten();
        let console = self.console();
        let boot = console.rsplit("Linux version").next().filter(|boot| !boot.contains("Run /init as init process"));
        asserted.or_else(|| of(boot?, "timer wakeup didn't happen")).map(Disturbed)
    }

    /// The first line of the console with these words.
    pub fn wait_for_console(&mut self, words: &str, limit: Duration) -> Result<String> {
        self.wait_for(&format!("{words:?} on the console"), limit, |machine| {
            machine.console().lines().find(|line| line.contains(words)).map(str::to_owned)
        })
    }

    /// Until tandem says that it takes calls; how long ago the power was switched on then.
    pub fn wait_ready(&mut self, limit: Duration) -> Result<Duration> {
        self.wait_for("answer at /readyz", limit, |machine| {
            let at = SocketAddr::new(MANAGED, 9464);
            let ready = http_get(&machine.namespace, at, "/readyz").is_ok_and(|(status, _)| status == 200);
            ready.then(|| machine.age())
        })
    }

    /// Until the way in is open.
    pub fn wait_reachable(&mut self, limit: Duration) -> Result<()> {
        self.wait_for("way in by SSH", limit, |machine| machine.run("true").ok().map(drop))
    }

    /// Runs a command in it; what it wrote to its standard output.
    pub fn run(&self, command: &str) -> Result<String> {
        let (text, good) = self.ask(command)?;
        ensure!(good, "`{command}` failed in the machine: {text}");
        Ok(text)
    }

    /// … with what it wrote to standard error, and whether it succeeded.
    pub fn ask(&self, command: &str) -> Result<(String, bool)> {
        let mut ssh = command_in(Some(&self.namespace), "ssh");
        ssh.arg("-i").arg(self.parts.image.join("key"));
        for option in
            ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=10"]
        {
            ssh.args(["-o", option]);
        }
        let output = ssh
            .args(["-F", "none", "-o", "BatchMode=yes", &format!("root@{MANAGED}"), &format!("{{ {command}\n}} 2>&1")])
            .output()
            .context("ssh could not be started: run scripts/install")?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Ok((text.trim().to_owned(), output.status.success()))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(disk(&self.room));
    }
}

fn disk(room: &Path) -> PathBuf {
    room.join("disk.raw")
}

fn start(parts: &Parts, card: Card, namespace: &str, room: &Path, restarts: usize) -> Result<Running> {
    let mut command = command_in(Some(namespace), parts.qemu.join("usr/bin/qemu-system-x86_64"));
    // Debian 12's firmware: a later SeaBIOS lays the registers of igb's functions above 4 GiB, where they are not reached.
    command.args(["-L", "/usr/share/seabios", "-L"]).arg(parts.qemu.join("usr/share/qemu"));
    let (accelerator, cpu) = match parts.accelerator.as_str() {
        "tcg" => ("tcg,thread=multi", "max"),
        other => (other, "host"),
    };
    command.args(["-M", "q35,kernel-irqchip=split", "-accel", accelerator, "-cpu", cpu, "-m", "10G"]);
    for (node, cpus) in [(0, "0-1"), (1, "2-3")] {
        command.args(["-object", &format!("memory-backend-ram,id=m{node},size=5G")]);
        command.args(["-numa", &format!("node,nodeid={node},cpus={cpus},memdev=m{node}")]);
    }
    command.args(["-smp", "4,sockets=2,cores=2,threads=1"]);
    command.args(["-device", "intel-iommu,intremap=on,caching-mode=on,device-iotlb=on"]);
    command.args(["-device", "pxb-pcie,id=pxb1,bus_nr=64,numa_node=1,bus=pcie.0"]);
    command.args(["-device", "pcie-root-port,id=rp1,bus=pxb1,chassis=1,slot=1"]);
    let tap = "script=no,downscript=no,vhost=off";
    command.args(["-netdev", &format!("tap,id=n0,ifname={MEDIA_TAP},{tap},queues={}", card.queues())]);
    command.args(["-device", device(card)]);
    if card == Card::IgbFunction {
        // The same from QEMU's side.
        command.args(["-global", "q35-pcihost.pci-hole64-size=0", "-global", "q35-pcihost.x-pci-hole64-fix=off"]);
    }
    command.args(["-netdev", &format!("tap,id=m0,ifname={MANAGEMENT_TAP},{tap}")]);
    command.args(["-device", "virtio-net-pci,netdev=m0,bus=pcie.0,mac=02:00:00:00:00:01,romfile="]);
    command.arg("-drive").arg(format!("if=none,id=d0,file={},format=raw,cache=unsafe", disk(room).display()));
    command.args(["-device", "virtio-blk-pci,bus=pcie.0,drive=d0,bootindex=0", "-device", "virtio-rng-pci,bus=pcie.0"]);
    command.args(["-display", "none", "-monitor", "none", "-no-reboot", "-serial", "chardev:console"]);
    let console = room.join(CONSOLE);
    command.arg("-chardev").arg(format!("file,id=console,path={},append=on", console.display()));
    Running::start("qemu", command, room.join(format!("qemu-{restarts}.log")))
}

fn device(card: Card) -> &'static str {
    match card {
        Card::Virtio => {
            "virtio-net-pci,netdev=n0,bus=rp1,mac=02:00:00:00:00:10,mq=on,rss=on,vectors=8,rx_queue_size=1024,\
                         iommu_platform=on,ats=on,disable-legacy=on,romfile="
        }
        Card::IgbFunction => "igb,netdev=n0,bus=rp1,mac=02:00:00:00:00:10,romfile=",
    }
}

/// DHCP on the management network, where there is one address to have.
fn hand_out_address(host: &Namespace, room: &Path) -> Result<Running> {
    let mut command = command_in(Some(&host.name), "dnsmasq");
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file=", "--port=0"]);
    command.args([
        format!("--interface={MANAGEMENT_TAP}"),
        "--bind-interfaces".to_owned(),
        "--log-facility=-".to_owned(),
    ]);
    command.args([
        format!("--dhcp-range={MANAGED},{MANAGED},1h"),
        format!("--dhcp-host=02:00:00:00:00:01,{MANAGED}"),
        format!("--dhcp-option=3,{MANAGER}"),
        format!("--dhcp-leasefile={}", room.join("leases").display()),
    ]);
    Running::start("dnsmasq", command, room.join("dnsmasq.log"))
}
