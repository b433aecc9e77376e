//! A host dies and the calls go on: two appliances, one active and one standby, and calls with media over both.

mod attacker;
mod ec2;
mod load;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use self::load::{HUNDRED, Load, OVER_TCP, lost};
use crate::{
    appliance::{NODES, Samples},
    book::Book,
    lab::{End, Lab, Plan},
    law::Law,
    pair::{Gap, median_and_worst},
    runner::Scenario,
    sipp::Phone,
    tap::Tap,
    topology::{Between, CALLEE, SECOND, TANDEM_A, TANDEM_B},
};

pub fn scenarios() -> Vec<Scenario> {
    let mut all = vec![
        Scenario::new("pair_forms", "Of two that start, one becomes active and the other ready; a call passes", forms)
            .prepared(pair),
        Scenario::new("pair_kill", "kill -9 of the active, 100 calls talking (UDP): all go on, both ways", kill_udp)
            .prepared(pair)
            .alone(),
        Scenario::new("pair_kill_tcp", "The same over TCP: peers connect again, into their dialogs", kill_tcp)
            .prepared(pair_tcp)
            .alone(),
        Scenario::new("pair_switchover", "A planned switchover with 100 calls: no frame is lost", switchover)
            .prepared(pair)
            .alone(),
        Scenario::new("pair_pause_60", "The active stands still for 60 ms: nobody takes over", short_pause)
            .prepared(pair)
            .alone(),
        Scenario::new(
            "pair_pause_300",
            "It stands still for 300 ms: the other takes over, and it sends nothing more",
            long_pause,
        )
        .prepared(pair)
        .alone(),
        Scenario::new("pair_ten", "Ten failovers under 20 new calls a second: no established call is lost", ten)
            .prepared(pair_of_many)
            .within(Duration::from_secs(280))
            .alone(),
        Scenario::new("pair_one_path", "One of the two heartbeat networks fails: nothing happens", one_path)
            .prepared(pair)
            .alone(),
        Scenario::new(
            "pair_partition",
            "Both fail and heal: the lower of two that transmit stops within 200 ms",
            partition,
        )
        .prepared(pair)
        .alone(),
        super::ng_nodes::of_a_pair(),
    ];
    all.extend(attacker::scenarios());
    all.extend(ec2::scenarios());
    all
}

fn pair(plan: &mut Plan) {
    plan.between = Between::Pair;
    for (name, prefix, at) in
        [("drops", "8", format!("sip:{SECOND}:5060")), ("holds", "9", format!("sip:{CALLEE}:5062"))]
    {
        plan.setup.extra.push_str(&format!(
            "\n[[trunk]]\nname = \"{name}\"\nfrom = []\naddress = \"b4\"\ncodecs = [\"PCMA\"]\ndestinations = [\"{at}\"]\n\
             \n[[route]]\nprefix = \"{prefix}\"\nto = [\"{name}\"]\n"
        ));
    }
}

fn pair_tcp(plan: &mut Plan) {
    pair(plan);
    plan.setup.destinations = vec![crate::topology::sip_uri(CALLEE, true)];
    plan.setup.extra =
        plan.setup.extra.replace(":5060\"]", ":5060;transport=tcp\"]").replace(":5062\"]", ":5062;transport=tcp\"]");
}

fn pair_of_many(plan: &mut Plan) {
    pair(plan);
    plan.setup.log = "warn";
    plan.setup.media_ports = (20_000, 39_999);
}

/// Call-detail records of both nodes, one for each call: of two with the same id the later one.
fn merged_records(lab: &Lab<'_>) -> Result<BTreeMap<String, serde_json::Value>> {
    let mut merged = BTreeMap::new();
    for node in NODES {
        let text = std::fs::read_to_string(lab.room.join(node).join("cdr.jsonl")).unwrap_or_default();
        for line in text.lines() {
            let record: serde_json::Value = serde_json::from_str(line).context("a call-detail record is no JSON")?;
            let id = record["id"].as_str().context("a call-detail record has no id")?.to_owned();
            merged.insert(id, record);
        }
    }
    Ok(merged)
}

/// Records are on disk a moment after their call has ended.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);

