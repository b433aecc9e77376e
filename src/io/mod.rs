//! The edge where packets enter and leave. `PacketIo` is all that a worker knows of devices; `SlowIo` all that the slow
//! path knows. `dpdk` implements them on real ports, `simulated` on queues in memory with a clock that the test sets.
//!
//! A worker's call is per burst, never per packet; none of them blocks.

#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod error;
pub mod exception;
pub mod netlink;
pub mod simulated;

use arrayvec::ArrayVec;

use crate::base::{ids::PortId, limits::BURST};

pub type Burst<B> = ArrayVec<B, BURST>;

/// What the device found out about a received packet's checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checked {
    #[default]
    Unknown,
    Good,
    Bad,
}

/// A received packet. Dropping it returns its memory to the pool it came from.
pub trait PacketBuf {
    /// The first segment: everything that is parsed or changed lies here.
    fn data(&self) -> &[u8];
    fn data_mut(&mut self) -> &mut [u8];
    /// All segments together, bytes.
    fn total_len(&self) -> usize;
    /// Cuts the last `n` bytes of a single-segment packet (padding of short Ethernet frames). False if there are not
    /// as many, or if the packet has several segments.
    fn trim(&mut self, n: usize) -> bool;
    /// Adds `n` bytes in front, uninitialised in meaning; false if there is no room.
    fn grow_front(&mut self, n: usize) -> bool;
    /// Takes `n` bytes off the front; false if there are not as many.
    fn shrink_front(&mut self, n: usize) -> bool;
    /// Whether this is what the device found out about the IPv4 header's checksum.
    fn ip_is(&self, seen: Checked) -> bool;
    /// Whether this is what the device found out about the UDP checksum.
    fn udp_is(&self, seen: Checked) -> bool;
    /// Asks the device to fill in checksums on transmission. The UDP field must hold the pseudo-header's sum.
    fn request_checksums(&mut self, request: ChecksumRequest);
    /// The port it came in on, or, for an injected packet, is to leave from.
    fn port(&self) -> PortId;
    /// Hints that the packet's first bytes are about to be read.
    fn prefetch(&self) {}
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChecksumRequest {
    pub l2_len: u8,
    pub l3_len: u16,
    pub ipv6: bool,
    /// Fill in the IPv4 header checksum.
    pub ip: bool,
    /// Fill in the UDP checksum.
    pub udp: bool,
}

/// What a port can do by itself on transmission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxOffloads {
    pub ipv4_checksum: bool,
    pub udp_checksum: bool,
}

/// What a device did not take of a burst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    pub packets: usize,
    pub bytes: u64,
}

/// One worker's view of its queues: one per port.
pub trait PacketIo {
    type Buf: PacketBuf;

    fn ports(&self) -> usize;
    fn tx_offloads(&self, port: PortId) -> TxOffloads;
    fn mac(&self, port: PortId) -> [u8; 6];
    /// Appends what waits on this worker's receive queue of `port`, up to a burst.
    fn rx(&mut self, port: PortId, burst: &mut Burst<Self::Buf>);
    /// Sends all of `burst`, which is empty afterwards; what the device did not take is freed.
    fn tx(&mut self, port: PortId, burst: &mut Burst<Self::Buf>) -> Refused;
    /// Hands all of `burst`, which came in on one port, to the slow path; it is empty afterwards. Returns how many its
    /// ring did not take (they are freed): the last ones.
    fn punt(&mut self, burst: &mut Burst<Self::Buf>) -> usize;
    /// Appends packets that the slow path wants sent through this worker; `PacketBuf::port` says where.
    fn injected(&mut self, burst: &mut Burst<Self::Buf>);
    /// The time-stamp counter; read once per burst.
    fn ticks(&self) -> u64;
    /// Counts per second of `ticks`.
    fn ticks_per_second(&self) -> u64;
}

/// The slow path's view: whole frames, one at a time.
pub trait SlowIo {
    /// Passes each waiting punted frame (all segments joined) to `sink`, up to `limit`; returns how many.
    fn punted(&mut self, limit: usize, sink: &mut dyn FnMut(PortId, &[u8])) -> usize;
    /// Sends a frame out of `port`; false if there is no buffer or no room (the frame is dropped).
    fn inject(&mut self, port: PortId, frame: &[u8]) -> bool;
}
