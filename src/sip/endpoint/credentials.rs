//! Challenges to our requests and what answers them, and what we ask of others: the one place for all kinds of requests
//! (`sip::auth` says how it works). Slow-path thread.

use std::net::SocketAddr;

use super::{Cause, Core, Endpoint, Errand, Level, Refusal, Turn, Use};
use crate::{
    base::{Time, ids::Side},
    config::{Config, Secret},
    sip::{
        auth::{
            client::{Account, Unanswered},
            header::Challenge,
            server::{Expected, Verdict},
        },
        b2bua::{Call, attempt},
        dialog::DialogKey,
        message::{CSeq, HeaderName, Message},
        transaction::ClientId,
        trunk::AuthResult,
    },
};

impl Core {
    /// The account that tandem has with a trunk.
    fn account(config: &Config, at: Option<usize>) -> Option<Account<'_>> {
        let auth = config.trunks.get(at?)?.auth.as_ref()?;
        let password = auth.password.as_ref()?.expose();
        Some(Account { username: &auth.username, password, realm: auth.realm.as_deref() })
    }

    /// Completes a request with the credentials that its receiver is known to want.
    pub(super) fn authorize(&mut self, trunk: &str, server: SocketAddr, request: &mut Message) {
        let at = self.routing.trunk(trunk).map(|id| usize::from(id.0));
        let Some(account) = Core::account(&self.config, at) else { return };
        if let Some(spaces) = self.live.spaces.get_mut(trunk) {
            spaces.authorize(server, &account, request);
        }
    }

    /// Whether `request`, which was challenged, may go out again.
    fn may_answer(&mut self, server: SocketAddr, request: &Message, response: &Message, errand: &mut Errand) -> bool {
        let at = self.routing.trunk(&errand.trunk).map(|id| usize::from(id.0));
        let Some(account) = Core::account(&self.config, at) else { return false };
        let (spaces, random) = (self.live.spaces.entry(errand.trunk.clone()).or_default(), &mut self.random);
        let done = spaces.challenged(server, &account, request, response, &mut errand.tried, || random.token());
        let (result, why) = match done {
            Ok(()) => (AuthResult::Answered, ""),
            Err(Unanswered::Refused) => (AuthResult::Refused, "the credentials are refused"),
            Err(Unanswered::Unknown) => {
                (AuthResult::Unknown, "the challenge names no realm or algorithm that can be answered")
            }
        };
        let count = self.live.trunks.note_auth(&errand.trunk, result);
        // A trunk that refuses one refuses all: one line tells of it, the counter of the rest.
        if done.is_err() && count.is_power_of_two() {
            let method = request.method().map_or("", |method| method.as_str());
            let status = response.status().unwrap_or(0);
            let text = format!("trunk {}: {method} got {status} from {server}: {why}; {count} so far", errand.trunk);
            self.log(Level::Warn, None, None, text);
        }
        done.is_ok()
    }

    /// What a request from a trunk gets unless it shows the account, where it must.
    pub(super) fn demands(&mut self, now: Time, trunk: &str, request: &Message) -> Option<Refusal> {
        let at = self.routing.trunk(trunk).map(|id| usize::from(id.0))?;
        let auth = self.config.trunks.get(at)?.auth.as_ref()?;
        let realm = auth.challenge.as_deref()?;
        let password = auth.password.as_ref().map_or("", Secret::expose);
        let expected = Expected { trunk, realm, username: &auth.username, password };
        let verdict = self.live.nonces.check(now, &expected, request);
        let result = match verdict {
            Verdict::Right => AuthResult::Right,
            Verdict::Missing => AuthResult::Missing,
            Verdict::Stale => AuthResult::Stale,
            Verdict::Wrong => AuthResult::Wrong,
        };
        let challenges = self.live.nonces.challenges(now, &expected, verdict == Verdict::Stale, self.random.u64());
        let count = self.live.trunks.note_auth(trunk, result);
        if verdict == Verdict::Wrong && count.is_power_of_two() {
            let text = format!("trunk {trunk} shows wrong credentials; {count} so far");
            self.log(Level::Warn, None, None, text);
        }
        // RFC 3261 §22.2: who is called answers 401.
        let refusal = Refusal::new(401, Cause::BadRequest);
        let with = |refusal: Refusal, one: &Challenge| refusal.with(HeaderName::WwwAuthenticate, one.to_string());
        (verdict != Verdict::Right).then(|| challenges.iter().fold(refusal, with))
    }
}

