//! What a caller can read of our answers, by its Accept header. Slow-path thread; pure.

use crate::sip::{
    endpoint::{Cause, Refusal},
    message::{HeaderName, Message},
};

/// RFC 4475 §3.3.15: the 2xx to an INVITE carries a session description, so a caller who cannot read one gets 406.
/// RFC 3261 §20.1: without an Accept it can; an empty Accept takes nothing at all.
pub fn check(request: &Message) -> Result<(), Refusal> {
    let said = request.headers.contains(&HeaderName::Accept);
    if !said || request.tokens(&HeaderName::Accept).any(covers_sdp) {
        return Ok(());
    }
    Err(Refusal::new(406, Cause::BadRequest))
}

/// RFC 3261 §20.1: a media range, with parameters that do not matter here.
fn covers_sdp(range: &str) -> bool {
    let plain: String = range.chars().take_while(|c| *c != ';').filter(|c| !c.is_ascii_whitespace()).collect();
    ["application/sdp", "application/*", "*/*"].iter().any(|all| plain.eq_ignore_ascii_case(all))
}
