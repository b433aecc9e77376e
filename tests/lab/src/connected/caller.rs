//! A caller over one connection, who is reached by others. It places calls, ends them, or lets the callee end them. When
//! its connection dies it opens another one and asks again whatever was not answered.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    connection::{Connection, answer},
    description,
};
use crate::{law::Law, sip::Message, sys::enter_netns};

/// What it does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where it is reached.
    pub address: SocketAddr,
    pub target: SocketAddr,
    /// Dialled with the call's number behind it.
    pub dial: &'static str,
    pub calls: u32,
    /// New calls per second.
    pub rate: u32,
    pub media_port: u16,
    /// From a call's answer to its end; None: the other side ends it.
    pub talk: Option<Duration>,
    /// So many calls, the first ones, ask for a new session before they end.
    pub renegotiate: u32,
    pub limit: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// 200s for BYE, BYEs of the other side, and 200s for a second INVITE.
    pub ended: u32,
    pub dropped: u32,
    pub renegotiated: u32,
    /// Connections after the first one: of its own, and of who had something to say.
    pub connections: u32,
}

pub struct Caller {
    thread: Option<JoinHandle<Result<Outcome>>>,
}

impl Caller {
    pub fn start(namespace: &str, plan: Plan) -> Caller {
        let name = namespace.to_owned();
        let thread = std::thread::spawn(move || {
            enter_netns(&name)?;
            Line::open(plan)?.run()
        });
        Caller { thread: Some(thread) }
    }

    /// It has ended, well or not, and would not say so before `finish`.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until every call has ended as it should, or says why not.
    pub fn finish(&mut self) -> Result<Outcome> {
        let thread = self.thread.take().context("the caller was waited for already")?;
        thread.join().map_err(|_| anyhow::anyhow!("the caller died"))?
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Inviting,
    Talking { until: Option<Instant> },
    Renegotiating,
    Ending,
    Ended,
}

struct Call {
    number: u32,
    state: State,
    cseq: u32,
    /// From the 200: where requests go, and the other side's tag.
    contact: String,
    to: String,
    /// The request that waits for its final answer.
    open: Option<String>,
}

struct Line {
    plan: Plan,
    /// Its own first, then those that came.
    connections: Vec<Connection>,
    listener: TcpListener,
    calls: Vec<Call>,
    outcome: Outcome,
    begun: Instant,
}

/// How long a connection is tried.
const RECONNECT: Duration = Duration::from_secs(10);

impl Line {
    fn open(plan: Plan) -> Result<Line> {
        let listener = TcpListener::bind(plan.address).with_context(|| format!("{} is taken", plan.address))?;
        listener.set_nonblocking(true)?;
        let own = Connection::open(plan.address.ip(), plan.target)
            .with_context(|| format!("no connection to {}", plan.target))?;
        let calls = (1..=plan.calls).map(|number| Call {
            number,
            state: State::Idle,
            cseq: 0,
            contact: format!("sip:{}{number}@{}", plan.dial, plan.target),
            to: format!("<sip:{}{number}@{}>", plan.dial, plan.target),
            open: None,
        });
        let calls = calls.collect();
        let connections = vec![own];
        Ok(Line { plan, connections, listener, calls, outcome: Outcome::default(), begun: Instant::now() })
    }

    fn run(mut self) -> Result<Outcome> {
        while self.calls.iter().any(|call| call.state != State::Ended) {
            let spent = self.begun.elapsed();
            let left = self.calls.iter().filter(|call| call.state != State::Ended).count();
            ensure!(
                spent < self.plan.limit,
                "{left} calls have not ended after {} s: {:?}",
                spent.as_secs(),
                self.outcome
            );
            self.place()?;
            self.accept()?;
            self.hear()?;
        }
        Ok(self.outcome)
    }

