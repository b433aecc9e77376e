//! The back-to-back user agent: joins leg A, on which we were called, and leg B, on which we call.
//!
//! Slow-path thread, no I/O. Each file is one part of a call's life and works on `Core` and one `Call`, which the
//! endpoint has taken out of its table for the time. Always: a call that has not ended owns at most one media session,
//! and one that has ended owns none; a leg's dialog is in the index exactly as long as the leg is not `Gone`.

pub mod ack;
pub mod attempt;
pub mod call;
pub mod headers;
pub mod media;
pub mod progress;
pub mod reinvite;
pub mod relay;
pub mod setup;
pub mod teardown;
pub mod unwanted;
pub mod view;

pub use call::Call;
pub use view::{CallDetail, CallSummary, LegDetail};
