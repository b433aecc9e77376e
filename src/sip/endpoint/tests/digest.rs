//! Challenges to tandem's requests: which are answered, with what, and how often.

use std::sync::Arc;

use super::{harness::*, requests::outside};
use crate::{
    base::Time,
    config::{Config, Requests, Secret, TrunkAuth},
    sip::{
        auth::{
            digest::{Input, Protection},
            header::{Challenge, Credentials},
        },
        endpoint::Endpoint,
        message::{HeaderName, Message, Method},
    },
};

const PASSWORD: &str = "zanzibar-7";

fn account(config: &mut Config) {
    let password = Some(Secret::new(PASSWORD));
    config.trunks[1].auth = Some(TrunkAuth { username: "bob".into(), password, ..TrunkAuth::default() });
}

fn digest(realm: &str, nonce: &str) -> String {
    format!("Digest realm=\"{realm}\", nonce=\"{nonce}\", qop=\"auth\", algorithm=SHA-256")
}

/// `peer` refuses with these challenges: 401 asks in WWW-Authenticate, 407 in Proxy-Authenticate.
fn challenge(net: &mut Net, peer: std::net::SocketAddr, request: &Message, status: u16, challenges: &[String]) {
    let mut response = respond(peer, request, status, "challenger", None);
    let name = if status == 401 { HeaderName::WwwAuthenticate } else { HeaderName::ProxyAuthenticate };
    challenges.iter().for_each(|text| response.headers.push(name.clone(), text.as_str()));
    net.send(peer, &response);
}

/// The credentials of a request, each with what it is worth: those of the account, over this request.
fn shown(request: &Message, name: &HeaderName) -> Vec<Credentials> {
    let all: Vec<_> = request.headers.all(name).map(|text| Credentials::parse(text).expect("credentials")).collect();
    for one in &all {
        let (qop, nc, cnonce) = one.qop.as_ref().expect("a qop");
        let input = Input {
            algorithm: one.algorithm.expect("an algorithm"),
            username: "bob",
            password: PASSWORD,
            realm: &one.realm,
            nonce: &one.nonce,
            protection: Some(Protection { qop: *qop, nc: *nc, cnonce }),
            method: request.method().unwrap().as_str(),
            uri: &request.uri().unwrap().to_string(),
            body: &request.body,
        };
        assert_eq!((one.username.as_str(), one.uri.as_str()), ("bob", input.uri));
        assert_eq!(one.response, input.response());
    }
    all
}

/// Nonces and counts of Authorization.
fn counts(request: &Message) -> Vec<(String, u32)> {
    let all = shown(request, &HeaderName::Authorization);
    all.into_iter().map(|one| (one.nonce, one.qop.unwrap().1)).collect()
}

fn one(nonce: &str, nc: u32) -> Vec<(String, u32)> {
    vec![(nonce.to_owned(), nc)]
}

/// Everything sent to `peer`: the ACK of a challenged INVITE first, where there is one.
fn again(net: &mut Net, method: Method) -> Message {
    let mut all = net.take(B);
    if method == Method::Invite {
        assert_eq!(all.remove(0).method(), Some(&Method::Ack));
    }
    assert_eq!(all.iter().map(|m| m.method().cloned()).collect::<Vec<_>>(), [Some(method)], "{all:#?}");
    all.remove(0)
}

fn call(net: &mut Net) -> Message {
    let invite = net.invite(A, "100");
    net.send(A, &invite);
    net.response_to(A, 100);
    net.request_to(B, Method::Invite)
}

/// A call that is up, whose INVITE was challenged with nonce `n1`.
fn up(net: &mut Net) -> Up {
    let invite_a = net.invite(A, "100");
    net.send(A, &invite_a);
    net.response_to(A, 100);
    let first = net.request_to(B, Method::Invite);
    challenge(net, B, &first, 401, &[digest("carrier", "n1")]);
    let invite_b = again(net, Method::Invite);
    let ok_b = respond(B, &invite_b, 200, "b-tag", Some(6_000));
    net.send(B, &ok_b);
    net.request_to(B, Method::Ack);
    let ok_a = net.response_to(A, 200);
    let (a, b) = (Ends::caller(A, &invite_a, &ok_a), Ends::callee(B, &invite_b, &ok_b));
    let message = ack(net, &a, 1);
    net.send(A, &message);
    Up { a, b, invite_a, invite_b }
}

