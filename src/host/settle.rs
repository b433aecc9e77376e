//! `tandem run` takes the plan's cores and memory where the configuration names no workers, and refuses, with the reason, to
//! start on a machine that is not as the plan has it. Runs once, on the main thread, before anything is taken.

use std::path::Path;

use super::{
    CpuSet,
    picture::{Picture, PictureError},
    plan::{self, Plan, Trouble, Wish, WishedPort, memory::Demand, ports::pci_address},
    tune::verify,
};
use crate::config::Config;

#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    #[error("cores.workers names no CPU, and the machine cannot be looked at: {0}")]
    Picture(#[from] PictureError),
    #[error("cores.workers names no CPU, and there is no plan for this machine: {}", sentences(.0))]
    NoPlan(Vec<Trouble>),
    #[error(
        "cores.workers names no CPU, and the machine is not as planned: {} Or name cores.workers and cores.slow yourself.",
        .0.join(" ")
    )]
    NotKept(Vec<String>),
}

fn sentences(troubles: &[Trouble]) -> String {
    let grave = troubles.iter().filter(|trouble| trouble.grave);
    grave.map(|trouble| format!("{}: {}", trouble.about, trouble.says)).collect::<Vec<_>>().join(" ")
}

/// What a configuration asks of a machine.
pub fn wish(config: &Config) -> Wish {
    let port = |port: &crate::config::Port| match pci_address(port.device.trim()) {
        Some(address) => WishedPort::Function(address),
        None => WishedPort::Virtual(port.device.clone()),
    };
    Wish { ports: config.ports.iter().map(port).collect(), memory: Demand::of(config), ..Wish::default() }
}

/// Fills in what the configuration leaves to the plan, if it does.
pub fn settle(config: &mut Config) -> Result<(), SettleError> {
    if !config.cores.workers.is_empty() {
        return Ok(());
    }
    let picture = Picture::read(Path::new("/"))?;
    settle_on(config, &picture, CpuSet::allowed().ok())
}

fn settle_on(config: &mut Config, picture: &Picture, allowed: Option<CpuSet>) -> Result<(), SettleError> {
    let planning = plan::plan(picture, &Wish { allowed, ..wish(config) });
    let Some(plan) = planning.plan else { return Err(SettleError::NoPlan(planning.troubles)) };
    let obstacles = verify::obstacles(picture, &plan);
    if !obstacles.is_empty() {
        return Err(SettleError::NotKept(obstacles));
    }
    for trouble in &planning.troubles {
        tracing::warn!(about = trouble.about, "{}", trouble.says);
    }
    let Plan { node, seats, memory, .. } = plan;
    tracing::info!(node, workers = ?seats.workers, slow = seats.slow, memory_mb = memory.memory_mb, "as planned for this machine");
    config.cores.workers = seats.workers;
    config.cores.slow = Some(seats.slow);
    config.cores.pair = Some(seats.pair);
    config.dpdk.mbufs = Some(memory.mbufs);
    config.dpdk.memory_mb = Some(memory.memory_mb);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::picture::{Cpu, Node};

    fn config(cores: &str) -> Config {
        let text = format!(
            r#"
            {cores}
            [dpdk]
            hugepages = false
            [[port]]
            name = "lan"
            device = "net_af_packet0,iface=eth1"
            exception = "tan0"
            addresses = ["198.18.1.1/24"]
            [[address]]
            name = "m"
            port = "lan"
            local = "198.18.1.1"
            [media]
            [sip]
            listen = []
            "#
        );
        toml::from_str(&text).unwrap()
    }

    fn machine(cpus: u16) -> Picture {
        let cpu =
            |number: u16| Cpu { number, online: true, siblings: [number].into_iter().collect(), ..Cpu::default() };
        Picture {
            cpus: (0..cpus).map(cpu).collect(),
            nodes: vec![Node { number: 0, cpus: (0..cpus).collect(), memory_kib: 8 << 20, hugepages: Vec::new() }],
            ..Picture::default()
        }
    }

    #[test]
    fn workers_that_are_named_stay() {
        let mut config = config("[cores]\nworkers = [1]\nslow = 0");
        settle(&mut config).unwrap();
        assert_eq!((config.cores.workers, config.cores.slow, config.dpdk.mbufs), (vec![1], Some(0), None));
    }

    // Two CPUs: one polls, the other does everything else.
    #[test]
    fn without_workers_the_plans_are_taken() {
        let mut config = config("");
        settle_on(&mut config, &machine(2), None).unwrap();
        assert_eq!((config.cores.workers, config.cores.slow, config.cores.pair), (vec![1], Some(0), Some(0)));
        assert_eq!((config.dpdk.mbufs, config.dpdk.memory_mb), (Some(65_535), Some(1024)));
    }

    #[test]
    fn what_cannot_be_kept_is_refused_with_the_reason() {
        let refused = |picture: &Picture, hugepages| {
            let mut config = config("");
            config.dpdk.hugepages = hugepages;
            settle_on(&mut config, picture, None).unwrap_err().to_string()
        };
        let one = refused(&machine(1), false);
        assert!(one.contains("node 0: It has one CPU for tandem"), "{one}");
        let pages = refused(&machine(4), true);
        assert!(pages.contains("hugepages of node 0: planned 512 of 2048 KiB, found 0, of which 0 free."), "{pages}");
        assert!(pages.contains("`tandem tune apply`"), "{pages}");
    }
}
