//! What every part of the endpoint shares: configuration, transactions, the indexes that find a call, randomness and
//! the queue of outputs. Slow-path thread. `Live` is the part that another host can go on with.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    CallRecord, Counters, Level, Note, Output,
    clock::Clock,
    counters::method_label,
    journal::Unwritten,
    random::{Random, Seed},
};
use crate::{
    base::{
        Time,
        ids::{SessionId, Side},
    },
    config::{Config, SipTransport},
    control::MediaControl,
    sip::{
        auth::{
            client::{Spaces, Tried},
            server::Nonces,
        },
        b2bua::transfer::Deferred,
        deadlines::Deadlines,
        dialog::DialogKey,
        flow::{ListenerId, Local, Relocation},
        guard::Guard,
        names::{Names, News},
        outside::{Passing, Subscriptions},
        overload::Overload,
        register::Registrations,
        route::Routing,
        transaction::{ClientId, ServerId, Timing, Transactions, table::Label},
        trunk::Trunks,
    },
};

/// A call: random, so that it stays unique over restarts and hosts. Written as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::str::FromStr for CallId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(CallId)
    }
}

impl Serialize for CallId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CallId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a client transaction is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Use {
    /// The INVITE that sets up leg B, and the trunk it went to.
    Setup { call: CallId, trunk: String },
    /// A request sent on this side that carries the other side's offer, or its re-INVITE.
    Reinvite { call: CallId, to: Side },
    /// tandem's own session refresh on this side.
    Refresh { call: CallId, to: Side },
    /// An INVITE whose outcome nobody waits for any longer.
    Unwanted(Unwanted),
    /// A BYE sent on this side.
    Bye { call: CallId, to: Side },
    /// A request passed on to this side; `answer` is the transaction of the side it came from.
    Relay { call: CallId, to: Side, answer: ServerId },
    /// tandem's own registration with a trunk.
    Register { trunk: String },
    /// What a transferor is told of its REFER, in this call, about that one.
    Notify { call: CallId, target: CallId },
    /// OPTIONS that ask whether a destination of a trunk lives.
    Probe { trunk: String, uri: String },
    /// A request outside of calls that was sent on.
    Outside(Box<Passing>),
    /// A request in the dialog of a subscription, passed on to this side of it; after its 2xx the subscription may end.
    Subscribed { id: u64, to: Side, answer: ServerId, ends: bool },
    /// Whatever comes back does not matter.
    Alone,
}

/// A client transaction: what it is for, and what it takes to send its request again with credentials (`auth`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Errand {
    pub purpose: Use,
    /// Whom it is sent to; empty: nobody whose challenge would be answered.
    pub trunk: String,
    /// For `Core::loops`.
    pub mark: u32,
    pub tried: Tried,
}

impl Errand {
    /// Whatever comes back does not matter.
    pub fn alone() -> Errand {
        Errand { purpose: Use::Alone, trunk: String::new(), mark: 0, tried: Tried::default() }
    }
}

