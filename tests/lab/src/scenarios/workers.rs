//! Two workers: legs of one call on different ones, and a peer that moves from one to the other.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    appliance::{DROPPED, risen},
    lab::{End, Lab},
    law::Law,
    runner::Scenario,
    talker::Words,
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("two_workers", "legs on different workers, and a port moved to the other one: nothing lost", run)
            .prepared(|plan| plan.setup.workers = 2)
            .alone(),
    ]
}

const CALLS: u32 = 16;
const NEAR: Words = Words { side: 0xca11, frames: 500 };
const FAR: Words = Words { side: 0xca22, frames: 500 };

fn run(lab: &mut Lab<'_>) -> Result<String> {
    let mut near_talker = lab.talker(End::Near, NEAR)?;
    let mut far_talker = lab.talker(End::Far, FAR)?;
    let mut caller = lab.caller(Law::Mu).scenario("caller_move").with("talk_ms", 6_000);
    let mut callee = lab.callee(Law::A).scenario("callee_move");
    (caller.calls, caller.rate, callee.calls) = (CALLS, 20, CALLS);
    let start = lab.appliance()?.metrics()?;
    let mut there = lab.start_waiting(End::Far, &callee)?;
    let mut here = lab.start(End::Near, &caller)?;
    std::thread::sleep(Duration::from_secs(4));
    let before = flows(lab)?;
    near_talker.finish(CALLS.into(), Duration::from_secs(20))?;
    far_talker.finish(CALLS.into(), Duration::from_secs(20))?;
    let after = flows(lab)?;
    let samples = lab.appliance()?.metrics()?;
    here.finish()?;
    there.finish()?;

    let split = split_legs(&before);
    ensure!(split > 0, "of {CALLS} calls none had its legs on different workers: {before:?}");
    let off_owner: u64 = after.values().map(|flow| flow.off_owner).sum();
    let changed =
        after.iter().filter(|(key, flow)| before.get(*key).is_some_and(|old| old.worker != flow.worker)).count();
    ensure!(changed > 0 || off_owner > 0, "no moved port arrived on another worker");

    let mut said = 0;
    for (end, words, from, to) in [(End::Near, NEAR, Law::Mu, Law::A), (End::Far, FAR, Law::A, Law::Mu)] {
        let ssrcs: Vec<u32> = (1..=CALLS).map(|call| words.ssrc(&format!("70{call}"))).collect();
        for (ssrc, heard) in lab.judge_ssrcs(end, &ssrcs, &lab.expect(from, to, None)) {
            ensure!(
                heard.is_perfect() && heard.sent == u64::from(words.frames),
                "SSRC {ssrc:08x} of the {end:?} end: {heard}"
            );
            said += heard.sent;
        }
    }
    // What the flows counted, whichever worker forwarded it, is what was said.
    let counted: u64 = after.values().map(|flow| flow.packets).sum();
    ensure!(counted == said, "{said} frames were sent and {counted} are counted in the flows");
    let dropped = risen(&start, &samples, DROPPED);
    ensure!(dropped.is_empty(), "packets are counted as dropped: {dropped:?}");
    Ok(format!(
        "{said} frames, 0 lost; {split} of {CALLS} calls had legs on different workers, {changed} flows changed worker, \
         {off_owner} packets forwarded off their owner; the counters add up"
    ))
}

#[derive(Debug, PartialEq, Eq)]
struct Flow {
    session: String,
    worker: Option<u64>,
    packets: u64,
    off_owner: u64,
}

/// RTP flows by their local address.
fn flows(lab: &mut Lab<'_>) -> Result<BTreeMap<String, Flow>> {
    let listing = lab.appliance()?.ask(&["flows", "--limit", "1000"])?;
    let rows = listing["rows"].as_array().context("`tandem --json flows` has no rows")?;
    let number = |row: &Value, key: &str| row[key].as_u64().with_context(|| format!("a flow without {key}: {row}"));
    rows.iter()
        .filter(|row| row["kind"] == "rtp" || row["kind"] == "mux")
        .map(|row| {
            let flow = Flow {
                session: row["session"].as_str().unwrap_or_default().to_owned(),
                worker: row["worker"].as_u64(),
                packets: number(row, "packets")?,
                off_owner: number(row, "off_owner")?,
            };
            Ok((row["local"].as_str().unwrap_or_default().to_owned(), flow))
        })
        .collect()
}

/// Sessions whose two flows have different owners.
fn split_legs(flows: &BTreeMap<String, Flow>) -> usize {
    let mut by_session: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for flow in flows.values() {
        by_session.entry(&flow.session).or_default().extend(flow.worker);
    }
    by_session.values().filter(|workers| workers.len() == 2 && workers[0] != workers[1]).count()
}
