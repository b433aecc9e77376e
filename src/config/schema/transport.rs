//! What SIP travels over, with what RFC 3261 says of each. Values only.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SipTransport {
    Udp,
    Tcp,
    /// TLS over TCP.
    Tls,
}

impl SipTransport {
    /// As a URI's `transport` parameter names it.
    pub fn word(self) -> &'static str {
        match self {
            SipTransport::Udp => "udp",
            SipTransport::Tcp => "tcp",
            SipTransport::Tls => "tls",
        }
    }

    /// As a Via names it (RFC 3261 §20.42).
    pub fn token(self) -> &'static str {
        match self {
            SipTransport::Udp => "UDP",
            SipTransport::Tcp => "TCP",
            SipTransport::Tls => "TLS",
        }
    }

    pub fn from_word(word: &str) -> Option<SipTransport> {
        [SipTransport::Udp, SipTransport::Tcp, SipTransport::Tls]
            .into_iter()
            .find(|transport| transport.word().eq_ignore_ascii_case(word))
    }

    /// RFC 3261 §19.1.2.
    pub fn default_port(self) -> u16 {
        match self {
            SipTransport::Udp | SipTransport::Tcp => 5060,
            SipTransport::Tls => 5061,
        }
    }

    /// It has connections, and nothing is sent again over them (RFC 3261 §17).
    pub fn is_stream(self) -> bool {
        self != SipTransport::Udp
    }
}