#[test]
fn a_challenged_invite_goes_out_again_with_credentials() {
    let mut net = Net::with(account);
    let first = call(&mut net);
    assert_eq!(first.headers.get(&HeaderName::Authorization), None);
    challenge(&mut net, B, &first, 401, &[digest("carrier", "n1")]);
    let all = net.take(B);
    let [ack, second] = &all[..] else { panic!("{all:#?}") };
    // RFC 3261 §17.1.1.3: the ACK of the 401 belongs to the first transaction.
    assert_eq!(ack.method(), Some(&Method::Ack));
    assert_eq!(ack.top_via().unwrap(), first.top_via().unwrap());
    // §8.1.3.5: the same Call-ID, From and To, the next CSeq number; §17.1.1: a branch of its own.
    for name in [HeaderName::CallId, HeaderName::From, HeaderName::To, HeaderName::Contact, HeaderName::MaxForwards] {
        assert_eq!(header(second, name.clone()), header(&first, name));
    }
    assert_eq!((second.uri(), &second.body), (first.uri(), &first.body));
    assert_eq!((first.cseq().unwrap().seq, second.cseq().unwrap().seq), (1, 2));
    assert_ne!(second.top_via().unwrap().branch(), first.top_via().unwrap().branch());
    assert_eq!(second.vias().unwrap().len(), 1);
    assert_eq!(counts(second), one("n1", 1));
    // The caller noticed nothing.
    net.nothing_to(A);
    let ok = respond(B, second, 200, "b-tag", Some(6_000));
    net.send(B, &ok);
    net.response_to(A, 200);
    // RFC 3261 §13.2.2.4, §22.1: the ACK shows what the INVITE showed, and has its number.
    let ack = net.request_to(B, Method::Ack);
    assert_eq!(ack.headers.get(&HeaderName::Authorization), second.headers.get(&HeaderName::Authorization));
    assert_eq!(ack.cseq().unwrap().seq, 2);
    // The 401 again draws its ACK again, and nothing else.
    challenge(&mut net, B, &first, 401, &[digest("carrier", "n1")]);
    assert_eq!(net.request_to(B, Method::Ack).cseq().unwrap().seq, 1);
}

#[test]
fn requests_of_a_call_use_the_nonce_ahead_of_a_challenge() {
    let mut net = Net::with(account);
    let up = up(&mut net);
    assert_eq!(counts(&up.invite_b), one("n1", 1));
    let info = net.in_dialog(&up.a, "INFO", 2);
    net.send(A, &info);
    let info = net.request_to(B, Method::Info);
    assert_eq!(counts(&info), one("n1", 2));
    net.send(B, &respond(B, &info, 200, "", None));
    net.response_to(A, 200);
    let bye = net.in_dialog(&up.a, "BYE", 3);
    net.send(A, &bye);
    net.response_to(A, 200);
    let bye = net.request_to(B, Method::Bye);
    assert_eq!(counts(&bye), one("n1", 3));
    net.send(B, &respond(B, &bye, 200, "", None));
    // The next call as well.
    let next = call(&mut net);
    assert_eq!(counts(&next), one("n1", 4));
    net.send(B, &respond(B, &next, 486, "b-tag", None));
    net.run_out();
}

