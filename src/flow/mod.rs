//! Where the fast path and the slow path meet. `fast` and `control` know each other only through what lies here: plans
//! that the slow path compiles and workers execute, the state lines that workers write and the slow path reads,
//! events from workers, verdicts and the counters that keep them.
//!
//! Who writes what:
//! - slots, plans, next hops: the slow path alone, through [`table::Publisher`]; workers only read.
//! - a state line: the worker that claimed it, nobody else; it lives exactly as long as one version of a plan.
//! - counters: one block per worker, written by that worker alone; readers sum.
//!
//! All of it is relaxed atomics in shared memory, so that a reader that comes at a bad moment sees an old figure and
//! never a torn plan: a plan is reached only through a slot that was stored with release, and is overwritten only after
//! every worker has passed a burst boundary (`quiesce`).

pub mod counters;
pub mod event;
pub mod lease;
pub mod memory;
#[cfg(test)]
#[cfg(tandem_loom)]
mod models;
pub mod nexthop;
pub mod plan;
pub mod quiesce;
pub mod state;
pub mod sync;
pub mod table;
pub mod verdict;

pub use plan::{Plan, PtOp, PtRule};
pub use table::{FlowClass, FlowTable, Publisher};
pub use verdict::{DropReason, PuntClass, Verdict};
