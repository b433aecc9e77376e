//! Where calls to a trunk go, as the configuration writes it: `sip:IP[:PORT][;transport=udp|tcp|tls]` or
//! `sips:IP[:PORT]`. A small part of
//! RFC 3261 §19.1's SIP URI on purpose: no user, no host name, no other parameters.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use super::SipTransport;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    pub addr: SocketAddr,
    pub transport: SipTransport,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    #[error("it does not begin with sip: or sips:")]
    Scheme,
    #[error("{0:?} is no IP address")]
    Host(String),
    #[error("{0:?} is no port")]
    Port(String),
    #[error("{0:?} is not transport=udp, transport=tcp or transport=tls")]
    Parameter(String),
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let (secure, rest) = scheme(text).ok_or(DestinationError::Scheme)?;
        let (host_port, parameters) = rest.split_once(';').map_or((rest, None), |(host, rest)| (host, Some(rest)));
        let (ip, port) = host_and_port(host_port)?;
        let asked = transport(secure, parameters).map_err(DestinationError::Parameter)?;
        let transport = asked.unwrap_or(SipTransport::Udp);
        Ok(Destination { addr: SocketAddr::new(ip, port.unwrap_or(transport.default_port())), transport })
    }
}

/// Whether it is sips, and what follows the scheme. RFC 3261 §19.1.4: it compares without case.
pub(super) fn scheme(text: &str) -> Option<(bool, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let secure = scheme.eq_ignore_ascii_case("sips");
    (secure || scheme.eq_ignore_ascii_case("sip")).then_some((secure, rest))
}

/// What the parameters ask for: one transport, or nothing. RFC 3261 §19.1 and §26.2.2: sips over TCP is TLS, and there is
/// no sips over UDP.
pub(super) fn transport(secure: bool, parameters: Option<&str>) -> Result<Option<SipTransport>, String> {
    let Some(parameters) = parameters.map(str::to_ascii_lowercase) else {
        return Ok(secure.then_some(SipTransport::Tls));
    };
    match parameters.strip_prefix("transport=").and_then(SipTransport::from_word) {
        Some(SipTransport::Tcp | SipTransport::Tls) if secure => Ok(Some(SipTransport::Tls)),
        Some(transport) if !secure => Ok(Some(transport)),
        _ => Err(parameters),
    }
}

fn host_and_port(text: &str) -> Result<(IpAddr, Option<u16>), DestinationError> {
    let bad_host = || DestinationError::Host(text.to_owned());
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or_else(bad_host)?;
            let port = if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or_else(bad_host)?) };
            (host.parse::<Ipv6Addr>().map_err(|_| bad_host())?.into(), port)
        }
        None => {
            let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
            // RFC 3261 §25.1: an IPv6 address stands in brackets, so what has none is IPv4.
            (host.parse::<std::net::Ipv4Addr>().map_err(|_| bad_host())?.into(), port)
        }
    };
    let port = match port {
        None => None,
        Some(digits) => match digits.parse::<u16>() {
            Ok(port) if port > 0 && digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(port),
            _ => return Err(DestinationError::Port(digits.to_owned())),
        },
    };
    Ok((host, port))
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sip:{};transport={}", self.addr, self.transport.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(String, SipTransport), DestinationError> {
        text.parse::<Destination>().map(|destination| (destination.addr.to_string(), destination.transport))
    }

    #[test]
    fn both_families_with_and_without_port_and_transport() {
        let udp = |addr: &str| Ok((addr.to_owned(), SipTransport::Udp));
        let tcp = |addr: &str| Ok((addr.to_owned(), SipTransport::Tcp));
        assert_eq!(read("sip:198.51.100.7"), udp("198.51.100.7:5060"));
        assert_eq!(read("SIP:198.51.100.7:5080;Transport=TCP"), tcp("198.51.100.7:5080"));
        assert_eq!(read("sip:[2001:db8::7]"), udp("[2001:db8::7]:5060"));
        assert_eq!(read("sip:[2001:db8::7]:5080;transport=udp"), udp("[2001:db8::7]:5080"));
        // RFC 3261 §19.1.2: 5061 where it is TLS; §26.2.2: sips is TLS, whatever it says of TCP.
        let tls = |addr: &str| Ok((addr.to_owned(), SipTransport::Tls));
        assert_eq!(read("sip:198.51.100.7;transport=tls"), tls("198.51.100.7:5061"));
        assert_eq!(read("sips:198.51.100.7"), tls("198.51.100.7:5061"));
        assert_eq!(read("SIPS:198.51.100.7:5081;transport=tcp"), tls("198.51.100.7:5081"));
    }

    #[test]
    fn what_is_refused_is_named() {
        use DestinationError::*;
        assert_eq!(read("198.51.100.7"), Err(Scheme));
        assert_eq!(read("si"), Err(Scheme));
        assert_eq!(read("tel:198.51.100.7"), Err(Scheme));
        assert_eq!(read("sip:gw.example.com"), Err(Host("gw.example.com".into())));
        assert_eq!(read("sip:alice@198.51.100.7"), Err(Host("alice@198.51.100.7".into())));
        assert_eq!(read("sip:2001:db8::7"), Err(Host("2001:db8::7".into())));
        assert_eq!(read("sip:[2001:db8::7"), Err(Host("[2001:db8::7".into())));
        assert_eq!(read("sip:[2001:db8::7]x"), Err(Host("[2001:db8::7]x".into())));
        assert_eq!(read("sip:198.51.100.7:0"), Err(Port("0".into())));
        assert_eq!(read("sip:198.51.100.7:+80"), Err(Port("+80".into())));
        assert_eq!(read("sip:198.51.100.7:65536"), Err(Port("65536".into())));
        assert_eq!(read("sip:198.51.100.7;transport=ws"), Err(Parameter("transport=ws".into())));
        assert_eq!(read("sips:198.51.100.7;transport=udp"), Err(Parameter("transport=udp".into())));
        assert_eq!(read("sip:198.51.100.7;lr"), Err(Parameter("lr".into())));
    }
}
