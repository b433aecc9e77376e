//! The SIP endpoint: takes messages, failures and the time, returns messages to send, records and log lines.
//!
//! Slow-path thread. It reads no clock, owns no socket and starts no thread; another host can be told its whole state and
//! what changes of it (`journal`), and go on with it (`save`). A caller feeds it and then empties `poll_output`; it calls `tick` when `next_deadline` comes.

mod clock;
mod core;
mod counters;
mod credentials;
mod deferred;
mod intake;
mod journal;
mod output;
mod protect;
mod random;
mod receive;
mod record;
mod save;
mod send;
#[cfg(test)]
pub(crate) mod tests;

use std::{collections::HashMap, sync::Arc};

pub use self::{
    clock::Clock,
    core::{CallId, Core, Errand, Turn, Unwanted, Use},
    counters::{Counters, Durations, SETUP_BOUNDS_MS, method_label},
    journal::{Changes, Key, Shadow},
    output::{Level, Note, Output},
    protect::BanSummary,
    random::{Random, Seed},
    record::{AttemptRecord, CallRecord, Cause, EndedBy, TransferKind, TransferRecord},
    send::{ALLOW, Refusal, SDP},
};
use super::{
    b2bua::{
        Call, CallDetail, CallSummary, ack, attempt,
        call::Phase,
        refresh, reinvite, relay, reliable,
        teardown::{self, Ending},
        transfer, unwanted,
    },
    flow::{Flow, Local},
    message::{Malformed, Message},
    names::{Answer, Query},
    outside, register,
    transaction::{ClientId, Expired, ServerId, table::Matched},
    trunk::{TrunkView, count, probe},
};
use crate::{
    base::{
        Time,
        ids::{SessionId, Side},
    },
    config::Config,
    control::MediaControl,
};

pub struct Endpoint {
    core: Core,
    calls: HashMap<CallId, Box<Call>>,
    waiting: intake::Waiting,
    journal: journal::Journal,
}

impl Endpoint {
    /// `seed` must not be guessable; `epoch_ms` is the wall time at `now`, in milliseconds since 1970.
    pub fn new(config: Arc<Config>, seed: Seed, now: Time, epoch_ms: u64) -> Self {
        Endpoint::with(Core::new(config, seed, Clock::new(now, now, epoch_ms)))
    }

    fn with(core: Core) -> Self {
        Endpoint {
            core,
            calls: HashMap::new(),
            waiting: intake::Waiting::default(),
            journal: journal::Journal::default(),
        }
    }

    /// The listeners that it expects; `ListenerId` is an index into them.
    pub fn locals(&self) -> &[Local] {
        &self.core.locals
    }

    /// The wall clock now shows `epoch_ms`; records follow it.
    pub fn set_wall(&mut self, now: Time, epoch_ms: u64) {
        self.core.clock.set_wall(now, epoch_ms);
    }

    /// A message arrived.
    pub fn receive(
        &mut self,
        now: Time,
        flow: Flow,
        message: Result<Message, Malformed>,
        media: &mut dyn MediaControl,
    ) {
        let mut turn = self.turn(now, media);
        if !self.lets_in(turn.now, &flow, &message) {
            return;
        }
        let before = self.refused_so_far();
        match message {
            Ok(message) if message.is_request() => self.request(&mut turn, flow, message),
            Ok(message) => self.response(&mut turn, flow, &message),
            Err(malformed) => self.malformed(flow, &malformed),
        }
        self.note_offence(turn.now, &flow, before);
        self.settle(&mut turn);
    }

    /// Nothing could be sent on `flow`, or its connection closed. `flow` is that of the `Output::Send` that failed; for
    /// a connection that closed, the one that its messages arrived with.
    pub fn transport_failed(&mut self, now: Time, flow: Flow, media: &mut dyn MediaControl) {
        let mut turn = self.turn(now, media);
        self.core.counters.transport_failures += 1;
        for client in self.core.live.tx.transport_failed(&flow) {
            self.unanswered(&mut turn, client, true);
        }
        self.settle(&mut turn);
    }

