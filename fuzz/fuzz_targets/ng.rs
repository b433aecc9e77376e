//! Messages of the ng protocol: what was read is written and read again, and a stream is cut where a message ends.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tandem::ng::{
    bencode,
    message::{self, Message},
    value::Value,
};

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    let length = message::length(&bytes);
    let Some(read) = Message::parse(&bytes) else { return };
    let Ok(body) = &read.body else { return };
    // A datagram that was read whole is a message of a stream, too; blanks behind an object are not part of it.
    assert!(length.ok().flatten().is_some_and(|length| length <= bytes.len()));
    let mut written = Vec::new();
    bencode::write_dictionary(body, &mut written);
    assert_eq!(bencode::read(&written.into()), Ok(Value::Dictionary(body.clone())));
    assert!(read.reply(body).starts_with(&read.cookie));
});
