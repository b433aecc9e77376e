//! Every key of the configuration with what it may hold, its default and its meaning: the source of `tandem check`'s
//! messages and of `tandem check --keys`. A test holds this table and `schema` together.
//!
//! Paths leave out the index of an array: `port.routes.via` is `via` in any entry of `routes` of any `[[port]]`.

use crate::base::limits::{MAX_MEDIA_ADDRESSES, MAX_PORTS, MAX_WORKERS};

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Integer {
        min: i64,
        max: i64,
    },
    Boolean,
    /// A string; `true`: it may be empty.
    Text(bool),
    OneOf(&'static [&'static str]),
    /// `198.51.100.7`, `2001:db8::7`.
    Ip,
    /// `198.51.100.0/24`.
    Network,
    /// `127.0.0.1:9464`.
    Socket,
    Path,
    Table,
    /// An array of tables: `[[key]]`, or inline.
    Tables {
        min: usize,
        max: usize,
    },
    List {
        of: &'static Kind,
        min: usize,
        max: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Required,
    /// May be absent; the text says what then holds.
    Default(&'static str),
}

#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub path: &'static str,
    pub kind: Kind,
    pub need: Need,
    pub meaning: &'static str,
}

impl Key {
    /// The last part: the key as written in its table.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// The path of the table that this key stands in; empty for the root.
    pub fn table(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(table, _)| table)
    }
}

/// The keys of the table at `path`, in the order of the reference.
pub fn keys_of(path: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.table() == path)
}

impl Kind {
    /// What is allowed, as a message says it.
    pub fn describe(&self) -> String {
        match self {
            Kind::Integer { min, max } if *max == i64::MAX => format!("an integer, {min} or more"),
            Kind::Integer { min, max } => format!("an integer, {min} to {max}"),
            Kind::Boolean => "true or false".into(),
            Kind::Text(true) => "a string".into(),
            Kind::Text(false) => "a string that is not empty".into(),
            Kind::OneOf(words) => words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" or "),
            Kind::Ip => "an IPv4 or IPv6 address in quotes".into(),
            Kind::Network => "\"ADDRESS/PREFIX-LENGTH\", IPv4 or IPv6".into(),
            Kind::Socket => "\"ADDRESS:PORT\", IPv6 as \"[ADDRESS]:PORT\"".into(),
            Kind::Path => "the path of a file, in quotes".into(),
            Kind::Table => "a table".into(),
            Kind::Tables { min, max } => format!("{} tables", count(*min, *max)),
            Kind::List { of, min, max } => {
                format!("a list of {} values, each {}", count(*min, *max), of.describe())
            }
        }
    }
}

fn count(min: usize, max: usize) -> String {
    match (min, max) {
        (0, MANY) => "any number of".into(),
        (min, MANY) => format!("{min} or more"),
        (min, max) => format!("{min} to {max}"),
    }
}

const MANY: usize = usize::MAX;
const TEXT: Kind = Kind::Text(false);
const DESCRIPTORS: Kind = Kind::Integer { min: 64, max: 32_768 };
const RATE: Kind = Kind::Integer { min: 1, max: u32::MAX as i64 };
const COUNT: Kind = Kind::Integer { min: 1, max: 10_000_000 };
const PORT: Kind = Kind::Integer { min: 1, max: u16::MAX as i64 };
const SOME_NAMES: Kind = Kind::List { of: &TEXT, min: 0, max: MANY };

const fn required(path: &'static str, kind: Kind, meaning: &'static str) -> Key {
    Key { path, kind, need: Need::Required, meaning }
}

