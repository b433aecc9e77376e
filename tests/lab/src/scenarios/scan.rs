//! A SIP scan from many sources while calls go on, and what both sides of these calls learn of each other.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::ramp::cost;
use crate::{
    appliance::{PUNTED, risen},
    inject::Crowd,
    lab::{End, Lab},
    law::Law,
    runner::Scenario,
    talker::Words,
    topology::{CALLEE, CALLER, SCANNERS, TANDEM_A, TANDEM_B},
    verdict::Heard,
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("scan", "20 k SIP messages a second from 1,000 sources: 100 calls with RTP notice nothing", scan)
            .alone()
            .within(Duration::from_secs(90)),
    ]
}

const CALLS: u32 = 100;
const SOURCES: u32 = 1_000;
const PER_SECOND: u32 = 20_000;
/// Calls begin before, during and after its start, and all of them end while it goes on.
const SCAN: Duration = Duration::from_secs(9);
const NEAR: Words = Words { side: 0xca11, frames: 250 };
const FAR: Words = Words { side: 0xca22, frames: 250 };
const REFUSED: &str = "tandem_sip_refused_total";
const REPEATED: &str = "tandem_sip_retransmissions_total";

fn scan(lab: &mut Lab<'_>) -> Result<String> {
    let crowd = Crowd::gather(&lab.ground.caller, SCANNERS, SOURCES)?;
    // So that refusals find their way back, as they would by a gateway.
    lab.ground.tandem.route(SCANNERS, CALLER)?;
    let mut near_talker = lab.talker(End::Near, NEAR)?;
    let mut far_talker = lab.talker(End::Far, FAR)?;
    let limit = Duration::from_secs(40);
    let mut caller = lab.caller(Law::Mu).with("talk_ms", 5_500);
    let mut callee = lab.callee(Law::A);
    (caller.calls, caller.rate, caller.limit) = (CALLS, 30, limit);
    (callee.calls, callee.limit) = (CALLS, limit);
    let mut there = lab.start_waiting(End::Far, &callee)?;
    let before = lab.appliance()?.metrics()?;
    let overflowed = lab.appliance()?.udp_overflows()?;
    let times = lab.appliance()?.thread_times()?;
    let start = Instant::now();
    let mut here = lab.start(End::Near, &caller)?;
    std::thread::sleep(Duration::from_secs(1));
    let sent = crowd.scan(TANDEM_A, PER_SECOND, SCAN)?;
    let cost = cost(&times, &lab.appliance()?.thread_times()?, start.elapsed());
    near_talker.finish(CALLS.into(), limit)?;
    far_talker.finish(CALLS.into(), limit)?;
    here.finish()?;
    there.finish()?;
    let after = lab.appliance()?.metrics()?;
    let overflowed = lab.appliance()?.udp_overflows()? - overflowed;

    let mut sum = Heard::default();
    for (end, words, from, to) in [(End::Near, NEAR, Law::Mu, Law::A), (End::Far, FAR, Law::A, Law::Mu)] {
        let ssrcs: Vec<u32> = (1..=CALLS).map(|call| words.ssrc(&format!("70{call}"))).collect();
        for (ssrc, heard) in lab.judge_ssrcs(end, &ssrcs, &lab.expect(from, to, None)) {
            ensure!(heard.is_perfect() && heard.sent == 250, "SSRC {ssrc:08x} of the {end:?} end: {heard}");
            sum += heard;
        }
    }
    let repeated = risen(&before, &after, REPEATED).values().sum::<u64>();
    ensure!(repeated == 0, "{repeated} SIP messages of the calls had to be repeated");
    let refused = risen(&before, &after, REFUSED);
    let silent: u64 = ["banned", "source_limit", "strangers_limit", "scanner"]
        .iter()
        .map(|reason| refused.get(*reason).copied().unwrap_or(0))
        .sum();
    // A burst of each source at most was answered.
    let answered = refused.get("unknown_caller").copied().unwrap_or(0);
    // A machine that is busy with other things loses some before the worker has them, or before the socket is read.
    let arrived = risen(&before, &after, PUNTED).get("sip").copied().unwrap_or(0);
    ensure!(arrived >= sent * 95 / 100, "only {arrived} of {sent} messages reached the kernel");
    ensure!(
        silent + answered + overflowed >= arrived.min(sent) * 99 / 100,
        "{arrived} messages reached the kernel, {overflowed} did not fit its buffer, accounted for are {refused:?}"
    );
    ensure!(refused.get("banned").copied().unwrap_or(0) > sent / 2, "most are to be shut out: {refused:?}");
    bans(lab)?;
    let hidden = hidden(lab)?;
    Ok(format!("{sent} messages: {refused:?}; calls: {sum}, no message repeated; {hidden}{cost}"))
}

/// The operator sees who was banned, and can change it.
fn bans(lab: &mut Lab<'_>) -> Result<()> {
    let appliance = lab.appliance()?;
    let listed = appliance.ask(&["bans", "--limit", "10000"])?;
    let total = listed["total"].as_u64().unwrap_or(0);
    ensure!(total == u64::from(SOURCES), "{total} bans are listed, not {SOURCES}");
    let first = listed["rows"][0]["network"].as_str().context("a ban without a network")?.to_owned();
    appliance.ask(&["bans", "remove", &first])?;
    appliance.ask(&["bans", "add", "203.0.113.0/24", "--for", "1h"])?;
    let trunk = appliance.ask(&["bans", "add", &CALLER.to_string()]);
    ensure!(trunk.is_err(), "a trunk's address was banned");
    let listed = appliance.ask(&["bans", "--limit", "10000"])?;
    let has = |network: &str| {
        listed["rows"].as_array().is_some_and(|rows| rows.iter().any(|row| row["network"].as_str() == Some(network)))
    };
    ensure!(has("203.0.113.0/24") && !has(&first), "the list does not show what was changed");
    Ok(())
}

/// No message that left on one side holds the other side's addresses, Call-IDs, tags or branches.
fn hidden(lab: &Lab<'_>) -> Result<String> {
    let mut looked_at = 0;
    for end in End::BOTH {
        let (this, other) = (lab.tap(end).book(), lab.tap(end.other()).book());
        let addresses = match end {
            End::Near => [CALLEE, TANDEM_B],
            End::Far => [CALLER, TANDEM_A],
        };
        let mut marks: BTreeSet<String> = addresses.iter().map(ToString::to_string).collect();
        for message in &other.messages {
            marks.extend(message.header("Call-ID").map(str::to_owned));
            let via = message.header("Via").and_then(|via| via.split("branch=").nth(1));
            marks.extend(via.and_then(|branch| branch.split(';').next()).map(str::to_owned));
            for name in ["From", "To"] {
                marks.extend(message.header(name).and_then(|value| value.split("tag=").nth(1)).map(str::to_owned));
            }
        }
        ensure!(marks.len() > 3 * CALLS as usize, "only {} marks of the other side were seen", marks.len());
        let one = |text: &str| marks.iter().find(|mark| text.contains(mark.as_str())).cloned();
        for message in this.messages.iter().filter(|message| !message.outgoing) {
            looked_at += 1;
            if let Some(mark) = one(&message.text) {
                anyhow::bail!("{mark} of the other side reached the {end:?} end in\n{}", message.text);
            }
        }
    }
    Ok(format!("{looked_at} messages that left told nothing of the other side"))
}