#[test]
fn each_request_of_a_call_answers_a_challenge() {
    let mut net = Net::with(account);
    let up = up(&mut net);
    let stale = |nonce: &str| [format!("{}, stale=true", digest("carrier", nonce))];
    // INFO.
    let info = net.in_dialog(&up.a, "INFO", 2);
    net.send(A, &info);
    let info = net.request_to(B, Method::Info);
    challenge(&mut net, B, &info, 401, &stale("n2"));
    let info = again(&mut net, Method::Info);
    assert_eq!((info.cseq().unwrap().seq, counts(&info)), (4, one("n2", 1)));
    net.send(B, &respond(B, &info, 200, "", None));
    net.response_to(A, 200);
    // A re-INVITE: its ACK has the number of the one that was accepted.
    let mut hold = net.in_dialog(&up.a, "INVITE", 3);
    hold.headers.push(HeaderName::ContentType, "application/sdp");
    hold.body = sdp(A.ip(), 4_000, 2, "a=sendonly\r\n").into();
    net.send(A, &hold);
    net.response_to(A, 100);
    let reinvite = net.request_to(B, Method::Invite);
    challenge(&mut net, B, &reinvite, 401, &stale("n3"));
    let reinvite = again(&mut net, Method::Invite);
    assert_eq!((reinvite.cseq().unwrap().seq, counts(&reinvite)), (6, one("n3", 1)));
    net.send(B, &respond(B, &reinvite, 200, "", Some(6_000)));
    let confirmed = net.request_to(B, Method::Ack);
    assert_eq!((confirmed.cseq().unwrap().seq, counts_of_ack(&confirmed)), (6, one("n3", 1)));
    net.response_to(A, 200);
    let message = ack(&mut net, &up.a, 3);
    net.send(A, &message);
    // BYE.
    let bye = net.in_dialog(&up.a, "BYE", 4);
    net.send(A, &bye);
    net.response_to(A, 200);
    let bye = net.request_to(B, Method::Bye);
    challenge(&mut net, B, &bye, 401, &stale("n4"));
    let bye = again(&mut net, Method::Bye);
    assert_eq!((bye.cseq().unwrap().seq, counts(&bye)), (8, one("n4", 1)));
    net.send(B, &respond(B, &bye, 200, "", None));
    net.run_out();
}

/// An ACK's credentials are those of its INVITE, word for word: their response is over that method.
fn counts_of_ack(ack: &Message) -> Vec<(String, u32)> {
    let all = ack.headers.all(&HeaderName::Authorization).filter_map(Credentials::parse).collect::<Vec<_>>();
    all.into_iter().map(|one| (one.nonce, one.qop.unwrap().1)).collect()
}

#[test]
fn prack_and_update_answer_a_challenge() {
    let mut net = Net::with(account);
    let mut invite = net.invite(A, "100");
    invite.headers.push(HeaderName::Supported, "100rel");
    invite.headers.push(HeaderName::Allow, "INVITE, ACK, BYE, CANCEL, PRACK, UPDATE");
    net.send(A, &invite);
    net.response_to(A, 100);
    let invite_b = net.request_to(B, Method::Invite);
    let mut ringing = respond(B, &invite_b, 180, "b-tag", None);
    ringing.headers.push(HeaderName::Require, "100rel");
    ringing.headers.push(HeaderName::RSeq, "9");
    net.send(B, &ringing);
    let prack = net.request_to(B, Method::Prack);
    challenge(&mut net, B, &prack, 407, &[digest("proxy", "n1")]);
    let second = again(&mut net, Method::Prack);
    assert_eq!((prack.cseq().unwrap().seq, second.cseq().unwrap().seq), (2, 3));
    assert_eq!(header(&second, HeaderName::RAck), "9 1 INVITE");
    assert_eq!(shown(&second, &HeaderName::ProxyAuthorization).len(), 1);
    net.send(B, &respond(B, &second, 200, "", None));
    let mut ok = respond(B, &invite_b, 200, "b-tag", Some(6_000));
    ok.headers.push(HeaderName::Allow, "INVITE, ACK, BYE, CANCEL, PRACK, UPDATE");
    net.send(B, &ok);
    // The ACK shows what its own INVITE showed: nothing.
    assert_eq!(net.request_to(B, Method::Ack).headers.get(&HeaderName::ProxyAuthorization), None);
    let sent = net.take(A);
    let ok_a = sent.iter().find(|m| m.status() == Some(200)).expect("a 2xx");
    let a = Ends::caller(A, &invite, ok_a);
    let message = ack(&mut net, &a, 1);
    net.send(A, &message);
    let mut update = net.in_dialog(&a, "UPDATE", 2);
    update.headers.push(HeaderName::ContentType, "application/sdp");
    update.body = sdp(A.ip(), 4_000, 2, "a=sendonly\r\n").into();
    net.send(A, &update);
    let first = net.request_to(B, Method::Update);
    challenge(&mut net, B, &first, 407, &[format!("{}, stale=true", digest("proxy", "n2"))]);
    let second = again(&mut net, Method::Update);
    assert_eq!(second.cseq().unwrap().seq, first.cseq().unwrap().seq + 1);
    assert_eq!(shown(&second, &HeaderName::ProxyAuthorization)[0].nonce, "n2");
    assert_eq!(second.body, first.body);
}

