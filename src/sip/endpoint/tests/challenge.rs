//! A trunk whose requests must show its account.

use super::harness::*;
use crate::{
    config::{Config, Secret, TrunkAuth},
    sip::{
        auth::client::{Account, Spaces, Tried},
        message::{CSeq, HeaderName, Message, Method},
    },
};

fn challenged(config: &mut Config) {
    let password = Some(Secret::new("zanzibar-7"));
    let challenge = Some("tandem.example".into());
    config.trunks[0].auth = Some(TrunkAuth { username: "alice".into(), password, challenge, ..TrunkAuth::default() });
}

/// Alice's phone: it answers challenges as tandem itself would.
struct Phone {
    spaces: Spaces,
    password: &'static str,
    stale: bool,
}

impl Phone {
    fn new(password: &'static str) -> Phone {
        Phone { spaces: Spaces::default(), password, stale: false }
    }

    /// `request` once more, for the 401 it got.
    fn again(&mut self, net: &mut Net, request: &Message, response: &Message) -> Message {
        let asked = header(response, HeaderName::WwwAuthenticate);
        assert!(asked.starts_with("Digest realm=\"tandem.example\", nonce=") && asked.contains("algorithm=SHA-256"));
        self.stale = asked.contains("stale=true");
        let account = Account { username: "alice", password: self.password, realm: None };
        let mut tried = Tried::default();
        self.spaces.challenged(A, &account, request, response, &mut tried, || "c".into()).unwrap();
        let mut again = request.clone();
        let branch = net.branch();
        again.headers.set(HeaderName::Via, format!("SIP/2.0/UDP {A};branch={branch};rport"));
        let CSeq { seq, method } = request.cseq().unwrap();
        again.headers.set(HeaderName::CSeq, CSeq { seq: seq + 1, method }.to_string());
        self.spaces.authorize(A, &account, &mut again);
        again
    }
}

#[test]
fn a_call_without_credentials_is_challenged_and_with_them_goes_through() {
    let mut net = Net::with(challenged);
    let mut phone = Phone::new("zanzibar-7");
    let invite = net.invite(A, "100");
    net.send(A, &invite);
    let asked = net.response_to(A, 401);
    assert_eq!(asked.headers.all(&HeaderName::WwwAuthenticate).count(), 2);
    net.nothing_to(B);
    let again = phone.again(&mut net, &invite, &asked);
    net.send(A, &again);
    net.response_to(A, 100);
    let invite_b = net.request_to(B, Method::Invite);
    // What alice showed is hers and tandem's.
    assert_eq!(invite_b.headers.get(&HeaderName::Authorization), None);
    let ok_b = respond(B, &invite_b, 200, "b-tag", Some(6_000));
    net.send(B, &ok_b);
    net.request_to(B, Method::Ack);
    let ok_a = net.response_to(A, 200);
    let a = Ends::caller(A, &again, &ok_a);
    // RFC 3261 §22.1: an ACK is not challenged.
    let message = ack(&mut net, &a, 2);
    net.send(A, &message);
    net.nothing_to(A);
    // A request within the call is.
    let bye = net.in_dialog(&a, "BYE", 3);
    net.send(A, &bye);
    let asked = net.response_to(A, 401);
    net.nothing_to(B);
    let bye = phone.again(&mut net, &bye, &asked);
    net.send(A, &bye);
    net.response_to(A, 200);
    let bye = net.request_to(B, Method::Bye);
    net.send(B, &respond(B, &bye, 200, "", None));
    net.run_out();
    let seen: Vec<(&str, u64)> = net.endpoint.trunks(net.now)[0]
        .auth
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(result, count)| (result.as_str(), *count))
        .collect();
    assert_eq!(seen, [("right", 2), ("missing", 2)]);
}

#[test]
fn wrong_credentials_are_told_and_hold_nothing_against_the_address() {
    let mut net = Net::with(challenged);
    for _ in 0..50 {
        let mut phone = Phone::new("guess");
        let invite = net.invite(A, "100");
        net.send(A, &invite);
        let asked = net.response_to(A, 401);
        let again = phone.again(&mut net, &invite, &asked);
        net.send(A, &again);
        let asked = net.response_to(A, 401);
        assert!(!header(&asked, HeaderName::WwwAuthenticate).contains("stale"));
        net.nothing_to(B);
    }
    let told: Vec<&String> = net.notes.iter().filter(|note| note.contains("wrong credentials")).collect();
    // At 1, 2, 4, 8, 16 and 32.
    assert_eq!(told.len(), 6);
    assert!(net.endpoint.bans(net.now).is_empty());
    let mut phone = Phone::new("zanzibar-7");
    let invite = net.invite(A, "100");
    net.send(A, &invite);
    let asked = net.response_to(A, 401);
    let again = phone.again(&mut net, &invite, &asked);
    net.send(A, &again);
    net.request_to(B, Method::Invite);
}

#[test]
fn a_replay_draws_a_stale_challenge_which_the_genuine_peer_can_answer() {
    let mut net = Net::with(challenged);
    let mut phone = Phone::new("zanzibar-7");
    let options = {
        let mut options = net.invite(A, "100");
        options = Message::parse(String::from_utf8(options.write()).unwrap().replace("INVITE", "OPTIONS").as_bytes())
            .unwrap();
        options
    };
    net.send(A, &options);
    let asked = net.response_to(A, 401);
    let again = phone.again(&mut net, &options, &asked);
    net.send(A, &again);
    net.response_to(A, 200);
    // The same credentials in another transaction.
    let mut replay = again.clone();
    let branch = net.branch();
    replay.headers.set(HeaderName::Via, format!("SIP/2.0/UDP {A};branch={branch};rport"));
    replay.headers.set(HeaderName::CallId, "another");
    net.send(A, &replay);
    let asked = net.response_to(A, 401);
    let last = phone.again(&mut net, &replay, &asked);
    assert!(phone.stale);
    net.send(A, &last);
    net.response_to(A, 200);
}
