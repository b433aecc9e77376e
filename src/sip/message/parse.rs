//! From bytes to a `Message`, strictly: what is ambiguous is refused, what is merely unusual is made usual. Runs on the
//! slow path; pure.
//!
//! Always holds: the input is walked a constant number of times, without recursion; every bound is in `base::limits`;
//! no input panics.

use std::borrow::Cow;

use bytes::Bytes;

use super::{
    Message, Start,
    address::NameAddr,
    header::{HeaderName, Headers},
    malformed::{Field, Malformed, MalformedKind},
    method::{CSeq, Method},
    reply,
    scan::{Syntax, is_space, is_token},
    uri::{Scheme, Uri},
    via::{BRANCH_COOKIE, Via},
};
use crate::base::limits::{SIP_HEADER_BYTES, SIP_HEADERS, SIP_LIST_ENTRIES, SIP_MESSAGE_BYTES};

impl Message {
    /// A datagram that holds one message (RFC 3261 §18.3: what follows Content-Length is discarded, an absent
    /// Content-Length means to the end).
    pub fn parse(datagram: &[u8]) -> Result<Message, Malformed> {
        let bytes = skip_line_breaks(datagram);
        if bytes.is_empty() {
            return Err(Malformed { kind: MalformedKind::Empty, reply: None });
        }
        let (head, rest) = match find_head_end(bytes, 0) {
            Some(end) => bytes.split_at(end),
            None => (bytes, &[][..]),
        };
        let draft = Draft::read(head);
        draft.finish(rest, bytes.len())
    }
}

/// RFC 3261 §7.5: line breaks before a start line are ignored.
pub(super) fn skip_line_breaks(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(bytes.len());
    bytes.get(start..).unwrap_or(&[])
}

/// Where the body starts: just after the first empty line. `from`: where to start looking.
pub(super) fn find_head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let tail = bytes.get(from..)?;
    tail.windows(4).position(|w| w == b"\r\n\r\n").map(|at| from + at + 4)
}

/// What was read of a message's head, with the first thing that is wrong with it. Reading goes on past an error as far
/// as is needed to answer it.
pub(super) struct Draft {
    start_line: String,
    headers: Headers,
    content_length: Option<usize>,
    /// The first thing that is wrong.
    error: Option<MalformedKind>,
    /// The first thing that makes the length of the body doubtful.
    framing: Option<MalformedKind>,
}

impl Draft {
    /// `head`: start line and headers with the empty line, or all there is.
    pub(super) fn read(head: &[u8]) -> Draft {
        let mut draft = Draft {
            start_line: String::new(),
            headers: Headers::new(),
            content_length: None,
            error: None,
            framing: None,
        };
        let lines = match head.strip_suffix(b"\r\n\r\n") {
            Some(lines) => lines,
            None => {
                draft.fail(MalformedKind::HeadersDoNotEnd);
                head
            }
        };
        if lines.len() > SIP_MESSAGE_BYTES {
            draft.fail(MalformedKind::TooLong);
        }
        let mut lines = Lines { rest: lines };
        if let Some(line) = lines.next() {
            match std::str::from_utf8(line) {
                Ok(text) => draft.start_line = text.to_owned(),
                // A reason phrase of another character set; a request line fails on its own.
                Err(_) => draft.start_line = latin1(line),
            }
            if line.iter().any(|b| matches!(b, b'\r' | b'\n')) {
                draft.fail(MalformedKind::BadStartLine);
            }
        }
        for line in lines {
            draft.read_line(line);
        }
        draft
    }

    fn fail(&mut self, kind: MalformedKind) {
        self.error.get_or_insert(kind);
    }

    /// For what makes the length of the body doubtful.
    fn fail_framing(&mut self, kind: MalformedKind) {
        self.framing.get_or_insert(kind);
        self.fail(kind);
    }

