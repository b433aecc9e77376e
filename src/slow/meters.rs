//! What the metrics thread reads: the workers' counters where they lie, the devices' own, and a copy of the slow path's
//! figures that it leaves behind a few times a second.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    round::KernelCounters,
    sockets::{Handshake, SocketCounters},
};
use crate::{
    config::Config,
    control::engine::EngineCounters,
    flow::{
        DropReason, PuntClass,
        counters::{LoopCounter, PortCounter, WorkerCounters},
    },
    io::dpdk::Meters,
    ng::{Command, NgCounters},
    observe::{
        MetricSink, Source,
        cdr::CdrCounters,
        metrics::{Histogram, families as f, histogram},
    },
    sip::{
        endpoint::{Cause, Counters},
        guard::{GuardCounters, Offence},
        trunk::{Direction, TrunkView},
    },
    tls::OwnCertificate,
};

/// The slow path's figures at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub sip: Counters,
    pub guard: GuardCounters,
    /// By offences, and by the operator.
    pub bans: (usize, usize),
    pub calls_in_progress: usize,
    pub offers_waiting: usize,
    pub admitted_share: f64,
    pub trunks: Arc<Vec<TrunkView>>,
    pub engine: EngineCounters,
    pub sessions: usize,
    pub flows: usize,
    pub spare_ports: usize,
    pub spare_entries: usize,
    pub sockets: SocketCounters,
    pub certificates: Vec<OwnCertificate>,
    pub connections: usize,
    pub kernel: KernelCounters,
    pub clients: usize,
    pub servers: usize,
    pub dialogs: usize,
    pub cdr_queued: usize,
    pub cdr: Option<Arc<CdrCounters>>,
    pub ng: Option<NgSnapshot>,
    pub worker_stalls: Vec<u64>,
}

/// Of the `ng` protocol.
#[derive(Clone, Debug, Default)]
pub struct NgSnapshot {
    pub counters: NgCounters,
    pub calls: usize,
    pub connections: usize,
}

#[derive(Debug)]
pub struct SlowMeters {
    latest: Mutex<Snapshot>,
    rounds: Histogram,
    /// What belongs to calls in progress, and new calls.
    late: [Histogram; 2],
}

impl Default for SlowMeters {
    fn default() -> Self {
        SlowMeters {
            latest: Mutex::default(),
            rounds: Histogram::new(histogram::LOOP_SECONDS),
            late: [(); 2].map(|()| Histogram::new(histogram::LATE_SECONDS)),
        }
    }
}

impl SlowMeters {
    pub fn publish(&self, snapshot: Snapshot) {
        // A scrape that is copying right now keeps the old figures; the next ones come in a moment.
        if let Ok(mut latest) = self.latest.try_lock() {
            *latest = snapshot;
        }
    }

    pub fn round(&self, took: Duration) {
        self.rounds.observe(took.as_secs_f64());
    }

    /// How late this round found what belongs to calls in progress, and the new calls.
    pub fn late(&self, in_progress: Duration, new: Duration) {
        for (late, histogram) in [in_progress, new].into_iter().zip(&self.late) {
            histogram.observe(late.as_secs_f64());
        }
    }
}

/// Causes that end a call before it is answered.
fn is_failure(cause: Cause) -> bool {
    !matches!(
        cause,
        Cause::Hangup | Cause::MediaTimeout | Cause::Operator | Cause::Drained | Cause::NoAck | Cause::DialogLost
    )
}

