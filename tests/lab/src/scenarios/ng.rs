//! Media driven by the ng protocol: Kamailio with its stock rtpengine module, and more commands than a proxy sends.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::json;

use crate::{
    kamailio::Kamailio,
    lab::{End, Lab, Plan, source_root},
    law::Law,
    ng::{Client, offer},
    runner::Scenario,
    sipp::{Phone, Sipp},
    talker::{FRAME_MS, Words},
    topology::{CALLEE, CALLER, TANDEM_A},
    verdict::Heard,
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "ng_kamailio",
            "Kamailio and its rtpengine module, as docs/kamailio-ng.cfg has it: 100 calls at once from μ-law to A-law, every byte as it should be",
            kamailio,
        )
        .prepared(spoken)
        .needing("kamailio")
        .alone()
        .within(Duration::from_secs(120)),
        Scenario::new(
            "ng_storm",
            "1,000 commands a second, 10,000 offers that nobody answers: 100 calls talk on unharmed, and the offers are gone in time",
            storm,
        )
        .prepared(stormed)
        .needing("kamailio")
        .alone()
        .within(Duration::from_secs(180)),
    ]
}

const NODE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2223);
const PROXY: SocketAddr = SocketAddr::new(TANDEM_A, 5070);
const CALLS: u32 = 100;
const PER_SECOND: u32 = 25;
const NEAR: u16 = 0xca11;
const FAR: u16 = 0xca22;
/// Offers of the storm, in so many a second; each is forgotten after `OFFER_TIMEOUT_S`.
const OFFERS: u64 = 10_000;
const OFFERS_PER_SECOND: u64 = 1_000;
const OFFER_TIMEOUT_S: u64 = 15;

fn spoken(plan: &mut Plan) {
    plan.setup.extra = "\n[ng]\nmedia = [\"a4\"]\n".into();
}

fn stormed(plan: &mut Plan) {
    plan.setup.extra = format!("\n[ng]\nmedia = [\"a4\"]\nmax_calls = 20000\noffer_timeout_s = {OFFER_TIMEOUT_S}\n");
    plan.setup.media_ports = (20_000, 59_999);
    plan.setup.max_sessions = 12_000;
    // Each note of an offer that was given up is a line.
    plan.setup.log = "warn";
}

/// Kamailio as documented, beside tandem.
fn proxy(lab: &Lab<'_>) -> Result<Kamailio> {
    let text = std::fs::read_to_string(source_root().join("docs/kamailio-ng.cfg"))?;
    for said in [format!("udp:{PROXY}"), format!("udp:{NODE}=1"), format!("\"{CALLER}\""), format!("\"{CALLEE}\"")] {
        ensure!(text.contains(&said), "docs/kamailio-ng.cfg no longer says {said}");
    }
    Kamailio::start_at(&lab.ground.tandem, &lab.room, "kamailio", (PROXY, &text), &[])
}

/// Calls through the proxy in which both sides talk.
struct Talk {
    here: Sipp,
    there: Sipp,
    talkers: [crate::talker::Talker; 2],
    words: [Words; 2],
    limit: Duration,
}

