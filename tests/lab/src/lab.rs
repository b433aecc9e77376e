//! One laboratory: the ground, the appliance, a tap at each far end, and the judging of what went between. Main thread.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    appliance::{Appliance, Device, Setup},
    book::{Book, Packet, Stream},
    cloud::{Cloud, Way},
    law::{Law, Tables},
    net::Namespace,
    sip::Agreed,
    sipp::{Phone, Sipp},
    speech::Speech,
    talker::{Talker, Words},
    tap::Tap,
    topology::{self, Between, Topology},
    verdict::{Expect, Heard, judge},
};

/// What a run of the laboratory has in common.
pub struct Frame {
    /// The appliance; None: the kernel routes in its place.
    pub binary: Option<PathBuf>,
    /// Where the SIPp scenarios are.
    pub scenarios: PathBuf,
    /// Where logs and captures go.
    pub out: PathBuf,
    pub tables: Tables,
}

/// What a scenario wants changed before the appliance starts.
pub struct Plan {
    pub setup: Setup,
    pub between: Between,
    /// Of a pair: EC2 moves its addresses, in this way.
    pub cloud: Option<Way>,
    /// Do not keep frames of this source.
    pub ignored_source: Option<IpAddr>,
    /// Files that the configuration names, made in the scenario's folder before the appliance starts.
    pub files: fn(&Path) -> Result<()>,
}

impl Plan {
    pub fn new(device: Device) -> Self {
        Plan {
            setup: Setup::new(device),
            between: Between::Cable,
            cloud: None,
            ignored_source: None,
            files: |_| Ok(()),
        }
    }
}

/// Which of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Near,
    Far,
}

impl End {
    pub const BOTH: [End; 2] = [End::Near, End::Far];

    pub const fn other(self) -> End {
        match self {
            End::Near => End::Far,
            End::Far => End::Near,
        }
    }
}

pub struct Lab<'a> {
    pub frame: &'a Frame,
    pub room: PathBuf,
    /// The appliance, and a pair's second node. Absent: the stand-in, or killed.
    pub nodes: [Option<Appliance>; 2],
    /// What they were started with.
    pub setup: Setup,
    near: Tap,
    far: Tap,
    agreements: [Option<Receiver<Agreed>>; 2],
    pub cloud: Option<Cloud>,
    pub ground: Topology,
}

impl<'a> Lab<'a> {
    pub fn open(frame: &'a Frame, mut plan: Plan, name: &str) -> Result<Self> {
        let room = frame.out.join(name);
        let _ = std::fs::remove_dir_all(&room);
        std::fs::create_dir_all(&room).with_context(|| format!("cannot make {}", room.display()))?;
        (plan.files)(&room)?;
        let ground = Topology::lay(plan.between).context("the network could not be laid")?;
        let (near_tells, near_hears) = channel();
        let (far_tells, far_hears) = channel();
        let book = |tells| Book::telling(tells, plan.ignored_source);
        let near = Tap::open(&ground.caller.name, "eth0", book(near_tells))?;
        let far = Tap::open(&ground.callee.name, "eth0", book(far_tells))?;
        let mut nodes = [None, None];
        match &frame.binary {
            Some(_) if ground.second.is_some() => ground.deafen_ports()?,
            // It is in the guest, whose kernel has nothing on these interfaces.
            Some(_) if plan.between == Between::Guest => {}
            Some(binary) => {
                ground.deafen_ports()?;
                nodes[0] = Some(Appliance::start(binary, &plan.setup, &ground, &room)?);
            }
            None => ground.route_in_kernel()?,
        }
        let cloud = plan.cloud.map(|way| Cloud::start(way, &ground, &room)).transpose().context("no cloud")?;
        plan.setup.cloud = cloud.as_ref().map(Cloud::seat);
        let agreements = [Some(near_hears), Some(far_hears)];
        let mut lab = Lab { frame, room, nodes, setup: plan.setup, near, far, agreements, cloud, ground };
        if lab.ground.between == Between::Pair {
            lab.start_pair()?;
        }
        Ok(lab)
    }

    pub fn is_stand_in(&self) -> bool {
        self.frame.binary.is_none()
    }

