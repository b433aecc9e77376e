//! Judging what a far end heard against what was said to it. Pure.

use std::{collections::HashMap, fmt, ops::AddAssign};

use crate::{
    book::{Packet, Stream},
    law::{Law, Tables},
};

/// What the two phones speak, and what becomes of payload types other than their law's.
pub struct Expect<'a> {
    pub tables: &'a Tables,
    pub from: Law,
    pub to: Law,
    /// Payload type of telephone-event (RFC 4733) at the one and at the other.
    pub event: Option<(u8, u8)>,
}

impl Expect<'_> {
    fn of(&self, pt: u8, payload: &[u8]) -> Option<(u8, Vec<u8>)> {
        if pt == self.from.payload_type() {
            return Some((self.to.payload_type(), self.tables.convert(self.from, self.to, payload)));
        }
        self.event.filter(|(from, _)| *from == pt).map(|(_, to)| (to, payload.to_vec()))
    }
}

/// Frames and bytes of one direction, of one call or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Left the sender's interface.
    pub sent: u64,
    /// Of these, arrived at the receiver's interface.
    pub received: u64,
    /// Arrived more than once, or was never sent.
    pub surplus: u64,
    /// Arrived after one that was sent later.
    pub reordered: u64,
    /// Payload bytes that arrived, and those that are not what the conversion tables say.
    pub bytes: u64,
    pub differing_bytes: u64,
    /// Frames whose payload type, marker or length is not what it must be.
    pub differing_headers: u64,
}

impl Heard {
    pub fn lost(&self) -> u64 {
        self.sent - self.received
    }

    /// Everything that was said arrived once, in order, and right.
    pub fn is_perfect(&self) -> bool {
        self.sent > 0
            && self.lost() == 0
            && self.surplus == 0
            && self.reordered == 0
            && self.differing_bytes == 0
            && self.differing_headers == 0
    }
}

impl AddAssign for Heard {
    fn add_assign(&mut self, other: Heard) {
        self.sent += other.sent;
        self.received += other.received;
        self.surplus += other.surplus;
        self.reordered += other.reordered;
        self.bytes += other.bytes;
        self.differing_bytes += other.differing_bytes;
        self.differing_headers += other.differing_headers;
    }
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sent {}, received {}, lost {}, payload bytes {}, differing {}",
            self.sent,
            self.received,
            self.lost(),
            self.bytes,
            self.differing_bytes
        )?;
        for (count, what) in
            [(self.surplus, "surplus"), (self.reordered, "reordered"), (self.differing_headers, "wrong in the header")]
        {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

/// Both lists in the order they passed their interface. Frames are matched by sequence number and timestamp, in order
/// where these repeat.
pub fn judge(sent: &[(&Stream, &Packet)], arrived: &[(&Stream, &Packet)], expect: &Expect<'_>) -> Heard {
    let mut heard = Heard { sent: sent.len() as u64, ..Heard::default() };
    let mut waiting: HashMap<(u16, u32), Vec<usize>> = HashMap::new();
    for (index, (_, packet)) in sent.iter().enumerate().rev() {
        waiting.entry((packet.sequence, packet.timestamp)).or_default().push(index);
    }
    let mut furthest = 0;
    for (stream, packet) in arrived {
        let Some(index) = waiting.get_mut(&(packet.sequence, packet.timestamp)).and_then(Vec::pop) else {
            heard.surplus += 1;
            continue;
        };
        heard.received += 1;
        if index < furthest {
            heard.reordered += 1;
        }
        furthest = furthest.max(index);
        let (said_in, said) = sent[index];
        judge_packet(&mut heard, (said, said_in.payload(said)), (packet, stream.payload(packet)), expect);
    }
    heard
}

fn judge_packet(heard: &mut Heard, said: (&Packet, &[u8]), got: (&Packet, &[u8]), expect: &Expect<'_>) {
    heard.bytes += got.1.len() as u64;
    let Some((pt, payload)) = expect.of(said.0.pt, said.1) else {
        heard.differing_headers += 1;
        return;
    };
    if got.0.pt != pt || got.0.marker != said.0.marker || got.1.len() != payload.len() {
        heard.differing_headers += 1;
    }
    heard.differing_bytes += payload.iter().zip(got.1).filter(|(want, have)| want != have).count() as u64;
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use super::*;
    use crate::{book::Book, frame::Rtp, sys::Stamp};

    /// An Ethernet frame with an RTP packet between two fixed ports.
    fn frame(pt: u8, sequence: u16, payload: &[u8]) -> Vec<u8> {
        let rtp = Rtp { pt, marker: false, sequence, timestamp: u32::from(sequence) * 160, ssrc: 7, payload }.write();
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0]);
        frame.extend((28 + rtp.len() as u16).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 198, 18, 1, 20, 198, 18, 1, 10]);
        frame.extend(30_000u16.to_be_bytes());
        frame.extend(20_000u16.to_be_bytes());
        frame.extend((8 + rtp.len() as u16).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(rtp);
        frame
    }

    fn book(outgoing: bool, frames: &[Vec<u8>]) -> Book {
        let mut book = Book::default();
        for (i, frame) in frames.iter().enumerate() {
            book.note(Stamp { at: Duration::from_millis(i as u64), outgoing }, frame);
        }
        book
    }

    fn heard(sent: &[Vec<u8>], arrived: &[Vec<u8>]) -> Heard {
        let tables = Tables::load().expect("libspandsp");
        let expect = Expect { tables: &tables, from: Law::Mu, to: Law::A, event: Some((101, 96)) };
        let (near, far) = (book(true, sent), book(true, arrived));
        let phone = SocketAddr::from(([198, 18, 1, 20], 30_000));
        judge(&near.of_port(true, phone), &far.of_port(true, phone), &expect)
    }

    #[test]
    fn a_converted_stream_and_its_events_are_perfect() {
        let heard = heard(
            &[frame(0, 1, &[0xff, 0x80]), frame(101, 2, &[1, 10, 0, 160])],
            &[frame(8, 1, &[0xd5, 0xaa]), frame(96, 2, &[1, 10, 0, 160])],
        );
        assert!(heard.is_perfect(), "{heard}");
    }

    #[test]
    fn each_fault_is_seen() {
        let sent = [frame(0, 1, &[0xff, 0x80]), frame(0, 2, &[0xff, 0xff])];
        let good = [frame(8, 1, &[0xd5, 0xaa]), frame(8, 2, &[0xd5, 0xd5])];
        assert!(heard(&sent, &good).is_perfect());
        assert_eq!(heard(&sent, &good[..1]).lost(), 1);
        assert_eq!(heard(&sent, &[good[1].clone(), good[0].clone()]).reordered, 1);
        assert_eq!(heard(&sent, &[good.to_vec(), good[1..].to_vec()].concat()).surplus, 1);
        assert_eq!(heard(&sent, &sent).differing_headers, 2);
        assert_eq!(heard(&sent, &[frame(8, 1, &[0xd5, 0xab]), good[1].clone()]).differing_bytes, 1);
        assert!(!heard(&[], &[]).is_perfect(), "silence proves nothing");
    }
}