impl Talk {
    /// Until all are up. Every call talks until the last one has talked for `held_s`.
    fn begin(lab: &mut Lab<'_>, held_s: u32) -> Result<Talk> {
        let talk_s = CALLS / PER_SECOND + held_s + 2;
        let frames = talk_s * 1000 / FRAME_MS as u32;
        let words = [Words { side: NEAR, frames }, Words { side: FAR, frames }];
        let talkers = [lab.talker(End::Near, words[0])?, lab.talker(End::Far, words[1])?];
        let limit = Duration::from_secs(u64::from(talk_s) + 60);
        let mut caller = Phone::caller(CALLER, PROXY.ip(), Law::Mu).with("talk_ms", (talk_s + 4) * 1000);
        caller.target = Some(PROXY);
        let mut callee = lab.callee(Law::A);
        (caller.calls, caller.rate, caller.limit) = (CALLS, PER_SECOND, limit);
        (callee.calls, callee.limit) = (CALLS, limit);
        // What is to leave before ARP has answered is dropped: both hosts have spoken with tandem.
        for (end, to) in [(End::Near, TANDEM_A), (End::Far, crate::topology::TANDEM_B)] {
            ensure!(lab.ping(end, to, 2), "the {end:?} end does not reach tandem");
        }
        let there = lab.start_waiting(End::Far, &callee)?;
        let mut here = lab.start(End::Near, &caller)?;
        let full = Instant::now() + limit;
        while talkers[0].tally.lines.load(Ordering::Relaxed) < u64::from(CALLS) && Instant::now() < full {
            if here.running.ended()?.is_some() {
                here.finish()?;
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Talk { here, there, talkers, words, limit })
    }

    /// To the end of all calls; every frame must have arrived as it should.
    fn judge(mut self, lab: &Lab<'_>) -> Result<String> {
        for talker in &mut self.talkers {
            talker.finish(CALLS.into(), self.limit)?;
        }
        self.here.finish()?;
        self.there.finish()?;
        let mut found = String::new();
        for (end, words, from, to) in
            [(End::Near, self.words[0], Law::Mu, Law::A), (End::Far, self.words[1], Law::A, Law::Mu)]
        {
            let ssrcs: Vec<u32> = (1..=CALLS).map(|call| words.ssrc(&format!("70{call}"))).collect();
            let mut sum = Heard::default();
            lab.judge_ssrcs(end, &ssrcs, &lab.expect(from, to, None)).into_iter().for_each(|(_, heard)| sum += heard);
            let expected = u64::from(CALLS) * u64::from(words.frames);
            ensure!(sum.is_perfect() && sum.sent == expected, "the {end:?} end's words: {sum}");
            found += &format!("; {end:?}: {sum}");
        }
        Ok(found)
    }
}

fn kamailio(lab: &mut Lab<'_>) -> Result<String> {
    let kamailio = proxy(lab)?;
    let talk = Talk::begin(lab, 8)?;
    let mut client = Client::open(&lab.ground.tandem, NODE)?;
    let listed = client.ask(&json!({ "command": "list", "limit": 1000 }))?;
    let up = listed["calls"].as_array().map_or(0, Vec::len);
    ensure!(up == CALLS as usize, "{up} calls are listed, not {CALLS}");
    let found = talk.judge(lab)?;
    let left = client.ask(&json!({ "command": "list" }))?;
    ensure!(left["calls"].as_array().is_some_and(Vec::is_empty), "calls are left behind: {left}");
    let log = kamailio.log();
    ensure!(!log.contains("ERROR") && !log.contains("CRITICAL"), "Kamailio complains: {log}");
    Ok(format!("{CALLS} calls at once through Kamailio{found}"))
}

fn storm(lab: &mut Lab<'_>) -> Result<String> {
    let _kamailio = proxy(lab)?;
    let talk = Talk::begin(lab, OFFERS.div_ceil(OFFERS_PER_SECOND) as u32 + 6)?;
    let mut client = Client::open(&lab.ground.tandem, NODE)?;
    let burst = client.burst(OFFERS_PER_SECOND, OFFERS, |n| offer(&format!("storm-{n}")))?;
    ensure!(burst.results.get("ok") == Some(&OFFERS), "{burst:?}");
    let found = talk.judge(lab)?;
    let gone = Instant::now() + Duration::from_secs(OFFER_TIMEOUT_S + 5);
    loop {
        let left = client.ask(&json!({ "command": "list" }))?;
        if left["calls"].as_array().is_some_and(Vec::is_empty) {
            break;
        }
        ensure!(Instant::now() < gone, "offers that nobody answered are still there: {left}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let samples = lab.appliance()?.metrics()?;
    let sessions = samples.iter().find(|(name, _)| name == "tandem_media_sessions").map(|(_, value)| *value);
    ensure!(sessions == Some(0.0), "{sessions:?} media sessions are left");
    Ok(format!("{OFFERS} offers answered, the slowest after {:?}, and forgotten{found}", burst.slowest))
}
