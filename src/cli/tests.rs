//! What is printed: expectations written by hand. The arguments: every command parses as its own help shows it.

use clap::CommandFactory;

use super::*;
use crate::{
    base::ids::{SessionId, Side},
    control::{LegReport, Local, SessionReport, StreamReport},
    observe::admin::{
        self, CallDetail, CallRow, CallState, CertificateRow, DrainState, FlowKind, FlowRow, LegDetail, Listing, Named,
        PortRow,
    },
};

fn call() -> CallRow {
    CallRow {
        id: "4f2a9c".into(),
        call_id: "a84b4c76e66710@198.51.100.1".into(),
        state: CallState::Answered,
        from: "+49301234".into(),
        to: "+4940\u{7}5678".into(),
        from_trunk: "carrier".into(),
        to_trunk: Some("office".into()),
        started_unix_ms: 1_700_000_000_000,
        answered_s: Some(187.2),
        codecs: [Some("PCMU".into()), Some("PCMA".into())],
    }
}

#[test]
fn the_list_of_calls() {
    let ringing = CallRow {
        id: "77".into(),
        state: CallState::Ringing,
        to: "112".into(),
        to_trunk: None,
        answered_s: None,
        codecs: [None, None],
        ..call()
    };
    let listing = Listing { total: 3, rows: vec![call(), ringing] };
    assert_eq!(
        calls::listing(&listing, 1_700_000_190_000),
        r"
 ID      STATE     FROM       TO              TRUNKS            CODECS        AGE  ANSWERED
 4f2a9c  answered  +49301234  +4940\u{7}5678  carrier → office  PCMU ↔ PCMA  3:10      3:07
 77      ringing   +49301234  112             carrier → -       -            3:10         -
2 of 3 calls (--limit shows more)
"
        .trim_start_matches('\n')
    );
    assert_eq!(calls::listing(&Listing { total: 0, rows: vec![] }, 0), "0 calls\n");
}

#[test]
fn one_call_with_its_legs_and_quality() {
    let local = |rtp: &str, told: &str| Local {
        address: "public".into(),
        rtp: rtp.parse().unwrap(),
        rtcp: rtp.parse().unwrap(),
        told_rtp: told.parse().unwrap(),
        told_rtcp: told.parse().unwrap(),
    };
    let a = LegDetail {
        trunk: Some("carrier".into()),
        call_id: Some("a84b4c76e66710@198.51.100.1".into()),
        remote_uri: Some("sip:alice@198.51.100.1".into()),
        remote: Some("198.51.100.1:5060".parse().unwrap()),
        transport: Some("udp".into()),
        local_media: Some(local("198.18.0.10:20000", "203.0.113.9:20000")),
        remote_rtp: Some("198.51.100.1:4000".parse().unwrap()),
        on_hold: false,
    };
    let b = LegDetail {
        on_hold: true,
        local_media: Some(local("198.18.0.10:20002", "198.18.0.10:20002")),
        ..LegDetail::default()
    };
    let heard = StreamReport {
        packets: 9_900,
        lost: 100,
        jitter_ms: 1.25,
        reordered: 2,
        duplicate: 1,
        dropped_source: 3,
        dropped_other: 4,
        source: Some("198.51.100.1:4000".parse().unwrap()),
        ..StreamReport::default()
    };
    let media = SessionReport {
        id: SessionId(7),
        legs: [
            LegReport {
                rtp: heard,
                codec: Some("PCMU".into()),
                peer_fraction_lost: Some(64),
                peer_jitter_ms: Some(3.04),
                ..LegReport::default()
            },
            LegReport::default(),
        ],
        transcoded: true,
    };
    let detail = CallDetail { call: call(), legs: [a, b], media: Some(media) };
    assert_eq!(
        calls::detail(&detail),
        r"call        4f2a9c
state       answered
from        +49301234 (carrier)
to          +4940\u{7}5678 (office)
answered    3:07 ago
media       s7, transcoded

side a
  trunk       carrier
  call-id     a84b4c76e66710@198.51.100.1
  contact     sip:alice@198.51.100.1
  signals to  198.51.100.1:5060 udp
  rtp here    198.18.0.10:20000 (told 203.0.113.9:20000)
  rtp there   198.51.100.1:4000

side b
  rtp here    198.18.0.10:20002
  hold        yes

 HEARD FROM  CODEC  SOURCE             PACKETS  LOST    LOSS  JITTER  REORDERED  DUPLICATE  REFUSED  IT LOST  IT JITTERED
 a           PCMU   198.51.100.1:4000     9900   100  1.00 %  1.2 ms          2          1        7   25.0 %       3.0 ms
 b           -      -                        0     0       -  0.0 ms          0          0        0        -            -
"
    );
}

