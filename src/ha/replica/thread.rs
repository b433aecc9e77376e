//! The thread `replica`: connects or accepts by its role, carries frames both ways, gives up what is silent or strange and
//! begins again.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crossbeam::channel::{Receiver, Sender, TryRecvError};
use mio::{
    Events, Interest, Poll, Token, Waker,
    net::{TcpListener, TcpStream},
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    Settings,
    end::{Command, Event},
    pipe::{Pipe, PipeError},
};
use crate::{
    base::{
        Time,
        clock::Monotonic,
        limits::{REPLICA_INBOX_BYTES, REPLICA_STRANGERS},
        pack::{Packer, unpack},
    },
    ha::replicate::{Frame, Hello, Role},
};

pub const WAKE: Token = Token(0);
const LISTENER: Token = Token(1);
const FIRST_PIPE: usize = 2;

/// The longest sleep: connections are looked after this often.
const TICK: Duration = Duration::from_millis(50);
/// After a connection that failed, or could not be made.
const AGAIN: Duration = Duration::from_millis(200);
/// Refusals of one kind are told of no more often than this.
const TELL_AGAIN: Duration = Duration::from_secs(10);

struct Connection {
    /// Drawn at random: the session's name, too.
    id: u64,
    token: Token,
    pipe: Pipe,
    /// Our hello went out, and the peer's was heard and fits.
    greeted: bool,
    up: bool,
    /// What may be there to be read: the poll tells of it once.
    readable: bool,
}

pub struct Work {
    settings: Settings,
    clock: Monotonic,
    poll: Poll,
    orders: Receiver<Command>,
    tell: Sender<Event>,
    inbox: Arc<AtomicUsize>,
    waker: Option<Arc<Waker>>,
    role: Option<Role>,
    listener: Option<TcpListener>,
    connections: Vec<Connection>,
    next_token: usize,
    /// No connection is made, nor a listener opened, before.
    not_before: Time,
    told: Option<(String, Time)>,
    packer: Packer,
}

/// What came of a look at a connection.
enum End {
    Failed(PipeError),
    /// What it sent is no frame, or its hello does not fit.
    Strange(String),
}

impl From<PipeError> for End {
    fn from(error: PipeError) -> End {
        End::Failed(error)
    }
}

impl Work {
    pub fn new(
        settings: Settings,
        clock: Monotonic,
        poll: Poll,
        orders: Receiver<Command>,
        tell: Sender<Event>,
        inbox: Arc<AtomicUsize>,
        waker: Option<Arc<Waker>>,
    ) -> Work {
        Work {
            settings,
            clock,
            poll,
            orders,
            tell,
            inbox,
            waker,
            role: None,
            listener: None,
            connections: Vec::new(),
            next_token: FIRST_PIPE,
            not_before: Time::ZERO,
            told: None,
            packer: Packer::default(),
        }
    }

