//! The SIP messages of the generator's phones: written as RFC 3261 wants them, read as far as a phone must. Generator
//! thread; pure.

use std::{fmt::Write as _, net::SocketAddr};

use anyhow::{Context, Result, ensure};

/// Which of the generator's calls a message belongs to: the number of the trial and of the call in it. Both stand in
/// every identifier of ours, so that no look-up is needed and what is left of an earlier trial is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallNumber {
    pub trial: u32,
    pub call: usize,
}

impl CallNumber {
    /// The number dialled: the prefix that the dial plan knows, then ours.
    fn dialled(self) -> String {
        format!("7{:04}{:08}", self.trial, self.call)
    }

    fn from_dialled(user: &str) -> Option<CallNumber> {
        let digits = user.strip_prefix('7').filter(|digits| digits.len() == 12)?;
        Some(CallNumber { trial: digits.get(..4)?.parse().ok()?, call: digits.get(4..)?.parse().ok()? })
    }

    /// As a tag or in a branch.
    fn token(self) -> String {
        format!("{}x{}", self.trial, self.call)
    }

    fn from_token(token: &str) -> Option<CallNumber> {
        let (trial, call) = token.split_once('x')?;
        Some(CallNumber { trial: trial.parse().ok()?, call: call.parse().ok()? })
    }
}

/// A phone's own address, whom it talks to, and the one codec that it has.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    pub own: SocketAddr,
    pub peer: SocketAddr,
    pub codec: Codec,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    Pcmu,
    Pcma,
}

impl Codec {
    /// RFC 3551 §6: the static payload type and the name.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Codec::Pcmu => ("0", "PCMU"),
            Codec::Pcma => ("8", "PCMA"),
        }
    }
}

/// What the caller learnt of the other end of its dialog.
#[derive(Clone, Debug, Default)]
pub struct Remote {
    /// The whole To header, with the tag.
    pub to: String,
    /// RFC 3261 §12.2.1.1: the Contact's URI, where requests in the dialog go.
    pub target: String,
}

fn sdp(out: &mut String, ends: &Ends, port: usize) {
    let (ip, (payload, encoding)) = (ends.own.ip(), ends.codec.words());
    let mut body = String::with_capacity(160);
    let _ = write!(
        body,
        "v=0\r\no=phone 53655765 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP {payload}\r\n\
         a=rtpmap:{payload} {encoding}/8000\r\na=ptime:20\r\na=sendrecv\r\n"
    );
    let _ = write!(out, "Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}", body.len());
}

/// An even port in the phones' media range; that several calls name the same one is no fault: nothing is sent there.
fn media_port(number: CallNumber) -> usize {
    30_000 + number.call % 8_000 * 2
}

/// The caller's request: INVITE 1, its ACK, or BYE 2. `remote` is empty for the INVITE.
pub fn request(method: &str, number: CallNumber, ends: &Ends, remote: &Remote) -> String {
    let (own, token, dialled) = (ends.own, number.token(), number.dialled());
    let mut out = String::with_capacity(900);
    let invite = method == "INVITE";
    if invite {
        let _ = write!(out, "INVITE sip:{dialled}@{} SIP/2.0\r\n", ends.peer);
    } else {
        let _ = write!(out, "{method} {} SIP/2.0\r\n", remote.target);
    }
    // RFC 3261 §8.1.1.7: unique over time; the ACK of a 2xx is a transaction of its own (§13.2.2.4).
    let _ = write!(out, "Via: SIP/2.0/UDP {own};branch=z9hG4bK{method}{token};rport\r\nMax-Forwards: 70\r\n");
    let _ = write!(out, "From: \"Caller\" <sip:caller@{own}>;tag={token}\r\n");
    if invite {
        let _ = write!(out, "To: <sip:{dialled}@{}>\r\n", ends.peer);
    } else {
        let _ = write!(out, "To: {}\r\n", remote.to);
    }
    let seq = if method == "BYE" { 2 } else { 1 };
    let _ = write!(out, "Call-ID: {token}@{}\r\nCSeq: {seq} {method}\r\n", own.ip());
    if invite {
        let _ = write!(out, "Contact: <sip:caller@{own}>\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS\r\n");
        sdp(&mut out, ends, media_port(number));
    } else {
        out.push_str("Content-Length: 0\r\n\r\n");
    }
    out
}

/// The callee's response to a request (RFC 3261 §8.2.6.2): every Via, From, To with our tag, Call-ID, CSeq.
pub fn response(status: &str, asked: &Seen<'_>, number: CallNumber, ends: &Ends, answer: bool) -> String {
    let mut out = String::with_capacity(900);
    let _ = write!(out, "SIP/2.0 {status}\r\n");
    for via in &asked.vias {
        let _ = write!(out, "Via: {via}\r\n");
    }
    let _ = write!(out, "From: {}\r\nTo: {}", asked.from, asked.to);
    if tag(asked.to).is_none() {
        let _ = write!(out, ";tag={}", number.token());
    }
    let _ =
        write!(out, "\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: <sip:callee@{}>\r\n", asked.call_id, asked.cseq, ends.own);
    if answer {
        sdp(&mut out, ends, media_port(number));
    } else {
        out.push_str("Content-Length: 0\r\n\r\n");
    }
    out
}

/// A message as a phone reads it.
#[derive(Debug, Default)]
pub struct Seen<'a> {
    pub start: &'a str,
    pub vias: Vec<&'a str>,
    pub from: &'a str,
    pub to: &'a str,
    pub call_id: &'a str,
    pub cseq: &'a str,
    pub contact: &'a str,
    pub body: &'a str,
}