#[test]
fn flows_and_ports() {
    let flow = FlowRow {
        session: "s7".into(),
        call_id: "x".into(),
        side: Side::A,
        kind: FlowKind::Rtp,
        local: "[2001:db8::10]:20000".parse().unwrap(),
        source: None,
        destination: Some("198.51.100.1:4000".parse().unwrap()),
        not_ready: "no neighbour".into(),
        transcode: Some("PCMU→PCMA".into()),
        worker: Some(1),
        packets: 50,
        bytes: 8_600,
        lost: 0,
        jitter_ms: 0.5,
        dropped: 1,
        off_owner: 2,
    };
    assert_eq!(
        flows::listing(&Listing { total: 1, rows: vec![flow] }),
        r"
 SESSION  SIDE  KIND  SOURCE  LOCAL                 DESTINATION        CONVERTS   WORKER  PACKETS  LOST  JITTER  REFUSED  OFF OWNER  NOT READY
 s7       a     rtp   -       [2001:db8::10]:20000  198.51.100.1:4000  PCMU→PCMA       1       50     0  0.5 ms        1          2  no neighbour
1 flow
"
        .trim_start_matches('\n')
    );
    let named = |name: &str, count| Named { name: name.into(), count };
    let port = PortRow {
        name: "edge".into(),
        device: "0000:00:06.0".into(),
        driver: "net_ena".into(),
        mac: "02:00:00:00:00:10".into(),
        mtu: 1500,
        link_up: true,
        exception: "td0".into(),
        rx_queues: 3,
        tx_queues: 3,
        rx_packets: 10,
        rx_bytes: 640,
        tx_packets: 9,
        tx_bytes: 600,
        drops: vec![named("no_flow", 4), named("source", 0)],
        punts: vec![],
        xstats: vec![named("pps_allowance_exceeded", 12)],
    };
    let ports = Listing { total: 1, rows: vec![port] };
    let table = "
 PORT  DEVICE        DRIVER   MAC                LINK   MTU  QUEUES  EXCEPTION  RX PACKETS  RX BYTES  TX PACKETS  TX BYTES
 edge  0000:00:06.0  net_ena  02:00:00:00:00:10  up    1500     3/3  td0                10       640           9       600

edge dropped:
             4  no_flow
"
    .trim_start_matches('\n');
    assert_eq!(ports::listing(&ports, false), table);
    assert_eq!(
        ports::listing(&ports, true),
        format!("{table}\nedge the driver says:\n            12  pps_allowance_exceeded\n")
    );
}

#[test]
fn a_reload_tells_until_when_each_certificate_is_valid() {
    let row = |file: &str, expires_unix_s| CertificateRow { file: file.into(), expires_unix_s };
    // 2001-09-09T01:46:40Z is 10⁹ s after 1970.
    let rows = vec![row("/etc/tandem/tls/a.pem", 1_000_000_000), row("b.pem", 2_000_000_000)];
    let told = reload::text(&Listing { total: 2, rows });
    let expected = "loaded /etc/tandem/tls/a.pem, valid until 2001-09-09\nloaded b.pem, valid until 2033-05-18\n";
    assert_eq!(told, expected);
    assert_eq!(reload::text(&Listing { total: 0, rows: Vec::new() }), "nothing to load: no listener has TLS\n");
}

#[test]
fn sentences() {
    let draining = |calls| drain::sentence(&DrainState { calls, deadline_s: 60 });
    assert_eq!(draining(0), "draining: no call is in progress\n");
    assert_eq!(draining(1), "draining: 1 call is in progress and gets a BYE after 60 s\n");
    assert_eq!(draining(2), "draining: 2 calls are in progress and get a BYE after 60 s\n");
    let mut state = admin::Status {
        node: "tandem-1".into(),
        version: "0.1.0".into(),
        uptime_s: 61,
        calls: 5,
        draining: false,
        objections: vec![],
    };
    assert_eq!(status::sentences(&state), "tandem-1 (tandem 0.1.0) is ready: 5 calls, up 1:01\n");
    state.objections.push("port edge: the link is down".into());
    assert_eq!(
        status::sentences(&state),
        "tandem-1 (tandem 0.1.0) is not ready: 5 calls, up 1:01\n  port edge: the link is down\n"
    );
}

