//! Every key of the configuration with what it may hold, its default and its meaning: the source of `tandem check`'s
//! messages and of `tandem check --keys`. A test holds this table and `schema` together.
//!
//! Paths leave out the index of an array: `port.routes.via` is `via` in any entry of `routes` of any `[[port]]`.

use crate::base::limits::{
    HA_PATHS, MAX_EC2_ADDRESSES, MAX_EC2_ROUTE_TABLES, MAX_MEDIA_ADDRESSES, MAX_PORTS, MAX_WORKERS,
};

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
    /// A string that is not empty, and is shown nowhere.
    Secret,
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
    /// One value, or a list of at least so many of them.
    OneOrMore {
        of: &'static Kind,
        min: usize,
    },
    /// A list whose entries are strings or tables; the string stands for a table with its first key alone.
    TextsOrTables {
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
            Kind::Text(false) | Kind::Secret => "a string that is not empty".into(),
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
            Kind::OneOrMore { of, min } => {
                format!("{}, or a list of {} of them", of.describe(), count(*min, MANY))
            }
            Kind::TextsOrTables { min, max } => {
                format!("a list of {} values, each a string or a table", count(*min, *max))
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
const CALL_RATE: Kind = Kind::Integer { min: 1, max: 100_000 };
const COUNT: Kind = Kind::Integer { min: 1, max: 10_000_000 };
const PORT: Kind = Kind::Integer { min: 1, max: u16::MAX as i64 };
const PREFIXES: Kind = Kind::OneOrMore { of: &Kind::Text(true), min: 0 };
const STRIP: Kind = Kind::Integer { min: 0, max: 32 };
const SHARE: Kind = Kind::Integer { min: 0, max: u16::MAX as i64 };
const NAMES: Kind = Kind::List { of: &TEXT, min: 1, max: MAX_MEDIA_ADDRESSES };
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
    key("dpdk.memory_mb", Kind::Integer { min: 64, max: 1_048_576 }, "as many as it takes, 1024 or more", "MiB for pools and tables; with hugepages, per NUMA node in use"),
    key("dpdk.mbufs", Kind::Integer { min: 1_024, max: 16_777_215 }, "as many as it takes, 65535 or more", "packet buffers per pool; the rings of a port must fit"),
    key("dpdk.eal_args", Kind::List { of: &TEXT, min: 0, max: 64 }, "[]", "arguments handed to DPDK's EAL as they are"),

    key("cores", Kind::Table, "defaults", "which CPU does what"),
    key("cores.workers", Kind::List { of: &Kind::Integer { min: 0, max: 1_023 }, min: 1, max: MAX_WORKERS }, "those of `tandem tune plan`", "CPUs that poll, one worker each"),
    key("cores.slow", Kind::Integer { min: 0, max: 1_023 }, "0; without workers that of `tandem tune plan`", "CPU of the slow path: signalling, exception device, control"),
    key("cores.pair", Kind::Integer { min: 0, max: 1_023 }, "that of the slow path; without workers that of `tandem tune plan`", "CPU of the pair's heartbeat and lease"),
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
    key("address.floating", Kind::Boolean, "false", "true: it is with whichever host of the pair is active, see ha"),

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
    key("sip.listen.port", PORT, "5060; 5061 for tls", "port of all its transports"),
    key("sip.listen.transports", Kind::List { of: &Kind::OneOf(&["udp", "tcp", "tls"]), min: 1, max: 3 }, "[\"udp\", \"tcp\"]", "transports heard there"),
    key("sip.tls", Kind::Table, "none", "what tandem shows of itself over TLS; needed where sip.listen has tls"),
    required("sip.tls.certificate", Kind::Path, "PEM: its certificate, then those between it and a root"),
    required("sip.tls.key", Kind::Path, "PEM: the private key of that certificate"),
    key("sip.tls.min_version", Kind::OneOf(&["1.2", "1.3"]), "\"1.2\"", "oldest version of TLS that is spoken"),
    key("sip.unknown_caller", Kind::OneOf(&["reject", "silent"]), "\"reject\"", "what a caller that is no trunk gets: 403, or no answer"),
    key("sip.t1_ms", Kind::Integer { min: 50, max: 5_000 }, "500", "RFC 3261 T1, the estimate of the round-trip time"),
    key("sip.ring_s", Kind::Integer { min: 1, max: 3_600 }, "120", "an INVITE without final answer for so long goes to the next destination, or gets 408"),
    key("sip.max_calls", COUNT, "10000", "calls in progress at once; one more gets 503"),
    key("sip.timezone", TEXT, "\"UTC\"", "where the clock of route.times hangs, by IANA name: Europe/Berlin"),

    key("sip.protection", Kind::Table, "defaults", "limits, scanners and bans: who may send SIP, and how much; messages past it are dropped in silence"),
    key("sip.protection.enabled", Kind::Boolean, "true", "false limits, looks for and bans nobody"),
    key("sip.protection.source_per_s", RATE, "10", "messages per second of one source that is no trunk: an IPv4 address or an IPv6 /64"),
    key("sip.protection.source_burst", RATE, "40", "messages that such a source may send at once, after a pause"),
    key("sip.protection.strangers_per_s", RATE, "1000", "messages per second of all sources together that are no trunk"),
    key("sip.protection.trunk_per_s", Kind::Integer { min: 0, max: u32::MAX as i64 }, "0", "messages per second of one address of a trunk; 0: no limit"),
    key("sip.protection.ban_after", Kind::Integer { min: 0, max: 1_000_000 }, "20", "offences within ban_window_s after which a source that is no trunk is banned; 0: never"),
    key("sip.protection.ban_window_s", Kind::Integer { min: 1, max: 86_400 }, "60", "seconds within which offences add up"),
    key("sip.protection.ban_s", Kind::Integer { min: 1, max: 31_536_000 }, "3600", "seconds that a ban lasts"),
    key("sip.protection.scanners", Kind::List { of: &TEXT, min: 0, max: 256 }, "[\"friendly-scanner\", \"friendly-request\", \"sipvicious\", \"sipcli\", \"sip-scan\", \"sipscan\", \"sipsak\", \"sundayddr\", \"pplsip\", \"VaxSIPUserAgent\", \"VaxIPUserAgent\", \"siparmyknife\"]", "what scanners write into User-Agent, From, To or Contact, compared without case; not looked for in what trunks send"),
    key("sip.session_timer", Kind::Table, "defaults", "how long a call may go without a sign of life (RFC 4028)"),
    key("sip.session_timer.mode", Kind::OneOf(&["off", "accept", "request"]), "\"accept\"", "accept: where the peer asks for a session timer; request: tandem asks for one in each call"),
    key("sip.session_timer.expires_s", Kind::Integer { min: 90, max: 86_400 }, "1800", "the session interval that tandem asks for"),
    key("sip.session_timer.min_se_s", Kind::Integer { min: 90, max: 86_400 }, "90", "the shortest session interval that tandem takes; a shorter one gets 422"),
    key("sip.overload", Kind::Table, "defaults", "what the slow path does when it is late: calls in progress go first, new ones are refused"),
    key("sip.overload.late_ms", Kind::Integer { min: 0, max: 10_000 }, "50", "new calls get 503 as far as messages or timers are later than this; 0: never"),
    key("sip.overload.retry_after_s", Kind::Integer { min: 1, max: 3_600 }, "5", "when the caller may come again, in that 503"),
    key("sip.dns", Kind::List { of: &Kind::Socket, min: 0, max: 8 }, "[]", "DNS servers for destinations that are host names; none: those of this machine"),

    key("trunk", Kind::Tables { min: 0, max: 4_096 }, "none", "one `[[trunk]]` per peer"),
    required("trunk.name", TEXT, "routes refer to the trunk by this name"),
    key("trunk.from", Kind::List { of: &Kind::Network, min: 0, max: MANY }, "[]", "addresses that may call"),
    required("trunk.address", TEXT, "name of the `[[address]]` that signals with this trunk; must be in sip.listen"),
    key("trunk.media", SOME_NAMES, "[trunk.address]", "names of the `[[address]]`es that carry its media, used in turn"),
    key("trunk.codecs", Kind::List { of: &Kind::OneOf(&["PCMU", "PCMA"]), min: 1, max: 2 }, "[\"PCMU\", \"PCMA\"]", "G.711 codecs it is offered, in order of preference"),
    key("trunk.destinations", Kind::TextsOrTables { min: 0, max: 64 }, "none", "where calls to it go: \"sip:HOST[:PORT][;transport=udp|tcp]\", or a table { uri, priority, weight }"),
    required("trunk.destinations.uri", TEXT, "sip:HOST[:PORT][;transport=udp|tcp], the host an IP address or a name; a name is asked for by NAPTR, SRV, A or AAAA"),
    key("trunk.destinations.priority", SHARE, "1", "the lowest is tried first; the policy is about those that share one"),
    key("trunk.destinations.weight", SHARE, "1", "its share among those of its priority, for weighted and least_calls"),
    key("trunk.policy", Kind::OneOf(&["order", "weighted", "round_robin", "least_calls"]), "\"order\"", "which destination of a priority is tried first: as listed, by chance as its weight says, each in turn, the one with the fewest calls for its weight"),
    key("trunk.limits", Kind::Table, "none", "calls that it takes; one more from it gets 503 with Retry-After, one more to it goes to the next trunk of the route"),
    key("trunk.limits.max_calls", COUNT, "no limit", "calls in progress at once, from it and to it together"),
    key("trunk.limits.max_calls_in", COUNT, "no limit", "calls in progress from it"),
    key("trunk.limits.max_calls_out", COUNT, "no limit", "calls in progress to it"),
    key("trunk.limits.calls_per_second", CALL_RATE, "no limit", "new calls a second, from it and to it together"),
    key("trunk.limits.calls_per_second_in", CALL_RATE, "no limit", "new calls a second from it"),
    key("trunk.limits.calls_per_second_out", CALL_RATE, "no limit", "new calls a second to it, each destination tried is one"),
    key("trunk.limits.burst", CALL_RATE, "a second's worth", "new calls that may come at once, for each of these rates"),
    key("trunk.health", Kind::Table, "no OPTIONS are sent", "OPTIONS to each destination; one that is down is passed over unless all are"),
    key("trunk.health.interval_s", Kind::Integer { min: 1, max: 3_600 }, "30", "from one OPTIONS to the next; one not answered by then has failed"),
    key("trunk.health.up_after", Kind::Integer { min: 1, max: 100 }, "2", "answers in a row that bring a destination up"),
    key("trunk.health.down_after", Kind::Integer { min: 1, max: 100 }, "3", "failures in a row that take it down"),
    key("trunk.health.alive", Kind::OneOf(&["any", "success"]), "\"any\"", "what says that it lives: any final response, or a 2xx alone"),
    key("trunk.auth", Kind::Table, "none", "the account that tandem and the trunk share: digest authentication (RFC 3261 §22)"),
    required("trunk.auth.username", TEXT, "who tandem is to the trunk"),
    key("trunk.auth.password", Kind::Secret, "that of password_file", "shown nowhere"),
    key("trunk.auth.password_file", Kind::Path, "none", "a file whose first line is the password; a relative path begins at this file's directory"),
    key("trunk.auth.realm", TEXT, "any", "the one realm whose challenges are answered"),
    key("trunk.auth.challenge", TEXT, "none", "realm in whose name the trunk's own requests are challenged; they must show this account"),
    key("trunk.register", Kind::Table, "none", "tandem registers with the trunk (RFC 3261 §10), with the account of trunk.auth"),
    required("trunk.register.registrar", TEXT, "where REGISTER goes, as a destination: sip:HOST[:PORT][;transport=udp|tcp]"),
    required("trunk.register.aor", TEXT, "what is registered: sip:USER@DOMAIN"),
    key("trunk.register.contact_user", TEXT, "the user of aor", "user part of the Contact, to which calls then come"),
    key("trunk.register.expires_s", Kind::Integer { min: 60, max: 604_800 }, "3600", "lifetime that is asked for; the registrar decides"),
    key("trunk.register.refresh_percent", Kind::Integer { min: 20, max: 95 }, "90", "it is renewed after this part of its lifetime, or up to a tenth of the lifetime earlier"),
    key("trunk.register.retry_s", Kind::Integer { min: 1, max: 3_600 }, "30", "after a failure it is tried again within this time, doubled for each further failure"),
    key("trunk.register.retry_max_s", Kind::Integer { min: 1, max: 86_400 }, "1800", "no longer than this, unless the registrar asks for it"),
    key("trunk.register.required", Kind::Boolean, "false", "true: while it is not registered, the trunk's destinations count as down"),
    key("trunk.no_reply_ms", Kind::Integer { min: 100, max: 32_000 }, "4000", "a destination without provisional answer for so long is passed over"),
    key("trunk.numbers", Kind::Table, "as they come", "how telephone numbers are written here; rules then see +E.164"),
    key("trunk.numbers.country", Kind::Text(true), "\"\"", "country calling code of national numbers: 49"),
    key("trunk.numbers.international", PREFIXES, "[]", "what stands before a country calling code: 00; \"\" where nothing does"),
    key("trunk.numbers.national", PREFIXES, "[]", "what stands before a national number: 0; \"\" where nothing does"),
    key("trunk.numbers.shortest", Kind::Integer { min: 1, max: 15 }, "7", "a number of fewer digits is a short code and stays as dialled"),
    key("trunk.numbers.format", Kind::OneOf(&["as_dialled", "plus_e164", "e164", "national"]), "\"as_dialled\"", "how numbers are written towards it: +49301234567, 49301234567, 0301234567"),

    key("trunk.identity", Kind::Table, "defaults", "identities that callers keep private from others (RFC 3325)"),
    key("trunk.identity.trust", Kind::Boolean, "false", "true: its P-Asserted-Identity is believed, and it is told that of others, also where they ask for privacy"),
    key("trunk.headers", Kind::Table, "defaults", "header fields that cross with this trunk"),
    key("trunk.headers.pass", SOME_NAMES, "[]", "cross to and from it too, besides those that usually do"),
    key("trunk.headers.drop", SOME_NAMES, "[]", "cross neither to nor from it; wins over any pass"),
    key("trunk.reliable_provisionals", Kind::OneOf(&["off", "accept", "require"]), "\"accept\"", "provisional responses that are acknowledged (100rel, RFC 3262): never, where the peer supports it, or always"),
    key("trunk.tls", Kind::Table, "defaults", "what the peers of this trunk show over TLS, and what they are shown"),
    key("trunk.tls.ca", Kind::Path, "those of this machine", "PEM: the roots that its certificates come from"),
    key("trunk.tls.server_name", TEXT, "the destination's host", "what the certificates of its destinations must name"),
    key("trunk.tls.peer_names", SOME_NAMES, "[]", "calls from it come over TLS alone, with a certificate that names one of these (RFC 5922)"),
    key("trunk.tls.wildcards", Kind::Boolean, "false", "whether *.example.com in its certificates names hosts of example.com, which RFC 5922 forbids"),
    key("trunk.tls.certificate", Kind::Path, "that of sip.tls", "PEM: shown to destinations that ask for one"),
    key("trunk.tls.key", Kind::Path, "that of sip.tls", "PEM: its private key"),
    key("trunk.session_timer", Kind::OneOf(&["off", "accept", "request"]), "as sip.session_timer.mode", "session timers with this trunk"),
    key("trunk.transfer", Kind::OneOf(&["refuse", "local", "pass"]), "\"refuse\"", "a REFER from it, or an INVITE with Replaces: refused; carried out by tandem, by the dial plan as for its own calls; or passed to the other side of the call"),
    key("trunk.requests", Kind::OneOf(&["refuse", "pass"]), "\"refuse\"", "MESSAGE, SUBSCRIBE and PUBLISH: refused, or passed on by the dial plan to trunks that pass them too"),

    key("route", Kind::Tables { min: 0, max: 65_536 }, "none", "dial plan: the longest prefix of the called number wins"),
    required("route.prefix", Kind::Text(true), "leading characters of the called number; empty matches all"),
    key("route.from", Kind::OneOrMore { of: &TEXT, min: 1 }, "any", "only calls from this trunk, or these"),
    key("route.times", Kind::List { of: &TEXT, min: 1, max: 64 }, "always", "only at these times: [DAYS] [HH:MM-HH:MM], as in mon-fri 08:00-18:00"),
    key("route.timezone", TEXT, "sip.timezone", "where the clock of times hangs, by IANA name"),
    key("route.emergency", Kind::Boolean, "false", "prefix is a whole emergency number: matched before all else, free from limits"),
    key("route.called", Kind::Table, "as it is", "what becomes of the called number"),
    key("route.called.strip", STRIP, "0", "characters taken from its front; a + is one"),
    key("route.called.prepend", Kind::Text(true), "\"\"", "put in front then"),
    key("route.called.number", TEXT, "as it is", "written in its place"),
    key("route.calling", Kind::Table, "as it is", "what becomes of the calling number; who hides it stays hidden"),
    key("route.calling.strip", STRIP, "0", "characters taken from its front; a + is one"),
    key("route.calling.prepend", Kind::Text(true), "\"\"", "put in front then"),
    key("route.calling.number", TEXT, "as it is", "written in its place"),
    required("route.to", Kind::List { of: &TEXT, min: 1, max: 64 }, "trunks in order of preference"),

    key("ng", Kind::Table, "the protocol is not spoken", "the ng control protocol: Kamailio or OpenSIPS drive media as they drive rtpengine"),
    key("ng.udp", Kind::List { of: &Kind::Socket, min: 0, max: 16 }, "[\"127.0.0.1:2223\"]", "where it is heard over UDP"),
    key("ng.tcp", Kind::List { of: &Kind::Socket, min: 0, max: 16 }, "[]", "where it is heard over TCP"),
    key("ng.http", Kind::List { of: &Kind::Socket, min: 0, max: 16 }, "[]", "where it is heard in HTTP requests and over WebSocket, without TLS"),
    key("ng.allow", Kind::List { of: &Kind::Network, min: 1, max: 256 }, "[\"127.0.0.0/8\", \"::1/128\"]", "who may send commands; others are not heard"),
    required("ng.media", NAMES, "names of the `[[address]]`es that carry media where a command names no interface, used in turn"),
    key("ng.interface", Kind::Tables { min: 0, max: 64 }, "none", "names for several addresses together; each `[[address]]` is an interface by its own name"),
    required("ng.interface.name", TEXT, "commands refer to it by this name"),
    required("ng.interface.media", NAMES, "names of `[[address]]`es, of one family or both"),
    key("ng.offer_timeout_s", Kind::Integer { min: 1, max: 86_400 }, "600", "a call that nobody has answered for so many seconds ends"),
    key("ng.silent_timeout_s", Kind::Integer { min: 1, max: 604_800 }, "3600", "an answered call without any packet for so many seconds ends, also one on hold"),
    key("ng.delete_delay_s", Kind::Integer { min: 0, max: 3_600 }, "0", "seconds that a deleted call goes on, if its delete does not say so"),
    key("ng.max_calls", COUNT, "10000", "calls in progress at once; one more is sent to another node"),
    key("ha", Kind::Table, "none: this host is alone", "the pair that this host is one of"),
    required("ha.peer", TEXT, "node.name of the other host"),
    required("ha.key_file", Kind::Path, "a file of 32 bytes or more that both hosts have and nobody else; a relative path begins at this file's directory"),
    key("ha.heartbeat_ms", Kind::Integer { min: 5, max: 1_000 }, "20", "from one heartbeat to the next, on every path"),
    key("ha.misses", Kind::Integer { min: 2, max: 100 }, "4", "so many missed on all paths, and half an interval more, say that the peer is gone"),
    key("ha.commit_ms", Kind::Integer { min: 0, max: 5_000 }, "50", "how long a caller's 200 waits for the standby to know of it"),
    key("ha.drain_ms", Kind::Integer { min: 0, max: 5_000 }, "200", "after a planned switchover, how long the old side forwards what still comes there"),
    key("ha.hold_down_ms", Kind::Integer { min: 0, max: 3_600_000 }, "3000", "after a host stopped being active, how long it is not asked to be again; longer each time for faults within ten minutes"),
    key("ha.preempt", Kind::Boolean, "false", "true: this host takes over from a peer without it, once it is ready"),
    key("ha.state", Kind::Path, "\"/var/lib/tandem/ha.json\"", "where the generation is kept; its directory must be there and writable"),
    key("ha.provider", Kind::OneOf(&["none", "garp", "ec2"]), "\"none\"", "what moves the floating addresses: nothing, gratuitous ARP and neighbour advertisements, the EC2 API"),
    required("ha.replication", Kind::Table, "the TCP connection over which calls are copied, encrypted"),
    required("ha.replication.local", Kind::Socket, "where this host is heard"),
    required("ha.replication.peer", Kind::Socket, "where the other one is"),
    required("ha.path", Kind::Tables { min: 1, max: HA_PATHS }, "where heartbeats go, over UDP; the paths in the same order on both hosts"),
    required("ha.path.local", Kind::Socket, "where this host is heard"),
    required("ha.path.peer", Kind::Socket, "where the other one is"),
    key("ha.ec2", Kind::Table, "none", "how they move by the EC2 API; with ha.provider = \"ec2\""),
    key("ha.ec2.region", TEXT, "that of the instance", "region whose API is called"),
    key("ha.ec2.endpoint", TEXT, "that of the region", "URL of the EC2 API: for a VPC endpoint, or a test"),
    key("ha.ec2.metadata", TEXT, "http://169.254.169.254", "URL of the instance metadata service; only its version 2 is spoken"),
    key("ha.ec2.attempt_ms", Kind::Integer { min: 200, max: 10_000 }, "1000", "milliseconds that one attempt at a call may take"),
    key("ha.ec2.attempts", Kind::Integer { min: 1, max: 10 }, "4", "attempts at a call that gets no answer, or is told to come again"),
    required("ha.ec2.address", Kind::Tables { min: 1, max: MAX_EC2_ADDRESSES }, "one `[[ha.ec2.address]]` per floating address"),
    required("ha.ec2.address.name", TEXT, "name of a floating `[[address]]`"),
    required("ha.ec2.address.by", Kind::OneOf(&["secondary", "elastic", "route"]), "secondary: a private address moves within its subnet; elastic: an Elastic IP is associated anew; route: a route to it gets another target"),
    key("ha.ec2.address.interface", TEXT, "that of its port, by MAC", "network interface of this host that takes it: eni-…"),
    key("ha.ec2.address.allocation", TEXT, "none", "with elastic: which Elastic IP, eipalloc-…"),
    key("ha.ec2.address.tables", Kind::List { of: &TEXT, min: 1, max: MAX_EC2_ROUTE_TABLES }, "none", "with route: route tables in which it is replaced, rtb-…"),
    key("ha.ec2.address.destination", Kind::Network, "the address alone", "with route: destination of the route"),

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
    use crate::config::{Cdr, Config, KernelRoute};

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
        config.cdr = Cdr { file: None };
        config.sip.tls = Some(crate::config::Tls {
            certificate: "c".into(),
            key: "k".into(),
            min_version: crate::config::TlsVersion::Tls12,
        });
        config.trunks[0].health = Some(crate::config::TrunkHealth::default());
        config.trunks[0].auth = Some(Default::default());
        let register = "registrar = \"sip:192.0.2.1\"\naor = \"sip:1@example.com\"";
        config.trunks[0].register = Some(toml::from_str(register).unwrap());
        let links = "replication = { local = \"192.0.2.1:1\", peer = \"192.0.2.2:1\" }";
        let path = "path = [{ local = \"192.0.2.1:2\", peer = \"192.0.2.2:2\" }]";
        let ec2 = "ec2.address = [{ name = \"public\", by = \"secondary\" }]";
        config.ha = Some(toml::from_str(&format!("peer = \"b\"\nkey_file = \"k\"\n{links}\n{path}\n{ec2}")).unwrap());
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
            [sip.tls]
            certificate = "c"
            key = "k"
            [[trunk]]
            name = "t"
            address = "a"
            destinations = ["sip:198.18.0.2"]
            health = {}
            register = { registrar = "sip:198.18.0.2", aor = "sip:1@example.com" }
            [[route]]
            prefix = ""
            to = ["t"]
            [ng]
            media = ["a"]
            [[ng.interface]]
            name = "i"
            media = ["a"]
            [ha]
            peer = "b"
            key_file = "k"
            replication = { local = "192.0.2.1:1", peer = "192.0.2.2:1" }
            path = [{ local = "192.0.2.1:2", peer = "192.0.2.2:2" }]
            ec2.address = [{ name = "a", by = "secondary" }]
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
