//! What the slow path does for the pair in each of its rounds: as the active host it tells the standby what changed
//! (`tell`), as the standby it takes that in (`Mirror`), and when it takes over it makes an endpoint of it. Slow-path thread.

use std::sync::Arc;

use super::{
    replica::{Happened, Replica},
    replicate::Parts,
};
use crate::{
    base::Time,
    config::Config,
    control::{MediaControl, engine::Engine},
    ng::Ng,
    sip::endpoint::{Endpoint, Seed, Shadow},
};

/// Media sessions of a full synchronisation in one round, and calls of the `ng` protocol: each is a kilobyte or a few.
const SESSIONS_AT_ONCE: usize = 16;

/// The active host's round, after everything was done: what changed goes out. Whether a standby joined or left is seen to.
pub fn tell(now: Time, replica: &mut Replica, endpoint: &mut Endpoint, engine: &mut Engine, mut ng: Option<&mut Ng>) {
    for happened in replica.poll(now) {
        match happened {
            Happened::Joined => {
                tracing::info!(calls = endpoint.in_progress(), "a standby is connected and is synchronised");
                endpoint.mark_all();
                engine.mark_all();
                ng.iter_mut().for_each(|ng| ng.mark_all());
            }
            Happened::Left => {
                tracing::warn!("the standby is gone: calls are without cover");
                endpoint.stop_journal();
                engine.stop_journal();
                ng.iter_mut().for_each(|ng| ng.stop_journal());
            }
            // A standby's.
            Happened::Begin | Happened::Apply { .. } => {}
        }
    }
    let Some(budget) = replica.budget() else { return };
    let sessions = if budget > 0 { SESSIONS_AT_ONCE } else { 0 };
    let sip = endpoint.take_changes(now, budget);
    let media = engine.take_changes(now, sessions);
    let calls = ng.as_mut().map(|ng| ng.take_changes(now, sessions)).unwrap_or_default();
    let left = endpoint.left_to_send() + engine.left_to_send() + ng.map_or(0, |ng| ng.left_to_send());
    replica.offer(now, sip, media, calls, left);
}

/// The standby's knowledge: signalling as it was told, media as plans in the table.
#[derive(Debug, Default)]
pub struct Mirror {
    shadow: Shadow,
    /// Media sessions and calls that could not be read.
    pub unread: u64,
}

impl Mirror {
    /// This host is a standby from now on, and knows of no call.
    pub fn new(now: Time, engine: &mut Engine, ng: Option<&mut Ng>) -> Mirror {
        ng.into_iter().for_each(Ng::follow);
        engine.follow(now);
        Mirror::default()
    }

    /// Takes in what was told since the last round, and acknowledges it.
    pub fn round(&mut self, now: Time, replica: &mut Replica, engine: &mut Engine, mut ng: Option<&mut Ng>) {
        for happened in replica.poll(now) {
            match happened {
                Happened::Begin => {
                    self.shadow.begin();
                    engine.begin();
                    ng.iter_mut().for_each(|ng| ng.begin());
                }
                Happened::Apply { batch, age } => {
                    let Parts { sip, media, ng: calls, complete, unread } = batch.apart();
                    self.unread += unread;
                    engine.apply(now, age, media);
                    self.shadow.apply(now, sip);
                    if let Some(ng) = &mut ng {
                        ng.apply(now, calls);
                    }
                    if complete {
                        self.shadow.complete();
                        engine.complete(now);
                        ng.iter_mut().for_each(|ng| ng.complete());
                        tracing::info!(entries = self.shadow.len(), sessions = engine.sessions(), "synchronised");
                    }
                }
                // An active host's.
                Happened::Joined | Happened::Left => {}
            }
        }
        replica.ack();
    }

    pub fn shadow(&self) -> &Shadow {
        &self.shadow
    }

