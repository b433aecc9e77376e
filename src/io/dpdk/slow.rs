//! The slow path's side: punted frames in, injected frames out. Runs on the slow path's thread, the EAL's main lcore.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arrayvec::ArrayVec;
use dpdk_sys::{Consumer, Eal, Mbuf, Pool, Producer, TxQueue};

use super::PortFacts;
use crate::{
    base::ids::PortId,
    flow::lease::Floating,
    io::{Burst, PacketBuf, SlowIo},
};

/// One port as the slow path sends through it.
struct SlowPort {
    /// Its own queue; where there is none, worker 0 sends for it.
    queue: Option<TxQueue>,
    multi_segment: bool,
    reset_wanted: Arc<AtomicBool>,
}

pub struct DpdkSlowIo {
    eal: Eal,
    pool: Pool,
    ports: Vec<SlowPort>,
    injector: Option<Producer>,
    /// One ring per worker.
    punted: Vec<Consumer>,
    /// Taken from a ring, not yet passed on.
    waiting: Burst<Mbuf>,
    /// The ring that was asked last.
    turn: usize,
    /// A frame of several segments, joined.
    joined: Vec<u8>,
    floating: Floating,
}

impl DpdkSlowIo {
    pub(super) fn new(
        eal: Eal,
        pool: Pool,
        punted: Vec<Consumer>,
        queues: Vec<Option<TxQueue>>,
        injector: Option<Producer>,
        facts: &[PortFacts],
    ) -> Self {
        let ports = queues
            .into_iter()
            .zip(facts)
            .map(|(queue, of)| SlowPort {
                queue,
                multi_segment: of.tx_multi_segment,
                reset_wanted: of.reset_wanted.clone(),
            })
            .collect();
        DpdkSlowIo {
            eal,
            pool,
            ports,
            injector,
            punted,
            waiting: Burst::new(),
            turn: 0,
            joined: Vec::new(),
            floating: Floating::none(),
        }
    }

    /// From here on nothing leaves in the name of these addresses without the lease.
    pub fn guard(&mut self, floating: Floating) {
        self.floating = floating;
    }

    /// Drivers' timers (ENA's watchdog and keep-alive): to be called once a second, on the thread that called `open`.
    pub fn run_timers(&mut self) {
        if let Err(e) = self.eal.run_timers() {
            tracing::warn!("drivers' timers did not run: {e}");
        }
    }

    /// A port whose device asks to be reset and carries nothing any more.
    pub fn reset_wanted(&self) -> Option<PortId> {
        (0..).zip(&self.ports).find(|(_, p)| p.reset_wanted.load(Ordering::Relaxed)).map(|(id, _)| PortId(id))
    }

    /// True while a punted frame waits: the slow path must not sleep.
    pub fn punted_waits(&self) -> bool {
        !self.waiting.is_empty() || self.punted.iter().any(|ring| !ring.is_empty())
    }

    /// Fills `waiting` from the next ring that has something.
    fn refill(&mut self) {
        let rings = self.punted.len();
        for _ in 0..rings {
            self.turn = (self.turn + 1) % rings;
            let Some(ring) = self.punted.get_mut(self.turn) else { return };
            if ring.dequeue(&mut self.waiting) > 0 {
                // `punted` pops from the back.
                self.waiting.reverse();
                return;
            }
        }
    }
}

impl SlowIo for DpdkSlowIo {
    fn punted(&mut self, limit: usize, sink: &mut dyn FnMut(PortId, &[u8])) -> usize {
        for done in 0..limit {
            if self.waiting.is_empty() {
                self.refill();
            }
            let Some(packet) = self.waiting.pop() else { return done };
            if packet.segments_len() == 1 {
                sink(PacketBuf::port(&packet), packet.data());
            } else {
                self.joined.clear();
                packet.segments().for_each(|bytes| self.joined.extend_from_slice(bytes));
                sink(PacketBuf::port(&packet), &self.joined);
            }
        }
        limit
    }

    fn inject(&mut self, port: PortId, frame: &[u8]) -> bool {
        if !self.floating.lets_out(self.eal.ticks(), frame, frame.len()) {
            return false;
        }
        let Some(through) = self.ports.get_mut(usize::from(port.0)) else { return false };
        let Some(mut packet) = Mbuf::from_bytes(&self.pool, frame) else { return false };
        if !through.multi_segment && packet.segments_len() > 1 {
            return false;
        }
        packet.set_port(port.0.into());
        let mut one = ArrayVec::from([packet]);
        match (&mut through.queue, &mut self.injector) {
            (Some(queue), _) => queue.tx(&mut one).packets == 0,
            (None, Some(ring)) => ring.enqueue(&mut one) == 0,
            (None, None) => false,
        }
    }
}
