//! tandem's laboratory: real calls through the real binary between network namespaces, judged at the far ends.
//!
//! `scripts/test lab`, `scripts/demo` and `scripts/lab` call this. The main thread runs scenarios; one thread waits for
//! signals and cleans up; taps and talkers have a thread each. Nothing is left behind, however it ends.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};

use tandem_lab::{
    appliance::Device,
    by_hand, cleanup, demo, guest,
    lab::{self, Frame},
    law::Tables,
    runner, scenarios, sys,
};

#[derive(Parser)]
#[command(name = "tandem-lab", about = "Calls through tandem in network namespaces, judged at the far ends")]
struct Arguments {
    /// The appliance to test
    #[arg(long, global = true, value_name = "FILE", default_value = "target/release/tandem")]
    binary: PathBuf,
    /// Let the kernel route in the appliance's place, to prove the laboratory itself
    #[arg(long, global = true)]
    stand_in: bool,
    /// Where logs and captures go
    #[arg(long, global = true, value_name = "FOLDER", default_value = "target/lab")]
    out: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run scenarios: all, or those named (`pcmu_pcma`, `pcmu_pcma@af_xdp`)
    Test {
        names: Vec<String>,
        /// Only over this device
        #[arg(long)]
        device: Option<DeviceName>,
    },
    /// The same of two appliances: a host dies and the calls go on
    Pair {
        names: Vec<String>,
        /// Only over this device
        #[arg(long)]
        device: Option<DeviceName>,
    },
    /// The image in a machine of QEMU's (ami/boot-test calls this): all, or those named
    Guest {
        names: Vec<String>,
        /// What `ami/build-local` made
        #[arg(long, value_name = "FOLDER", default_value = "target/image")]
        image: PathBuf,
        /// Where QEMU was unpacked
        #[arg(long, value_name = "FOLDER", default_value = "target/image/qemu")]
        qemu: PathBuf,
        /// `kvm` where that boots
        #[arg(long, value_name = "NAME", default_value = "tcg")]
        accelerator: String,
    },
    /// Name the scenarios and what each shows
    List,
    /// Place 20 calls over each device and print what was heard
    Demo,
    /// Lay the ground, run the appliance on it, and wait until interrupted
    Hold {
        #[arg(long, default_value = "af-packet")]
        device: DeviceName,
        /// Calls keep coming, so that there is something to look at
        #[arg(long)]
        calls: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum DeviceName {
    #[value(name = "af_packet", alias = "af-packet")]
    AfPacket,
    #[value(name = "af_xdp", alias = "af-xdp")]
    AfXdp,
}

impl From<DeviceName> for Device {
    fn from(name: DeviceName) -> Self {
        match name {
            DeviceName::AfPacket => Device::AfPacket,
            DeviceName::AfXdp => Device::AfXdp,
        }
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tandem-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let scenarios = scenarios::all();
    if let Command::List = arguments.command {
        for scenario in scenarios.iter().chain(&scenarios::pair::scenarios()) {
            let devices: Vec<_> = scenario.devices.iter().map(|device| device.name()).collect();
            println!("{:22} {} ({})", scenario.name, scenario.shows, devices.join(", "));
        }
        for (name, shows) in guest::list() {
            println!("{name:22} {shows} (QEMU)");
        }
        return Ok(true);
    }
    ensure!(sys::is_root(), "the laboratory makes network namespaces and must run as root");
    cleanup::wait_for_signals()?;
    cleanup::sweep_leftovers();
    let frame = frame(arguments)?;
    match &arguments.command {
        Command::Test { names, device } => {
            let count = runner::run_all(&scenarios, &frame, names, device.map(Device::from))?;
            count.close();
            Ok(count.failed.is_empty())
        }
        Command::Pair { names, device } => {
            let count = runner::run_all(&scenarios::pair::scenarios(), &frame, names, device.map(Device::from))?;
            count.close();
            Ok(count.failed.is_empty())
        }
        Command::Guest { names, image, qemu, accelerator } => {
            let folder = |path: &PathBuf| {
                path.canonicalize().with_context(|| format!("no {}: ami/boot-test makes it", path.display()))
            };
            let parts = guest::Parts { image: folder(image)?, qemu: folder(qemu)?, accelerator: accelerator.clone() };
            let count = guest::run_all(&frame, &parts, names)?;
            count.close();
            Ok(count.failed.is_empty())
        }
        Command::Demo => demo::run(&frame),
        Command::Hold { device, calls } => by_hand::hold(&frame, Device::from(*device), *calls).map(|()| true),
        Command::List => Ok(true),
    }
}

fn frame(arguments: &Arguments) -> Result<Frame> {
    std::fs::create_dir_all(&arguments.out).with_context(|| format!("cannot make {}", arguments.out.display()))?;
    let binary = if arguments.stand_in {
        None
    } else {
        Some(arguments.binary.canonicalize().with_context(|| {
            format!("no appliance at {}: `cargo build --release` makes it", arguments.binary.display())
        })?)
    };
    Ok(Frame {
        binary,
        scenarios: lab::source_root().join("tests/scenarios"),
        out: arguments.out.canonicalize()?,
        tables: Tables::load()?,
    })
}
