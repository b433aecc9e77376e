//! What goes on within a dialog beside the call itself: reliable provisional responses, UPDATE, session timers.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    lab::{End, Lab},
    law::Law,
    runner::Scenario,
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "dialog_features",
            "PRACK, UPDATE and session timers with SIPp at both ends: what crosses, and what each leg settles alone",
            dialog_features,
        )
        .prepared(|plan| plan.setup.extra = "\n[sip.session_timer]\nmode = \"request\"\n".to_owned())
        .within(Duration::from_secs(40)),
    ]
}

fn dialog_features(lab: &mut Lab<'_>) -> Result<String> {
    // SIPp checks the headers of each message; the taps, that nothing crossed which should not.
    lab.call(&lab.caller(Law::Mu).scenario("caller_prack"), &lab.callee(Law::A).scenario("callee_prack"))?;
    let requests = |end: End, method: &str, outgoing: bool| {
        lab.tap(end).book().count(|message| message.outgoing == outgoing && message.is_request(method))
    };
    let pracks = (requests(End::Near, "PRACK", true), requests(End::Far, "PRACK", false));
    let updates = (requests(End::Near, "UPDATE", true), requests(End::Far, "UPDATE", false));
    ensure!(pracks.0 >= 1 && pracks.1 >= 1, "PRACKs: {} from the caller, {} at the callee", pracks.0, pracks.1);
    ensure!(updates.0 >= 2 && updates.1 >= 1, "UPDATEs: {} from the caller, {} at the callee", updates.0, updates.1);
    let bare = lab.tap(End::Far).book().count(|message| {
        !message.outgoing && message.is_request("UPDATE") && !message.text.contains("application/sdp")
    });
    ensure!(bare == 0, "{bare} session refreshes of the caller reached the callee");

    let (mut caller, mut callee) = (lab.caller(Law::Mu), lab.callee(Law::A));
    (caller.name, callee.name) = ("caller_timer", "callee_timer");
    lab.call(&caller.scenario("caller_short_session"), &callee.scenario("callee_long_session"))?;
    let sent = lab.tap(End::Near).book().count(|message| !message.outgoing && message.text.starts_with("SIP/2.0 422 "));
    ensure!(sent >= 1, "the caller saw no 422");
    Ok("183 with PRACK on both legs; UPDATE crossed, a refresh did not; 422 sent to the caller, and obeyed from the callee"
        .to_owned())
}
