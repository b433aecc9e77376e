//! TLS over one connection: what is read and written passes through here. Runs on the slow-path thread; never blocks.
//!
//! Always holds: at most `SIP_TLS_BUFFER_BYTES` wait encrypted; one call to read takes a bounded number of records,
//! whatever the peer sends; nothing of SIP passes before the handshake is done.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
    sync::Arc,
};

use mio::net::TcpStream;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Connection, Error, ServerConfig, ServerConnection,
    pki_types::ServerName,
};

use crate::{base::limits::SIP_TLS_BUFFER_BYTES, sip::trunk::TlsPeer};

/// Reads from the kernel before the caller gets a say.
const READS: usize = 16;

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    Done,
    /// What came is no TLS.
    NotTls,
    /// No version, cipher or signature in common.
    Incompatible,
    /// None was shown where one is demanded.
    NoCertificate,
    UnknownIssuer,
    Expired,
    WrongName,
    BadCertificate,
    /// The peer sent an alert: it does not like ours.
    Refused,
    Timeout,
    /// The connection was lost.
    Lost,
    Other,
}

impl Handshake {
    pub const ALL: [Handshake; 12] = [
        Handshake::Done,
        Handshake::NotTls,
        Handshake::Incompatible,
        Handshake::NoCertificate,
        Handshake::UnknownIssuer,
        Handshake::Expired,
        Handshake::WrongName,
        Handshake::BadCertificate,
        Handshake::Refused,
        Handshake::Timeout,
        Handshake::Lost,
        Handshake::Other,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Handshake::Done => "done",
            Handshake::NotTls => "not_tls",
            Handshake::Incompatible => "incompatible",
            Handshake::NoCertificate => "no_certificate",
            Handshake::UnknownIssuer => "unknown_issuer",
            Handshake::Expired => "expired",
            Handshake::WrongName => "wrong_name",
            Handshake::BadCertificate => "bad_certificate",
            Handshake::Refused => "refused_by_peer",
            Handshake::Timeout => "timeout",
            Handshake::Lost => "lost",
            Handshake::Other => "other",
        }
    }

    fn of(error: &Error) -> Handshake {
        match error {
            Error::InvalidMessage(_) => Handshake::NotTls,
            Error::PeerIncompatible(_) => Handshake::Incompatible,
            Error::NoCertificatesPresented => Handshake::NoCertificate,
            Error::InvalidCertificate(why) => match why {
                CertificateError::UnknownIssuer => Handshake::UnknownIssuer,
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => Handshake::Expired,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    Handshake::WrongName
                }
                _ => Handshake::BadCertificate,
            },
            Error::AlertReceived(_) => Handshake::Refused,
            _ => Handshake::Other,
        }
    }
}

/// Handshakes by result, in the order of `Handshake::ALL`: of connections to us, and of ours.
#[derive(Clone, Copy, Debug, Default)]
pub struct Handshakes(pub [[u64; Handshake::ALL.len()]; 2]);

impl Handshakes {
    pub fn count(&mut self, ours: bool, result: Handshake) {
        let at = Handshake::ALL.iter().position(|other| *other == result);
        if let Some(count) = at.and_then(|at| self.0[usize::from(ours)].get_mut(at)) {
            *count += 1;
        }
    }
}

pub struct Session {
    tls: Connection,
    /// Who has to be there, on one of ours.
    pub peers: Vec<TlsPeer>,
    done: bool,
    /// Why it cannot go on.
    failed: Option<Error>,
}

impl Session {
    pub fn server(config: Arc<ServerConfig>) -> Option<Session> {
        let tls = ServerConnection::new(config).ok()?;
        Some(Session::new(tls.into(), Vec::new()))
    }

    pub fn client(config: Arc<ClientConfig>, remote: SocketAddr, peers: Vec<TlsPeer>) -> Option<Session> {
        // RFC 6066 §3: the name that is looked for tells the server which of its certificates to show.
        let named = peers.first()?.names.iter().find_map(|name| ServerName::try_from(name.clone()).ok());
        let name = named.unwrap_or(ServerName::IpAddress(remote.ip().into()));
        let tls = ClientConnection::new(config, name).ok()?;
        Some(Session::new(tls.into(), peers))
    }

    fn new(mut tls: Connection, peers: Vec<TlsPeer>) -> Session {
        tls.set_buffer_limit(Some(SIP_TLS_BUFFER_BYTES));
        Session { tls, peers, done: false, failed: None }
    }

    pub fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// The result of the handshake, told once. TLS 1.3's client is done before the server has judged its certificate: an
    /// alert right after comes as the connection's end.
    pub fn news(&mut self) -> Option<(Handshake, Option<String>)> {
        if self.done {
            return None;
        }
        let result = match &self.failed {
            Some(error) => (Handshake::of(error), Some(error.to_string())),
            None if self.tls.is_handshaking() => return None,
            None => (Handshake::Done, None),
        };
        self.done = true;
        Some(result)
    }

    /// The handshake came to no end of its own. None: it had.
    pub fn abandoned(&mut self, timeout: bool) -> Option<Handshake> {
        let open = !std::mem::replace(&mut self.done, true);
        open.then_some(if timeout { Handshake::Timeout } else { Handshake::Lost })
    }

    /// Some bytes; none at the end, which must be a close_notify (RFC 8446 §6.1): a stream that is cut off is an error.
    /// `Interrupted`: there may be more, and the caller has had no say for long.
    pub fn read(&mut self, stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        for _ in 0..READS {
            match self.tls.reader().read(buffer) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
            if self.tls.read_tls(stream)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if let Err(error) = self.tls.process_new_packets() {
                // The alert that says why.
                let _ = self.flush(stream);
                let told = io::Error::other(error.to_string());
                self.failed = Some(error);
                return Err(told);
            }
        }
        Err(ErrorKind::Interrupted.into())
    }

    /// Takes some of `bytes`. `WouldBlock`: none, for now.
    pub fn write(&mut self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
        self.flush(stream)?;
        if self.tls.is_handshaking() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = self.tls.writer().write(bytes)?;
        match self.flush(stream) {
            Err(e) if e.kind() != ErrorKind::WouldBlock => Err(e),
            _ => Ok(taken),
        }
    }

    /// All that is encrypted, to the kernel.
    pub fn flush(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(stream) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Says goodbye, as far as the kernel takes it.
    pub fn close(&mut self, stream: &mut TcpStream) {
        if self.failed.is_none() {
            self.tls.send_close_notify();
            let _ = self.flush(stream);
        }
    }
}
