//! SIP messages out of a stream: the same however the network cuts it up.
//!
//! The first byte is the length of the pieces, less one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tandem::{
    base::limits::SIP_MESSAGE_BYTES,
    sip::message::{Framer, FramerError, StreamItem},
};

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, data) = input;
    let pieces = data.chunks(1 + usize::from(piece));
    assert_eq!(frame(std::iter::once(data)), frame(pieces));
});

/// Every item, and how the stream was lost and is answered if it was.
fn frame<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<StreamItem>, Option<FramerError>) {
    let (mut framer, mut items) = (Framer::new(), Vec::new());
    for piece in pieces {
        framer.push(piece);
        loop {
            match framer.next() {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(error) => {
                    // Once lost it stays lost, and holds nothing.
                    framer.push(b"OPTIONS sip:a@b SIP/2.0\r\n");
                    assert_eq!(framer.next(), Err(error.clone()));
                    assert_eq!(framer.buffered(), 0);
                    return (items, Some(error));
                }
            }
        }
        assert!(framer.buffered() <= SIP_MESSAGE_BYTES + piece.len());
    }
    (items, None)
}
