//! A set of CPUs in the kernel's list notation (`0-3,8`). Read once at start, by the thread that checks the
//! configuration; the sets are small and sorted.

use std::{collections::BTreeSet, fmt, fs, io};

use nix::{sched, unistd::Pid};
use serde::{Serialize, Serializer};

use super::picture::UNIT_FILE;

/// CPU numbers, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuSet(BTreeSet<u16>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CpuListError {
    #[error("{0:?} is no CPU number or range")]
    Entry(String),
    #[error("the range {0}-{1} runs backwards")]
    Backwards(u16, u16),
}

#[derive(Debug, thiserror::Error)]
pub enum CpuReadError {
    #[error("/proc/self/status: {0}")]
    Read(#[from] io::Error),
    #[error("/proc/self/status: {0}")]
    List(#[from] CpuListError),
    #[error("/proc/self/status has no Cpus_allowed_list")]
    Absent,
}

impl CpuSet {
    /// The CPUs that this process may pin its threads to: the online ones less what a cpuset or `taskset` took away. The
    /// kernel lets nobody inherit its isolated CPUs (`isolcpus`), but lets everybody ask for them: they are in.
    pub fn allowed() -> Result<Self, CpuReadError> {
        let status = fs::read_to_string("/proc/self/status")?;
        let list =
            status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).ok_or(CpuReadError::Absent)?;
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let system = "/sys/devices/system/cpu";
        let (isolated, online) = (read(&format!("{system}/isolated")), read(&format!("{system}/online")));
        Ok(Self::may_pin(list, &isolated, &online, &read(UNIT_FILE))?)
    }

    /// What `tandem tune apply` writes into tandem's unit is for threads that are not pinned, and takes nothing away from the
    /// others: until the machine has started anew nothing is isolated yet.
    fn may_pin(inherited: &str, isolated: &str, online: &str, unit: &str) -> Result<Self, CpuListError> {
        let mut allowed = Self::parse(inherited)?;
        let own = unit.lines().find_map(|line| line.strip_prefix("CPUAffinity="));
        if own.is_some_and(|own| Self::parse(own).is_ok_and(|own| own == allowed)) {
            allowed.extend(&Self::parse(online)?);
        }
        allowed.extend(&Self::parse(isolated)?);
        Ok(allowed)
    }

    /// Reads the kernel's list notation, cpuset(7) "List format".
    pub fn parse(list: &str) -> Result<Self, CpuListError> {
        let mut set = BTreeSet::new();
        for entry in list.trim().split(',').filter(|entry| !entry.is_empty()) {
            let number = |text: &str| text.parse::<u16>().map_err(|_| CpuListError::Entry(entry.to_owned()));
            match entry.split_once('-') {
                None => {
                    set.insert(number(entry)?);
                }
                Some((first, last)) => {
                    let (first, last) = (number(first)?, number(last)?);
                    if first > last {
                        return Err(CpuListError::Backwards(first, last));
                    }
                    set.extend(first..=last);
                }
            }
        }
        Ok(CpuSet(set))
    }

    pub fn contains(&self, cpu: u16) -> bool {
        self.0.contains(&cpu)
    }

    pub fn insert(&mut self, cpu: u16) {
        self.0.insert(cpu);
    }

    /// Takes in all of `other`.
    pub fn extend(&mut self, other: &CpuSet) {
        self.0.extend(&other.0);
    }

    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().copied()
    }

    pub fn first(&self) -> Option<u16> {
        self.0.first().copied()
    }

    /// Those of `self` that are not in `other`.
    pub fn less(&self, other: &CpuSet) -> CpuSet {
        CpuSet(self.0.difference(&other.0).copied().collect())
    }

    /// Those in both.
    pub fn common(&self, other: &CpuSet) -> CpuSet {
        CpuSet(self.0.intersection(&other.0).copied().collect())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<u16> for CpuSet {
    fn from_iter<I: IntoIterator<Item = u16>>(cpus: I) -> Self {
        CpuSet(cpus.into_iter().collect())
    }
}

/// In the list notation.
impl Serialize for CpuSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cpus = self.0.iter().copied().peekable();
        let mut first_entry = true;
        while let Some(first) = cpus.next() {
            let mut last = first;
            while let Some(next) = cpus.next_if(|&next| next - last == 1) {
                last = next;
            }
            let comma = if first_entry { "" } else { "," };
            first_entry = false;
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

/// The calling thread runs on `cpu` from now on, and so do those that it starts. DPDK pins its own threads; this is for others.
pub fn pin(cpu: u16) -> io::Result<()> {
    let mut set = sched::CpuSet::new();
    set.set(usize::from(cpu))?;
    Ok(sched::sched_setaffinity(Pid::from_raw(0), &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of cpuset(7), "List format": "0-4,9           # bits 0, 1, 2, 3, 4, and 9 set".
    #[test]
    fn reads_the_kernels_list_notation() {
        let set = CpuSet::parse("\t0-4,9\n").unwrap();
        assert_eq!(set, [0, 1, 2, 3, 4, 9].into_iter().collect());
        assert_eq!(set.to_string(), "0-4,9");
        assert!(set.contains(9) && !set.contains(5));
    }

    #[test]
    fn refuses_what_is_no_list() {
        assert_eq!(CpuSet::parse("0-x"), Err(CpuListError::Entry("0-x".into())));
        assert_eq!(CpuSet::parse("3-1"), Err(CpuListError::Backwards(3, 1)));
        assert_eq!(CpuSet::parse("70000"), Err(CpuListError::Entry("70000".into())));
    }

    #[test]
    fn the_affinity_of_our_own_unit_is_no_limit() {
        let unit = "[Service]\nCPUAffinity=0-2\n";
        let may = |inherited, isolated, unit| CpuSet::may_pin(inherited, isolated, "0-3\n", unit).unwrap().to_string();
        assert_eq!(may("\t0-2\n", "\n", unit), "0-3", "applied, and not yet started anew");
        assert_eq!(may("0-2", "3\n", ""), "0-3", "isolated CPUs can be asked for");
        assert_eq!(may("0-1", "", unit), "0-1", "somebody else's limit");
        assert_eq!(may("0-2", "", ""), "0-2");
    }

    #[test]
    fn this_machine_has_a_cpu() {
        assert!(!CpuSet::allowed().unwrap().is_empty());
    }
}