impl Source for SlowMeters {
    fn collect(&self, sink: &mut MetricSink) {
        let s = self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        sink.count(&f::CALLS, &[], s.sip.calls);
        sink.count(&f::CALLS_ANSWERED, &[], s.sip.answered);
        sink.gauge(&f::CALLS_IN_PROGRESS, &[], s.calls_in_progress as f64);
        for cause in Cause::ALL {
            let count = s.sip.ended(cause);
            let family = if is_failure(cause) { &f::CALLS_FAILED } else { &f::CALLS_ENDED };
            sink.count(family, &[("cause", cause.as_str())], count);
        }
        let setup = &s.sip.setup;
        sink.histogram(&f::CALL_SETUP, &[], &Histogram::of(histogram::SETUP_SECONDS, &setup.buckets, setup.sum_ms));
        sink.histogram(&f::SLOW_LOOP, &[], &self.rounds);
        for (of, late) in ["calls_in_progress", "new_calls"].into_iter().zip(&self.late) {
            sink.histogram(&f::SLOW_LATE, &[("of", of)], late);
        }
        sink.gauge(&f::CALLS_ADMITTED_RATIO, &[], s.admitted_share);
        collect_trunks(&s.trunks, sink);
        self.collect_sip(&s, sink);
        sink.gauge(&f::MEDIA_SESSIONS, &[], s.sessions as f64);
        sink.gauge(&f::FLOWS, &[], s.flows as f64);
        sink.gauge(&f::MEDIA_PORTS_FREE, &[], s.spare_ports as f64);
        let e = s.engine;
        for (reason, count) in
            [("no_port", e.refused_port), ("table_full", e.refused_table), ("no_address", e.refused_address)]
        {
            sink.count(&f::MEDIA_SESSIONS_REFUSED, &[("reason", reason)], count);
        }
        sink.count(&f::LATCHED, &[], e.latched);
        sink.count(&f::MEDIA_TIMEOUTS, &[], e.timed_out);
        sink.count(&f::PLANS_PUBLISHED, &[("result", "published")], e.published);
        sink.count(&f::PLANS_PUBLISHED, &[("result", "refused")], e.unpublished);
        for (direction, result, count) in [
            ("to_kernel", "taken", s.kernel.to_kernel),
            ("to_kernel", "refused", s.kernel.to_kernel_refused),
            ("from_kernel", "taken", s.kernel.from_kernel),
            ("from_kernel", "refused", s.kernel.from_kernel_refused),
        ] {
            sink.count(&f::EXCEPTION_FRAMES, &[("direction", direction), ("result", result)], count);
        }
        for (queue, depth) in [
            ("client_transactions", s.clients),
            ("server_transactions", s.servers),
            ("dialogs", s.dialogs),
            ("new_calls", s.offers_waiting),
            ("connections", s.connections),
            ("records", s.cdr_queued),
            ("spare_flow_entries", s.spare_entries),
        ] {
            sink.gauge(&f::QUEUE_DEPTH, &[("queue", queue)], depth as f64);
        }
        if let Some(ng) = &s.ng {
            collect_ng(ng, sink);
        }
        for (worker, count) in s.worker_stalls.iter().enumerate() {
            sink.count(&f::WORKER_STALLS, &[("worker", &worker.to_string())], *count);
        }
        if let Some(cdr) = &s.cdr {
            for (result, count) in [("written", cdr.written()), ("dropped", cdr.dropped()), ("failed", cdr.failed())] {
                sink.count(&f::CDR_RECORDS, &[("result", result)], count);
            }
        }
    }
}

impl SlowMeters {
    fn collect_sip(&self, s: &Snapshot, sink: &mut MetricSink) {
        for (direction, requests, responses) in
            [("in", &s.sip.requests_in, &s.sip.responses_in), ("out", &s.sip.requests_out, &s.sip.responses_out)]
        {
            for (method, count) in requests {
                sink.count(&f::SIP_MESSAGES, &[("direction", direction), ("kind", method)], *count);
            }
            for (status, count) in responses {
                let kind = status.to_string();
                sink.count(&f::SIP_MESSAGES, &[("direction", direction), ("kind", &kind)], *count);
            }
        }
        for (direction, count) in [("in", s.sip.retransmissions_in), ("out", s.sip.retransmissions_out)] {
            sink.count(&f::SIP_RETRANSMISSIONS, &[("direction", direction)], count);
        }
        let malformed: u64 = s.sip.malformed.values().sum();
        for (reason, count) in [
            ("unknown_caller", s.sip.unknown_callers),
            ("stray", s.sip.strays),
            ("overload", s.sip.overload),
            ("late", s.sip.shed),
            ("malformed", malformed),
            ("connection_limit", s.sockets.connections_refused),
            ("connection_banned", s.sockets.connections_banned),
            ("handshake_limit", s.sockets.handshakes_refused),
            ("banned", s.guard.banned),
            ("source_limit", s.guard.source_limit),
            ("strangers_limit", s.guard.strangers_limit),
            ("trunk_limit", s.guard.trunk_limit),
            ("scanner", s.guard.scanner),
        ] {
            sink.count(&f::SIP_REFUSED, &[("reason", reason)], count);
        }
        for (offence, count) in Offence::ALL.iter().zip(s.guard.bans) {
            sink.count(&f::SIP_BANS_IMPOSED, &[("offence", offence.as_str())], count);
        }
        for (direction, results) in ["in", "out"].into_iter().zip(s.sockets.handshakes.0) {
            for (result, count) in Handshake::ALL.iter().zip(results) {
                sink.count(&f::TLS_HANDSHAKES, &[("direction", direction), ("result", result.as_str())], count);
            }
        }
        for certificate in &s.certificates {
            let file = certificate.file.display().to_string();
            sink.gauge(&f::TLS_CERTIFICATE_EXPIRY, &[("file", &file)], certificate.expires_unix_s as f64);
        }
        for (by, count) in [("offence", s.bans.0), ("operator", s.bans.1)] {
            sink.gauge(&f::SIP_BANS, &[("by", by)], count as f64);
        }
    }
}

