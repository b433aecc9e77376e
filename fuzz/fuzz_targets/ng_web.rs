//! HTTP requests and WebSocket frames that carry the ng protocol: the same answers wherever the stream is cut. The first byte
//! says where, and whether the connection is upgraded already.

#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use tandem::slow::ng::web::{Dress, Step, Web};

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: ng.rtpengine.com\r\n\r\n";

fn answers(pieces: &[&[u8]]) -> String {
    let (mut web, mut incoming, mut outgoing) = (Web::default(), BytesMut::new(), Vec::new());
    let mut answer = |bytes: &Bytes, dress: Dress| Some(Bytes::from(format!("{dress:?} {}", bytes.len())));
    'connection: for piece in pieces {
        incoming.extend_from_slice(piece);
        loop {
            match web.step(&mut incoming, &mut outgoing, &mut answer) {
                Step::Again => {}
                Step::Wait => break,
                Step::Close => break 'connection,
            }
        }
    }
    outgoing.escape_ascii().to_string().replace("HTTP/1.1 100 Continue\\r\\n\\r\\n", "")
}

fuzz_target!(|data: &[u8]| {
    let Some((first, data)) = data.split_first() else { return };
    let before = if first & 1 == 1 { UPGRADE } else { &[] };
    let cut = usize::from(first >> 1) * data.len() / 128;
    assert_eq!(answers(&[before, data]), answers(&[before, &data[..cut], &data[cut..]]));
});
