//! An rtnetlink socket: a request and its answer, or a stream of events. Never blocks.

use std::{
    io,
    os::fd::{AsRawFd, RawFd},
};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};

/// More than the longest datagram the kernel sends on such a socket (32 KiB).
const RECEIVE_BYTES: usize = 64 * 1024;
/// Events that may wait while the slow path is busy.
const EVENTS_BYTES: usize = 1 << 20;

pub(super) struct Rtnl {
    socket: Socket,
    sequence: u32,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
}

impl Rtnl {
    /// With `groups` the socket receives their events.
    pub(super) fn open(groups: &[u32]) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        if !groups.is_empty() {
            socket.set_rx_buf_sz(EVENTS_BYTES as i32)?;
        }
        for group in groups {
            socket.add_membership(*group)?;
        }
        Ok(Rtnl { socket, sequence: 0, outgoing: Vec::new(), incoming: Vec::with_capacity(RECEIVE_BYTES) })
    }

    /// Sends a request and reads its answer: a message, or `None` for an acknowledgement. With neither NLM_F_ACK nor a
    /// request that is answered by a message, there is none and this fails.
    pub(super) fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Option<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        self.outgoing.clear();
        self.outgoing.resize(packet.buffer_len(), 0);
        packet.serialize(&mut self.outgoing);
        self.socket.send(&self.outgoing, 0)?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<Option<RouteNetlinkMessage>> {
        loop {
            self.incoming.clear();
            // The kernel answers within `send`: a socket that is empty now (WouldBlock) stays so.
            self.socket.recv(&mut self.incoming, 0)?;
            for packet in Packets(&self.incoming) {
                // An answer to an earlier request that was given up.
                if packet.header.sequence_number != self.sequence {
                    continue;
                }
                match packet.payload {
                    NetlinkPayload::InnerMessage(message) => return Ok(Some(message)),
                    NetlinkPayload::Error(e) if e.code.is_some() => return Err(e.to_io()),
                    NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(None),
                    _ => {}
                }
            }
        }
    }

    /// Passes the events of one datagram to `sink`; false if none waits. ENOBUFS: events were lost.
    pub(super) fn events(&mut self, sink: &mut dyn FnMut(RouteNetlinkMessage)) -> io::Result<bool> {
        self.incoming.clear();
        match self.socket.recv(&mut self.incoming, 0) {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(e) => return Err(e),
        }
        for packet in Packets(&self.incoming) {
            if let NetlinkPayload::InnerMessage(message) = packet.payload {
                sink(message);
            }
        }
        Ok(true)
    }
}

impl AsRawFd for Rtnl {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// The messages of a datagram. One that cannot be read is passed over.
struct Packets<'a>(&'a [u8]);

impl Iterator for Packets<'_> {
    type Item = NetlinkMessage<RouteNetlinkMessage>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // struct nlmsghdr: the length comes first, header included; messages are aligned to 4 bytes.
            let length = self.0.first_chunk::<4>().map(|b| u32::from_ne_bytes(*b) as usize)?;
            if length < 16 || length > self.0.len() {
                return None;
            }
            let (message, rest) = self.0.split_at(length);
            self.0 = rest.get(length.next_multiple_of(4) - length..).unwrap_or_default();
            if let Ok(packet) = NetlinkMessage::deserialize(message) {
                return Some(packet);
            }
        }
    }
}