#[test]
fn the_command_tree_is_consistent() {
    Arguments::command().debug_assert();
}

/// Every command of the tree, without clap's own `help`.
fn commands(command: &clap::Command) -> Vec<clap::Command> {
    let own = command.get_subcommands().filter(|sub| sub.get_name() != "help");
    std::iter::once(command.clone()).chain(own.flat_map(commands)).collect()
}

#[test]
fn every_flag_is_explained_with_its_default() {
    for command in commands(&Arguments::command()) {
        assert!(command.get_about().is_some(), "{} has no help", command.get_name());
        for argument in command.get_arguments() {
            let name = format!("{} {}", command.get_name(), argument.get_id());
            let help = argument.get_help().unwrap_or_else(|| panic!("{name} has no help")).to_string();
            let told = !argument.get_default_values().is_empty() || help.contains("[default: ");
            assert!(told || argument.is_required_set(), "{name} does not tell its default: {help}");
        }
    }
}

#[test]
fn every_nouns_help_has_examples_that_parse() {
    for command in commands(&Arguments::command()) {
        let Some(help) = command.get_after_help().map(ToString::to_string) else {
            assert!(["list", "show", "hangup"].contains(&command.get_name()), "{} has no examples", command.get_name());
            continue;
        };
        let examples: Vec<&str> = help.lines().map(str::trim).filter(|line| line.starts_with("tandem ")).collect();
        assert!(!examples.is_empty(), "{}", command.get_name());
        for example in examples {
            // Up to a pipe, another command, a redirection or the remark, which stands apart by two blanks.
            let line = example.split(['|', '&', '>']).next().unwrap().split("  ").next().unwrap();
            let parsed = Arguments::try_parse_from(line.split_whitespace());
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }
}

#[test]
fn completions_name_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let arguments = Arguments::try_parse_from(["tandem", "completions", shell]).unwrap();
        let Command::Completions(completions) = arguments.command else { panic!("not completions") };
        let script = completions.execute().text;
        for noun in commands(&Arguments::command()) {
            assert!(script.contains(noun.get_name()), "{shell} lacks {}", noun.get_name());
        }
    }
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let man = |arguments: &[&str]| {
        let arguments = Arguments::try_parse_from([&["tandem", "man"], arguments].concat()).unwrap();
        let Command::Man(man) = arguments.command else { panic!("not man") };
        man.execute()
    };
    let page = man(&[]).unwrap().text;
    assert!(page.contains(".TH tandem 1") && page.contains(".SH DESCRIPTION"), "{page}");
    for noun in Arguments::command().get_subcommands() {
        // roff writes a hyphen as \-.
        assert!(page.contains(&format!("tandem\\-{}(1)", noun.get_name())), "tandem.1 lacks {}", noun.get_name());
    }
    let folder = std::env::temp_dir().join(format!("tandem-man-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    man(&["--to", folder.to_str().unwrap()]).unwrap();
    let pages: std::collections::BTreeSet<String> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(pages.contains("tandem.1") && pages.contains("tandem-calls-hangup.1"), "{pages:?}");
    assert_eq!(pages.len(), commands(&Arguments::command()).len(), "{pages:?}");
    let nowhere = man(&["--to", "/nowhere/at/all"]).unwrap_err().to_string();
    assert!(nowhere.starts_with("cannot write the pages to /nowhere/at/all: "), "{nowhere}");
}

#[test]
fn trunks_with_their_destinations() {
    let named = |name: &str, count| Named { name: name.into(), count };
    let to = |uri: &str, up, for_s, calls| admin::DestinationRow {
        uri: uri.into(),
        priority: 1,
        weight: 10,
        up,
        for_s,
        changes: 2,
        calls,
    };
    let carrier = admin::TrunkRow {
        name: "carrier".into(),
        calls_in: 3,
        calls_out: 12,
        policy: "weighted".into(),
        limits: vec![named("max_calls", 30), named("calls_per_second", 5)],
        refused: vec![named("in max_calls", 7)],
        destinations: vec![
            to("sip:192.0.2.1", Some(true), None, 12),
            to("sip:192.0.2.2", Some(false), Some(187), 0),
            to("sip:192.0.2.3", None, None, 0),
        ],
        registration: Some(admin::RegistrationRow {
            aor: "sip:4930123@carrier.example".into(),
            registrar: "sip:carrier.example".into(),
            registered: true,
            expires_in_s: Some(3_130),
            next_in_s: Some(2_768),
            last: Some("accepted".into()),
            attempts: vec![named("accepted", 1)],
        }),
    };
    let office = admin::TrunkRow { name: "office".into(), policy: "order".into(), ..admin::TrunkRow::default() };
    assert_eq!(
        trunks::listing(&Listing { total: 2, rows: vec![carrier, office] }),
        r"
 TRUNK    IN  OUT  LIMITS                            POLICY
 carrier   3   12  max_calls 30, calls_per_second 5  weighted
 office    0    0  -                                 order

 TRUNK    DESTINATION    PRIORITY  WEIGHT  STATE   FOR  CHANGES  CALLS
 carrier  sip:192.0.2.1         1      10  up        -        2     12
 carrier  sip:192.0.2.2         1      10  down   3:07        2      0
 carrier  sip:192.0.2.3         1      10  -         -        2      0

 TRUNK    REGISTERED AS                WITH                 STATE       EXPIRES   NEXT  LAST
 carrier  sip:4930123@carrier.example  sip:carrier.example  registered    52:10  46:08  accepted

carrier refused: in max_calls 7
2 trunks
"
        .trim_start_matches('\n')
    );
}

#[test]
fn a_pair_with_its_last_takeover() {
    use crate::ha::{
        generation::Generation,
        heartbeat::Role,
        link::{Cause, Count, Lag, PairStatus, PathStatus, PeerStatus, Takeover},
    };
    let path = |path, local: &str, heard_s, refused| PathStatus {
        path,
        local: local.into(),
        peer: "10.9.0.2:5091".into(),
        heard_s,
        heard: 7,
        refused: vec![Count { name: "seal".into(), count: refused }],
        send_errors: 0,
    };
    let generation = Generation { number: 8, node: "a".into() };
    let mut status = PairStatus {
        node: "a".into(),
        role: Role::Active,
        generation: Some(generation.clone()),
        for_s: 61.0,
        provider: "garp".into(),
        lease_left_s: Some(0.0715),
        peer: PeerStatus {
            node: "b".into(),
            role: Some(Role::Standby),
            fit: true,
            synced: true,
            ready: true,
            ..PeerStatus::default()
        },
        paths: vec![path(1, "10.9.0.1:5091", Some(0.0042), 0), path(2, "10.8.0.1:5091", None, 3)],
        lag: Some(Lag { messages: 2, seconds: 0.0011 }),
        last_takeover: Some(Takeover {
            cause: Cause::Silence,
            generation,
            ago_s: 61.0,
            detect_s: 0.0902,
            claim_s: 0.0031,
            announce_s: Some(0.0012),
            first_packet_s: None,
        }),
        ..PairStatus::default()
    };
    assert_eq!(
        ha::text(&status),
        "a is active for 1:01
generation   8/a
provider     garp
lease        71.5 ms left
peer         b is standby (ready)
path 1       10.9.0.1:5091 → 10.9.0.2:5091: heard 4.2 ms ago
path 2       10.8.0.1:5091 → 10.9.0.2:5091: nothing heard yet, 3 not believed
replication  2 changes behind, 1.1 ms
took over    1:01 ago (silence): detect 90.2 ms, claim 3.1 ms, announce 1.2 ms
"
    );
    status.role = Role::Standby;
    (status.lease_left_s, status.lag, status.last_takeover) = (None, None, None);
    status.frozen = true;
    status.peer = PeerStatus { node: "b".into(), silent: true, role: Some(Role::Active), ..PeerStatus::default() };
    status.paths.clear();
    assert_eq!(
        ha::text(&status),
        "a is standby (synchronising) for 1:01
  frozen: `tandem ha join` lets it take part again
generation   8/a
provider     garp
lease        none: nothing is sent
peer         b is silent, and was active
"
    );
}
