//! What goes on within a dialog beside the call itself: reliable provisional responses, UPDATE, session timers.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    lab::{End, Lab, Plan},
    law::Law,
    runner::Scenario,
    script::{BODY, NO_BODY, Script, has, lacks, sdp},
    sip::Message,
    sipp::{Phone, Sipp},
    topology::{SECOND, sip_uri},
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
        Scenario::new(
            "session_expiry",
            "session timers run out: tandem refreshes by UPDATE and by re-INVITE after 45 s, takes a refresh, ends what is not \
             refreshed",
            session_expiry,
        )
        .prepared(expiring)
        .within(Duration::from_secs(100)),
    ]
}

/// RFC 4028 §5: 90 s are the shortest interval there is. The second callee has a trunk of its own; media is not what ends calls.
fn expiring(plan: &mut Plan) {
    plan.setup.media_timeout_s = 0;
    plan.setup.extra = format!(
        "\n[sip.session_timer]\nmode = \"request\"\nexpires_s = 90\n\
         \n[[trunk]]\nname = \"silent\"\naddress = \"b4\"\ndestinations = [\"{}\"]\n\
         \n[[route]]\nprefix = \"75\"\nto = [\"silent\"]\n",
        sip_uri(SECOND, false)
    );
}

/// RFC 4028 §7.2 and §10: a refresh at half of the interval; BYE a third of it before it runs out.
fn session_expiry(lab: &mut Lab<'_>) -> Result<String> {
    const TANDEMS: &[&str] = &["Supported: timer", "Session-Expires: 90;refresher=uas"];
    const CALLEES: &[&str] = &["Require: timer", "Session-Expires: 90;refresher=uas"];
    const OLD: &[&str] = &["Supported: timer", "Session-Expires: 90;refresher=uas", "Allow: INVITE, ACK, CANCEL, BYE"];
    let expires = |what: &str| has("Session-Expires:", format!("90;refresher={what}"));
    let refreshed = Script::caller("tandem refreshes by UPDATE")
        .invites(TANDEMS)
        .hears(200, &[expires("uas")])
        .acks(NO_BODY)
        .gets("UPDATE", &[expires("uac"), lacks(BODY, "m=audio")])
        .answers(200, "UPDATE", &["Session-Expires: 90;refresher=uac"], NO_BODY)
        .waits(2_000)
        .hangs_up();
    let refreshes = Script::callee("refreshes by UPDATE; nothing of it crosses")
        .gets("INVITE", &[has("Session-Expires:", "90"), has("Supported:", "timer")])
        .answers(200, "INVITE", CALLEES, &sdp(1, "sendrecv"))
        .gets("ACK", &[])
        .waits(45_000)
        .requests("UPDATE", &["Supported: timer", "Session-Expires: 90;refresher=uac"], NO_BODY)
        .hears(200, &[expires("uac"), has("Require:", "timer")])
        .is_hung_up();
    let reinvited = Script::caller("takes no UPDATE: tandem refreshes by re-INVITE, in the same version; then BYE")
        .invites(OLD)
        .hears(200, &[expires("uas")])
        .acks(NO_BODY)
        .gets("INVITE", &[expires("uac"), has(BODY, "m=audio")])
        .answers(200, "INVITE", &["Session-Expires: 90;refresher=uac"], &sdp(1, "sendrecv"))
        .gets("ACK", &[])
        .gets("BYE", &[has("Reason:", "Session timer expired")])
        .answers(200, "BYE", &[], NO_BODY);
    let silent = Script::callee("promises to refresh, and does not")
        .gets("INVITE", &[])
        .answers(200, "INVITE", CALLEES, &sdp(1, "sendrecv"))
        .gets("ACK", &[])
        .is_hung_up();
    let phone = |phone: Phone, name: &str, port, media_port, script| Phone {
        name: name.to_owned(),
        port,
        media_port,
        limit: Duration::from_secs(80),
        ..phone.follows(script)
    };
    let callee = phone(lab.callee(Law::A), "refreshes", 5060, 40_000, refreshes);
    let second = phone(Phone::callee(SECOND, Law::A), "silent", 5060, 42_000, silent);
    let mut callees = [lab.start_waiting(End::Far, &callee)?, lab.start_waiting(End::Far, &second)?];
    let first = phone(lab.caller(Law::Mu), "refreshed", 5060, 30_000, refreshed);
    let mut other = phone(lab.caller(Law::Mu), "reinvited", 5070, 32_000, reinvited);
    other.dial = "75".to_owned();
    let mut callers = [lab.start(End::Near, &first)?, lab.start(End::Near, &other)?];
    callers.iter_mut().chain(&mut callees).try_for_each(Sipp::finish)?;
    let book = lab.tap(End::Near).book();
    let at = |method: &str| {
        let seen = |message: &&Message| !message.outgoing && message.is_request(method);
        book.messages.iter().find(seen).map(|message| message.at)
    };
    let began = book.message(|message| message.is_response(200, "INVITE")).map(|message| message.at);
    let mut found = Vec::new();
    for (method, due) in [("UPDATE", 45.0), ("INVITE", 45.0), ("BYE", 60.0)] {
        let after = at(method).zip(began).map_or(0.0, |(at, began)| at.saturating_sub(began).as_secs_f64());
        ensure!((due - 0.5..due + 0.5).contains(&after), "{method} came after {after:.1} s, not after {due} s");
        found.push(format!("{method} after {after:.1} s"));
    }
    // The same description: RFC 4028 §7.4, and RFC 3264 §8 says how it is known.
    let origins: Vec<String> = book
        .messages
        .iter()
        .filter(|message| !message.outgoing && message.method() == "INVITE")
        .filter_map(|message| message.text.lines().find(|line| line.starts_with("o=")).map(str::to_owned))
        .collect();
    let same = origins.iter().filter(|origin| origins.last() == Some(origin)).count();
    ensure!(same >= 2, "the refresh has another version: {origins:?}");
    Ok(format!("{}; the callee's refresh crossed nowhere", found.join(", ")))
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
    (caller.name, callee.name) = ("caller_timer".into(), "callee_timer".into());
    lab.call(&caller.scenario("caller_short_session"), &callee.scenario("callee_long_session"))?;
    let sent = lab.tap(End::Near).book().count(|message| !message.outgoing && message.text.starts_with("SIP/2.0 422 "));
    ensure!(sent >= 1, "the caller saw no 422");
    Ok("183 with PRACK on both legs; UPDATE crossed, a refresh did not; 422 sent to the caller, and obeyed from the callee"
        .to_owned())
}