    /// Until the slow path's end is dropped.
    pub fn run(&mut self) {
        let mut events = Events::with_capacity(64);
        loop {
            let waiting = self.connections.iter().any(|c| c.readable) && !self.is_full();
            if let Err(e) = self.poll.poll(&mut events, Some(if waiting { Duration::ZERO } else { TICK }))
                && e.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!("the poll of replication failed: {e}");
                std::thread::sleep(TICK);
            }
            let now = self.clock.now();
            let mut accept = false;
            for event in &events {
                accept |= event.token() == LISTENER;
                let at = self.connections.iter_mut().find(|c| c.token == event.token());
                at.into_iter().for_each(|connection| connection.readable = true);
            }
            if !self.obey(now) {
                return;
            }
            self.begin(now);
            if accept {
                self.accept(now);
            }
            self.turn(now);
        }
    }

    /// False: there is nobody any more who could say something.
    fn obey(&mut self, now: Time) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok(Command::Be(role)) => {
                    self.role = Some(role);
                    self.listener = None;
                    self.not_before = now;
                    while !self.connections.is_empty() {
                        self.close(0);
                    }
                }
                Ok(Command::HangUp { connection }) => {
                    if let Some(at) = self.connections.iter().position(|c| c.id == connection) {
                        self.close(at);
                        self.not_before = now + AGAIN;
                    }
                }
                Ok(Command::Send { connection, frame }) => {
                    let Some(at) = self.connections.iter().position(|c| c.id == connection) else { continue };
                    let bytes = self.packer.pack(&*frame);
                    if let Err(error) = self.connections[at].pipe.send(now, &bytes) {
                        self.fail(now, at, &End::Failed(error));
                    }
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Listens or connects, if that is to be done.
    fn begin(&mut self, now: Time) {
        if now < self.not_before {
            return;
        }
        let result = match self.role {
            Some(Role::Active) if self.listener.is_none() => self.listen(),
            Some(Role::Standby) if self.connections.is_empty() => self.connect(now),
            _ => return,
        };
        if let Err(e) = result {
            self.not_before = now + AGAIN;
            self.complain(now, format!("replication: {e}"));
        }
    }

    fn listen(&mut self) -> Result<(), PipeError> {
        let mut listener = TcpListener::bind(self.settings.local)?;
        self.poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        self.listener = Some(listener);
        Ok(())
    }

    fn connect(&mut self, now: Time) -> Result<(), PipeError> {
        let Settings { local, peer, .. } = self.settings;
        let socket = Socket::new(Domain::for_address(peer), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddr::new(local.ip(), 0).into())?;
        match socket.connect(&peer.into()) {
            Ok(()) => {}
            // connect(2): it is under way.
            Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(e) => return Err(e.into()),
        }
        self.add(now, TcpStream::from_std(socket.into()), peer, true)
    }

    fn accept(&mut self, now: Time) {
        while let Some(Ok((stream, from))) = self.listener.as_ref().map(TcpListener::accept) {
            let strangers = self.connections.iter().filter(|c| !c.up).count();
            if from.ip() != self.settings.peer.ip() || strangers >= REPLICA_STRANGERS {
                continue;
            }
            if let Err(e) = self.add(now, stream, from, false) {
                self.complain(now, format!("replication: {e}"));
            }
        }
    }

    fn add(&mut self, now: Time, stream: TcpStream, peer: SocketAddr, initiator: bool) -> Result<(), PipeError> {
        // Batches are small, and someone may wait for their acknowledgement.
        let _ = stream.set_nodelay(true);
        let token = Token(self.next_token);
        self.next_token += 1;
        let mut pipe = Pipe::new(now, stream, peer, &self.settings.key, initiator)?;
        self.poll.registry().register(&mut pipe.stream, token, Interest::READABLE | Interest::WRITABLE)?;
        let mut id = [0; 8];
        getrandom::fill(&mut id).map_err(io::Error::from)?;
        let id = u64::from_ne_bytes(id);
        self.connections.push(Connection { id, token, pipe, greeted: false, up: false, readable: true });
        Ok(())
    }

    /// The slow path is behind: nothing more is read, so that the peer learns of it.
    fn is_full(&self) -> bool {
        self.inbox.load(Ordering::Relaxed) >= REPLICA_INBOX_BYTES
    }

    fn turn(&mut self, now: Time) {
        let mut at = 0;
        while at < self.connections.len() {
            match self.look(now, at) {
                Ok(()) => at += 1,
                Err(end) => {
                    self.fail(now, at, &end);
                    at = 0;
                }
            }
        }
    }

    fn look(&mut self, now: Time, at: usize) -> Result<(), End> {
        let full = self.is_full();
        let Some(connection) = self.connections.get_mut(at) else { return Ok(()) };
        let mut frames = Vec::new();
        if connection.readable && !full {
            connection.readable = connection.pipe.read(now, &mut |frame| frames.push(frame.to_vec()))?;
        }
        let Some(role) = self.role else { return Ok(()) };
        if connection.pipe.is_open() && !connection.greeted {
            connection.greeted = true;
            let hello = Frame::Hello(Hello::new(&self.settings.node, role));
            connection.pipe.send(now, &self.packer.pack(&hello))?;
        }
        let mut came_up = false;
        for bytes in frames {
            let frame: Frame = unpack(&bytes).ok_or_else(|| End::Strange("sends what is no frame".into()))?;
            let id = connection.id;
            match frame {
                Frame::Hello(theirs) if !connection.up => {
                    let ours = Hello::new(&self.settings.node, role);
                    ours.meets(&theirs, &self.settings.peer_node).map_err(|e| End::Strange(e.to_string()))?;
                    (connection.up, came_up) = (true, true);
                    let _ = self.tell.send(Event::Up { connection: id, role });
                }
                Frame::Hello(_) => return Err(End::Strange("greets twice".into())),
                _ if !connection.up => return Err(End::Strange("does not greet".into())),
                frame => {
                    let bytes = bytes.len();
                    self.inbox.fetch_add(bytes, Ordering::Relaxed);
                    let _ = self.tell.send(Event::Frame { connection: id, frame: Box::new(frame), bytes });
                }
            }
            if let Some(waker) = &self.waker {
                let _ = waker.wake();
            }
        }
        connection.pipe.look(now)?;
        connection.pipe.flush()?;
        if came_up {
            tracing::info!(peer = %connection.pipe.peer, node = self.settings.peer_node, "replication is connected");
            let newest = connection.id;
            // A peer that connects anew has lost the connection that was.
            while let Some(old) = self.connections.iter().position(|c| c.up && c.id != newest) {
                self.close(old);
            }
        }
        Ok(())
    }

    fn fail(&mut self, now: Time, at: usize, end: &End) {
        let Some(connection) = self.connections.get(at) else { return };
        let (peer, was_up) = (connection.pipe.peer, connection.up);
        self.not_before = now + AGAIN;
        let text = match end {
            End::Failed(error) => format!("replication with {peer}: {error}"),
            End::Strange(what) => format!("replication with {peer}: {what}"),
        };
        if was_up {
            tracing::warn!("{text}");
        } else {
            self.complain(now, text);
        }
        self.close(at);
    }

    fn close(&mut self, at: usize) {
        let mut connection = self.connections.swap_remove(at);
        let _ = self.poll.registry().deregister(&mut connection.pipe.stream);
        if connection.up {
            let _ = self.tell.send(Event::Down { connection: connection.id });
            if let Some(waker) = &self.waker {
                let _ = waker.wake();
            }
        }
    }

    fn complain(&mut self, now: Time, text: String) {
        let again = self.told.as_ref().is_some_and(|(told, at)| *told == text && now.since(*at) < TELL_AGAIN);
        if !again {
            tracing::warn!("{text}");
            self.told = Some((text, now));
        }
    }
}
