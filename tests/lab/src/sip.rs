//! Reading SIP and SDP off a capture, to know which RTP stream belongs to which call. Pure.
//!
//! This is a listener, not a SIP stack: the phones are SIPp and baresip.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// One SIP message as it passed the interface.
#[derive(Clone, Debug)]
pub struct Message {
    pub at: Duration,
    pub outgoing: bool,
    pub from: SocketAddr,
    pub text: String,
}

impl Message {
    pub fn start_line(&self) -> &str {
        self.text.lines().next().unwrap_or("")
    }

    /// The status code of a response.
    pub fn status(&self) -> Option<u16> {
        self.start_line().strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The method of a request, or the one a response answers.
    pub fn method(&self) -> &str {
        match self.status() {
            Some(_) => self.header("CSeq").and_then(|value| value.split_whitespace().nth(1)).unwrap_or(""),
            None => self.start_line().split(' ').next().unwrap_or(""),
        }
    }

    pub fn is_request(&self, method: &str) -> bool {
        self.status().is_none() && self.method() == method
    }

    pub fn is_response(&self, status: u16, method: &str) -> bool {
        self.status() == Some(status) && self.method() == method
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let short = match name {
            "Call-ID" => "i",
            "To" => "t",
            "From" => "f",
            "Contact" => "m",
            "Via" => "v",
            _ => "-",
        };
        self.text.lines().skip(1).take_while(|line| !line.is_empty()).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            let found = found.trim();
            (found.eq_ignore_ascii_case(name) || found.eq_ignore_ascii_case(short)).then(|| value.trim())
        })
    }

    pub fn sdp(&self) -> Option<Sdp> {
        let (_, body) = self.text.split_once("\r\n\r\n")?;
        Sdp::read(body)
    }

    /// The user part of the request's URI: the number that was called.
    fn called(&self) -> Option<String> {
        let (_, rest) = self.start_line().split_once("sip:")?;
        Some(rest.split('@').next()?.to_owned())
    }
}

/// What the far-end checks want to know of a session description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sdp {
    pub rtp: SocketAddr,
    pub payload_types: Vec<u8>,
    pub direction: String,
    pub text: String,
}

impl Sdp {
    fn read(body: &str) -> Option<Self> {
        let mut address: Option<IpAddr> = None;
        let mut audio: Option<(u16, Vec<u8>)> = None;
        let mut direction = "sendrecv".to_owned();
        for line in body.lines() {
            if let Some(value) = line.strip_prefix("c=IN IP").and_then(|rest| rest.get(2..)) {
                address = value.trim().parse().ok();
            } else if let Some(value) = line.strip_prefix("m=audio ") {
                let mut words = value.split_whitespace();
                let port = words.next()?.parse().ok()?;
                audio = Some((port, words.skip(1).filter_map(|word| word.parse().ok()).collect()));
            } else if let Some(word) = line.strip_prefix("a=")
                && ["sendrecv", "sendonly", "recvonly", "inactive"].contains(&word.trim())
            {
                word.trim().clone_into(&mut direction);
            }
        }
        let (port, payload_types) = audio?;
        Some(Sdp { rtp: SocketAddr::new(address?, port), payload_types, direction, text: body.to_owned() })
    }
}

/// One dialog as one phone's interface sees it.
#[derive(Clone, Debug, Default)]
pub struct Dialog {
    pub call_id: String,
    pub called: String,
    /// Session descriptions in order: what this phone said, and what it was told.
    pub said: Vec<Sdp>,
    pub told: Vec<Sdp>,
    pub answered_at: Option<Duration>,
    /// The final status of the first INVITE; a challenge that was answered is none.
    pub status: Option<u16>,
    pub bye_at: Option<Duration>,
    agreed: Option<Agreed>,
}

/// What an offer and its answer came to: where this phone sends from, where to, and the payload type it prefers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    pub call_id: String,
    pub called: String,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub payload_type: u8,
}

/// Every dialog on one interface.
#[derive(Default)]
pub struct Dialogs {
    pub by_call_id: BTreeMap<String, Dialog>,
}

impl Dialogs {
    /// Takes note of a message; returns what it completed, if it completed an offer and answer.
    pub fn note(&mut self, message: &Message) -> Option<Agreed> {
        let call_id = message.header("Call-ID")?.to_owned();
        let dialog = self.by_call_id.entry(call_id.clone()).or_default();
        dialog.call_id = call_id;
        if dialog.called.is_empty() && message.is_request("INVITE") {
            dialog.called = message.called().unwrap_or_default();
        }
        if let Some(sdp) = message.sdp() {
            let list = if message.outgoing { &mut dialog.said } else { &mut dialog.told };
            if list.last() != Some(&sdp) {
                list.push(sdp);
            }
        }
        if message.method() == "INVITE" && message.status().is_some_and(|status| status >= 200) {
            let final_status = dialog.status.filter(|status| !matches!(status, 401 | 407));
            dialog.status = final_status.or(message.status());
            if message.status() == Some(200) {
                dialog.answered_at = dialog.answered_at.or(Some(message.at));
            }
        }
        if message.is_request("BYE") {
            dialog.bye_at = dialog.bye_at.or(Some(message.at));
        }
        // The caller may send from the 200 on. The callee waits for the ACK, as SIPp does: before it, its own 200 may
        // still be on its way through tandem.
        let complete = !message.outgoing && (message.is_response(200, "INVITE") || message.is_request("ACK"));
        if !complete || dialog.status != Some(200) {
            return None;
        }
        let (said, told) = (dialog.said.last()?, dialog.told.last()?);
        let agreed = Agreed {
            call_id: dialog.call_id.clone(),
            called: dialog.called.clone(),
            local: said.rtp,
            remote: told.rtp,
            payload_type: *said.payload_types.first()?,
        };
        if dialog.agreed.as_ref() == Some(&agreed) {
            return None;
        }
        dialog.agreed = Some(agreed.clone());
        Some(agreed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &str = "INVITE sip:7001@198.18.1.10 SIP/2.0\r\nTo: <sip:7001@198.18.1.10>\r\ni: abc\r\n\
        CSeq: 1 INVITE\r\n\r\nv=0\r\nc=IN IP4 198.18.1.20\r\nm=audio 30000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n";
    const OK: &str = "SIP/2.0 200 OK\r\nTo: <sip:7001@198.18.1.10>;tag=x\r\nCall-ID: abc\r\n\
        CSeq: 1 INVITE\r\n\r\nv=0\r\nc=IN IP4 198.18.1.10\r\nm=audio 20000 RTP/AVP 0 101\r\n";

    fn message(text: &str, outgoing: bool) -> Message {
        let any = SocketAddr::from(([198, 18, 1, 20], 5060));
        Message { at: Duration::ZERO, outgoing, from: any, text: text.to_owned() }
    }

    #[test]
    fn an_answer_completes_the_offer_once() {
        let mut dialogs = Dialogs::default();
        assert_eq!(dialogs.note(&message(INVITE, true)), None);
        let agreed = dialogs.note(&message(OK, false)).expect("offer and answer are there");
        assert_eq!(agreed.called, "7001");
        assert_eq!(agreed.local, SocketAddr::from(([198, 18, 1, 20], 30000)));
        assert_eq!(agreed.remote, SocketAddr::from(([198, 18, 1, 10], 20000)));
        assert_eq!(dialogs.note(&message(OK, false)), None, "a retransmission says nothing new");
    }
}
