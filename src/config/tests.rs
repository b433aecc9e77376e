//! Bad files and the words each must draw. The expected text is written by hand: line and column counted in `SOUND`.

mod account;
mod dialplan;
mod ha;
mod ha_ec2;
mod tls;

use std::path::Path;

use super::*;
use crate::host::{CpuSet, Host};

/// A sound file; the tests below change a line of it and expect the complaint. Lines are numbered for the reader.
const SOUND: &str = "\
[cores]                                                     # 1
workers = [1, 2]                                            # 2
slow = 0                                                    # 3
poll = \"busy\"                                               # 4
[[port]]                                                    # 5
name = \"edge\"                                               # 6
device = \"net_af_packet0,iface=eth1\"                        # 7
exception = \"td0\"                                           # 8
addresses = [\"198.18.0.10/24\", \"2001:db8::10/64\"]           # 9
routes = [{ to = \"0.0.0.0/0\", via = \"198.18.0.1\" }]         # 10
[[address]]                                                 # 11
name = \"v4\"                                                 # 12
port = \"edge\"                                               # 13
local = \"198.18.0.10\"                                       # 14
advertise = \"203.0.113.9\"                                   # 15
[[address]]                                                 # 16
name = \"v6\"                                                 # 17
port = \"edge\"                                               # 18
local = \"2001:db8::10\"                                      # 19
[media]                                                     # 20
ports = { low = 20000, high = 59999 }                       # 21
dscp = 46                                                   # 22
[sip]                                                       # 23
listen = [{ address = \"v4\" }, { address = \"v6\" }]           # 24
[[trunk]]                                                   # 25
name = \"left\"                                               # 26
from = [\"198.51.100.0/24\"]                                  # 27
address = \"v4\"                                              # 28
codecs = [\"PCMU\"]                                           # 29
destinations = [\"sip:198.51.100.1\"]                         # 30
[[trunk]]                                                   # 31
name = \"right\"                                              # 32
from = [\"2001:db8:5::/48\"]                                  # 33
address = \"v6\"                                              # 34
destinations = [\"sip:[2001:db8:5::1]:5080;transport=tcp\"]   # 35
[[route]]                                                   # 36
prefix = \"49\"                                               # 37
to = [\"right\"]                                              # 38
";

fn host() -> Host {
    Host { cpus: Some(CpuSet::parse("0-3").unwrap()) }
}

fn complaints(text: &str) -> Vec<String> {
    let reading = parse(Path::new("t.toml"), text, &host());
    let errors = reading.problems.iter().any(|problem| problem.severity == Severity::Error);
    assert_eq!(reading.config.is_some(), !errors, "{:?}", reading.problems);
    reading.problems.iter().map(Problem::to_string).collect()
}

/// Applies each (from, to) once and compares all that is said.
#[track_caller]
fn expect(edits: &[(&str, &str)], expected: &[&str]) {
    let mut text = SOUND.to_owned();
    for (from, to) in edits {
        assert_eq!(text.matches(from).count(), 1, "{from:?} must stand once in SOUND");
        text = text.replace(from, to);
    }
    assert_eq!(complaints(&text), expected);
}

#[test]
fn a_sound_file_draws_no_word() {
    expect(&[], &[]);
}

#[test]
fn the_example_is_sound() {
    let text = include_str!("../../docs/tandem.example.toml");
    let reading = parse(Path::new("docs/tandem.example.toml"), text, &host());
    assert_eq!(reading.problems, []);
    let config = reading.config.unwrap();
    assert_eq!(config.ports.len(), 2);
    assert_eq!(config.trunks[0].codecs, [Codec::Pcma, Codec::Pcmu]);
    assert_eq!(config.addresses[0].advertise, Some("203.0.113.10".parse().unwrap()));
}

#[test]
fn syntax_errors_are_told_line_by_line() {
    assert_eq!(
        complaints("[media]\ndscp = 46\ndscp = 40\nname = \"x\nmtu = edge\nslow\n"),
        [
            "t.toml:3:1: error: syntax: found duplicate key; allowed: each key once in its table",
            "t.toml:4:10: error: syntax: found invalid basic string; allowed: `\"`",
            "t.toml:5:7: error: syntax: found string values must be quoted; allowed: literal string",
            "t.toml:6:5: error: syntax: found key with no value; allowed: `=`",
        ]
    );
}

#[test]
fn an_absent_or_unreadable_file() {
    let reading = read(Path::new("/nonexistent/t.toml"), &host());
    assert!(reading.config.is_none());
    assert_eq!(
        reading.problems[0].to_string(),
        "/nonexistent/t.toml: error: found No such file or directory (os error 2); allowed: a file that can be read"
    );
}

#[test]
fn an_empty_file_lacks_its_four_tables() {
    assert_eq!(
        complaints(""),
        [
            "t.toml:1:1: error: port: found nothing; allowed: 1 to 8 tables",
            "t.toml:1:1: error: address: found nothing; allowed: 1 to 256 tables",
            "t.toml:1:1: error: media: found nothing; allowed: a table",
            "t.toml:1:1: error: sip: found nothing; allowed: a table",
        ]
    );
}

#[test]
fn an_unknown_key_with_and_without_a_neighbour() {
    expect(
        &[("dscp = 46", "dcsp = 46")],
        &["t.toml:22:1: error: media.dcsp: found an unknown key; allowed: dscp (did you mean that?), or another of \
           ports, dscp, timeout_s, latching, max_sessions"],
    );
    expect(
        &[("slow = 0", "hyperdrive = 0")],
        &["t.toml:3:1: error: cores.hyperdrive: found an unknown key; allowed: workers, slow, pair, poll"],
    );
    expect(
        &[("via = ", "vie = 1, via = ")],
        &["t.toml:10:31: error: port[edge].routes[1].vie: found an unknown key; allowed: via (did you mean that?), \
           or another of to, via"],
    );
}

#[test]
fn wrong_types_and_values_out_of_range() {
    expect(&[("dscp = 46", "dscp = 64")], &["t.toml:22:8: error: media.dscp: found 64; allowed: an integer, 0 to 63"]);
    expect(
        &[("dscp = 46", "dscp = \"46\"")],
        &["t.toml:22:8: error: media.dscp: found \"46\"; allowed: an integer, 0 to 63"],
    );
    expect(
        &[("poll = \"busy\"", "poll = \"bussy\"")],
        &["t.toml:4:8: error: cores.poll: found \"bussy\"; allowed: \"busy\" or \"adaptive\""],
    );
    expect(
        &[("codecs = [\"PCMU\"]", "codecs = []")],
        &[
            "t.toml:29:10: error: trunk[left].codecs: found 0 of them; allowed: a list of 1 to 2 values, each \"PCMU\" or \"PCMA\"",
        ],
    );
    expect(
        &[("local = \"198.18.0.10\"", "local = \"198.18.0.256\"")],
        &["t.toml:14:9: error: address[v4].local: found \"198.18.0.256\"; allowed: an IPv4 or IPv6 address in quotes"],
    );
    expect(&[("[media] ", "[[media]]")], &["t.toml:20:1: error: media: found an array of tables; allowed: a table"]);
}

#[test]
fn a_missing_key_is_looked_for_in_its_table() {
    expect(
        &[("device = \"net_af_packet0,iface=eth1\"", "")],
        &["t.toml:5:1: error: port[edge].device: found nothing; allowed: a string that is not empty"],
    );
    expect(
        &[("name = \"left\"", "")],
        &["t.toml:25:1: error: trunk[1].name: found nothing; allowed: a string that is not empty"],
    );
}

#[test]
fn every_problem_is_told_at_once_in_the_order_of_the_file() {
    expect(
        &[
            ("poll = \"busy\"", "pol = \"busy\""),
            ("dscp = 46", "dscp = 99"),
            ("high = 59999", "high = 19998"),
            ("to = [\"right\"]", "to = [\"rigth\"]"),
        ],
        &[
            "t.toml:4:1: error: cores.pol: found an unknown key; allowed: poll (did you mean that?), or another of \
             workers, slow, pair, poll",
            "t.toml:21:31: error: media.ports.high: found 19998; allowed: a port above media.ports.low, 20000",
            "t.toml:22:8: error: media.dscp: found 99; allowed: an integer, 0 to 63",
            "t.toml:38:7: error: route[1].to[1]: found \"rigth\"; allowed: the name of a [[trunk]]: left, right (did \
             you mean \"right\"?)",
        ],
    );
}

#[test]
fn a_broken_entry_does_not_make_its_referrers_wrong() {
    expect(
        &[("local = \"2001:db8::10\"", "local = 6")],
        &["t.toml:19:9: error: address[v6].local: found 6; allowed: an IPv4 or IPv6 address in quotes"],
    );
}

#[test]
fn entries_after_a_broken_one_keep_their_own_place() {
    expect(
        &[("name = \"v4\"", "name = 4"), ("local = \"2001:db8::10\"", "local = \"2001:db8:9::10\"")],
        &[
            "t.toml:12:8: error: address[1].name: found 4; allowed: a string that is not empty",
            "t.toml:19:9: error: address[v6].local: found 2001:db8:9::10; allowed: an address inside the networks of \
             port \"edge\": 198.18.0.0/24, 2001:db8::/64",
        ],
    );
}

#[test]
fn names_are_unique_and_what_refers_to_them_exists() {
    expect(
        &[("name = \"right\"", "name = \"left\""), ("to = [\"right\"]", "to = [\"left\"]")],
        &[
            "t.toml:32:8: error: trunk[left].name: found \"left\" again; allowed: a name of its own; [[trunk]] number 1 has it",
        ],
    );
    expect(
        &[
            ("name = \"v4\"\x20", "name = \"v44\""),
            ("[{ address = \"v4\" }, ", "["),
            ("address = \"v4\"\x20\x20", "address = \"v44\""),
        ],
        &[
            "t.toml:28:11: error: trunk[left].address: found \"v44\", where SIP is not heard; allowed: an address in sip.listen: v6",
        ],
    );
    expect(
        &[
            ("address = \"v4\" }", "address = \"outer\" }"),
            ("address = \"v4\"\x20\x20", "address = \"v6\""),
            ("sip:198.51.100.1", "sip:[::1]"),
        ],
        &["t.toml:24:23: error: sip.listen[1].address: found \"outer\"; allowed: the name of a [[address]]: v4, v6"],
    );
    expect(
        &[("prefix = \"49\"", "prefix = \"49\"\nfrom = \"middle\"")],
        &["t.toml:38:8: error: route[1].from: found \"middle\"; allowed: the name of a [[trunk]]: left, right"],
    );
}

#[test]
fn media_ports() {
    expect(
        &[("low = 20000", "low = 20001")],
        &[
            "t.toml:21:17: error: media.ports.low: found 20001; allowed: an even port: RTP takes even ports, RTCP the next odd one",
        ],
    );
    expect(
        &[("low = 20000", "low = 5000"), ("high = 59999", "high = 45001")],
        &[
            "t.toml:24:11: error: sip.listen[1].port: found 5060; allowed: a port outside media.ports, 5000 to 45001",
            "t.toml:24:31: error: sip.listen[2].port: found 5060; allowed: a port outside media.ports, 5000 to 45001",
        ],
    );
}

#[test]
fn too_few_ports_for_the_sessions_is_a_warning() {
    // 1000 pairs on each of two addresses, two pairs a session: 1000 sessions.
    expect(
        &[("high = 59999", "high = 21999"), ("dscp = 46", "max_sessions = 1001")],
        &[
            "t.toml:22:16: warning: media.max_sessions: found 1001; allowed: 1000 or fewer: 2 media addresses with \
             1000 port pairs each, two pairs a session",
            "t.toml:23:1: warning: sip.max_calls: found 10000; allowed: media.max_sessions (1001) or fewer: a call \
             takes a media session",
        ],
    );
    expect(
        &[("high = 59999", "high = 21999"), ("dscp = 46", "max_sessions = 1000"), ("[sip]", "[sip]\nmax_calls = 1000")],
        &[],
    );
}

#[test]
fn cores() {
    expect(
        &[("workers = [1, 2]", "workers = [1, 9]")],
        &["t.toml:2:15: error: cores.workers[2]: found CPU 9; allowed: a CPU that this process may use: 0-3"],
    );
    expect(
        &[("workers = [1, 2]", "workers = [1, 1]"), ("slow = 0", "slow = 1")],
        &[
            "t.toml:2:15: error: cores.workers[2]: found CPU 1 again, as for worker 1; allowed: a CPU of its own for \
             each worker, or poll = \"adaptive\"",
            "t.toml:3:8: error: cores.slow: found CPU 1, as for worker 1; allowed: a CPU that no worker has, or poll \
             = \"adaptive\"",
        ],
    );
    expect(&[("workers = [1, 2]", "workers = [1, 1]"), ("slow = 0", "slow = 1"), ("\"busy\"", "\"adaptive\"")], &[]);
    expect(
        &[("slow = 0", "slow = 0\npair = 2")],
        &["t.toml:4:8: error: cores.pair: found CPU 2, as for worker 2; allowed: a CPU that no worker has, or poll = \
           \"adaptive\""],
    );
    // The plan for this machine seats everybody, or nobody.
    expect(&[("workers = [1, 2]", ""), ("slow = 0", "")], &[]);
    expect(
        &[("workers = [1, 2]", "")],
        &[
            "t.toml:3:8: error: cores.slow: found CPU 0, and no cores.workers; allowed: both, or neither: then `tandem tune \
           plan` says who runs where",
        ],
    );
}

#[test]
fn families_agree() {
    expect(
        &[("advertise = \"203.0.113.9\"", "advertise = \"2001:db8::9\"")],
        &[
            "t.toml:15:13: error: address[v4].advertise: found 2001:db8::9; allowed: an address of the family of 198.18.0.10",
        ],
    );
    expect(
        &[("via = \"198.18.0.1\"", "via = \"2001:db8::1\"")],
        &[
            "t.toml:10:37: error: port[edge].routes[1].via: found 2001:db8::1; allowed: an address of the family of 0.0.0.0/0",
        ],
    );
    expect(
        &[("sip:198.51.100.1", "sip:[2001:db8::1]")],
        &[
            "t.toml:30:17: error: trunk[left].destinations[1]: found \"sip:[2001:db8::1]\"; allowed: a destination of the \
           family of 198.18.0.10, the address that signals with this trunk",
        ],
    );
}

#[test]
fn ports_and_their_networks() {
    expect(
        &[("net_af_packet0,iface=eth1", "eth1")],
        &[
            "t.toml:7:10: error: port[edge].device: found \"eth1\"; allowed: a PCI address as in \"0000:00:06.0\", or a \
           virtual device as in \"net_af_packet0,iface=eth1\"",
        ],
    );
    expect(&[("net_af_packet0,iface=eth1\"", "0000:00:06.0\"\ndevice_args = \"enable_llq=1,miss_txc_to=5\"")], &[]);
    expect(
        &[("net_af_packet0,iface=eth1\"", "0000:00:06.0\"\ndevice_args = \"llq\"")],
        &["t.toml:8:15: error: port[edge].device_args: found \"llq\"; allowed: key=value, several with commas between"],
    );
    expect(
        &[("exception = \"td0\"", "exception = \"tandem-exception\"")],
        &[
            "t.toml:8:13: error: port[edge].exception: found \"tandem-exception\"; allowed: an interface name: up to 15 \
           printable characters without blanks, '/', ':' and '%'",
        ],
    );
    expect(
        &[("198.18.0.10/24", "198.18.0.0/24")],
        &[
            "t.toml:9:14: error: port[edge].addresses[1]: found 198.18.0.0/24; allowed: a host's own unicast address with \
           its prefix length, not the network or broadcast address",
        ],
    );
    expect(
        &[("via = \"198.18.0.1\"", "via = \"198.19.0.1\"")],
        &[
            "t.toml:10:37: error: port[edge].routes[1].via: found 198.19.0.1; allowed: an address inside 198.18.0.0/24, \
           2001:db8::/64",
        ],
    );
    expect(
        &[("exception = \"td0\"", "exception = \"td0\"\nrx_descriptors = 1000\nmtu = 1000")],
        &[
            "t.toml:9:18: error: port[edge].rx_descriptors: found 1000; allowed: a power of two, 64 to 32768",
            "t.toml:10:7: error: port[edge].mtu: found 1000; allowed: 1280 or more on a port with IPv6 addresses",
        ],
    );
    expect(
        &[("[cores] ", "dpdk.mbufs = 4096\n[cores]")],
        &[
            "t.toml:1:14: error: dpdk.mbufs: found 4096 buffers; allowed: 6144 or more: port \"edge\" has 3 queue pairs of \
           1024 + 1024 descriptors",
        ],
    );
}

#[test]
fn trunks_and_routes() {
    expect(
        &[("sip:198.51.100.1", "sip:gw..example.net")],
        &[
            "t.toml:30:17: error: trunk[left].destinations[1]: found \"sip:gw..example.net\": \"gw..example.net\" is no IP \
           address; allowed: sip:HOST[:PORT][;transport=udp|tcp|tls] or sips:HOST[:PORT], the host an IP address (IPv6 in brackets) or a name",
        ],
    );
    expect(&[("sip:198.51.100.1", "sip:gw.example.net")], &[]);
    expect(
        &[
            ("{ address = \"v4\" }", "{ address = \"v4\", transports = [\"udp\"] }"),
            ("sip:198.51.100.1", "sip:gw.example.net;transport=tcp"),
        ],
        &[
            "t.toml:30:17: error: trunk[left].destinations[1]: found \"sip:gw.example.net;transport=tcp\"; allowed: a transport \
           that \"v4\" has in sip.listen, or tcp added there",
        ],
    );
    expect(
        &[("{ address = \"v6\" }]", "{ address = \"v6\", transports = [\"udp\"] }]")],
        &[
            "t.toml:35:17: error: trunk[right].destinations[1]: found \"sip:[2001:db8:5::1]:5080;transport=tcp\"; allowed: \
           a transport that \"v6\" has in sip.listen, or tcp added there",
        ],
    );
    expect(
        &[("destinations = [\"sip:[2001:db8:5::1]:5080;transport=tcp\"]", "")],
        &[
            "t.toml:38:7: error: route[1].to[1]: found \"right\", which has no destinations; allowed: a trunk with destinations",
        ],
    );
    expect(
        &[("to = [\"right\"]", "to = [\"right\"]\n[[route]]\nprefix = \"49\"\nto = [\"left\"]")],
        &[
            "t.toml:40:10: error: route[2].prefix: found \"49\" again; allowed: each pair of prefix and from once; list the \
           trunks of one route in `to`",
        ],
    );
    expect(
        &[("[[route]]", "[[trunk]]\nname = \"third\"\nfrom = [\"198.51.100.7/24\"]\naddress = \"v4\"\n[[route]]")],
        &[
            "t.toml:38:9: error: trunk[third].from[1]: found 198.51.100.7/24 again; allowed: a network that no other trunk \
           on \"v4\" calls from; \"left\" has it",
        ],
    );
}

#[test]
fn names_and_filters_that_would_fail_later() {
    expect(
        &[("[cores] ", "log.level = \"tandem=loud\"\nnode.name = \"a (b)\"\n[cores]")],
        &[
            "t.toml:1:13: error: log.level: found \"tandem=loud\"; allowed: error, warn, info, debug, trace, or a filter such as \"info,tandem::sip=debug\"",
            "t.toml:2:13: error: node.name: found \"a (b)\"; allowed: up to 64 printable ASCII characters without blanks, \
             quotes, parentheses and backslashes",
        ],
    );
}

#[test]
fn destinations_are_strings_or_tables() {
    expect(
        &[(
            "[\"sip:198.51.100.1\"]",
            "[\"sip:198.51.100.1\", { uri = \"sip:198.51.100.2\", priority = 2, weight = 10 }]\npolicy = \"weighted\"",
        )],
        &[],
    );
    expect(
        &[("[\"sip:198.51.100.1\"]", "[\"sip:198.51.100.1\", { url = \"sip:198.51.100.2\" }, 7]")],
        &[
            "t.toml:30:37: error: trunk[left].destinations[2].uri: found nothing; allowed: a string that is not empty",
            "t.toml:30:39: error: trunk[left].destinations[2].url: found an unknown key; allowed: uri (did you mean that?), \
             or another of uri, priority, weight",
            "t.toml:30:67: error: trunk[left].destinations[3]: found 7; allowed: a string that is not empty",
        ],
    );
    expect(
        &[("[\"sip:198.51.100.1\"]", "[\"sip:198.51.100.1\", { uri = \"sip:198.51.100.1\", weight = 70000 }]")],
        &[
            "t.toml:30:37: error: trunk[left].destinations[2]: found \"sip:198.51.100.1\" again; allowed: each destination \
             once; a weight gives it a larger share",
            "t.toml:30:74: error: trunk[left].destinations[2].weight: found 70000; allowed: an integer, 0 to 65535",
        ],
    );
}

#[test]
fn limits_and_health_that_mean_nothing_are_told() {
    expect(
        &[(
            "codecs = [\"PCMU\"]                                           # 29",
            "limits = { max_calls = 5, max_calls_in = 9, burst = 3 }",
        )],
        &[
            "t.toml:29:42: warning: trunk[left].limits.max_calls_in: found 9; allowed: 5 (max_calls) or less: that limit binds \
             first",
            "t.toml:29:53: warning: trunk[left].limits.burst: found a burst without a rate; allowed: calls_per_second beside it",
        ],
    );
    expect(
        &[("codecs = [\"PCMU\"]                                           # 29", "health = { interval_s = 0 }")],
        &["t.toml:29:25: error: trunk[left].health.interval_s: found 0; allowed: an integer, 1 to 3600"],
    );
}
