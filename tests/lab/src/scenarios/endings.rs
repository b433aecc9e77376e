//! How calls end, other than by hanging up: cancelled, busy, fallen silent, drained.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::{
    lab::{End, Lab},
    law::Law,
    runner::{BOTH, Scenario},
    sipp::Phone,
    topology::{INTRUDER, TANDEM_A},
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("cancel", "CANCEL while it rings: 487 to the caller, CANCEL to the callee", cancel)
            .with_stand_in(),
        Scenario::new("busy", "486 from the callee reaches the caller", busy).with_stand_in(),
        Scenario::new("stranger", "a caller that is no trunk gets 403, and nobody is called", stranger),
        Scenario::new("media_timeout", "a call that fell silent gets BYE on both sides", media_timeout)
            .prepared(|plan| plan.setup.media_timeout_s = 4),
        Scenario::new(
            "drain_finish",
            "SIGTERM: calls go on to their end, new ones get 503, then it ends",
            drain_finish,
        )
        .on(BOTH)
        .prepared(|plan| plan.setup.drain_s = 60),
        Scenario::new(
            "drain_deadline",
            "SIGTERM: calls still there at the deadline get BYE on both sides",
            drain_deadline,
        )
        .prepared(|plan| plan.setup.drain_s = 3),
    ]
}

fn cancel(lab: &mut Lab<'_>) -> Result<String> {
    lab.call(&lab.caller(Law::Mu).scenario("caller_cancel"), &lab.callee(Law::A).scenario("callee_cancelled"))?;
    Ok("487 at the caller, CANCEL at the callee".to_owned())
}

fn busy(lab: &mut Lab<'_>) -> Result<String> {
    let caller = lab.caller(Law::Mu).scenario("caller_refused").with("status", "486");
    lab.call(&caller, &lab.callee(Law::A).scenario("callee_refuses").with("status", "486"))?;
    Ok("486 at the caller".to_owned())
}

fn stranger(lab: &mut Lab<'_>) -> Result<String> {
    let caller = Phone::caller(INTRUDER, TANDEM_A, Law::Mu).scenario("caller_refused").with("status", "403");
    lab.start(End::Near, &caller)?.finish()?;
    let called = lab.tap(End::Far).book().messages.len();
    ensure!(called == 0, "{called} SIP messages reached the callee's side");
    Ok("403 at the caller, no message at the callee's side".to_owned())
}

fn media_timeout(lab: &mut Lab<'_>) -> Result<String> {
    let mu = lab.speech(Law::Mu, Duration::from_secs(2))?;
    let a = lab.speech(Law::A, Duration::from_secs(2))?;
    let caller = lab.caller(Law::Mu).scenario("caller_dropped").plays(&mu).with("patience_ms", 20_000);
    lab.call(&caller, &lab.callee(Law::A).plays(&a))?;
    // Both were sent a BYE; when, after the last of their own words?
    let mut seconds = Vec::new();
    for end in End::BOTH {
        let book = lab.tap(end).book();
        let last = book.streams.values().filter_map(|stream| stream.packets.last()).map(|packet| packet.at).max();
        let bye = book.message(|message| !message.outgoing && message.is_request("BYE")).map(|message| message.at);
        let (Some(last), Some(bye)) = (last, bye) else { anyhow::bail!("no BYE or no RTP at the {end:?} end") };
        seconds.push(bye.saturating_sub(last).as_secs_f64());
    }
    ensure!(
        seconds.iter().all(|s| (3.5..8.0).contains(s)),
        "with a time-out of 4 s, BYE came {seconds:?} s after the last RTP"
    );
    Ok(format!("BYE {:.1} and {:.1} s after the last RTP (time-out 4 s)", seconds[0], seconds[1]))
}

fn second_caller(lab: &Lab<'_>) -> Phone {
    let mut late = lab.caller(Law::Mu).scenario("caller_refused").with("status", "503");
    (late.name, late.port, late.media_port) = ("late".into(), 5070, 36_000);
    late.limit = Duration::from_secs(10);
    late
}

fn drain_finish(lab: &mut Lab<'_>) -> Result<String> {
    let mu = lab.speech(Law::Mu, Duration::from_secs(60))?;
    let a = lab.speech(Law::A, Duration::from_secs(60))?;
    let (mut caller, mut callee) = (lab.caller(Law::Mu).plays(&mu), lab.callee(Law::A).plays(&a));
    (caller.calls, callee.calls) = (3, 3);
    let mut there = lab.start_waiting(End::Far, &callee)?;
    let mut here = lab.start(End::Near, &caller)?;
    std::thread::sleep(Duration::from_secs(2));
    lab.appliance()?.process.signal(libc::SIGTERM)?;
    std::thread::sleep(Duration::from_millis(300));
    lab.start(End::Near, &second_caller(lab))?.finish()?;
    here.finish()?;
    there.finish()?;
    let over = Instant::now();
    let status = lab.appliance()?.process.wait(Duration::from_secs(10))?;
    ensure!(status.success(), "tandem ended with {status}");
    let took = over.elapsed().as_secs_f64();
    let heard = lab.demand_perfect(End::Near, 3, &lab.expect(Law::Mu, Law::A, None))?;
    lab.demand_perfect(End::Far, 3, &lab.expect(Law::A, Law::Mu, None))?;
    Ok(format!("3 calls through the drain: {heard}; a new one got 503; ended {took:.1} s after the last call"))
}

fn drain_deadline(lab: &mut Lab<'_>) -> Result<String> {
    let mu = lab.speech(Law::Mu, Duration::from_secs(60))?;
    let a = lab.speech(Law::A, Duration::from_secs(60))?;
    let mut caller = lab.caller(Law::Mu).scenario("caller_dropped").plays(&mu).with("patience_ms", 20_000);
    let mut callee = lab.callee(Law::A).plays(&a);
    (caller.calls, callee.calls) = (2, 2);
    let mut there = lab.start_waiting(End::Far, &callee)?;
    let mut here = lab.start(End::Near, &caller)?;
    std::thread::sleep(Duration::from_secs(2));
    let asked = Instant::now();
    lab.appliance()?.process.signal(libc::SIGTERM)?;
    here.finish()?;
    there.finish()?;
    let status = lab.appliance()?.process.wait(Duration::from_secs(15))?;
    let took = asked.elapsed().as_secs_f64();
    ensure!(status.success(), "tandem ended with {status}");
    ensure!((2.5..12.0).contains(&took), "with a deadline of 3 s it ended after {took:.1} s");
    Ok(format!("BYE on both sides of 2 calls, ended {took:.1} s after SIGTERM (deadline 3 s)"))
}
