//! Processor time of a process's threads, and how long each stood in line for a core. Any thread; reads /proc.
//!
//! From the kernel's own account of every switch (Documentation/scheduler/sched-stats: a thread's schedstat is
//! nanoseconds on a core, nanoseconds in line for one, and slices), so it sees what a clock cannot: somebody else on the
//! core. What the hypervisor takes away is in neither of the two, so it shows as time that passed without a thread that
//! never sleeps.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::bpf::settle;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub ran: Duration,
    pub waited: Duration,
}

/// What a thread did between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spell {
    pub usage: Usage,
    pub passed: Duration,
}

impl Spell {
    /// For how long a thread that never sleeps was kept from its core, by whomever.
    pub fn away(&self) -> Duration {
        self.passed.saturating_sub(self.usage.ran)
    }
}

/// By thread, with the time of the look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Threads(BTreeMap<u32, (Instant, Usage)>);

impl Threads {
    /// `preferred`: those that came first on their core by `bpf::prefer`; their accounts are exact. A running thread's
    /// account may be a tick old otherwise.
    pub fn of(pid: u32, preferred: &[u32]) -> Result<Self> {
        let mut threads = BTreeMap::new();
        for task in tasks(pid)? {
            // It may have ended meanwhile.
            if preferred.contains(&task) && settle(task).is_err() {
                continue;
            }
            let at = Instant::now();
            if let Ok(text) = fs::read_to_string(format!("/proc/{pid}/task/{task}/schedstat")) {
                threads.insert(task, (at, parse(&text)?));
            }
        }
        Ok(Threads(threads))
    }

    pub fn one(&self, thread: u32) -> Option<Usage> {
        self.0.get(&thread).map(|(_, usage)| *usage)
    }

    /// Of all of them so far.
    pub fn ran(&self) -> Duration {
        self.0.values().map(|(_, usage)| usage.ran).sum()
    }

    /// Of threads that were there before.
    fn since<'a>(&'a self, before: &'a Threads) -> impl Iterator<Item = Spell> + 'a {
        self.0.iter().filter_map(|(thread, (at, now))| {
            let (began, then) = before.0.get(thread)?;
            let (ran, waited) = (now.ran.saturating_sub(then.ran), now.waited.saturating_sub(then.waited));
            Some(Spell { usage: Usage { ran, waited }, passed: at.saturating_duration_since(*began) })
        })
    }

    /// Of the thread that has run most since: the one that forwards.
    pub fn busiest_since(&self, before: &Threads) -> Spell {
        self.since(before).max_by_key(|spell| spell.usage.ran).unwrap_or_default()
    }

    pub fn ran_since(&self, before: &Threads) -> Duration {
        self.since(before).map(|spell| spell.usage.ran).sum()
    }
}

pub fn of_this_thread() -> Result<Usage> {
    parse(&fs::read_to_string("/proc/thread-self/schedstat").context("the kernel keeps no account of its threads")?)
}

/// The threads of a process that may run on this CPU only.
pub fn threads_on(pid: u32, cpu: usize) -> Result<Vec<u32>> {
    let allowed = format!("Cpus_allowed_list:\t{cpu}");
    let on = |task: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/task/{task}/status")).unwrap_or_default();
        status.lines().any(|line| line.trim_end() == allowed)
    };
    Ok(tasks(pid)?.into_iter().filter(on).collect())
}

fn tasks(pid: u32) -> Result<Vec<u32>> {
    let folder = format!("/proc/{pid}/task");
    let entries = fs::read_dir(Path::new(&folder)).with_context(|| format!("no {folder}"))?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

fn parse(text: &str) -> Result<Usage> {
    let mut words = text.split_whitespace().map(|word| word.parse().map(Duration::from_nanos));
    match (words.next(), words.next()) {
        (Some(Ok(ran)), Some(Ok(waited))) => Ok(Usage { ran, waited }),
        _ => anyhow::bail!("{text:?} is no schedstat"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(ran: u64, waited: u64) -> Usage {
        Usage { ran: Duration::from_nanos(ran), waited: Duration::from_nanos(waited) }
    }

    #[test]
    fn the_busiest_thread_is_the_one_that_ran_most_meanwhile() {
        let (then, passed) = (Instant::now(), Duration::from_nanos(100));
        let now = then + passed;
        let before = Threads([(1, (then, usage(900, 500))), (2, (then, usage(10, 3)))].into());
        let after = Threads([(1, (now, usage(910, 900))), (2, (now, usage(90, 5))), (3, (now, usage(7, 0)))].into());
        let busiest = after.busiest_since(&before);
        assert_eq!(busiest, Spell { usage: usage(80, 2), passed });
        assert_eq!(busiest.away(), Duration::from_nanos(20), "2 in line, 18 that the hypervisor took");
        assert_eq!(after.ran_since(&before), Duration::from_nanos(10 + 80));
    }

    #[test]
    fn schedstat_is_read() {
        assert_eq!(parse("123 45 6\n").expect("three numbers"), usage(123, 45));
        assert!(parse("").is_err() && parse("12 x").is_err());
        assert!(of_this_thread().is_ok());
    }
}
