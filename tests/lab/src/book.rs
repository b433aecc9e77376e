//! What one interface saw, kept in order: SIP messages, RTP streams, ICMP errors, and the raw frames for a person.
//!
//! Filled by a tap's thread, read by the test under the same lock.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::mpsc::Sender,
    time::Duration,
};

use crate::{
    frame::{self, Content, Rtp},
    sip::{Agreed, Dialogs, Message},
    sys::Stamp,
    topology::is_scanner,
};

/// A stream in one direction, as it passed the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamKey {
    pub outgoing: bool,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub ssrc: u32,
}

#[derive(Clone, Copy, Debug)]
pub struct Packet {
    pub at: Duration,
    pub sequence: u16,
    pub timestamp: u32,
    pub pt: u8,
    pub marker: bool,
    start: usize,
    len: usize,
}

#[derive(Default)]
pub struct Stream {
    pub packets: Vec<Packet>,
    bytes: Vec<u8>,
}

impl Stream {
    pub fn payload(&self, packet: &Packet) -> &[u8] {
        &self.bytes[packet.start..packet.start + packet.len]
    }

    fn push(&mut self, at: Duration, rtp: &Rtp<'_>) {
        self.packets.push(Packet {
            at,
            sequence: rtp.sequence,
            timestamp: rtp.timestamp,
            pt: rtp.pt,
            marker: rtp.marker,
            start: self.bytes.len(),
            len: rtp.payload.len(),
        });
        self.bytes.extend_from_slice(rtp.payload);
    }
}

/// An ICMP destination unreachable that passed the interface.
#[derive(Clone, Debug)]
pub struct Unreachable {
    pub outgoing: bool,
    /// Destination of the datagram it complains about, if that was UDP.
    pub about: Option<SocketAddr>,
}

/// How much is kept raw, for a capture file if the test fails.
const RAW_BYTES: usize = 64 << 20;

#[derive(Default)]
pub struct Book {
    pub messages: Vec<Message>,
    pub dialogs: Dialogs,
    pub streams: BTreeMap<StreamKey, Stream>,
    pub unreachable: Vec<Unreachable>,
    pub frames: u64,
    rtp_arrived: u64,
    /// Frames that arrived with a checksum that does not hold.
    pub wrong_checksums: u64,
    /// RTP packets that arrived, by code point.
    pub dscp: BTreeMap<u8, u64>,
    /// Frames from and to this address are counted only: an attacker's own floods.
    ignored_source: Option<IpAddr>,
    pub ignored: u64,
    /// Gets every completed offer and answer.
    listener: Option<Sender<Agreed>>,
    fragments: BTreeMap<(IpAddr, IpAddr, u16), Vec<u8>>,
    /// Fragmented datagrams put together.
    pub reassembled: u64,
    pub raw: Vec<(Duration, Vec<u8>)>,
    raw_bytes: usize,
}

impl Book {
    /// An empty book that tells `listener` of every completed offer and answer.
    pub fn telling(listener: Sender<Agreed>, ignored_source: Option<IpAddr>) -> Self {
        Book { listener: Some(listener), ignored_source, ..Book::default() }
    }

    pub fn note(&mut self, stamp: Stamp, bytes: &[u8]) {
        self.frames += 1;
        let content = frame::read(bytes);
        let ignored = |ip: IpAddr| Some(ip) == self.ignored_source || is_scanner(ip);
        if let Content::Udp { from, to, .. } = &content
            && (ignored(from.ip()) || ignored(to.ip()))
        {
            self.ignored += 1;
            return;
        }
        if !stamp.outgoing && !frame::checksums_hold(bytes) {
            self.wrong_checksums += 1;
        }
        if self.raw_bytes < RAW_BYTES {
            self.raw_bytes += bytes.len();
            self.raw.push((stamp.at, bytes.to_vec()));
        }
        let before = self.rtp_arrived;
        self.note_content(stamp, content);
        if let Some(code_point) = frame::dscp(bytes).filter(|_| self.rtp_arrived > before) {
            *self.dscp.entry(code_point).or_default() += 1;
        }
    }

