//! The generator: callers and callees of many calls at once, on one thread that has a CPU of its own to share with the
//! worker. It offers calls at a steady rate whether or not the appliance keeps up, repeats what RFC 3261 has repeated over
//! UDP, checks what comes back, and counts.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    io::ErrorKind,
    net::UdpSocket,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::messages::{self, CallNumber, Ends, Remote, Seen};

/// RFC 3261 §17.1.1.1.
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
/// Datagrams taken from one socket before anything else happens, and calls begun at once: neither may starve the other.
const AT_ONCE: usize = 64;
/// A phone's socket, and the appliance's address that it is connected to.
pub struct Phone {
    pub socket: UdpSocket,
    pub ends: Ends,
}

pub struct Phones {
    pub caller: Phone,
    pub callee: Phone,
}

/// What to offer.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Unique in the run.
    pub trial: u32,
    pub calls: usize,
    pub per_second: f64,
    /// From the answer to the BYE.
    pub hold: Duration,
    /// How long after the last BYE is due a call may still end well.
    pub patience: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub offered: usize,
    pub done: usize,
    /// Calls that did not end as they should, by the first thing that went wrong.
    pub failed: BTreeMap<String, usize>,
    /// Messages that a phone sent again because nothing had come.
    pub repeated: u64,
    /// Messages that came again.
    pub heard_again: u64,
    /// Messages that belonged to no call of this trial.
    pub strays: u64,
    /// From the first INVITE to the last response to a BYE.
    pub took: Duration,
    /// The most that a call began later than it should have.
    pub latest: Duration,
    /// From INVITE to 200, in microseconds, sorted.
    pub setup_us: Vec<u32>,
    /// Processor time of the generator's thread.
    pub busy: Duration,
}

impl Outcome {
    /// Every call ended as it should, and nothing had to be said twice.
    pub fn flawless(&self) -> bool {
        self.done == self.offered && self.failed.is_empty() && self.repeated == 0 && self.heard_again == 0
    }

    /// Calls set up and torn down per second of the trial; the time that the last call was held is not counted.
    pub fn per_second(&self, load: &Load) -> f64 {
        self.done as f64 / self.took.saturating_sub(load.hold).as_secs_f64()
    }

    pub fn setup_ms(&self, share: f64) -> f64 {
        let at = (self.setup_us.len() as f64 * share) as usize;
        self.setup_us.get(at.min(self.setup_us.len().saturating_sub(1))).map_or(f64::NAN, |us| f64::from(*us) / 1e3)
    }

    pub fn faults(&self) -> String {
        let mut all: Vec<String> = self.failed.iter().map(|(why, calls)| format!("{calls} × {why}")).collect();
        if self.repeated + self.heard_again > 0 {
            all.push(format!("{} messages sent and {} received again", self.repeated, self.heard_again));
        }
        if all.is_empty() { "none".to_owned() } else { all.join("; ") }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Calling,
    /// A provisional response came.
    Proceeding,
    Talking,
    Ending,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Callee {
    Idle,
    /// 200 sent, ACK awaited.
    Answered,
    Talking,
    Done,
}

#[derive(Debug)]
struct Call {
    caller: Caller,
    callee: Callee,
    began: Instant,
    remote: Remote,
    /// Between the next repetition and the one after it, for what each end waits for.
    intervals: [Duration; 2],
    /// The callee's dialog: Call-ID; its last response.
    call_id: String,
    last: String,
    fault: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Timer A.
    InviteAgain,
    /// Timer E.
    ByeAgain,
    /// RFC 3261 §13.3.1.4: the 200 again, until the ACK.
    CalleeAgain,
    HangUp,
}

pub struct Generator<'a> {
    phones: &'a Phones,
    load: Load,
    calls: Vec<Call>,
    timers: BinaryHeap<Reverse<(Instant, usize, Timer)>>,
    outcome: Outcome,
    last: Instant,
}

impl<'a> Generator<'a> {
    pub fn new(phones: &'a Phones, load: Load) -> Self {
        let calls = Vec::with_capacity(load.calls);
        Generator { phones, load, calls, timers: BinaryHeap::new(), outcome: Outcome::default(), last: Instant::now() }
    }

