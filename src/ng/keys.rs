//! Every command, key and flag of the `ng` protocol that proxies are known to send, and what becomes of each: the source of
//! docs/ng.md, which a test holds together with this table. Pure.
//!
//! Refused is what would change, if it were ignored, what is heard or who can listen; what merely helps is ignored.

use Fate::{Done, Ignored, Refused};
use What::{Codec, Command, Flag, Key, Mux, Replace};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    Command,
    /// Of the message's dictionary.
    Key,
    /// In the list `flags`.
    Flag,
    /// In the list `replace`.
    Replace,
    /// In the list `rtcp-mux`.
    Mux,
    /// Of the dictionary `codec`; as a flag with `codec-` in front and `-NAME` behind.
    Codec,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Done,
    Ignored,
    Refused,
}

#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub what: What,
    pub name: &'static str,
    pub fate: Fate,
    /// What is done, or why it is not.
    pub text: &'static str,
}

impl What {
    pub const fn as_str(self) -> &'static str {
        match self {
            Command => "command",
            Key => "key",
            Flag => "flag",
            Replace => "replace",
            Mux => "rtcp-mux",
            Codec => "codec",
        }
    }
}

impl Fate {
    pub const fn as_str(self) -> &'static str {
        match self {
            Done => "done",
            Ignored => "ignored",
            Refused => "refused",
        }
    }
}

pub fn find(what: What, name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.what == what && known.name == name)
}

const fn known(what: What, name: &'static str, fate: Fate, text: &'static str) -> Known {
    Known { what, name, fate, text }
}

const NO_AUDIO: &str = "tandem makes no audio of its own";
const NO_RECORDING: &str = "nothing is recorded";
const NO_FAN_OUT: &str = "media is forwarded to one receiver";
const NO_DTMF: &str = "telephone events are blocked or forwarded as they are, not looked into";
const NO_ICE: &str = "there is no ICE; candidates are removed, so that media comes by tandem";
const NO_SRTP: &str = "media is neither encrypted nor decrypted; RTP/SAVP passes between its ends as it is";
const OWN_ADDRESS: &str = "a peer's address is what its description, its source or its media say";

