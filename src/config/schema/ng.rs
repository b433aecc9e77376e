//! `[ng]`: the `ng` control protocol, by which Kamailio and OpenSIPS drive media as they drive rtpengine. Values only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ng {
    /// Where it is heard over UDP.
    #[serde(default = "default_udp")]
    pub udp: Vec<SocketAddr>,
    /// Where it is heard over TCP, one message behind another.
    #[serde(default)]
    pub tcp: Vec<SocketAddr>,
    /// Where it is heard in HTTP requests and over WebSocket.
    #[serde(default)]
    pub http: Vec<SocketAddr>,
    /// Who may send commands: whoever can listens in on every call.
    #[serde(default = "default_allow")]
    pub allow: Vec<IpNet>,
    /// Names of the `[[address]]`es that carry media where a command names no interface.
    pub media: Vec<String>,
    /// Names for several addresses together.
    #[serde(default, rename = "interface")]
    pub interfaces: Vec<NgInterface>,
    /// A call that nobody has answered for so long ends.
    #[serde(default = "default_offer_timeout")]
    pub offer_timeout_s: u32,
    /// An answered call without any packet for so long ends, also one on hold.
    #[serde(default = "default_silent_timeout")]
    pub silent_timeout_s: u32,
    /// How long a deleted call goes on, if its delete does not say so.
    #[serde(default)]
    pub delete_delay_s: u32,
    #[serde(default = "default_max_calls")]
    pub max_calls: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NgInterface {
    pub name: String,
    /// Names of `[[address]]`es, of one family or both.
    pub media: Vec<String>,
}

fn default_udp() -> Vec<SocketAddr> {
    vec![SocketAddr::from(([127, 0, 0, 1], 2223))]
}

fn default_allow() -> Vec<IpNet> {
    let v4 = IpNet::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8);
    let v6 = IpNet::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 128);
    v4.into_iter().chain(v6).collect()
}

fn default_offer_timeout() -> u32 {
    600
}

fn default_silent_timeout() -> u32 {
    3_600
}

fn default_max_calls() -> u32 {
    10_000
}