#[test]
fn options_answer_a_challenge_and_keep_what_they_ask_about() {
    let mut net = Net::with(|config| {
        account(config);
        config.trunks[1].health =
            Some(toml::from_str("interval_s = 10\ndown_after = 1\nup_after = 1\nalive = \"success\"").unwrap());
    });
    net.pass(0);
    let first = net.request_to(B, Method::Options);
    challenge(&mut net, B, &first, 401, &[digest("carrier", "n1")]);
    let second = again(&mut net, Method::Options);
    assert_eq!((second.cseq().unwrap().seq, second.call_id()), (2, first.call_id()));
    let up = |net: &Net| net.endpoint.trunks(net.now)[1].destinations[0].up;
    assert_eq!(up(&net), None);
    net.send(B, &respond(B, &second, 200, "o", None));
    assert_eq!(up(&net), Some(true));
}

#[test]
fn a_refused_answer_fails_the_request_once() {
    let mut net = Net::with(account);
    let first = call(&mut net);
    challenge(&mut net, B, &first, 401, &[digest("carrier", "n1")]);
    let second = again(&mut net, Method::Invite);
    // The same nonce again, not stale: the account is wrong.
    challenge(&mut net, B, &second, 401, &[digest("carrier", "n1")]);
    net.request_to(B, Method::Ack);
    let refused = net.take(A).pop().unwrap();
    assert_eq!(refused.status(), Some(403));
    assert!(net.notes.iter().any(|note| note.contains("trunk carrier: INVITE got 401") && note.contains("refused")));
    assert!(net.notes.iter().all(|note| !note.contains(PASSWORD)));
    net.run_out();
    net.sent.clear();
    // Nor does it go on with the next call: that begins anew.
    assert_eq!(counts(&call(&mut net)), []);
}

#[test]
fn a_new_nonce_that_is_not_called_stale_is_a_refusal_too() {
    let mut net = Net::with(account);
    let first = call(&mut net);
    challenge(&mut net, B, &first, 401, &[digest("carrier", "n1")]);
    let second = again(&mut net, Method::Invite);
    challenge(&mut net, B, &second, 401, &[digest("carrier", "n2")]);
    net.request_to(B, Method::Ack);
    assert_eq!(net.take(A).pop().unwrap().status(), Some(403));
    net.run_out();
}

#[test]
fn a_nonce_of_an_earlier_request_may_have_been_forgotten() {
    let mut net = Net::with(account);
    let first = call(&mut net);
    challenge(&mut net, B, &first, 401, &[digest("carrier", "n1")]);
    let second = again(&mut net, Method::Invite);
    net.send(B, &respond(B, &second, 486, "b-tag", None));
    net.take(B);
    net.take(A);
    // Its server was restarted, say, and does not know that it is stale.
    let next = call(&mut net);
    assert_eq!(counts(&next), one("n1", 2));
    challenge(&mut net, B, &next, 401, &[digest("carrier", "n9")]);
    assert_eq!(counts(&again(&mut net, Method::Invite)), one("n9", 1));
}

#[test]
fn nonces_may_turn_stale_but_not_without_end() {
    let mut net = Net::with(account);
    let mut request = call(&mut net);
    let mut answers = 0;
    loop {
        let asked = format!("{}, stale=true", digest("carrier", &format!("n{answers}")));
        challenge(&mut net, B, &request, 401, &[asked]);
        let mut all = net.take(B);
        assert_eq!(all.remove(0).method(), Some(&Method::Ack));
        let Some(next) = all.pop() else { break };
        answers += 1;
        request = next;
    }
    assert_eq!(answers, 8);
    assert_eq!(net.take(A).pop().unwrap().status(), Some(403));
    net.run_out();
}

#[test]
fn proxies_in_a_row_are_each_answered() {
    let mut net = Net::with(account);
    let first = call(&mut net);
    challenge(&mut net, B, &first, 407, &[digest("one", "n1")]);
    let second = again(&mut net, Method::Invite);
    challenge(&mut net, B, &second, 407, &[digest("two", "n2")]);
    let third = again(&mut net, Method::Invite);
    challenge(&mut net, B, &third, 401, &[digest("callee", "n3")]);
    let fourth = again(&mut net, Method::Invite);
    // RFC 3261 §22.3: what the first one wanted is still there when the second one is answered.
    let of = |request: &Message| -> Vec<(String, u32)> {
        let all = shown(request, &HeaderName::ProxyAuthorization);
        all.into_iter().map(|one| (one.realm, one.qop.unwrap().1)).collect()
    };
    assert_eq!(of(&second), [("one".to_owned(), 1)]);
    assert_eq!(of(&third), [("one".to_owned(), 2), ("two".to_owned(), 1)]);
    assert_eq!(of(&fourth), [("one".to_owned(), 3), ("two".to_owned(), 2)]);
    assert_eq!(counts(&fourth), one("n3", 1));
    assert_eq!(fourth.cseq().unwrap().seq, 4);
}

