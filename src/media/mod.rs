//! Machines of one stream: sequence and loss, jitter, latching. Pure: numbers in, decisions out. `sequence` and `jitter`
//! run on the workers inside a state line; `latching` on the slow path.

pub mod jitter;
pub mod latching;
pub mod sequence;
