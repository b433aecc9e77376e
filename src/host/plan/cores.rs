//! Who sits where: workers, slow path, pair thread and everything else, by physical core. Pure.
//!
//! Always holds: a worker polls and so shares its CPU with nobody; where there are cores enough it shares its core with
//! nobody either, and neither do the slow path and the pair thread.

use serde::Serialize;

use super::{Choices, Load, Troubles, Wish, count, instance, named};
use crate::{
    base::limits::MAX_WORKERS,
    host::{
        CpuSet,
        capacity::{
            self,
            instances::{QUEUE_PACKETS_PER_S, RSS_ENTRIES},
            traffic::Traffic,
        },
        picture::Picture,
    },
};

/// The CPU that boots takes what the kernel cannot move elsewhere.
const BOOT_CPU: u16 = 0;

/// Each CPU's part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Seats {
    /// Worker `w` polls `workers[w]`.
    pub workers: Vec<u16>,
    pub slow: u16,
    /// The pair's heartbeat and lease.
    pub pair: u16,
    /// The kernel, its interrupts, and every other program.
    pub housekeeping: CpuSet,
    /// Siblings of tandem's CPUs: they run nothing.
    pub idle: CpuSet,
}

impl Seats {
    pub fn worker_cpus(&self) -> CpuSet {
        self.workers.iter().copied().collect()
    }

    /// What the scheduler is to leave alone.
    pub fn isolated(&self) -> CpuSet {
        let mut cpus = self.worker_cpus();
        cpus.extend(&self.idle);
        cpus.extend(&[self.slow, self.pair].into_iter().collect());
        cpus.less(&self.housekeeping)
    }

    /// Where tandem's own threads run.
    pub fn own(&self) -> CpuSet {
        let mut cpus = self.worker_cpus();
        cpus.extend(&[self.slow, self.pair].into_iter().collect());
        cpus
    }
}

/// The threads of one physical core that may be used, lowest first.
type Core = Vec<u16>;

/// Who needs a place besides the workers, and how the cores that are kept for it are shared.
struct Kept {
    housekeeping: Option<u16>,
    pair: u16,
    slow: u16,
    /// Cores that no worker gets.
    cores: usize,
    /// Slow path and pair thread each have a core of their own.
    apart: bool,
}

/// Seats on `node`; `queues` is what each port has at most.
pub(super) fn seat(
    picture: &Picture,
    wish: &Wish,
    node: u16,
    queues: Option<u64>,
    troubles: &mut Troubles,
    choices: &mut Choices,
) -> Option<Seats> {
    let online = picture.online();
    let usable = wish.allowed.as_ref().map_or_else(|| online.clone(), |allowed| online.common(allowed));
    let cores = cores(picture, node, &usable);
    // Other CPUs than these do for everything else, unless the kernel booted on one of these.
    let elsewhere = !online.less(&cores.iter().flatten().copied().collect()).is_empty();
    let boots_here = cores.first().is_some_and(|core| core.contains(&BOOT_CPU));
    let Some(kept) = keep(&cores, boots_here || !elsewhere) else {
        troubles.grave(
            format!("node {node}"),
            format!(
                "It has {} for tandem: a worker that polls would starve the slow path and everything else. Take a machine with \
                 two cores or more on the ports' node, or take another node (--node).",
                if cores.is_empty() { "no CPU" } else { "one CPU" }
            ),
        );
        return None;
    };
    let whole = cores.get(kept.cores..).unwrap_or_default();
    // On a single core the worker gets the last thread.
    let single = kept.cores == 0;
    let places: Vec<u16> = if single {
        cores.first().and_then(|core| core.last()).copied().into_iter().collect()
    } else {
        whole.iter().filter_map(|core| core.first()).copied().collect()
    };
    let workers = how_many(picture, wish, node, places.len() as u64, queues, troubles, choices)?;
    let workers: Vec<u16> = places.into_iter().take(workers as usize).collect();
    if single {
        troubles.warn(
            format!("node {node}"),
            format!(
                "It has one physical core: the worker on CPU {} shares it with all else and gets about half of it, at uncertain \
                 moments. This serves to try tandem; for calls take a machine with four cores or more.",
                workers.first().copied().unwrap_or_default()
            ),
        );
    }
    let mut seats = Seats { workers, slow: kept.slow, pair: kept.pair, ..Seats::default() };
    seats.idle = idle(&cores, &kept, &seats, single);
    let mut taken = seats.worker_cpus();
    taken.extend(&seats.idle);
    for (cpu, shared) in [(seats.slow, kept.housekeeping), (seats.pair, kept.housekeeping)] {
        if shared != Some(cpu) {
            taken.insert(cpu);
        }
    }
    seats.housekeeping = online.less(&taken);
    explain(&seats, &kept, node, single, choices);
    Some(seats)
}

