//! SIPp scenarios out of steps: where a scenario of the signalling is a dozen messages of which only a few lines matter, it
//! is written as these lines, and the XML of SIPp is made from them. Pure; main thread.
//!
//! Always holds: SIPp fails on any message that the next step does not name; a response is taken for the request that the
//! script says it answers (by CSeq), and CSeq numbers are those that the script counted.

use std::{collections::BTreeSet, fmt::Write as _};

/// What a message's header field, or its body (an empty name), must hold.
#[derive(Clone, Debug)]
pub struct Check {
    header: &'static str,
    pattern: String,
    /// The pattern must be there; otherwise it must not.
    present: bool,
    /// Kept under this name, for `[$name]` in later lines.
    name: Option<&'static str>,
}

/// The header field must match this regular expression (POSIX, extended).
pub fn has(header: &'static str, pattern: impl Into<String>) -> Check {
    Check { header, pattern: pattern.into(), present: true, name: None }
}

/// The message must not have the header field, or not with anything like this in it.
pub fn lacks(header: &'static str, pattern: impl Into<String>) -> Check {
    Check { present: false, ..has(header, pattern) }
}

/// As `has`; what matched is `[$name]` from here on.
pub fn keep(header: &'static str, pattern: impl Into<String>, name: &'static str) -> Check {
    Check { name: Some(name), ..has(header, pattern) }
}

/// The body of a message: as `Check`'s empty name.
pub const BODY: &str = "";
pub const NO_BODY: &str = "";
const CALLER: &str = "\"Caller\" <sip:caller@[local_ip]:[local_port]>";
/// What both phones of a script take, unless a line says otherwise.
const ALLOW: &str = "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE";

/// A session description in version `version`, with this direction.
pub fn sdp(version: u32, direction: &str) -> String {
    format!(
        "v=0\no=phone 53655765 {version} IN IP[media_ip_type] [media_ip]\ns=-\nc=IN IP[media_ip_type] [media_ip]\nt=0 0\n\
         m=audio [auto_media_port+4] RTP/AVP {{{{payloads}}}}\n{{{{rtpmap}}}}\na=ptime:20\na={direction}"
    )
}

#[derive(Clone, Debug)]
pub struct Script {
    caller: bool,
    shows: String,
    steps: String,
    variables: BTreeSet<String>,
    /// Of the last request that this phone sent.
    cseq: u32,
    method: String,
    /// Of its last INVITE.
    invite_cseq: u32,
    checks: usize,
    /// It has had what opens its dialog.
    opened: bool,
    /// The last INVITE that came was one within the dialog.
    within: bool,
    /// Behind the tag of a callee: which of its forks speaks.
    fork: &'static str,
}

impl Script {
    pub fn caller(shows: &str) -> Script {
        Script {
            caller: true,
            shows: shows.to_owned(),
            steps: String::new(),
            variables: BTreeSet::new(),
            cseq: 0,
            method: String::new(),
            invite_cseq: 0,
            checks: 0,
            opened: false,
            within: false,
            fork: "",
        }
    }

    pub fn callee(shows: &str) -> Script {
        Script { caller: false, ..Script::caller(shows) }
    }

    /// From here on the callee speaks as this fork of the call.
    pub fn fork(mut self, fork: &'static str) -> Script {
        self.fork = fork;
        self
    }

    pub fn waits(mut self, ms: u32) -> Script {
        let _ = writeln!(self.steps, "  <pause milliseconds=\"{ms}\"/>");
        self
    }

    /// A request outside of a dialog, to the number that is dialled.
    pub fn asks(mut self, method: &str, lines: &[&str], body: &str) -> Script {
        self.count(method);
        let target = "sip:[service][call_number]@[remote_ip]:[remote_port]";
        let cseq = self.cseq;
        let head = format!(
            "{method} {target} SIP/2.0\nVia: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport\n\
             From: {CALLER};tag=[pid]c[call_number]\nTo: <{target}>\nCall-ID: [call_id]\nCSeq: {cseq} {method}"
        );
        self.send(true, &head, lines, body)
    }

    /// A request in the dialog.
    pub fn requests(mut self, method: &str, lines: &[&str], body: &str) -> Script {
        self.count(method);
        let cseq = self.cseq;
        self.in_dialog(method, cseq, true, lines, body)
    }

    /// The ACK of a 2xx.
    pub fn acks(self, body: &str) -> Script {
        let cseq = self.invite_cseq;
        self.in_dialog("ACK", cseq, false, &[], body)
    }

