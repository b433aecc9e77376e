//! The DNS resolver: a thread of its own with hickory-resolver on it, asked by values and answering by values. What is asked
//! and what is made of the answers is `sip::names`' business.
//!
//! Always holds: every question is answered once, with a failure if nothing else; the slow path never waits for it; at most
//! `QUESTIONS` are open, more are answered with a failure at once.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{RData, Record, RecordType},
};
use mio::Waker;
use tokio::sync::mpsc;

use crate::sip::names::{Answer, Naptr, Query, QueryKind, Records, Srv};

/// Questions open at once.
const QUESTIONS: usize = 256;
/// For one question, all servers and repetitions together.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of one attempt with one server.
const TIMEOUT: Duration = Duration::from_secs(2);
/// RFC 2308 §5: negative answers have a TTL too; where none is told, this.
const NEGATIVE_TTL_S: u32 = 60;

#[derive(Debug, thiserror::Error)]
pub enum ResolverError {
    #[error("cannot read the DNS servers of this machine (/etc/resolv.conf): {0}; sip.dns names others")]
    Configuration(NetError),
    #[error("cannot start the DNS resolver: {0}")]
    Start(std::io::Error),
}

type Answered = (Query, Answer);

/// The slow path's end.
pub struct Resolver {
    ask: mpsc::UnboundedSender<Query>,
    answers: Arc<Mutex<Vec<Answered>>>,
    open: Arc<AtomicUsize>,
    waker: Arc<Waker>,
}

impl Resolver {
    /// Asks `servers`, or those of this machine if there are none. `waker` is woken for every answer.
    pub fn start(servers: &[SocketAddr], waker: Waker) -> Result<Self, ResolverError> {
        let mut builder = if servers.is_empty() {
            TokioResolver::builder_tokio().map_err(ResolverError::Configuration)?
        } else {
            TokioResolver::builder_with_config(configuration(servers), TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        options.timeout = TIMEOUT;
        // `sip::names` keeps what it learnt for as long as it holds.
        options.cache_size = 0;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ResolverError::Start)?;
        let (ask, mut asked) = mpsc::unbounded_channel::<Query>();
        let (answers, open, waker) =
            (Arc::<Mutex<Vec<Answered>>>::default(), Arc::<AtomicUsize>::default(), Arc::new(waker));
        let (told, left, wakes) = (answers.clone(), open.clone(), waker.clone());
        let work = move || {
            runtime.block_on(async move {
                let Ok(resolver) = builder.build() else { return };
                while let Some(query) = asked.recv().await {
                    let (resolver, told, left, wakes) = (resolver.clone(), told.clone(), left.clone(), wakes.clone());
                    tokio::spawn(async move {
                        let answer = tokio::time::timeout(PATIENCE, look_up(&resolver, &query)).await;
                        tell(&told, (query, answer.unwrap_or(Answer::Failed)));
                        left.fetch_sub(1, Ordering::Relaxed);
                        let _ = wakes.wake();
                    });
                }
            });
        };
        thread::Builder::new().name("resolver".into()).spawn(work).map_err(ResolverError::Start)?;
        Ok(Resolver { ask, answers, open, waker })
    }

    pub fn ask(&self, query: Query) {
        let room = self.open.fetch_add(1, Ordering::Relaxed) < QUESTIONS;
        if room && self.ask.send(query.clone()).is_ok() {
            return;
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
        tell(&self.answers, (query, Answer::Failed));
        let _ = self.waker.wake();
    }

    /// What was answered since the last look.
    pub fn answers(&self) -> Vec<Answered> {
        std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn tell(answers: &Mutex<Vec<Answered>>, answered: Answered) {
    answers.lock().unwrap_or_else(PoisonError::into_inner).push(answered);
}

fn configuration(servers: &[SocketAddr]) -> ResolverConfig {
    let server = |server: &SocketAddr| {
        let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
        (udp.port, tcp.port) = (server.port(), server.port());
        NameServerConfig::new(server.ip(), true, vec![udp, tcp])
    };
    ResolverConfig::from_name_servers(servers.iter().map(server).collect())
}

async fn look_up(resolver: &TokioResolver, query: &Query) -> Answer {
    let kind = match query.kind {
        QueryKind::Naptr => RecordType::NAPTR,
        QueryKind::Srv => RecordType::SRV,
        QueryKind::A => RecordType::A,
        QueryKind::Aaaa => RecordType::AAAA,
    };
    // Names in a configuration are whole: no search list is tried.
    match resolver.lookup(format!("{}.", query.name), kind).await {
        Ok(found) => read(query.kind, found.answers()),
        Err(error) if error.is_no_records_found() => Answer::Nothing { ttl_s: NEGATIVE_TTL_S },
        Err(error) => {
            tracing::debug!(name = query.name, kind = ?query.kind, "the DNS does not answer: {error}");
            Answer::Failed
        }
    }
}

/// The records of the kind that was asked for; the TTL is the shortest of all, aliases included.
fn read(kind: QueryKind, answers: &[Record]) -> Answer {
    let ttl_s = answers.iter().map(|record| record.ttl).min().unwrap_or(0);
    let data = || answers.iter().map(|record| &record.data);
    let records = match kind {
        QueryKind::Naptr => Records::Naptr(data().filter_map(naptr).collect()),
        QueryKind::Srv => Records::Srv(data().filter_map(srv).collect()),
        QueryKind::A | QueryKind::Aaaa => Records::Addresses(data().filter_map(RData::ip_addr).collect()),
    };
    let empty = match &records {
        Records::Naptr(list) => list.is_empty(),
        Records::Srv(list) => list.is_empty(),
        Records::Addresses(list) => list.is_empty(),
    };
    if empty { Answer::Nothing { ttl_s: NEGATIVE_TTL_S } } else { Answer::Found { records, ttl_s } }
}

fn naptr(data: &RData) -> Option<Naptr> {
    let RData::NAPTR(naptr) = data else { return None };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(Naptr {
        order: naptr.order,
        preference: naptr.preference,
        flags: text(&naptr.flags),
        service: text(&naptr.services),
        replacement: naptr.replacement.to_ascii(),
    })
}

fn srv(data: &RData) -> Option<Srv> {
    let RData::SRV(srv) = data else { return None };
    Some(Srv { priority: srv.priority, weight: srv.weight, port: srv.port, target: srv.target.to_ascii() })
}

#[cfg(test)]
mod tests;