#[test]
fn a_response_may_ask_for_several_realms_at_once() {
    let mut net = Net::with(account);
    let first = call(&mut net);
    challenge(&mut net, B, &first, 407, &[digest("one", "n1"), digest("two", "n2")]);
    let second = again(&mut net, Method::Invite);
    let realms: Vec<String> =
        shown(&second, &HeaderName::ProxyAuthorization).into_iter().map(|one| one.realm).collect();
    assert_eq!(realms, ["one", "two"]);
}

#[test]
fn the_topmost_challenge_that_is_known_is_answered() {
    // RFC 8760 §2.4.
    let asked =
        |algorithm: &str| format!("Digest realm=\"x\", nonce=\"{algorithm}\", qop=\"auth\", algorithm={algorithm}");
    for (offered, taken) in [
        (vec!["SHA-512-256", "SHA-256", "MD5"], "SHA-512-256"),
        (vec!["SHA3-256", "SHA-256", "MD5"], "SHA-256"),
        (vec!["MD5", "SHA-256"], "MD5"),
        (vec!["MD5-sess"], "MD5-sess"),
    ] {
        let mut net = Net::with(account);
        let first = call(&mut net);
        let challenges: Vec<String> = offered.into_iter().map(asked).collect();
        challenge(&mut net, B, &first, 401, &challenges);
        assert_eq!(counts(&again(&mut net, Method::Invite)), one(taken, 1));
    }
}

#[test]
fn what_cannot_be_answered_passes_as_a_refusal() {
    let other_realm = |config: &mut Config| {
        account(config);
        config.trunks[1].auth.as_mut().unwrap().realm = Some("carrier".into());
    };
    for challenges in [vec![], vec!["Basic realm=\"carrier\"".to_owned()], vec![digest("else", "n1")]] {
        let mut net = Net::with(other_realm);
        let first = call(&mut net);
        challenge(&mut net, B, &first, 401, &challenges);
        net.request_to(B, Method::Ack);
        assert_eq!(net.take(A).pop().unwrap().status(), Some(403));
        net.run_out();
    }
}

#[test]
fn a_trunk_without_an_account_answers_nothing() {
    let mut net = Net::new();
    let first = call(&mut net);
    challenge(&mut net, B, &first, 401, &[digest("carrier", "n1")]);
    net.request_to(B, Method::Ack);
    assert_eq!(net.take(A).pop().unwrap().status(), Some(403));
    net.run_out();
}

#[test]
fn a_challenge_to_a_call_that_was_cancelled_is_left_alone() {
    let mut net = Net::with(account);
    let invite_a = net.invite(A, "100");
    net.send(A, &invite_a);
    let invite_b = net.request_to(B, Method::Invite);
    net.send(B, &respond(B, &invite_b, 180, "b-tag", None));
    let cancel = crate::sip::transaction::table::within_transaction(&invite_a, Method::Cancel);
    net.send(A, &cancel);
    assert_eq!(net.request_to(B, Method::Cancel).headers.get(&HeaderName::Authorization), None);
    challenge(&mut net, B, &invite_b, 401, &[digest("carrier", "n1")]);
    net.request_to(B, Method::Ack);
    net.run_out();
}

#[test]
fn after_a_challenge_the_destination_has_its_time_to_react_again() {
    let mut net = Net::with(account);
    let first = call(&mut net);
    net.pass(3_000);
    net.take(B);
    challenge(&mut net, B, &first, 401, &[digest("carrier", "n1")]);
    again(&mut net, Method::Invite);
    net.pass(3_999);
    net.nothing_to(B2);
    net.take(B);
    net.pass(1);
    // A server of its own: the nonce is not shown there.
    assert_eq!(counts(&net.request_to(B2, Method::Invite)), []);
}