    fn accept(&mut self) -> Result<()> {
        match self.listener.accept() {
            Ok((stream, peer)) => {
                stream.set_nonblocking(false)?;
                self.connections.push(Connection::over(stream, peer)?);
                self.outcome.connections += 1;
                Ok(())
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(e) => Err(e).context("the caller hears no connection"),
        }
    }

    fn hear(&mut self) -> Result<()> {
        let mut index = 0;
        while index < self.connections.len() {
            match self.connections[index].hear()? {
                Some(messages) => {
                    for message in &messages {
                        if let Some(text) = self.take(message)? {
                            self.connections[index].write(&text)?;
                        }
                    }
                    index += 1;
                }
                None if index == 0 => self.reconnect()?,
                None => drop(self.connections.remove(index)),
            }
        }
        Ok(())
    }

    /// Requests that are due.
    fn place(&mut self) -> Result<()> {
        let due = (self.begun.elapsed().as_secs_f64() * f64::from(self.plan.rate)) as usize;
        for index in 0..self.calls.len() {
            let call = &self.calls[index];
            match call.state {
                State::Idle if index <= due => self.ask(index, "INVITE", State::Inviting)?,
                State::Talking { until } if until.is_some_and(|until| Instant::now() >= until) => {
                    if call.number <= self.plan.renegotiate && call.cseq == 1 {
                        self.ask(index, "INVITE", State::Renegotiating)?;
                    } else {
                        self.ask(index, "BYE", State::Ending)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn ask(&mut self, index: usize, method: &str, state: State) -> Result<()> {
        self.calls[index].cseq += 1;
        self.calls[index].state = state;
        let text = self.request(index, method);
        self.calls[index].open = Some(text.clone());
        self.connections[0].write(&text)
    }

    fn request(&self, index: usize, method: &str) -> String {
        let call = &self.calls[index];
        let (own, cseq, number) = (self.plan.address, call.cseq, call.number);
        let body = if method == "INVITE" {
            description(own.ip(), self.plan.media_port + 2 * index as u16, Law::Mu)
        } else {
            String::new()
        };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/TCP {own};branch=z9hG4bK-{number}-{cseq}-{method};rport\r\n\
             From: <sip:caller{number}@{}>;tag=c{number}\r\nTo: {}\r\nCall-ID: {number}-{}@connected\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:caller{number}@{own};transport=tcp>\r\nMax-Forwards: 70\r\n\
             {kind}Content-Length: {}\r\n\r\n{body}",
            call.contact,
            own.ip(),
            call.to,
            self.plan.dial,
            body.len()
        )
    }

    /// What is said to a message.
    fn take(&mut self, message: &Message) -> Result<Option<String>> {
        let id = message.header("Call-ID").unwrap_or_default();
        let index = self.calls.iter().position(|call| id.split('-').next() == Some(call.number.to_string().as_str()));
        let index = index.with_context(|| format!("nobody's: {}, {id}", message.start_line()))?;
        let Some(status) = message.status() else { return self.asked(index, message) };
        if status < 200 {
            return Ok(None);
        }
        ensure!(status == 200, "call {}: {} for {}", index + 1, message.start_line(), message.method());
        let invite = message.method() == "INVITE";
        let call = &mut self.calls[index];
        let cseq: Option<u32> = message.header("CSeq").and_then(|value| value.split(' ').next()?.parse().ok());
        if cseq == Some(call.cseq) && call.open.take().is_some() {
            call.to = message.header("To").unwrap_or_default().to_owned();
            let first = call.state == State::Inviting;
            let until = self.plan.talk.map(|talk| Instant::now() + if first { talk } else { Duration::ZERO });
            call.state = match call.state {
                State::Ending => {
                    self.outcome.ended += 1;
                    State::Ended
                }
                State::Renegotiating => {
                    self.outcome.renegotiated += 1;
                    State::Talking { until }
                }
                _ => State::Talking { until },
            };
            if let Some(contact) = message.header("Contact").filter(|_| invite) {
                let uri = contact.split_once('<').and_then(|(_, rest)| rest.split('>').next());
                call.contact = uri.unwrap_or(contact).to_owned();
            }
        }
        // RFC 3261 §13.2.2.4: the ACK has the CSeq of what it acknowledges, each time that the 200 comes.
        Ok(invite.then(|| self.request(index, "ACK")))
    }

    /// The other side hangs up.
    fn asked(&mut self, index: usize, message: &Message) -> Result<Option<String>> {
        if message.method() != "BYE" || self.plan.talk.is_some() {
            bail!("the caller was asked something: {}", message.start_line());
        }
        if std::mem::replace(&mut self.calls[index].state, State::Ended) != State::Ended {
            self.outcome.dropped += 1;
        }
        Ok(Some(answer(message, "200 OK", "", self.plan.address, "")))
    }

    fn reconnect(&mut self) -> Result<()> {
        let deadline = Instant::now() + RECONNECT;
        self.connections[0] = loop {
            match Connection::open(self.plan.address.ip(), self.plan.target) {
                Ok(connection) => break connection,
                Err(e) if Instant::now() > deadline => return Err(e).context("the caller cannot connect again"),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        self.outcome.connections += 1;
        let open: Vec<String> = self.calls.iter().filter_map(|call| call.open.clone()).collect();
        open.iter().try_for_each(|request| self.connections[0].write(request))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, Read as _, Write as _},
        net::TcpStream,
    };

    use super::*;

    /// The next request's head and its body's length are read; the request's method and what identifies it come back.
    fn hear(stream: &mut std::io::BufReader<TcpStream>) -> (String, String) {
        let (mut method, mut kept, mut length) = (String::new(), String::new(), 0);
        loop {
            let mut line = String::new();
            assert!(stream.read_line(&mut line).is_ok());
            if method.is_empty() {
                method = line.split(' ').next().unwrap_or_default().to_owned();
            }
            if ["Via", "From", "To", "Call-ID", "CSeq"].iter().any(|name| line.starts_with(&format!("{name}:"))) {
                kept.push_str(&line);
            }
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line == "\r\n" {
                let mut body = vec![0; length];
                assert!(stream.read_exact(&mut body).is_ok());
                return (method, kept);
            }
        }
    }

    fn answer(stream: &mut std::io::BufReader<TcpStream>, kept: &str, contact: SocketAddr) {
        let text = format!("SIP/2.0 200 OK\r\n{kept}Contact: <sip:{contact}>\r\nContent-Length: 0\r\n\r\n");
        assert!(stream.get_mut().write_all(text.as_bytes()).is_ok());
    }

    #[test]
    fn what_was_not_answered_is_asked_again_on_the_next_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let target = listener.local_addr().expect("its address");
        let plan = Plan {
            address: "127.0.0.1:0".parse().expect("an address"),
            target,
            dial: "70",
            calls: 1,
            rate: 10,
            media_port: 30_000,
            talk: Some(Duration::from_millis(10)),
            renegotiate: 0,
            limit: Duration::from_secs(10),
        };
        let caller = std::thread::spawn(move || Line::open(plan)?.run());
        let accept = || std::io::BufReader::new(listener.accept().expect("the caller connects").0);
        let mut first = accept();
        let (method, kept) = hear(&mut first);
        assert_eq!(method, "INVITE");
        answer(&mut first, &kept, target);
        assert_eq!(hear(&mut first).0, "ACK");
        let (method, asked) = hear(&mut first);
        assert_eq!(method, "BYE");
        drop(first);
        let mut second = accept();
        let (method, again) = hear(&mut second);
        assert_eq!((method.as_str(), &again), ("BYE", &asked));
        answer(&mut second, &again, target);
        let outcome = caller.join().ok().and_then(Result::ok);
        assert_eq!(outcome, Some(Outcome { ended: 1, connections: 1, ..Outcome::default() }));
    }
}
