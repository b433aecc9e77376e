//! Media driven by the ng protocol: Kamailio with its stock rtpengine module, and more commands than a proxy sends.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use crate::{
    kamailio::Kamailio,
    lab::{End, Lab, Plan, source_root},
    net::Namespace,
    ng::{Client, offer},
    runner::Scenario,
    talk::{Calls, Talk, listed},
    topology::{CALLEE, CALLER, TANDEM_A, TANDEM_B},
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
            "1,000 commands a second, 10,000 offers that nobody answers: 500 calls talk on unharmed, and the offers are gone in time",
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
/// Calls that talk through the storm.
const TALKERS: u32 = 500;
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

/// Kamailio as documented, in one of the forms that its file has.
pub fn proxy(lab: &Lab<'_>, host: &Namespace, at: SocketAddr, form: Option<&str>) -> Result<Kamailio> {
    let text = std::fs::read_to_string(source_root().join("docs/kamailio-ng.cfg"))?;
    for said in [format!("udp:{at}"), format!("\"{CALLER}\""), format!("\"{CALLEE}\"")] {
        ensure!(text.contains(&said), "docs/kamailio-ng.cfg no longer says {said}");
    }
    Kamailio::start_at(host, &lab.room, "kamailio", (at, &text), form.as_slice())
}

/// What is to leave before ARP has answered is dropped: each host has spoken with each address that it sends media to.
pub fn acquaint(lab: &Lab<'_>, addresses: &[(End, IpAddr)]) -> Result<()> {
    addresses.iter().try_for_each(|(end, to)| {
        ensure!(lab.ping(*end, *to, 2), "the {end:?} end does not reach {to}");
        Ok(())
    })
}

/// Calls to Kamailio beside the one node, in which both sides talk, until all are up.
fn talk(lab: &mut Lab<'_>, count: u32, held_s: u32) -> Result<Talk> {
    acquaint(lab, &[(End::Near, TANDEM_A), (End::Far, TANDEM_B)])?;
    let mut talk = Talk::begin(lab, Calls { proxy: PROXY, count, per_second: PER_SECOND, held_s })?;
    talk.until(count)?;
    Ok(talk)
}

fn kamailio(lab: &mut Lab<'_>) -> Result<String> {
    let kamailio = proxy(lab, &lab.ground.tandem, PROXY, None)?;
    let talk = talk(lab, CALLS, 8)?;
    let mut client = Client::open(&lab.ground.tandem, NODE)?;
    let up = listed(&mut client)?.len();
    ensure!(up == CALLS as usize, "{up} calls are listed, not {CALLS}");
    let found = talk.judge(lab)?;
    let left = listed(&mut client)?;
    ensure!(left.is_empty(), "calls are left behind: {left:?}");
    let log = kamailio.log();
    ensure!(!log.contains("ERROR") && !log.contains("CRITICAL"), "Kamailio complains: {log}");
    Ok(format!("{CALLS} calls at once through Kamailio; {found}"))
}

fn storm(lab: &mut Lab<'_>) -> Result<String> {
    let _kamailio = proxy(lab, &lab.ground.tandem, PROXY, None)?;
    let talk = talk(lab, TALKERS, OFFERS.div_ceil(OFFERS_PER_SECOND) as u32 + 6)?;
    let mut client = Client::open(&lab.ground.tandem, NODE)?;
    let burst = client.burst(OFFERS_PER_SECOND, OFFERS, |n| offer(&format!("storm-{n}")))?;
    ensure!(burst.results.get("ok") == Some(&OFFERS), "{burst:?}");
    let found = talk.judge(lab)?;
    let gone = Instant::now() + Duration::from_secs(OFFER_TIMEOUT_S + 5);
    loop {
        let left = listed(&mut client)?.len();
        if left == 0 {
            break;
        }
        ensure!(Instant::now() < gone, "{left} offers that nobody answered are still there");
        std::thread::sleep(Duration::from_millis(200));
    }
    let samples = lab.appliance()?.metrics()?;
    let sessions = samples.iter().find(|(name, _)| name == "tandem_media_sessions").map(|(_, value)| *value);
    ensure!(sessions == Some(0.0), "{sessions:?} media sessions are left");
    Ok(format!(
        "{TALKERS} calls talked; {OFFERS} offers answered, the slowest after {:?}, and forgotten; {found}",
        burst.slowest
    ))
}