    /// Call control found a session without media for too long.
    pub fn media_timeout(&mut self, now: Time, session: SessionId, media: &mut dyn MediaControl) {
        let mut turn = self.turn(now, media);
        if let Some(&id) = self.core.live.sessions.get(&session) {
            let ending = Ending::tandem(Cause::MediaTimeout, 480).with_reason("SIP;cause=408;text=\"Media timeout\"");
            self.with_call(id, |core, call| teardown::end(core, &mut turn, call, ending));
        }
        self.settle(&mut turn);
    }

    /// The DNS answered an `Output::Resolve`.
    pub fn resolved(&mut self, now: Time, query: &Query, answer: &Answer) {
        let now = self.core.clock.inside(now);
        let (questions, news) = self.core.names.answered(now, query, answer);
        self.core.out.extend(questions.into_iter().map(Output::Resolve));
        news.into_iter().for_each(|news| self.core.tell(news));
    }

    /// Lets everything that is due happen.
    pub fn tick(&mut self, now: Time, media: &mut dyn MediaControl) {
        let mut turn = self.turn(now, media);
        while let Some(expired) = self.core.live.tx.fire(turn.now) {
            match expired {
                Expired::Client(id) => self.unanswered(&mut turn, id, false),
                // Timer H: the caller who was refused never acknowledged. Nothing is left to do.
                Expired::Server(_) => {}
            }
        }
        while let Some(id) = self.core.live.call_deadlines.pop_due(turn.now) {
            self.with_call(id, |core, call| fire(core, &mut turn, call));
        }
        while let Some(client) = self.core.live.unwanted.pop_due(turn.now) {
            unwanted::expired(&mut self.core, client);
        }
        self.core.live.subscriptions.fire(turn.now);
        let questions = self.core.names.fire(turn.now);
        self.core.out.extend(questions.into_iter().map(Output::Resolve));
        probe::fire(&mut self.core, turn.now);
        register::fire(&mut self.core, turn.now);
        if self.core.live.drain.is_some_and(|at| at <= turn.now) {
            self.end_all(&mut turn);
        }
        self.settle(&mut turn);
    }

    /// When `tick` must be called next; on the caller's clock.
    pub fn next_deadline(&self) -> Option<Time> {
        let live = &self.core.live;
        let drain = live.drain.filter(|_| live.active > 0);
        let next = [
            live.tx.next_deadline(),
            live.call_deadlines.next(),
            live.unwanted.next(),
            live.trunks.next_deadline(),
            live.registrations.next_deadline(),
            live.subscriptions.next_deadline(),
            self.core.names.next_deadline(),
            drain,
        ]
        .into_iter()
        .flatten()
        .min();
        next.map(|at| self.core.clock.outside(at))
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.core.out.pop_front()
    }

    /// No call is accepted any more; those in progress may go on until `deadline`.
    pub fn drain(&mut self, now: Time, deadline: Time, media: &mut dyn MediaControl) {
        self.core.live.drain = Some(self.core.clock.inside(deadline));
        self.core.live.trunks.stop_probes();
        self.core.names.stop();
        let (now_inside, until) = (self.core.clock.inside(now), self.core.clock.inside(deadline));
        register::leave(&mut self.core, now_inside, until);
        self.tick(now, media);
    }

    /// Every call has ended, every BYE was answered or given up, and tandem is registered nowhere any more.
    pub fn is_drained(&self) -> bool {
        let live = &self.core.live;
        live.drain.is_some() && self.calls.is_empty() && live.registrations.are_over()
    }

    /// Calls that have not ended.
    pub fn calls(&self) -> impl Iterator<Item = CallSummary> {
        let live = self.calls.values().filter(|call| call.phase != Phase::Ended);
        live.map(|call| CallSummary::of(&self.core, call))
    }

    pub fn call(&self, id: CallId) -> Option<CallDetail> {
        let call = self.calls.get(&id).filter(|call| call.phase != Phase::Ended)?;
        Some(CallDetail::of(&self.core, call))
    }

