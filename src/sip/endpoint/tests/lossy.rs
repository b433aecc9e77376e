//! Calls over links that lose messages at random, from a seed that a failure prints.

use super::harness::*;
use crate::{
    base::Time,
    sip::{
        endpoint::Cause,
        message::{HeaderName, Message, Method},
    },
};

/// A small generator, so that a failure can be run again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// A phone that repeats its requests and its 200 each half second, and answers whatever it is sent.
struct Phone {
    peer: std::net::SocketAddr,
    /// What it repeats until it is answered.
    pending: Option<Message>,
    ends: Option<Ends>,
    invite: Option<Message>,
    up: bool,
    down: bool,
}

impl Phone {
    fn new(peer: std::net::SocketAddr) -> Phone {
        Phone { peer, pending: None, ends: None, invite: None, up: false, down: false }
    }

    /// What it answers at once.
    fn hear(&mut self, net: &mut Net, message: &Message) -> Vec<Message> {
        match (message.method(), message.status()) {
            (Some(Method::Invite), _) => {
                let ok = respond(self.peer, message, 200, "phone", Some(6_000));
                if self.ends.is_none() {
                    self.ends = Some(Ends::callee(self.peer, message, &ok));
                    self.pending = Some(ok);
                }
                Vec::new()
            }
            (Some(Method::Ack), _) => {
                self.pending = self.pending.take().filter(|p| p.is_request());
                self.up = true;
                Vec::new()
            }
            (Some(Method::Bye), _) => {
                self.down = true;
                vec![respond(self.peer, message, 200, "", None)]
            }
            (None, Some(status)) if status >= 200 => {
                let method = message.cseq().unwrap().method;
                if self.pending.as_ref().is_some_and(|p| p.method() == Some(&method)) {
                    self.pending = None;
                }
                match (method, self.invite.clone()) {
                    (Method::Invite, Some(invite)) => {
                        self.up = true;
                        let ends = Ends::caller(self.peer, &invite, message);
                        self.ends = Some(ends.clone());
                        vec![ack(net, &ends, 1)]
                    }
                    (Method::Bye, _) => {
                        self.down = true;
                        Vec::new()
                    }
                    _ => Vec::new(),
                }
            }
            _ => Vec::new(),
        }
    }
}

fn run(seed: u64, loss_percent: u64, caller_hangs_up: bool) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut net = Net::with(|config| {
        config.trunks[1].destinations.truncate(1);
        config.trunks[1].no_reply_ms = 30_000;
    });
    let mut phones = [Phone::new(A), Phone::new(B)];
    let invite = net.invite(A, "100");
    phones[0].invite = Some(invite.clone());
    phones[0].pending = Some(invite);
    let mut bye_sent = false;
    for step in 0..1_200u64 {
        let mut out: Vec<(std::net::SocketAddr, Message)> = Vec::new();
        for phone in &mut phones {
            for message in net.take(phone.peer) {
                if dice.below(100) >= loss_percent {
                    out.extend(phone.hear(&mut net, &message).into_iter().map(|m| (phone.peer, m)));
                }
            }
            if step % 10 == 0 {
                out.extend(phone.pending.iter().map(|m| (phone.peer, m.clone())));
            }
        }
        for (peer, message) in out {
            if dice.below(100) >= loss_percent {
                net.send(peer, &message);
            }
        }
        if phones[0].up && phones[1].up && !bye_sent && step > 100 {
            bye_sent = true;
            let phone = &mut phones[usize::from(!caller_hangs_up)];
            let ends = phone.ends.clone().unwrap();
            phone.pending = Some(net.in_dialog(&ends, "BYE", 7));
        }
        net.pass(50);
    }
    assert!(bye_sent, "seed {seed}: the call did not come up");
    assert!(phones[0].down && phones[1].down, "seed {seed}: {} {}", phones[0].down, phones[1].down);
    let record = net.the_record();
    assert_eq!(record.cause, Cause::Hangup, "seed {seed}");
    net.run_out();
    assert!(net.now > Time::from_secs(100));
}

#[test]
fn calls_survive_a_quarter_of_all_messages_lost() {
    for seed in 1..=60 {
        run(seed, 25, seed % 2 == 0);
    }
}

#[test]
fn and_none_lost_sends_nothing_twice() {
    let mut net = Net::new();
    let up = call_up(&mut net);
    net.pass(10_000);
    take_down(&mut net, &up, 2);
    assert_eq!(net.endpoint.counters().retransmissions_out, 0);
    assert_eq!(net.endpoint.counters().retransmissions_in, 0);
    assert!(up.invite_a.headers.contains(&HeaderName::Contact));
}
