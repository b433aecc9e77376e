//! Calls that a pair carries while something happens to it: of those that the caller ends, that the callee ends, and that
//! are held and resumed.

use std::{
    net::SocketAddr,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use crate::{
    connected::{Answers, Callee, Caller, Calls},
    lab::{End, Lab},
    law::Law,
    script::{NO_BODY, Script, sdp},
    sipp::{Phone, Sipp},
    talker::{FRAME_MS, Talker, Words},
    topology::{CALLEE, CALLER, SECOND, TANDEM_A},
};

/// New calls per second, over all kinds.
const PER_SECOND: u32 = 25;

/// How many calls of each kind.
pub struct Size {
    by_caller: u32,
    by_callee: u32,
    held: u32,
    tcp: bool,
    /// A call talks from its answer for this long.
    talk_s: u32,
}

pub const HUNDRED: Size = Size { by_caller: 70, by_callee: 15, held: 15, tcp: false, talk_s: 10 };
/// Over TCP those who negotiate once more stand for those who hold.
pub const OVER_TCP: Size = Size { by_caller: 85, by_callee: 15, held: 0, tcp: true, talk_s: 10 };

impl Size {
    pub const fn twenty(talk_s: u32) -> Size {
        Size { by_caller: 14, by_callee: 3, held: 3, tcp: false, talk_s }
    }

    /// Twenty that talk once: held calls talk twice as long.
    pub const fn without_hold(talk_s: u32) -> Size {
        Size { by_caller: 17, by_callee: 3, held: 0, tcp: false, talk_s }
    }

    pub const fn calls(&self) -> u32 {
        self.by_caller + self.by_callee + self.held
    }

    /// Each kind, and the digits that it is dialled with.
    fn groups(&self) -> impl Iterator<Item = (usize, u32, &'static str)> + use<> {
        let groups = [(0, self.by_caller, "70"), (1, self.by_callee, "80"), (2, self.held, "90")];
        groups.into_iter().filter(|(_, calls, _)| *calls > 0)
    }

    fn words(&self, side: u16) -> Words {
        Words { side, frames: self.talk_s * 1000 / FRAME_MS as u32 }
    }
}

/// Calls that are under way.
pub struct Load {
    calls: u32,
    phones: Vec<Sipp>,
    /// Over TCP, in place of SIPp: a caller and a callee of each kind, and how many calls the callee ends.
    connected: Vec<(Caller, Callee, u32, u32)>,
    talkers: [Talker; 2],
    /// What the near and the far ends say.
    pub ssrcs: [Vec<u32>; 2],
    limit: Duration,
}

impl Load {
    /// Places the calls and waits until all talk.
    pub fn begin(lab: &mut Lab<'_>, size: &Size) -> Result<Load> {
        let words = [size.words(0xca11), size.words(0xca22)];
        let near = lab.talker(End::Near, words[0])?;
        let far = lab.talker(End::Far, words[1])?;
        let after = (size.talk_s + 2) * 1000;
        // Calls that were held talk as long again.
        let limit = Duration::from_secs(2 * u64::from(size.talk_s) + 50);
        let mut phones = Vec::new();
        let mut connected = Vec::new();
        for (kind, calls, dial) in size.groups() {
            let port = 5060 + 2 * kind as u16;
            let rate = (PER_SECOND * calls).div_ceil(size.calls());
            if size.tcp {
                connected.push(over_tcp(lab, kind, calls, dial, rate, after, limit)?);
                continue;
            }
            let callee = match kind {
                0 => Phone::callee(CALLEE, Law::A),
                1 => Phone::callee(SECOND, Law::A).follows(drops(after)),
                _ => Phone { port: 5062, ..Phone::callee(CALLEE, Law::A).scenario("callee_hold") },
            };
            let name = format!("callee{kind}");
            let media_port = 40_000 + 1_000 * kind as u16;
            phones.push(lab.start_waiting(End::Far, &Phone { name, calls, limit, media_port, ..callee })?);
            let media_port = 30_000 + 1_000 * kind as u16;
            let phone = match kind {
                0 => lab.caller(Law::Mu).with("talk_ms", after),
                1 => lab.caller(Law::Mu).scenario("caller_dropped").with("patience_ms", after + 20_000),
                _ => lab.caller(Law::Mu).scenario("caller_hold").with("talk_ms", after).with("hold_ms", 1_000),
            };
            let name = format!("caller{kind}");
            phones.push(
                lab.start(
                    End::Near,
                    &Phone { name, calls, limit, port, media_port, rate, dial: dial.into(), ..phone },
                )?,
            );
        }
        let numbers = || size.groups().flat_map(|(_, calls, dial)| (1..=calls).map(move |n| format!("{dial}{n}")));
        let ssrcs = words.map(|words| numbers().map(|number| words.ssrc(&number)).collect());
        let mut load = Load { calls: size.calls(), phones, connected, talkers: [near, far], ssrcs, limit };
        load.wait_until_all_talk()?;
        Ok(load)
    }

    fn wait_until_all_talk(&mut self) -> Result<()> {
        let full = Instant::now() + Duration::from_secs(15);
        loop {
            let lines = self.talkers[0].tally.lines.load(Ordering::Relaxed);
            if lines >= u64::from(self.calls) {
                self.talkers[0].tally.refused.store(0, Ordering::Relaxed);
                return Ok(());
            }
            ensure!(Instant::now() < full, "only {lines} of {} calls talk", self.calls);
            for phone in &mut self.phones {
                if phone.running.ended()?.is_some() {
                    phone.finish()?;
                }
            }
            for (caller, callee, ..) in &mut self.connected {
                if callee.has_ended() {
                    callee.finish()?;
                }
                if caller.has_ended() {
                    caller.finish()?;
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until everybody has said what they had to say and every call ended as it should. Returns what the near and
    /// the far ends said.
    pub fn finish(mut self, lab: &Lab<'_>) -> Result<[Vec<u32>; 2]> {
        for talker in &mut self.talkers {
            talker.finish(self.calls.into(), self.limit)?;
        }
        for phone in &mut self.phones {
            phone.finish()?;
        }
        for (caller, callee, by_caller, by_callee) in &mut self.connected {
            // Whoever gave up says why; the other one would wait for it.
            while !caller.has_ended() && !callee.has_ended() {
                std::thread::sleep(Duration::from_millis(20));
            }
            let (called, answered) = if callee.has_ended() {
                let answered = callee.finish()?;
                (caller.finish()?, answered)
            } else {
                (caller.finish()?, callee.finish()?)
            };
            let same = |one: (u32, u32)| one == (*by_caller, *by_callee);
            ensure!(
                same((called.ended, called.dropped)) && same((answered.ended, answered.dropped)),
                "calls over TCP ended otherwise: {called:?}, {answered:?}"
            );
            let again = [called.renegotiated, answered.renegotiated];
            ensure!(again == [*by_caller; 2], "calls over TCP that were negotiated once more: {again:?}");
            // One more than before on either side: they went on in their dialogs by it.
            ensure!(
                (called.connections, answered.connections) == (1, 2),
                "a host died, and over TCP: {called:?}, {answered:?}"
            );
        }
        // Nobody heard a byte that was not said.
        for (end, ssrcs, from, to) in
            [(End::Near, &self.ssrcs[0], Law::Mu, Law::A), (End::Far, &self.ssrcs[1], Law::A, Law::Mu)]
        {
            for (ssrc, heard) in lab.judge_ssrcs(end, ssrcs, &lab.expect(from, to, None)) {
                let whole = heard.differing_bytes + heard.differing_headers + heard.surplus == 0;
                ensure!(whole, "what the {end:?} end said as {ssrc:08x}: {heard}");
            }
        }
        Ok(self.ssrcs)
    }
}

/// The callee hangs up.
fn drops(after_ms: u32) -> Script {
    Script::callee("the callee hangs up")
        .gets("INVITE", &[])
        .answers(180, "INVITE", &[], NO_BODY)
        .answers(200, "INVITE", &[], &sdp(1, "sendrecv"))
        .gets("ACK", &[])
        .waits(after_ms)
        .hangs_up()
}

/// A caller and a callee of this kind over TCP, and how many calls each of them ends.
fn over_tcp(
    lab: &Lab<'_>,
    kind: usize,
    calls: u32,
    dial: &'static str,
    rate: u32,
    after_ms: u32,
    limit: Duration,
) -> Result<(Caller, Callee, u32, u32)> {
    let (port, spread) = (5060 + 2 * kind as u16, 1_000 * kind as u16);
    let talk = Duration::from_millis(after_ms.into());
    let (callers, callees) = if kind == 0 { (Some(talk), None) } else { (None, Some(talk)) };
    let answers = Answers {
        address: SocketAddr::new(if kind == 0 { CALLEE } else { SECOND }, 5060),
        calls,
        media_port: 40_000 + spread,
        talk: callees,
        limit,
    };
    let callee = Callee::start(&lab.phones(End::Far).name, answers)?;
    let places = Calls {
        address: SocketAddr::new(CALLER, port),
        target: SocketAddr::new(TANDEM_A, 5060),
        dial,
        calls,
        rate,
        media_port: 30_000 + spread,
        talk: callers,
        renegotiate: if kind == 0 { calls } else { 0 },
        limit,
    };
    let caller = Caller::start(&lab.phones(End::Near).name, places);
    Ok(if kind == 0 { (caller, callee, calls, 0) } else { (caller, callee, 0, calls) })
}

/// Frames that one direction lost, over all calls.
pub fn lost(lab: &Lab<'_>, end: End, ssrcs: &[u32]) -> u64 {
    let (from, to) = if end == End::Near { (Law::Mu, Law::A) } else { (Law::A, Law::Mu) };
    lab.judge_ssrcs(end, ssrcs, &lab.expect(from, to, None)).iter().map(|(_, heard)| heard.lost()).sum()
}
