//! The table of what each message should lead to (`expected.toml`), and the messages themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::notation;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// `rfc4475/wsinv`: folder and the RFC's own name.
    pub name: String,
    pub section: String,
    pub title: String,
    /// What the RFC says about it, in our words.
    pub rfc: String,
    /// What the parser finds wrong. Absent: the message is accepted.
    pub wrong: Option<String>,
    pub tandem: Deed,
    /// On a stream, where it ends otherwise than as a datagram.
    pub stream: Option<Stream>,
    /// What the answer carries.
    #[serde(default)]
    pub answer: BTreeMap<String, String>,
    /// Where the file is not the RFC's text to the letter, or what else a reader should know.
    pub note: Option<String>,
}

/// What tandem does with the message, as its trunk's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Deed {
    /// The call goes through: 100, an INVITE to the called side, its 200 and ours.
    Call,
    /// Nothing is sent to anybody.
    Drop,
    Answer(u16),
}

impl TryFrom<String> for Deed {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "call" => Ok(Deed::Call),
            "drop" => Ok(Deed::Drop),
            other => other.parse().map(Deed::Answer).map_err(|_| format!("{other:?} is no deed")),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// For the rest of the body, which never comes.
    Wait,
    /// Where the next message begins is unknown: an answer, then the end of the connection.
    Close,
    /// What a datagram discards is the next message of a stream.
    More,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    case: Vec<Case>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture")
}

pub fn cases() -> Vec<Case> {
    let text = fs::read_to_string(folder().join("expected.toml")).unwrap();
    toml::from_str::<Table>(&text).unwrap().case
}

/// The bytes of a message.
pub fn bytes(name: &str) -> Vec<u8> {
    let text = fs::read_to_string(folder().join(format!("{name}.dat"))).unwrap();
    notation::decode(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn files() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rfc in ["rfc4475", "rfc5118"] {
        for entry in fs::read_dir(folder().join(rfc)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let stem = name.strip_suffix(".dat").unwrap_or_else(|| panic!("{rfc}/{name} is no message"));
            found.insert(format!("{rfc}/{stem}"));
        }
    }
    found
}

#[test]
fn every_file_has_a_row_and_every_row_a_file() {
    let cases = cases();
    let rows: BTreeSet<String> = cases.iter().map(|case| case.name.clone()).collect();
    assert_eq!(rows.len(), cases.len(), "a case has two rows");
    assert_eq!(rows, files());
    // RFC 4475 has 13 valid messages, 19 that break the grammar, 1 of transactions, 15 of the application and 1 of old;
    // RFC 5118 has 12.
    let in_section = |name: &str, section: &str| {
        let within = |case: &&Case| case.name.starts_with(name) && case.section.starts_with(section);
        cases.iter().filter(within).count()
    };
    let counts = ["3.1.1.", "3.1.2.", "3.2.", "3.3.", "3.4."].map(|section| in_section("rfc4475/", section));
    assert_eq!(counts, [13, 19, 1, 15, 1]);
    assert_eq!(in_section("rfc5118/", "4."), 12);
}

#[test]
fn a_content_length_is_wrong_only_where_the_rfc_means_it() {
    let odd = ["rfc4475/clerr", "rfc4475/ncl", "rfc4475/mcl01", "rfc4475/dblreq", "rfc4475/inv2543"];
    for case in cases().iter().filter(|case| !odd.contains(&case.name.as_str())) {
        let text = String::from_utf8_lossy(&bytes(&case.name)).into_owned();
        let (head, _) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{}: no empty line", case.name));
        let said = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            ["content-length", "l"]
                .contains(&name.trim().to_ascii_lowercase().as_str())
                .then(|| value.trim().to_owned())
        });
        assert_eq!(said, Some((bytes(&case.name).len() - head_bytes(&case.name)).to_string()), "{}", case.name);
    }
}

fn head_bytes(name: &str) -> usize {
    bytes(name).windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4
}