    pub fn appliance(&mut self) -> Result<&mut Appliance> {
        self.nodes[0].as_mut().context("this scenario needs the appliance")
    }

    pub fn tap(&self, end: End) -> &Tap {
        match end {
            End::Near => &self.near,
            End::Far => &self.far,
        }
    }

    pub fn phones(&self, end: End) -> &Namespace {
        match end {
            End::Near => &self.ground.caller,
            End::Far => &self.ground.callee,
        }
    }

    /// Whom the caller calls: tandem, or the callee itself where the kernel stands in.
    pub fn target(&self, callee: IpAddr) -> IpAddr {
        if self.is_stand_in() { callee } else { topology::TANDEM_A }
    }

    /// A caller in this law who dials the callee through tandem.
    pub fn caller(&self, law: Law) -> Phone {
        Phone::caller(self.ground.caller_address(), self.target(topology::CALLEE), law)
    }

    pub fn callee(&self, law: Law) -> Phone {
        Phone::callee(topology::CALLEE, law)
    }

    pub fn start(&self, end: End, phone: &Phone) -> Result<Sipp> {
        phone.start(self.phones(end), &self.frame.scenarios, &self.room)
    }

    /// The callee first; both to their end.
    pub fn call(&self, caller: &Phone, callee: &Phone) -> Result<()> {
        let mut there = self.start(End::Far, callee)?;
        wait_for_socket(&self.ground.callee, callee)?;
        let mut here = self.start(End::Near, caller)?;
        let result = here.finish();
        there.finish().and(result)
    }

    /// Waits until a phone that answers has its socket.
    pub fn start_waiting(&self, end: End, phone: &Phone) -> Result<Sipp> {
        let started = self.start(end, phone)?;
        wait_for_socket(self.phones(end), phone)?;
        Ok(started)
    }

    /// The shipped speech, cut to `length`, in this law, as a file that SIPp plays.
    pub fn speech(&self, law: Law, length: Duration) -> Result<PathBuf> {
        self.speech_of(law)?.first(length).write(self.room.join(format!(
            "{}-{}.pcap",
            law.encoding(),
            length.as_secs()
        )))
    }

    pub fn speech_of(&self, law: Law) -> Result<Speech> {
        let shipped = Speech::shipped()?;
        Ok(if law == Law::A { shipped } else { shipped.twin(&self.frame.tables) })
    }

    /// Someone who talks at this end in every call that is answered.
    pub fn talker(&mut self, end: End, words: Words) -> Result<Talker> {
        let agreements = self.agreements[end as usize].take().context("someone talks at this end already")?;
        Ok(Talker::start(&self.phones(end).name, agreements, words))
    }

