//! The pair on EC2: the survivor moves the addresses by the API, and the network moves them once the API says so.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{
    NODES, demand_records,
    load::{Load, Size, lost},
    pair, print_gaps, spoke_after, taps_of,
};
use crate::{
    cloud::{Cloud, Way},
    lab::{End, Lab, Plan},
    pair::median_and_worst,
    runner::Scenario,
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("pair_ec2_secondary", "kill -9, and EC2 moves secondary addresses 0, 0.5 and 2 s later", kills)
            .prepared(secondary)
            .within(Duration::from_secs(150))
            .alone(),
        Scenario::new("pair_ec2_elastic", "The same by Elastic IPs: each node has addresses of its own", kills)
            .prepared(elastic)
            .within(Duration::from_secs(150))
            .alone(),
        Scenario::new("pair_ec2_route", "The same by routes to addresses that are in no subnet", kills)
            .prepared(route)
            .within(Duration::from_secs(150))
            .alone(),
        Scenario::new(
            "pair_ec2_link_lost",
            "The link is lost: the standby takes over, the other asks and stops",
            link_lost,
        )
        .prepared(secondary)
        .alone(),
        Scenario::new(
            "pair_ec2_api_lost_active",
            "The active loses the API, then the link as well: it stops when it is heard",
            api_lost_active,
        )
        .prepared(secondary)
        .alone(),
        Scenario::new(
            "pair_ec2_api_lost_standby",
            "The standby loses the API: it says so, and claims until it is back",
            api_lost_standby,
        )
        .prepared(secondary)
        .alone(),
        Scenario::new(
            "pair_ec2_api_lost_both",
            "Both lose the API and the link: the active goes on, alone",
            api_lost_both,
        )
        .prepared(secondary)
        .alone(),
    ]
}

fn by(plan: &mut Plan, way: Way) {
    pair(plan);
    plan.cloud = Some(way);
    plan.setup.pair_keys = "provider = \"ec2\"";
}

fn secondary(plan: &mut Plan) {
    by(plan, Way::Secondary);
}

fn elastic(plan: &mut Plan) {
    by(plan, Way::Elastic);
}

fn route(plan: &mut Plan) {
    by(plan, Way::Route);
}

fn cloud<'a>(lab: &'a Lab<'_>) -> Result<&'a Cloud> {
    lab.cloud.as_ref().context("this scenario needs a cloud")
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// How long the API takes for an answer: what it took in AWS is not known here.
const API_MS: u64 = 100;
/// When the network does what the API has said, one kill after the other.
const DELAYS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(500), Duration::from_secs(2)];
/// What a gap may have on top of its parts.
const ON_TOP: Duration = Duration::from_millis(50);
/// Calls that live through all three.
const THROUGH: Size = Size::twenty(20);