    /// One header line, possibly folded.
    fn read_line(&mut self, line: &[u8]) {
        let Some(line) = unfold(line) else { return self.fail_framing(MalformedKind::BareLineBreak) };
        let Some(colon) = line.iter().position(|&b| b == b':') else { return };
        let (name, value) = line.split_at(colon);
        // RFC 3261 §25.1: HCOLON allows space before the colon. §8.2.2: a malformed header field that nobody needs is
        // ignored; that holds for one whose name is no token.
        let Ok(name) = std::str::from_utf8(name) else { return };
        let name = name.trim_end_matches([' ', '\t']);
        if !is_token(name) {
            return;
        }
        let value = value.get(1..).unwrap_or(&[]);
        // Values are UTF-8 (RFC 3261 §7.3.1); what is not was written in an 8-bit set and is read as one.
        let value = std::str::from_utf8(value).map(Cow::Borrowed).unwrap_or_else(|_| latin1(value).into());
        let value = value.trim_matches([' ', '\t']);
        self.add(HeaderName::from(name), value);
    }

    fn add(&mut self, name: HeaderName, value: &str) {
        if name == HeaderName::ContentLength {
            return self.add_content_length(value);
        }
        if name.as_str().len() > SIP_HEADER_BYTES || value.len() > SIP_HEADER_BYTES {
            return self.fail(MalformedKind::HeaderTooLong);
        }
        if let Some(field) = single(&name)
            && let Some(before) = self.headers.get(&name)
        {
            // RFC 4475 §3.3.8: several values where one may be. The same said again is dropped.
            if before != value {
                self.fail(MalformedKind::Conflicting(field));
            }
            return;
        }
        // RFC 4475 §3.1.2.12: a date that is not in GMT is not to be interpreted; without one the message is as good.
        if name == HeaderName::Date && !value.ends_with(" GMT") {
            return;
        }
        if self.headers.len() >= SIP_HEADERS {
            return self.fail(MalformedKind::TooManyHeaders);
        }
        self.headers.push(name, value);
    }

    fn add_content_length(&mut self, value: &str) {
        // RFC 4475 §3.1.2.3: negative, RFC 4475 §3.3.9: several.
        let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
        let length = value.parse::<usize>().ok().filter(|_| digits);
        match (length, self.content_length) {
            (None, _) => self.fail_framing(MalformedKind::Bad(Field::ContentLength)),
            (Some(new), Some(old)) if new != old => self.fail_framing(MalformedKind::Conflicting(Field::ContentLength)),
            (Some(new), _) => self.content_length = Some(new),
        }
    }

    /// What a stream must know to find the end of the message.
    pub(super) fn body_length(&self) -> Result<usize, MalformedKind> {
        match self.framing {
            Some(kind) => Err(kind),
            // RFC 3261 §18.3: on a stream Content-Length must be there.
            None => self.content_length.ok_or(MalformedKind::Missing(Field::ContentLength)),
        }
    }

    /// With the bytes that follow the head; `total`: bytes of the whole.
    pub(super) fn finish(mut self, rest: &[u8], total: usize) -> Result<Message, Malformed> {
        if total > SIP_MESSAGE_BYTES {
            self.fail(MalformedKind::TooLong);
        }
        let length = self.content_length.unwrap_or(rest.len());
        if length > rest.len() {
            self.fail(MalformedKind::BodyShort);
        }
        let start = self.read_start();
        self.check_headers();
        match (start, self.error) {
            (Ok(start), None) => {
                self.check_cseq(&start);
                if let Some(kind) = self.error {
                    return Err(self.refuse(kind));
                }
                let body = Bytes::copy_from_slice(rest.get(..length).unwrap_or(rest));
                Ok(Message { start, headers: self.headers, body })
            }
            // The version comes first: another version's grammar is not ours to judge.
            (Err(kind @ MalformedKind::UnsupportedVersion), _) | (_, Some(kind)) | (Err(kind), None) => {
                Err(self.refuse(kind))
            }
        }
    }

    pub(super) fn refuse(&self, kind: MalformedKind) -> Malformed {
        Malformed { kind, reply: reply::to_malformed(&self.start_line, &self.headers, kind).map(Box::new) }
    }

