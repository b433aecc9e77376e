//! The machine's state, what goes into it and what it says of itself. The decisions stand beside: `passive` (starting and
//! standby), `claim` (on the way to be active), `active` (active and draining). Pair thread.

use std::{collections::VecDeque, time::Duration};

use super::{
    Answer, Ask, Counters, FLAPPING_MOST, FLAPPING_WITHIN, GONE, Order, Output, PeerView, REHEARSE_AGAIN,
    REHEARSE_EVERY, REHEARSED_WITHIN, RETRY, Reason, Settings, View, Wish,
    active::{Active, Draining},
    claim::Claim,
};
use crate::{
    base::Time,
    ha::{
        generation::Generation,
        heartbeat::{Advert, Flags, News, Owner, Role},
    },
};

/// Heartbeats that tell of a change go out at once, but no closer than this.
const CLOSEST: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) enum State {
    Starting,
    Standby,
    Claiming(Claim),
    Active(Active),
    Draining(Draining),
}

/// The newest that was heard of the peer.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub advert: Advert,
    pub heard_at: Time,
    /// It had heard us when we sent at this time: it takes over for our silence no sooner than a detection later.
    pub answered: Time,
}

/// Whether the peer may take over. A passive host that let it does not take over itself before the peer has answered a
/// heartbeat without the grant and is passive, or is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    None,
    Given,
    Withdrawn { at: Time },
}

#[derive(Debug)]
pub struct Machine {
    pub(super) settings: Settings,
    pub(super) state: State,
    pub(super) since: Time,
    /// The last time that this host is known to have been awake.
    awake: Time,
    /// It has been awake since.
    pub(super) woke_at: Time,
    pub(super) peer: Option<Peer>,
    /// The highest generation that is known to have been active, in the time of either's process.
    pub(super) term: Generation,
    /// The highest number heard of.
    pub(super) seen: u64,
    /// The highest number on disk: this host was active under none above it, in no process, and may be under those up to it.
    reserved: u64,
    /// The disk writes one.
    reserving: bool,
    /// Why the disk took none, and when it is asked again.
    disk_refuses: Option<String>,
    reserve_after: Time,
    pub(super) grant: Grant,
    pub(super) lease_until: Time,
    pub(super) unfit: Option<String>,
    pub(super) synced: bool,
    pub(super) whole: bool,
    pub(super) frozen: bool,
    pub(super) held_until: Time,
    /// The peer has taken the addresses, whether it is heard or not: no claim of our own before this.
    pub(super) gone_until: Time,
    stops: VecDeque<Time>,
    /// An operator's switchover, asked here on the standby.
    pub(super) wants_until: Time,
    /// Standby and ready without a break since.
    pub(super) ready_since: Option<Time>,
    pub(super) rehearsed: Option<Result<Time, String>>,
    /// A claim failed: no other before this, unless the peer is silent.
    pub(super) claim_after: Time,
    next_rehearsal: Time,
    /// A question of this kind is with the provider: claim, confirm, rehearse.
    pub(super) asked: [bool; 3],
    last_advert: Option<Advert>,
    sent_at: Time,
    pub(super) next_send: Time,
    answer_now: bool,
    pub(super) counters: Counters,
    pub(super) outputs: VecDeque<Output>,
}

