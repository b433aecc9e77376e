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
    let path =
        configuration("bad", &[("dscp = 46 ", "dscp = 64 "), ("prefix = \"+49301234\"", "prefx = \"+49301234\"")]);
    // Where the example has them, counted from 1.
    let written = std::fs::read_to_string(&path).unwrap();
    let line = |what: &str| 1 + written.lines().position(|line| line.starts_with(what)).unwrap();
    let (dscp, prefx) = (line("dscp = 64"), line("prefx = "));
    let output = tandem(&["check", path.to_str().unwrap()]);
    let text = out(&output);
    let lines: Vec<&str> = text.lines().collect();
    let file = path.display();
    assert_eq!(lines[0], format!("{file}:{dscp}:8: error: media.dscp: found 64; allowed: an integer, 0 to 63"));
    assert_eq!(lines[1], format!("{file}:{}:1: error: route[1].prefix: found nothing; allowed: a string", prefx - 1));
    assert_eq!(
        lines[2],
        format!(
            "{file}:{prefx}:1: error: route[1].prefx: found an unknown key; allowed: prefix (did you mean that?), or another of prefix, from, times, timezone, emergency, called, calling, to"
        )
    );
    assert_eq!(lines[3], format!("{file}: 3 errors"));
    assert_eq!(output.status.code(), Some(1));

    let json: serde_json::Value =
        serde_json::from_str(&out(&tandem(&["--json", "check", path.to_str().unwrap()]))).unwrap();
    assert_eq!(json["sound"], false);
    assert_eq!(json["problems"][0]["place"]["line"], dscp);
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
    for noun in [
        &["calls"][..],
        &["calls", "show", "x"],
        &["flows"],
        &["ports"],
        &["trunks"],
        &["drain"],
        &["reload"],
        &["status"],
    ] {
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
    // Where the example has it, counted from 1.
    let written = std::fs::read_to_string(&path).unwrap();
    let line = 1 + written.lines().position(|line| line.starts_with("dscp = 64")).unwrap();
    let output = tandem(&["run", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    if cfg!(feature = "dpdk") {
        let expected = format!(":{line}:8: error: media.dscp: found 64; allowed: an integer, 0 to 63");
        assert!(err(&output).contains(&expected), "{}", err(&output));
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

/// What `tandem route` prints for the example. The file is the named test's own.
fn route(name: &str, arguments: &[&str]) -> (Option<i32>, Vec<String>) {
    let path = configuration(name, &[]);
    let arguments = [&["route", "--config", path.to_str().unwrap()], arguments].concat();
    let output = tandem(&arguments);
    std::fs::remove_file(path).unwrap();
    (output.status.code(), out(&output).lines().map(str::to_owned).collect())
}

#[test]
fn route_says_which_rule_wins_and_why_not_another() {
    // A Tuesday at noon.
    let (code, lines) = route(
        "route-why",
        &["0800 555 123", "--from", "office", "--calling", "030123411", "--at", "2024-07-16T10:00:00Z"],
    );
    assert_eq!(code, Some(0), "{lines:#?}");
    assert_eq!(
        lines,
        [
            "called   0800555123 → +49800555123 (normalised) → +493012340 (rewritten)",
            "calling  030123411 → +4930123411 (normalised) → +493012349 (rewritten)",
            "from     office",
            "at       Tue 2024-07-16 10:00 UTC",
            "route    4",
            "",
            " ROUTE  PREFIX       FROM    TIMES                TO       VERDICT",
            "     4  \"+49800555\"  office  mon-fri 08:00-18:00  office   wins",
            "     2  \"\"           office  always               carrier  no: the winner's prefix is longer",
            "",
            " TRUNK   DESTINATION      CALLED    CALLING",
            " office  sip:198.18.2.20  03012340  03012349",
        ]
    );
    // In the evening the rule is closed: 18:00 in Berlin is 16:00 UTC in summer.
    let (_, lines) = route("route-why", &["0800555123", "--from", "office", "--at", "2024-07-16T16:00:00Z"]);
    assert!(lines.contains(&"route    2".to_owned()), "{lines:#?}");
    assert!(lines.iter().any(|line| line.ends_with("no: not at this time")), "{lines:#?}");
    assert!(lines.last().unwrap().ends_with("49800555123  -"), "{lines:#?}");
}

#[test]
fn route_as_json_and_its_exit_codes() {
    let (code, lines) = route("route-json", &["--json", "112", "--from", "office"]);
    let answer: serde_json::Value = serde_json::from_str(&lines.join("\n")).unwrap();
    assert_eq!(code, Some(0));
    assert_eq!((&answer["emergency"], &answer["route"]), (&true.into(), &3.into()));
    assert_eq!(answer["considered"][0]["verdict"], "wins");
    assert_eq!(answer["considered"][1]["verdict"], "no_emergency");
    assert_eq!(answer["destinations"][0]["called"], "112");

    // The carrier reaches the office's numbers only.
    let (code, lines) = route("route-json", &["tel:+49-40-1", "--from", "carrier"]);
    assert_eq!(code, Some(1));
    assert!(lines.contains(&"route    none: the caller gets 404".to_owned()), "{lines:#?}");

    let path = configuration("route-wrong", &[]);
    for (arguments, told) in [
        (["112", "--from", "offic"], "there is no trunk \"offic\" in "),
        (["112", "--from=office", "--at=noon"], "\"noon\" is no time; allowed: as in 2026-12-24T20:00"),
        (["sip:a b@", "--from", "office"], "\"sip:a b@\" is no URI"),
    ] {
        let output = tandem(&[&["route", "--config", path.to_str().unwrap()], &arguments[..]].concat());
        assert_eq!((output.status.code(), out(&output)), (Some(1), String::new()));
        assert!(err(&output).contains(told), "{}", err(&output));
    }
    assert_eq!(tandem(&["route", "112"]).status.code(), Some(2), "--from is missing");
    std::fs::remove_file(path).unwrap();
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