/// The cores of a node, by their lowest thread.
fn cores(picture: &Picture, node: u16, usable: &CpuSet) -> Vec<Core> {
    let here = picture.node(node).map(|node| node.cpus.common(usable)).unwrap_or_default();
    let mut cores: Vec<Core> = Vec::new();
    for cpu in here.iter() {
        let siblings = picture.cpu(cpu).map(|cpu| cpu.siblings.common(&here)).unwrap_or_default();
        if siblings.first() == Some(cpu) {
            cores.push(siblings.iter().collect());
        }
    }
    cores
}

/// Slow path and pair thread, and the rest of the machine if it has no other place. None: one CPU is not enough.
fn keep(cores: &[Core], housekeeping_here: bool) -> Option<Kept> {
    let first = |core: usize| cores.get(core).and_then(|core| core.first()).copied();
    let (first_cpu, last_cpu) = (first(0)?, *cores.first()?.last()?);
    let roles = 2 + usize::from(housekeeping_here);
    let kept = roles.min(cores.len() - 1);
    let (housekeeping, slow, pair) = match (kept, housekeeping_here) {
        (3, _) => (Some(first_cpu), first(1)?, first(2)?),
        (2, false) => (None, first_cpu, first(1)?),
        // The slow path has a core; the other two share the first, a thread each if it has two.
        (2, true) => (Some(first_cpu), first(1)?, last_cpu),
        // All share a core; the slow path has its last thread.
        (1, _) => (Some(first_cpu), last_cpu, first_cpu),
        // There is one core, and its last thread is the worker's.
        _ => (Some(first_cpu), first_cpu, first_cpu),
    };
    let enough = kept > 0 || first_cpu != last_cpu;
    enough.then_some(Kept { housekeeping, slow, pair, cores: kept, apart: kept == roles })
}

fn idle(cores: &[Core], kept: &Kept, seats: &Seats, single: bool) -> CpuSet {
    if single {
        return CpuSet::default();
    }
    let of_workers = |core: &&Core| core.first().is_some_and(|cpu| seats.workers.contains(cpu));
    let mut idle: CpuSet = cores.iter().filter(of_workers).flat_map(|core| core.iter().skip(1)).copied().collect();
    // A core that the slow path or the pair thread has for itself.
    let own = |core: &&Core| {
        let has = |cpu: u16| core.first() == Some(&cpu) && kept.housekeeping != Some(cpu);
        has(seats.slow) || (kept.apart && has(seats.pair))
    };
    idle.extend(&cores.iter().filter(own).flat_map(|core| core.iter().skip(1)).copied().collect());
    idle
}