    /// What `to` hears if `from` speaks: the stand-in converts nothing.
    pub fn expect(&self, from: Law, to: Law, event: Option<(u8, u8)>) -> Expect<'_> {
        let (to, event) = if self.is_stand_in() { (from, event.map(|(pt, _)| (pt, pt))) } else { (to, event) };
        Expect { tables: &self.frame.tables, from, to, event }
    }

    /// Judges the direction from `end` to the other, each call apart: calls are known by the number dialled, streams by
    /// the port that the phone named for the call.
    pub fn judge_calls(&self, end: End, expect: &Expect<'_>) -> Result<Vec<(String, Heard)>> {
        let sender = self.tap(end).book();
        let receiver = self.tap(end.other()).book();
        let mut all = Vec::new();
        for dialog in sender.dialogs.by_call_id.values().filter(|dialog| dialog.status == Some(200)) {
            let there = receiver
                .dialogs
                .by_call_id
                .values()
                .find(|other| other.called == dialog.called && other.status == Some(200))
                .with_context(|| format!("the call to {} was answered at one end only", dialog.called))?;
            let (said, heard_at) = (dialog.said.first(), there.said.first());
            let (Some(said), Some(heard_at)) = (said, heard_at) else {
                bail!("the call to {} has no session description from its phone", dialog.called);
            };
            let sent = sender.of_port(true, said.rtp);
            let arrived = receiver.of_port(false, heard_at.rtp);
            all.push((dialog.called.clone(), judge(&sent, &arrived, expect)));
        }
        all.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(all)
    }

    /// Judges one direction of all calls and demands perfection of each.
    pub fn demand_perfect(&self, end: End, calls: usize, expect: &Expect<'_>) -> Result<Heard> {
        let judged = self.judge_calls(end, expect)?;
        ensure!(judged.len() == calls, "{} calls were answered, not {calls}", judged.len());
        let mut sum = Heard::default();
        for (called, heard) in &judged {
            ensure!(heard.is_perfect(), "the {end:?} end's words in the call to {called}: {heard}");
            sum += *heard;
        }
        Ok(sum)
    }

    /// Judges what a talker at `end` said with these SSRCs, whatever ports it used.
    pub fn judge_ssrcs(&self, end: End, ssrcs: &[u32], expect: &Expect<'_>) -> Vec<(u32, Heard)> {
        let sender = self.tap(end).book();
        let receiver = self.tap(end.other()).book();
        let sent = by_ssrc(&sender, true);
        let arrived = by_ssrc(&receiver, false);
        let none = Vec::new();
        ssrcs
            .iter()
            .map(|ssrc| {
                let (said, heard) = (sent.get(ssrc).unwrap_or(&none), arrived.get(ssrc).unwrap_or(&none));
                (*ssrc, judge(said, heard, expect))
            })
            .collect()
    }

    /// Ends the appliance, closes the taps, and checks what must hold after every scenario.
    pub fn close(&mut self) -> Result<()> {
        for appliance in self.nodes.iter_mut().flatten() {
            if appliance.process.ended()?.is_none() {
                appliance.stop().context("tandem did not end well")?;
            }
            let log = appliance.process.output();
            ensure!(!log.contains("panicked at"), "tandem panicked: {}", appliance.process.tail());
        }
        self.near.close()?;
        self.far.close()?;
        for end in End::BOTH {
            let losses = self.phones(end).interface_losses("eth0")?;
            ensure!(losses == 0, "the {end:?} end's interface dropped {losses} frames");
            let wrong = self.tap(end).book().wrong_checksums;
            ensure!(wrong == 0, "{wrong} frames arrived at the {end:?} end with a wrong checksum");
        }
        Ok(())
    }

    /// Keeps what both ends saw, for a person.
    pub fn save(&mut self) -> Result<()> {
        let _ = self.near.close();
        let _ = self.far.close();
        self.near.save(&self.room.join("caller.pcap"))?;
        self.far.save(&self.room.join("callee.pcap"))
    }

    /// One ping; whether it was answered.
    pub fn ping(&self, end: End, to: IpAddr, wait_s: u32) -> bool {
        let (to, wait) = (to.to_string(), wait_s.to_string());
        self.phones(end).run("ping", &["-c", "1", "-W", &wait, &to]).is_ok()
    }
}

fn by_ssrc(book: &Book, outgoing: bool) -> HashMap<u32, Vec<(&Stream, &Packet)>> {
    let mut all: HashMap<u32, Vec<(&Stream, &Packet)>> = HashMap::new();
    for (key, stream) in book.streams.iter().filter(|(key, _)| key.outgoing == outgoing) {
        all.entry(key.ssrc).or_default().extend(stream.packets.iter().map(|packet| (stream, packet)));
    }
    for packets in all.values_mut() {
        packets.sort_by_key(|(_, packet)| packet.at);
    }
    all
}

/// SIPp says nowhere that it listens: the kernel's list of sockets does.
fn wait_for_socket(namespace: &Namespace, phone: &Phone) -> Result<()> {
    let at = SocketAddr::new(phone.address, phone.port);
    let kind = if phone.tcp { "-tlnH" } else { "-ulnH" };
    let filter = format!("src {}", if at.is_ipv6() { format!("[{}]:{}", at.ip(), at.port()) } else { at.to_string() });
    for _ in 0..250 {
        if !namespace.run("ss", &[kind, &filter])?.trim().is_empty() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("the phone at {at} does not listen")
}

/// Where something of the laboratory's own is looked for: beside the sources it was built from.
pub fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
