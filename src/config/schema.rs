//! The configuration as types: what a key is called, its unit, its default. No room defines configuration elsewhere.
//!
//! Durations end in `_ms` or `_s`. Names (`port.name`, `address.name`, `trunk.name`) tie the tables together: a
//! floating address is known by its name, so that two hosts with different local addresses can carry the same call.

mod identity;
mod numbers;
mod protection;
mod route;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use ipnet::IpNet;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{SeqAccess, Visitor},
};

pub use numbers::{NumberFormat, Numbers};
pub use route::{Rewrite, Route};

pub use self::{
    identity::{Identity, TrunkHeaders},
    protection::Protection,
};

mod reliable;
mod session_timer;

pub use reliable::ReliableProvisionals;
pub use session_timer::{SessionTimer, SessionTimerMode};

mod auth;
mod ha;
mod ha_ec2;
mod ng;
mod overload;
mod register;
mod tls;
mod transfer;
mod transport;
mod trunk;

pub use auth::{Secret, TrunkAuth};
pub use ha::{Ha, HaLink, HaProvider, PairKey};
pub use ha_ec2::{Ec2Address, Ec2Way, HaEc2};
pub use ng::{Ng, NgInterface};
pub use overload::Overload;
pub use register::TrunkRegister;
pub use tls::{Tls, TlsVersion, TrunkTls};
pub use transfer::{Requests, Transfer};
pub use transport::SipTransport;
pub use trunk::{Alive, Policy, TrunkDestination, TrunkHealth, TrunkLimits};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    pub node: Node,
    #[serde(default)]
    pub dpdk: Dpdk,
    #[serde(default)]
    pub cores: Cores,
    #[serde(rename = "port")]
    pub ports: Vec<Port>,
    #[serde(rename = "address")]
    pub addresses: Vec<Address>,
    pub media: Media,
    #[serde(default)]
    pub punt: Punt,
    pub sip: Sip,
    #[serde(default, rename = "trunk")]
    pub trunks: Vec<Trunk>,
    #[serde(default, rename = "route")]
    pub routes: Vec<Route>,
    /// Absent: this host is alone.
    #[serde(default)]
    pub ha: Option<Ha>,
    /// Absent: the protocol is not spoken.
    #[serde(default)]
    pub ng: Option<Ng>,
    #[serde(default)]
    pub cdr: Cdr,
    #[serde(default)]
    pub metrics: Metrics,
    #[serde(default)]
    pub admin: Admin,
    #[serde(default)]
    pub log: Log,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// Appears in CDRs, logs and the Server header's comment.
    pub name: String,
    /// After SIGTERM: how long calls in progress may go on before they get a BYE.
    pub drain_s: u64,
}