#[rustfmt::skip]
pub const KNOWN: &[Known] = &[
    known(Command, "ping", Done, "answered with pong"),
    known(Command, "offer", Done, "the description is rewritten for the other side"),
    known(Command, "answer", Done, "the description is rewritten for the offerer, and media flows"),
    known(Command, "delete", Done, "the call, or the branch or fork that is named, ends; answered with its figures"),
    known(Command, "query", Done, "figures of one call"),
    known(Command, "list", Done, "Call-IDs, up to limit"),
    known(Command, "statistics", Done, "figures of this node"),
    known(Command, "block media", Done, "audio of the call or of one participant is not forwarded; telephone events are"),
    known(Command, "unblock media", Done, "ends it"),
    known(Command, "block DTMF", Done, "telephone events of the call or of one participant are not forwarded"),
    known(Command, "unblock DTMF", Done, "ends it"),
    known(Command, "silence media", Refused, "tandem makes no audio of its own; block media is there"),
    known(Command, "unsilence media", Refused, "tandem makes no audio of its own; unblock media is there"),
    known(Command, "start forwarding", Refused, "it feeds a recording daemon, and nothing is recorded"),
    known(Command, "stop forwarding", Refused, "it feeds a recording daemon, and nothing is recorded"),
    known(Command, "start recording", Refused, NO_RECORDING),
    known(Command, "stop recording", Refused, NO_RECORDING),
    known(Command, "pause recording", Refused, NO_RECORDING),
    known(Command, "play media", Refused, NO_AUDIO),
    known(Command, "stop media", Refused, NO_AUDIO),
    known(Command, "play DTMF", Refused, NO_AUDIO),
    known(Command, "publish", Refused, NO_FAN_OUT),
    known(Command, "subscribe request", Refused, NO_FAN_OUT),
    known(Command, "subscribe answer", Refused, NO_FAN_OUT),
    known(Command, "unsubscribe", Refused, NO_FAN_OUT),

    known(Key, "command", Done, "what is to be done"),
    known(Key, "call-id", Done, "names the call"),
    known(Key, "from-tag", Done, "names the offerer, or the participant that a command is about"),
    known(Key, "to-tag", Done, "names the answerer; each tag that answers one offer is a fork of it"),
    known(Key, "via-branch", Done, "tells branches of one offerer apart: each has ports of its own"),
    known(Key, "sdp", Done, "the session description"),
    known(Key, "flags", Done, "see the flags"),
    known(Key, "replace", Done, "see the replace flags"),
    known(Key, "codec", Done, "see the codec keys"),
    known(Key, "rtcp-mux", Done, "see the rtcp-mux values"),
    known(Key, "direction", Done, "interfaces of offerer and answerer: an `[[ng.interface]]` or an `[[address]]` by its name"),
    known(Key, "interface", Done, "that of the answerer; the offerer's is `ng.media`"),
    known(Key, "from-interface", Done, "that of the offerer"),
    known(Key, "to-interface", Done, "that of the answerer"),
    known(Key, "address-family", Done, "IP4 or IP6 towards the answerer; else that of the offer"),
    known(Key, "transport-protocol", Done, "RTP/AVP or RTP/AVPF towards the answerer, which the answer undoes; accept passes the answer's on; RTP/SAVP and its kin are refused where the section is not of them already"),
    known(Key, "received-from", Done, "with SIP-source-address: where media of this side is expected from and sent to"),
    known(Key, "ICE", Done, "remove, default and optional remove candidates; force and force-relay are refused: there is no ICE"),
    known(Key, "DTLS", Done, "off has nothing to switch off; another value is refused with RTP/SAVP towards the answerer and else ignored"),
    known(Key, "DTLS-reverse", Ignored, "sections with DTLS are refused, others have no use for it"),
    known(Key, "DTLS-fingerprint", Ignored, "sections with DTLS are refused, others have no use for it"),
    known(Key, "SDES", Ignored, "keys of RTP/SAVP sections pass as they are, others have none"),
    known(Key, "OSRTP", Refused, NO_SRTP),
    known(Key, "ptime", Done, "a=ptime towards the answerer; packets are not cut anew"),
    known(Key, "ptime-reverse", Done, "a=ptime towards the offerer; packets are not cut anew"),
    known(Key, "delete-delay", Done, "seconds until the delete takes effect, an hour at most"),
    known(Key, "label", Done, "a name for the participant, shown by query; commands that are about one may name it by this"),
    known(Key, "from-label", Done, "as label"),
    known(Key, "to-label", Done, "the same for the answerer"),
    known(Key, "set-label", Done, "a label for the participant that a command is about"),
    known(Key, "metadata", Done, "kept with the call, shown by query"),
    known(Key, "TOS", Done, "TOS byte of all that is sent in this call"),
    known(Key, "address", Done, "names a participant by the media address of its description"),
    known(Key, "all", Done, "with unblock: participants that were blocked one by one, too"),
    known(Key, "limit", Done, "of list"),
    known(Key, "drop-traffic", Done, "start drops all media of the call, stop ends it"),
    known(Key, "supports", Done, "a node that is full or drains answers `load limit`, as proxies that support it expect, and else an error"),
    known(Key, "media-address", Refused, OWN_ADDRESS),
    known(Key, "media-echo", Refused, "media is not sent back to where it came from"),
    known(Key, "record-call", Refused, NO_RECORDING),
    known(Key, "output-destination", Refused, NO_RECORDING),
    known(Key, "T.38", Refused, "there is no T.38 gateway"),
    known(Key, "DTMF-security", Refused, NO_DTMF),
    known(Key, "DTMF-security-trigger", Refused, NO_DTMF),
    known(Key, "DTMF-security-trigger-end", Refused, NO_DTMF),
    known(Key, "DTMF-delay", Refused, NO_DTMF),
    known(Key, "trigger", Refused, NO_DTMF),
    known(Key, "DTMF-log-dest", Ignored, NO_DTMF),
    known(Key, "ICE-lite", Ignored, NO_ICE),
    known(Key, "generate-RTCP", Ignored, "reports of RTCP pass between the ends"),
    known(Key, "endpoint-learning", Ignored, "latching goes by `[media.latching]` and its rules, whoever asks"),
    known(Key, "xmlrpc-callback", Ignored, "a call that timed out is gone; its proxy learns that from its next command"),
    known(Key, "sdp-attr", Refused, "texts of descriptions are the proxy's to edit"),
    known(Key, "user-agent", Ignored, "nothing depends on it"),
    known(Key, "original-sendrecv", Ignored, "directions are always left as they are"),

    known(Flag, "trust-address", Done, "the description's addresses hold; so they do without it"),
    known(Flag, "SIP-source-address", Done, "received-from holds in place of the description's addresses"),
    known(Flag, "symmetric", Done, "so it is without it"),
    known(Flag, "asymmetric", Done, "the side whose description comes with it is sent to where that says, also where its media comes from elsewhere"),
    known(Flag, "strict-source", Done, "so it is without it"),
    known(Flag, "media-handover", Ignored, "sources that may move at will can be taken over by anybody; a moved peer makes a new offer"),
    known(Flag, "port-latching", Done, "so it is without it: a side keeps its port as long as the call lasts"),
    known(Flag, "no-port-latching", Ignored, "a side keeps its port as long as the call lasts"),
    known(Flag, "loop-protect", Done, "descriptions are marked; one that comes back marked is left as it is"),
    known(Flag, "fatal", Done, "a delete of an unknown call is an error and no warning"),
    known(Flag, "all", Done, "as the key"),
    known(Flag, "no-rtcp-attribute", Done, "no a=rtcp"),
    known(Flag, "full-rtcp-attribute", Done, "a=rtcp with its address"),
    known(Flag, "original-sendrecv", Done, "directions are always left as they are"),
    known(Flag, "single-codec", Done, "an answer keeps its first codec, and what goes beside it"),
    known(Flag, "always-transcode", Done, "as codec-accept-all"),
    known(Flag, "strip-extmap", Done, "no a=extmap"),
    known(Flag, "reset", Ignored, "every offer is taken as it is"),
    known(Flag, "reject-ICE", Done, "candidates are removed anyway"),
    known(Flag, "trickle-ICE", Ignored, NO_ICE),
    known(Flag, "generate-mid", Ignored, "sections are known by their place"),
    known(Flag, "reuse-codecs", Ignored, "a number keeps its codec within a call; which codec is first is the ends' to say"),
    known(Flag, "no-codec-renegotiation", Ignored, "as reuse-codecs"),
    known(Flag, "allow-transcoding", Ignored, "it belongs to subscribe answer"),
    known(Flag, "symmetric-codecs", Ignored, "each payload type that a side may send is converted where the other lacks it"),
    known(Flag, "asymmetric-codecs", Ignored, "each payload type that a side may send is converted where the other lacks it"),
    known(Flag, "early-media", Ignored, NO_AUDIO),
    known(Flag, "unidirectional", Ignored, "one-way media takes the fast path like any other"),
    known(Flag, "pad-crypto", Ignored, "keys are passed as they are"),
    known(Flag, "generate-RTCP", Ignored, "reports of RTCP pass between the ends"),
    known(Flag, "NAT-wait", Ignored, "media is sent to where the description says until it comes from elsewhere"),
    known(Flag, "pierce-NAT", Ignored, "nothing is sent that did not come from the other side"),
    known(Flag, "detect-DTMF", Ignored, NO_DTMF),
    known(Flag, "debug", Ignored, "the log's level is `log.level`"),
    known(Flag, "debugging", Ignored, "the log's level is `log.level`"),
    known(Flag, "block-short", Ignored, "lengths of packets are not looked at"),
    known(Flag, "block-short-packets", Ignored, "lengths of packets are not looked at"),
    known(Flag, "no-redis-update", Ignored, "there is no Redis"),
    known(Flag, "exclude-recording", Ignored, NO_RECORDING),
    known(Flag, "discard-recording", Ignored, NO_RECORDING),
    known(Flag, "record-call", Refused, NO_RECORDING),
    known(Flag, "inject-DTMF", Refused, NO_AUDIO),
    known(Flag, "inactive", Ignored, "it belongs to subscribe request"),
    known(Flag, "RTCP-mirror", Ignored, "it belongs to subscribe request"),

    known(Replace, "origin", Done, "the address in o="),
    known(Replace, "session-connection", Done, "the c= of the session, also where each section has its own"),
    known(Replace, "SDP-version", Done, "the version in o= grows with each change, and only then"),
    known(Replace, "force-increment-sdp-ver", Done, "it grows with each description"),
    known(Replace, "username", Done, "the user in o= stays what this side was first told"),
    known(Replace, "session-name", Done, "s= stays what this side was first told"),
    known(Replace, "zero-address", Done, "0.0.0.0 becomes tandem's address"),

    known(Mux, "offer", Done, "offered to the answerer whether the offer has it or not"),
    known(Mux, "require", Done, "as offer; a=rtcp names the RTP port at once"),
    known(Mux, "demux", Done, "accepted from the offerer, not offered to the answerer"),
    known(Mux, "accept", Done, "accepted from the offerer whatever the answerer says"),
    known(Mux, "reject", Done, "not accepted from the offerer, whatever the answerer says to it"),

    known(Codec, "strip", Done, "taken out of the offer, as if it had never been there"),
    known(Codec, "mask", Done, "not offered, but still taken from the offerer where transcode makes it possible"),
    known(Codec, "consume", Done, "as mask"),
    known(Codec, "offer", Done, "what strip and mask of all leave, in this order"),
    known(Codec, "except", Done, "what strip and mask of all leave"),
    known(Codec, "transcode", Done, "G.711 that is offered in place of the other G.711; what tandem cannot convert is added by nobody"),
    known(Codec, "accept", Done, "G.711 that the offerer may send though the answerer did not take it"),
    known(Codec, "set", Ignored, "G.711 has no options"),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn nothing_stands_in_the_table_twice() {
        let mut seen = HashSet::new();
        assert!(KNOWN.iter().all(|known| seen.insert((known.what, known.name))));
    }

    #[test]
    fn the_page_has_a_row_for_each_with_its_fate_and_reason() {
        let page = include_str!("../../docs/ng.md");
        for known in KNOWN {
            let row =
                format!("| {} | `{}` | {} | {} |", known.what.as_str(), known.name, known.fate.as_str(), known.text);
            assert!(page.lines().any(|line| line == row), "docs/ng.md lacks\n{row}");
        }
        let rows =
            page.lines().filter(|line| KNOWN.iter().any(|k| line.starts_with(&format!("| {} | `", k.what.as_str()))));
        assert_eq!(rows.count(), KNOWN.len(), "docs/ng.md has rows that the table has not");
    }
}