    /// Offers all calls and waits for their ends.
    pub fn run(mut self) -> Result<Outcome> {
        let busy = thread_time();
        let mut buffer = vec![0; 65_536];
        let start = Instant::now();
        let length = Duration::from_secs_f64(self.load.calls as f64 / self.load.per_second);
        let give_up = start + length + self.load.hold + self.load.patience;
        while self.outcome.done < self.load.calls && Instant::now() < give_up {
            let mut did = self.begin_due(start)?;
            did |= self.receive(true, &mut buffer)?;
            did |= self.receive(false, &mut buffer)?;
            did |= self.fire()?;
            if !did {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        for call in self.calls.iter().filter(|call| !call.is_done()) {
            let why = call.fault.unwrap_or(match (call.caller, call.callee) {
                (Caller::Calling, _) => "no response to the INVITE",
                (Caller::Proceeding, Callee::Idle) => "the callee was not called",
                (Caller::Proceeding, _) => "the answer did not arrive",
                (_, Callee::Answered) => "the ACK did not arrive",
                (_, Callee::Talking) => "the BYE did not arrive",
                _ => "no response to the BYE",
            });
            *self.outcome.failed.entry(why.to_owned()).or_default() += 1;
        }
        self.outcome.offered = self.load.calls;
        self.outcome.took = self.last - start;
        self.outcome.setup_us.sort_unstable();
        self.outcome.busy = thread_time().saturating_sub(busy);
        Ok(self.outcome)
    }

    fn number(&self, call: usize) -> CallNumber {
        CallNumber { trial: self.load.trial, call }
    }

    fn begin_due(&mut self, start: Instant) -> Result<bool> {
        let mut any = false;
        for _ in 0..AT_ONCE {
            let now = Instant::now();
            let due = start + Duration::from_secs_f64(self.calls.len() as f64 / self.load.per_second);
            if self.calls.len() >= self.load.calls || due > now {
                break;
            }
            any = true;
            self.outcome.latest = self.outcome.latest.max(now - due);
            let index = self.calls.len();
            self.calls.push(Call {
                caller: Caller::Calling,
                callee: Callee::Idle,
                began: now,
                remote: Remote::default(),
                intervals: [T1, T1],
                call_id: String::new(),
                last: String::new(),
                fault: None,
            });
            self.request("INVITE", index)?;
            self.again(now + T1, index, Timer::InviteAgain);
        }
        Ok(any)
    }

    fn again(&mut self, at: Instant, index: usize, timer: Timer) {
        self.timers.push(Reverse((at, index, timer)));
    }

    fn request(&self, method: &str, index: usize) -> Result<()> {
        let phone = &self.phones.caller;
        let text = messages::request(method, self.number(index), &phone.ends, &self.calls[index].remote);
        send(&phone.socket, &text)
    }

    fn fire(&mut self) -> Result<bool> {
        let mut any = false;
        while let Some(&Reverse((at, index, timer))) = self.timers.peek() {
            let now = Instant::now();
            if at > now {
                break;
            }
            self.timers.pop();
            any = true;
            match (timer, self.calls[index].caller, self.calls[index].callee) {
                (Timer::HangUp, Caller::Talking, _) => {
                    self.calls[index].caller = Caller::Ending;
                    self.calls[index].intervals[0] = T1;
                    self.request("BYE", index)?;
                    self.again(now + T1, index, Timer::ByeAgain);
                }
                (Timer::InviteAgain, Caller::Calling, _) => {
                    self.outcome.repeated += 1;
                    self.request("INVITE", index)?;
                    self.later(now, index, 0, timer);
                }
                (Timer::ByeAgain, Caller::Ending, _) => {
                    self.outcome.repeated += 1;
                    self.request("BYE", index)?;
                    self.later(now, index, 0, timer);
                }
                (Timer::CalleeAgain, _, Callee::Answered) => {
                    self.outcome.repeated += 1;
                    send(&self.phones.callee.socket, &self.calls[index].last)?;
                    self.later(now, index, 1, timer);
                }
                _ => {}
            }
        }
        Ok(any)
    }

    fn later(&mut self, now: Instant, index: usize, end: usize, timer: Timer) {
        let interval = &mut self.calls[index].intervals[end];
        *interval = (*interval * 2).min(T2);
        let at = now + *interval;
        self.again(at, index, timer);
    }

    fn receive(&mut self, at_caller: bool, buffer: &mut [u8]) -> Result<bool> {
        for taken in 0..AT_ONCE {
            let phone = if at_caller { &self.phones.caller } else { &self.phones.callee };
            match phone.socket.recv(buffer) {
                Ok(bytes) => {
                    let seen = Seen::read(&buffer[..bytes])?;
                    if at_caller { self.at_caller(&seen)? } else { self.at_callee(&seen)? }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(taken > 0),
                Err(e) if e.kind() == ErrorKind::ConnectionRefused => {}
                Err(e) => bail!("a phone cannot receive: {e}"),
            }
        }
        Ok(true)
    }

    /// The call of this trial that a message belongs to.
    fn find(&mut self, number: Option<CallNumber>) -> Option<usize> {
        let found = number.filter(|n| n.trial == self.load.trial && n.call < self.calls.len()).map(|n| n.call);
        self.outcome.strays += u64::from(found.is_none());
        found
    }

    fn at_caller(&mut self, seen: &Seen<'_>) -> Result<()> {
        let (Some(status), Some(index)) = (seen.status(), self.find(seen.answered_call())) else { return Ok(()) };
        let now = Instant::now();
        let call = &mut self.calls[index];
        match (seen.method(), status, call.caller) {
            ("INVITE", 100..=199, Caller::Calling) => call.caller = Caller::Proceeding,
            ("INVITE", 100..=199, _) => {}
            ("INVITE", 200, Caller::Calling | Caller::Proceeding) => {
                let Some(remote) = seen.remote() else {
                    call.fault = Some("an answer without tag or Contact");
                    return Ok(());
                };
                call.remote = remote;
                call.caller = Caller::Talking;
                if !seen.offers_audio(&self.phones.caller.ends) {
                    call.fault = Some("an answer without usable audio");
                }
                self.outcome.setup_us.push((now - call.began).as_micros() as u32);
                self.request("ACK", index)?;
                self.again(now + self.load.hold, index, Timer::HangUp);
            }
            ("INVITE", 200, _) => {
                self.outcome.heard_again += 1;
                self.request("ACK", index)?;
            }
            ("BYE", 200, Caller::Ending) => {
                call.caller = Caller::Done;
                self.ended(index, now);
            }
            ("BYE", 200, _) => self.outcome.heard_again += 1,
            (_, 503, _) => call.fault = Some("503"),
            _ => call.fault = Some("another final response"),
        }
        Ok(())
    }

    fn at_callee(&mut self, seen: &Seen<'_>) -> Result<()> {
        let Some(index) = self.find(seen.asked_call()).filter(|_| seen.status().is_none()) else { return Ok(()) };
        let (number, phone) = (self.number(index), &self.phones.callee);
        let now = Instant::now();
        let call = &mut self.calls[index];
        let known = call.call_id == seen.call_id;
        match (seen.method(), call.callee) {
            ("INVITE", Callee::Idle) => {
                if !seen.offers_audio(&phone.ends) {
                    call.fault = Some("an offer without usable audio");
                }
                seen.call_id.clone_into(&mut call.call_id);
                send(&phone.socket, &messages::response("180 Ringing", seen, number, &phone.ends, false))?;
                call.last = messages::response("200 OK", seen, number, &phone.ends, true);
                call.callee = Callee::Answered;
                send(&phone.socket, &call.last)?;
                self.again(now + T1, index, Timer::CalleeAgain);
            }
            ("ACK", Callee::Answered) if known => call.callee = Callee::Talking,
            ("BYE", Callee::Talking | Callee::Answered) if known => {
                call.last = messages::response("200 OK", seen, number, &phone.ends, false);
                call.callee = Callee::Done;
                send(&phone.socket, &call.last)?;
                self.ended(index, now);
            }
            // The same once more: the last response again (RFC 3261 §17.2.1, §17.2.2).
            ("INVITE" | "BYE", _) if known => {
                self.outcome.heard_again += 1;
                send(&phone.socket, &call.last)?;
            }
            ("ACK", _) if known => self.outcome.heard_again += 1,
            _ => call.fault = Some("a request outside its dialog"),
        }
        Ok(())
    }

    fn ended(&mut self, index: usize, now: Instant) {
        self.last = self.last.max(now);
        self.outcome.done += usize::from(self.calls[index].is_done());
    }
}

impl Call {
    fn is_done(&self) -> bool {
        self.caller == Caller::Done && self.callee == Callee::Done && self.fault.is_none()
    }
}

/// A full socket or an ICMP error is a loss like any; the timers mend it, and it is counted there.
fn send(socket: &UdpSocket, text: &str) -> Result<()> {
    match socket.send(text.as_bytes()) {
        Ok(_) => Ok(()),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) => Ok(()),
        Err(e) => bail!("a phone cannot send: {e}"),
    }
}

/// Processor time of this thread so far: the kernel's scheduler counts nanoseconds.
fn thread_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}
