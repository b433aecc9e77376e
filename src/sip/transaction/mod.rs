//! SIP transactions: RFC 3261 §17 with RFC 6026, as machines without I/O.
//!
//! Slow-path thread. The four machines know states and timers and answer each input with a `Step`; `table` knows the
//! messages, finds the transaction a message belongs to and does what the step says. Everything can be saved.

pub mod client;
pub mod client_invite;
pub mod key;
pub mod server;
pub mod server_invite;
pub mod table;
#[cfg(test)]
mod tests;
mod timing;

pub use key::{ClientKey, MergeKey, ServerKey};
pub use table::{ClientId, Expired, ServerId, Transactions, Transmission};
pub use timing::Timing;

/// What is to be transmitted, from the bytes that the table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transmit {
    Nothing,
    /// The request again.
    Request,
    /// The ACK for the non-2xx response that just came.
    Ack,
    /// The last response given.
    Response,
}

/// What the user of the transaction is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Up {
    /// The response just received.
    Response,
    /// An ACK for the 2xx that the user sent.
    Ack,
    /// Timer B or F: no response; timer H: no ACK.
    Timeout,
    TransportFailed,
}

/// What an input leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub transmit: Transmit,
    pub up: Option<Up>,
}

impl Step {
    pub const NOTHING: Step = Step { transmit: Transmit::Nothing, up: None };

    const fn up(up: Up) -> Step {
        Step { transmit: Transmit::Nothing, up: Some(up) }
    }

    const fn transmit(transmit: Transmit) -> Step {
        Step { transmit, up: None }
    }
}
