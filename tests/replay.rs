//! `tandem replay` from the outside: captures that are made and one that was recorded, through the real worker on
//! net_pcap, in ordinary memory. Needs no root. Each run is a process with an EAL of its own.
#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use serde_json::Value;

/// A call of PCMA as sip-tester's package brings it: one stream, Ethernet.
const RECORDED: &str = "/usr/share/sip-tester/g711a.pcap";

fn tandem(arguments: &[&str]) -> Value {
    let output =
        Command::new(env!("CARGO_BIN_EXE_tandem")).args(["--json", "replay"]).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs on the first CPU and the last one: the same, where there is one.
fn run(capture: &Path, more: &[&str]) -> Value {
    let last = (std::thread::available_parallelism().unwrap().get() - 1).to_string();
    let fixed = ["run", capture.to_str().unwrap(), "--no-huge", "--seconds", "1", "--cpus", &last];
    tandem(&[&fixed[..], more].concat())
}

fn count(report: &Value, field: &str) -> u64 {
    report[field].as_u64().unwrap_or_else(|| panic!("{field}: {report}"))
}

/// Of pairs of a name and a number.
fn named(report: &Value, list: &str, name: &str) -> f64 {
    let pairs = report[list].as_array().unwrap();
    pairs.iter().find(|pair| pair[0] == name).map_or(0.0, |pair| pair[1].as_f64().unwrap())
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("tandem-test-replay-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn generate(&self, arguments: &[&str]) -> (PathBuf, Value) {
        let file = self.0.join("made.pcap");
        let written = tandem(&[&["generate", file.to_str().unwrap()], arguments].concat());
        (file, written)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_is_received_of_known_flows_is_forwarded_and_strangers_are_not() {
    let folder = Folder::new("mixed");
    let recipe = ["--flows", "200", "--packets", "10", "--ipv6", "20", "--rtcp", "5", "--unknown", "4"];
    let (file, written) = folder.generate(&recipe);
    let strangers = count(&written, "unknown") as f64 / count(&written, "packets") as f64;
    assert!(count(&written, "ipv6") > 0 && count(&written, "rtcp") > 0 && strangers > 0.0, "{written}");

    let report = run(&file, &["--convert", "mu-to-a"]);
    let (received, forwarded, dropped) =
        (count(&report, "received"), count(&report, "forwarded"), count(&report, "dropped"));
    assert!(received > count(&written, "packets"), "less than a lap: {report}");
    assert_eq!(forwarded + dropped, received, "{report}");
    assert_eq!(named(&report, "drops", "no_flow") as u64, dropped, "{report}");
    assert!((dropped as f64 / received as f64 - strangers).abs() < 0.01, "{report}, strangers {strangers}");
    assert!(count(&report, "transcoded") > 0 && count(&report, "transcoded") < forwarded, "RTCP is not converted");
    assert_eq!(count(&report["streams"], "off_owner"), 0);
    // Where RTCP or a stranger stands in a packet's place, its stream has a gap.
    assert!(named(&report, "verdicts", "gap") > 0.0, "{report}");
    let shares: f64 = report["verdicts"].as_array().unwrap().iter().map(|pair| pair[1].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-9);
}

#[test]
fn two_workers_share_a_capture_and_no_flow_has_two_owners() {
    let folder = Folder::new("shared");
    let (file, _) = folder.generate(&["--flows", "64", "--packets", "8"]);
    let file = file.to_str().unwrap();
    let report = tandem(&["run", file, "--no-huge", "--seconds", "1", "--cpus", "0,0"]);
    assert_eq!(count(&report, "workers"), 2);
    assert_eq!(count(&report, "forwarded"), count(&report, "received"), "{report}");
    assert_eq!(count(&report["streams"], "off_owner"), 0);
    // Of eight packets a flow six are the next one, and two begin a stream.
    assert!((named(&report, "verdicts", "in_order") - 0.75).abs() < 1e-9, "{report}");
    assert!((named(&report, "verdicts", "restarted") - 0.25).abs() < 1e-9, "{report}");
}

#[test]
fn a_recorded_call_is_replayed_both_ways() {
    assert!(Path::new(RECORDED).exists(), "{RECORDED} is not there: run scripts/install");
    for (convert, converted) in [("none", false), ("a-to-mu", true)] {
        let report = run(Path::new(RECORDED), &["--convert", convert]);
        assert_eq!(count(&report, "flows"), 1);
        assert_eq!(count(&report, "forwarded"), count(&report, "received"), "{report}");
        assert_eq!(count(&report, "transcoded"), if converted { count(&report, "forwarded") } else { 0 });
    }
}

#[test]
fn the_paced_replay_takes_as_long_as_the_capture() {
    let folder = Folder::new("paced");
    let (file, written) = folder.generate(&["--flows", "4", "--packets", "30"]);
    let started = Instant::now();
    let arguments =
        ["paced", file.to_str().unwrap(), "--no-huge", "--device", "net_null0", "--to", "02:00:00:00:00:09"];
    let report = tandem(&[&arguments[..], &["--cpu", "0"]].concat());
    // Thirty frames of 20 ms: 29 intervals between the first and the last.
    let seconds = report["capture_seconds"].as_f64().unwrap();
    assert!((seconds - 0.58).abs() < 0.03, "{seconds}");
    assert!(started.elapsed().as_secs_f64() >= seconds);
    assert_eq!(count(&report, "received"), count(&written, "packets"));
    assert_eq!(count(&report, "forwarded"), count(&written, "packets"));
}

#[test]
fn a_file_that_is_no_capture_is_refused_by_name() {
    let folder = Folder::new("refused");
    let file = folder.0.join("tea.pcap");
    std::fs::write(&file, "not a capture").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_tandem"))
        .args(["replay", "run", file.to_str().unwrap(), "--no-huge"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("tea.pcap"));
}