impl Machine {
    /// Of a process that starts; `seen` is the highest number that the disk knows.
    pub fn new(settings: Settings, seen: u64, now: Time) -> Self {
        Machine {
            state: State::Starting,
            since: now,
            awake: now,
            woke_at: now,
            peer: None,
            seen,
            reserved: seen,
            reserving: false,
            disk_refuses: None,
            reserve_after: Time::ZERO,
            term: Generation { number: 0, node: String::new() },
            grant: Grant::None,
            lease_until: Time::ZERO,
            unfit: Some("tandem is starting".into()),
            synced: false,
            whole: false,
            frozen: false,
            held_until: Time::ZERO,
            gone_until: Time::ZERO,
            stops: VecDeque::new(),
            wants_until: Time::ZERO,
            ready_since: None,
            rehearsed: None,
            claim_after: Time::ZERO,
            next_rehearsal: now,
            asked: [false; 3],
            last_advert: None,
            sent_at: Time::ZERO,
            next_send: now,
            answer_now: false,
            counters: Counters::default(),
            outputs: VecDeque::new(),
            settings,
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// A heartbeat that is news.
    pub fn heard(&mut self, now: Time, news: &News) {
        self.wake(now);
        let advert = news.advert;
        let before = self.peer.as_ref().filter(|_| !news.restarted).map_or(Time::ZERO, |peer| peer.answered);
        self.peer = Some(Peer { advert, heard_at: now, answered: news.answered.max(before) });
        self.seen = self.seen.max(advert.seen).max(advert.claim).max(advert.term.0);
        let node = match advert.term.1 {
            Owner::Neither => String::new(),
            Owner::Sender => self.settings.peer.clone(),
            Owner::Recipient => self.settings.me.clone(),
        };
        let told = Generation { number: advert.term.0, node };
        if told > self.term {
            self.term = told;
        }
        self.answer_now |= advert.flags.asks;
        self.gone_until = Time::ZERO;
        self.act(now);
    }

    /// Time has passed: to be called at `next`, and after a look at the sockets.
    pub fn tick(&mut self, now: Time) {
        self.wake(now);
        self.act(now);
    }

    /// A heartbeat that was to extend the lease left too late: the thread was put to sleep before it.
    pub fn late(&mut self, now: Time) {
        self.overslept(now);
        self.act(now);
    }

    /// When `tick` is due.
    pub fn next(&self) -> Time {
        let silent_at = self.quiet_since() + self.settings.detection();
        if silent_at > self.awake { silent_at.min(self.next_send) } else { self.next_send }
    }

    /// Whether this host may be active.
    pub fn fit(&mut self, now: Time, fit: Result<(), String>) {
        self.wake(now);
        let unfit = fit.err();
        if unfit.is_some() != self.unfit.is_some() {
            self.note(unfit.as_ref().map_or("this host is fit".into(), |why| format!("this host is not fit: {why}")));
        }
        self.unfit = unfit;
        self.act(now);
    }

    /// Whether this host, as a standby, has every call of the active one.
    pub fn synced(&mut self, now: Time, synced: bool) {
        self.wake(now);
        self.synced = synced;
        self.act(now);
    }

    /// Whether it has every call as things were once, though perhaps the connection is gone on which it would hear more.
    pub fn whole(&mut self, now: Time, whole: bool) {
        self.wake(now);
        self.whole = whole;
        self.act(now);
    }

    /// The disk's answer to `Output::Persist`.
    pub fn persisted(&mut self, now: Time, generation: &Generation, result: Result<(), String>) {
        self.wake(now);
        self.reserving = false;
        match result {
            Ok(()) => {
                self.reserved = self.reserved.max(generation.number);
                self.disk_refuses = None;
            }
            Err(why) => {
                self.reserve_after = now + RETRY;
                if self.disk_refuses.as_ref() != Some(&why) {
                    self.note(format!("the generation cannot be written, and without it nothing is sent: {why}"));
                }
                self.disk_refuses = Some(why);
            }
        }
        self.act(now);
    }

    pub fn answered(&mut self, now: Time, answer: Answer) {
        self.wake(now);
        match answer {
            Answer::Claimed(result) => {
                self.asked[0] = false;
                self.claim_taken(now, result);
            }
            Answer::Confirmed(result) => {
                self.asked[1] = false;
                self.confirmed(now, result);
            }
            Answer::Rehearsed(result) => {
                self.asked[2] = false;
                if result.is_err() {
                    self.next_rehearsal = now + REHEARSE_AGAIN;
                }
                self.rehearsed = Some(result.map(|()| now).map_err(|error| error.to_string()));
            }
        }
        self.act(now);
    }

    /// The slow path has brought the peer up to date.
    pub fn prepared(&mut self, now: Time) {
        self.wake(now);
        self.drain_prepared(now);
        self.act(now);
    }

    pub fn wish(&mut self, now: Time, wish: Wish) {
        self.wake(now);
        match wish {
            Wish::Switchover if self.is_active() => self.switch_over(now, "an operator wants it"),
            Wish::Switchover => self.wants_until = now + super::HANDOVER_PATIENCE,
            Wish::Freeze => self.frozen = true,
            Wish::Join => {
                self.frozen = false;
                (self.held_until, self.gone_until) = (Time::ZERO, Time::ZERO);
                self.stops.clear();
            }
        }
        self.act(now);
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    pub fn view(&self, now: Time) -> View {
        let generation = match &self.state {
            State::Claiming(claim) => claim.generation.clone(),
            State::Active(active) | State::Draining(Draining { active, .. }) => active.generation.clone(),
            State::Starting | State::Standby => self.term.clone(),
        };
        View {
            role: self.role(),
            generation,
            since: self.since,
            lease_until: Some(self.lease_until).filter(|until| *until > now),
            revalidating: matches!(&self.state, State::Active(active) if active.revalidating.is_some()),
            frozen: self.frozen,
            held_until: Some(self.held_until).filter(|until| *until > now),
            unfit: self.unfit.clone(),
            synced: self.synced,
            ready: self.ready(now),
            rehearsal: self.rehearsal_fails(now),
            disk: self.disk_refuses.clone(),
            silent: self.silent(now),
            peer: self.peer.as_ref().map(|peer| PeerView { advert: peer.advert, heard_at: peer.heard_at }),
        }
    }

    pub fn role(&self) -> Role {
        match &self.state {
            State::Starting | State::Standby if self.unfit.is_some() => Role::Faulted,
            State::Starting => Role::Starting,
            State::Standby => Role::Standby,
            State::Claiming(_) => Role::Claiming,
            State::Active(_) => Role::Active,
            State::Draining(_) => Role::Draining,
        }
    }

    /// Active, and no switchover under way.
    pub(super) fn is_active(&self) -> bool {
        matches!(self.state, State::Active(_))
    }

    /// Looks at the clock. Who slept does not know what was said in the meantime: silence is counted anew, and an active
    /// host whose lease ran out has to find out whether it still is.
    fn wake(&mut self, now: Time) {
        // A heartbeat is due in every interval: who is late by another has slept.
        if now.since(self.awake) > self.settings.heartbeat * 2 {
            self.woke_at = now;
        }
        self.awake = now;
        if matches!(self.state, State::Active(_) | State::Draining(_)) && now >= self.lease_until {
            self.overslept(now);
        }
    }

    /// Decides, and sends what is due.
    fn act(&mut self, now: Time) {
        // A decision may lead to the next: an active host that stops is a standby that may grant.
        for _ in 0..4 {
            let role = self.role();
            match self.state {
                State::Starting | State::Standby => self.step_passive(now),
                State::Claiming(_) => self.step_claim(now),
                State::Active(_) => self.step_active(now),
                State::Draining(_) => self.step_draining(now),
            }
            if self.role() == role {
                break;
            }
        }
        let ready = self.role() == Role::Standby && self.ready(now);
        self.ready_since = if ready { self.ready_since.or(Some(now)) } else { None };
        self.rehearse(now);
        self.send_due(now);
    }

    /// Whether this host may be active under this number; if not, the disk is asked for it.
    pub(super) fn reserve(&mut self, now: Time, number: u64) -> bool {
        if number > self.reserved && !self.reserving && now >= self.reserve_after {
            self.reserving = true;
            self.outputs.push_back(Output::Persist(Generation { number, node: self.settings.me.clone() }));
        }
        number <= self.reserved
    }

    fn rehearse(&mut self, now: Time) {
        if self.settings.provider.claims && now >= self.next_rehearsal && !self.is_active() && !self.asked[2] {
            self.next_rehearsal = now + REHEARSE_EVERY;
            self.ask(2, Ask::Rehearse);
        }
    }

    fn send_due(&mut self, now: Time) {
        let advert = self.advert(now);
        let changed = self.last_advert != Some(advert) || self.answer_now;
        if changed {
            self.next_send = self.next_send.min(self.sent_at + CLOSEST);
        }
        if now < self.next_send {
            return;
        }
        self.send(now);
    }

    pub(super) fn send(&mut self, now: Time) {
        let by = self.sent_at + self.settings.lease();
        self.next_send = now + self.settings.heartbeat;
        self.sent_at = now;
        self.answer_now = false;
        let extends = self.may_extend();
        if extends {
            self.lease_until = now + self.settings.lease();
        }
        let advert = self.advert(now);
        self.last_advert = Some(advert);
        self.outputs.push_back(Output::Send(advert));
        if extends {
            self.outputs.push_back(Output::Lease { until: self.lease_until, by });
        }
    }

    pub(super) fn advert(&self, now: Time) -> Advert {
        let claim = match &self.state {
            State::Claiming(claim) => claim.generation.number,
            State::Active(active) | State::Draining(Draining { active, .. }) => active.generation.number,
            State::Starting | State::Standby => 0,
        };
        let owner = match &self.term.node {
            node if *node == self.settings.me => Owner::Sender,
            node if *node == self.settings.peer => Owner::Recipient,
            _ => Owner::Neither,
        };
        let flags = Flags {
            fit: self.unfit.is_none(),
            eligible: self.eligible(now),
            synced: self.synced,
            ready: self.ready(now),
            holding: now < self.lease_until,
            grant: self.grant == Grant::Given,
            wants: self.wants(now),
            asks: matches!(&self.state, State::Active(active) if active.revalidating.is_some()),
            frozen: self.frozen,
            preempts: self.settings.preempt,
            whole: self.has_calls(),
        };
        Advert { role: self.role(), claim, term: (self.term.number, owner), seen: self.seen, flags }
    }

    /// It can be active, if nobody else can better.
    pub(super) fn able(&self) -> bool {
        self.unfit.is_none() && !self.frozen
    }

    /// It may be asked to be active.
    pub(super) fn eligible(&self, now: Time) -> bool {
        let held = now < self.held_until && !self.is_all_there_is();
        self.able() && !held && self.disk_refuses.is_none() && self.rehearsal_fails(now).is_none()
    }

    /// Nobody is active, and of the two only this host has the calls: they go before its hold-down.
    fn is_all_there_is(&self) -> bool {
        let without = |peer: &Peer| peer.advert.role.is_passive() && !peer.advert.flags.has_calls();
        self.has_calls() && self.peer.as_ref().is_some_and(without)
    }

    /// It would go on with the calls, if perhaps not with the last of what happened to them.
    pub(super) fn has_calls(&self) -> bool {
        self.synced || self.whole
    }

    /// It would take over without a loss.
    pub(super) fn ready(&self, now: Time) -> bool {
        self.eligible(now) && self.synced
    }

    /// Why the provider would not move the addresses.
    fn rehearsal_fails(&self, now: Time) -> Option<String> {
        if !self.settings.provider.claims {
            return None;
        }
        match &self.rehearsed {
            None => Some("no rehearsal has been answered yet".into()),
            Some(Err(why)) => Some(why.clone()),
            Some(Ok(at)) if now.since(*at) > REHEARSED_WITHIN => Some("the last rehearsal was long ago".into()),
            Some(Ok(_)) => None,
        }
    }

    /// From when the silence of the peer counts.
    pub(super) fn quiet_since(&self) -> Time {
        self.peer.as_ref().map_or(Time::ZERO, |peer| peer.heard_at).max(self.woke_at)
    }

    /// Nothing was heard for a detection time in which this host was awake.
    pub(super) fn silent(&self, now: Time) -> bool {
        self.quiet(now, self.settings.detection())
    }

    pub(super) fn quiet(&self, now: Time, patience: Duration) -> bool {
        now.since(self.quiet_since()) >= patience
    }

    /// The peer, as far as it has said lately that it hears us: it does not take over for our silence before a lease has
    /// passed since.
    pub(super) fn bound(&self, now: Time) -> Option<&Peer> {
        let lease = self.settings.lease();
        self.peer.as_ref().filter(|peer| peer.answered >= self.woke_at && now.since(peer.answered) < lease)
    }

    /// Whether the decision who is to be active is this host's, where neither is: it was active last, or, if neither was,
    /// its name sorts later. Two that are bound to each other know the same term.
    pub(super) fn authority(&self) -> bool {
        self.term.node == self.settings.me
            || (self.term.node != self.settings.peer && self.settings.me > self.settings.peer)
    }

    pub(super) fn enter(&mut self, now: Time, state: State) {
        self.state = state;
        self.since = now;
    }

    /// Stops transmitting and forgets the calls.
    pub(super) fn stop(&mut self, now: Time, reason: Reason) {
        self.end_lease();
        self.counters.stops[reason as usize] += 1;
        self.note(format!("no longer active: {}", reason.as_str()));
        self.outputs.push_back(Output::Order(Order::Deactivate { reason }));
        (self.synced, self.whole) = (false, false);
        let times = if matches!(reason, Reason::Fault | Reason::AddressesGone) { self.flapping(now) } else { 1 };
        self.held_until = now + self.settings.hold_down * times;
        if reason == Reason::AddressesGone {
            self.gone_until = now + GONE * times;
        }
        self.enter(now, State::Standby);
    }

    pub(super) fn end_lease(&mut self) {
        self.lease_until = Time::ZERO;
        self.outputs.push_back(Output::EndLease);
    }

    /// Flap damping: how many times longer to hold down, twofold for each stop of late that nobody planned.
    pub(super) fn flapping(&mut self, now: Time) -> u32 {
        while self.stops.front().is_some_and(|at| now.since(*at) > FLAPPING_WITHIN) {
            self.stops.pop_front();
        }
        let before = self.stops.len().min(FLAPPING_MOST);
        self.stops.push_back(now);
        self.stops.truncate(FLAPPING_MOST);
        1 << before
    }

    pub(super) fn ask(&mut self, kind: usize, ask: Ask) {
        if !self.asked[kind] {
            self.asked[kind] = true;
            self.outputs.push_back(Output::Ask(ask));
        }
    }

    pub(super) fn note(&mut self, text: String) {
        self.outputs.push_back(Output::Note(text));
    }
}
