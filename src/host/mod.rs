//! The machine: what it is made of (`picture`), what tandem would do with it (`plan`), how it is brought there and checked
//! (`tune`), and a model of what EC2 instances carry (`capacity`).

pub mod capacity;
pub mod cpus;
pub mod picture;
pub mod plan;
pub mod settle;
pub mod tune;

pub use cpus::CpuSet;
pub use settle::{SettleError, settle};

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
