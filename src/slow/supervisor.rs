//! What systemd is told (sd_notify(3)): started, stopping, and every so often that the slow path still comes round. Slow-path
//! thread; a datagram that cannot be sent is left out, and without systemd nothing is sent at all.
//!
//! Always holds: a process that has to be restarted (`Health::alive`) does not say that it is well, so systemd restarts it.

use std::{
    env,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};

use crate::base::Time;

#[derive(Debug, Default)]
pub struct Supervisor {
    socket: Option<UnixDatagram>,
    /// Half of what systemd waits for a sign of life, as sd_watchdog_enabled(3) advises.
    every: Option<Duration>,
    next: Time,
}

impl Supervisor {
    /// As systemd tells a service of `Type=notify`.
    pub fn from_environment() -> Supervisor {
        let own = std::process::id().to_string();
        let meant = env::var("WATCHDOG_PID").map_or(true, |pid| pid == own);
        let watchdog_us = env::var("WATCHDOG_USEC").ok().filter(|_| meant).and_then(|us| us.parse().ok());
        Supervisor::new(&env::var("NOTIFY_SOCKET").unwrap_or_default(), watchdog_us)
    }

    /// `at`: the path of the socket, or `@` and its abstract name.
    fn new(at: &str, watchdog_us: Option<u64>) -> Supervisor {
        let address = match at.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(at),
        };
        let open = |address: SocketAddr| {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.connect_addr(&address)?;
            Ok::<_, std::io::Error>(socket)
        };
        let socket = if at.is_empty() { None } else { address.and_then(open).ok() };
        let every = watchdog_us.map(|us| Duration::from_micros(us / 2)).filter(|_| socket.is_some());
        Supervisor { socket, every, next: Time::default() }
    }

    /// The ports are up, and calls are taken from now on.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// A drain has begun, or the end.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// The slow path came round, and all is well or not.
    pub fn beat(&mut self, now: Time, well: bool) {
        if let Some(every) = self.every
            && well
            && now >= self.next
        {
            self.next = now + every;
            self.say("WATCHDOG=1");
        }
    }

    fn say(&self, words: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(words.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(by: &UnixDatagram) -> Option<String> {
        let mut room = [0; 64];
        by.recv(&mut room).ok().map(|length| String::from_utf8_lossy(&room[..length]).into_owned())
    }

    #[test]
    fn systemd_hears_of_the_start_and_of_each_half_of_the_watchdogs_time() {
        let name = format!("tandem-supervisor-{}", std::process::id());
        let systemd = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        systemd.set_nonblocking(true).unwrap();
        let mut supervisor = Supervisor::new(&format!("@{name}"), Some(10_000_000));
        supervisor.ready();
        assert_eq!(heard(&systemd).as_deref(), Some("READY=1"));
        for (at_s, well, expected) in [
            (100, true, Some("WATCHDOG=1")),
            (104, true, None),
            (105, true, Some("WATCHDOG=1")),
            (110, false, None),
            (111, true, Some("WATCHDOG=1")),
        ] {
            supervisor.beat(Time::from_secs(at_s), well);
            assert_eq!(heard(&systemd).as_deref(), expected, "{at_s} s");
        }
        supervisor.stopping();
        assert_eq!(heard(&systemd).as_deref(), Some("STOPPING=1"));
    }

    #[test]
    fn without_systemd_nothing_is_sent() {
        let mut supervisor = Supervisor::new("", Some(10_000_000));
        supervisor.ready();
        supervisor.beat(Time::from_secs(1), true);
        assert!(supervisor.socket.is_none() && supervisor.every.is_none());
    }
}