    /// The ACK of a refusal, in the INVITE's transaction (RFC 3261 §17.1.1.3).
    pub fn acks_refusal(self) -> Script {
        let (cseq, opened) = (self.invite_cseq, self.opened || !self.caller);
        let target =
            if opened { "[next_url]" } else { "sip:[service][call_number]@[remote_ip]:[remote_port]" }.to_owned();
        let head = format!(
            "ACK {target} SIP/2.0\n[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\nCSeq: {cseq} ACK\nMax-Forwards: 70"
        );
        self.send(false, &head, &[], NO_BODY)
    }

    fn count(&mut self, method: &str) {
        self.cseq += 1;
        method.clone_into(&mut self.method);
        if method == "INVITE" {
            self.invite_cseq = self.cseq;
        }
    }

    fn in_dialog(self, method: &str, cseq: u32, again: bool, lines: &[&str], body: &str) -> Script {
        let from = if self.caller {
            format!(" {CALLER};tag=[pid]c[call_number]")
        } else {
            format!("[$own];tag=[pid]s[call_number]{}", self.fork)
        };
        let head = format!(
            "{method} [next_url] SIP/2.0\nVia: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport\n[routes]\n\
             From:{from}\nTo:[$remote]\nCall-ID: [call_id]\nCSeq: {cseq} {method}"
        );
        self.send(again, &head, lines, body)
    }

    /// A response to the last request of this method that came.
    pub fn answers(mut self, status: u16, method: &str, lines: &[&str], body: &str) -> Script {
        let tag = if self.within { String::new() } else { format!(";tag=[pid]s[call_number]{}", self.fork) };
        // What is refused opens no dialog: the next INVITE may.
        self.opened &= method != "INVITE" || self.within || status < 300;
        let head = if method == "INVITE" {
            format!("SIP/2.0 {status} Word\nVia:[$via]\nFrom:[$from]\nTo:[$to]{tag}\n[last_Call-ID:]\nCSeq:[$cseq]")
        } else {
            format!("SIP/2.0 {status} Word\n[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\n[last_CSeq:]")
        };
        self.send(method == "INVITE" && status >= 200, &head, lines, body)
    }

    fn send(mut self, again: bool, head: &str, lines: &[&str], body: &str) -> Script {
        let retrans = if again { " retrans=\"500\"" } else { "" };
        let mut text = format!("{head}\nContact: <sip:phone@[local_ip]:[local_port];transport=[transport]>\n");
        if !head.starts_with("SIP/2.0") && !head.contains("Max-Forwards") {
            text.push_str("Max-Forwards: 70\n");
        }
        if !lines.iter().any(|line| line.starts_with("Allow:")) {
            let _ = writeln!(text, "{ALLOW}");
        }
        for line in lines {
            let _ = writeln!(text, "{line}");
        }
        if !body.is_empty() && !lines.iter().any(|line| line.starts_with("Content-Type:")) {
            text.push_str("Content-Type: application/sdp\n");
        }
        let length = if body.is_empty() { "0" } else { "[len]" };
        let _ = write!(text, "Content-Length: {length}\n\n{body}");
        let _ = writeln!(self.steps, "  <send{retrans}>\n    <![CDATA[\n");
        for line in text.trim_end().lines() {
            let _ = writeln!(self.steps, "{}{line}", if line.is_empty() { "" } else { "      " });
        }
        if body.is_empty() {
            self.steps.push('\n');
        }
        self.steps.push_str("\n    ]]>\n  </send>\n");
        self
    }

    /// Responses that may come first, and of which nothing matters.
    pub fn may_hear(mut self, statuses: &[u16]) -> Script {
        for status in statuses {
            let _ = writeln!(self.steps, "  <recv response=\"{status}\" optional=\"true\"/>");
        }
        self
    }

    /// A response to the last request.
    pub fn hears(self, status: u16, checks: &[Check]) -> Script {
        let (cseq, method) = (self.cseq, self.method.clone());
        self.hears_to(&format!("{cseq} {method}"), status, checks)
    }

    /// A response to the last INVITE.
    pub fn hears_of_invite(self, status: u16, checks: &[Check]) -> Script {
        let cseq = self.invite_cseq;
        self.hears_to(&format!("{cseq} INVITE"), status, checks)
    }

    fn hears_to(mut self, cseq: &str, status: u16, checks: &[Check]) -> Script {
        let opens = cseq.ends_with("INVITE") && (101..300).contains(&status);
        let rrs = if opens { " rrs=\"true\"" } else { "" };
        let _ = writeln!(self.steps, "  <recv response=\"{status}\"{rrs}>\n    <action>");
        self.check(&has("CSeq:", format!("^ *{cseq} *$")));
        if opens && self.caller {
            self.opened = true;
            self.assign("To:", "remote");
        }
        checks.iter().for_each(|check| self.check(check));
        self.steps.push_str("    </action>\n  </recv>\n");
        self
    }

