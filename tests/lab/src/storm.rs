//! New calls in quantity from one address: a caller that offers INVITEs at a steady rate whether or not anybody keeps up,
//! acknowledges every answer, hangs up what was taken, and times the refusals; and the callee of those that are taken, who
//! answers at once. A thread of its own each. SIPp is neither: its socket holds 64 KiB, and what does not fit is asked for
//! again after T1, so that most calls of a storm would wait for SIPp and not for tandem.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::sys::{in_netns, receive_buffer};

/// What arrives in half a second of the storm.
const BUFFER_BYTES: i32 = 16 << 20;

/// INVITEs begun before anything that arrived is looked at.
const AT_ONCE: usize = 32;

/// What came of the calls.
#[derive(Clone, Debug, Default)]
pub struct Blown {
    pub offered: usize,
    /// 503 with a Retry-After: from INVITE to it, in microseconds, sorted.
    pub refused_us: Vec<u32>,
    /// 503 that does not say when to come again.
    pub curt: usize,
    /// 200: the call was taken.
    pub taken: usize,
    /// Another final response.
    pub otherwise: usize,
    /// Calls that were taken, and whose BYE got no 200.
    pub unended: usize,
    /// No final response.
    pub unanswered: usize,
    /// The most that an INVITE left later than it should have.
    pub latest: Duration,
}

impl Blown {
    pub fn refused_ms(&self, share: f64) -> f64 {
        let at = (self.refused_us.len() as f64 * share) as usize;
        self.refused_us.get(at.min(self.refused_us.len().saturating_sub(1))).map_or(0.0, |us| f64::from(*us) / 1e3)
    }
}

#[derive(Clone, Copy)]
struct Call {
    began: Instant,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Offered,
    Taken,
    Over,
}

/// Who calls whom, and under which number.
#[derive(Clone, Copy)]
pub struct Line<'a> {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub number: &'a str,
    /// In all that must differ from call to call: another storm's calls are others.
    pub mark: &'a str,
}

