//! Where calls to a trunk go, if the host is a name: `sip:HOST[:PORT][;transport=udp|tcp|tls]` or
//! `sips:HOST[:PORT]`. RFC 3263 says what is asked of
//! the DNS for it; nothing here asks.

use super::{SipTransport, destination};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamedDestination {
    /// In lower case, without a dot at its end.
    pub host: String,
    /// None: that of the SRV records, or the transport's own.
    pub port: Option<u16>,
    /// None: that of the NAPTR or SRV records, or UDP.
    pub transport: Option<SipTransport>,
}

impl NamedDestination {
    /// None: it is none, perhaps an address.
    pub fn parse(text: &str) -> Option<NamedDestination> {
        let (secure, rest) = destination::scheme(text)?;
        let (host_port, parameters) = rest.split_once(';').map_or((rest, None), |(host, rest)| (host, Some(rest)));
        let (host, port) = host_port.split_once(':').map_or((host_port, None), |(host, port)| (host, Some(port)));
        let port = match port {
            None => None,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                Some(digits.parse::<u16>().ok().filter(|p| *p > 0)?)
            }
            Some(_) => return None,
        };
        let transport = destination::transport(secure, parameters).ok()?;
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        is_host_name(&host).then_some(NamedDestination { host, port, transport })
    }
}

/// RFC 3261 §25.1 hostname: labels of letters, digits and hyphens; the last one begins with a letter, or it would be an
/// address. RFC 1035 §2.3.4: 63 octets a label, 253 in all.
fn is_host_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = host.rsplit('.').next().unwrap_or("");
    host.len() <= 253 && host.split('.').all(label) && last.starts_with(|c: char| c.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_addresses_and_from_nonsense() {
        let named = |host: &str, port, transport| Some(NamedDestination { host: host.into(), port, transport });
        assert_eq!(NamedDestination::parse("sip:gw.Example.com."), named("gw.example.com", None, None));
        assert_eq!(NamedDestination::parse("SIP:gw:5080"), named("gw", Some(5080), None));
        let tcp = Some(SipTransport::Tcp);
        assert_eq!(NamedDestination::parse("sip:gw.example.com;Transport=TCP"), named("gw.example.com", None, tcp));
        let tls = Some(SipTransport::Tls);
        assert_eq!(NamedDestination::parse("sip:gw.example.com;transport=tls"), named("gw.example.com", None, tls));
        assert_eq!(NamedDestination::parse("sips:gw.example.com:5081"), named("gw.example.com", Some(5081), tls));
        for text in [
            "sip:192.0.2.1",
            "sip:[2001:db8::1]",
            "sip:alice@gw.example.com",
            "sips:gw.example.com;transport=udp",
            "sip:gw.example.com:0",
            "sip:gw.example.com:x",
            "sip:gw.example.com;lr",
            "sip:gw..com",
            "sip:-gw.com",
            "sip:",
            "gw.example.com",
        ] {
            assert_eq!(NamedDestination::parse(text), None, "{text}");
        }
    }
}
