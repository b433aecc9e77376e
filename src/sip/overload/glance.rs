//! What a datagram is, by a look at its header names and without reading its values; and the stateless refusal of a new
//! call, made from the lines that were seen. Pure; slow-path thread; on every datagram that arrives.
//!
//! Whatever looks odd is left to the strict reader: a line that is folded, a header that stands twice where it must not, a
//! control character. So nothing is refused here that would have been answered otherwise, and nothing is copied into an
//! answer that could be read as more than one header.

use crate::sip::{
    flow::Flow,
    message::{Via, reason_phrase},
};

/// What a datagram is, as far as its urgency goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Glance<'a> {
    /// An INVITE without a tag in To: a call that is new, or a repetition of one.
    Offer(Offer<'a>),
    /// The ACK of a final response that carried this To tag.
    Ack {
        tag: &'a str,
    },
    Cancel,
    /// Responses, what is in dialogs, what is odd.
    Other,
}

/// The lines that a response takes from its request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offer<'a> {
    /// The values of each Via line.
    vias: Vec<&'a str>,
    from: &'a str,
    to: &'a str,
    call_id: &'a str,
    cseq: &'a str,
}

pub fn glance(datagram: &[u8]) -> Glance<'_> {
    let end = head_end(datagram);
    match datagram {
        [b'I', b'N', b'V', b'I', b'T', b'E', b' ', ..] => {
            read(&datagram[..end]).filter(|offer| tag_of(offer.to).is_none()).map_or(Glance::Other, Glance::Offer)
        }
        [b'A', b'C', b'K', b' ', ..] => {
            let tag = read(&datagram[..end]).and_then(|lines| tag_of(lines.to));
            tag.map_or(Glance::Other, |tag| Glance::Ack { tag })
        }
        [b'C', b'A', b'N', b'C', b'E', b'L', b' ', ..] => Glance::Cancel,
        _ => Glance::Other,
    }
}

/// Where the headers end, the empty line not included.
fn head_end(datagram: &[u8]) -> usize {
    datagram.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(datagram.len())
}

/// None: odd.
fn read(head: &[u8]) -> Option<Offer<'_>> {
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.split("\r\n");
    lines.next()?;
    let mut offer = Offer::default();
    for line in lines {
        if line.bytes().any(|byte| byte < b' ' && byte != b'\t' || byte == 0x7f) {
            return None;
        }
        let (name, value) = line.split_once(':')?;
        let (name, value) = (name.trim_end_matches([' ', '\t']), value.trim_matches([' ', '\t']));
        // A folded line begins with a blank, and so would its name.
        if name.starts_with([' ', '\t']) || name.is_empty() {
            return None;
        }
        // RFC 3261 §7.3.3 and §20: names without regard to case, and the short forms.
        let slot = match name.len() {
            1 | 2 | 3 | 4 | 7 => match name.to_ascii_lowercase().as_str() {
                "v" | "via" => {
                    offer.vias.push(value);
                    continue;
                }
                "f" | "from" => &mut offer.from,
                "t" | "to" => &mut offer.to,
                "i" | "call-id" => &mut offer.call_id,
                "cseq" => &mut offer.cseq,
                _ => continue,
            },
            _ => continue,
        };
        if !slot.is_empty() || value.is_empty() {
            return None;
        }
        *slot = value;
    }
    let whole = !offer.vias.is_empty()
        && [offer.from, offer.to, offer.call_id, offer.cseq].iter().all(|value| !value.is_empty());
    whole.then_some(offer)
}

/// The tag parameter behind the address; one within `<…>` is the URI's.
fn tag_of(value: &str) -> Option<&str> {
    let parameters = value.rsplit_once('>').map_or(value, |(_, after)| after);
    parameters.split(';').skip(1).find_map(|parameter| {
        let (name, tag) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("tag").then(|| tag.trim())
    })
}

