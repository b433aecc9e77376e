//! The back-to-back user agent: joins leg A, on which we were called, and leg B, on which we call.
//!
//! Slow-path thread, no I/O. Each file is one part of a call's life and works on `Core` and one `Call`, which the
//! endpoint has taken out of its table for the time. What each leg settles with its peer alone, and what crosses:
//!
//! | | |
//! |---|---|
//! | offers and answers | cross, rewritten, whatever carries them: INVITE, reliable 18x, PRACK, UPDATE, 2xx, ACK. An UPDATE goes on as UPDATE, or in an answered call as re-INVITE; an offer in a PRACK as PRACK or UPDATE; a re-INVITE as re-INVITE (`reinvite`, `update`) |
//! | one negotiation at a time | each leg answers glare itself: 491 and 500 by RFC 3261 §14 and RFC 3311 §5.2; a collision on the far leg passes on as its 491 |
//! | session timers, RFC 4028 | each leg alone, with its own interval, roles and 422 (`session_timer`, `refresh`). A refresh that changes nothing (UPDATE without a description, re-INVITE with the one in force) is answered here |
//! | Contact | each leg alone: a target refresh moves that peer |
//! | reliability of provisional responses, RFC 3262 | each leg alone, with its own RSeq and repetitions (`reliable`, `prack`); but leg B's PRACK for a description waits for the caller's, since that may carry an answer or an offer, and so does the 2xx (§3) |
//! | forks of leg B | early dialogs of their own on leg B (`leg`), one early dialog towards the caller: its media follows the fork that sent a description last, the first 2xx wins, later ones are acknowledged and hung up |
//! | INFO, MESSAGE | cross with their bodies (`relay`) |
//! | REFER, Replaces | a leg's place is taken by another call's, or the request crosses (`transfer`) |
//! | BYE, CANCEL | end both legs (`teardown`) |
//!
//! Always: a call that has not ended owns at most one media session,
//! and one that has ended owns none; a leg's dialog is in the index exactly as long as the leg is not `Gone`.

pub mod accept;
pub mod ack;
pub mod attempt;
pub mod call;
pub mod headers;
pub mod hiding;
pub mod identity;
pub mod leg;
pub mod media;
pub mod prack;
pub mod progress;
pub mod refresh;
pub mod reinvite;
pub mod relay;
pub mod reliable;
pub mod session_timer;
pub mod setup;
pub mod teardown;
pub mod transfer;
pub mod unwanted;
pub mod update;
pub mod view;

pub use call::Call;
pub use view::{CallDetail, CallSummary, LegDetail};
