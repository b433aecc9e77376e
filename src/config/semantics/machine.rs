//! Checks of `[node]`, `[dpdk]`, `[cores]` and `[log]`: what this machine must be able to give.

use std::collections::HashMap;

use super::{Checker, Step};
use crate::config::{Poll, document::at};

pub(super) fn check(checker: &mut Checker<'_>) {
    node_name(checker);
    log_level(checker);
    cpus_exist(checker);
    slow_with_workers(checker);
    cores_shared(checker);
    buffers(checker);
}

/// RFC 3261 §25.1: the Server header's comment holds printable text; parentheses and backslashes would end or
/// escape it.
fn node_name(checker: &mut Checker<'_>) {
    let name = &checker.config.node.name;
    if !is_node_name(name) {
        checker.error(at!["node", "name"], format!("{name:?}"), NODE_NAME);
    }
}

pub(super) const NODE_NAME: &str =
    "up to 64 printable ASCII characters without blanks, quotes, parentheses and backslashes";

pub(super) fn is_node_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && !"()\\\"".contains(c);
    name.chars().count() <= 64 && name.chars().all(plain)
}

fn log_level(checker: &mut Checker<'_>) {
    let level = &checker.config.log.level;
    if tracing_subscriber::EnvFilter::try_new(level).is_err() {
        checker.error(
            at!["log", "level"],
            format!("{level:?}"),
            "error, warn, info, debug, trace, or a filter such as \"info,tandem::sip=debug\"",
        );
    }
}

fn cpus_exist(checker: &mut Checker<'_>) {
    let Some(allowed) = checker.host.cpus.clone() else { return };
    let cores = &checker.config.cores;
    let workers = cores.workers.iter().enumerate().map(|(index, cpu)| (vec![Step::At(index)], "workers", *cpu));
    let others = [("slow", cores.slow), ("pair", cores.pair)].into_iter();
    let others = others.filter_map(|(key, cpu)| Some((Vec::new(), key, cpu?)));
    for (rest, key, cpu) in workers.chain(others) {
        if !allowed.contains(cpu) {
            let path: Vec<Step> = [Step::Key("cores"), Step::Key(key)].into_iter().chain(rest).collect();
            checker.error(&path, format!("CPU {cpu}"), format!("a CPU that this process may use: {allowed}"));
        }
    }
}

/// The plan for this machine seats everybody, or nobody.
fn slow_with_workers(checker: &mut Checker<'_>) {
    let cores = &checker.config.cores;
    if !cores.workers.is_empty() || !checker.whole(&["cores.workers"]) {
        return;
    }
    for (key, cpu) in [("slow", cores.slow), ("pair", cores.pair)] {
        if let Some(cpu) = cpu {
            checker.error(
                at!["cores", key],
                format!("CPU {cpu}, and no cores.workers"),
                "both, or neither: then `tandem tune plan` says who runs where",
            );
        }
    }
}

/// A core that polls without sleep starves whoever shares it.
fn cores_shared(checker: &mut Checker<'_>) {
    let cores = &checker.config.cores;
    if cores.poll == Poll::Adaptive || !checker.whole(&["cores.poll", "cores.workers", "cores.slow"]) {
        return;
    }
    let mut first_seen: HashMap<u16, usize> = HashMap::new();
    for (index, cpu) in cores.workers.iter().enumerate() {
        if let Some(first) = first_seen.get(cpu) {
            checker.error(
                at!["cores", "workers", index],
                format!("CPU {cpu} again, as for worker {}", first + 1),
                "a CPU of its own for each worker, or poll = \"adaptive\"",
            );
        } else {
            first_seen.insert(*cpu, index);
        }
    }
    for (key, named) in [("slow", cores.slow), ("pair", cores.pair)] {
        let cpu = named.unwrap_or_else(|| cores.slow());
        let Some(worker) = first_seen.get(&cpu) else { continue };
        // The pair thread that is not named shares the slow path's CPU, of which the first turn has told.
        if key == "pair" && named.is_none() {
            continue;
        }
        let path = if named.is_some() { at!["cores", key] } else { at!["cores"] };
        checker.error(
            path,
            format!("CPU {cpu}, as for worker {}", worker + 1),
            "a CPU that no worker has, or poll = \"adaptive\"",
        );
    }
}

/// A port's rings are filled from one pool: one receive queue and one transmit queue per worker, one pair for the slow
/// path. Buffers that nobody named are as many as it takes.
fn buffers(checker: &mut Checker<'_>) {
    let queues = checker.config.cores.workers.len() as u64 + 1;
    let Some(mbufs) = checker.config.dpdk.mbufs.map(u64::from) else { return };
    for (index, port) in checker.config.ports.iter().enumerate() {
        let needed = queues * (u64::from(port.rx_descriptors) + u64::from(port.tx_descriptors));
        if needed > mbufs {
            let path = if checker.whole(&["dpdk.mbufs"]) { at!["dpdk", "mbufs"] } else { at!["port", index] };
            checker.error(
                path,
                format!("{mbufs} buffers"),
                format!(
                    "{needed} or more: port {:?} has {queues} queue pairs of {} + {} descriptors",
                    port.name, port.rx_descriptors, port.tx_descriptors
                ),
            );
            return;
        }
    }
}