fn collect_ng(ng: &NgSnapshot, sink: &mut MetricSink) {
    let c = &ng.counters;
    for (_, command) in Command::ALL {
        let (done, failed) = c.commands.get(command).copied().unwrap_or_default();
        for (result, count) in [("done", done), ("failed", failed)] {
            sink.count(&f::NG_COMMANDS, &[("command", command), ("result", result)], count);
        }
    }
    for (reason, count) in [
        ("not_there", c.refused),
        ("malformed", c.malformed),
        ("not_allowed", c.strangers),
        ("load", c.refused_load),
        ("repeated", c.repeated),
    ] {
        sink.count(&f::NG_REFUSED, &[("reason", reason)], count);
    }
    sink.count(&f::NG_CALLS, &[], c.calls);
    for (timeout, count) in [("offer", c.timed_out_offers), ("silent", c.timed_out_silent)] {
        sink.count(&f::NG_CALLS_TIMED_OUT, &[("timeout", timeout)], count);
    }
    sink.gauge(&f::NG_CALLS_IN_PROGRESS, &[], ng.calls as f64);
    sink.gauge(&f::NG_CONNECTIONS, &[], ng.connections as f64);
}

/// Calls, refusals and destinations of each trunk.
fn collect_trunks(trunks: &[TrunkView], sink: &mut MetricSink) {
    for trunk in trunks {
        let name = trunk.name.as_str();
        for (direction, calls) in Direction::BOTH.into_iter().zip(trunk.calls) {
            sink.gauge(&f::TRUNK_CALLS, &[("trunk", name), ("direction", direction.as_str())], f64::from(calls));
        }
        for (direction, limit, count) in &trunk.refused {
            let labels = [("trunk", name), ("direction", direction.as_str()), ("limit", *limit)];
            sink.count(&f::TRUNK_REFUSED, &labels, *count);
        }
        for (result, count) in &trunk.auth {
            let labels = [("trunk", name), ("direction", result.direction().as_str()), ("result", result.as_str())];
            sink.count(&f::TRUNK_AUTH, &labels, *count);
        }
        if let Some(registration) = &trunk.registration {
            let labels = [("trunk", name)];
            sink.gauge(&f::TRUNK_REGISTERED, &labels, f64::from(u8::from(registration.registered)));
            sink.gauge(&f::TRUNK_REGISTRATION_EXPIRES, &labels, registration.expires_in_s.unwrap_or(0) as f64);
            for (result, count) in &registration.attempts {
                sink.count(&f::TRUNK_REGISTER, &[("trunk", name), ("result", *result)], *count);
            }
        }
        for to in &trunk.destinations {
            let labels = [("trunk", name), ("destination", to.uri.as_str())];
            sink.gauge(&f::TRUNK_DESTINATION_CALLS, &labels, f64::from(to.calls));
            if let Some(up) = to.up {
                sink.gauge(&f::TRUNK_DESTINATION_UP, &labels, f64::from(u8::from(up)));
            }
            for (word, count) in ["up", "down"].into_iter().zip(to.changes) {
                let labels = [("trunk", name), ("destination", to.uri.as_str()), ("to", word)];
                sink.count(&f::TRUNK_DESTINATION_CHANGES, &labels, count);
            }
        }
    }
}

