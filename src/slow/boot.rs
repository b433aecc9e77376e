//! Boot and its reverse: everything is opened in order on this thread, which is the EAL's main lcore and the slow path
//! from then on; whatever fails is undone by what was already opened being dropped.

use std::{
    cell::RefCell,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use mio::{Interest, Poll, Token, Waker, unix::SourceFd};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use super::{
    answers::PortFiles,
    floating::{FloatingAddresses, Place},
    kernel::NetlinkKernel,
    meters::{SlowMeters, WorkerMeters},
    ng::{Listens, NgSockets},
    pair::Pair,
    resolver::Resolver,
    round::{
        Round, Sources, TOKEN_ADMIN, TOKEN_EXCEPTION, TOKEN_NETLINK, TOKEN_NG, TOKEN_RESOLVER, TOKEN_SIGNALS, TOKEN_SIP,
    },
    sockets::{Sockets, trunk_peers},
    supervisor::Supervisor,
};
use crate::{
    base::{
        Time,
        clock::Monotonic,
        ids::WorkerId,
        limits::{CANDIDATES_QUEUED, MAX_NEXT_HOPS},
    },
    codec::Kernel,
    config::{self, Config, Destination, Ha, HaProvider, NamedDestination, SipTransport},
    control::engine::Engine,
    fast::{Shared, Worker, worker::PortFacts},
    flow::{
        FlowTable,
        counters::WorkerCounters,
        event::Events,
        lease::{Floating, Lease},
    },
    ha::{
        meters::PairMeters,
        pair::{Pair as PairThread, Setup},
        provider::Provider,
        replica::{self, Replica},
        replicate::Role,
    },
    host::{self, plan::memory::flow_entries},
    io::{
        PacketIo,
        dpdk::{self, DpdkIo, Launcher, Opened, Running},
        exception::Exception,
        netlink::{Addresses, Neighbours},
    },
    ng::{Ng, Settings},
    observe::{CdrWriter, Health, HttpServer, Registry, admin::AdminServer, metrics::CallMetrics},
    sip::endpoint::{Endpoint, Seed},
    tls::Credentials,
};

/// Runs the appliance until it is told to end and its calls have ended.
pub fn run(mut config: Config) -> anyhow::Result<()> {
    let clock = Monotonic::start();
    host::settle(&mut config)?;
    let config = Arc::new(config);
    let health = Arc::new(Health::new(clock));
    let registry = Arc::new(Registry::new());
    // Threads of their own first: they do not inherit the slow path's CPU.
    let _http = config.metrics.listen.map(|at| HttpServer::start(at, registry.clone(), health.clone())).transpose()?;
    // A standby may forget a record only once it is on the disk, not merely in the kernel's memory.
    let start_cdr = if config.ha.is_some() { CdrWriter::start_durable } else { CdrWriter::start };
    let cdr = config.cdr.file.as_deref().map(start_cdr).transpose()?;
    let poll = Poll::new().context("cannot make a poll instance")?;
    let resolver = open_resolver(&config, &poll)?;
    let credentials = Credentials::load(&config)?;

    let Opened { workers, slow: mut slow_io, ports, meters, launcher, .. } = dpdk::open(&config)?;
    let table = flow_table(&config, &launcher)?;
    let (exceptions, neighbours) = open_kernel_side(&config, &ports)?;
    let mut admin = AdminServer::bind(&config.admin.socket)?;
    admin.register(poll.registry(), TOKEN_ADMIN)?;
    let signals = watch(&poll, &exceptions, &neighbours)?;
    let now = clock.now();
    let endpoint = Endpoint::new(config.clone(), seed()?, now, epoch_ms());
    let listeners: Vec<_> = endpoint.locals().iter().map(|l| (l.bind, l.transport)).collect();
    let mut sockets = Sockets::open(listeners, trunk_peers(&config), poll.registry(), TOKEN_SIP)?;
    sockets.arm(credentials);
    let ng = open_ng(&config, now, &poll)?;

    let floating = floating(&config);
    slow_io.guard(floating.clone());
    let events: Vec<Arc<Events>> = workers.iter().map(|_| Arc::new(Events::new(CANDIDATES_QUEUED))).collect();
    let counters: Vec<WorkerCounters> = workers.iter().map(|io| WorkerCounters::new(io.ports())).collect();
    let neighbours = Rc::new(RefCell::new(neighbours));
    let kernel = NetlinkKernel::new(neighbours.clone());
    let mut engine = Engine::new(&config, table.clone(), events.clone(), Box::new(kernel.clone()));

    let calls = Arc::new(CallMetrics::default());
    let slow_meters = Arc::new(SlowMeters::default());
    registry.add(calls.clone());
    registry.add(slow_meters.clone());
    let devices = Arc::new(Mutex::new(meters));
    registry.add(Arc::new(WorkerMeters::new(&config, &counters, devices.clone(), launcher.ticks_per_second())));

    let stop = Arc::new(AtomicBool::new(false));
    let running = launch(&config, &launcher, workers, &ports, &table, &events, &counters, &floating, &stop)?;
    for port in &ports {
        tracing::info!(
            port = port.name,
            driver = port.driver,
            mac = ?port.mac,
            rx_queues = port.rx_queues,
            slow_queue = port.slow_queue,
            "port is up"
        );
    }
    // The last to start: from its first heartbeat on this host can be active.
    let (thread, pair) = match &config.ha {
        None => (None, None),
        Some(ha) => {
            let places = places(&config, &ports, &exceptions);
            let (thread, pair) = open_pair(&config, ha, clock, &launcher, &ports, places, &floating)?;
            registry.add(Arc::new(PairMeters(pair.link().shared())));
            engine.follow(clock.now());
            (Some(thread), Some(pair))
        }
    };
    health.started();
    let supervisor = Supervisor::from_environment();
    supervisor.ready();
    tracing::info!(node = config.node.name, workers = running.len(), "tandem answers");

    let sources =
        Sources { poll, signals, admin, sockets, exceptions, slow_io, neighbours, kernel, resolver, supervisor, ng };
    let files = PortFiles { facts: ports, counters, devices };
    let mut round = Round::new(config, clock, sources, engine, endpoint, files, cdr, health, calls, slow_meters, pair);
    round.run();
    // The peer hears nothing from here on.
    drop(thread);

    stop.store(true, Ordering::Relaxed);
    for worker in running {
        launcher.wait(worker)?;
    }
    tracing::info!("tandem has ended");
    Ok(())
}

/// What moves with the role. An address that is also the host's own (an Elastic IP's) stays with it: only what others are
/// told moves.
fn moves(config: &Config) -> impl Iterator<Item = &config::Address> {
    config.addresses.iter().filter(|address| {
        let port = config.ports.iter().find(|port| port.name == address.port);
        let own = port.is_some_and(|port| port.addresses.iter().any(|own| own.addr() == address.local));
        address.floating && !own
    })
}

fn floating(config: &Config) -> Floating {
    match &config.ha {
        None => Floating::none(),
        Some(_) => {
            let addresses = moves(config).map(|address| address.local).collect();
            Floating { lease: Arc::new(Lease::ended()), addresses }
        }
    }
}

fn places(config: &Config, ports: &[dpdk::PortFacts], exceptions: &[Exception]) -> Vec<Place> {
    let place = |address: &config::Address| {
        let at = config.ports.iter().position(|port| port.name == address.port)?;
        let (facts, exception) = (ports.get(at)?, exceptions.get(at)?);
        Some(Place { address: address.local, port: facts.id, mac: facts.mac, ifindex: exception.ifindex() })
    };
    moves(config).filter_map(place).collect()
}

/// What moves the addresses; None: taking over is all, and the slow path tells the network.
#[cfg(feature = "ec2")]
fn provider(config: &Config, ha: &Ha, ports: &[dpdk::PortFacts]) -> anyhow::Result<Option<Box<dyn Provider>>> {
    use crate::ha::provider::ec2;
    let Some(keys) = ha.ec2.as_ref().filter(|_| ha.provider == HaProvider::Ec2) else { return Ok(None) };
    let mac = |name: &str| ports.iter().find(|port| port.name == name).map(|port| port.mac);
    let settings = ec2::Settings::of(keys, config, mac)?;
    Ok(Some(Box::new(ec2::Ec2::new(settings).context("the EC2 provider cannot start")?)))
}

/// A configuration that asks for more is refused before this.
#[cfg(not(feature = "ec2"))]
fn provider(_: &Config, _: &Ha, _: &[dpdk::PortFacts]) -> anyhow::Result<Option<Box<dyn Provider>>> {
    Ok(None)
}

fn open_pair(
    config: &Config,
    ha: &Ha,
    clock: Monotonic,
    launcher: &Launcher,
    ports: &[dpdk::PortFacts],
    places: Vec<Place>,
    floating: &Floating,
) -> anyhow::Result<(PairThread, Pair)> {
    let addresses = FloatingAddresses::new(places, ha.provider == HaProvider::Garp)?;
    let mut replica = Replica::start(replica::Settings::new(&config.node.name, ha), clock, None)?;
    replica.be(Role::Standby);
    let device = *launcher;
    let (thread, link) = PairThread::start(Setup {
        ha,
        node: &config.node.name,
        provider: provider(config, ha, ports)?,
        lease: floating.lease.clone(),
        clock,
        ticks: Box::new(move || device.ticks()),
        ticks_per_second: launcher.ticks_per_second(),
        cpu: config.cores.pair,
    })?;
    let commit = Duration::from_millis(ha.commit_ms.into());
    Ok((thread, Pair::new(link, replica, addresses, commit, config.cores.workers.len())))
}

/// Only where a destination is a name: most appliances need no DNS.
fn open_resolver(config: &Config, poll: &Poll) -> anyhow::Result<Option<Resolver>> {
    let mut destinations = config.trunks.iter().flat_map(|trunk| &trunk.destinations);
    if !destinations.any(|to| NamedDestination::parse(&to.uri).is_some()) {
        return Ok(None);
    }
    let waker = Waker::new(poll.registry(), Token(TOKEN_RESOLVER)).context("cannot make a waker")?;
    Ok(Some(Resolver::start(&config.sip.dns, waker)?))
}

/// Only where it is configured.
fn open_ng(config: &Config, now: Time, poll: &Poll) -> anyhow::Result<Option<NgSockets>> {
    let (Some(settings), Some(ng)) = (Settings::of(config), &config.ng) else { return Ok(None) };
    let mut mark = [0; 8];
    getrandom::fill(&mut mark).map_err(|e| anyhow::anyhow!("the kernel gives no random bytes: {e}"))?;
    let machine = Ng::new(settings, u64::from_ne_bytes(mark), now, epoch_ms());
    let listens = Listens { udp: &ng.udp, tcp: &ng.tcp, http: &ng.http };
    let sockets = NgSockets::open(machine, listens, poll.registry(), TOKEN_NG)?;
    tracing::info!(udp = ?ng.udp, tcp = ?ng.tcp, http = ?ng.http, "the ng protocol is spoken");
    Ok(Some(sockets))
}

fn flow_table(config: &Config, launcher: &Launcher) -> anyhow::Result<Arc<FlowTable>> {
    let media: Vec<_> = config.addresses.iter().map(|a| a.local).collect();
    let range = config.media.ports;
    let sizes = FlowTable::sizes(&media, range.low, range.high, flow_entries(config.media.max_sessions));
    let memory = sizes.try_map(|name, words| launcher.zone(name, words))?;
    debug_assert!(MAX_NEXT_HOPS <= usize::from(u16::MAX));
    Ok(FlowTable::on(&media, range.low, range.high, config.cores.workers.len(), memory))
}

/// The TAPs with their addresses and routes, and the neighbours behind them.
fn open_kernel_side(config: &Config, ports: &[dpdk::PortFacts]) -> anyhow::Result<(Vec<Exception>, Neighbours)> {
    let mut exceptions = Vec::with_capacity(ports.len());
    for (port, facts) in config.ports.iter().zip(ports) {
        exceptions.push(Exception::open(facts.id, &port.name, &port.exception, facts.mac, facts.mtu)?);
    }
    let mut addresses = Addresses::open()?;
    for (port, exception) in config.ports.iter().zip(&exceptions) {
        if let Some(problem) = addresses.set_up(exception.ifindex(), port).into_iter().next() {
            return Err(problem.into());
        }
    }
    let neighbours = Neighbours::open(exceptions.iter().map(|e| (e.ifindex(), e.port)).collect())?;
    Ok((exceptions, neighbours))
}

fn watch(poll: &Poll, exceptions: &[Exception], neighbours: &Neighbours) -> anyhow::Result<Signals> {
    use std::os::fd::AsRawFd;
    let registry = poll.registry();
    for (i, exception) in exceptions.iter().enumerate() {
        let fd = exception.as_raw_fd();
        registry.register(&mut SourceFd(&fd), Token(TOKEN_EXCEPTION + i), Interest::READABLE)?;
    }
    let fd = neighbours.as_raw_fd();
    registry.register(&mut SourceFd(&fd), Token(TOKEN_NETLINK), Interest::READABLE)?;
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).context("cannot catch signals")?;
    registry.register(&mut signals, Token(TOKEN_SIGNALS), Interest::READABLE)?;
    Ok(signals)
}