fn kills(lab: &mut Lab<'_>) -> Result<String> {
    cloud(lab)?.faults(&json!({"delay_ms": {"*": API_MS}}))?;
    let load = Load::begin(lab, &THROUGH)?;
    let mut active = lab.active().context("not exactly one is active")?;
    let mut found = Vec::new();
    for delay in DELAYS {
        std::thread::sleep(Duration::from_secs(1));
        cloud(lab)?.delay(delay);
        let at = lab.kill(active)?;
        let before = active;
        active = 1 - active;
        lab.wait_for_active(active, Duration::from_secs(10))?;
        let moved = cloud(lab)?.wait_for(active, at, Duration::from_secs(10))?;
        std::thread::sleep(Duration::from_millis(500));
        let takeover = lab.status(active)?["last_takeover"].clone();
        let part =
            |name: &str| Duration::try_from_secs_f64(takeover[name].as_f64().unwrap_or(-1.0)).context(name.to_owned());
        let (detect, api) = (part("detect_s")?, part("claim_s")?);
        // The router is a program on a busy machine: what it took itself is not the appliance's.
        let router = moved.iter().map(|one| one.done.saturating_sub(one.told + delay)).max().unwrap_or_default();
        let parts = detect + api + delay;
        for (way, end, ssrcs) in [("there", End::Far, &load.ssrcs[0]), ("back", End::Near, &load.ssrcs[1])] {
            let gaps = lab.gaps(end, ssrcs, at)?;
            print_gaps(way, &gaps);
            let (median, worst) = median_and_worst(&gaps);
            let says = format!(
                "{way}, delay {:.0} ms: gap {:.0} ms, at worst {:.0}: detection {:.0} + API {:.0} + delay, router {:.0}",
                ms(delay),
                ms(median),
                ms(worst),
                ms(detect),
                ms(api),
                ms(router)
            );
            println!("  {says}");
            ensure!(worst <= parts + router + ON_TOP, "{says}: more than {ON_TOP:?} on top");
            let least = gaps.iter().map(|gap| gap.length).min().unwrap_or_default();
            ensure!(
                least >= delay,
                "{says}: {least:?} is less than the network took: it was not the API that moved it"
            );
            found.push(format!("{:.0}/{:.0}", ms(median), ms(worst)));
        }
        lab.start_node(before)?;
        lab.wait_for_pair(Duration::from_secs(30))?;
    }
    load.finish(lab)?;
    demand_records(lab, THROUGH.calls())?;
    Ok(format!(
        "{} calls went on three times; gaps there and back, median/worst ms: {}",
        THROUGH.calls(),
        found.join(", ")
    ))
}

/// How often an active host that hears nobody asks the API (docs/ha.md).
const ASKS_EVERY: Duration = Duration::from_secs(1);

/// When a node that was active no longer is, on the taps' clock.
fn stood_down(lab: &Lab<'_>, node: usize) -> Result<Duration> {
    lab.wait_for_status(node, Duration::from_secs(10), |status| (status["role"] != "active").then(|| lab.tap_clock()))
}

fn link_lost(lab: &mut Lab<'_>) -> Result<String> {
    let slow = Duration::from_millis(300);
    cloud(lab)?.faults(&json!({"delay_ms": {"*": ms(slow)}}))?;
    let active = lab.active().context("not exactly one is active")?;
    // Of addresses that it took itself this lately it wants to hear twice that they are gone.
    lab.wait_for_status(active, Duration::from_secs(10), |status| {
        status["for_s"].as_f64().is_some_and(|s| s > 5.0).then_some(())
    })?;
    let mut taps = taps_of(lab, active)?;
    let load = Load::begin(lab, &Size::twenty(12))?;
    let at = lab.tap_clock();
    lab.cut_heartbeats(true)?;
    let moved = cloud(lab)?.wait_for(1 - active, at, Duration::from_secs(10))?;
    let told = moved.iter().map(|one| one.told).max().unwrap_or_default();
    let knew = stood_down(lab, active)?.saturating_sub(told);
    std::thread::sleep(Duration::from_secs(2));
    ensure!(lab.active() == Some(1 - active), "both are active, or none: {:?}", [lab.status(0), lab.status(1)]);
    load.finish(lab)?;
    let (_, last) = spoke_after(&mut taps, told)?;
    let spoke = last.context("the old one never spoke")?.saturating_sub(told);
    let stopped = spoke.max(knew);
    let limit = ASKS_EVERY + slow;
    demand_records(lab, Size::twenty(12).calls())?;
    ensure!(stopped <= limit, "{} went on for {stopped:?} after the API had moved the addresses", NODES[active]);
    lab.cut_heartbeats(false)?;
    let now = lab.wait_for_pair(Duration::from_secs(20))?;
    ensure!(now == 1 - active, "{} grabbed back", NODES[active]);
    Ok(format!(
        "{} knew {:.0} ms after the API had moved the addresses, of {:.0}, and had spoken last at {:.0}",
        NODES[active],
        ms(knew),
        ms(limit),
        ms(spoke)
    ))
}

