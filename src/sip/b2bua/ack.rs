//! 2xx and their ACKs, which RFC 3261 §13 leaves to the user of the transactions. Slow-path thread.

use bytes::Bytes;

use super::{
    call::{Call, Late, LegState, Unacked},
    media,
    teardown::{self, Ending},
};
use crate::{
    base::ids::Side,
    sip::{
        endpoint::{Cause, Core, SDP, Turn},
        message::{HeaderName, Message},
        transaction::{ClientId, ServerId, table::Label},
    },
};

/// Sends our 2xx to `side`'s INVITE and repeats it until the ACK.
pub fn accept(
    core: &mut Core,
    turn: &Turn<'_>,
    call: &mut Call,
    side: Side,
    server: ServerId,
    response: &Message,
    late: Option<Late>,
) {
    core.respond(turn.now, server, response);
    let timing = core.live.tx.timing();
    let Some(leg) = call.leg_mut(side) else { return };
    leg.unacked = Some(Unacked {
        server,
        seq: response.cseq().map(|c| c.seq).unwrap_or(0),
        interval: timing.t1,
        next: turn.now + timing.t1,
        give_up: turn.now + timing.give_up(),
        late,
    });
}

/// Acknowledges `side`'s 2xx to our INVITE number `seq`.
pub fn confirm(core: &mut Core, call: &Call, side: Side, client: ClientId, seq: u32, answer: Option<Bytes>) {
    let Some(leg) = call.leg(side) else { return };
    let mut ack = leg.dialog.ack(seq);
    if let Some(answer) = answer {
        ack.headers.push(HeaderName::ContentType, SDP);
        ack.body = answer;
    }
    let tag = leg.dialog.remote_tag().unwrap_or_default().to_owned();
    let path = core.path(&leg.dialog, &leg.trunk);
    core.send_ack(client, &tag, ack, path);
}

/// An ACK arrived in `side`'s dialog.
pub fn received(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, side: Side, ack: &Message) {
    let seq = ack.cseq().map(|c| c.seq).ok();
    let Some(leg) = call.leg_mut(side) else { return };
    let Some(unacked) = leg.unacked.take_if(|unacked| Some(unacked.seq) == seq) else { return };
    if let LegState::ByeWaits(reason) = &leg.state {
        let reason = reason.clone();
        teardown::send_bye(core, turn.now, call, side, reason.as_deref());
        return;
    }
    let Some(late) = unacked.late else { return };
    let answer = media::sdp_of(ack);
    let passed = answer.and_then(|answer| media::pass_answer(core, turn, call, side.other(), &answer).ok());
    let usable = passed.is_some();
    confirm(core, call, side.other(), late.client, late.seq, passed);
    if !usable {
        teardown::end(core, turn, call, Ending::tandem(Cause::BadAnswer, 200));
    }
}

/// Repeats the 2xx of `side`, or gives up.
pub fn fire(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, side: Side) {
    let timing = core.live.tx.timing();
    let Some(leg) = call.leg_mut(side) else { return };
    let Some(unacked) = &mut leg.unacked else { return };
    if unacked.give_up <= turn.now {
        // RFC 3261 §13.3.1.4: the dialog is confirmed all the same, and ended with a BYE.
        let late = leg.unacked.take().and_then(|u| u.late);
        if let LegState::ByeWaits(reason) = &leg.state {
            let reason = reason.clone();
            teardown::send_bye(core, turn.now, call, side, reason.as_deref());
        }
        if let Some(late) = late {
            confirm(core, call, side.other(), late.client, late.seq, None);
        }
        teardown::end(core, turn, call, Ending::tandem(Cause::NoAck, 200));
    } else if unacked.next <= turn.now {
        unacked.interval = timing.doubled(unacked.interval);
        unacked.next = turn.now + unacked.interval;
        if let Some((path, bytes, status)) = core.live.tx.last_response(unacked.server) {
            core.live.tx.transmit(&path, bytes, Label::Response(status), true);
        }
    }
}