/// How many workers: what was asked for, or what the load takes, within the room there is.
fn how_many(
    picture: &Picture,
    wish: &Wish,
    node: u16,
    places: u64,
    queues: Option<u64>,
    troubles: &mut Troubles,
    choices: &mut Choices,
) -> Option<u64> {
    let room = places.min(queues.unwrap_or(u64::MAX)).min(MAX_WORKERS as u64);
    let limit = match queues {
        Some(queues) if queues < places => format!("the ports have {} each", count(queues, "queue")),
        _ => format!("node {node} has {} left for workers", count(places, "core")),
    };
    let (wanted, reason) = match (wish.workers, wish.load) {
        (Some(workers), _) => (Some(u64::from(workers)), "So many were asked for".to_owned()),
        (None, Load::Calls(calls)) => {
            let packets = Traffic::default().packets_per_s().of(calls);
            (capacity::queues_for(packets), format!("{calls} calls are {packets} packets/s each way"))
        }
        (None, Load::PacketsPerS(packets)) => {
            (capacity::queues_for(packets), format!("{packets} packets/s each way were asked for"))
        }
        (None, Load::Any) => match instance(picture) {
            Some(instance) => {
                let packets = instance.packets_per_s();
                // No more than it has room for: the rate is what AWS is taken to let through, not what was asked for.
                let wanted = capacity::queues_for(packets).map(|wanted| wanted.min(room));
                (wanted, format!("{} is taken to pass {packets} packets/s each way", instance.name))
            }
            None => (Some(even_below(room)), format!("No load was named, and {limit}")),
        },
    };
    let about = "workers";
    let Some(wanted) = wanted.filter(|wanted| *wanted > 0 && *wanted <= room) else {
        let takes = wanted.map_or_else(|| "more workers than a port spreads over".to_owned(), |w| count(w, "worker"));
        troubles.grave(
            about,
            format!(
                "{reason}, which takes {takes}, but {limit}: there is room for {room}. Ask for less, or take a larger machine; \
                 `tandem plan` says which."
            ),
        );
        return None;
    };
    let workers = match wish.workers {
        Some(_) => wanted,
        None => Some(wanted.next_power_of_two()).filter(|even| *even <= room).unwrap_or(wanted),
    };
    let by_rate = wish.workers.is_none() && (wish.load != Load::Any || instance(picture).is_some());
    let sized = if by_rate {
        format!("{reason}, for which {} of {QUEUE_PACKETS_PER_S} packets/s do", count(wanted, "queue"))
    } else {
        reason
    };
    let dealt = if RSS_ENTRIES.is_multiple_of(workers) {
        format!("the {RSS_ENTRIES} entries of the port's table are shared evenly")
    } else {
        format!("the {RSS_ENTRIES} entries of the port's table are not shared evenly, so some get one more")
    };
    choices.note(about, workers.to_string(), format!("{sized}; {dealt}."));
    Some(workers)
}

/// The largest power of two within.
fn even_below(room: u64) -> u64 {
    room.checked_ilog2().map_or(0, |bits| 1 << bits)
}

fn explain(seats: &Seats, kept: &Kept, node: u16, single: bool, choices: &mut Choices) {
    choices.note(
        "worker CPUs",
        seats.workers.iter().map(u16::to_string).collect::<Vec<_>>().join(", "),
        if single {
            "The second thread of the only core is all that there is.".to_owned()
        } else {
            format!("Each has a physical core of node {node} for itself, because it polls and never sleeps.")
        },
    );
    let shares = kept.housekeeping == Some(seats.slow);
    choices.note(
        "slow path",
        format!("CPU {}", seats.slow),
        if shares {
            "It shares the CPU of everything else, as there is no other.".to_owned()
        } else {
            format!(
                "It writes the tables that the workers read, so it is on their node, {node}, away from everything else."
            )
        },
    );
    choices.note(
        "pair thread",
        format!("CPU {}", seats.pair),
        if kept.apart {
            "Heartbeat and lease must not wait for the slow path, nor for anything else.".to_owned()
        } else {
            "It shares with everything else, as cores are few; it sleeps nearly all the time.".to_owned()
        },
    );
    choices.note(
        "housekeeping",
        named(&seats.housekeeping),
        "The kernel, its interrupts and every other program run here, and nowhere else.",
    );
    if !seats.idle.is_empty() {
        choices.note(
            "siblings",
            format!("{} idle", named(&seats.idle)),
            "A sibling that runs anything takes execution units and cache from tandem's thread on the same core.",
        );
    }
}
