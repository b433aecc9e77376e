//! The admin socket's server, driven by the slow path: every call returns at once.
//!
//! What holds: at most `MAX_CONNECTIONS` at once; a request fits `REQUEST_BYTES`; a connection's next request is read
//! only when its last answer has left, so one answer is the most that waits; who is silent for `IDLE` is cut off. The
//! socket belongs to the user that runs tandem (mode 0600), from its first moment.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::{fs::FileTypeExt, fs::MetadataExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use mio::{
    Interest, Token,
    net::{UnixListener, UnixStream},
};

use super::protocol::{AdminRequest, AdminResponse};
use crate::base::Time;

/// Connections at once; one more is closed as soon as it is accepted.
pub const MAX_CONNECTIONS: usize = 16;
/// A request line, newline included.
pub const REQUEST_BYTES: usize = 4_096;
/// A connection without progress for so long is closed.
pub const IDLE: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("another tandem answers on the admin socket {0}; stop it, or give this one its own admin.socket")]
    InUse(PathBuf),
    #[error("{0} exists and is no socket; move it away, or choose another admin.socket")]
    NoSocket(PathBuf),
    #[error("cannot open the admin socket {path}: {source}")]
    Open { path: PathBuf, source: io::Error },
}

#[derive(Debug)]
pub struct AdminServer {
    path: PathBuf,
    /// Device and inode of our socket file: on drop, a successor's file is left alone.
    identity: Option<(u64, u64)>,
    listener: UnixListener,
    connections: [Option<Connection>; MAX_CONNECTIONS],
    /// Set by `register`.
    poll: Option<(mio::Registry, usize)>,
}

impl AdminServer {
    /// Tokens that `register` takes: one for the listener and one for each connection.
    pub const TOKENS: usize = 1 + MAX_CONNECTIONS;

    /// Opens the socket at `path`. A file left by a tandem that died is removed; one on which somebody listens is not.
    pub fn bind(path: &Path) -> Result<Self, AdminError> {
        let open_error = |source| AdminError::Open { path: path.to_owned(), source };
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            fs::create_dir_all(directory).map_err(open_error)?;
        }
        remove_stale(path)?;
        let listener = bind_private(path).map_err(open_error)?;
        let identity = fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
        Ok(AdminServer {
            path: path.to_owned(),
            identity,
            listener,
            connections: [const { None }; MAX_CONNECTIONS],
            poll: None,
        })
    }

    /// Registers with the slow path's poll, under the tokens `first` to `first + TOKENS - 1`.
    pub fn register(&mut self, registry: &mio::Registry, first: usize) -> io::Result<()> {
        registry.register(&mut self.listener, Token(first), Interest::READABLE)?;
        self.poll = Some((registry.try_clone()?, first));
        Ok(())
    }

    /// Whether an event with this token is for `poll`.
    pub fn owns(&self, token: Token) -> bool {
        self.poll.as_ref().is_some_and(|(_, first)| (*first..*first + Self::TOKENS).contains(&token.0))
    }

    /// Does whatever can be done without waiting: accepts, reads, hands requests to `handle`, writes. To be called when
    /// an event with one of the tokens came, and about once a second, for idle connections.
    pub fn poll(&mut self, now: Time, handle: &mut dyn FnMut(AdminRequest) -> AdminResponse) {
        self.accept(now);
        for slot in &mut self.connections {
            let keep = slot.as_mut().is_none_or(|connection| connection.advance(now, handle));
            if !keep {
                // Closing the descriptor takes it out of the poll.
                *slot = None;
            }
        }
    }

    fn accept(&mut self, now: Time) {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!(%error, "the admin socket does not accept");
                    return;
                }
            };
            // Full: dropping the stream closes it.
            let Some(index) = self.connections.iter().position(Option::is_none) else { continue };
            if let Some((registry, first)) = &self.poll {
                let token = Token(first + 1 + index);
                if registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE).is_err() {
                    continue;
                }
            }
            self.connections[index] = Some(Connection::new(stream, now));
        }
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).ok().map(|meta| (meta.dev(), meta.ino()));
        if ours.is_some() && ours == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket file on which nobody listens.