    fn read_start(&self) -> Result<Start, MalformedKind> {
        const BAD: MalformedKind = MalformedKind::BadStartLine;
        let line = self.start_line.as_str();
        let (first, rest) = line.split_once(' ').ok_or(BAD)?;
        if first.get(..4).is_some_and(|s| s.eq_ignore_ascii_case("SIP/")) {
            check_version(first)?;
            let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
            let digits = status.len() == 3 && status.bytes().all(|b| b.is_ascii_digit());
            let status = status.parse().ok().filter(|s| digits && (100..700).contains(s)).ok_or(BAD)?;
            return Ok(Start::Response { status, reason: reason.to_owned() });
        }
        let method = Method::parse(first).map_err(|_| BAD)?;
        let (uri, version) = rest.rsplit_once(' ').ok_or(BAD)?;
        check_version(version)?;
        // RFC 4475 §3.1.2.8 and §3.1.2.9: single spaces, none within the URI. §3.1.2.7: no brackets around it.
        if uri.is_empty() || uri.bytes().any(is_space) {
            return Err(BAD);
        }
        let uri = Uri::parse(uri).map_err(|_| MalformedKind::BadRequestUri)?;
        // RFC 3261 §19.1.1: no headers in a Request-URI.
        if uri.headers.is_some() {
            return Err(MalformedKind::BadRequestUri);
        }
        // RFC 3261 §8.2.2.1.
        if matches!(uri.scheme, Scheme::Other(_)) {
            return Err(MalformedKind::UnsupportedScheme);
        }
        Ok(Start::Request { method, uri })
    }

    fn check_headers(&mut self) {
        for (field, check) in CHECKS {
            if self.error.is_some() {
                return;
            }
            if let Err(kind) = check(&self.headers, *field) {
                self.fail(kind);
            }
        }
    }

    fn check_cseq(&mut self, start: &Start) {
        let Start::Request { method, .. } = start else { return };
        let said = self.headers.get(&HeaderName::CSeq).and_then(|v| CSeq::parse(v).ok());
        // RFC 4475 §3.1.2.17.
        if said.is_none_or(|cseq| cseq.method != *method) {
            self.fail(MalformedKind::MethodMismatch);
        }
    }
}

fn check_version(text: &str) -> Result<(), MalformedKind> {
    let (name, version) = text.split_once('/').ok_or(MalformedKind::BadStartLine)?;
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    match version.split_once('.') {
        _ if !name.eq_ignore_ascii_case("SIP") => Err(MalformedKind::BadStartLine),
        Some(("2", "0")) => Ok(()),
        Some((major, minor)) if digits(major) && digits(minor) => Err(MalformedKind::UnsupportedVersion),
        _ => Err(MalformedKind::BadStartLine),
    }
}

/// Header fields that occur once, and matter to us.
fn single(name: &HeaderName) -> Option<Field> {
    match name {
        HeaderName::From => Some(Field::From),
        HeaderName::To => Some(Field::To),
        HeaderName::CallId => Some(Field::CallId),
        HeaderName::CSeq => Some(Field::CSeq),
        HeaderName::MaxForwards => Some(Field::MaxForwards),
        HeaderName::ContentType => Some(Field::ContentType),
        _ => None,
    }
}

type Check = fn(&Headers, Field) -> Result<(), MalformedKind>;

const CHECKS: &[(Field, Check)] = &[
    (Field::Via, check_via),
    (Field::From, |h, f| check_one(h, f, &HeaderName::From, |v| NameAddr::parse(v).map(drop))),
    (Field::To, |h, f| check_one(h, f, &HeaderName::To, |v| NameAddr::parse(v).map(drop))),
    (Field::CallId, |h, f| check_one(h, f, &HeaderName::CallId, check_call_id)),
    (Field::CSeq, |h, f| check_one(h, f, &HeaderName::CSeq, |v| CSeq::parse(v).map(drop))),
    (Field::MaxForwards, check_max_forwards),
    (Field::Contact, |h, f| check_list(h, f, &HeaderName::Contact)),
    (Field::Route, |h, f| check_list(h, f, &HeaderName::Route)),
    (Field::RecordRoute, |h, f| check_list(h, f, &HeaderName::RecordRoute)),
];

