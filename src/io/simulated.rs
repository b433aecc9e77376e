//! Ports that are queues in memory, with a clock that the test sets. For tests of the worker and of the appliance
//! without a device; everything is single-threaded and deterministic.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use super::{Burst, Checked, ChecksumRequest, PacketBuf, PacketIo, Refused, TxOffloads};
use crate::base::{ids::PortId, limits::BURST};

/// Room in front of a received frame, as in DPDK's mbufs.
const HEADROOM: usize = 128;

/// A frame with headroom.
#[derive(Clone, Debug)]
pub struct Frame {
    bytes: Vec<u8>,
    start: usize,
    port: PortId,
    pub checks: (Checked, Checked),
    pub request: Option<ChecksumRequest>,
    /// Bytes that lie in later segments, out of reach.
    pub beyond: usize,
}

impl Frame {
    pub fn new(port: PortId, data: &[u8]) -> Self {
        let mut bytes = vec![0; HEADROOM];
        bytes.extend_from_slice(data);
        Frame { bytes, start: HEADROOM, port, checks: Default::default(), request: None, beyond: 0 }
    }
}

impl PacketBuf for Frame {
    fn data(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }

    fn total_len(&self) -> usize {
        self.data().len() + self.beyond
    }

    fn trim(&mut self, n: usize) -> bool {
        let fits = n <= self.data().len() && self.beyond == 0;
        if fits {
            self.bytes.truncate(self.bytes.len() - n);
        }
        fits
    }

    fn grow_front(&mut self, n: usize) -> bool {
        let fits = n <= self.start;
        if fits {
            self.start -= n;
        }
        fits
    }

    fn shrink_front(&mut self, n: usize) -> bool {
        let fits = n <= self.data().len();
        if fits {
            self.start += n;
        }
        fits
    }

    fn ip_is(&self, seen: Checked) -> bool {
        self.checks.0 == seen
    }

    fn udp_is(&self, seen: Checked) -> bool {
        self.checks.1 == seen
    }

    fn request_checksums(&mut self, request: ChecksumRequest) {
        self.request = Some(request);
    }

    fn port(&self) -> PortId {
        self.port
    }
}

/// What the test holds of one worker's devices.
#[derive(Debug, Default)]
pub struct Wires {
    pub mac: Vec<[u8; 6]>,
    pub offloads: TxOffloads,
    pub arriving: Vec<VecDeque<Frame>>,
    pub sent: Vec<Vec<Frame>>,
    pub punted: Vec<Frame>,
    pub injected: VecDeque<Frame>,
    pub ticks: u64,
    /// What passes between one look at the clock and the next.
    pub pace: u64,
    /// Frames that the device still takes before its ring is full.
    pub tx_room: usize,
    pub punt_room: usize,
}

#[derive(Clone, Debug)]
pub struct SimulatedIo(pub Rc<RefCell<Wires>>);

impl SimulatedIo {
    pub const TICKS_PER_SECOND: u64 = 1_000_000;

    pub fn new(ports: usize) -> Self {
        SimulatedIo(Rc::new(RefCell::new(Wires {
            mac: (0..ports).map(|p| [2, 0, 0, 0, 1, p as u8]).collect(),
            arriving: vec![VecDeque::new(); ports],
            sent: vec![Vec::new(); ports],
            tx_room: usize::MAX,
            punt_room: usize::MAX,
            ..Wires::default()
        })))
    }

    pub fn arrive(&self, port: PortId, data: &[u8]) {
        self.0.borrow_mut().arriving[usize::from(port.0)].push_back(Frame::new(port, data));
    }

    pub fn sent(&self, port: PortId) -> Vec<Frame> {
        std::mem::take(&mut self.0.borrow_mut().sent[usize::from(port.0)])
    }
}

impl PacketIo for SimulatedIo {
    type Buf = Frame;

    fn ports(&self) -> usize {
        self.0.borrow().mac.len()
    }

    fn tx_offloads(&self, _port: PortId) -> TxOffloads {
        self.0.borrow().offloads
    }

    fn mac(&self, port: PortId) -> [u8; 6] {
        self.0.borrow().mac[usize::from(port.0)]
    }

    fn rx(&mut self, port: PortId, burst: &mut Burst<Frame>) {
        let wires = &mut *self.0.borrow_mut();
        while burst.len() < BURST {
            let Some(frame) = wires.arriving[usize::from(port.0)].pop_front() else { return };
            burst.push(frame);
        }
    }

    fn tx(&mut self, port: PortId, burst: &mut Burst<Frame>) -> Refused {
        let wires = &mut *self.0.borrow_mut();
        let taken = burst.len().min(wires.tx_room);
        wires.tx_room -= taken;
        wires.sent[usize::from(port.0)].extend(burst.drain(..taken));
        let bytes = burst.drain(..).map(|frame| frame.total_len() as u64);
        bytes.fold(Refused::default(), |r, bytes| Refused { packets: r.packets + 1, bytes: r.bytes + bytes })
    }

    fn punt(&mut self, burst: &mut Burst<Frame>) -> usize {
        let wires = &mut *self.0.borrow_mut();
        let taken = burst.len().min(wires.punt_room);
        wires.punt_room -= taken;
        wires.punted.extend(burst.drain(..taken));
        let refused = burst.len();
        burst.clear();
        refused
    }

    fn injected(&mut self, burst: &mut Burst<Frame>) {
        let wires = &mut *self.0.borrow_mut();
        while burst.len() < BURST {
            let Some(frame) = wires.injected.pop_front() else { return };
            burst.push(frame);
        }
    }

    fn ticks(&self) -> u64 {
        let wires = &mut *self.0.borrow_mut();
        let now = wires.ticks;
        wires.ticks += wires.pace;
        now
    }

    fn ticks_per_second(&self) -> u64 {
        Self::TICKS_PER_SECOND
    }
}