fn remove_stale(path: &Path) -> Result<(), AdminError> {
    let open_error = |source| AdminError::Open { path: path.to_owned(), source };
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(open_error(error)),
    };
    if !meta.file_type().is_socket() {
        return Err(AdminError::NoSocket(path.to_owned()));
    }
    // unix(7): connecting to a socket file without a listener is refused. EAGAIN means a listener with a full backlog.
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(open_error),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(AdminError::InUse(path.to_owned())),
        Ok(_) => Err(AdminError::InUse(path.to_owned())),
        Err(error) => Err(open_error(error)),
    }
}

/// Binds under a name of its own, takes other users' rights away, then moves it into place: nobody can connect in
/// between.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(format!(".{}", std::process::id()));
    let hidden = PathBuf::from(hidden);
    let _ = fs::remove_file(&hidden);
    let listener = UnixListener::bind(&hidden)?;
    let placed =
        fs::set_permissions(&hidden, fs::Permissions::from_mode(0o600)).and_then(|()| fs::rename(&hidden, path));
    if placed.is_err() {
        let _ = fs::remove_file(&hidden);
    }
    placed.map(|()| listener)
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    /// What was read and not yet handled: less than a request, or requests behind an answer that has not left.
    input: Vec<u8>,
    /// The answer, and how much of it has left.
    output: Vec<u8>,
    sent: usize,
    last_progress: Time,
    /// The other end sends no more.
    half_closed: bool,
    /// Close once the answer has left.
    closing: bool,
}

impl Connection {
    fn new(stream: UnixStream, now: Time) -> Self {
        Connection {
            stream,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            last_progress: now,
            half_closed: false,
            closing: false,
        }
    }

    /// Goes on until it would wait. False: close it.
    fn advance(&mut self, now: Time, handle: &mut dyn FnMut(AdminRequest) -> AdminResponse) -> bool {
        loop {
            match self.send(now) {
                Ok(true) => {}
                Ok(false) => return now.since(self.last_progress) < IDLE,
                Err(_) => return false,
            }
            if self.closing {
                return false;
            }
            if let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                self.last_progress = now;
                self.answer(&respond(&line, handle));
            } else if self.input.len() >= REQUEST_BYTES {
                self.answer(&AdminResponse::Error(format!("a request is a line of at most {REQUEST_BYTES} bytes")));
                self.closing = true;
            } else if self.half_closed {
                return false;
            } else {
                match self.receive() {
                    Ok(true) => {}
                    Ok(false) => return now.since(self.last_progress) < IDLE,
                    Err(_) => return false,
                }
            }
        }
    }

    /// True when nothing is left to send.
    fn send(&mut self, now: Time) -> io::Result<bool> {
        while self.sent < self.output.len() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.sent += count;
                    self.last_progress = now;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output = Vec::new();
        self.sent = 0;
        Ok(true)
    }

    /// Reads what is there, up to a request's length; false if nothing is. Single bytes are no progress: only a whole
    /// request postpones the end of an idle connection.
    fn receive(&mut self) -> io::Result<bool> {
        let mut bytes = [0; REQUEST_BYTES];
        let room = REQUEST_BYTES - self.input.len();
        loop {
            return match self.stream.read(&mut bytes[..room]) {
                Ok(0) => {
                    self.half_closed = true;
                    Ok(true)
                }
                Ok(count) => {
                    self.input.extend_from_slice(&bytes[..count]);
                    Ok(true)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
        }
    }

    fn answer(&mut self, response: &AdminResponse) {
        self.output = serde_json::to_vec(response)
            .unwrap_or_else(|_| br#"{"error":"the answer cannot be written as JSON"}"#.to_vec());
        self.output.push(b'\n');
        self.sent = 0;
    }
}

fn respond(line: &[u8], handle: &mut dyn FnMut(AdminRequest) -> AdminResponse) -> AdminResponse {
    match serde_json::from_slice::<AdminRequest>(line) {
        Ok(request) => handle(request),
        Err(error) => AdminResponse::Error(format!("not a request that this tandem knows: {error}")),
    }
}

#[cfg(test)]
mod tests;
