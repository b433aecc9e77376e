//! RTP from a source that does not belong: none of it may reach the other side, at any time, and nothing may be sent
//! to it (RTP Inject and RTP Bleed, CVE-2025-53399).

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    appliance::{DROPPED, Samples, risen},
    inject::Injector,
    lab::{End, Lab},
    law::Law,
    runner::{BOTH, Scenario},
    talker::Words,
    topology::{INTRUDER, SECOND, TANDEM_A, TANDEM_B},
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("intruder", "foreign RTP before, inside and after the latching window is refused", intruder)
            .on(BOTH)
            .prepared(|plan| plan.setup.window_ms = 2_000),
    ]
}

const NEAR: Words = Words { side: 0xca11, frames: 400 };
const FAR: Words = Words { side: 0xca22, frames: 400 };
const FOREIGN: u32 = 0xbad0_0000;

/// One intruder on each side's network.
struct Intruders {
    near: Injector,
    far: Injector,
}

impl Intruders {
    /// Speaks to both media ports of the call, each side's own law, ten frames each at 100 per second.
    fn speak(&mut self, near: SocketAddr, far: SocketAddr, phase: u32) -> Result<()> {
        self.near.talk(near, Law::Mu.payload_type(), FOREIGN + phase, 10)?;
        self.far.talk(far, Law::A.payload_type(), FOREIGN + 0x100 + phase, 10)
    }
}

fn intruder(lab: &mut Lab<'_>) -> Result<String> {
    let mut near_talker = lab.talker(End::Near, NEAR)?;
    let mut far_talker = lab.talker(End::Far, FAR)?;
    let mut intruders = Intruders {
        near: Injector::new(&lab.ground.caller.name, SocketAddr::new(INTRUDER, 4_000), 100)?,
        far: Injector::new(&lab.ground.callee.name, SocketAddr::new(SECOND, 4_000), 100)?,
    };
    let before = lab.appliance()?.metrics()?;
    let callee = lab.callee(Law::A).with("ring_ms", 1_500);
    let caller = lab.caller(Law::Mu).with("talk_ms", 9_000);
    let mut there = lab.start_waiting(End::Far, &callee)?;
    let mut here = lab.start(End::Near, &caller)?;
    let wait = Duration::from_secs(5);

    // Before: the callee's INVITE names tandem's port on its side; the one on the caller's side is not told before an
    // answer, so the intruder there tries them all.
    let far_port = lab.tap(End::Far).wait("the INVITE", wait, |book| {
        book.dialogs.by_call_id.values().find_map(|dialog| dialog.told.first()).map(|sdp| sdp.rtp)
    })?;
    ensure!(far_port.ip() == TANDEM_B, "the callee was told to send to {far_port}");
    sweep(&mut intruders)?;
    intruders.far.talk(far_port, Law::A.payload_type(), FOREIGN + 0x100, 10)?;

    // Inside: from the callers' first frames on, for the window's length.
    let near_port = lab.tap(End::Near).wait("the answer", wait, |book| {
        book.dialogs.by_call_id.values().find_map(|dialog| dialog.told.last()).map(|sdp| sdp.rtp)
    })?;
    ensure!(near_port.ip() == TANDEM_A, "the caller was told to send to {near_port}");
    for end in End::BOTH {
        lab.tap(end).wait("the other end's voice", wait, |book| (book.rtp_packets(false) > 0).then_some(()))?;
    }
    for _ in 0..8 {
        intruders.speak(near_port, far_port, 1)?;
    }

    // After.
    std::thread::sleep(Duration::from_millis(1_500));
    for _ in 0..4 {
        intruders.speak(near_port, far_port, 2)?;
    }
    here.finish()?;
    there.finish()?;
    near_talker.finish(1, Duration::from_secs(5))?;
    far_talker.finish(1, Duration::from_secs(5))?;
    judge(lab, &intruders, &before)
}

/// Two packets to every even port of the media range: enough to be latched where anyone would be.
fn sweep(intruders: &mut Intruders) -> Result<()> {
    let mut fast = Injector::clone_paced(&intruders.near, 20_000)?;
    for port in (20_000..28_000).step_by(2) {
        fast.talk(SocketAddr::new(TANDEM_A, port), Law::Mu.payload_type(), FOREIGN, 2)?;
    }
    intruders.near.sent += fast.sent;
    Ok(())
}

fn judge(lab: &mut Lab<'_>, intruders: &Intruders, before: &Samples) -> Result<String> {
    for end in End::BOTH {
        let book = lab.tap(end).book();
        let strangers: u64 = book
            .streams
            .iter()
            .filter(|(key, _)| !key.outgoing && ![NEAR.side, FAR.side].contains(&((key.ssrc >> 16) as u16)))
            .map(|(_, stream)| stream.packets.len() as u64)
            .sum();
        ensure!(strangers == 0, "{strangers} foreign packets reached the {end:?} end");
        let fed = book.streams.keys().filter(|key| !key.outgoing && [INTRUDER, SECOND].contains(&key.to.ip())).count();
        ensure!(fed == 0, "an intruder at the {end:?} end was sent RTP");
        let errors = book.unreachable.iter().filter(|error| !error.outgoing).count();
        ensure!(errors == 0, "{errors} ICMP errors came back to the {end:?} end");
    }
    let mut found = Vec::new();
    for (end, words, from, to) in [(End::Near, NEAR, Law::Mu, Law::A), (End::Far, FAR, Law::A, Law::Mu)] {
        let heard = lab.judge_ssrcs(end, &[words.ssrc("701")], &lab.expect(from, to, None));
        let heard = heard.first().context("no call")?.1;
        ensure!(heard.is_perfect() && heard.sent == 400, "the {end:?} end's own words: {heard}");
        found.push(heard.to_string());
    }
    let dropped = risen(before, &lab.appliance()?.metrics()?, DROPPED);
    let sent = intruders.near.sent + intruders.far.sent;
    let counted: u64 = dropped.values().sum();
    ensure!(counted == sent, "{sent} foreign packets were sent, as dropped are counted {dropped:?}");
    Ok(format!(
        "{sent} foreign packets sent, none arrived, all counted {dropped:?}; the call: {}; {}",
        found[0], found[1]
    ))
}
