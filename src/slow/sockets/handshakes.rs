//! Handshakes of TLS: what each is judged by, how many strangers may have, and what is told of how they ended. Runs on the
//! slow-path thread.
//!
//! Always holds: a handshake of a stranger begins only while there is room for it, in number and in time; each handshake
//! is counted once, with one result.

use mio::Token;

use super::{
    Sockets,
    admission::Source,
    connection::Connection,
    secure::{Handshake, Session},
};
use crate::{
    base::{Time, limits::SIP_TLS_HANDSHAKES_OF_STRANGERS},
    sip::{flow::Flow, guard::Gate},
};

impl Sockets {
    /// For a connection that was accepted. None: not now, or we have nothing to show.
    pub(super) fn answer_handshake(&mut self, source: Source, flow: Flow, gate: &dyn Gate) -> Option<Session> {
        if !source.is_trunk() {
            let of_strangers = |c: &&Connection| c.is_handshaking() && c.source.is_some_and(|s| !s.is_trunk());
            let under_way = self.connections.values().filter(of_strangers).count();
            if self.handshakes_left == 0 || under_way >= SIP_TLS_HANDSHAKES_OF_STRANGERS {
                self.counters.handshakes_refused += 1;
                return None;
            }
            self.handshakes_left -= 1;
        }
        let credentials = self.credentials.as_ref()?;
        Session::server(credentials.server(gate.tls_caller(flow.local, flow.remote.ip())))
    }

    /// For a connection that we make. None: nobody is expected there.
    pub(super) fn begin_handshake(&self, flow: Flow, gate: &dyn Gate) -> Option<Session> {
        let peers = gate.tls_called(flow.local, flow.remote);
        let client = self.credentials.as_ref()?.client(&peers)?;
        Session::client(client, flow.remote, peers)
    }

    /// Counts and tells how a handshake ended, if this turn ended it.
    pub(super) fn note_handshake(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        if let Some((result, why)) = connection.tls.as_mut().and_then(|tls| tls.news()) {
            let ours = connection.source.is_none();
            tell(connection, result, why.as_deref().unwrap_or_default());
            self.counters.handshakes.count(ours, result);
        }
    }

    /// The connection ends: with a goodbye, or, if its handshake was under way, with that counted and told.
    pub(super) fn end_session(&mut self, now: Time, connection: &mut Connection) {
        let timeout = connection.is_overdue(now);
        let ours = connection.source.is_none();
        let Some(tls) = &mut connection.tls else { return };
        match tls.abandoned(timeout) {
            Some(result) => {
                tell(connection, result, if timeout { "it took too long" } else { "the connection was lost" });
                self.counters.handshakes.count(ours, result);
            }
            None => tls.close(&mut connection.stream),
        }
    }
}

/// Strangers fail all day: that is worth no line of the operator's log.
fn tell(connection: &Connection, result: Handshake, why: &str) {
    let remote = connection.flow.remote;
    let of_trunk = connection.source.is_none_or(Source::is_trunk);
    let direction = if connection.source.is_none() { "to" } else { "from" };
    match result {
        Handshake::Done => tracing::debug!(%remote, "TLS is set up {direction} {remote}"),
        _ if of_trunk => tracing::warn!(%remote, "no TLS {direction} {remote} ({}): {why}", result.as_str()),
        _ => tracing::debug!(%remote, "no TLS {direction} {remote} ({}): {why}", result.as_str()),
    }
}
