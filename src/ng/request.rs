//! A command as it was understood: the keys and flags of a message brought into one shape, whichever of their spellings a
//! proxy uses. Pure; slow-path thread.
//!
//! What `keys` does not know is noted, for the log; what it says is refused ends the command.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{
    NgError,
    codecs::CodecEdits,
    keys::{self, Fate, What},
    value::{Dictionary, Value},
};
use crate::base::limits::NG_NAME_BYTES;

/// Flags that stand for a key: what they begin with, and the key.
const GROUPS: &[(&str, &str)] =
    &[("SDES-", "SDES"), ("OSRTP-", "OSRTP"), ("T38-", "T.38"), ("endpoint-learning-", "endpoint-learning")];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    Ping,
    Offer,
    Answer,
    Delete,
    Query,
    List,
    Statistics,
    /// What it blocks, and whether it begins or ends.
    Block {
        events: bool,
        on: bool,
    },
}

impl Command {
    /// As the metrics name them.
    pub const ALL: [(Command, &'static str); 11] = [
        (Command::Ping, "ping"),
        (Command::Offer, "offer"),
        (Command::Answer, "answer"),
        (Command::Delete, "delete"),
        (Command::Query, "query"),
        (Command::List, "list"),
        (Command::Statistics, "statistics"),
        (Command::Block { events: false, on: true }, "block media"),
        (Command::Block { events: false, on: false }, "unblock media"),
        (Command::Block { events: true, on: true }, "block DTMF"),
        (Command::Block { events: true, on: false }, "unblock DTMF"),
    ];

    fn named(name: &str) -> Result<Command, NgError> {
        let found = Command::ALL.iter().find(|(_, known)| *known == name).map(|(command, _)| *command);
        found.ok_or_else(|| match keys::find(What::Command, name) {
            Some(known) => refusal(name, known.text),
            None => NgError::Command(short(name)),
        })
    }
}

/// A name of a call or its parts; an empty tag is none.
fn name(message: &Dictionary, key: &'static str) -> Result<Option<String>, NgError> {
    let Some(value) = message.get(key) else { return Ok(None) };
    let text = value.text().filter(|text| text.len() <= NG_NAME_BYTES).ok_or(NgError::Name(key))?;
    match (text.is_empty(), key) {
        (true, "call-id") => Err(NgError::Name(key)),
        (true, _) => Ok(None),
        (false, _) => Ok(Some(text.to_owned())),
    }
}

/// What is shown or kept of a value that may be anything.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

fn refusal(what: &str, why: &'static str) -> NgError {
    NgError::Refused { what: what.to_owned(), why }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub fn of(ip: IpAddr) -> Family {
        if ip.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// RFC 5761 on each side of an offer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mux {
    pub offer: bool,
    pub require: bool,
    pub demux: bool,
    pub accept: bool,
    pub reject: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replace {
    pub origin: bool,
    pub session_connection: bool,
    pub version: bool,
    pub force_version: bool,
    pub username: bool,
    pub session_name: bool,
    pub zero_address: bool,
}

/// What is asked of the description.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    pub replace: Replace,
    /// `RTP/AVP` or its kin, in capitals.
    pub protocol: Option<String>,
    pub accept_protocol: bool,
    /// Interfaces of the offerer and of the answerer.
    pub interfaces: [Option<String>; 2],
    pub family: Option<Family>,
    /// Where the SIP message came from.
    pub received_from: Option<IpAddr>,
    /// Media is expected from there, whatever the description says.
    pub trust_source: bool,
    pub asymmetric: bool,
    pub mux: Mux,
    pub codecs: CodecEdits,
    pub ptime: Option<i64>,
    pub ptime_reverse: Option<i64>,
    pub loop_protect: bool,
    pub no_rtcp_attribute: bool,
    pub full_rtcp_attribute: bool,
    pub strip_extmap: bool,
    pub single_codec: bool,
    /// None: unchanged. Some(None): as configured.
    pub tos: Option<Option<u8>>,
    pub drop_traffic: Option<bool>,
}

#[derive(Clone, Debug)]
pub struct Request {
    pub command: Command,
    pub call_id: Option<String>,
    pub from_tag: Option<String>,
    pub to_tag: Option<String>,
    pub branch: Option<String>,
    pub sdp: Option<bytes::Bytes>,
    pub label: Option<String>,
    pub to_label: Option<String>,
    pub set_label: Option<String>,
    pub address: Option<IpAddr>,
    pub metadata: Option<String>,
    pub delete_delay_s: Option<u64>,
    pub limit: Option<usize>,
    pub fatal: bool,
    pub all: bool,
    pub load_limit: bool,
    pub options: Options,
    /// Keys and flags that nobody knows.
    pub unknown: Vec<(What, String)>,
}

impl Request {
    pub fn needs_call_id(&self) -> Result<&str, NgError> {
        self.call_id.as_deref().ok_or(NgError::Missing("call-id"))
    }

    pub fn needs_from_tag(&self) -> Result<&str, NgError> {
        self.from_tag.as_deref().ok_or(NgError::Missing("from-tag"))
    }

    pub fn needs_sdp(&self) -> Result<&bytes::Bytes, NgError> {
        self.sdp.as_ref().ok_or(NgError::Missing("sdp"))
    }

    pub fn read(message: &Dictionary) -> Result<Request, NgError> {
        let command = message.get("command").and_then(Value::text).ok_or(NgError::Missing("command"))?;
        let mut request = Request {
            command: Command::named(command)?,
            call_id: name(message, "call-id")?,
            from_tag: name(message, "from-tag")?,
            to_tag: name(message, "to-tag")?,
            branch: name(message, "via-branch")?,
            sdp: match message.get("sdp") {
                Some(Value::Text(sdp)) => Some(sdp.clone()),
                _ => None,
            },
            label: name(message, "label")?.or(name(message, "from-label")?),
            to_label: name(message, "to-label")?,
            set_label: name(message, "set-label")?,
            address: message.get("address").and_then(Value::text).and_then(|ip| ip.parse().ok()),
            metadata: name(message, "metadata")?,
            delete_delay_s: message.get("delete-delay").and_then(Value::integer).and_then(|s| u64::try_from(s).ok()),
            limit: message.get("limit").and_then(Value::integer).and_then(|n| usize::try_from(n).ok()),
            fatal: false,
            all: message.get("all").is_some(),
            load_limit: message.get("supports").is_some_and(|list| list.texts().contains(&"load limit")),
            options: Options::default(),
            unknown: Vec::new(),
        };
        for (key, _) in message.iter() {
            let key = String::from_utf8_lossy(key).replace(' ', "-");
            request.check(What::Key, &key)?;
        }
        request.keys(message)?;
        for flag in message.get("flags").map(Value::texts).unwrap_or_default() {
            request.flag(&flag.replace(' ', "-"))?;
        }
        for flag in message.get("replace").map(Value::texts).unwrap_or_default() {
            request.replace(&flag.replace(' ', "-"))?;
        }
        for value in message.get("rtcp-mux").map(Value::texts).unwrap_or_default() {
            request.mux(value)?;
        }
        if let Some(Value::Dictionary(edits)) = message.get("codec") {
            for (key, list) in edits.iter() {
                let key = String::from_utf8_lossy(key).into_owned();
                list.texts().into_iter().try_for_each(|codec| request.codec(&key, codec))?;
            }
        }
        Ok(request)
    }

    /// Notes what nobody knows; what is refused is an error.
    fn check(&mut self, what: What, name: &str) -> Result<bool, NgError> {
        match keys::find(what, name) {
            Some(known) if known.fate == Fate::Refused => Err(refusal(name, known.text)),
            Some(known) => Ok(known.fate == Fate::Done),
            None => {
                self.unknown.push((what, short(name)));
                Ok(false)
            }
        }
    }

    fn keys(&mut self, message: &Dictionary) -> Result<(), NgError> {
        let text = |key: &str| message.get(key).and_then(Value::text);
        let options = &mut self.options;
        let named = message.get("direction").map(Value::texts).unwrap_or_default();
        let interface = |key: &str, at: usize| text(key).or_else(|| named.get(at).copied()).map(str::to_owned);
        options.interfaces = [interface("from-interface", 0), interface("to-interface", 1)];
        if let [_, to @ None] = &mut options.interfaces {
            *to = text("interface").map(str::to_owned);
        }
        options.family = match text("address-family") {
            None => None,
            Some("IP4") => Some(Family::V4),
            Some("IP6") => Some(Family::V6),
            Some(other) => return Err(NgError::Value { key: "address-family", found: short(other) }),
        };
        match text("transport-protocol") {
            None => {}
            Some("accept") => options.accept_protocol = true,
            Some(protocol) => options.protocol = Some(short(protocol).to_ascii_uppercase()),
        }
        if let Some(ice) = text("ICE")
            && ice.starts_with("force")
        {
            return Err(refusal(&format!("ICE={}", short(ice)), "there is no ICE; candidates are removed"));
        }
        options.ptime = message.get("ptime").and_then(Value::integer);
        options.ptime_reverse = message.get("ptime-reverse").and_then(Value::integer);
        // As rtpengine has it: negative leaves it as it was, too large goes back to what is configured.
        options.tos = match message.get("TOS").and_then(Value::integer) {
            Some(tos) if tos < 0 => None,
            Some(tos) => Some(u8::try_from(tos).ok()),
            None => None,
        };
        options.drop_traffic = match text("drop-traffic") {
            Some("start") => Some(true),
            Some("stop") => Some(false),
            _ => None,
        };
        options.received_from = message.get("received-from").and_then(|list| list.texts().get(1)?.parse().ok());
        Ok(())
    }

    fn flag(&mut self, flag: &str) -> Result<(), NgError> {
        let plain = flag.split_once('=').map_or(flag, |(name, _)| name);
        let edit = flag.strip_prefix("codec-").unwrap_or(flag);
        if let Some((edit, codec)) = edit.split_once('-')
            && keys::find(What::Codec, edit).is_some()
            && keys::find(What::Flag, flag).is_none()
        {
            return self.codec(edit, codec);
        }
        if let Some(value) = flag.strip_prefix("rtcp-mux-") {
            return self.mux(value);
        }
        if let Some(part) = flag.strip_prefix("replace-") {
            return self.replace(part);
        }
        if let Some((_, key)) = GROUPS.iter().find(|(prefix, _)| flag.starts_with(prefix)) {
            return self.check(What::Key, key).map(drop);
        }
        if !self.check(What::Flag, plain)? {
            return Ok(());
        }
        let options = &mut self.options;
        match plain {
            "SIP-source-address" => options.trust_source = true,
            "asymmetric" => options.asymmetric = true,
            "loop-protect" => options.loop_protect = true,
            "fatal" => self.fatal = true,
            "all" => self.all = true,
            "no-rtcp-attribute" => options.no_rtcp_attribute = true,
            "full-rtcp-attribute" => options.full_rtcp_attribute = true,
            "strip-extmap" => options.strip_extmap = true,
            "single-codec" => options.single_codec = true,
            "always-transcode" => options.codecs.accept.push("all".into()),
            _ => {}
        }
        Ok(())
    }

    fn replace(&mut self, flag: &str) -> Result<(), NgError> {
        let replace = &mut self.options.replace;
        match flag {
            "origin" => replace.origin = true,
            "session-connection" => replace.session_connection = true,
            "SDP-version" | "sdp-version" => replace.version = true,
            "force-increment-sdp-ver" => replace.force_version = true,
            "username" => replace.username = true,
            "session-name" => replace.session_name = true,
            "zero-address" => replace.zero_address = true,
            _ => return self.check(What::Replace, flag).map(drop),
        }
        Ok(())
    }

    fn mux(&mut self, value: &str) -> Result<(), NgError> {
        let mux = &mut self.options.mux;
        match value {
            "offer" => mux.offer = true,
            "require" => mux.require = true,
            "demux" => mux.demux = true,
            "accept" => mux.accept = true,
            "reject" => mux.reject = true,
            _ => return self.check(What::Mux, value).map(drop),
        }
        Ok(())
    }

    fn codec(&mut self, edit: &str, codec: &str) -> Result<(), NgError> {
        let codecs = &mut self.options.codecs;
        let list = match edit {
            "strip" => &mut codecs.strip,
            "mask" | "consume" => &mut codecs.mask,
            "offer" => &mut codecs.offer,
            "except" => &mut codecs.except,
            "transcode" => &mut codecs.transcode,
            "accept" => &mut codecs.accept,
            _ => return self.check(What::Codec, edit).map(drop),
        };
        list.push(short(codec));
        Ok(())
    }
}

impl Options {
    /// Where this side's media comes from and goes to, if not where its description says.
    pub fn expected_from(&self) -> Option<IpAddr> {
        self.received_from.filter(|_| self.trust_source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(flags: &[&str]) -> Dictionary {
        let flags: Vec<Value> = flags.iter().map(|flag| Value::from(*flag)).collect();
        Dictionary::default().with("command", "offer").with("call id", "c").with("from-tag", "f").with("flags", flags)
    }

    #[test]
    fn each_spelling_of_a_flag_is_understood() {
        let flags = [
            "trust address",
            "codec-mask-PCMU",
            "transcode-PCMA",
            "rtcp-mux-demux",
            "replace-origin",
            "always-transcode",
        ];
        let request = Request::read(&message(&flags)).unwrap();
        assert_eq!(request.call_id.as_deref(), Some("c"));
        assert_eq!(request.unknown, []);
        let options = request.options;
        assert_eq!(options.codecs.mask, ["PCMU"]);
        assert_eq!(options.codecs.transcode, ["PCMA"]);
        assert_eq!(options.codecs.accept, ["all"]);
        assert!(options.mux.demux && options.replace.origin);
    }

    #[test]
    fn what_would_change_what_is_heard_is_refused_and_the_unknown_is_noted() {
        for (flag, named) in [("record call", "record-call"), ("inject-DTMF", "inject-DTMF"), ("T38-decode", "T.38")] {
            let error = Request::read(&message(&[flag])).unwrap_err();
            assert!(matches!(&error, NgError::Refused { what, .. } if what == named), "{error}");
        }
        let request = Request::read(&message(&["no such flag"]).with("no such key", 1i64)).unwrap();
        let noted = [(What::Key, "no-such-key".to_owned()), (What::Flag, "no-such-flag".to_owned())];
        assert_eq!(request.unknown, noted);
    }

    #[test]
    fn commands_that_are_not_there_say_why() {
        let of =
            |command: &str| Request::read(&Dictionary::default().with("command", command)).unwrap_err().to_string();
        assert_eq!(of("play media"), "play media is not there: tandem makes no audio of its own");
        assert_eq!(of("frobnicate"), "unrecognised command: frobnicate");
    }

    #[test]
    fn names_are_bounded() {
        let long = "x".repeat(NG_NAME_BYTES + 1);
        let of = |id: &str| Request::read(&Dictionary::default().with("command", "query").with("call-id", id));
        assert_eq!(of(&long).unwrap_err(), NgError::Name("call-id"));
        assert_eq!(of("").unwrap_err(), NgError::Name("call-id"));
        assert!(of(&long[1..]).is_ok());
    }
}