fn check_one(
    headers: &Headers,
    field: Field,
    name: &HeaderName,
    check: fn(&str) -> Result<(), Syntax>,
) -> Result<(), MalformedKind> {
    let value = headers.get(name).ok_or(MalformedKind::Missing(field))?;
    check(value).map_err(|_| MalformedKind::Bad(field))
}

fn check_list(headers: &Headers, field: Field, name: &HeaderName) -> Result<(), MalformedKind> {
    let mut entries = 0;
    for value in headers.all(name) {
        if field == Field::Contact && value == "*" {
            continue;
        }
        entries += NameAddr::parse_list(value).map_err(|_| MalformedKind::Bad(field))?.len();
    }
    if entries > SIP_LIST_ENTRIES { Err(MalformedKind::Bad(field)) } else { Ok(()) }
}

fn check_via(headers: &Headers, field: Field) -> Result<(), MalformedKind> {
    const BAD: MalformedKind = MalformedKind::Bad(Field::Via);
    let mut entries = Vec::new();
    for value in headers.all(&HeaderName::Via) {
        let (list, all_2_0) = Via::parse_list_of_versions(value).map_err(|_| BAD)?;
        entries.extend(list);
        if entries.len() > SIP_LIST_ENTRIES || !all_2_0 {
            return Err(BAD);
        }
    }
    let top = entries.first().ok_or(MalformedKind::Missing(field))?;
    // RFC 4475 §3.2.1: the cookie promises an identifier; with none behind it there is nothing to match.
    if top.branch() == Some(BRANCH_COOKIE) { Err(BAD) } else { Ok(()) }
}

/// RFC 3261 §25.1: word [ "@" word ]; what separates nothing here is let through.
fn check_call_id(value: &str) -> Result<(), Syntax> {
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic()) { Ok(()) } else { Err(Syntax("Call-ID")) }
}

/// RFC 3261 §20.22: 0 to 255. Absent is as RFC 2543 had it.
fn check_max_forwards(headers: &Headers, field: Field) -> Result<(), MalformedKind> {
    match headers.get(&HeaderName::MaxForwards) {
        None => Ok(()),
        Some(value) if value.bytes().all(|b| b.is_ascii_digit()) && value.parse::<u8>().is_ok() => Ok(()),
        Some(_) => Err(MalformedKind::Bad(field)),
    }
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&b| char::from(b)).collect()
}

/// Splits at CRLF that no space follows; folded lines come as one.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let mut from = 0;
        loop {
            let found = self.rest.get(from..).and_then(|tail| tail.windows(2).position(|w| w == b"\r\n"));
            let Some(end) = found.map(|at| from + at) else { return Some(std::mem::take(&mut self.rest)) };
            let (line, tail) = (self.rest.get(..end)?, self.rest.get(end + 2..)?);
            if tail.first().is_none_or(|&b| !is_space(b)) {
                self.rest = tail;
                return Some(line);
            }
            from = end + 2;
        }
    }
}

/// RFC 3261 §7.3.1: a line break with the space around it is one space. None: a line break that folds nothing.
fn unfold(line: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !line.iter().any(|b| matches!(b, b'\r' | b'\n')) {
        return Some(Cow::Borrowed(line));
    }
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.iter().position(|b| matches!(b, b'\r' | b'\n')) {
        let (before, tail) = rest.split_at(at);
        out.extend_from_slice(before.trim_ascii_end());
        let folded = tail.strip_prefix(b"\r\n")?;
        rest = folded.get(folded.iter().position(|&b| !is_space(b)).unwrap_or(folded.len())..)?;
        out.push(b' ');
    }
    out.extend_from_slice(rest);
    Some(Cow::Owned(out))
}
