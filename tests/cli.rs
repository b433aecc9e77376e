//! The binary as a person meets it: exit codes, what goes to standard output and what to standard error. Needs neither
//! DPDK nor root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    path::PathBuf,
    process::{Command, Output},
};

fn tandem(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tandem")).args(arguments).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The example with its CPUs replaced by ones that every machine has, and further edits.
fn configuration(name: &str, edits: &[(&str, &str)]) -> PathBuf {
    let mut text = include_str!("../docs/tandem.example.toml")
        .replace("workers = [1]", "workers = [0]")
        .replace("poll = \"busy\"", "poll = \"adaptive\"");
    for (from, to) in edits {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        text = text.replace(from, to);
    }
    let path = std::env::temp_dir().join(format!("tandem-cli-{name}-{}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn check_accepts_the_example() {
    let path = configuration("good", &[]);
    let output = tandem(&["check", path.to_str().unwrap()]);
    assert_eq!(out(&output), format!("{}: sound\n", path.display()), "{}", err(&output));
    assert_eq!(output.status.code(), Some(0));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn check_tells_each_problem_and_fails() {
    let path = configuration("bad", &[("dscp = 46 ", "dscp = 64 "), ("prefix = \"49301234\"", "prefx = \"49301234\"")]);
    let output = tandem(&["check", path.to_str().unwrap()]);
    let text = out(&output);
    let lines: Vec<&str> = text.lines().collect();
    let file = path.display();
    assert_eq!(lines[0], format!("{file}:68:8: error: media.dscp: found 64; allowed: an integer, 0 to 63"));
    assert_eq!(lines[1], format!("{file}:110:1: error: route[1].prefix: found nothing; allowed: a string"));
    assert_eq!(
        lines[2],
        format!(
            "{file}:111:1: error: route[1].prefx: found an unknown key; allowed: prefix (did you mean that?), or another of prefix, from, to"
        )
    );
    assert_eq!(lines[3], format!("{file}: 3 errors"));
    assert_eq!(output.status.code(), Some(1));

    let json: serde_json::Value =
        serde_json::from_str(&out(&tandem(&["--json", "check", path.to_str().unwrap()]))).unwrap();
    assert_eq!(json["sound"], false);
    assert_eq!(json["problems"][0]["place"]["line"], 68);
    assert_eq!(json["problems"][0]["key"], "media.dscp");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn strict_makes_a_warning_fail() {
    let path = configuration("warning", &[("max_sessions = 10000", "max_sessions = 9999")]);
    let path = path.to_str().unwrap();
    assert_eq!(tandem(&["check", path]).status.code(), Some(0));
    assert_eq!(tandem(&["check", "--strict", path]).status.code(), Some(1));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn without_a_tandem_the_askers_say_so() {
    let path = std::env::temp_dir().join(format!("tandem-nobody-{}.sock", std::process::id()));
    let socket = path.to_str().unwrap();
    for noun in [&["calls"][..], &["calls", "show", "x"], &["flows"], &["ports"], &["drain"], &["status"]] {
        let output = tandem(&[&["--socket", socket], noun].concat());
        assert_eq!(output.status.code(), Some(3), "{noun:?}");
        assert_eq!(
            err(&output),
            format!(
                "tandem: no tandem runs here: {socket} does not exist (if its admin.socket is elsewhere, say --socket PATH)\n"
            )
        );
        assert_eq!(out(&output), "");
    }
}

#[test]
fn run_refuses_a_bad_configuration_or_a_build_without_dpdk() {
    let path = configuration("run", &[("dscp = 46 ", "dscp = 64 ")]);
    let output = tandem(&["run", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    if cfg!(feature = "dpdk") {
        assert!(
            err(&output).contains(":68:8: error: media.dscp: found 64; allowed: an integer, 0 to 63"),
            "{}",
            err(&output)
        );
    } else {
        assert!(err(&output).starts_with("tandem: this build has no DPDK"), "{}", err(&output));
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn wrong_usage_is_its_own_exit_code() {
    assert_eq!(tandem(&["cals"]).status.code(), Some(2));
    assert!(err(&tandem(&["cals"])).contains("'calls'"));
    assert_eq!(tandem(&["calls", "--limit", "0"]).status.code(), Some(2));
}

#[test]
fn plan_says_that_it_is_a_model_what_it_assumed_and_where_the_rest_is_from() {
    for arguments in [&["plan"][..], &["plan", "--calls", "50000"], &["plan", "--instance", "c5n.large"]] {
        let output = tandem(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        let text = out(&output);
        assert!(text.starts_with("A model, not a measurement: "), "{text}");
        assert!(
            text.contains("\nAssumed:\n  - a worker spends 200 cycles on a packet, assumed and not measured"),
            "{text}"
        );
        assert!(text.contains("\nSources:\n  - "), "{text}");
    }

    // 50,000 two-leg calls of 20 ms are 5 Mpps each way, all that a c5n.18xlarge is taken to move.
    let arguments = ["--json", "plan", "--calls", "50000", "--rtcp-per-mille", "0", "--instance", "c5n.18xlarge"];
    let json: serde_json::Value = serde_json::from_str(&out(&tandem(&arguments))).unwrap();
    assert_eq!(json["caveat"], "A model, not a measurement");
    assert_eq!(json["plans"][0]["instance"]["name"], "c5n.18xlarge");
    assert_eq!(json["plans"][0]["instances"], 1);
    assert_eq!(json["plans"][0]["packets_per_s"], 5_000_000);
    assert_eq!(json["plans"][0]["binds_first"], "packets");
    assert!(json["assumptions"].as_array().is_some_and(|assumed| !assumed.is_empty()));
    assert!(json["sources"].as_array().is_some_and(|sources| !sources.is_empty()));
}

#[test]
fn plan_refuses_what_it_cannot_reckon_with() {
    for (arguments, told) in [
        (["--codecs", "g711=90"], "the shares add up to 90 per cent, not to 100"),
        (["--instance", "c5.large"], "c5n.large"),
        (["--media-ports", "20001-20002"], "no pair of ports"),
        (["--calls", "0"], "not in 1..=100000000"),
        (["--packets-per-s", "1"], "--instance"),
    ] {
        let output = tandem(&[&["plan"][..], &arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(err(&output).contains(told), "{}", err(&output));
    }
}

#[test]
fn the_version_names_dpdk_or_its_absence() {
    let text = out(&tandem(&["version"]));
    let expected = if cfg!(feature = "dpdk") { ", with DPDK 2" } else { ", without DPDK\n" };
    assert!(text.starts_with(concat!("tandem ", env!("CARGO_PKG_VERSION"))) && text.contains(expected), "{text}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    // `head -c1` closes the pipe after one byte; the key list is longer than a pipe's first read.
    let script =
        format!("'{}' check --keys | head -c1 >/dev/null; echo ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_tandem"));
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(out(&output), "0\n", "{}", err(&output));
}