    /// This host is the active one from now on: the endpoint that goes on with the calls. The media does already.
    pub fn take_over(
        self,
        config: Arc<Config>,
        seed: Seed,
        now: Time,
        epoch_ms: u64,
        engine: &mut Engine,
        mut ng: Option<&mut Ng>,
    ) -> Endpoint {
        engine.take_over(now);
        ng.iter_mut().for_each(|ng| ng.take_over(now, engine));
        let mut endpoint = Endpoint::from_shadow(config, seed, now, epoch_ms, &self.shadow);
        agree(now, &mut endpoint, engine, ng.as_deref());
        endpoint
    }
}

/// A synchronisation that was cut short, or an entry that could not be read: a session without a call is closed, a call
/// without its session ends.
fn agree(now: Time, endpoint: &mut Endpoint, engine: &mut Engine, ng: Option<&Ng>) {
    let nobodys: Vec<_> =
        engine.ids().filter(|id| !endpoint.has_session(*id) && !ng.is_some_and(|ng| ng.has_session(*id))).collect();
    for id in nobodys {
        tracing::warn!(session = %id, "a media session without a call is closed");
        let _ = engine.close(now, id);
    }
    let silent: Vec<_> = endpoint.sessions().filter(|id| !engine.is_open(*id)).collect();
    for id in silent {
        tracing::warn!(session = %id, "a call without its media session is ended");
        endpoint.media_timeout(now, id, engine);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, SocketAddr, TcpListener},
        time::{Duration, Instant},
    };

    use super::*;
    use crate::{
        base::{clock::Monotonic, ids::PortId},
        control::{OpenRequest, neighbours::Kernel},
        flow::FlowTable,
        ha::{
            replica::Settings,
            replicate::{Peer, Role},
        },
        sip::{
            endpoint::{
                Output,
                tests::harness::{A, B, CONFIG, EPOCH_MS, Ends, Net, respond},
            },
            flow::Flow,
            message::{Message, Method},
        },
    };

    struct Link;

    impl Kernel for Link {
        fn gateway(&mut self, destination: IpAddr) -> Option<(PortId, IpAddr)> {
            Some((PortId(0), destination))
        }

        fn watch(&mut self, _: PortId, _: IpAddr) -> Option<[u8; 6]> {
            Some([2; 6])
        }

        fn forget(&mut self, _: PortId, _: IpAddr) {}
    }

    fn config() -> Arc<Config> {
        Arc::new(toml::from_str(CONFIG).unwrap())
    }

    fn engine() -> Engine {
        let config = config();
        let media: Vec<IpAddr> = config.addresses.iter().map(|a| a.local).collect();
        let ports = config.media.ports;
        let table = FlowTable::new(&media, ports.low, ports.high, 256, 0);
        Engine::new(&config, table, Vec::new(), Box::new(Link))
    }

    /// A message for the endpoint, and what it sent because of it.
    fn give(
        endpoint: &mut Endpoint,
        engine: &mut Engine,
        now: Time,
        flow: Flow,
        message: &Message,
    ) -> Vec<(SocketAddr, Message)> {
        endpoint.receive(now, flow, Ok(message.clone()), engine);
        let mut sent = Vec::new();
        while let Some(output) = endpoint.poll_output() {
            if let Output::Send { flow, bytes } = output {
                sent.push((flow.remote, Message::parse(&bytes).unwrap()));
            }
        }
        sent
    }

    fn to(sent: &[(SocketAddr, Message)], peer: SocketAddr) -> Message {
        sent.iter().rfind(|(remote, _)| *remote == peer).unwrap().1.clone()
    }

    fn plans(engine: &Engine) -> Vec<String> {
        let mut plans: Vec<String> =
            engine.flows().map(|f| format!("{} {:?} {:?}", f.local, f.plan.admit, f.plan.out_destination)).collect();
        plans.sort();
        plans
    }

    #[test]
    fn a_call_goes_on_at_the_standby() {
        let spare = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (at, from) = (spare(), spare());
        let settings = |node: &str, peer: &str, local, peer_at| Settings {
            node: node.into(),
            peer_node: peer.into(),
            local,
            peer: peer_at,
            key: [7; 32],
        };
        let clock = Monotonic::start();
        let mut a = Replica::start(settings("a", "b", at, from), clock, None).unwrap();
        let mut b = Replica::start(settings("b", "a", from, at), clock, None).unwrap();
        a.be(Role::Active);
        b.be(Role::Standby);
        let now = || clock.now();
        let (mut engine_a, mut engine_b) = (engine(), engine());
        let mut endpoint = Endpoint::new(config(), [1; 32], now(), EPOCH_MS);
        let mut mirror = Mirror::new(now(), &mut engine_b, None);
        // Alice calls before there is a standby; bob answers while it is synchronised.
        let mut net = Net::new();
        let invite_a = net.invite(A, "100");
        let sent = give(&mut endpoint, &mut engine_a, now(), Net::udp(A), &invite_a);
        let invite_b = to(&sent, B);
        let start = Instant::now();
        while a.peer() == Peer::NotConnected {
            assert!(start.elapsed() < Duration::from_secs(20));
            tell(now(), &mut a, &mut endpoint, &mut engine_a, None);
            mirror.round(now(), &mut b, &mut engine_b, None);
            std::thread::sleep(Duration::from_millis(1));
        }
        let ok_b = respond(B, &invite_b, 200, "b-tag", Some(6_000));
        let sent = give(&mut endpoint, &mut engine_a, now(), Net::udp(B), &ok_b);
        let ok_a = to(&sent, A);
        tell(now(), &mut a, &mut endpoint, &mut engine_a, None);
        let answered = a.last().unwrap();
        while a.is_safe(answered) != Some(true) {
            assert!(start.elapsed() < Duration::from_secs(20));
            tell(now(), &mut a, &mut endpoint, &mut engine_a, None);
            mirror.round(now(), &mut b, &mut engine_b, None);
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(plans(&engine_a), plans(&engine_b), "the media is there before the signalling");
        assert_eq!(plans(&engine_b).len(), 4);
        // The active host dies. Nobody told of this session's end, and a call has lost its own.
        drop((a, endpoint, engine_a));
        b.be(Role::Active);
        let names = |name: &str| vec![name.to_owned()];
        engine_b.open(now(), &OpenRequest { media: [names("a"), names("b")], call_id: "nobody's".into() }).unwrap();
        let mut endpoint = mirror.take_over(config(), [2; 32], now(), EPOCH_MS, &mut engine_b, None);
        assert_eq!((endpoint.in_progress(), engine_b.sessions()), (1, 1));
        let caller = Ends::caller(A, &invite_a, &ok_a);
        let ack = net.in_dialog(&caller, "ACK", 1);
        give(&mut endpoint, &mut engine_b, now(), Net::udp(A), &ack);
        let bye = net.in_dialog(&caller, "BYE", 2);
        let sent = give(&mut endpoint, &mut engine_b, now(), Net::udp(A), &bye);
        assert_eq!(to(&sent, A).status(), Some(200));
        assert_eq!(to(&sent, B).method(), Some(&Method::Bye));
        assert_eq!((endpoint.in_progress(), engine_b.sessions()), (0, 0));
    }

    #[test]
    fn a_call_whose_media_did_not_come_ends() {
        let mut net = Net::new();
        crate::sip::endpoint::tests::harness::call_up(&mut net);
        let mirror = Mirror { shadow: net.endpoint.save(net.now), unread: 0 };
        let mut engine = engine();
        engine.follow(net.now);
        let mut endpoint = mirror.take_over(config(), [2; 32], net.now, EPOCH_MS, &mut engine, None);
        assert_eq!(endpoint.in_progress(), 0);
        let byes = std::iter::from_fn(|| endpoint.poll_output()).filter(|out| match out {
            Output::Send { bytes, .. } => bytes.starts_with(b"BYE "),
            _ => false,
        });
        assert_eq!(byes.count(), 2);
    }
}
