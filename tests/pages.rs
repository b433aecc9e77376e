//! What the documentation shows is run: each whole configuration of docs/trunks.md is given to `tandem check`. What it
//! names is looked for: the tests of docs/sip.md, docs/ha.md and docs/ha-ec2.md. Needs neither DPDK nor root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The fenced `toml` blocks of a page, each with the heading above it.
fn configurations(page: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut heading = String::new();
    let mut block: Option<String> = None;
    for line in page.lines() {
        match &mut block {
            Some(_) if line == "```" => found.extend(block.take().map(|text| (heading.clone(), text))),
            Some(text) => *text += &format!("{line}\n"),
            None if line == "```toml" => block = Some(String::new()),
            None => heading = line.strip_prefix("## ").map_or(heading, str::to_owned),
        }
    }
    assert_eq!(block, None, "a block has no end");
    found
}

#[test]
fn check_accepts_each_configuration_of_the_page_on_trunks() {
    let page = fs::read_to_string(root().join("docs/trunks.md")).unwrap();
    let found = configurations(&page);
    let headings: Vec<&str> = found.iter().map(|(heading, _)| heading.as_str()).collect();
    let expected = [
        "A carrier",
        "A carrier over TLS",
        "A carrier that wants an account",
        "Amazon Chime SDK Voice Connector",
        "A PBX behind NAT",
        "Kamailio in front",
    ];
    assert_eq!(headings, expected);
    let tls = certificates();
    for (at, (heading, text)) in found.iter().enumerate() {
        // CPUs that every machine has; all else as it is shown.
        let text = text.replacen("workers = [1]\nslow = 0\n", "workers = [0]\nslow = 0\npoll = \"adaptive\"\n", 1);
        // Certificates that are there, in place of the carrier's.
        let text = text.replace("/etc/tandem/tls/", &format!("{}/", tls.display()));
        let path = std::env::temp_dir().join(format!("tandem-pages-{}-{at}.toml", std::process::id()));
        fs::write(&path, text).unwrap();
        let output =
            Command::new(env!("CARGO_BIN_EXE_tandem")).args(["check", "--strict"]).arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said, format!("{}: sound\n", path.display()), "{heading}");
        assert_eq!(output.status.code(), Some(0), "{heading}");
        fs::remove_file(path).unwrap();
    }
    fs::remove_dir_all(tls).unwrap();
}

/// A folder with the files that the page names under `/etc/tandem/tls`.
fn certificates() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("tandem-pages-{}-tls", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let own = rcgen::generate_simple_self_signed(["sbc.example.com".to_owned()]).unwrap();
    fs::write(folder.join("tandem.pem"), own.cert.pem()).unwrap();
    fs::write(folder.join("carrier-ca.pem"), own.cert.pem()).unwrap();
    fs::write(folder.join("tandem.key"), own.signing_key.serialize_pem()).unwrap();
    folder
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every source of the laboratory's scenarios, as one text.
fn scenarios() -> String {
    sources(&root().join("tests/lab/src/scenarios"))
}

fn sources(folder: &Path) -> String {
    let read = |path: PathBuf| if path.is_dir() { sources(&path) } else { fs::read_to_string(path).unwrap() };
    fs::read_dir(folder).unwrap().map(|entry| read(entry.unwrap().path())).collect()
}

/// Whether a test that the page names is there: `sip::a::b` is a file or folder of src/, `tests/x` a path, a lab scenario
/// stands among the scenarios.
fn exists(name: &str, lab: bool, scenarios: &str) -> bool {
    if lab {
        return scenarios.contains(&format!("\"{name}\""));
    }
    let inside = root().join("src").join(name.replace("::", "/"));
    root().join(name).exists() || inside.exists() || inside.with_extension("rs").exists()
}

#[test]
fn the_tests_that_the_page_on_sip_names_are_there() {
    let page = fs::read_to_string(root().join("docs/sip.md")).unwrap();
    let (_, table) = page.split_once("## RFC by RFC").unwrap();
    let (table, _) = table.split_once("## The torture tests").unwrap();
    let scenarios = scenarios();
    let mut looked = 0;
    for row in table.lines().filter(|line| line.starts_with('|')).skip(2) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        assert_eq!(cells.len(), 4, "{row}");
        for shown in cells[3].split(',').map(str::trim).filter(|shown| !shown.is_empty()) {
            let name = shown.trim_start_matches("lab ").trim_matches('`');
            assert!(exists(name, shown.starts_with("lab "), &scenarios), "{row}: there is no {shown}");
            looked += 1;
        }
    }
    assert!(looked > 30, "the table was not read");
    assert!(!exists("sip::nowhere", false, &scenarios) && !exists("nowhere", true, &scenarios));
}

#[test]
fn the_tests_that_the_page_on_the_pair_names_are_there() {
    let page = fs::read_to_string(root().join("docs/ha.md")).unwrap();
    let (_, table) = page.split_once("## Who may transmit when").unwrap();
    let (table, _) = table.split_once("## Commands").unwrap();
    let folder = root().join("src/ha/role/tests");
    let rules: String = ["rules", "sleep", "provider"]
        .map(|name| fs::read_to_string(folder.join(name).with_extension("rs")).unwrap())
        .concat();
    let scenarios = scenarios();
    let mut looked = 0;
    for row in table.lines().filter(|line| line.starts_with('|')).skip(2) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        assert_eq!(cells.len(), 4, "{row}");
        for name in cells[3].split('`').skip(1).step_by(2).filter(|name| !name.contains("::") && *name != "sound_path")
        {
            let there = if name.starts_with("pair_") {
                exists(name, true, &scenarios)
            } else {
                rules.contains(&format!("fn {name}("))
            };
            assert!(there, "{row}: there is no {name}");
            looked += 1;
        }
    }
    assert!(looked > 10, "the table was not read");
}

#[test]
fn the_tests_that_the_page_on_ec2_names_are_all_of_them() {
    let page = fs::read_to_string(root().join("docs/ha-ec2.md")).unwrap();
    let (_, table) = page.split_once("## What was shown").unwrap();
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(2);
    let mut named: Vec<&str> = rows.flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
    let source = fs::read_to_string(root().join("tests/ec2_provider.rs")).unwrap();
    let tests = source.split("#[test]\nfn ").skip(1).filter_map(|rest| rest.split_once('(').map(|(name, _)| name));
    let mut there: Vec<&str> = tests.collect();
    named.sort_unstable();
    there.sort_unstable();
    assert_eq!(named, there);
}