impl<'a> Seen<'a> {
    pub fn read(datagram: &'a [u8]) -> Result<Seen<'a>> {
        let text = std::str::from_utf8(datagram).context("a message is no UTF-8")?;
        let (head, body) = text.split_once("\r\n\r\n").context("a message without an empty line")?;
        let mut lines = head.split("\r\n");
        let mut seen = Seen { start: lines.next().unwrap_or_default(), body, ..Seen::default() };
        let mut length = None;
        for line in lines {
            let (name, value) = line.split_once(':').with_context(|| format!("no header: {line:?}"))?;
            let value = value.trim();
            match name.trim_end() {
                "Via" => seen.vias.push(value),
                "From" => seen.from = value,
                "To" => seen.to = value,
                "Call-ID" => seen.call_id = value,
                "CSeq" => seen.cseq = value,
                "Contact" => seen.contact = value,
                "Content-Length" => length = value.parse().ok(),
                _ => {}
            }
        }
        ensure!(length == Some(body.len()), "Content-Length is {length:?}, the body has {} bytes", body.len());
        for (name, value) in [("From", seen.from), ("To", seen.to), ("Call-ID", seen.call_id), ("CSeq", seen.cseq)] {
            ensure!(!value.is_empty(), "{:?} has no {name}", seen.start);
        }
        ensure!(!seen.vias.is_empty(), "{:?} has no Via", seen.start);
        Ok(seen)
    }

    /// A response's status; None: a request.
    pub fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    pub fn method(&self) -> &'a str {
        self.cseq.rsplit(' ').next().unwrap_or_default()
    }

    /// Of a response to us: our own From tag; and it must be our transaction (RFC 3261 §17.1.3).
    pub fn answered_call(&self) -> Option<CallNumber> {
        let number = CallNumber::from_token(tag(self.from)?)?;
        let branch = self.vias[0].split(";branch=z9hG4bK").nth(1)?.split(';').next()?;
        let ours = self.vias.len() == 1 && branch.strip_prefix(self.method())? == number.token();
        ours.then_some(number)
    }

    /// Of a request to us: the number dialled, or within a dialog our tag.
    pub fn asked_call(&self) -> Option<CallNumber> {
        match tag(self.to) {
            Some(token) => CallNumber::from_token(token),
            None => CallNumber::from_dialled(self.start.split("sip:").nth(1)?.split('@').next()?),
        }
    }

    pub fn remote(&self) -> Option<Remote> {
        tag(self.to)?;
        let target = self.contact.split_once('<')?.1.split_once('>')?.0;
        Some(Remote { to: self.to.to_owned(), target: target.to_owned() })
    }

    /// The body describes one stream of the phone's codec, to be sent to an even port of the peer's network.
    pub fn offers_audio(&self, ends: &Ends) -> bool {
        let line = |start: &str| self.body.lines().find_map(|line| line.strip_prefix(start));
        let mut words = line("m=audio ").unwrap_or_default().split(' ');
        let port = words.next().and_then(|port| port.parse::<u16>().ok()).unwrap_or(1);
        let formats = words.nth(1).is_some_and(|first| first == ends.codec.words().0);
        let peer = ends.peer.ip().to_string();
        let network = peer.rsplit_once('.').map_or("", |(network, _)| network);
        let near = line("c=IN IP4 ").is_some_and(|address| address.starts_with(network));
        port > 1 && port % 2 == 0 && formats && near
    }
}

fn tag(value: &str) -> Option<&str> {
    value.split(";tag=").nth(1)?.split(';').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: CallNumber = CallNumber { trial: 3, call: 41_234 };

    fn ends() -> Ends {
        Ends { own: "198.18.1.20:5060".parse().unwrap(), peer: "198.18.1.10:5060".parse().unwrap(), codec: Codec::Pcmu }
    }

    /// What our phones say is what the appliance's own reader takes for valid SIP.
    #[test]
    fn a_strict_reader_accepts_every_message() {
        let remote = Remote { to: "<sip:7@198.18.1.10:5060>;tag=r".into(), target: "sip:198.18.1.10:5060".into() };
        let invite = request("INVITE", CALL, &ends(), &Remote::default());
        let (ack, bye) = (request("ACK", CALL, &ends(), &remote), request("BYE", CALL, &ends(), &remote));
        let seen = Seen::read(invite.as_bytes()).unwrap();
        let answer = response("200 OK", &seen, CALL, &ends(), true);
        let ringing = response("180 Ringing", &seen, CALL, &ends(), false);
        for text in [&invite, &ack, &bye, &answer, &ringing] {
            let read = tandem::sip::message::Message::parse(text.as_bytes());
            assert!(read.is_ok(), "{text}: {read:?}");
        }
    }

    #[test]
    fn a_message_leads_to_its_call() {
        let invite = request("INVITE", CALL, &ends(), &Remote::default());
        let seen = Seen::read(invite.as_bytes()).unwrap();
        assert_eq!(seen.asked_call(), Some(CALL));
        assert!(seen.offers_audio(&ends()));
        assert!(!seen.offers_audio(&Ends { codec: Codec::Pcma, ..ends() }));
        let answer = response("200 OK", &seen, CALL, &ends(), true);
        let answered = Seen::read(answer.as_bytes()).unwrap();
        assert_eq!((answered.status(), answered.method()), (Some(200), "INVITE"));
        assert_eq!(answered.answered_call(), Some(CALL));
        let remote = answered.remote().unwrap();
        assert_eq!(remote.target, "sip:callee@198.18.1.20:5060");
        let bye = request("BYE", CALL, &ends(), &remote);
        assert_eq!(Seen::read(bye.as_bytes()).unwrap().asked_call(), Some(CALL));
    }

    #[test]
    fn a_length_that_lies_is_found() {
        assert!(Seen::read(b"SIP/2.0 200 OK\r\nVia: x\r\nContent-Length: 3\r\n\r\n").is_err());
    }
}
