//! Many calls through one worker and one slow-path thread.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use crate::{
    appliance::ThreadTime,
    lab::{End, Lab},
    law::Law,
    runner::{BOTH, Disturbed, Scenario},
    talker::{FRAME_MS, Words},
    verdict::Heard,
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("ramp_500", "500 calls at once, held 30 s: none fails, no frame is lost", ramp)
            .on(BOTH)
            .with_stand_in()
            .alone()
            .within(Duration::from_secs(240)),
    ]
}

const CALLS: u32 = 500;
const PER_SECOND: u32 = 25;
const HELD_S: u32 = 30;
/// Every call talks from its answer until the last one has talked for `HELD_S`.
const TALK_S: u32 = CALLS / PER_SECOND + HELD_S + 2;
const FRAMES: u32 = TALK_S * 1000 / FRAME_MS as u32;
/// The machine stood still for longer than a port's 1024 descriptors last with 50 frames a second of every call, when the
/// generator is as late as this.
const STALL_US: u64 = 1024 * 1_000_000 / (50 * CALLS as u64);
const NEAR: Words = Words { side: 0xca11, frames: FRAMES };
const FAR: Words = Words { side: 0xca22, frames: FRAMES };

fn ramp(lab: &mut Lab<'_>) -> Result<String> {
    let mut near_talker = lab.talker(End::Near, NEAR)?;
    let mut far_talker = lab.talker(End::Far, FAR)?;
    let limit = Duration::from_secs(u64::from(TALK_S) + 90);
    let mut caller = lab.caller(Law::Mu).with("talk_ms", (TALK_S + 6) * 1000);
    let mut callee = lab.callee(Law::A);
    (caller.calls, caller.rate, caller.limit) = (CALLS, PER_SECOND, limit);
    (callee.calls, callee.limit) = (CALLS, limit);
    let mut there = lab.start_waiting(End::Far, &callee)?;
    let mut here = lab.start(End::Near, &caller)?;
    let full = Instant::now() + limit;
    while near_talker.tally.lines.load(Ordering::Relaxed) < u64::from(CALLS) && Instant::now() < full {
        if let Some(status) = here.running.ended()? {
            ensure!(
                status.success(),
                "SIPp gave up: {}",
                here.finish().map_or_else(|e| e.to_string(), |()| String::new())
            );
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let start = Instant::now();
    let before = if lab.is_stand_in() { Vec::new() } else { lab.appliance()?.thread_times()? };
    std::thread::sleep(Duration::from_secs(u64::from(HELD_S) - 2));
    let after = if lab.is_stand_in() { Vec::new() } else { lab.appliance()?.thread_times()? };
    let cost = cost(&before, &after, start.elapsed());
    near_talker.finish(CALLS.into(), limit)?;
    far_talker.finish(CALLS.into(), limit)?;
    here.finish()?;
    there.finish()?;

    let mut sum = [Heard::default(); 2];
    for (at, (end, words, from, to)) in
        [(End::Near, NEAR, Law::Mu, Law::A), (End::Far, FAR, Law::A, Law::Mu)].into_iter().enumerate()
    {
        let ssrcs: Vec<u32> = (1..=CALLS).map(|call| words.ssrc(&format!("70{call}"))).collect();
        for (_, heard) in lab.judge_ssrcs(end, &ssrcs, &lab.expect(from, to, None)) {
            sum[at] += heard;
        }
    }
    let late =
        near_talker.tally.latest_us.load(Ordering::Relaxed).max(far_talker.tally.latest_us.load(Ordering::Relaxed));
    let found = format!(
        "there: {}; back: {}; the generator was at most {:.1} ms late{cost}",
        sum[0],
        sum[1],
        late as f64 / 1000.0
    );
    let expected = u64::from(CALLS) * u64::from(FRAMES);
    let perfect = sum.iter().all(|heard| heard.is_perfect() && heard.sent == expected);
    let only_lost =
        sum.iter().all(|heard| heard.differing_bytes + heard.differing_headers == 0 && heard.sent == expected);
    if !perfect && only_lost && late > STALL_US {
        return Err(Disturbed(found).into());
    }
    ensure!(perfect, "{found}");
    Ok(found)
}

/// What the appliance's threads used of a core while all calls were up.
pub fn cost(before: &[ThreadTime], after: &[ThreadTime], over: Duration) -> String {
    let mut shares: Vec<(String, f64)> = after
        .iter()
        .map(|now| {
            let then = before.iter().find(|then| then.name == now.name).map_or(Duration::ZERO, |then| then.busy);
            (now.name.clone(), now.busy.saturating_sub(then).as_secs_f64() / over.as_secs_f64() * 100.0)
        })
        .filter(|(_, share)| *share >= 0.5)
        .collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    shares.iter().map(|(name, share)| format!("; {name} {share:.0} % of a core")).collect()
}