const fn key(path: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Key {
    Key { path, kind, need: Need::Default(default), meaning }
}

#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("node", Kind::Table, "defaults", "this appliance"),
    key("node.name", TEXT, "\"tandem\"", "appears in call records, logs and the Server header"),
    key("node.drain_s", Kind::Integer { min: 0, max: 86_400 }, "600", "seconds that calls in progress may go on after SIGTERM or `tandem drain`, before they get a BYE"),

    key("dpdk", Kind::Table, "defaults", "DPDK's environment"),
    key("dpdk.hugepages", Kind::Boolean, "true", "false runs on ordinary memory: for laboratories and tests"),
    key("dpdk.memory_mb", Kind::Integer { min: 64, max: 1_048_576 }, "1024", "MiB for pools and tables; with hugepages, per NUMA node in use"),
    key("dpdk.mbufs", Kind::Integer { min: 1_024, max: 16_777_215 }, "65535", "packet buffers per pool; the rings of a port must fit"),
    key("dpdk.eal_args", Kind::List { of: &TEXT, min: 0, max: 64 }, "[]", "arguments handed to DPDK's EAL as they are"),

    key("cores", Kind::Table, "defaults", "which CPU does what"),
    key("cores.workers", Kind::List { of: &Kind::Integer { min: 0, max: 1_023 }, min: 1, max: MAX_WORKERS }, "[1]", "CPUs that poll, one worker each"),
    key("cores.slow", Kind::Integer { min: 0, max: 1_023 }, "0", "CPU of the slow path: signalling, exception device, control"),
    key("cores.poll", Kind::OneOf(&["busy", "adaptive"]), "\"busy\"", "busy never sleeps; adaptive sleeps briefly when idle, for shared cores"),

    required("port", Kind::Tables { min: 1, max: MAX_PORTS }, "one `[[port]]` per DPDK port"),
    required("port.name", TEXT, "other tables refer to the port by this name"),
    required("port.device", TEXT, "a PCI address (`0000:00:06.0`) or a DPDK virtual device with its arguments (`net_af_packet0,iface=eth1`)"),
    key("port.device_args", Kind::Text(true), "\"\"", "arguments for a PCI device, key=value with commas; for ENA enable_llq, large_llq_hdr, miss_txc_to"),
    required("port.exception", TEXT, "name of the TAP through which the kernel sees this port"),
    key("port.mtu", Kind::Integer { min: 576, max: 9_216 }, "1500", "bytes of an IP packet"),
    key("port.rx_descriptors", DESCRIPTORS, "1024", "receive descriptors per queue, a power of two"),
    key("port.tx_descriptors", DESCRIPTORS, "1024", "transmit descriptors per queue, a power of two"),
    required("port.addresses", Kind::List { of: &Kind::Network, min: 1, max: MAX_MEDIA_ADDRESSES }, "addresses with prefix length that tandem sets on the exception device"),
    key("port.routes", Kind::Tables { min: 0, max: 256 }, "[]", "routes that tandem sets through this port"),
    required("port.routes.to", Kind::Network, "destination; 0.0.0.0/0 and ::/0 are the default routes"),
    required("port.routes.via", Kind::Ip, "next hop"),

    required("address", Kind::Tables { min: 1, max: MAX_MEDIA_ADDRESSES }, "one `[[address]]` per address that SIP or media uses"),
    required("address.name", TEXT, "other tables refer to the address by this name"),
    required("address.port", TEXT, "name of the `[[port]]` it lives on"),
    required("address.local", Kind::Ip, "the address on the wire"),
    key("address.advertise", Kind::Ip, "as local", "what peers are told (Via, Contact, SDP): an Elastic IP, a NAT's outer side"),

    required("media", Kind::Table, "RTP and RTCP"),
    key("media.ports", Kind::Table, "20000 to 59999", "UDP ports for RTP and RTCP on every media address"),
    required("media.ports.low", Kind::Integer { min: 1_024, max: 65_534 }, "lowest port, even"),
    required("media.ports.high", Kind::Integer { min: 1_025, max: 65_535 }, "highest port"),
    key("media.dscp", Kind::Integer { min: 0, max: 63 }, "46", "DSCP of forwarded RTP and RTCP"),
    key("media.timeout_s", Kind::Integer { min: 0, max: 86_400 }, "60", "a call without media both ways for so many seconds ends; 0: never"),
    key("media.latching", Kind::Table, "defaults", "sources other than the signalled one"),
    key("media.latching.enabled", Kind::Boolean, "true", "false admits only the exact address in SDP"),
    key("media.latching.window_ms", Kind::Integer { min: 100, max: 60_000 }, "3000", "how long after the answer another source may be latched"),
    key("media.max_sessions", COUNT, "10000", "media sessions at once; sizes the flow table"),

    key("punt", Kind::Table, "defaults", "packets per second and worker that each class may send to the kernel"),
    key("punt.neighbour_pps", RATE, "1000", "ARP and neighbour discovery"),
    key("punt.sip_pps", RATE, "30000", "SIP"),
    key("punt.icmp_pps", RATE, "500", "ICMP and ICMPv6 other than neighbour discovery"),
    key("punt.fragment_pps", RATE, "2000", "IP fragments"),
    key("punt.other_pps", RATE, "1000", "everything else"),

    required("sip", Kind::Table, "signalling"),
    required("sip.listen", Kind::Tables { min: 1, max: 64 }, "where SIP is heard"),
    required("sip.listen.address", TEXT, "name of an `[[address]]`"),
    key("sip.listen.port", PORT, "5060", "UDP and TCP port"),
    key("sip.listen.transports", Kind::List { of: &Kind::OneOf(&["udp", "tcp"]), min: 1, max: 2 }, "[\"udp\", \"tcp\"]", "transports heard there"),
    key("sip.unknown_caller", Kind::OneOf(&["reject", "silent"]), "\"reject\"", "what a caller that is no trunk gets: 403, or no answer"),
    key("sip.t1_ms", Kind::Integer { min: 50, max: 5_000 }, "500", "RFC 3261 T1, the estimate of the round-trip time"),
    key("sip.ring_s", Kind::Integer { min: 1, max: 3_600 }, "120", "an INVITE without final answer for so long goes to the next destination, or gets 408"),
    key("sip.max_calls", COUNT, "10000", "calls in progress at once; one more gets 503"),

    key("trunk", Kind::Tables { min: 0, max: 4_096 }, "none", "one `[[trunk]]` per peer"),
    required("trunk.name", TEXT, "routes refer to the trunk by this name"),
    key("trunk.from", Kind::List { of: &Kind::Network, min: 0, max: MANY }, "[]", "addresses that may call"),
    required("trunk.address", TEXT, "name of the `[[address]]` that signals with this trunk; must be in sip.listen"),
    key("trunk.media", SOME_NAMES, "[trunk.address]", "names of the `[[address]]`es that carry its media, used in turn"),
    key("trunk.codecs", Kind::List { of: &Kind::OneOf(&["PCMU", "PCMA"]), min: 1, max: 2 }, "[\"PCMU\", \"PCMA\"]", "G.711 codecs it is offered, in order of preference"),
    key("trunk.destinations", Kind::List { of: &TEXT, min: 0, max: 64 }, "[]", "where calls to it go, in order: sip:IP[:PORT][;transport=udp|tcp]"),
    key("trunk.no_reply_ms", Kind::Integer { min: 100, max: 32_000 }, "4000", "a destination without provisional answer for so long is passed over"),

    key("route", Kind::Tables { min: 0, max: 65_536 }, "none", "dial plan: the longest prefix of the called number wins"),
    required("route.prefix", Kind::Text(true), "leading characters of the called number; empty matches all"),
    key("route.from", TEXT, "any", "only calls from this trunk"),
    required("route.to", Kind::List { of: &TEXT, min: 1, max: 64 }, "trunks in order of preference"),

    key("cdr", Kind::Table, "none", "call-detail records"),
    key("cdr.file", Kind::Path, "no records", "JSON lines are appended here"),

    key("metrics", Kind::Table, "defaults", "/metrics, /healthz and /readyz"),
    key("metrics.listen", Kind::Socket, "\"127.0.0.1:9464\"", "where they answer"),

    key("admin", Kind::Table, "defaults", "the local admin socket"),
    key("admin.socket", Kind::Path, "\"/run/tandem/admin.sock\"", "a Unix socket, mode 0600"),

    key("log", Kind::Table, "defaults", "logging, to standard error"),
    key("log.format", Kind::OneOf(&["text", "json"]), "\"text\"", "one line per event, as text or JSON"),
    key("log.level", TEXT, "\"info\"", "a level or a tracing filter: `info,tandem::sip=debug`"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::{Cdr, Config, KernelRoute, Route};

    /// All key paths of a serialised configuration.
    fn paths(prefix: &str, value: &serde_json::Value, out: &mut BTreeSet<String>) {
        match value {
            serde_json::Value::Object(fields) => {
                for (name, field) in fields {
                    let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                    paths(&path, field, out);
                    out.insert(path);
                }
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| paths(prefix, item, out)),
            _ => {}
        }
    }

    #[test]
    fn the_table_and_the_schema_have_the_same_keys() {
        let mut config: Config = toml::from_str(include_str!("../../docs/tandem.example.toml")).unwrap();
        // Each list must have an element for its keys to show.
        config.ports[0]
            .routes
            .push(KernelRoute { to: "0.0.0.0/0".parse().unwrap(), via: "198.51.100.1".parse().unwrap() });
        config.routes.push(Route { prefix: String::new(), from: None, to: vec!["x".into()] });
        config.cdr = Cdr { file: None };
        let mut schema = BTreeSet::new();
        paths("", &serde_json::to_value(&config).unwrap(), &mut schema);
        let table: BTreeSet<String> = KEYS.iter().map(|key| key.path.to_owned()).collect();
        assert_eq!(table, schema);
        assert_eq!(table.len(), KEYS.len(), "a key stands twice in KEYS");
    }

    #[test]
    fn defaults_are_told_as_the_schema_has_them() {
        // No key that has a default is set here.
        let bare = r#"
            [[port]]
            name = "p"
            device = "net_null0"
            exception = "t"
            addresses = []
            [[address]]
            name = "a"
            port = "p"
            local = "198.18.0.1"
            [media]
            [[sip.listen]]
            address = "a"
            [[trunk]]
            name = "t"
            address = "a"
        "#;
        let config: Config = toml::from_str(bare).unwrap();
        let config = serde_json::to_value(config).unwrap();
        let mut compared = 0;
        for key in KEYS {
            let Need::Default(told) = key.need else { continue };
            let Ok(told) = toml::from_str::<serde_json::Value>(&format!("v = {told}")) else { continue };
            let held = key.path.split('.').try_fold(&config, |value, part| {
                let field = value.get(part)?;
                Some(field.get(0).unwrap_or(field))
            });
            // `get(0)` above enters the only entry of an array of tables; of a list of values it takes the first.
            let told = told["v"].get(0).unwrap_or(&told["v"]);
            assert_eq!(held, Some(told), "{}", key.path);
            compared += 1;
        }
        assert!(compared > 25, "{compared}");
    }

    #[test]
    fn limits_are_told_in_words() {
        assert_eq!(Kind::Integer { min: 0, max: 63 }.describe(), "an integer, 0 to 63");
        assert_eq!(Kind::OneOf(&["udp", "tcp"]).describe(), "\"udp\" or \"tcp\"");
        assert_eq!(
            Kind::List { of: &Kind::Network, min: 0, max: MANY }.describe(),
            "a list of any number of values, each \"ADDRESS/PREFIX-LENGTH\", IPv4 or IPv6"
        );
    }
}
