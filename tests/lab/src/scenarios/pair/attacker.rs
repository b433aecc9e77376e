//! Somebody on the heartbeat network: replays, forges, floods. No role changes and no call is disturbed.
//!
//! Frames go out as they are from a packet socket on the cable, so that they carry the genuine addresses: into each node
//! from its peer's end. They are written onto the interface of the other end, which is where an attacker's would come from.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::{
    NODES, demand_records, generation,
    load::{Load, Size, lost},
    pair,
};
use crate::{
    appliance::HEARTBEAT_PORT,
    book::Book,
    frame::{self, Content},
    inject::Noise,
    lab::{End, Lab},
    net::Namespace,
    runner::Scenario,
    sys::{RawSender, in_netns},
    tap::Tap,
    topology::HEARTBEATS,
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("pair_attacker", "Somebody replays, forges and floods heartbeats: no role changes", attacker)
            .prepared(pair)
            .alone(),
    ]
}

const FLOOD: Duration = Duration::from_secs(5);
const TALKS: Size = Size::twenty(20);
/// Bytes of a heartbeat, of which the last ones are its seal (docs/ha.md).
const HEARTBEAT: usize = 128;

/// What was recorded: frames towards each node, by path.
type Recording = [Vec<Vec<Vec<u8>>>; 2];

/// Records what both nodes hear for a while.
fn record(lab: &Lab<'_>, time: Duration) -> Result<Recording> {
    let mut recording: Recording = [vec![Vec::new(); 2], vec![Vec::new(); 2]];
    let mut taps = Vec::new();
    for path in 0..2 {
        taps.push(Tap::open(&namespace(lab, 0)?.name, &format!("hb{path}"), Book::default())?);
    }
    std::thread::sleep(time);
    for (path, tap) in taps.iter_mut().enumerate() {
        tap.close()?;
        for (_, bytes) in &tap.book().raw {
            let Content::Udp { to, payload, .. } = frame::read(bytes) else { continue };
            if to.port() == HEARTBEAT_PORT && payload.len() == HEARTBEAT {
                let node = if to.ip() == address(path, 0) { 0 } else { 1 };
                recording[node][path].push(bytes.clone());
            }
        }
    }
    let each = recording.iter().flatten().map(Vec::len).min();
    ensure!(each.is_some_and(|count| count > 10), "too few heartbeats were recorded: {each:?}");
    Ok(recording)
}

fn namespace<'a>(lab: &'a Lab<'_>, node: usize) -> Result<&'a Namespace> {
    if node == 0 { Ok(&lab.ground.tandem) } else { lab.ground.second.as_ref().context("no second node") }
}

fn address(path: usize, node: usize) -> IpAddr {
    let [a, b, c] = HEARTBEATS[path];
    IpAddr::V4(Ipv4Addr::new(a, b, c, node as u8 + 1))
}

/// Who writes into the cables: by the node that hears it, then by path.
fn attackers(lab: &Lab<'_>) -> Result<[Vec<RawSender>; 2]> {
    let towards = |node: usize| -> Result<Vec<RawSender>> {
        let peer = &namespace(lab, 1 - node)?.name;
        let each = (0..2).map(|path| Ok(in_netns(peer, || RawSender::open(&format!("hb{path}")))?));
        each.collect()
    };
    Ok([towards(0)?, towards(1)?])
}

/// Heartbeats that were not believed, by node and reason.
fn refused(lab: &Lab<'_>, node: usize) -> Result<BTreeMap<String, u64>> {
    let status = lab.status(node)?;
    let mut sums = BTreeMap::new();
    for path in status["paths"].as_array().into_iter().flatten() {
        for count in path["refused"].as_array().into_iter().flatten() {
            let name = count["name"].as_str().unwrap_or_default().to_owned();
            *sums.entry(name).or_default() += count["count"].as_u64().unwrap_or(0);
        }
    }
    Ok(sums)
}

/// The frame with another payload, without a checksum (RFC 768: zero says that there is none).
fn forged(frame: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut forged = frame.to_vec();
    let start = forged.len() - HEARTBEAT;
    change(&mut forged[start..]);
    forged[start - 2..start].fill(0);
    forged
}

