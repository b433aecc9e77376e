//! Garbage in quantity, while calls go on.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use crate::{
    appliance::{DROPPED, PUNTED, Samples, risen},
    inject::{Injector, Noise},
    lab::{End, Lab},
    law::Law,
    runner::{BOTH, Scenario},
    talker::Words,
    topology::{INTRUDER, TANDEM_A},
    verdict::Heard,
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("flood", "garbage at 20 kpps for 60 s at media and SIP ports leaves 20 calls unharmed", flood)
            .on(BOTH)
            .prepared(|plan| plan.ignored_source = Some(INTRUDER))
            .alone()
            .within(Duration::from_secs(200)),
    ]
}

const CALLS: u32 = 20;
const SECONDS: u64 = 60;
const PACKETS_PER_SECOND: u32 = 20_000;
const NEAR: Words = Words { side: 0xca11, frames: 3_400 };
const FAR: Words = Words { side: 0xca22, frames: 3_400 };

struct Sent {
    media: u64,
    sip: u64,
}

fn flood(lab: &mut Lab<'_>) -> Result<String> {
    let mut near_talker = lab.talker(End::Near, NEAR)?;
    let mut far_talker = lab.talker(End::Far, FAR)?;
    let mut caller = lab.caller(Law::Mu).with("talk_ms", 72_000);
    let mut callee = lab.callee(Law::A);
    (caller.calls, caller.rate, caller.limit) = (CALLS, 20, Duration::from_secs(110));
    (callee.calls, callee.limit) = (CALLS, Duration::from_secs(110));
    let mut there = lab.start_waiting(End::Far, &callee)?;
    let mut here = lab.start(End::Near, &caller)?;
    std::thread::sleep(Duration::from_secs(3));

    let before = lab.appliance()?.metrics()?;
    let (sent, memory) = rain(lab)?;
    std::thread::sleep(Duration::from_millis(500));
    let after = lab.appliance()?.metrics()?;
    near_talker.finish(CALLS.into(), Duration::from_secs(40))?;
    far_talker.finish(CALLS.into(), Duration::from_secs(40))?;
    here.finish()?;
    there.finish()?;

    let mut sum = Heard::default();
    for (end, words, from, to) in [(End::Near, NEAR, Law::Mu, Law::A), (End::Far, FAR, Law::A, Law::Mu)] {
        let ssrcs: Vec<u32> = (1..=CALLS).map(|call| words.ssrc(&format!("70{call}"))).collect();
        for (ssrc, heard) in lab.judge_ssrcs(end, &ssrcs, &lab.expect(from, to, None)) {
            ensure!(heard.is_perfect() && heard.sent == 3_400, "SSRC {ssrc:08x} of the {end:?} end: {heard}");
            sum += heard;
        }
    }
    no_icmp(lab)?;
    let counted = accounts(&before, &after, &sent)?;
    let growth = memory.1.saturating_sub(memory.0);
    ensure!(growth <= 1024, "resident memory grew by {growth} KiB, from {} to {} KiB", memory.0, memory.1);
    Ok(format!(
        "{} at media ports and {} at SIP in {SECONDS} s: {counted}; memory grew by {growth} KiB; calls: {sum}",
        sent.media, sent.sip
    ))
}

/// Random bytes, half of them with an RTP header in front, to all of the media range; random bytes and broken
/// messages to SIP, every tenth packet. Returns what was sent, and the memory 10 s after the start and at the end.
fn rain(lab: &mut Lab<'_>) -> Result<(Sent, (u64, u64))> {
    let mut injector = Injector::new(&lab.ground.caller.name, SocketAddr::new(INTRUDER, 4_000), PACKETS_PER_SECOND)?;
    let mut noise = Noise::new(0x7a9d_e301);
    let mut sent = Sent { media: 0, sip: 0 };
    let start = Instant::now();
    let mut memory = None;
    let mut bytes = [0; 400];
    while start.elapsed() < Duration::from_secs(SECONDS) {
        let len = noise.below(bytes.len() as u64) as usize;
        noise.fill(&mut bytes[..len]);
        if injector.sent % 10 == 9 {
            sent.sip += 1;
            let text = broken_message(&mut noise);
            let datagram = if noise.below(2) == 0 { &bytes[..len] } else { &text };
            injector.send(SocketAddr::new(TANDEM_A, 5060), datagram)?;
            continue;
        }
        sent.media += 1;
        if len >= 12 && noise.below(2) == 0 {
            (bytes[0], bytes[1]) = (0x80, if noise.below(2) == 0 { 0 } else { 8 });
        }
        let port = 20_000 + noise.below(8_000) as u16;
        injector.send(SocketAddr::new(TANDEM_A, port), &bytes[..len])?;
        if memory.is_none() && start.elapsed() > Duration::from_secs(10) {
            memory = Some(lab.appliance()?.resident_kib()?);
        }
    }
    let rate = injector.sent / SECONDS;
    ensure!(rate >= 19_000, "the generator reached {rate} packets per second only, not {PACKETS_PER_SECOND}");
    let end = lab.appliance()?.resident_kib()?;
    Ok((sent, (memory.unwrap_or(end), end)))
}

/// A valid OPTIONS, cut short somewhere and with one byte changed.
fn broken_message(noise: &mut Noise) -> Vec<u8> {
    let mut text = b"OPTIONS sip:198.18.1.10 SIP/2.0\r\nVia: SIP/2.0/UDP 198.18.1.66:4000;branch=z9hG4bKx;rport\r\n\
        From: <sip:x@198.18.1.66>;tag=1\r\nTo: <sip:198.18.1.10>\r\nCall-ID: flood\r\nCSeq: 1 OPTIONS\r\n\
        Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        .to_vec();
    text.truncate(1 + noise.below(text.len() as u64) as usize);
    let at = noise.below(text.len() as u64) as usize;
    text[at] = noise.word() as u8;
    text
}

/// DESIGN §1: media to no flow is dropped, never punted, so no ICMP error may leave for the media range.
fn no_icmp(lab: &Lab<'_>) -> Result<()> {
    let book = lab.tap(End::Near).book();
    let errors = book
        .unreachable
        .iter()
        .filter(|error| !error.outgoing && error.about.is_none_or(|at| (20_000..28_000).contains(&at.port())))
        .count();
    ensure!(errors == 0, "{errors} ICMP errors left for the media range");
    Ok(())
}

/// Every packet to the media range is counted as dropped, every one to SIP as punted or policed.
fn accounts(before: &Samples, after: &Samples, sent: &Sent) -> Result<String> {
    let (drops, punts) = (risen(before, after, DROPPED), risen(before, after, PUNTED));
    let (dropped, punted) = (drops.values().sum::<u64>(), punts.values().sum::<u64>());
    ensure!(drops.contains_key("no_flow"), "nothing is counted as no_flow: {drops:?}");
    ensure!(dropped >= sent.media, "{} packets to media ports, but dropped were {drops:?}", sent.media);
    ensure!(
        dropped + punted >= sent.media + sent.sip,
        "{} packets were sent, but dropped were {drops:?} and punted {punts:?}",
        sent.media + sent.sip
    );
    // Neighbour discovery and the calls' own signalling are the only other things that are punted.
    let surplus = dropped + punted - sent.media - sent.sip;
    ensure!(surplus < 500, "{surplus} more packets are counted than were sent");
    Ok(format!("dropped {drops:?}, punted {punts:?}"))
}
