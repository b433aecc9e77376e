//! What the endpoint counts. Slow-path thread, one writer; read at scrape. Labels are closed sets: nothing that a peer
//! writes becomes one. Counters begin anew in each process and are not part of the saved state.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::record::Cause;
use crate::sip::message::{MalformedKind, Method};

/// Upper bounds of the set-up time buckets, in milliseconds; one more bucket holds the rest.
pub const SETUP_BOUNDS_MS: [u64; 12] = [20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 60_000, 120_000];

/// How long something took, in buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// By `SETUP_BOUNDS_MS`; not cumulative.
    pub buckets: [u64; SETUP_BOUNDS_MS.len() + 1],
    pub count: u64,
    pub sum_ms: u64,
}

impl Durations {
    pub fn note(&mut self, took: Duration) {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let at = SETUP_BOUNDS_MS.iter().position(|bound| ms <= *bound).unwrap_or(SETUP_BOUNDS_MS.len());
        if let Some(bucket) = self.buckets.get_mut(at) {
            *bucket += 1;
        }
        self.count += 1;
        self.sum_ms = self.sum_ms.saturating_add(ms);
    }
}

#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// INVITEs outside a dialog from a trunk.
    pub calls: u64,
    pub answered: u64,
    /// Calls that ended, or were refused, by cause.
    pub ended: BTreeMap<Cause, u64>,
    /// Requests from sources that are no trunk's.
    pub unknown_callers: u64,
    /// Requests outside a dialog that found the transaction table full.
    pub overload: u64,
    /// New calls refused because the slow path was late.
    pub shed: u64,
    /// INVITE to 200, of answered calls.
    pub setup: Durations,
    /// INVITE to the first 180 or 183.
    pub ringing: Durations,
    pub requests_in: BTreeMap<&'static str, u64>,
    pub requests_out: BTreeMap<&'static str, u64>,
    pub responses_in: BTreeMap<u16, u64>,
    pub responses_out: BTreeMap<u16, u64>,
    /// Repetitions that tandem sent; also within `requests_out` and `responses_out`.
    pub retransmissions_out: u64,
    /// Repetitions of requests that arrived; also within `requests_in`.
    pub retransmissions_in: u64,
    /// Responses that belong to no transaction, ACKs that belong to no dialog.
    pub strays: u64,
    pub malformed: HashMap<MalformedKind, u64>,
    /// Reports of the event loop that a flow failed.
    pub transport_failures: u64,
}

impl Counters {
    pub fn ended(&self, cause: Cause) -> u64 {
        self.ended.get(&cause).copied().unwrap_or(0)
    }
}

/// A method as a label: what tandem does not know is `other`.
pub fn method_label(method: &Method) -> &'static str {
    match method {
        Method::Invite => "INVITE",
        Method::Ack => "ACK",
        Method::Bye => "BYE",
        Method::Cancel => "CANCEL",
        Method::Options => "OPTIONS",
        Method::Info => "INFO",
        Method::Register => "REGISTER",
        Method::Prack => "PRACK",
        Method::Update => "UPDATE",
        Method::Refer => "REFER",
        Method::Subscribe => "SUBSCRIBE",
        Method::Notify => "NOTIFY",
        Method::Message => "MESSAGE",
        Method::Publish => "PUBLISH",
        Method::Other(_) => "other",
    }
}
