//! Subscriptions that pass through (RFC 6665): the subscriber's dialog on side A, the notifier's on side B. Slow-path
//! thread; all of it is saved.
//!
//! Always: both dialogs are in the index exactly as long as the subscription is there; each has a deadline, so one that
//! nobody refreshes or ends is forgotten.

use std::{collections::HashMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::about_events;
use crate::{
    base::{
        Time,
        ids::Side,
        limits::{SIP_SUBSCRIPTION, SIP_SUBSCRIPTIONS},
        marks::Marks,
    },
    sip::{
        b2bua::headers,
        deadlines::Deadlines,
        dialog::{Dialog, DialogKey},
        endpoint::{Core, Refusal, Turn, Use},
        flow::{Flow, Relocation},
        message::{HeaderName, Message, Method},
        transaction::ServerId,
    },
};

/// RFC 6665 §4.1.2.4, timer N: until the first NOTIFY is given up for lost, and what a last one may take.
const GRACE: Duration = Duration::from_secs(32);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct End {
    dialog: Dialog,
    trunk: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Subscription {
    subscriber: End,
    /// Of the destination that is being asked.
    notifier: Option<End>,
}

impl Subscription {
    fn end(&mut self, side: Side) -> Option<&mut End> {
        match side {
            Side::A => Some(&mut self.subscriber),
            Side::B => self.notifier.as_mut(),
        }
    }

    fn keys(&self) -> impl Iterator<Item = DialogKey> {
        std::iter::once(&self.subscriber).chain(&self.notifier).map(|end| end.dialog.key())
    }
}

#[derive(Clone, Debug, Default)]
pub struct Subscriptions {
    /// The last number given away.
    next: u64,
    by_id: HashMap<u64, Box<Subscription>>,
    index: HashMap<DialogKey, (u64, Side)>,
    deadlines: Deadlines<u64>,
    /// For the journal.
    changed: Marks<u64>,
}

/// One as the other host of a pair gets it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedSubscription {
    both: Box<Subscription>,
    until: Option<Time>,
}

impl Subscriptions {
    pub fn next_deadline(&self) -> Option<Time> {
        self.deadlines.next()
    }

    /// Dialogs.
    pub fn dialogs(&self) -> usize {
        self.index.len()
    }

    pub fn find(&self, request: &Message) -> Option<(u64, Side)> {
        self.index.get(&DialogKey::of_request(request)?).copied()
    }

    /// Where the peer of that dialog spoke last, and its trunk.
    pub fn place(&self, (id, side): (u64, Side)) -> Option<(Flow, &str)> {
        let subscription = self.by_id.get(&id)?;
        let end = if side == Side::A { Some(&subscription.subscriber) } else { subscription.notifier.as_ref() }?;
        Some((end.dialog.source, end.trunk.as_str()))
    }

    /// The number of our next request in that dialog, which it then is.
    pub fn next_seq(&mut self, key: &DialogKey) -> Option<u32> {
        let (id, side) = *self.index.get(key)?;
        Some(self.get_mut(id)?.end(side)?.dialog.next_seq())
    }

    fn get_mut(&mut self, id: u64) -> Option<&mut Subscription> {
        self.changed.note(id);
        self.by_id.get_mut(&id).map(Box::as_mut)
    }

    /// Whether `take_changed` is asked for.
    pub fn follow(&mut self, asked: bool) {
        self.changed.ask(asked);
    }

    /// Those that changed, came or went.
    pub fn take_changed(&mut self) -> Vec<u64> {
        self.changed.take().collect()
    }

    pub fn ids(&self) -> impl Iterator<Item = u64> {
        self.by_id.keys().copied()
    }

    pub fn last_number(&self) -> u64 {
        self.next
    }

    pub fn skip_numbers(&mut self, last: u64) {
        self.next = self.next.max(last);
    }

    pub fn saved(&self, id: u64) -> Option<SavedSubscription> {
        Some(SavedSubscription { both: self.by_id.get(&id)?.clone(), until: self.deadlines.get(&id) })
    }

    /// One of another host.
    pub fn adopt(&mut self, id: u64, saved: SavedSubscription, here: &Relocation) {
        let SavedSubscription { mut both, until } = saved;
        self.skip_numbers(id);
        for side in Side::BOTH {
            if let Some(end) = both.end(side) {
                here.flow(&mut end.dialog.source);
                self.index.insert(end.dialog.key(), (id, side));
            }
        }
        self.deadlines.set(id, until);
        self.by_id.insert(id, both);
    }

    /// Lets those that nobody refreshed go.
    pub fn fire(&mut self, now: Time) {
        while let Some(id) = self.deadlines.pop_due(now) {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: u64) {
        self.deadlines.set(id, None);
        self.changed.note(id);
        if let Some(gone) = self.by_id.remove(&id) {
            for key in gone.keys() {
                self.index.remove(&key);
            }
        }
    }

    fn lasts(&mut self, now: Time, id: u64, lifetime: Duration) {
        if self.by_id.contains_key(&id) {
            self.changed.note(id);
            self.deadlines.set(id, Some(now + lifetime.min(SIP_SUBSCRIPTION) + GRACE));
        }
    }
}

/// A SUBSCRIBE that makes a dialog; the status says why it does not.
pub fn begin(core: &mut Core, now: Time, request: &Message, flow: Flow, trunk: &str) -> Result<u64, u16> {
    let full = core.live.subscriptions.by_id.len() >= SIP_SUBSCRIPTIONS;
    if full || core.live.drain.is_some() {
        return Err(503);
    }
    if !request.headers.contains(&HeaderName::Event) {
        // RFC 6665 §8.2.1: it has one.
        return Err(489);
    }
    let tag = core.random.token();
    let dialog = Dialog::answering(request, &tag, flow).ok_or(400u16)?;
    let all = &mut core.live.subscriptions;
    all.next += 1;
    let id = all.next;
    all.index.insert(dialog.key(), (id, Side::A));
    let subscriber = End { dialog, trunk: trunk.to_owned() };
    all.by_id.insert(id, Box::new(Subscription { subscriber, notifier: None }));
    // Each destination has its time to answer; the last word sets it anew.
    all.lasts(now, id, GRACE * 64);
    Ok(id)
}

/// Another destination is asked.
pub fn calls(core: &mut Core, id: u64, dialog: Dialog, trunk: &str) {
    let all = &mut core.live.subscriptions;
    let key = dialog.key();
    let Some(subscription) = all.get_mut(id) else { return };
    let before = subscription.notifier.replace(End { dialog, trunk: trunk.to_owned() });
    if let Some(before) = before {
        all.index.remove(&before.dialog.key());
    }
    all.index.insert(key, (id, Side::B));
}

pub fn end(core: &mut Core, id: Option<u64>) {
    if let Some(id) = id {
        core.live.subscriptions.remove(id);
    }
}

/// The final response to the SUBSCRIBE that made it; our tag towards the subscriber.
pub fn settled(core: &mut Core, now: Time, id: u64, response: &Message, flow: Flow) -> Option<String> {
    let all = &mut core.live.subscriptions;
    let subscription = all.get_mut(id)?;
    let tag = subscription.subscriber.dialog.local_tag().to_owned();
    if response.status().is_some_and(|status| status >= 300) {
        all.remove(id);
        return Some(tag);
    }
    if let Some(notifier) = &mut subscription.notifier {
        let its = response.to().ok().and_then(|to| to.tag().map(str::to_owned));
        let known = notifier.dialog.remote_tag();
        // RFC 6665 §4.4.1: a NOTIFY that came first has made the dialog; another fork's 2xx makes none here.
        if known.is_none() {
            notifier.dialog.establish(response, flow);
        } else if known == its.as_deref() {
            notifier.dialog.refresh(response, flow);
        }
    }
    all.lasts(now, id, expires(response).unwrap_or(GRACE));
    Some(tag)
}

fn expires(message: &Message) -> Option<Duration> {
    message.headers.get(&HeaderName::Expires)?.trim().parse().ok().map(Duration::from_secs)
}

/// RFC 6665 §4.1.3: whether the subscription ends, or how long it still lasts.
fn state(notify: &Message) -> (bool, Option<Duration>) {
    let mut parts = notify.headers.get(&HeaderName::SubscriptionState).unwrap_or("").split(';').map(str::trim);
    let terminated = parts.next().is_some_and(|state| state.eq_ignore_ascii_case("terminated"));
    let left = parts.find_map(|part| part.strip_prefix("expires=")).and_then(|left| left.parse().ok());
    (terminated, left.map(Duration::from_secs))
}

/// A request within the dialog of a subscription goes to the other side of it. Its transaction is `server`.
pub fn within(
    core: &mut Core,
    turn: &Turn<'_>,
    (id, side): (u64, Side),
    server: ServerId,
    request: &Message,
    flow: Flow,
) {
    if let Err(refusal) = pass(core, turn, (id, side), server, request, flow) {
        core.refuse(turn.now, server, None, &refusal);
    }
}

fn pass(
    core: &mut Core,
    turn: &Turn<'_>,
    (id, side): (u64, Side),
    server: ServerId,
    request: &Message,
    flow: Flow,
) -> Result<(), Refusal> {
    let refused = |status| Refusal::new(status, crate::sip::endpoint::Cause::BadRequest);
    let method = request.method().cloned().unwrap_or(Method::Notify);
    let end = core.live.subscriptions.get_mut(id).and_then(|subscription| subscription.end(side));
    let dialog = end.map(|end| &mut end.dialog).ok_or_else(|| refused(481))?;
    if dialog.remote_tag().is_none() {
        // RFC 6665 §4.4.1: the first NOTIFY makes the dialog, also before the 2xx.
        dialog.establish_by(request, flow);
    } else if !dialog.is_from_peer(request) {
        return Err(refused(481));
    }
    dialog.note_request(request, flow).map_err(|_| refused(500))?;
    let forwards = request.max_forwards().unwrap_or(70).checked_sub(1).ok_or_else(|| refused(483))?;
    match (side, &method) {
        (Side::A, Method::Subscribe) | (Side::B, Method::Notify) => dialog.refresh(request, flow),
        _ => {
            let allowed = if side == Side::A { "SUBSCRIBE" } else { "NOTIFY" };
            return Err(refused(405).with(HeaderName::Allow, allowed));
        }
    }
    let to = side.other();
    let other = core.live.subscriptions.get_mut(id).and_then(|subscription| subscription.end(to));
    let other = other.filter(|end| end.dialog.remote_tag().is_some()).ok_or_else(|| refused(481))?;
    let mut out = other.dialog.request(method.clone());
    let (dialog, trunk) = (other.dialog.clone(), other.trunk.clone());
    let path = core.path(&dialog, &trunk);
    out.headers.set(HeaderName::MaxForwards, forwards.to_string());
    out.headers.push(HeaderName::Contact, core.contact(path.flow.local, dialog.is_secure()));
    headers::copy(request, &mut out, about_events());
    out.body = request.body.clone();
    let ends = method == Method::Notify && {
        let (ends, left) = state(request);
        if let Some(left) = left {
            core.live.subscriptions.lasts(turn.now, id, left);
        }
        ends
    };
    let purpose = Use::Subscribed { id, to, answer: server, ends };
    core.send(turn.now, &trunk, out, path, 0, purpose).map(|_| ()).ok_or_else(|| refused(480))
}

/// A response to such a request.
pub fn answered(
    core: &mut Core,
    turn: &Turn<'_>,
    (id, to): (u64, Side),
    answer: ServerId,
    ends: bool,
    response: &Message,
    flow: Flow,
) {
    let Some(status) = response.status().filter(|status| *status >= 200) else { return };
    let phrase = headers::phrase_of(response).unwrap_or_default();
    let listener = core.live.tx.server(answer).map(|entry| entry.path().flow.local);
    if let (Some(mut out), Some(listener)) = (core.response(answer, status, &phrase, ""), listener) {
        if status < 300 {
            out.headers.push(HeaderName::Contact, core.contact(listener, false));
        }
        headers::copy(response, &mut out, about_events());
        headers::push(headers::passed_with(response), &mut out);
        out.body = response.body.clone();
        core.respond(turn.now, answer, &out);
    }
    let all = &mut core.live.subscriptions;
    match status {
        // RFC 6665 §4.2.2, §4.1.2.2: a side that does not know the dialog has let it go.
        404 | 405 | 410 | 416 | 480..=485 | 489 | 501 | 604 => all.remove(id),
        200..=299 if ends => all.remove(id),
        200..=299 => {
            if let Some(end) = all.get_mut(id).and_then(|subscription| subscription.end(to)) {
                end.dialog.refresh(response, flow);
            }
            if let Some(left) = expires(response).filter(|_| to == Side::B) {
                all.lasts(turn.now, id, left);
            }
        }
        _ => {}
    }
}

/// No response came to such a request.
pub fn unanswered(core: &mut Core, turn: &Turn<'_>, id: u64, answer: ServerId, transport: bool) {
    core.answer(turn.now, answer, if transport { 503 } else { 408 });
    if !transport {
        core.live.subscriptions.remove(id);
    }
}
