//! What the transferor is told of its REFER: an implicit subscription and its NOTIFYs (RFC 3515 §2.4.4 to §2.4.7, RFC
//! 3420). Slow-path thread.

use serde::{Deserialize, Serialize};

use super::{Call, Pending};
use crate::{
    base::Time,
    sip::{
        dialog::Dialog,
        endpoint::{CallId, Core, Use},
        message::{HeaderName, Message, Method, reason_phrase},
    },
};

pub const SIPFRAG: &str = "message/sipfrag;version=2.0";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Subscription {
    /// The REFER's CSeq number, where it is not the dialog's first REFER (RFC 3515 §2.4.6).
    pub id: Option<u32>,
    /// The transferor's dialog and trunk, once it has left the call.
    pub after: Option<(Dialog, String)>,
    /// The status that it was told last.
    pub told: u16,
}

impl Subscription {
    fn event(&self) -> String {
        self.id.map_or_else(|| "refer".to_owned(), |id| format!("refer;id={id}"))
    }
}

/// Tells the transferor a status of the target, if it wants to know; a final one ends the subscription.
pub fn send(core: &mut Core, now: Time, call: &mut Call, status: u16) {
    let (id, ring_s) = (call.id, core.config.sip.ring_s);
    let Some(pending) = call.transfer.as_deref_mut() else { return };
    let Pending { side, target, subscription } = pending;
    let (side, target) = (*side, *target);
    let Some(subscription) = subscription.as_mut().filter(|subscription| subscription.told != status) else { return };
    subscription.told = status;
    let event = subscription.event();
    let mut after = subscription.after.take();
    let (dialog, trunk) = match &mut after {
        Some((dialog, trunk)) => (dialog, trunk.clone()),
        None => {
            let Some(leg) = call.leg_mut(side) else { return };
            (&mut leg.dialog, leg.trunk.clone())
        }
    };
    let (mut notify, path) = (dialog.request(Method::Notify), core.path(dialog, &trunk));
    let contact = core.contact(path.flow.local, dialog.is_secure());
    let state = match status {
        // RFC 3515 §2.4.7: it lasts until the outcome is known.
        100..=199 => format!("active;expires={ring_s}"),
        _ => "terminated;reason=noresource".to_owned(),
    };
    notify.headers.push(HeaderName::Contact, contact);
    notify.headers.push(HeaderName::Event, event);
    notify.headers.push(HeaderName::SubscriptionState, state);
    notify.headers.push(HeaderName::ContentType, SIPFRAG);
    notify.body = format!("SIP/2.0 {status} {}\r\n", reason_phrase(status)).into();
    core.send(now, &trunk, notify, path, 0, Use::Notify { call: id, target });
    if let Some(subscription) = call.transfer.as_mut().and_then(|pending| pending.subscription.as_mut()) {
        subscription.after = after;
    }
}

/// The 2xx to a REFER that tandem carries out (RFC 3515 §2.4.2, RFC 4488 §4).
pub fn accept(core: &mut Core, now: Time, call: &Call, pending: &Pending, server: crate::sip::transaction::ServerId) {
    let Some(leg) = call.leg(pending.side) else { return };
    let Some(mut response): Option<Message> = core.response(server, 202, "", leg.dialog.local_tag()) else { return };
    response.headers.push(HeaderName::Contact, core.contact(leg.dialog.source.local, leg.dialog.is_secure()));
    if pending.subscription.is_none() {
        response.headers.push(HeaderName::Other("Refer-Sub".into()), "false");
    }
    core.respond(now, server, &response);
}

/// RFC 6665 §4.2.2: a NOTIFY that was refused, or drew nothing, ends the subscription.
pub fn refused(call: &mut Call, target: CallId) {
    if let Some(pending) = call.transfer.as_mut().filter(|pending| pending.target == target) {
        pending.subscription = None;
    }
}
