//! Responses: to a request that was understood (RFC 3261 §8.2.6) and to one that was not.

use super::{
    Message, Start,
    address::NameAddr,
    header::{HeaderName, Headers},
    malformed::MalformedKind,
    method::Method,
    reason::reason_phrase,
    via::Via,
};

impl Message {
    /// Vias, From, To, Call-ID and CSeq are the request's; Timestamp too where the status is 100. The To tag is for the
    /// caller to set. An empty `reason` stands for the usual phrase.
    pub fn response_to(request: &Message, status: u16, reason: &str) -> Message {
        let mut headers = Headers::new();
        for name in [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq] {
            for value in request.headers.all(&name) {
                headers.push(name.clone(), value);
            }
        }
        if let (100, Some(value)) = (status, request.headers.get(&HeaderName::Timestamp)) {
            headers.push(HeaderName::Timestamp, value);
        }
        Message::response(status, reason, headers)
    }

    pub(super) fn response(status: u16, reason: &str, headers: Headers) -> Message {
        let reason = if reason.is_empty() { reason_phrase(status) } else { reason };
        Message { start: Start::Response { status, reason: reason.to_owned() }, headers, body: bytes::Bytes::new() }
    }
}

/// The stateless answer to a request that cannot be understood, from what could be read of it.
pub(super) fn to_malformed(start_line: &str, headers: &Headers, kind: MalformedKind) -> Option<Message> {
    let (method, _) = start_line.split_once(' ')?;
    // RFC 3261 §17.1.1.3: nothing answers an ACK; nor a response.
    if method == "ACK" || method.get(..4).is_some_and(|s| s.eq_ignore_ascii_case("SIP/")) {
        return None;
    }
    let mut out = Headers::new();
    for (at, value) in headers.all(&HeaderName::Via).enumerate() {
        match Via::parse_list(value) {
            Ok(_) => out.push(HeaderName::Via, value),
            // Where only the parameters are bad, the response still finds its way.
            Err(_) if at == 0 => out.push(HeaderName::Via, Via::parse_first_leniently(value)?.to_string()),
            Err(_) => {}
        }
    }
    if out.is_empty() {
        return None;
    }
    for name in [HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq] {
        match headers.get(&name) {
            Some(value) if name == HeaderName::To => out.push(name, with_tag(value, headers)),
            Some(value) => out.push(name, value),
            None => {}
        }
    }
    // RFC 4475 §3.1.2.18: for a method that is not known, saying so serves the future better than the CSeq's fault.
    let status = match Method::from(method) {
        Method::Other(_) if kind == MalformedKind::MethodMismatch => 501,
        _ => kind.status(),
    };
    Some(Message::response(status, "", out))
}

/// RFC 3261 §8.2.7: without state, the same request must get the same To tag; so it is made of the request.
fn with_tag(to: &str, headers: &Headers) -> String {
    let Ok(mut address) = NameAddr::parse(to) else { return to.to_owned() };
    if address.tag().is_some() {
        return to.to_owned();
    }
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for name in [HeaderName::Via, HeaderName::From, HeaderName::CallId, HeaderName::CSeq] {
        for b in headers.get(&name).unwrap_or("").bytes() {
            hash = (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    address.set_tag(&format!("{hash:016x}"));
    address.to_string()
}
