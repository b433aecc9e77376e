//! Call control: opens, changes and closes media sessions. One interface, `MediaControl`, for everyone above it: SIP is
//! its first user, `ng` and WebRTC come later. Nothing above it knows that a worker exists.
//!
//! A session joins side A (who called) and side B (who was called). Each side has a local RTP and RTCP address that
//! tandem allots, and a remote that its SDP names. What arrives at a side's local address leaves from the other
//! side's local address to the other side's remote.

pub mod compile;
pub mod engine;
mod figures;
pub mod format;
mod media;
pub mod neighbours;
mod ports;
pub mod saved;
pub mod session;
#[cfg(test)]
pub(crate) mod tests;

pub use format::{Encoding, Format};
pub use saved::{MediaChanges, SavedMedia};
pub use session::{
    Direction, LegMedia, LegReport, Local, Manner, OpenError, OpenRequest, Phase, Session, SessionReport, StreamReport,
};

use crate::base::{
    Time,
    ids::{SessionId, Side},
};

pub trait MediaControl {
    /// Allots an RTP/RTCP port pair on each side. Nothing is admitted until `update` names remotes on both sides.
    fn open(&mut self, now: Time, request: &OpenRequest) -> Result<Session, OpenError>;

    /// Tells what one side's session description says. Calling it again with the same `LegMedia` changes nothing; a
    /// remote that differs from the last one opens that side's latching window once.
    fn update(&mut self, now: Time, id: SessionId, side: Side, media: &LegMedia);

    /// Early media (bounded by the ring time-out) or confirmed (the latching window starts to run out).
    fn phase(&mut self, now: Time, id: SessionId, phase: Phase);

    /// How one side's media is treated beside what its description says; until this is called, as `Manner::default()` says.
    /// The same again changes nothing.
    fn treat(&mut self, now: Time, id: SessionId, side: Side, manner: Manner);

    /// Two sides of two sessions change places, with their ports, their remotes and their figures: whom the one side talked
    /// to, the other now talks to. Neither peer sees another address of ours.
    fn exchange(&mut self, now: Time, one: (SessionId, Side), other: (SessionId, Side));

    /// Ends the session: flows stop at once, ports rest, the final figures are returned.
    fn close(&mut self, now: Time, id: SessionId) -> Option<SessionReport>;

    /// The figures so far.
    fn report(&self, id: SessionId) -> Option<SessionReport>;
}