    fn note_content(&mut self, stamp: Stamp, content: Content<'_>) {
        match content {
            Content::Udp { from, to, payload } => {
                if is_sip(payload) {
                    self.note_sip(stamp, from, payload);
                } else if let Some(rtp) = Rtp::read(payload) {
                    self.rtp_arrived += u64::from(!stamp.outgoing);
                    let key = StreamKey { outgoing: stamp.outgoing, from, to, ssrc: rtp.ssrc };
                    self.streams.entry(key).or_default().push(stamp.at, &rtp);
                }
            }
            Content::Tcp { from, payload, .. } if is_sip(payload) => self.note_sip(stamp, from, payload),
            Content::Icmp { from, to: _, kind, code: _, body } if frame::is_unreachable(from, kind) => {
                let about = frame::quoted_udp_destination(body);
                self.unreachable.push(Unreachable { outgoing: stamp.outgoing, about });
            }
            Content::Fragment { from, to, id, offset, more, protocol, body } => {
                self.note_fragment(stamp, (from, to, id), (offset, more, protocol), body);
            }
            _ => {}
        }
    }

    /// Joins fragments that arrive in order, which on a cable they do.
    fn note_fragment(&mut self, stamp: Stamp, key: (IpAddr, IpAddr, u16), at: (usize, bool, u8), body: &[u8]) {
        let (offset, more, protocol) = at;
        let whole = self.fragments.entry(key).or_default();
        if offset != whole.len() {
            return;
        }
        whole.extend_from_slice(body);
        if more {
            return;
        }
        let Some(whole) = self.fragments.remove(&key) else { return };
        self.reassembled += 1;
        if let Some(content) = frame::read_transport(key.0, key.1, protocol, &whole) {
            self.note_content(stamp, content);
        }
    }

    fn note_sip(&mut self, stamp: Stamp, from: SocketAddr, payload: &[u8]) {
        let text = String::from_utf8_lossy(payload).into_owned();
        let message = Message { at: stamp.at, outgoing: stamp.outgoing, from, text };
        if let (Some(agreed), Some(listener)) = (self.dialogs.note(&message), &self.listener) {
            let _ = listener.send(agreed);
        }
        self.messages.push(message);
    }

    /// All packets in one direction between this phone's port and another's, in the order seen.
    pub fn of_port(&self, outgoing: bool, phone: SocketAddr) -> Vec<(&Stream, &Packet)> {
        self.packets(|key| key.outgoing == outgoing && (if outgoing { key.from } else { key.to }) == phone)
    }

    /// All packets of the streams that are wanted, in the order seen.
    pub fn packets(&self, wanted: impl Fn(&StreamKey) -> bool) -> Vec<(&Stream, &Packet)> {
        let mut all: Vec<_> = self
            .streams
            .iter()
            .filter(|(key, _)| wanted(key))
            .flat_map(|(_, stream)| stream.packets.iter().map(move |packet| (stream, packet)))
            .collect();
        all.sort_by_key(|(_, packet)| packet.at);
        all
    }

    pub fn rtp_packets(&self, outgoing: bool) -> u64 {
        self.streams.iter().filter(|(key, _)| key.outgoing == outgoing).map(|(_, s)| s.packets.len() as u64).sum()
    }

    /// The first message that matches.
    pub fn message(&self, found: impl Fn(&Message) -> bool) -> Option<&Message> {
        self.messages.iter().find(|message| found(message))
    }

    pub fn count(&self, found: impl Fn(&Message) -> bool) -> usize {
        self.messages.iter().filter(|message| found(message)).count()
    }
}

fn is_sip(payload: &[u8]) -> bool {
    let Some(end) = payload.iter().position(|byte| *byte == b'\n') else { return false };
    let line = &payload[..end];
    line.starts_with(b"SIP/2.0 ") || line.ends_with(b" SIP/2.0\r")
}