impl Endpoint {
    /// True: the response was a challenge, and the request is under way again with what it asked for.
    pub(super) fn answers_challenge(&mut self, turn: &Turn<'_>, client: ClientId, response: &Message) -> bool {
        if !matches!(response.status(), Some(401 | 407)) {
            return false;
        }
        let Some(request) = self.core.live.tx.recall(client) else { return false };
        let Some(entry) = self.core.live.tx.client(client) else { return false };
        let (mut errand, path) = (entry.user.clone(), entry.path());
        if !self.is_wanted(&errand.purpose, client)
            || !self.core.may_answer(path.flow.remote, &request, response, &mut errand)
        {
            return false;
        }
        let Some(again) = self.once_more(turn.now, client, request, &errand) else { return false };
        if let Some(entry) = self.core.live.tx.client_mut(client) {
            entry.user = errand;
        }
        self.core.live.tx.again(turn.now, client, again, Errand::alone())
    }

    /// Whether somebody still waits for an answer to the request.
    fn is_wanted(&self, purpose: &Use, client: ClientId) -> bool {
        match purpose {
            Use::Unwanted(_) => false,
            Use::Setup { call, .. } => {
                let attempt = self.calls.get(call).and_then(|call| call.attempt.as_ref());
                attempt.is_some_and(|attempt| attempt.client == client)
            }
            Use::Reinvite { call, .. } => {
                let reinvite = self.calls.get(call).and_then(|call| call.reinvite.as_ref());
                reinvite.is_some_and(|reinvite| reinvite.client == client && reinvite.cancelled.is_none())
            }
            _ => true,
        }
    }

    /// The request, ready to be sent again.
    fn once_more(&mut self, now: Time, client: ClientId, mut request: Message, errand: &Errand) -> Option<Message> {
        let seq = self.number(now, &request, &errand.purpose)?;
        let path = self.core.live.tx.client(client)?.path();
        let via = self.core.via(&path.flow, errand.mark)?;
        let method = request.method()?.clone();
        request.headers.set(HeaderName::Via, via);
        request.headers.set(HeaderName::CSeq, CSeq { seq, method }.to_string());
        self.core.authorize(&errand.trunk, path.flow.remote, &mut request);
        Some(request)
    }

    /// RFC 3261 §8.1.3.5: the next CSeq number; that of its dialog, which then counts on from it.
    fn number(&mut self, now: Time, request: &Message, purpose: &Use) -> Option<u32> {
        let next = request.cseq().ok()?.seq.checked_add(1)?;
        let from = request.from().ok()?;
        let key = DialogKey { call_id: request.call_id()?.to_owned(), local_tag: from.tag()?.to_owned() };
        let Some(&(id, side)) = self.core.live.dialogs.get(&key) else {
            return self.core.live.subscriptions.next_seq(&key).or(Some(next));
        };
        let to = request.to().ok()?;
        let of_dialog = self.with_call(id, |core, call| match purpose {
            Use::Setup { .. } => attempt::begin_again(core, now, call, request),
            _ => in_dialog(call, side, to.tag(), purpose),
        });
        of_dialog.unwrap_or(Some(next))
    }
}

fn in_dialog(call: &mut Call, side: Side, tag: Option<&str>, purpose: &Use) -> Option<u32> {
    let leg = call.leg_mut(side)?;
    let seq = leg.with_tag(tag)?.0.next_seq();
    // The ACK of a 2xx has the number of the INVITE that was accepted.
    match purpose {
        Use::Refresh { .. } => leg.refreshing.as_mut().into_iter().for_each(|refreshing| refreshing.seq = seq),
        Use::Reinvite { .. } => call.reinvite.as_mut().into_iter().for_each(|reinvite| reinvite.seq = seq),
        _ => {}
    }
    Some(seq)
}