fn attacker(lab: &mut Lab<'_>) -> Result<String> {
    // Of an earlier process of each node: both are started anew.
    let earlier = record(lab, Duration::from_millis(500))?;
    for node in 0..2 {
        lab.kill(node)?;
    }
    for node in 0..2 {
        lab.start_node(node)?;
    }
    let active = lab.wait_for_pair(Duration::from_secs(30))?;
    let load = Load::begin(lab, &TALKS)?;
    let before = generation(lab, active)?;
    let at_first = [refused(lab, 0)?, refused(lab, 1)?];
    let own = record(lab, Duration::from_millis(500))?;
    let senders = attackers(lab)?;
    let mut noise = Noise::new(5);
    let mut sent = 0u64;
    // Replays of this run, and of the earlier processes; each on its own path and on the other one.
    for recording in [&own, &earlier] {
        for (node, paths) in recording.iter().enumerate() {
            for (path, frames) in paths.iter().enumerate() {
                for bytes in frames {
                    senders[node][path].send(bytes)?;
                    sent += 1;
                }
            }
        }
    }
    // Forgeries: another key's seal, zeros, noise, and a genuine one with one bit changed.
    for _ in 0..200 {
        for (node, of_node) in senders.iter().enumerate() {
            for (path, sender) in of_node.iter().enumerate() {
                let genuine = own[node][path].last().context("nothing was recorded")?;
                let bit = noise.below(HEARTBEAT as u64 * 8) as usize;
                sender.send(&forged(genuine, |payload| noise.fill(&mut payload[HEARTBEAT - 16..])))?;
                sender.send(&forged(genuine, |payload| payload.fill(0)))?;
                sender.send(&forged(genuine, |payload| noise.fill(payload)))?;
                sender.send(&forged(genuine, |payload| payload[bit / 8] ^= 1 << (bit % 8)))?;
                sent += 4;
            }
        }
    }
    std::thread::sleep(Duration::from_millis(200));
    // What was sent slowly enough was counted, each by its reason.
    let counted = [refused(lab, 0)?, refused(lab, 1)?];
    for (node, counted) in counted.iter().enumerate() {
        let rose = |reason: &str| counted.get(reason).unwrap_or(&0) - at_first[node].get(reason).unwrap_or(&0);
        for reason in ["old", "seal", "foreign"] {
            ensure!(rose(reason) > 0, "{} refused nothing as {reason}: {counted:?}", NODES[node]);
        }
    }
    // As fast as it goes.
    let mut flood = 0u64;
    let began = Instant::now();
    while began.elapsed() < FLOOD {
        for (node, of_node) in senders.iter().enumerate() {
            for (path, sender) in of_node.iter().enumerate() {
                let genuine = &own[node][path][flood as usize % own[node][path].len()];
                let bytes = if flood.is_multiple_of(2) {
                    genuine.clone()
                } else {
                    forged(genuine, |p| noise.fill(&mut p[8..]))
                };
                for _ in 0..16 {
                    // A queue that is full is the flood's own.
                    flood += u64::from(sender.send(&bytes).is_ok());
                }
            }
        }
    }
    let rate = flood as f64 / began.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_millis(500));
    ensure!(lab.active() == Some(active), "the roles changed");
    ensure!(generation(lab, active)? == before, "the generation changed from {before}");
    let ssrcs = load.finish(lab)?;
    let lost = [lost(lab, End::Near, &ssrcs[0]), lost(lab, End::Far, &ssrcs[1])];
    demand_records(lab, TALKS.calls())?;
    ensure!(lost == [0, 0], "{} frames were lost on the way there, {} on the way back", lost[0], lost[1]);
    let last = refused(lab, active)?;
    Ok(format!(
        "{sent} replays and forgeries, and {rate:.0} a second for {} s: {} stayed active, no frame lost; refused {last:?}",
        FLOOD.as_secs(),
        NODES[active]
    ))
}
