//! Whom a Refer-To names (RFC 3515 §2.1, RFC 3891 §4), and what a Replaces says. Slow-path thread; pure.

use super::Call;
use crate::{
    base::ids::Side,
    sip::{
        dialog::DialogKey,
        endpoint::{CallId, Cause, Core, Refusal},
        message::{HeaderName, Message, NameAddr, Scheme, Uri, unescape},
        transaction::table::ServerEntry,
    },
};

/// RFC 3891 §6.1: the dialog to be replaced, as who is asked sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaces {
    pub call_id: String,
    /// The tag of who is asked, and of its peer.
    pub to_tag: String,
    pub from_tag: String,
    pub early_only: bool,
}

impl Replaces {
    pub fn parse(text: &str) -> Option<Replaces> {
        let mut parts = text.split(';').map(str::trim);
        let call_id = parts.next().filter(|id| !id.is_empty())?.to_owned();
        let (mut to_tag, mut from_tag, mut early_only) = (None, None, false);
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let slot = match name.trim().to_ascii_lowercase().as_str() {
                "to-tag" => &mut to_tag,
                "from-tag" => &mut from_tag,
                "early-only" => {
                    early_only = true;
                    continue;
                }
                _ => continue,
            };
            // RFC 3891 §6.1: exactly one of each.
            if slot.replace(value.trim().to_owned()).is_some() {
                return None;
            }
        }
        Some(Replaces { call_id, to_tag: to_tag?, from_tag: from_tag?, early_only })
    }

    /// The only Replaces of a request; None: there is none.
    pub fn of(request: &Message) -> Option<Result<Replaces, Refusal>> {
        let mut lines = request.headers.all(&HeaderName::Replaces);
        let first = lines.next()?;
        // RFC 3891 §3: more than one, or one beside a Join (RFC 3911 §4), is a bad request.
        let alone = lines.next().is_none() && !request.headers.contains(&HeaderName::Other("Join".into()));
        let parsed = Replaces::parse(first).filter(|_| alone);
        Some(parsed.ok_or_else(|| {
            let mut refusal = Refusal::new(400, Cause::BadRequest);
            refusal.phrase = Some("Bad Replaces".into());
            refusal
        }))
    }

    pub fn write(&self) -> String {
        let early = if self.early_only { ";early-only" } else { "" };
        format!("{};to-tag={};from-tag={}{early}", self.call_id, self.to_tag, self.from_tag)
    }
}

/// A leg of tandem's own that a Replaces names.
#[derive(Clone, Debug)]
pub struct Named {
    pub of: CallId,
    side: Side,
    /// The Replaces is written for the peer of that leg, not for tandem: what it asks to replace is the other leg.
    theirs: bool,
    pub replaces: Replaces,
}

impl Named {
    pub fn find(core: &Core, replaces: Replaces) -> Option<Named> {
        let [ours, theirs] = [&replaces.to_tag, &replaces.from_tag].map(|tag| {
            let key = DialogKey { call_id: replaces.call_id.clone(), local_tag: tag.clone() };
            core.live.dialogs.get(&key).copied()
        });
        let (of, side) = ours.or(theirs)?;
        Some(Named { of, side, theirs: ours.is_none(), replaces })
    }

    /// RFC 3891 §3: both tags must be those of the dialog.
    pub fn is_of(&self, call: &Call) -> bool {
        let tag = if self.theirs { &self.replaces.to_tag } else { &self.replaces.from_tag };
        let leg = call.leg(self.side).filter(|_| call.id == self.of);
        leg.is_some_and(|leg| leg.dialog.remote_tag() == Some(tag))
    }

    /// The side whose leg is to give way.
    pub fn replaced(&self) -> Side {
        if self.theirs { self.side.other() } else { self.side }
    }
}

/// The leg that the Refer-To of a REFER names, if it is one of tandem's.
pub fn named(core: &Core, entry: &ServerEntry<Option<(CallId, Side)>>) -> Option<Named> {
    Named::find(core, Target::of(&entry.request).ok()?.replaces?)
}

/// A Refer-To that can be followed.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub address: NameAddr,
    /// As it stands in the URI.
    pub replaces: Option<Replaces>,
}