/// The workers' and the devices' figures.
pub struct WorkerMeters {
    ports: Vec<String>,
    workers: Vec<WorkerCounters>,
    devices: Arc<Mutex<Meters>>,
    ticks_per_second: u64,
}

impl WorkerMeters {
    pub fn new(
        config: &Config,
        workers: &[WorkerCounters],
        devices: Arc<Mutex<Meters>>,
        ticks_per_second: u64,
    ) -> Self {
        WorkerMeters {
            ports: config.ports.iter().map(|p| p.name.clone()).collect(),
            workers: workers.to_vec(),
            devices,
            ticks_per_second,
        }
    }

    fn collect_worker(&self, worker: &str, counters: &WorkerCounters, sink: &mut MetricSink) {
        for (state, counter) in [("busy", LoopCounter::BusyTicks), ("idle", LoopCounter::IdleTicks)] {
            sink.count(&f::WORKER_CYCLES, &[("worker", worker), ("state", state)], counters.loop_count(counter));
        }
        let (mut off_owner, mut transcoded) = (0, 0);
        for (i, port) in self.ports.iter().enumerate() {
            let labels = [("port", port.as_str()), ("worker", worker)];
            for (family, counter) in [
                (&f::RX_PACKETS, PortCounter::RxPackets),
                (&f::RX_BYTES, PortCounter::RxBytes),
                (&f::TX_PACKETS, PortCounter::TxPackets),
                (&f::TX_BYTES, PortCounter::TxBytes),
                (&f::INJECTED_PACKETS, PortCounter::Injected),
            ] {
                sink.count(family, &labels, counters.count(i, counter));
            }
            off_owner += counters.count(i, PortCounter::OffOwner);
            transcoded += counters.count(i, PortCounter::Transcoded);
            for &reason in DropReason::ALL {
                let labels = [("port", port.as_str()), ("worker", worker), ("reason", reason.label())];
                sink.count(&f::DROPPED_PACKETS, &labels, counters.drop_count(i, reason));
            }
            for &class in PuntClass::ALL {
                let labels = [("port", port.as_str()), ("worker", worker), ("reason", class.label())];
                sink.count(&f::PUNTED_PACKETS, &labels, counters.punt_count(i, class));
            }
        }
        sink.count(&f::OFF_OWNER_PACKETS, &[("worker", worker)], off_owner);
        sink.count(&f::TRANSCODED_PACKETS, &[("worker", worker)], transcoded);
    }
}

impl Source for WorkerMeters {
    fn collect(&self, sink: &mut MetricSink) {
        sink.gauge(&f::TSC_HERTZ, &[], self.ticks_per_second as f64);
        for (i, counters) in self.workers.iter().enumerate() {
            self.collect_worker(&i.to_string(), counters, sink);
        }
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        for port in &mut devices.ports {
            let up = port.link_up().unwrap_or(false);
            sink.gauge(&f::PORT_LINK_UP, &[("port", &port.name)], f64::from(u8::from(up)));
            let mut xstats: Vec<(String, u64)> = Vec::new();
            if port.xstats(&mut |name, value| xstats.push((name.to_owned(), value))).is_ok() {
                let name = port.name.clone();
                sink.xstats(&name, xstats.iter().map(|(n, v)| (n.as_str(), *v)));
            }
        }
        for pool in devices.pools() {
            let used = [("pool", pool.name.as_str()), ("state", "used")];
            sink.gauge(&f::MEMPOOL_BUFFERS, &used, pool.used as f64);
            let free = [("pool", pool.name.as_str()), ("state", "free")];
            sink.gauge(&f::MEMPOOL_BUFFERS, &free, pool.capacity.saturating_sub(pool.used) as f64);
        }
        for ring in devices.rings() {
            sink.gauge(&f::RING_ENTRIES, &[("ring", &ring.name)], ring.used as f64);
            sink.gauge(&f::RING_CAPACITY, &[("ring", &ring.name)], ring.capacity as f64);
        }
    }
}
