//! What the machine offers: the CPUs that this process may use, and a model of what EC2 instances carry. NUMA nodes,
//! hugepages and drivers come with the plan that applies them.

pub mod capacity;
pub mod cpus;

pub use cpus::CpuSet;

/// What checks need to know of the machine. A test writes its own.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// CPUs this process may run on; None where the kernel does not say.
    pub cpus: Option<CpuSet>,
}

impl Host {
    /// Reads `/proc`. What cannot be read stays unknown, and what is unknown is not checked.
    pub fn read() -> Self {
        Host { cpus: CpuSet::allowed().ok() }
    }
}