impl Target {
    pub fn of(refer: &Message) -> Result<Target, Refusal> {
        let refused = |status| Refusal::new(status, Cause::BadRequest);
        let mut lines = refer.headers.all(&HeaderName::ReferTo);
        // RFC 3515 §2.4.2: a REFER has exactly one.
        let (Some(line), None) = (lines.next(), lines.next()) else { return Err(refused(400)) };
        let mut address = parse(line).ok_or_else(|| refused(400))?;
        match address.uri.scheme {
            Scheme::Sip | Scheme::Tel => {}
            _ => return Err(refused(416)),
        }
        // RFC 3515 §2.1: another method than INVITE may be asked for; tandem makes calls only.
        if address.uri.params.value("method").is_some_and(|method| method != "INVITE") {
            return Err(refused(603));
        }
        let headers = address.uri.headers.take();
        let mut replaces = None;
        for header in headers.iter().flat_map(|headers| headers.split('&')) {
            let Some((name, value)) = header.split_once('=') else { continue };
            if !name.eq_ignore_ascii_case("Replaces") {
                continue;
            }
            let value = String::from_utf8(unescape(value)).map_err(|_| refused(400))?;
            let value = Replaces::parse(&value).ok_or_else(|| refused(400))?;
            if replaces.replace(value).is_some() {
                return Err(refused(400));
            }
        }
        Ok(Target { address, replaces })
    }
}

/// Some write the URI without brackets though it has header fields, which stand behind a `?`.
fn parse(line: &str) -> Option<NameAddr> {
    let bare = || Uri::parse(line.trim()).ok().map(NameAddr::new);
    NameAddr::parse(line).ok().or_else(bare)
}

/// A Replaces as a header field of a URI (RFC 3261 §19.1.1).
pub fn escape_header(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, b| {
        match b {
            b if b.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&b) => out.push(char::from(b)),
            b => out.push_str(&format!("%{b:02X}")),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_3891() {
        let read = Replaces::parse("98732@sip.example.com;from-tag=r33th4x0r;to-tag=ff87ff").unwrap();
        assert_eq!((read.call_id.as_str(), read.to_tag.as_str()), ("98732@sip.example.com", "ff87ff"));
        assert_eq!((read.from_tag.as_str(), read.early_only), ("r33th4x0r", false));
        assert!(Replaces::parse("12adf2f34456gs5;to-tag=12345;from-tag=54321;early-only").unwrap().early_only);
        let written = Replaces::parse("87134@171.161.34.23;to-tag=24796;from-tag=0").unwrap().write();
        assert_eq!(written, "87134@171.161.34.23;to-tag=24796;from-tag=0");
        for bad in ["", ";to-tag=1;from-tag=2", "x;to-tag=1", "x;from-tag=1", "x;to-tag=1;to-tag=2;from-tag=3"] {
            assert_eq!(Replaces::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_refer_to_with_replaces_and_what_is_none() {
        let refer = |to: &str| {
            let mut refer = Message::request(crate::sip::message::Method::Refer, Uri::parse("sip:a@b").unwrap());
            refer.headers.push(HeaderName::ReferTo, to);
            Target::of(&refer).map_err(|refusal| refusal.status)
        };
        // RFC 3515 §2.1's own.
        let found = refer(
            "<sip:dave@denver.example.org?Replaces=12345%40192.168.118.3%3B\
             to-tag%3D12345%3Bfrom-tag%3D5FFE-3994>",
        );
        let replaces = found.unwrap().replaces.unwrap();
        assert_eq!(replaces.call_id, "12345@192.168.118.3");
        assert_eq!((replaces.to_tag.as_str(), replaces.from_tag.as_str()), ("12345", "5FFE-3994"));
        let bare = refer("sip:conf44@example.com;isfocus").unwrap();
        assert_eq!((bare.address.uri.user.as_deref(), bare.replaces), (Some("conf44"), None));
        assert_eq!(refer("<sip:carol@cleveland.example.org;method=SUBSCRIBE>").unwrap_err(), 603);
        assert_eq!(refer("<http://www.ietf.org>").unwrap_err(), 416);
        assert_eq!(refer("nonsense").unwrap_err(), 400);
        assert_eq!(refer("<sip:a@b?Replaces=x>").unwrap_err(), 400);
        assert_eq!(escape_header("a@b;to-tag=1"), "a%40b%3Bto-tag%3D1");
    }
}