/// Calls along `line` at `per_second` for `length`; waits for answers for `patience` more.
pub fn blow(
    namespace: &str,
    line: Line<'_>,
    (per_second, length): (u32, Duration),
    patience: Duration,
) -> Result<Blown> {
    let socket = socket(namespace, line.from)?;
    socket.connect(line.to)?;
    socket.set_nonblocking(true)?;
    let wanted = (f64::from(per_second) * length.as_secs_f64()) as usize;
    let (mut calls, mut blown, mut buffer) = (Vec::<Call>::with_capacity(wanted), Blown::default(), vec![0; 65_536]);
    let start = Instant::now();
    let end = start + length + patience;
    let mut waiting = 0usize;
    while (calls.len() < wanted || waiting > 0) && Instant::now() < end {
        let mut idle = true;
        for _ in 0..AT_ONCE {
            let (now, due) =
                (Instant::now(), start + Duration::from_secs_f64(calls.len() as f64 / f64::from(per_second)));
            if calls.len() >= wanted || due > now {
                break;
            }
            idle = false;
            blown.latest = blown.latest.max(now - due);
            // A full socket is a loss like any: the call stays unanswered, and is counted so.
            let _ = socket.send(line.invite(calls.len()).as_bytes());
            calls.push(Call { began: now, state: State::Offered });
            waiting += 1;
        }
        while let Ok(bytes) = socket.recv(&mut buffer) {
            idle = false;
            let text = String::from_utf8_lossy(&buffer[..bytes]);
            waiting -= usize::from(heard(&socket, line, &text, &mut calls, &mut blown));
        }
        if idle {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    let in_state = |state| calls.iter().filter(|call| call.state == state).count();
    (blown.offered, blown.unanswered, blown.unended) = (calls.len(), in_state(State::Offered), in_state(State::Taken));
    blown.refused_us.sort_unstable();
    Ok(blown)
}

fn socket(namespace: &str, at: SocketAddr) -> Result<UdpSocket> {
    let made = in_netns(namespace, || {
        let socket = UdpSocket::bind(at)?;
        receive_buffer(&socket, BUFFER_BYTES)?;
        Ok(socket)
    });
    made.with_context(|| format!("no socket at {at}"))
}

/// True if it ended a call.
fn heard(socket: &UdpSocket, line: Line<'_>, text: &str, calls: &mut [Call], blown: &mut Blown) -> bool {
    let status: u16 = text.get(8..11).and_then(|digits| digits.parse().ok()).unwrap_or(0);
    let branch = text.split("branch=z9hG4bK").nth(1).unwrap_or_default();
    let digits = branch.get(1..).and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    let Some(index) = digits.and_then(|digits| digits.parse::<usize>().ok()) else { return false };
    let Some(call) = calls.get_mut(index).filter(|_| text.starts_with("SIP/2.0 ") && status >= 200) else {
        return false;
    };
    if branch.starts_with('b') {
        return std::mem::replace(&mut call.state, State::Over) != State::Over;
    }
    let value = |name| text.split("\r\n").find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let to = value("To: ");
    if status < 300 {
        let target = value("Contact: <").split('>').next().unwrap_or_default();
        // RFC 3261 §13.2.2.4: the ACK of a 2xx is a transaction of its own.
        let _ = socket.send(line.request("ACK", ('a', index), 1, target, to, "").as_bytes());
        if call.state == State::Offered {
            (call.state, blown.taken) = (State::Taken, blown.taken + 1);
            let _ = socket.send(line.request("BYE", ('b', index), 2, target, to, "").as_bytes());
        }
        return false;
    }
    // RFC 3261 §17.1.1.3: in the INVITE's transaction, with the To of the response.
    let _ = socket.send(line.request("ACK", ('s', index), 1, &line.target(), to, "").as_bytes());
    if std::mem::replace(&mut call.state, State::Over) == State::Over {
        return false;
    }
    match status {
        503 if text.contains("\r\nRetry-After: ") => blown.refused_us.push(call.began.elapsed().as_micros() as u32),
        503 => blown.curt += 1,
        _ => blown.otherwise += 1,
    }
    true
}

impl Line<'_> {
    fn target(&self) -> String {
        format!("sip:{}@{}", self.number, self.to)
    }

    fn invite(&self, index: usize) -> String {
        let target = self.target();
        self.request("INVITE", ('s', index), 1, &target, &format!("<{target}>"), &description(self.from, 49_000))
    }

    fn request(
        &self,
        method: &str,
        (kind, index): (char, usize),
        cseq: u32,
        target: &str,
        to: &str,
        body: &str,
    ) -> String {
        let Line { from, mark, .. } = self;
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{kind}{index}{mark};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:storm@{from}>;tag={index}{mark}\r\nTo: {to}\r\nCall-ID: {index}{mark}@{}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:storm@{from}>\r\n{}Content-Length: {}\r\n\r\n{body}",
            from.ip(),
            if body.is_empty() { "" } else { TYPE },
            body.len()
        )
    }
}

const TYPE: &str = "Content-Type: application/sdp\r\n";

fn description(at: SocketAddr, port: u16) -> String {
    let ip = at.ip();
    format!(
        "v=0\r\no=storm 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n\
         a=rtpmap:0 PCMU/8000\r\n"
    )
}

/// A callee that answers each INVITE and each BYE with 200 at once. Ends when it is dropped.
pub struct Quick {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Quick {
    pub fn at(namespace: &str, at: SocketAddr) -> Result<Self> {
        let socket = socket(namespace, at)?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while !ends.load(Ordering::Acquire) {
                let Ok((bytes, from)) = socket.recv_from(&mut buffer) else { continue };
                if let Some(answer) = ok(at, &String::from_utf8_lossy(&buffer[..bytes])) {
                    let _ = socket.send_to(answer.as_bytes(), from);
                }
            }
        });
        Ok(Quick { over, thread: Some(thread) })
    }
}

impl Drop for Quick {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// RFC 3261 §8.2.6: with the header fields that a response takes from its request.
fn ok(at: SocketAddr, text: &str) -> Option<String> {
    let invite = text.starts_with("INVITE ");
    if !invite && !text.starts_with("BYE ") {
        return None;
    }
    let mut answer = format!("SIP/2.0 200 OK\r\nContact: <sip:quick@{at}>\r\n");
    for line in text.split("\r\n").take_while(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap_or_default();
        if ["Via", "From", "To", "Call-ID", "CSeq"].contains(&name) {
            answer.push_str(line);
            answer.push_str(if invite && name == "To" { ";tag=quick\r\n" } else { "\r\n" });
        }
    }
    let body = if invite { description(at, 49_002) } else { String::new() };
    let kind = if invite { TYPE } else { "" };
    Some(format!("{answer}{kind}Content-Length: {}\r\n\r\n{body}", body.len()))
}