    /// The operator ends a call. False: there is none of that id.
    pub fn hang_up(&mut self, now: Time, id: CallId, media: &mut dyn MediaControl) -> bool {
        let mut turn = self.turn(now, media);
        let found = self.calls.get(&id).is_some_and(|call| call.phase != Phase::Ended);
        let ending = Ending { by: EndedBy::Operator, ..Ending::tandem(Cause::Operator, 480) };
        self.with_call(id, |core, call| teardown::end(core, &mut turn, call, ending));
        self.settle(&mut turn);
        found
    }

    pub fn counters(&self) -> &Counters {
        &self.core.counters
    }

    /// The trunks with their calls, limits and destinations, as configured.
    pub fn trunks(&self, now: Time) -> Vec<TrunkView> {
        TrunkView::all(&self.core, self.core.clock.inside(now))
    }

    /// Calls that have not ended.
    pub fn in_progress(&self) -> usize {
        usize::try_from(self.core.live.active).unwrap_or(usize::MAX)
    }

    /// Client transactions, server transactions and dialogs in the tables.
    pub fn table_sizes(&self) -> (usize, usize, usize) {
        let live = &self.core.live;
        (live.tx.clients(), live.tx.servers(), live.dialogs.len() + live.subscriptions.dialogs())
    }

    fn turn<'a>(&self, now: Time, media: &'a mut dyn MediaControl) -> Turn<'a> {
        Turn { now: self.core.clock.inside(now), outside: now, media }
    }

    /// Lends one call to `act`, and puts it back with its deadline, or forgets it if it is finished.
    fn with_call<R>(&mut self, id: CallId, act: impl FnOnce(&mut Core, &mut Call) -> R) -> Option<R> {
        let mut call = self.calls.remove(&id)?;
        let result = act(&mut self.core, &mut call);
        self.keep(call);
        Some(result)
    }

    fn keep(&mut self, mut call: Box<Call>) {
        count::note(&mut self.core.live.trunks, &mut call);
        self.journal.note(call.id);
        if call.finished() {
            self.core.live.call_deadlines.set(call.id, None);
        } else {
            self.core.live.call_deadlines.set(call.id, call.next_deadline());
            self.calls.insert(call.id, call);
        }
    }

    fn settle(&mut self, turn: &mut Turn<'_>) {
        self.run_deferred(turn);
        self.core.live.tx.sweep();
        self.core.flush();
    }

    fn end_all(&mut self, turn: &mut Turn<'_>) {
        let live = self.calls.values().filter(|call| call.phase != Phase::Ended);
        let ids: Vec<CallId> = live.map(|call| call.id).collect();
        for id in ids {
            let ending = Ending::tandem(Cause::Drained, 503);
            self.with_call(id, |core, call| teardown::end(core, turn, call, ending));
        }
    }

    /// A response that belongs to a transaction of ours, or to none.
    fn response(&mut self, turn: &mut Turn<'_>, flow: Flow, response: &Message) {
        *self.core.counters.responses_in.entry(response.status().unwrap_or(0)).or_default() += 1;
        match self.core.live.tx.response(turn.now, response) {
            Matched::Stray => self.core.counters.strays += 1,
            Matched::Absorbed => {}
            // A challenge that is answered is no response yet to who sent the request.
            Matched::Tell(client) if self.answers_challenge(turn, client, response) => {}
            Matched::Tell(client) => self.answered(turn, client, response, flow),
        }
    }

    fn answered(&mut self, turn: &mut Turn<'_>, client: ClientId, response: &Message, flow: Flow) {
        let Some(purpose) = self.core.live.tx.client(client).map(|entry| entry.user.purpose.clone()) else { return };
        let last = response.status().is_some_and(|s| s >= 200);
        match purpose {
            Use::Setup { call, .. } => {
                let known = self.with_call(call, |core, call| {
                    super::b2bua::progress::response(core, turn, call, client, response, flow);
                });
                if known.is_none() && last {
                    unwanted::response(&mut self.core, turn.now, client, response, flow);
                }
            }
            Use::Reinvite { call, .. } => {
                self.with_call(call, |core, call| reinvite::response(core, turn, call, client, response, flow));
            }
            Use::Refresh { call, to } => {
                self.with_call(call, |core, call| refresh::response(core, turn, call, to, client, response, flow));
            }
            Use::Unwanted(_) => unwanted::response(&mut self.core, turn.now, client, response, flow),
            Use::Bye { call, to } if last => {
                self.with_call(call, |core, call| teardown::bye_done(core, call, to));
            }
            Use::Relay { call, answer, .. } => {
                relay::response(&mut self.core, turn, answer, response);
                self.with_call(call, |core, call| relay::lost(core, turn, call, response));
            }
            Use::Probe { trunk, uri } => {
                probe::answered(&mut self.core, turn.now, client, &trunk, &uri, response);
            }
            Use::Register { trunk } => register::answered(&mut self.core, turn.now, client, &trunk, response),
            Use::Notify { call, target } if response.status().is_some_and(|status| status >= 300) => {
                self.with_call(call, |_, call| transfer::notify_refused(call, target));
            }
            Use::Outside(passing) => outside::response(&mut self.core, turn, *passing, response, flow),
            Use::Subscribed { id, to, answer, ends } => {
                outside::answered(&mut self.core, turn, (id, to), answer, ends, response, flow);
            }
            Use::Bye { .. } | Use::Notify { .. } | Use::Alone => {}
        }
    }

    /// No response came (`transport` false), or the request could not be delivered.
    fn unanswered(&mut self, turn: &mut Turn<'_>, client: ClientId, transport: bool) {
        let Some(purpose) = self.core.live.tx.client(client).map(|entry| entry.user.purpose.clone()) else { return };
        match purpose {
            Use::Setup { call, .. } => {
                self.with_call(call, |core, call| {
                    if call.attempt.as_ref().is_some_and(|attempt| attempt.client == client) {
                        attempt::unanswered(core, turn, call, transport);
                    }
                });
            }
            Use::Reinvite { call, .. } => {
                self.with_call(call, |core, call| reinvite::unanswered(core, turn, call, client, transport));
            }
            Use::Refresh { call, to } => {
                self.with_call(call, |core, call| refresh::unanswered(core, turn, call, to, client, transport));
            }
            Use::Bye { call, to } => {
                self.with_call(call, |core, call| teardown::bye_done(core, call, to));
            }
            Use::Notify { call, target } => {
                self.with_call(call, |_, call| transfer::notify_refused(call, target));
            }
            Use::Outside(passing) => outside::lost(&mut self.core, turn, *passing, transport),
            Use::Subscribed { id, answer, .. } => {
                outside::unanswered(&mut self.core, turn, id, answer, transport);
            }
            Use::Relay { answer, .. } => self.core.answer(turn.now, answer, if transport { 503 } else { 408 }),
            Use::Unwanted(_) => self.core.live.unwanted.set(client, None),
            Use::Probe { trunk, uri } => {
                probe::unanswered(&mut self.core, turn.now, client, &trunk, &uri, transport);
            }
            Use::Register { trunk } => register::unanswered(&mut self.core, turn.now, client, &trunk, transport),
            Use::Alone => {}
        }
    }
}

/// What is due in a call.
fn fire(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call) {
    attempt::fire(core, turn, call);
    reliable::fire(core, turn, call);
    for side in Side::BOTH {
        ack::fire(core, turn, call, side);
        refresh::fire(core, turn, call, side);
    }
    reinvite::fire(core, turn, call);
    still_there(core, turn, call);
}

/// RFC 3261 §13.3.1.1: a provisional response each minute, for the proxies on the way.
fn still_there(core: &mut Core, turn: &Turn<'_>, call: &mut Call) {
    let Some(at) = call.refresh_at.filter(|at| *at <= turn.now) else { return };
    call.refresh_at = Some(at + std::time::Duration::from_secs(60));
    let invite: ServerId = call.invite;
    core.live.tx.resend(invite);
}
