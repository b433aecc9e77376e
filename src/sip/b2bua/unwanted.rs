//! INVITEs whose outcome nobody waits for any longer: cancelled, passed over, or answered by a second fork.
//!
//! Slow-path thread. RFC 3261 §9.1: a CANCEL is sent only after a provisional response; if the final one does not come
//! within 64·T1 the transaction is forgotten. A 2xx that comes all the same is acknowledged and hung up (§13.2.2.4).

use crate::{
    base::Time,
    sip::{
        dialog::Dialog,
        endpoint::{Core, Errand, Unwanted, Use},
        flow::Flow,
        message::{HeaderName, Message, Method},
        transaction::{ClientId, table::within_transaction},
    },
};

/// The outcome of `client`, an INVITE to `trunk`, does not matter any more.
pub fn give_up(core: &mut Core, now: Time, client: ClientId, trunk: &str, bye: bool, reason: Option<&str>) {
    let Some(entry) = core.live.tx.client_mut(client) else { return };
    if entry.request.method() != Some(&Method::Invite) {
        // RFC 3261 §9.1: nothing else is cancelled.
        entry.user.purpose = Use::Alone;
        return;
    }
    let reason = reason.map(str::to_owned);
    entry.user.purpose = Use::Unwanted(Unwanted { trunk: trunk.to_owned(), cancelled: false, bye, reason });
    if entry.proceeding() {
        cancel_unwanted(core, now, client);
    }
}

fn cancel_unwanted(core: &mut Core, now: Time, client: ClientId) {
    let Some(entry) = core.live.tx.client_mut(client) else { return };
    let Use::Unwanted(unwanted) = &mut entry.user.purpose else { return };
    if std::mem::replace(&mut unwanted.cancelled, true) {
        return;
    }
    let reason = unwanted.reason.clone();
    cancel(core, now, client, reason.as_deref());
    let give_up = core.live.tx.timing().give_up();
    core.live.unwanted.set(client, Some(now + give_up));
}

/// Sends the CANCEL of an INVITE, on the same path and with the same branch (RFC 3261 §9.1).
pub fn cancel(core: &mut Core, now: Time, client: ClientId, reason: Option<&str>) {
    let Some(entry) = core.live.tx.client(client) else { return };
    let mut cancel = within_transaction(&entry.request, Method::Cancel);
    let path = entry.path();
    if let Some(reason) = reason {
        cancel.headers.push(HeaderName::Reason, reason);
    }
    core.live.tx.request(now, cancel, path, Errand::alone());
}

/// A response to an INVITE that is unwanted.
pub fn response(core: &mut Core, now: Time, client: ClientId, response: &Message, flow: Flow) {
    match response.status() {
        Some(100..=199) => cancel_unwanted(core, now, client),
        Some(200..=299) => refuse_fork(core, now, client, response, flow),
        _ => core.live.unwanted.set(client, None),
    }
}

/// The time to wait for the final response is over.
pub fn expired(core: &mut Core, client: ClientId) {
    let waits = core.live.tx.client(client).is_some_and(|entry| entry.proceeding());
    if waits {
        core.live.tx.abandon(client);
    }
}

/// Acknowledges a 2xx that nobody wants, and ends the dialog it made.
pub fn refuse_fork(core: &mut Core, now: Time, client: ClientId, response: &Message, flow: Flow) {
    let Some(entry) = core.live.tx.client(client) else { return };
    let (trunk, bye) = match &entry.user.purpose {
        Use::Unwanted(unwanted) => (unwanted.trunk.clone(), unwanted.bye),
        Use::Setup { trunk, .. } => (trunk.clone(), true),
        _ => return,
    };
    let request = &entry.request;
    let (Ok(local), Ok(remote), Ok(cseq)) = (request.from(), request.to(), request.cseq()) else { return };
    let routes = request.routes().unwrap_or_default();
    let mut dialog = Dialog::calling(request.call_id().unwrap_or_default(), local, remote, cseq.seq, flow);
    dialog.establish(response, flow);
    if !bye {
        dialog.keep_routes(routes);
    }
    let path = core.path(&dialog, &trunk);
    let tag = dialog.remote_tag().unwrap_or_default().to_owned();
    core.send_ack(client, &tag, dialog.ack(cseq.seq), path);
    if bye {
        let request = dialog.request(Method::Bye);
        core.send(now, &trunk, request, path, 0, Use::Alone);
    }
}
