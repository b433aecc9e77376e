//! A machine brought into the state of its plan, and back: what has to change (`change`, pure), the doing of it with a record
//! to undo it by (`carry`, `journal`), whether all is as planned and what it costs where it is not (`verify`, pure), and
//! whether a core is alone (`stalls`).
//!
//! Runs in the short-lived process of `tandem tune`, and `verify`'s sentences at the start of `tandem run`. Always holds: the
//! interface that carries the way in is not touched; each change is told before it is made, and written down before as well;
//! what is as planned is left alone, so that a second run changes nothing.

pub mod carry;
pub mod change;
pub mod journal;
pub mod stalls;
pub mod verify;

#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    #[error("{path}: {source}")]
    File { path: String, source: std::io::Error },
    #[error("{path} is no journal of `tandem tune`, or one of a later version: {cause}")]
    Journal { path: String, cause: String },
    #[error("`{command}` failed: {cause}")]
    Command { command: String, cause: String },
}