#[allow(clippy::too_many_arguments)]
fn launch(
    config: &Config,
    launcher: &Launcher,
    workers: Vec<DpdkIo>,
    ports: &[dpdk::PortFacts],
    table: &Arc<FlowTable>,
    events: &[Arc<Events>],
    counters: &[WorkerCounters],
    floating: &Floating,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<Vec<Running>> {
    let kernel = Kernel::detect();
    tracing::info!(kernel = kernel.name(), "G.711 conversion");
    let facts: Vec<PortFacts> =
        ports.iter().map(|p| PortFacts { mac: p.mac, mtu: p.mtu, offloads: p.tx_offloads }).collect();
    // Where we listen, and where trunks do: answers on connections that we opened come from there.
    let destinations = config.trunks.iter().flat_map(|t| &t.destinations);
    let mut sip_ports: Vec<u16> = destinations.filter_map(|d| port_of(&d.uri)).collect();
    sip_ports.extend(config.sip.listen.iter().flat_map(|l| l.transports.iter().map(|t| l.port_of(*t))));
    // Commands of proxies share the rate of SIP.
    sip_ports
        .extend(config.ng.iter().flat_map(|ng| ng.udp.iter().chain(&ng.tcp).chain(&ng.http)).map(SocketAddr::port));
    sip_ports.sort_unstable();
    sip_ports.dedup();
    let mut running = Vec::with_capacity(workers.len());
    for (i, io) in workers.into_iter().enumerate() {
        let id = WorkerId(i as u8);
        let shared = Shared {
            id,
            table: table.clone(),
            events: events[i].clone(),
            counters: counters[i],
            kernel,
            ports: facts.clone(),
            sip_ports: sip_ports.clone(),
            floating: floating.clone(),
        };
        let (punt, poll, stop) = (config.punt.clone(), config.cores.poll, stop.clone());
        let job = Box::new(move || Worker::new(io, shared, &punt, poll).run(&stop));
        running.push(launcher.launch(id, job)?);
    }
    Ok(running)
}

/// Where a destination listens, as far as the configuration says. What SRV records say comes too late for the workers:
/// answers from another port share the rate of other punted packets.
fn port_of(uri: &str) -> Option<u16> {
    let usual = |named: NamedDestination| named.transport.unwrap_or(SipTransport::Udp).default_port();
    let named = || NamedDestination::parse(uri).map(|named| named.port.unwrap_or(usual(named)));
    uri.parse::<Destination>().ok().map(|to| to.addr.port()).or_else(named)
}

/// For tags, branches and Call-IDs: not guessable.
pub fn seed() -> anyhow::Result<Seed> {
    let mut seed = Seed::default();
    getrandom::fill(&mut seed).map_err(|e| anyhow::anyhow!("the kernel gives no random bytes: {e}"))?;
    Ok(seed)
}

/// Wall time, milliseconds since 1970.
pub fn epoch_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(0))
}