fn demand_records(lab: &Lab<'_>, calls: u32) -> Result<()> {
    let deadline = Instant::now() + WRITTEN_WITHIN;
    loop {
        let records = merged_records(lab)?;
        let ended: BTreeMap<&str, usize> = records.values().fold(BTreeMap::new(), |mut causes, record| {
            *causes.entry(record["cause"].as_str().unwrap_or("?")).or_default() += 1;
            causes
        });
        if records.len() == calls as usize && ended.get("hangup") == Some(&(calls as usize)) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{calls} calls left {} records: {ended:?}", records.len());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn forms(lab: &mut Lab<'_>) -> Result<String> {
    let active = lab.active().context("not exactly one is active")?;
    let mu = lab.speech(Law::Mu, Duration::from_secs(2))?;
    let a = lab.speech(Law::A, Duration::from_secs(2))?;
    let caller = lab.caller(Law::Mu).plays(&mu).with("talk_ms", 2_500);
    let callee = lab.callee(Law::A).plays(&a);
    lab.call(&caller, &callee)?;
    let there = lab.demand_perfect(End::Near, 1, &lab.expect(Law::Mu, Law::A, None))?;
    let back = lab.demand_perfect(End::Far, 1, &lab.expect(Law::A, Law::Mu, None))?;
    ensure!(lab.active() == Some(active), "the roles changed without a reason");
    Ok(format!("{} is active; there: {there}; back: {back}", NODES[active]))
}

fn kill_udp(lab: &mut Lab<'_>) -> Result<String> {
    kill(lab, false)
}

fn kill_tcp(lab: &mut Lab<'_>) -> Result<String> {
    kill(lab, true)
}

/// What the issue asks of a failover, at the far ear: half of the calls, and the worst.
pub const MEDIAN: Duration = Duration::from_millis(150);
pub const WORST: Duration = Duration::from_millis(300);

fn kill(lab: &mut Lab<'_>, tcp: bool) -> Result<String> {
    let active = lab.active().context("not exactly one is active")?;
    let load = Load::begin(lab, if tcp { &OVER_TCP } else { &HUNDRED })?;
    std::thread::sleep(Duration::from_secs(2));
    let at = lab.kill(active)?;
    lab.wait_for_active(1 - active, Duration::from_secs(5))?;
    let ssrcs = load.finish(lab)?;
    let gaps = [lab.gaps(End::Far, &ssrcs[0], at)?, lab.gaps(End::Near, &ssrcs[1], at)?];
    for (way, gaps) in ["there", "back"].into_iter().zip(&gaps) {
        print_gaps(way, gaps);
    }
    demand_records(lab, HUNDRED.calls())?;
    let status = lab.status(1 - active)?;
    let takeover = status["last_takeover"].to_string();
    let mut found = Vec::new();
    for (way, gaps) in ["there", "back"].into_iter().zip(&gaps) {
        let (median, worst) = median_and_worst(gaps);
        ensure!(
            median < MEDIAN && worst < WORST,
            "{way}: the median gap is {median:?}, the worst {worst:?}; {takeover}"
        );
        found.push(format!("{way}: gap of {median:.0?} in the middle, {worst:.0?} at worst"));
    }
    Ok(format!("{} calls went on; {}; takeover {takeover}", HUNDRED.calls(), found.join("; ")))
}

/// Each call's gap, in milliseconds, for a person.
pub fn print_gaps(way: &str, gaps: &[Gap]) {
    let each: Vec<String> = gaps.iter().map(|gap| gap.length.as_millis().to_string()).collect();
    println!("  gaps {way}, ms: {}", each.join(" "));
}

fn switchover(lab: &mut Lab<'_>) -> Result<String> {
    let active = lab.active().context("not exactly one is active")?;
    let load = Load::begin(lab, &HUNDRED)?;
    std::thread::sleep(Duration::from_secs(1));
    let at = lab.tap_clock();
    lab.node(active)?.ask(&["ha", "switchover"])?;
    lab.wait_for_active(1 - active, Duration::from_secs(5))?;
    lab.wait_for_pair(Duration::from_secs(10))?;
    let ssrcs = load.finish(lab)?;
    let lost = [lost(lab, End::Near, &ssrcs[0]), lost(lab, End::Far, &ssrcs[1])];
    let (_, worst) = median_and_worst(&lab.gaps(End::Far, &ssrcs[0], at)?);
    demand_records(lab, HUNDRED.calls())?;
    ensure!(lost == [0, 0], "{} frames were lost on the way there, {} on the way back", lost[0], lost[1]);
    Ok(format!("{} calls, 0 frames lost each way; the longest silence was {worst:.0?}", HUNDRED.calls()))
}

/// Stops a process, waits, and lets it go on; returns when it woke.
fn pause(lab: &mut Lab<'_>, node: usize, length: Duration) -> Result<Duration> {
    lab.node(node)?.process.signal(libc::SIGSTOP)?;
    std::thread::sleep(length);
    let woke = lab.tap_clock();
    lab.node(node)?.process.signal(libc::SIGCONT)?;
    Ok(woke)
}

fn generation(lab: &Lab<'_>, node: usize) -> Result<String> {
    Ok(lab.status(node)?["generation"].to_string())
}

fn short_pause(lab: &mut Lab<'_>) -> Result<String> {
    let active = lab.active().context("not exactly one is active")?;
    let before = generation(lab, active)?;
    let load = Load::begin(lab, &HUNDRED)?;
    for _ in 0..3 {
        pause(lab, active, Duration::from_millis(60))?;
        std::thread::sleep(Duration::from_millis(700));
    }
    let ssrcs = load.finish(lab)?;
    ensure!(lab.active() == Some(active), "the roles changed");
    ensure!(generation(lab, active)? == before, "the generation changed from {before}");
    let lost = [lost(lab, End::Near, &ssrcs[0]), lost(lab, End::Far, &ssrcs[1])];
    demand_records(lab, HUNDRED.calls())?;
    Ok(format!("three times, and {} stayed active; frames lost: {} there, {} back", NODES[active], lost[0], lost[1]))
}

/// Taps where a node is plugged into both switches: what comes from it.
fn taps_of(lab: &Lab<'_>, node: usize) -> Result<Vec<Tap>> {
    let switch = lab.ground.middle.as_ref().context("this ground has no switch")?;
    (0..2).map(|network| Tap::open(&switch.name, &format!("br{network}x{}", node + 1), Book::default())).collect()
}

/// When this node last sent RTP or SIP from a floating address, and how many such frames came after `since`.
fn spoke_after(taps: &mut [Tap], since: Duration) -> Result<(u64, Option<Duration>)> {
    let (mut count, mut last) = (0, None);
    for tap in taps {
        tap.close()?;
        let book = tap.book();
        let ours = |ip| ip == TANDEM_A || ip == TANDEM_B;
        let rtp = book.packets(|key| !key.outgoing && ours(key.from.ip()));
        let sip = book.messages.iter().filter(|message| !message.outgoing && ours(message.from.ip()));
        for at in rtp.iter().map(|(_, packet)| packet.at).chain(sip.map(|message| message.at)) {
            last = last.max(Some(at));
            count += u64::from(at > since);
        }
    }
    Ok((count, last))
}

fn long_pause(lab: &mut Lab<'_>) -> Result<String> {
    let active = lab.active().context("not exactly one is active")?;
    let mut taps = taps_of(lab, active)?;
    let load = Load::begin(lab, &HUNDRED)?;
    std::thread::sleep(Duration::from_secs(1));
    let at = lab.tap_clock();
    let woke = pause(lab, active, Duration::from_millis(300))?;
    lab.wait_for_active(1 - active, Duration::from_secs(5))?;
    let now_active = lab.wait_for_pair(Duration::from_secs(20))?;
    let ssrcs = load.finish(lab)?;
    let (after, _) = spoke_after(&mut taps, woke)?;
    let (_, worst) = median_and_worst(&lab.gaps(End::Far, &ssrcs[0], at)?);
    ensure!(now_active == 1 - active, "{} is active again", NODES[active]);
    demand_records(lab, HUNDRED.calls())?;
    ensure!(after == 0, "{} sent {after} packets after it woke", NODES[active]);
    Ok(format!(
        "{} took over, {} sent 0 packets after it woke; worst gap {worst:.0?}",
        NODES[now_active], NODES[active]
    ))
}

fn one_path(lab: &mut Lab<'_>) -> Result<String> {
    let active = lab.active().context("not exactly one is active")?;
    let before = generation(lab, active)?;
    let load = Load::begin(lab, &HUNDRED)?;
    for path in 0..2 {
        lab.cut_heartbeat(path, true)?;
        std::thread::sleep(Duration::from_secs(1));
        lab.cut_heartbeat(path, false)?;
        std::thread::sleep(Duration::from_secs(1));
    }
    let ssrcs = load.finish(lab)?;
    ensure!(lab.active() == Some(active) && generation(lab, active)? == before, "the roles changed");
    let lost = [lost(lab, End::Near, &ssrcs[0]), lost(lab, End::Far, &ssrcs[1])];
    ensure!(lost == [0, 0], "{} frames were lost on the way there, {} on the way back", lost[0], lost[1]);
    Ok("each path was cut for a second: no role changed, no frame was lost".into())
}

/// With `garp` nobody can tell a partition from a death: both transmit until it heals (docs/ha.md).
const STOPS_WITHIN: Duration = Duration::from_millis(200);

fn partition(lab: &mut Lab<'_>) -> Result<String> {
    let active = lab.active().context("not exactly one is active")?;
    let mut taps = taps_of(lab, active)?;
    let load = Load::begin(lab, &HUNDRED)?;
    lab.cut_heartbeats(true)?;
    lab.wait_for_active(1 - active, Duration::from_secs(3))?;
    std::thread::sleep(Duration::from_secs(1));
    let healed = lab.tap_clock();
    lab.cut_heartbeats(false)?;
    let now_active = lab.wait_for_pair(Duration::from_secs(20))?;
    load.finish(lab)?;
    ensure!(now_active == 1 - active, "the lower generation won");
    let (after, _) = spoke_after(&mut taps, healed + STOPS_WITHIN)?;
    ensure!(
        after == 0,
        "{} sent {after} packets later than {STOPS_WITHIN:?} after the partition healed",
        NODES[active]
    );
    Ok(format!("{} was active meanwhile too, and stopped within {STOPS_WITHIN:?} of its end", NODES[active]))
}

const FAILOVERS: usize = 10;
const NEW_PER_SECOND: u32 = 20;
const HELD_MS: u32 = 6_000;

fn sum(samples: &Samples, name: &str) -> f64 {
    samples.iter().filter(|(key, _)| key.split('{').next() == Some(name)).map(|(_, value)| value).sum()
}

fn ten(lab: &mut Lab<'_>) -> Result<String> {
    let mut active = lab.active().context("not exactly one is active")?;
    let ports = sum(&lab.node(active)?.metrics()?, "tandem_media_ports_free");
    let limit = Duration::from_secs(240);
    let calls = 20_000;
    let callee = Phone { calls, limit, ..lab.callee(Law::A) };
    let mut there = lab.start_waiting(End::Far, &callee)?;
    let caller = lab.caller(Law::Mu).scenario("caller_any").with("talk_ms", HELD_MS);
    let mut here = lab.start(End::Near, &Phone { calls, limit, rate: NEW_PER_SECOND, ..caller })?;
    std::thread::sleep(Duration::from_millis(u64::from(HELD_MS) + 1_000));
    let mut resident = Vec::new();
    for round in 0..FAILOVERS {
        lab.kill(active)?;
        active = 1 - active;
        lab.wait_for_active(active, Duration::from_secs(5)).with_context(|| format!("failover {}", round + 1))?;
        lab.start_node(1 - active)?;
        let now = lab.wait_for_pair(Duration::from_secs(20)).with_context(|| format!("failover {}", round + 1))?;
        ensure!(now == active, "{} grabbed back", NODES[now]);
        std::thread::sleep(Duration::from_secs(2));
        resident.push(lab.node(active)?.resident_kib()?);
    }
    // No further calls; those in progress end.
    here.running.signal(libc::SIGUSR1)?;
    let status = here.running.wait(Duration::from_secs(60))?;
    let (good, failed) = here.counts();
    ensure!(failed == 0, "SIPp as caller: {status}, {good} calls went as they should, {failed} did not");
    let _ = there.running.signal(libc::SIGKILL);
    // Transactions linger for 32 s (RFC 3261 §17), freed ports rest 10 s.
    std::thread::sleep(Duration::from_secs(13));
    let metrics = lab.node(active)?.metrics()?;
    let (sessions, flows) = (sum(&metrics, "tandem_media_sessions"), sum(&metrics, "tandem_flows"));
    ensure!(sessions == 0.0 && flows == 0.0, "{sessions} media sessions and {flows} flows are left");
    let free = sum(&metrics, "tandem_media_ports_free");
    ensure!(free == ports && ports > 0.0, "{free} port pairs are free, and {ports} were");
    let (established, refused) = established(lab)?;
    let records = merged_records(lab)?;
    let answered = records.values().filter(|record| record["cause"] == "hangup").count();
    ensure!(answered == established, "{established} calls were established, and {answered} records say so");
    let (least, most) = (resident.iter().min().copied().unwrap_or(0), resident.iter().max().copied().unwrap_or(0));
    Ok(format!(
        "{established} calls established over {FAILOVERS} failovers, none lost, {refused} refused before their answer; \
         {answered} records after merging; {free} port pairs free, as before; resident memory of who was active {least} to {most} KiB"
    ))
}

/// Calls that the caller has an answer to, all of which must have been ended by its BYE; and those refused.
fn established(lab: &Lab<'_>) -> Result<(usize, usize)> {
    let book = lab.tap(End::Near).book();
    let answered = book.dialogs.by_call_id.values().filter(|dialog| dialog.status == Some(200)).count();
    let all = book.dialogs.by_call_id.len();
    ensure!(answered > 0, "no call was established");
    Ok((answered, all - answered))
}