impl Offer<'_> {
    /// The top Via. None: it is odd.
    pub fn via(&self) -> Option<Via> {
        Via::parse_first(self.vias.first()?).ok()
    }

    /// A final response (RFC 3261 §8.2.6) with this To tag, whose top Via says where the request came from (§18.2.1, RFC
    /// 3581 §4). `extra` are whole header lines.
    pub fn answer(&self, status: u16, via: &Via, flow: &Flow, tag: &str, extra: &str) -> Option<Vec<u8>> {
        let list = Via::parse_list(self.vias.first()?).ok()?;
        let mut top = via.clone();
        let ip = flow.remote.ip().to_canonical();
        let asked = via.rport().is_some();
        if asked || via.host.ip() != Some(ip) {
            top.params.set("received", Some(&ip.to_string()));
        }
        if asked {
            top.params.set("rport", Some(&flow.remote.port().to_string()));
        }
        let mut text = format!("SIP/2.0 {status} {}\r\nVia: {top}\r\n", reason_phrase(status));
        for via in list.iter().skip(1) {
            text.push_str(&format!("Via: {via}\r\n"));
        }
        for line in self.vias.iter().skip(1) {
            text.push_str(&format!("Via: {line}\r\n"));
        }
        let Offer { from, to, call_id, cseq, .. } = self;
        text.push_str(&format!(
            "From: {from}\r\nTo: {to};tag={tag}\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\n{extra}Content-Length: 0\r\n\r\n"
        ));
        Some(text.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::SipTransport,
        sip::{
            flow::ListenerId,
            message::{HeaderName, Message},
        },
    };

    fn invite(to: &str, more: &str) -> String {
        format!(
            "INVITE sip:1@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.7;rport;branch=z9hG4bKa, SIP/2.0/UDP h;branch=z9hG4bKb\r\n\
             v: SIP/2.0/UDP p.example;branch=z9hG4bKc\r\n{more}From: \"A;tag=no\" <sip:a@h>;tag=f\r\nTo: {to}\r\n\
             Call-ID: x@y\r\nCSeq: 7 INVITE\r\nContent-Length: 0\r\n\r\n"
        )
    }

    fn is_offer(text: &str) -> bool {
        matches!(glance(text.as_bytes()), Glance::Offer(_))
    }

    #[test]
    fn a_tag_in_to_makes_the_difference() {
        assert!(is_offer(&invite("<sip:1@192.0.2.1>", "")));
        assert!(is_offer(&invite("<sip:1@192.0.2.1;tag=uri>", "")));
        assert!(is_offer(&invite("sip:1@192.0.2.1", "")));
        for to in ["<sip:1@h>;tag=z", "<sip:1@h>;x=y; TAG = z", "sip:1@h;tag=z", "\"B\" <sip:1@h;tag=u>;tag=z"] {
            assert!(!is_offer(&invite(to, "")), "{to}");
        }
    }

    #[test]
    fn whatever_is_odd_is_left_to_the_reader() {
        let to = "<sip:1@h>";
        for more in [
            "Subject: a\r\n folded\r\n",
            "t: <sip:2@h>\r\n",
            "X: a\rTo: b\r\n",
            "X: \u{7f}\r\n",
            "no colon\r\n",
            "Call-ID:\r\n",
            ": x\r\n",
        ] {
            assert_eq!(glance(invite(to, more).as_bytes()), Glance::Other, "{more:?}");
        }
        for text in
            ["", "INVITE", "INVITE ", "invite sip:1@h SIP/2.0\r\n\r\n", "SIP/2.0 200 OK\r\nTo: x\r\n\r\n", "\r\n\r\n"]
        {
            assert_eq!(glance(text.as_bytes()), Glance::Other, "{text:?}");
        }
        assert_eq!(glance(&[b"INVITE sip:1@h SIP/2.0\r\nTo: ".as_slice(), &[0xff, 0xfe]].concat()), Glance::Other);
    }

    #[test]
    fn acks_and_cancels() {
        let ack = invite("<sip:1@h>;tag=mine", "").replacen("INVITE", "ACK", 1);
        assert_eq!(glance(ack.as_bytes()), Glance::Ack { tag: "mine" });
        let cancel = invite("<sip:1@h>", "").replacen("INVITE", "CANCEL", 1);
        assert_eq!(glance(cancel.as_bytes()), Glance::Cancel);
    }

    #[test]
    fn the_answer_is_what_the_strict_reader_would_have_made() {
        let flow = Flow {
            local: ListenerId(0),
            transport: SipTransport::Udp,
            remote: "192.0.2.9:4999".parse().unwrap(),
            connection: None,
        };
        let text = invite("\"B\" <sip:1@h>", "");
        let Glance::Offer(offer) = glance(text.as_bytes()) else { panic!("an offer") };
        let via = offer.via().unwrap();
        let answer = offer.answer(503, &via, &flow, "s1", "Retry-After: 5\r\n").unwrap();
        let answer = Message::parse(&answer).unwrap();
        let usual = Message::response_to(&Message::parse(text.as_bytes()).unwrap(), 503, "");
        assert_eq!(answer.start, usual.start);
        for name in [HeaderName::From, HeaderName::CallId, HeaderName::CSeq] {
            assert_eq!(answer.headers.get(&name), usual.headers.get(&name));
        }
        assert_eq!(answer.to().unwrap().tag(), Some("s1"));
        assert_eq!(answer.headers.get(&HeaderName::RetryAfter), Some("5"));
        let vias: Vec<String> = answer.vias().unwrap().iter().map(|via| via.to_string()).collect();
        assert_eq!(vias.len(), 3);
        assert!(vias[0].contains("received=192.0.2.9") && vias[0].contains("rport=4999"), "{vias:?}");
        assert_eq!(answer.vias().unwrap()[1..], usual.vias().unwrap()[1..]);
    }

    proptest::proptest! {
        /// Any datagram, and any cut or changed INVITE: no panic, and an answer that the strict reader can read.
        #[test]
        fn nothing_panics_and_answers_can_be_read(at in 0usize..400, with: u8, cut in 0usize..400) {
            let mut bytes = invite("<sip:1@h>", "").into_bytes();
            let at = at % bytes.len();
            bytes[at] = with;
            bytes.truncate(cut.max(1));
            let flow = Flow {
                local: ListenerId(0),
                transport: SipTransport::Udp,
                remote: "192.0.2.9:4999".parse().unwrap(),
                connection: None,
            };
            if let Glance::Offer(offer) = glance(&bytes)
                && let Some(via) = offer.via()
                && let Some(answer) = offer.answer(503, &via, &flow, "s1", "")
            {
                proptest::prop_assert!(answer.starts_with(b"SIP/2.0 503 "));
                proptest::prop_assert_eq!(answer.windows(4).filter(|w| *w == b"\r\n\r\n").count(), 1);
            }
        }
    }
}
