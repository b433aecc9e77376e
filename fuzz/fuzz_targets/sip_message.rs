//! SIP messages out of datagrams: what was read is read in full, written, and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tandem::{
    base::limits::{SIP_HEADER_BYTES, SIP_MESSAGE_BYTES},
    sip::message::{HeaderName, Message},
};

fuzz_target!(|data: &[u8]| {
    match Message::parse(data) {
        Ok(message) => {
            promised_fields(&message);
            writes_and_reads_again(&message);
            if message.is_request() {
                writes_and_reads_again(&Message::response_to(&message, 404, "Not Found"));
            }
        }
        Err(malformed) => {
            if let Some(reply) = malformed.reply {
                assert!(reply.status().is_some_and(|status| (400..700).contains(&status)));
                // The reply repeats what could be read of a bad request; it must not break a parser's framing.
                let bytes = reply.write();
                let head = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("an end of the headers");
                assert_eq!(head + 4 + reply.body.len(), bytes.len());
            }
        }
    }
});

/// What `parse` promises to be there and well formed.
fn promised_fields(message: &Message) {
    assert!(message.top_via().is_ok() && !message.vias().unwrap().is_empty());
    let (from, to) = (message.from().unwrap(), message.to().unwrap());
    let _ = (from.tag(), to.tag());
    assert!(message.call_id().is_some_and(|id| !id.is_empty()));
    let cseq = message.cseq().unwrap();
    assert!(message.method().is_none_or(|method| *method == cseq.method));
    assert!(message.contacts().is_ok() && message.routes().is_ok() && message.record_routes().is_ok());
    assert!(message.uri().is_some() != message.status().is_some());
    let _ = (message.max_forwards(), message.content_is("application/sdp"));
    let _ = message.tokens(&HeaderName::Supported).count();
}

fn writes_and_reads_again(message: &Message) {
    let bytes = message.write();
    // Names are written in full: what was within the bounds in short form may be beyond them now.
    let longest = message.headers.iter().map(|(name, value)| name.as_str().len() + 2 + value.len()).max();
    if bytes.len() <= SIP_MESSAGE_BYTES && longest.is_none_or(|len| len <= SIP_HEADER_BYTES) {
        assert_eq!(Message::parse(&bytes).as_ref(), Ok(message));
    }
}