    /// A request from the other side.
    pub fn gets(mut self, method: &str, checks: &[Check]) -> Script {
        let invite = method == "INVITE";
        let rrs = if invite { " rrs=\"true\"" } else { "" };
        let _ = writeln!(self.steps, "  <recv request=\"{method}\"{rrs}>\n    <action>");
        self.check(&has("CSeq:", format!("[0-9] +{method} *$")));
        if invite {
            for (header, name) in [("Via:", "via"), ("From:", "from"), ("To:", "to"), ("CSeq:", "cseq")] {
                self.assign(header, name);
            }
            self.within = self.opened;
            if !self.opened {
                self.opened = true;
                self.assign("From:", "remote");
                self.assign("To:", "own");
            }
        }
        checks.iter().for_each(|check| self.check(check));
        self.steps.push_str("    </action>\n  </recv>\n");
        self
    }

    /// Keeps the whole value.
    fn assign(&mut self, header: &str, name: &str) {
        self.variables.insert(name.to_owned());
        let _ = writeln!(
            self.steps,
            "      <ereg regexp=\".*\" search_in=\"hdr\" header=\"{header}\" assign_to=\"{name}\"/>"
        );
    }

    fn check(&mut self, check: &Check) {
        self.checks += 1;
        let name = check.name.map_or_else(|| format!("c{}", self.checks), str::to_owned);
        let place = if check.header == BODY {
            "search_in=\"body\"".to_owned()
        } else {
            format!("search_in=\"hdr\" header=\"{}\"", check.header)
        };
        let demand = if check.present { "check_it" } else { "check_it_inverse" };
        let pattern = check.pattern.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
        let _ =
            writeln!(self.steps, "      <ereg regexp=\"{pattern}\" {place} {demand}=\"true\" assign_to=\"{name}\"/>");
        self.variables.insert(name);
    }

    /// The scenario file, with the blanks that `Phone` fills in.
    pub fn xml(&self) -> String {
        let Script { shows, steps, .. } = self;
        let variables = self.variables.iter().cloned().collect::<Vec<_>>().join(",");
        let reference =
            if variables.is_empty() { String::new() } else { format!("  <Reference variables=\"{variables}\"/>\n") };
        let name = if self.caller { "caller" } else { "callee" };
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE scenario SYSTEM \"sipp.dtd\">\n<!-- {shows} -->\n\
             <scenario name=\"{name}\">\n{steps}  <timewait milliseconds=\"500\"/>\n{reference}</scenario>\n"
        )
    }
}

/// The shortest ways to begin and to end.
impl Script {
    /// The caller's INVITE, with an offer.
    pub fn invites(self, lines: &[&str]) -> Script {
        self.asks("INVITE", lines, &sdp(1, "sendrecv")).may_hear(&[100])
    }

    /// BYE, answered.
    pub fn hangs_up(self) -> Script {
        self.requests("BYE", &[], NO_BODY).hears(200, &[])
    }

    /// The other side's BYE.
    pub fn is_hung_up(self) -> Script {
        self.gets("BYE", &[]).answers(200, "BYE", &[], NO_BODY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_and_responses_belong_to_them() {
        let script = Script::caller("x").invites(&["Supported: 100rel"]).hears(183, &[keep("RSeq:", "[0-9]+", "rseq")]);
        let xml = script.requests("PRACK", &["RAck: [$rseq] 1 INVITE"], NO_BODY).hears(200, &[]).acks(NO_BODY).xml();
        for wanted in [
            "CSeq: 1 INVITE\n",
            "regexp=\"^ *1 INVITE *$\"",
            "assign_to=\"rseq\"",
            "CSeq: 2 PRACK\n",
            "regexp=\"^ *2 PRACK *$\"",
            "CSeq: 1 ACK\n",
            "To:[$remote]\n",
        ] {
            assert!(xml.contains(wanted), "{wanted}\n{xml}");
        }
        assert_eq!(xml.matches("Content-Type:").count(), 1);
    }

    #[test]
    fn a_callee_names_its_dialog_once() {
        let xml = Script::callee("x")
            .gets("INVITE", &[lacks("X-Secret:", ".")])
            .answers(200, "INVITE", &[], &sdp(1, "sendrecv"))
            .gets("ACK", &[])
            .gets("INVITE", &[has(BODY, "a=\"<&")])
            .answers(200, "INVITE", &[], NO_BODY)
            .xml();
        assert_eq!(xml.matches("To:[$to];tag=[pid]s[call_number]\n").count(), 1, "{xml}");
        assert_eq!(xml.matches("To:[$to]\n").count(), 1);
        assert!(xml.contains("check_it_inverse=\"true\"") && xml.contains("a=&quot;&lt;&amp;"));
    }
}