impl Default for Node {
    fn default() -> Self {
        Node { name: "tandem".into(), drain_s: 600 }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dpdk {
    /// `false` runs DPDK on ordinary memory (`--no-huge --no-shconf`): for laboratories and tests.
    pub hugepages: bool,
    /// Memory for pools and tables, in MiB (with hugepages: per NUMA node in use). Absent: as `host::plan` adds it up.
    pub memory_mb: Option<u32>,
    /// Packet buffers per pool; a port's worth of rings must fit. Absent: as `host::plan` counts them.
    pub mbufs: Option<u32>,
    /// Arguments handed to the EAL as they are, for what has no key of its own.
    pub eal_args: Vec<String>,
}

impl Default for Dpdk {
    fn default() -> Self {
        Dpdk { hugepages: true, memory_mb: None, mbufs: None, eal_args: Vec::new() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Poll {
    /// Never sleeps. For production: a core per worker.
    Busy,
    /// Sleeps briefly when idle. For cores that are shared, as in a laboratory.
    Adaptive,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cores {
    /// CPUs that poll, one worker each. Empty: those of the plan for this machine (`host::plan`).
    pub workers: Vec<u16>,
    /// CPU of the slow path: signalling, exception device, control. Absent: 0, and without `workers` that of the plan.
    pub slow: Option<u16>,
    /// CPU of the pair's heartbeat and lease. Absent: the slow path's, and without `workers` that of the plan.
    pub pair: Option<u16>,
    pub poll: Poll,
}

impl Cores {
    pub fn slow(&self) -> u16 {
        self.slow.unwrap_or(0)
    }
}

impl Default for Cores {
    fn default() -> Self {
        Cores { workers: Vec::new(), slow: None, pair: None, poll: Poll::Busy }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    pub name: String,
    /// A PCI address (`0000:00:06.0`) or a DPDK virtual device with its arguments (`net_af_packet0,iface=eth1`).
    pub device: String,
    /// Device arguments for a PCI device, `key=value` with commas: for ENA `enable_llq`, `large_llq_hdr`, `miss_txc_to`.
    #[serde(default)]
    pub device_args: String,
    /// Name of the TAP through which the kernel sees this port (ARP, ND, ICMP, SIP).
    pub exception: String,
    #[serde(default = "default_mtu")]
    pub mtu: u16,
    /// Receive and transmit descriptors per queue.
    #[serde(default = "default_descriptors")]
    pub rx_descriptors: u16,
    #[serde(default = "default_descriptors")]
    pub tx_descriptors: u16,
    /// Addresses with prefix length that tandem sets on the exception device.
    pub addresses: Vec<IpNet>,
    /// Routes that tandem sets through this port.
    #[serde(default)]
    pub routes: Vec<KernelRoute>,
}

fn default_mtu() -> u16 {
    1500
}

fn default_descriptors() -> u16 {
    1024
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelRoute {
    /// `0.0.0.0/0` and `::/0` are the default routes.
    pub to: IpNet,
    pub via: IpAddr,
}

/// A logical address: what SIP and media refer to by name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    pub name: String,
    pub port: String,
    pub local: IpAddr,
    /// What peers are told (Via, Contact, SDP) where it differs: an Elastic IP, a NAT's outer side.
    #[serde(default)]
    pub advertise: Option<IpAddr>,
    /// It is with whichever host of the pair is active; else it is this host's own.
    #[serde(default)]
    pub floating: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Media {
    /// Lowest and highest UDP port for RTP and RTCP on every media address.
    #[serde(default = "default_media_ports")]
    pub ports: PortRange,
    /// DSCP of forwarded RTP and RTCP, 0–63. Default 46 (EF, RFC 3246).
    #[serde(default = "default_dscp")]
    pub dscp: u8,
    /// A call without media both ways for this long ends (0: never). Not counted while on hold.
    #[serde(default = "default_media_timeout")]
    pub timeout_s: u32,
    #[serde(default)]
    pub latching: Latching,
    /// Media sessions at once; sizes the flow table.
    #[serde(default = "default_sessions")]
    pub max_sessions: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortRange {
    pub low: u16,
    pub high: u16,
}

fn default_media_ports() -> PortRange {
    PortRange { low: 20_000, high: 59_999 }
}

fn default_dscp() -> u8 {
    46
}

fn default_media_timeout() -> u32 {
    60
}

fn default_sessions() -> u32 {
    10_000
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Latching {
    /// `false`: only the exact address in SDP is admitted.
    pub enabled: bool,
    /// How long after the answer a source other than the signalled one may be latched.
    pub window_ms: u32,
}

impl Default for Latching {
    fn default() -> Self {
        Latching { enabled: true, window_ms: 3_000 }
    }
}

/// Packets per second and worker that each class may send to the kernel.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Punt {
    pub neighbour_pps: u32,
    pub sip_pps: u32,
    pub icmp_pps: u32,
    pub fragment_pps: u32,
    pub other_pps: u32,
}

impl Default for Punt {
    fn default() -> Self {
        Punt { neighbour_pps: 1_000, sip_pps: 30_000, icmp_pps: 500, fragment_pps: 2_000, other_pps: 1_000 }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sip {
    pub listen: Vec<SipListen>,
    /// What a caller that is no trunk gets.
    #[serde(default)]
    pub unknown_caller: UnknownCaller,
    /// RFC 3261 §17.1.1.1 T1: estimate of the round-trip time.
    #[serde(default = "default_t1")]
    pub t1_ms: u32,
    /// An INVITE without a final answer from a destination for this long goes to the next one, or gets 408.
    #[serde(default = "default_ring")]
    pub ring_s: u32,
    /// Calls in progress at once; one more gets 503.
    #[serde(default = "default_max_calls")]
    pub max_calls: u32,
    #[serde(default)]
    pub protection: Protection,
    /// Where the clock of `route.times` hangs, by IANA name.
    #[serde(default = "default_timezone")]
    pub timezone: String,
    #[serde(default)]
    pub session_timer: SessionTimer,
    #[serde(default)]
    pub overload: Overload,
    /// DNS servers for destinations that are host names; none: those of this machine.
    #[serde(default)]
    pub dns: Vec<SocketAddr>,
    /// What tandem shows of itself over TLS; needed where `listen` has `tls`.
    #[serde(default)]
    pub tls: Option<Tls>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SipListen {
    /// Name of an `[[address]]`.
    pub address: String,
    /// Absent: that of each transport.
    #[serde(default)]
    pub port: Option<u16>,
    #[serde(default = "default_transports")]
    pub transports: Vec<SipTransport>,
}

impl SipListen {
    pub fn port_of(&self, transport: SipTransport) -> u16 {
        self.port.unwrap_or(transport.default_port())
    }
}

fn default_transports() -> Vec<SipTransport> {
    vec![SipTransport::Udp, SipTransport::Tcp]
}

fn default_t1() -> u32 {
    500
}

fn default_ring() -> u32 {
    120
}

fn default_max_calls() -> u32 {
    10_000
}

fn default_timezone() -> String {
    "UTC".into()
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownCaller {
    /// 403 Forbidden.
    #[default]
    Reject,
    /// No answer at all.
    Silent,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trunk {
    pub name: String,
    /// Addresses that may call.
    #[serde(default)]
    pub from: Vec<IpNet>,
    /// Name of the `[[address]]` that signals with this trunk; must be among `sip.listen`.
    pub address: String,
    /// Names of the `[[address]]`es that carry media with this trunk, used in turn. Default: `address`.
    #[serde(default)]
    pub media: Vec<String>,
    /// G.711 codecs this trunk is offered, in order of preference.
    #[serde(default = "default_codecs")]
    pub codecs: Vec<Codec>,
    /// Where calls to this trunk go: `sip:host[:port][;transport=tcp]` or `sips:host[:port]`, the host an IP address or a
    /// name (RFC 3263).
    #[serde(default)]
    pub destinations: Vec<TrunkDestination>,
    /// Which of them is tried first.
    #[serde(default)]
    pub policy: Policy,
    #[serde(default)]
    pub limits: TrunkLimits,
    /// Absent: destinations are not asked whether they live.
    #[serde(default)]
    pub health: Option<TrunkHealth>,
    /// The account that tandem and the trunk share; absent: none.
    #[serde(default)]
    pub auth: Option<TrunkAuth>,
    /// Absent: tandem does not register with it.
    #[serde(default)]
    pub register: Option<TrunkRegister>,
    /// A destination that sends no provisional answer within this time is passed over for the next.
    #[serde(default = "default_answer_ms")]
    pub no_reply_ms: u32,
    #[serde(default)]
    pub identity: Identity,
    #[serde(default)]
    pub headers: TrunkHeaders,
    /// How numbers are written here.
    #[serde(default)]
    pub numbers: Numbers,
    #[serde(default)]
    pub reliable_provisionals: ReliableProvisionals,
    /// Absent: `sip.session_timer.mode`.
    #[serde(default)]
    pub session_timer: Option<SessionTimerMode>,
    #[serde(default)]
    pub tls: TrunkTls,
    #[serde(default)]
    pub transfer: Transfer,
    #[serde(default)]
    pub requests: Requests,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Codec {
    #[serde(rename = "PCMU")]
    Pcmu,
    #[serde(rename = "PCMA")]
    Pcma,
}

fn default_codecs() -> Vec<Codec> {
    vec![Codec::Pcmu, Codec::Pcma]
}

fn default_answer_ms() -> u32 {
    4_000
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cdr {
    /// JSON lines are appended here; absent: no records.
    pub file: Option<PathBuf>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Where `/metrics`, `/healthz` and `/readyz` answer; absent: nowhere.
    pub listen: Option<SocketAddr>,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics { listen: Some(SocketAddr::from(([127, 0, 0, 1], 9464))) }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    pub socket: PathBuf,
}

impl Default for Admin {
    fn default() -> Self {
        Admin { socket: PathBuf::from("/run/tandem/admin.sock") }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    pub format: LogFormat,
    /// A level or `tracing` filter: `info`, `info,tandem::sip=debug`.
    pub level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Log { format: LogFormat::Text, level: "info".into() }
    }
}

/// A text, or a list of them.
fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct OneOrMore;

    impl<'de> Visitor<'de> for OneOrMore {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or a list of strings")
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(vec![text.to_owned()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(text) = list.next_element()? {
                all.push(text);
            }
            Ok(all)
        }
    }

    deserializer.deserialize_any(OneOrMore)
}
