//! A callee who answers every call, over whatever connection it comes, and hangs up or is hung up on. It does not repeat its 200 until the ACK: nothing happens to the host before that.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
    sync::mpsc::{Sender, channel},
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
    pub address: SocketAddr,
    pub calls: u32,
    pub media_port: u16,
    /// It ends each call so long after the ACK; None: the other side ends it.
    pub talk: Option<Duration>,
    pub limit: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Calls that the other side ended, and that this one did.
    pub ended: u32,
    pub dropped: u32,
    /// INVITEs within a dialog.
    pub renegotiated: u32,
    /// Connections, of the other side and of its own.
    pub connections: u32,
}

pub struct Callee {
    thread: Option<JoinHandle<Result<Outcome>>>,
}

impl Callee {
    /// Once it listens.
    pub fn start(namespace: &str, plan: Plan) -> Result<Callee> {
        let name = namespace.to_owned();
        let (ready, is_ready) = channel();
        let thread = std::thread::spawn(move || {
            enter_netns(&name)?;
            answer_calls(plan, &ready)
        });
        let mut callee = Callee { thread: Some(thread) };
        if is_ready.recv().is_err() {
            callee.finish()?;
        }
        Ok(callee)
    }

    /// It has ended, well or not, and would not say so before `finish`.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until every call has ended as it should, or says why not.
    pub fn finish(&mut self) -> Result<Outcome> {
        let thread = self.thread.take().context("the callee was waited for already")?;
        thread.join().map_err(|_| anyhow::anyhow!("the callee died"))?
    }
}

/// A call, by its Call-ID.
struct Call {
    index: u16,
    /// Where a request of this side goes, and what it says of both.
    contact: String,
    from: String,
    to: String,
    /// When this side ends it.
    ends: Option<Instant>,
    /// Its BYE, until that is answered, and whether it was sent over a connection that lives.
    bye: Option<String>,
    sent: bool,
    over: bool,
}

struct Desk {
    plan: Plan,
    calls: BTreeMap<String, Call>,
    outcome: Outcome,
}

fn answer_calls(plan: Plan, ready: &Sender<()>) -> Result<Outcome> {
    let listener = TcpListener::bind(plan.address).with_context(|| format!("{} is taken", plan.address))?;
    listener.set_nonblocking(true)?;
    let _ = ready.send(());
    let begun = Instant::now();
    let mut desk = Desk { plan, calls: BTreeMap::new(), outcome: Outcome::default() };
    let mut connections: Vec<Connection> = Vec::new();
    while desk.outcome.ended + desk.outcome.dropped < desk.plan.calls {
        ensure!(begun.elapsed() < desk.plan.limit, "the callee still waits: {:?}", desk.outcome);
        match listener.accept() {
            Ok((stream, peer)) => {
                stream.set_nonblocking(false)?;
                connections.push(Connection::over(stream, peer)?);
                desk.outcome.connections += 1;
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(e).context("the callee hears no connection"),
        }
        desk.hear(&mut connections)?;
        desk.hang_up(&mut connections)?;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(desk.outcome)
}

impl Desk {
    fn hear(&mut self, connections: &mut Vec<Connection>) -> Result<()> {
        let mut index = 0;
        while index < connections.len() {
            let Some(messages) = connections[index].hear()? else {
                connections.remove(index);
                // What was not answered is asked again.
                self.calls.values_mut().for_each(|call| call.sent = false);
                continue;
            };
            for message in &messages {
                for text in self.take(message)? {
                    connections[index].write(&text)?;
                }
            }
            index += 1;
        }
        Ok(())
    }

    /// BYE for the calls whose time has come: over the connection that came last, or one of its own if there is none.
    fn hang_up(&mut self, connections: &mut Vec<Connection>) -> Result<()> {
        let (now, address) = (Instant::now(), self.plan.address);
        for (id, call) in &mut self.calls {
            if call.ends.is_some_and(|at| at <= now) {
                call.ends = None;
                call.bye = Some(format!(
                    "BYE {} SIP/2.0\r\nVia: SIP/2.0/TCP {address};branch=z9hG4bK-bye-{}\r\nFrom: {}\r\nTo: {}\r\n\
                     Call-ID: {id}\r\nCSeq: 1 BYE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
                    call.contact, call.index, call.to, call.from
                ));
            }
            let Some(bye) = call.bye.as_ref().filter(|_| !call.sent) else { continue };
            if connections.is_empty() {
                let host = call.contact.trim_start_matches("sip:").split(';').next().unwrap_or_default();
                let host = host.split_once('@').map_or(host, |(_, host)| host);
                let peer = host.parse().with_context(|| format!("no address in {}", call.contact))?;
                // A host that is not there yet is asked by the next turn.
                let Ok(connection) = Connection::open(address.ip(), peer) else { return Ok(()) };
                connections.push(connection);
                self.outcome.connections += 1;
            }
            if let Some(connection) = connections.last_mut() {
                connection.write(bye)?;
                call.sent = true;
            }
        }
        Ok(())
    }

    /// What is said to a message.
    fn take(&mut self, message: &Message) -> Result<Vec<String>> {
        let id = message.header("Call-ID").unwrap_or_default().to_owned();
        if let Some(status) = message.status() {
            let call = self.calls.get_mut(&id).with_context(|| format!("an answer to nobody: {id}"))?;
            ensure!(status == 200, "{} for the callee's BYE", message.start_line());
            if call.bye.take().is_some() {
                call.over = true;
                self.outcome.dropped += 1;
            }
            return Ok(Vec::new());
        }
        let within = message.header("To").is_some_and(|to| to.contains(";tag="));
        match message.method() {
            "INVITE" => {
                if within {
                    self.outcome.renegotiated += 1;
                }
                Ok(self.invited(message, id))
            }
            "ACK" => {
                if let Some(call) = self.calls.get_mut(&id) {
                    call.ends = self.plan.talk.map(|talk| Instant::now() + talk);
                }
                Ok(Vec::new())
            }
            "BYE" => {
                let call = self.calls.get_mut(&id).with_context(|| format!("a BYE for no call: {id}"))?;
                if !std::mem::replace(&mut call.over, true) {
                    self.outcome.ended += 1;
                }
                Ok(vec![answer(message, "200 OK", "", self.plan.address, "")])
            }
            other => bail!("the callee was asked {other}"),
        }
    }

    fn invited(&mut self, message: &Message, id: String) -> Vec<String> {
        let new = self.calls.len() as u16;
        let header = |name| message.header(name).unwrap_or_default().to_owned();
        let contact = header("Contact");
        let contact =
            contact.split_once('<').and_then(|(_, rest)| rest.split('>').next()).unwrap_or(&contact).to_owned();
        let call = self.calls.entry(id).or_insert_with(|| Call {
            index: new,
            contact: String::new(),
            from: header("From"),
            to: format!("{};tag=e{new}", header("To")),
            ends: None,
            bye: None,
            sent: false,
            over: false,
        });
        call.contact = contact;
        let (tag, port) = (format!("e{}", call.index), self.plan.media_port + 2 * call.index);
        let body = description(self.plan.address.ip(), port, Law::A);
        let say = |status, body| answer(message, status, &tag, self.plan.address, body);
        vec![say("180 Ringing", ""), say("200 OK", &body)]
    }
}