#[test]
fn early_dialogs_of_a_challenged_invite_are_over() {
    let mut net = Net::with(account);
    let first = call(&mut net);
    net.send(B, &respond(B, &first, 180, "early", None));
    challenge(&mut net, B, &first, 407, &[digest("proxy", "n1")]);
    let second = again(&mut net, Method::Invite);
    assert_eq!(second.to().unwrap().tag(), None);
    net.send(B, &respond(B, &second, 200, "b-tag", Some(6_000)));
    let ack = net.request_to(B, Method::Ack);
    assert_eq!(ack.to().unwrap().tag(), Some("b-tag"));
}

#[test]
fn over_tcp_it_is_the_same() {
    let mut net = Net::with(|config| {
        let password = Some(Secret::new(PASSWORD));
        config.trunks[2].auth = Some(TrunkAuth { username: "bob".into(), password, ..TrunkAuth::default() });
    });
    let invite = net.invite(A, "200");
    net.send(A, &invite);
    let first = net.request_to(C, Method::Invite);
    let mut response = respond(C, &first, 401, "c", None);
    response.headers.push(HeaderName::WwwAuthenticate, digest("backup", "n1"));
    net.send_on(Net::tcp(C, 1), &response);
    let mut all = net.take(C);
    assert_eq!(all.remove(0).method(), Some(&Method::Ack));
    let second = all.remove(0);
    assert_eq!(counts(&second), one("n1", 1));
    net.send_on(Net::tcp(C, 1), &respond(C, &second, 486, "c", None));
    net.run_out();
}

#[test]
fn the_next_host_goes_on_with_the_nonce_and_its_count() {
    let mut net = Net::with(account);
    let up = up(&mut net);
    let saved = net.endpoint.save(net.now);
    assert!(saved.entries.values().all(|entry| !String::from_utf8_lossy(entry).contains(PASSWORD)));
    let mut config: Config = toml::from_str(CONFIG).unwrap();
    account(&mut config);
    net.now = Time::from_secs(3);
    net.endpoint = Endpoint::from_shadow(Arc::new(config), [9; 32], net.now, EPOCH_MS, &saved);
    let info = net.in_dialog(&up.a, "INFO", 2);
    net.send(A, &info);
    let info = net.request_to(B, Method::Info);
    assert_eq!((info.cseq().unwrap().seq, counts(&info)), (3, one("n1", 2)));
}

#[test]
fn nothing_shows_a_password() {
    let mut config: Config = toml::from_str(CONFIG).unwrap();
    account(&mut config);
    let written = serde_json::to_string(&config).unwrap();
    for text in [format!("{config:?}"), format!("{config:#?}"), written] {
        assert!(!text.contains(PASSWORD));
    }
    let challenge = Challenge::parse(&digest("x", "y")).unwrap();
    assert!(!challenge.to_string().contains(PASSWORD));
}

#[test]
fn a_challenged_subscription_counts_on() {
    let mut net = Net::with(|config| {
        account(config);
        config.trunks.iter_mut().for_each(|trunk| trunk.requests = Requests::Pass);
    });
    let mut subscribe = outside(&mut net, "SUBSCRIBE", "100");
    subscribe.headers.push(HeaderName::Event, "presence");
    net.send(A, &subscribe);
    let first = net.request_to(B, Method::Subscribe);
    challenge(&mut net, B, &first, 401, &[digest("carrier", "n1")]);
    let second = again(&mut net, Method::Subscribe);
    assert_eq!(counts(&second), one("n1", 1));
    assert_eq!((second.call_id(), second.cseq().unwrap().seq), (first.call_id(), first.cseq().unwrap().seq + 1));
    let ok = respond(B, &second, 200, "b-tag", None);
    net.send(B, &ok);
    let answer = net.response_to(A, 200);
    let alice = Ends::caller(A, &subscribe, &answer);
    let mut refresh = net.in_dialog(&alice, "SUBSCRIBE", 2);
    refresh.headers.push(HeaderName::Event, "presence");
    net.send(A, &refresh);
    // RFC 3261 §12.2.1.1: the dialog's numbers never repeat.
    let third = net.request_to(B, Method::Subscribe);
    assert_eq!(third.cseq().unwrap().seq, second.cseq().unwrap().seq + 1);
    assert_eq!(counts(&third), one("n1", 2));
}
