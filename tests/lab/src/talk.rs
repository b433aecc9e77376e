//! Calls through Kamailio, whose media goes by appliances that it drives over the ng protocol, and in which both sides talk
//! all the time. Main thread.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{
    lab::{End, Lab},
    law::Law,
    ng::Client,
    sipp::{Phone, Sipp},
    talker::{FRAME_MS, Talker, Words},
    topology::CALLER,
    verdict::Heard,
};

/// How many calls, and for how long each talks.
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    /// The proxy, as callers reach it.
    pub proxy: SocketAddr,
    pub count: u32,
    pub per_second: u32,
    /// From the answer of the last one on; those before it have talked since their own.
    pub held_s: u32,
}

impl Calls {
    fn talk_s(&self) -> u32 {
        self.count / self.per_second + self.held_s + 2
    }

    pub fn frames(&self) -> u32 {
        self.talk_s() * 1000 / FRAME_MS as u32
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(u64::from(self.talk_s()) + 60)
    }

    /// The numbers that are dialled.
    pub fn numbers(&self) -> impl Iterator<Item = String> {
        (1..=self.count).map(|call| format!("70{call}"))
    }
}

/// Callers speak μ-law and the callee A-law.
pub struct Talk {
    calls: Calls,
    here: Sipp,
    there: Sipp,
    pub talkers: [Talker; 2],
    words: [Words; 2],
}

impl Talk {
    /// Calls begin to arrive.
    pub fn begin(lab: &mut Lab<'_>, calls: Calls) -> Result<Talk> {
        let frames = calls.frames();
        let words = [Words { side: 0xca11, frames }, Words { side: 0xca22, frames }];
        let talkers = [lab.talker(End::Near, words[0])?, lab.talker(End::Far, words[1])?];
        let limit = calls.limit();
        let caller = Phone {
            target: Some(calls.proxy),
            calls: calls.count,
            rate: calls.per_second,
            limit,
            ..Phone::caller(CALLER, calls.proxy.ip(), Law::Mu).with("talk_ms", (calls.talk_s() + 4) * 1000)
        };
        let callee = Phone { calls: calls.count, limit, ..lab.callee(Law::A) };
        let there = lab.start_waiting(End::Far, &callee)?;
        let here = lab.start(End::Near, &caller)?;
        Ok(Talk { calls, here, there, talkers, words })
    }

    /// Waits until so many of the calls talk.
    pub fn until(&mut self, talking: u32) -> Result<()> {
        let full = Instant::now() + self.calls.limit();
        while self.talkers[0].tally.lines.load(Ordering::Relaxed) < u64::from(talking) && Instant::now() < full {
            if self.here.running.ended()?.is_some() {
                self.here.finish()?;
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// To the end of all calls.
    pub fn finish(&mut self) -> Result<()> {
        let limit = self.calls.limit();
        for talker in &mut self.talkers {
            talker.wait(self.calls.count.into(), limit)?;
        }
        self.here.finish()?;
        self.there.finish()
    }

    /// What this end says in the calls to these numbers.
    pub fn ssrcs(&self, end: End, numbers: &BTreeSet<String>) -> Vec<u32> {
        numbers.iter().map(|number| self.words[end as usize].ssrc(number)).collect()
    }

    /// What was said in the calls to these numbers, there and back; the calls are over.
    pub fn heard(&self, lab: &Lab<'_>, numbers: &BTreeSet<String>) -> [Heard; 2] {
        [(End::Near, Law::Mu, Law::A), (End::Far, Law::A, Law::Mu)].map(|(end, from, to)| {
            let mut sum = Heard::default();
            let judged = lab.judge_ssrcs(end, &self.ssrcs(end, numbers), &lab.expect(from, to, None));
            judged.into_iter().for_each(|(_, heard)| sum += heard);
            sum
        })
    }

    /// Every frame of the calls to these numbers was sent, and arrived as it should; the calls are over.
    pub fn demand_perfect(&self, lab: &Lab<'_>, numbers: &BTreeSet<String>) -> Result<String> {
        let expected = numbers.len() as u64 * u64::from(self.calls.frames());
        let heard = self.heard(lab, numbers);
        for (end, sum) in End::BOTH.into_iter().zip(&heard) {
            ensure!(sum.is_perfect() && sum.sent == expected, "the {end:?} end's words, {expected} frames: {sum}");
        }
        Ok(format!("there: {}; back: {}", heard[0], heard[1]))
    }

    /// To the end of all calls, none of which may have lost anything.
    pub fn judge(mut self, lab: &Lab<'_>) -> Result<String> {
        self.finish()?;
        self.demand_perfect(lab, &self.calls.numbers().collect())
    }
}

/// The Call-IDs that a node has.
pub fn listed(client: &mut Client) -> Result<BTreeSet<String>> {
    let answer = client.ask(&json!({ "command": "list", "limit": 20_000 }))?;
    let calls = answer["calls"].as_array().with_context(|| format!("no list of calls: {answer}"))?;
    Ok(calls.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// What the caller dialled in these calls.
pub fn dialled(lab: &Lab<'_>, call_ids: &BTreeSet<String>) -> BTreeSet<String> {
    let book = lab.tap(End::Near).book();
    call_ids.iter().filter_map(|id| book.dialogs.by_call_id.get(id)).map(|dialog| dialog.called.clone()).collect()
}
