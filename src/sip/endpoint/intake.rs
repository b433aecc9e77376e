//! Datagrams on their way in: what is in dialogs first, new calls as far as there is time for them. Slow-path thread.
//!
//! A datagram gets a glance before it is read. What belongs to a call in progress is read and dealt with at once; an INVITE
//! that opens a call waits, and is taken when everything else was. While the slow path is late, part of the new calls is
//! refused at the glance (RFC 3261 §21.5.4: 503 with Retry-After), without state and without being read.
//!
//! Always holds: what waits is bounded in number and bytes, and nothing waits longer than `Overload::too_old`.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;

use super::{Core, Endpoint};
use crate::{
    base::{
        Time,
        limits::{SIP_OFFERS_BYTES, SIP_OFFERS_WAITING},
    },
    config::UnknownCaller,
    control::MediaControl,
    sip::{
        flow::{Flow, Path},
        message::{Message, Via},
        overload::glance::{Glance, Offer, glance},
        transaction::{ServerKey, table::Label},
    },
};

/// New calls that wait to be read, in the order in which they came. Not saved: callers repeat themselves.
#[derive(Debug, Default)]
pub struct Waiting {
    queue: VecDeque<(Time, Flow, Bytes)>,
    bytes: usize,
}

impl Waiting {
    fn push(&mut self, now: Time, flow: Flow, bytes: Bytes) {
        self.bytes += bytes.len();
        self.queue.push_back((now, flow, bytes));
    }

    fn pop(&mut self) -> Option<(Time, Flow, Bytes)> {
        let first = self.queue.pop_front()?;
        self.bytes -= first.2.len();
        Some(first)
    }

    fn full(&self) -> bool {
        self.queue.len() >= SIP_OFFERS_WAITING || self.bytes >= SIP_OFFERS_BYTES
    }
}

impl Endpoint {
    /// A datagram arrived. New calls wait for `take_offer`; all else is dealt with.
    pub fn datagram(&mut self, now: Time, flow: Flow, bytes: Bytes, media: &mut dyn MediaControl) {
        match glance(&bytes) {
            Glance::Offer(offer) => {
                let Some(refused) = self.core.refuses(&offer, &flow, self.waiting.full()) else {
                    self.waiting.push(now, flow, bytes);
                    return;
                };
                if refused {
                    self.core.flush();
                }
            }
            // RFC 3261 §17.1.1.3: for a refusal that left no state, it means nothing.
            Glance::Ack { tag } if tag == self.core.shed_tag => {}
            // It must not overtake the INVITE that it cancels.
            Glance::Cancel if !self.waiting.queue.is_empty() => self.waiting.push(now, flow, bytes),
            _ => self.receive(now, flow, Message::parse(&bytes), media),
        }
    }

    /// New calls that wait.
    pub fn offers_waiting(&self) -> usize {
        self.waiting.queue.len()
    }

    /// How long the first of them has waited.
    pub fn offer_waited(&self, now: Time) -> Duration {
        self.waiting.queue.front().map_or(Duration::ZERO, |(came, ..)| now.since(*came))
    }

    /// Takes the new call that has waited longest. False: none waits.
    pub fn take_offer(&mut self, now: Time, media: &mut dyn MediaControl) -> bool {
        let Some((came, flow, bytes)) = self.waiting.pop() else { return false };
        if self.core.overload.too_old(now.since(came))
            && let Glance::Offer(offer) = glance(&bytes)
            && self.core.refuses(&offer, &flow, true).is_some()
        {
            self.core.flush();
            return true;
        }
        self.receive(now, flow, Message::parse(&bytes), media);
        true
    }

    /// How late the slow path is: what has waited longest, a message or a timer, but for the new calls that wait here.
    pub fn note_lateness(&mut self, now: Time, late: Duration) {
        let late = late.max(self.offer_waited(now));
        self.core.overload.note(now, late);
    }

    /// Of the new calls, what is taken: 1 is all.
    pub fn admitted_share(&self) -> f64 {
        self.core.overload.share()
    }
}

impl Core {
    /// Refuses a new call, if it is to be. None: it is to be taken. Some(false): it was dropped in silence.
    fn refuses(&mut self, offer: &Offer<'_>, flow: &Flow, full: bool) -> Option<bool> {
        if !full && !self.overload.sheds() {
            return None;
        }
        // What cannot be answered from what was seen is read after all.
        let via = offer.via()?;
        // The repetition of an INVITE whose call has begun is none of a new call.
        if ServerKey::of_invite(&via).is_some_and(|key| self.live.tx.server_of(&key).is_some()) {
            return if full { Some(false) } else { None };
        }
        let stranger = self.trunk_of(flow).is_none();
        if stranger {
            self.counters.unknown_callers += 1;
            if self.config.sip.unknown_caller == UnknownCaller::Silent {
                return Some(false);
            }
        } else if !full && self.overload.admits() {
            return None;
        } else {
            self.counters.shed += 1;
        }
        let status = if stranger { 403 } else { 503 };
        self.answer_offer(offer, &via, flow, status)
    }

    fn answer_offer(&mut self, offer: &Offer<'_>, via: &Via, flow: &Flow, status: u16) -> Option<bool> {
        let retry = match status {
            503 => format!("Retry-After: {}\r\n", self.config.sip.overload.retry_after_s),
            _ => String::new(),
        };
        let extra = format!("{retry}Server: {}\r\n", self.product);
        let bytes = offer.answer(status, via, flow, &self.shed_tag, &extra)?;
        let path: Path = super::receive::reply_path(flow, via);
        *self.counters.requests_in.entry("INVITE").or_default() += 1;
        self.live.tx.transmit(&path, bytes.into(), Label::Response(status), false);
        Some(true)
    }
}