fn api_lost_active(lab: &mut Lab<'_>) -> Result<String> {
    let active = lab.active().context("not exactly one is active")?;
    let mut taps = taps_of(lab, active)?;
    let size = Size::twenty(14);
    let load = Load::begin(lab, &size)?;
    cloud(lab)?.cut(active, true)?;
    std::thread::sleep(Duration::from_secs(3));
    ensure!(lab.active() == Some(active), "the loss of the API alone changed the roles");
    let at = lab.tap_clock();
    lab.cut_heartbeats(true)?;
    cloud(lab)?.wait_for(1 - active, at, Duration::from_secs(10))?;
    lab.wait_for_active(1 - active, Duration::from_secs(5))?;
    std::thread::sleep(Duration::from_secs(2));
    lab.wait_for_active(active, Duration::ZERO).context("it cannot know, and stopped")?;
    let healed = lab.tap_clock();
    lab.cut_heartbeats(false)?;
    let knew = stood_down(lab, active)?.saturating_sub(healed);
    // Without the API it is not ready, but standby.
    lab.wait_for_status(active, Duration::from_secs(10), |status| (status["role"] == "standby").then_some(()))?;
    load.finish(lab)?;
    let (_, last) = spoke_after(&mut taps, healed)?;
    let stopped = last.unwrap_or_default().saturating_sub(healed).max(knew);
    demand_records(lab, size.calls())?;
    ensure!(stopped <= super::STOPS_WITHIN, "{} went on for {stopped:?} after it could hear", NODES[active]);
    Ok(format!(
        "{} went on without API and link, and stopped {:.0} ms after the link healed",
        NODES[active],
        ms(stopped)
    ))
}

fn api_lost_standby(lab: &mut Lab<'_>) -> Result<String> {
    let active = lab.active().context("not exactly one is active")?;
    let standby = 1 - active;
    let size = Size::without_hold(60);
    let load = Load::begin(lab, &size)?;
    cloud(lab)?.cut(standby, true)?;
    let said = lab.wait_for_status(standby, Duration::from_secs(40), |status| {
        (status["ready"] == false).then(|| status["provider_objects"].as_str().map(str::to_owned)).flatten()
    })?;
    let at = lab.kill(active)?;
    std::thread::sleep(Duration::from_secs(3));
    ensure!(lab.active().is_none(), "it took over without the API");
    let back = lab.tap_clock();
    cloud(lab)?.cut(standby, false)?;
    lab.wait_for_active(standby, Duration::from_secs(10))?;
    cloud(lab)?.wait_for(standby, at, Duration::from_secs(10))?;
    std::thread::sleep(Duration::from_millis(500));
    let (_, worst) = median_and_worst(&lab.gaps(End::Far, &load.ssrcs[0], at)?);
    let after = (at + worst).saturating_sub(back);
    load.finish(lab)?;
    demand_records(lab, size.calls())?;
    // It claims once a second; an attempt that began without the API ends by itself, after a second.
    let limit = Duration::from_secs(3);
    ensure!(after <= limit, "media came back {after:?} after the API");
    Ok(format!("not ready ({said}); media came back {:.0} ms after the API", ms(after)))
}

fn api_lost_both(lab: &mut Lab<'_>) -> Result<String> {
    let active = lab.active().context("not exactly one is active")?;
    let size = Size::twenty(10);
    let load = Load::begin(lab, &size)?;
    for node in 0..2 {
        cloud(lab)?.cut(node, true)?;
    }
    lab.cut_heartbeats(true)?;
    std::thread::sleep(Duration::from_secs(5));
    ensure!(lab.active() == Some(active), "somebody else is active: {:?}", [lab.status(0), lab.status(1)]);
    lab.cut_heartbeats(false)?;
    let ssrcs = load.finish(lab)?;
    ensure!(lab.active() == Some(active), "the roles changed as the link healed");
    let lost = [lost(lab, End::Near, &ssrcs[0]), lost(lab, End::Far, &ssrcs[1])];
    demand_records(lab, size.calls())?;
    ensure!(lost == [0, 0], "{} frames were lost on the way there, {} on the way back", lost[0], lost[1]);
    Ok(format!("{} went on for 5 s, the other claimed in vain; 0 frames lost", NODES[active]))
}
