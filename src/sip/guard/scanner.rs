//! Whether a message comes from a tool that looks for open PBXs: by what it writes into User-Agent, From, To or Contact.
//! Slow-path thread. The bytes are looked at as they came, before anything parses them.

use crate::sip::message::{HeaderName, Message};

#[derive(Clone, Debug, Default)]
pub struct Scanners {
    /// In lower case; none is empty.
    patterns: Vec<String>,
}

/// Names, and compact forms (RFC 3261 §7.3.3), of the header fields in which tools name themselves.
const FIELDS: [&[u8]; 7] = [b"user-agent", b"from", b"f", b"to", b"t", b"contact", b"m"];
const NAMES: [HeaderName; 4] = [HeaderName::UserAgent, HeaderName::From, HeaderName::To, HeaderName::Contact];

impl Scanners {
    pub fn new(patterns: &[String]) -> Self {
        let patterns = patterns.iter().map(|p| p.to_ascii_lowercase()).filter(|p| !p.is_empty()).collect();
        Scanners { patterns }
    }

    pub fn in_bytes(&self, message: &[u8]) -> bool {
        if self.patterns.is_empty() {
            return false;
        }
        for line in message.split(|b| *b == b'\n').skip(1) {
            let Some(colon) = line.iter().position(|b| *b == b':') else {
                if line.iter().all(u8::is_ascii_whitespace) {
                    // What follows is the body.
                    return false;
                }
                continue;
            };
            let (name, value) = line.split_at(colon);
            let name = name.trim_ascii();
            if FIELDS.iter().any(|field| name.eq_ignore_ascii_case(field)) && self.match_value(value) {
                return true;
            }
        }
        false
    }

    pub fn in_message(&self, message: &Message) -> bool {
        NAMES.iter().any(|name| message.headers.all(name).any(|value| self.match_value(value.as_bytes())))
    }

    fn match_value(&self, value: &[u8]) -> bool {
        self.patterns
            .iter()
            .any(|pattern| value.windows(pattern.len()).any(|window| window.eq_ignore_ascii_case(pattern.as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Protection;

    fn scanners() -> Scanners {
        Scanners::new(&Protection::default().scanners)
    }

    #[test]
    fn tools_are_known_by_what_they_call_themselves() {
        let found = |text: &str| scanners().in_bytes(text.as_bytes());
        // sipvicious: by its User-Agent, and by its From where the User-Agent was changed.
        assert!(found("OPTIONS sip:100@198.18.1.10 SIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n"));
        assert!(found(
            "OPTIONS sip:100@h SIP/2.0\r\nf : \"SIPVicious\"<sip:100@1.1.1.1>;tag=1\r\nUser-Agent: x\r\n\r\n"
        ));
        assert!(found("INVITE sip:1@h SIP/2.0\r\nuser-agent:sipcli/v1.8\r\n\r\n"));
        assert!(found("REGISTER sip:h SIP/2.0\nUser-Agent: vaxsipuseragent/3.1\n\n"));
        assert!(found("REGISTER sip:h SIP/2.0\r\nTo: <sip:pplsip@h>\r\n\r\n"));
    }

    #[test]
    fn other_fields_the_body_and_other_agents_are_nobodys_sign() {
        let found = |text: &str| scanners().in_bytes(text.as_bytes());
        assert!(!found("OPTIONS sip:sipcli@h SIP/2.0\r\nUser-Agent: Asterisk PBX 20\r\n\r\n"));
        assert!(!found("MESSAGE sip:1@h SIP/2.0\r\nSubject: sipcli\r\n\r\nUser-Agent: friendly-scanner\r\n"));
        assert!(!found("") && !found("\r\n\r\n") && !found(":"));
        assert!(!Scanners::new(&[String::new()]).in_bytes(b"x\r\nTo: a\r\n"));
    }

    #[test]
    fn a_message_is_judged_like_its_bytes() {
        let text = "OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/TCP 198.18.1.66;branch=z9hG4bKx\r\nFrom: <sip:x@h>;tag=1\r\n\
            To: <sip:h>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nUser-Agent: UA\r\n\r\n";
        for (agent, expected) in [("SIPSAK 0.9", true), ("baresip", false)] {
            let text = text.replace("UA", agent);
            assert_eq!(scanners().in_message(&Message::parse(text.as_bytes()).unwrap()), expected);
            assert_eq!(scanners().in_bytes(text.as_bytes()), expected);
        }
    }
}
