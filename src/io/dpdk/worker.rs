//! One worker's queues and rings. Runs on that worker's lcore; no call here blocks, allocates or locks.

use dpdk_sys::{Checksum, Consumer, Eal, Mbuf, Producer, RxQueue, TxChecksums, TxQueue};

use super::PortFacts;
use crate::{
    base::ids::PortId,
    io::{Burst, Checked, ChecksumRequest, PacketBuf, PacketIo, Refused, TxOffloads},
};

impl PacketBuf for Mbuf {
    #[inline]
    fn data(&self) -> &[u8] {
        Mbuf::data(self)
    }

    #[inline]
    fn data_mut(&mut self) -> &mut [u8] {
        Mbuf::data_mut(self)
    }

    #[inline]
    fn total_len(&self) -> usize {
        Mbuf::total_len(self)
    }

    fn trim(&mut self, n: usize) -> bool {
        Mbuf::trim(self, n)
    }

    fn grow_front(&mut self, n: usize) -> bool {
        self.prepend(n)
    }

    fn shrink_front(&mut self, n: usize) -> bool {
        self.adj(n)
    }

    #[inline]
    fn ip_is(&self, seen: Checked) -> bool {
        self.rx_ip_checksum_is(checksum(seen))
    }

    #[inline]
    fn udp_is(&self, seen: Checked) -> bool {
        self.rx_l4_checksum_is(checksum(seen))
    }

    fn request_checksums(&mut self, request: ChecksumRequest) {
        let ChecksumRequest { l2_len, l3_len, ipv6, ip, udp } = request;
        Mbuf::request_checksums(self, TxChecksums { l2_len, l3_len, ipv6, ip, udp });
    }

    #[inline]
    fn port(&self) -> PortId {
        // DpdkIo writes our own number, which is small, over DPDK's wherever they differ.
        PortId(Mbuf::port(self) as u8)
    }

    #[inline]
    fn prefetch(&self) {
        Mbuf::prefetch(self);
    }
}

#[inline(always)]
fn checksum(seen: Checked) -> Checksum {
    match seen {
        Checked::Unknown => Checksum::Unknown,
        Checked::Good => Checksum::Good,
        Checked::Bad => Checksum::Bad,
    }
}

fn refuse(refused: &mut Refused, packet: &Mbuf) {
    refused.packets += 1;
    refused.bytes += packet.total_len() as u64;
}

/// One worker's queue pair on one port.
pub(super) struct WorkerPort {
    id: PortId,
    rx: RxQueue,
    tx: TxQueue,
    mac: [u8; 6],
    offloads: TxOffloads,
    /// DPDK counts its ports otherwise than the configuration does.
    renumber: bool,
    multi_segment: bool,
}

impl WorkerPort {
    pub(super) fn new(id: PortId, facts: &PortFacts, rx: RxQueue, tx: TxQueue) -> Self {
        WorkerPort {
            id,
            mac: facts.mac,
            offloads: facts.tx_offloads,
            renumber: rx.port().id() != u16::from(id.0),
            multi_segment: facts.tx_multi_segment,
            rx,
            tx,
        }
    }
}

/// One worker's side of the edge.
pub struct DpdkIo {
    ports: Vec<WorkerPort>,
    punt: Producer,
    injected: Option<Consumer>,
    eal: Eal,
    ticks_per_second: u64,
}

impl DpdkIo {
    pub(super) fn new(eal: Eal, ports: Vec<WorkerPort>, punt: Producer, injected: Option<Consumer>) -> Self {
        DpdkIo { ports, punt, injected, eal, ticks_per_second: eal.ticks_per_second() }
    }
}

impl PacketIo for DpdkIo {
    type Buf = Mbuf;

    fn ports(&self) -> usize {
        self.ports.len()
    }

    fn tx_offloads(&self, port: PortId) -> TxOffloads {
        self.ports.get(usize::from(port.0)).map_or(TxOffloads::default(), |p| p.offloads)
    }

    fn mac(&self, port: PortId) -> [u8; 6] {
        self.ports.get(usize::from(port.0)).map_or([0; 6], |p| p.mac)
    }

    #[inline]
    fn rx(&mut self, port: PortId, burst: &mut Burst<Mbuf>) {
        let Some(port) = self.ports.get_mut(usize::from(port.0)) else { return };
        let before = burst.len();
        port.rx.rx(burst);
        if port.renumber {
            for packet in burst.iter_mut().skip(before) {
                packet.set_port(port.id.0.into());
            }
        }
    }

    #[inline]
    fn tx(&mut self, port: PortId, burst: &mut Burst<Mbuf>) -> Refused {
        let mut refused = Refused::default();
        let Some(port) = self.ports.get_mut(usize::from(port.0)) else {
            burst.drain(..).for_each(|packet| refuse(&mut refused, &packet));
            return refused;
        };
        if !port.multi_segment {
            // Such a driver would send what lies behind the first segment's buffer (net_af_xdp does).
            burst.retain(|packet| {
                let whole = packet.segments_len() == 1;
                if !whole {
                    refuse(&mut refused, packet);
                }
                whole
            });
        }
        let by_device = port.tx.tx(burst);
        Refused { packets: refused.packets + by_device.packets, bytes: refused.bytes + by_device.bytes }
    }

    #[inline]
    fn punt(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        self.punt.enqueue(burst)
    }

    #[inline]
    fn injected(&mut self, burst: &mut Burst<Mbuf>) {
        if let Some(ring) = &mut self.injected {
            ring.dequeue(burst);
        }
    }

    #[inline]
    fn ticks(&self) -> u64 {
        self.eal.ticks()
    }

    fn ticks_per_second(&self) -> u64 {
        self.ticks_per_second
    }
}
