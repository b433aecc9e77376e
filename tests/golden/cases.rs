//! The cases as their files have them, and what stands for addresses and ports in them.

use std::{collections::BTreeMap, fs, path::Path};

use serde::Deserialize;
use tandem::ng::{
    bencode,
    value::{Dictionary, Value},
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    pub why: String,
    /// What rtpengine does otherwise, and why.
    pub differs: Option<String>,
    #[serde(default)]
    keys: toml::Table,
    offer: String,
    told: Option<String>,
    error: Option<String>,
    #[serde(default)]
    answer_keys: toml::Table,
    answer: Option<String>,
    answered: Option<String>,
    answer_error: Option<String>,
    #[serde(default)]
    more: Vec<More>,
}

/// A later exchange.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct More {
    from: Option<String>,
    to: Option<String>,
    #[serde(default)]
    keys: toml::Table,
    offer: String,
    told: String,
    answer: Option<String>,
    answered: Option<String>,
}

pub struct Round<'a> {
    parts: Vec<Part<'a>>,
}

/// One command.
pub struct Part<'a> {
    pub command: &'static str,
    keys: &'a toml::Table,
    from: &'a str,
    to: Option<&'a str>,
    sdp: &'a str,
    pub expected: Option<&'a String>,
    pub error: Option<&'a String>,
    /// Whose description it is: the line o= where it has none.
    pub origin: &'static str,
}

impl<'a> Round<'a> {
    pub fn parts(self) -> Vec<Part<'a>> {
        self.parts
    }
}

const OFFERER: &str = "o=- 1 1 IN IP4 192.0.2.1";
const ANSWERER: &str = "o=- 2 2 IN IP4 192.0.2.2";

impl Case {
    pub fn rounds(&self) -> impl Iterator<Item = Round<'_>> {
        let mut first = vec![Part {
            command: "offer",
            keys: &self.keys,
            from: "f",
            to: None,
            sdp: &self.offer,
            expected: self.told.as_ref(),
            error: self.error.as_ref(),
            origin: OFFERER,
        }];
        first.extend(self.answer.as_ref().map(|answer| Part {
            command: "answer",
            keys: &self.answer_keys,
            from: "f",
            to: Some("t"),
            sdp: answer,
            expected: self.answered.as_ref(),
            error: self.answer_error.as_ref(),
            origin: ANSWERER,
        }));
        let later = self.more.iter().map(|more| {
            let from = more.from.as_deref().unwrap_or("f");
            let to = more.to.as_deref().unwrap_or("t");
            let (own, other) = if from == "f" { (OFFERER, ANSWERER) } else { (ANSWERER, OFFERER) };
            let mut parts = vec![Part {
                command: "offer",
                keys: &more.keys,
                from,
                // Without an answer before it, nobody knows of a tag.
                to: Some(to).filter(|_| self.answer.is_some()),
                sdp: &more.offer,
                expected: Some(&more.told),
                error: None,
                origin: own,
            }];
            parts.extend(more.answer.as_ref().map(|answer| Part {
                command: "answer",
                keys: &self.answer_keys,
                from,
                to: Some(to),
                sdp: answer,
                expected: more.answered.as_ref(),
                error: None,
                origin: other,
            }));
            Round { parts }
        });
        std::iter::once(Round { parts: first }).chain(later)
    }
}

pub fn all() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "toml"));
    files.sort();
    let read =
        |path| toml::from_str::<File>(&fs::read_to_string(path).unwrap()).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    let cases: Vec<Case> = files.iter().flat_map(|path| read(path).case).collect();
    let mut names = std::collections::HashSet::new();
    for case in &cases {
        assert!(names.insert(case.name.clone()), "{} twice", case.name);
        assert!(case.why.ends_with('.'), "{}: why is a sentence", case.name);
    }
    cases
}

/// With the lines that every description has, where it does not begin with v=.
pub fn completed(text: &str, origin: &str) -> String {
    if text.starts_with("v=") {
        return text.to_owned();
    }
    let at = text.lines().position(|line| line.starts_with(['m', 'a'])).unwrap_or(usize::MAX);
    let head: Vec<&str> = text.lines().take(at).collect();
    let find = |start: &str| head.iter().find(|line| line.starts_with(start)).copied();
    let mut lines = vec!["v=0", find("o=").unwrap_or(origin), find("s=").unwrap_or("s=-")];
    lines.extend(head.iter().filter(|line| !line.starts_with("o=") && !line.starts_with("s=")));
    lines.push("t=0 0");
    lines.extend(text.lines().skip(at));
    lines.into_iter().flat_map(|line| [line, "\n"]).collect()
}

fn value(toml: &toml::Value) -> Value {
    match toml {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Array(list) => list.iter().map(value).collect::<Vec<_>>().into(),
        toml::Value::Table(table) => {
            table.iter().fold(Dictionary::default(), |all, (key, v)| all.with(key, value(v))).into()
        }
        other => panic!("{other:?} is no value of the protocol"),
    }
}

/// The command in bencode. `keys` may say other tags.
pub fn message(call: &str, part: &Part<'_>) -> Vec<u8> {
    let mut keys: BTreeMap<&str, Value> = part.keys.iter().map(|(key, v)| (key.as_str(), value(v))).collect();
    keys.entry("from-tag").or_insert_with(|| part.from.into());
    if let Some(to) = part.to {
        keys.entry("to-tag").or_insert_with(|| to.into());
    }
    let sdp = completed(part.sdp, part.origin).replace('\n', "\r\n");
    let message = Dictionary::default().with("command", part.command).with("call-id", call).with("sdp", sdp);
    let message = keys.into_iter().fold(message, |all, (key, value)| all.with(key, value));
    let mut bytes = Vec::new();
    bencode::write_dictionary(&message, &mut bytes);
    bytes
}

/// Ports by their names, learnt where they are first told.
#[derive(Debug, Default)]
pub struct Ports(BTreeMap<String, u16>);

impl Ports {
    /// From the lines m=, of which both have as many or there is nothing to be learnt.
    pub fn learn(&mut self, expected: &str, found: &str) {
        let sections = |text: &str| -> Vec<String> {
            text.lines()
                .filter(|line| line.starts_with("m="))
                .map(|line| line.split(' ').nth(1).unwrap_or("").to_owned())
                .collect()
        };
        for (name, port) in sections(expected).into_iter().zip(sections(found)) {
            if let (Some(name), Ok(port)) = (name.strip_prefix('{').and_then(|n| n.strip_suffix('}')), port.parse()) {
                self.0.entry(name.to_owned()).or_insert(port);
            }
        }
    }
}

/// What is expected, with addresses and ports in their places.
pub fn filled(text: &str, ports: &Ports, addresses: &[(&str, &str)]) -> String {
    let mut text = text.to_owned();
    for (name, address) in addresses {
        text = text.replace(name, address);
    }
    for (name, port) in &ports.0 {
        text = text.replace(&format!("{{{name}}}"), &port.to_string());
        text = text.replace(&format!("{{{name}+1}}"), &(u32::from(*port) + 1).to_string());
    }
    text
}
