//! What every room shares: time, identifiers and limits. Nothing here does I/O except `clock`.

pub mod clock;
#[cfg(test)]
#[cfg(not(tandem_loom))]
pub mod counting;
pub mod ids;
pub mod limits;
pub mod marks;
pub mod pack;

pub use clock::Time;
