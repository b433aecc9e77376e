//! New calls in quantity from one address: a caller that offers INVITEs at a steady rate whether or not anybody keeps up,
//! acknowledges what is refused, and times the refusals. A thread of its own while it blows.

use std::{
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::sys::in_netns;

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
    /// Another final response: the call was taken, and its callee said no.
    pub taken: usize,
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
    over: bool,
}

/// Calls `number` through `to` at `per_second` for `length`; waits for answers for `patience` more.
pub fn blow(
    namespace: &str,
    (from, to): (SocketAddr, SocketAddr),
    number: &str,
    (per_second, length): (u32, Duration),
    patience: Duration,
) -> Result<Blown> {
    let socket = in_netns(namespace, || {
        let socket = UdpSocket::bind(from)?;
        socket.connect(to)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    })
    .with_context(|| format!("cannot call from {from}"))?;
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
            let _ = socket.send(invite(from, to, number, calls.len()).as_bytes());
            calls.push(Call { began: now, over: false });
            waiting += 1;
        }
        while let Ok(bytes) = socket.recv(&mut buffer) {
            idle = false;
            let text = String::from_utf8_lossy(&buffer[..bytes]);
            waiting -= usize::from(heard(&socket, (from, to), number, &text, &mut calls, &mut blown));
        }
        if idle {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    blown.offered = calls.len();
    blown.unanswered = calls.iter().filter(|call| !call.over).count();
    blown.refused_us.sort_unstable();
    Ok(blown)
}

/// True if it ended a call.
fn heard(
    socket: &UdpSocket,
    ends: (SocketAddr, SocketAddr),
    number: &str,
    text: &str,
    calls: &mut [Call],
    blown: &mut Blown,
) -> bool {
    let status: u16 = text.get(8..11).and_then(|digits| digits.parse().ok()).unwrap_or(0);
    let index = text
        .split("branch=z9hG4bKs")
        .nth(1)
        .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<usize>().ok());
    let Some((index, call)) = index.and_then(|at| Some((at, calls.get_mut(at)?))) else { return false };
    if !text.starts_with("SIP/2.0 ") || status < 200 {
        return false;
    }
    let to = text.lines().find_map(|line| line.strip_prefix("To: ")).unwrap_or_default();
    let _ = socket.send(ack(ends.0, ends.1, number, index, to).as_bytes());
    if std::mem::replace(&mut call.over, true) {
        return false;
    }
    match status {
        503 if text.contains("\r\nRetry-After: ") => blown.refused_us.push(call.began.elapsed().as_micros() as u32),
        503 => blown.curt += 1,
        _ => blown.taken += 1,
    }
    true
}

fn invite(from: SocketAddr, to: SocketAddr, number: &str, index: usize) -> String {
    let ip = from.ip();
    let sdp = format!(
        "v=0\r\no=storm 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 49000 RTP/AVP 0\r\n\
         a=rtpmap:0 PCMU/8000\r\n"
    );
    format!(
        "INVITE sip:{number}@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKs{index};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:storm@{from}>;tag=s{index}\r\nTo: <sip:{number}@{to}>\r\nCall-ID: s{index}@{ip}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:storm@{from}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
}

/// RFC 3261 §17.1.1.3: in the INVITE's transaction, with the To of the response.
fn ack(from: SocketAddr, to: SocketAddr, number: &str, index: usize, answered_by: &str) -> String {
    format!(
        "ACK sip:{number}@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKs{index};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:storm@{from}>;tag=s{index}\r\nTo: {answered_by}\r\nCall-ID: s{index}@{}\r\nCSeq: 1 ACK\r\n\
         Content-Length: 0\r\n\r\n",
        from.ip()
    )
}