impl Errand {
    /// It comes from another host.
    pub fn relocate(&mut self, here: &Relocation) {
        if let Use::Outside(passing) = &mut self.purpose {
            passing.relocate(here);
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unwanted {
    pub trunk: String,
    pub cancelled: bool,
    /// A 2xx makes a dialog that must be ended; not so for a re-INVITE, whose dialog is ended elsewhere.
    pub bye: bool,
    /// The Reason header to send along.
    pub reason: Option<String>,
}

/// Written entry by entry (`journal`); what follows from the entries is made anew where they arrive (`save`).
#[derive(Clone, Debug)]
pub struct Live {
    /// Marks our own branches among the Vias of a request.
    pub cookie: String,
    pub tx: Transactions<Errand, Option<(CallId, Side)>>,
    /// Follows from the calls, as do `sessions`, `call_deadlines` and `active`.
    pub dialogs: HashMap<DialogKey, (CallId, Side)>,
    pub sessions: HashMap<SessionId, CallId>,
    pub call_deadlines: Deadlines<CallId>,
    /// Cancelled INVITEs, which must end by then (RFC 3261 §9.1).
    pub unwanted: Deadlines<ClientId>,
    /// Calls that have not ended.
    pub active: u32,
    /// No call is accepted any more, and those in progress end at this time.
    pub drain: Option<Time>,
    pub trunks: Trunks,
    /// What the servers of each trunk have asked for, by the trunk's name.
    pub spaces: BTreeMap<String, Spaces>,
    pub registrations: Registrations,
    pub nonces: Nonces,
    pub subscriptions: Subscriptions,
}

impl Live {
    /// Of a host that begins.
    pub fn new(config: &Config, random: &mut Random) -> Live {
        Live {
            cookie: random.short(),
            tx: Transactions::new(Timing::new(Duration::from_millis(u64::from(config.sip.t1_ms.max(1))))),
            dialogs: HashMap::new(),
            sessions: HashMap::new(),
            call_deadlines: Deadlines::default(),
            unwanted: Deadlines::default(),
            active: 0,
            drain: None,
            trunks: Trunks::default(),
            spaces: BTreeMap::new(),
            registrations: Registrations::default(),
            nonces: Nonces::new(random.key()),
            subscriptions: Subscriptions::default(),
        }
    }
}

/// One input's circumstances: the time, and call control.
pub struct Turn<'a> {
    /// On the state's clock.
    pub now: Time,
    /// On the caller's clock, for `media`.
    pub outside: Time,
    pub media: &'a mut dyn MediaControl,
}

pub struct Core {
    pub config: Arc<Config>,
    pub locals: Vec<Local>,
    pub routing: Routing,
    pub guard: Guard,
    pub random: Random,
    pub clock: Clock,
    pub live: Live,
    pub counters: Counters,
    /// The value of User-Agent and Server.
    pub product: String,
    pub out: VecDeque<Output>,
    /// Records that went out and are not on disk yet, while a journal is kept.
    pub unwritten: Unwritten,
    pub overload: Overload,
    pub names: Names,
    /// What is to be done once every call is back in its table.
    pub deferred: VecDeque<Deferred>,
    /// To tag of refusals that left no state; of this process alone.
    pub shed_tag: String,
}

impl Core {
    pub fn new(config: Arc<Config>, seed: Seed, clock: Clock) -> Core {
        let mut random = Random::new(seed);
        let live = Live::new(&config, &mut random);
        Core::with_state(config, random, clock, live)
    }

    pub fn with_state(config: Arc<Config>, random: Random, clock: Clock, mut live: Live) -> Core {
        live.trunks.fit(&config, clock.start());
        if live.drain.is_some() {
            live.trunks.stop_probes();
        }
        let locals = Local::from_config(&config);
        let routing = Routing::new(&config, &locals);
        let guard = Guard::new(&config);
        // RFC 3261 §20.35: a product token and a comment; what would end the comment stays out of it.
        let plain = |c: &char| c.is_ascii_alphanumeric() || "-_.".contains(*c);
        let node: String = config.node.name.chars().filter(plain).collect();
        let product = format!("tandem/{} ({node})", env!("CARGO_PKG_VERSION"));
        let counters = Counters::default();
        let overload = Overload::new(&config.sip.overload);
        let (mut random, out) = (random, VecDeque::new());
        live.registrations.fit(&config, clock.start(), &mut random);
        let shed_tag = random.token();
        let mut names = Names::new(&config, &locals, clock.start());
        if live.drain.is_some() {
            names.stop();
        }
        Core {
            config,
            locals,
            routing,
            guard,
            random,
            clock,
            live,
            counters,
            product,
            out,
            unwritten: Unwritten::default(),
            overload,
            names,
            deferred: VecDeque::new(),
            shed_tag,
        }
    }

    /// Whether the trunk's configuration, or the DNS for it, names this address.
    pub fn knows(&self, trunk: &str, ip: IpAddr) -> bool {
        self.routing.trunk(trunk).is_some_and(|id| self.routing.knows(id, ip)) || self.names.knows(trunk, ip)
    }

    pub fn tell(&mut self, news: News) {
        let level = if news.bad { Level::Warn } else { Level::Info };
        self.log(level, None, None, news.text);
    }

    pub fn local(&self, id: ListenerId) -> Option<&Local> {
        self.locals.get(usize::from(id.0))
    }

    /// RFC 3261 §8.1.1.8: where we take requests, as peers are told. `secure`: of a dialog that a sips URI made, whose
    /// Contacts are sips URIs (RFC 3261 §8.1.1.8, §12.1.1).
    pub fn contact(&self, listener: ListenerId, secure: bool) -> String {
        let Some(local) = self.local(listener) else { return String::new() };
        match local.transport {
            SipTransport::Udp => format!("<sip:{}>", local.told_addr()),
            SipTransport::Tls if secure => format!("<sips:{}>", local.told_addr()),
            transport => format!("<sip:{};transport={}>", local.told_addr(), transport.word()),
        }
    }

    /// A record for the disk.
    pub fn write_record(&mut self, record: CallRecord) {
        self.unwritten.note(&record);
        self.out.push_back(Output::Record(Box::new(record)));
    }

    pub fn log(&mut self, level: Level, call: Option<CallId>, sip_call_id: Option<&str>, text: String) {
        let note = Note { level, call, sip_call_id: sip_call_id.map(str::to_owned), text };
        self.out.push_back(Output::Log(note));
    }

    /// Moves what the transactions sent to the outputs, and counts it.
    pub fn flush(&mut self) {
        for sent in self.live.tx.take_sent() {
            match &sent.label {
                Label::Request(method) => *self.counters.requests_out.entry(method_label(method)).or_default() += 1,
                Label::Response(status) => *self.counters.responses_out.entry(*status).or_default() += 1,
            }
            self.counters.retransmissions_out += u64::from(sent.repeated);
            self.out.push_back(Output::Send { flow: sent.flow, bytes: sent.bytes });
        }
    }
}
