//! The first destination does not take the call: the second does.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    lab::{End, Lab, Plan},
    law::Law,
    runner::Scenario,
    sipp::Phone,
    topology::{CALLEE, NOBODY, SECOND, sip_uri},
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("next_after_503", "a destination that says 503 is passed over", after_503).prepared(two),
        Scenario::new("next_after_silence", "a destination that does not answer at all is passed over", after_silence)
            .prepared(|plan| {
                plan.setup.destinations = vec![sip_uri(NOBODY, false), sip_uri(SECOND, false)];
                plan.setup.no_reply_ms = 1_500;
            }),
        Scenario::new("next_after_refusal", "a destination whose host refuses the port is passed over", after_refusal)
            .prepared(|plan| {
                two(plan);
                plan.setup.no_reply_ms = 4_000;
            }),
        Scenario::new(
            "next_after_ringing",
            "a destination that only rings is cancelled and passed over",
            after_ringing,
        )
        .prepared(|plan| {
            two(plan);
            plan.setup.ring_s = 3;
        }),
        Scenario::new("all_fail", "when every destination refuses, the caller hears it", all_fail).prepared(two),
    ]
}

fn two(plan: &mut Plan) {
    plan.setup.destinations = vec![sip_uri(CALLEE, false), sip_uri(SECOND, false)];
}

fn second() -> Phone {
    let mut phone = Phone::callee(SECOND, Law::A);
    (phone.name, phone.media_port) = ("second".into(), 42_000);
    phone
}

/// Calls, while `first` does what it does; the second destination must take the call, and be heard.
fn passes_over(lab: &mut Lab<'_>, first: Option<Phone>, within: Duration) -> Result<String> {
    let mu = lab.speech(Law::Mu, Duration::from_secs(2))?;
    let a = lab.speech(Law::A, Duration::from_secs(2))?;
    let mut refuses = first.map(|phone| lab.start_waiting(End::Far, &phone)).transpose()?;
    let caller = lab.caller(Law::Mu).plays(&mu).with("talk_ms", 2_500);
    lab.call(&caller, &second().plays(&a))?;
    if let Some(first) = &mut refuses {
        first.finish()?;
    }
    let there = lab.demand_perfect(End::Near, 1, &lab.expect(Law::Mu, Law::A, None))?;
    lab.demand_perfect(End::Far, 1, &lab.expect(Law::A, Law::Mu, None))?;
    let failures = lab.tap(End::Near).book().count(|message| message.status().is_some_and(|status| status >= 300));
    ensure!(failures == 0, "the caller heard of the failure that was passed over");
    let waited = {
        let book = lab.tap(End::Near).book();
        let asked = book.message(|message| message.is_request("INVITE")).map(|message| message.at);
        let answered = book.message(|message| message.is_response(200, "INVITE")).map(|message| message.at);
        answered.zip(asked).map_or(Duration::ZERO, |(answered, asked)| answered.saturating_sub(asked))
    };
    ensure!(waited < within, "the second destination answered after {waited:?} only, not within {within:?}");
    Ok(format!("the second destination answered after {:.1} s; {there}", waited.as_secs_f64()))
}

fn after_503(lab: &mut Lab<'_>) -> Result<String> {
    let first = lab.callee(Law::A).scenario("callee_refuses").with("status", "503");
    passes_over(lab, Some(first), Duration::from_secs(1))
}

fn after_silence(lab: &mut Lab<'_>) -> Result<String> {
    passes_over(lab, None, Duration::from_millis(3_000))
}

/// RFC 3261 §18.4: an ICMP error is a failure of the transport, and need not be waited out.
fn after_refusal(lab: &mut Lab<'_>) -> Result<String> {
    passes_over(lab, None, Duration::from_millis(1_500))
}

fn after_ringing(lab: &mut Lab<'_>) -> Result<String> {
    let first = lab.callee(Law::A).scenario("callee_cancelled");
    passes_over(lab, Some(first), Duration::from_secs(5))
}

fn all_fail(lab: &mut Lab<'_>) -> Result<String> {
    let mut first =
        lab.start_waiting(End::Far, &lab.callee(Law::A).scenario("callee_refuses").with("status", "503"))?;
    let caller = lab.caller(Law::Mu).scenario("caller_refused").with("status", "503");
    lab.call(&caller, &second().scenario("callee_refuses").with("status", "503"))?;
    first.finish()?;
    Ok("503 from both destinations, 503 at the caller".to_owned())
}
