//! Topology hiding: calls in which both sides write all they know into every message, and what then leaves on one side is
//! searched for the other side's hosts, Call-IDs, tags and branches.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::harness::*;
use crate::sip::message::{HeaderName, Message, Method, Start};

/// What each side must never see of the other: addresses, names, and tandem's own addresses there.
const OF_A: [&str; 4] = ["198.18.0.2", "198.18.0.1", "pbx.alice.example", "alice-secret"];
const OF_B: [&str; 5] = ["198.18.1.2", "198.18.1.1", "192.0.2.7", "sbc.carrier.example", "bob-secret"];

/// Everything that went over the wire, with the side that it went over.
#[derive(Default)]
struct Wire {
    sent: Vec<(bool, Message)>,
    heard: Vec<(bool, Message)>,
}

fn is_a(peer: SocketAddr) -> bool {
    peer.ip() == A.ip()
}

impl Wire {
    fn send(&mut self, net: &mut Net, peer: SocketAddr, message: &Message) {
        self.heard.push((is_a(peer), message.clone()));
        net.send(peer, message);
        self.look(net);
    }

    fn look(&mut self, net: &mut Net) {
        self.sent.extend(net.sent.drain(..).map(|sent| (is_a(sent.flow.remote), sent.message)));
    }

    /// The last message that went to a side and fits.
    fn last(&self, a: bool, fits: impl Fn(&Message) -> bool) -> Message {
        let found = self.sent.iter().rev().find(|(side, message)| *side == a && fits(message));
        found.map(|(_, message)| message.clone()).unwrap_or_else(|| panic!("no such message in {:#?}", self.sent))
    }

    fn last_request(&self, a: bool, method: Method) -> Message {
        self.last(a, |message| message.method() == Some(&method))
    }

    fn last_response(&self, a: bool, status: u16) -> Message {
        self.last(a, |message| message.status() == Some(status))
    }

    /// What a side's messages hold that marks them: Call-IDs, tags, branches.
    fn marks(&self, a: bool) -> Vec<String> {
        let mut marks = Vec::new();
        for (_, message) in self.sent.iter().chain(&self.heard).filter(|(side, _)| *side == a) {
            marks.extend(message.call_id().map(str::to_owned));
            marks.extend(message.vias().unwrap().iter().filter_map(|via| via.branch().map(str::to_owned)));
            for address in [message.from().unwrap(), message.to().unwrap()] {
                marks.extend(address.tag().map(str::to_owned));
            }
        }
        marks.sort();
        marks.dedup();
        marks
    }

    fn demand_hidden(&self) {
        assert!(self.sent.len() > 3);
        for (a, fixed) in [(true, &OF_B[..]), (false, &OF_A[..])] {
            let marks = self.marks(!a);
            assert!(marks.len() >= 3, "{marks:?}");
            for (_, message) in self.sent.iter().filter(|(side, _)| *side == a) {
                let text = String::from_utf8_lossy(&message.write()).to_ascii_lowercase();
                for secret in fixed.iter().copied().chain(marks.iter().map(String::as_str)) {
                    assert!(!text.contains(&secret.to_ascii_lowercase()), "{secret} leaves with\n{text}");
                }
            }
        }
    }
}

/// A message with every header field that could tell where it was: `host` and `ip` are its side's.
fn telling(mut message: Message, host: &str, ip: &str) -> Message {
    let call_id = message.call_id().unwrap().to_owned();
    let tag = message.from().unwrap().tag().unwrap_or("x").to_owned();
    let branch = message.vias().unwrap()[0].branch().unwrap().to_owned();
    let lines = [
        (
            "P-Asserted-Identity",
            format!("\"At {ip}\" <sip:+15551234@{host}:5070;transport=tcp;maddr={ip}>, <tel:+15551234>"),
        ),
        ("P-Preferred-Identity", format!("<sip:+15551234@{ip}>")),
        ("Remote-Party-ID", format!("<sip:+15551234@{ip}>;party=calling;screen=yes")),
        (
            "Diversion",
            format!("\"Desk {host}\" <sip:+15559999;tgrp=tg;trunk-context={host}@{ip}>;reason=no-answer;counter=1"),
        ),
        (
            "History-Info",
            format!(
                "<sip:+15559999@{host}?Reason=SIP%3Bcause%3D302%3Btext%3D%22at%20{ip}%22&Route=%3Csip%3A{host}%3E>;index=1, <sip:+15551111@{ip};cause=302>;index=1.1"
            ),
        ),
        ("Alert-Info", format!("<http://{host}/ring.wav>;info=alert-internal")),
        ("Call-Info", format!("<http://{ip}/photo.jpg>;purpose=icon")),
        ("Error-Info", format!("<sip:busy@{host}>")),
        ("Reason", format!("SIP;cause=480;text=\"{host} is down\", Q.850;cause=16;text=\"gw {ip}\"")),
        ("Warning", format!("399 {ip} \"Route via {host}\"")),
        ("User-to-User", format!("{host};encoding=ascii")),
        ("Subject", format!("see {call_id}")),
        ("Priority", branch.clone()),
        ("Organization", host.to_owned()),
        ("Server", format!("PBX at {ip}")),
        ("User-Agent", format!("PBX at {ip}")),
        ("Reply-To", format!("<sip:x@{host}>")),
        ("In-Reply-To", call_id.clone()),
        ("Date", "Sat, 13 Nov 2010 23:29:00 GMT".to_owned()),
        ("Allow", "INVITE, ACK, BYE, CANCEL".to_owned()),
        ("Proxy-Authenticate", format!("Digest realm=\"{host}\", domain=\"sip:{ip}\", nonce=\"{tag}\"")),
        ("WWW-Authenticate", format!("Digest realm=\"{ip}\", nonce=\"n\"")),
        ("Authorization", format!("Digest username=\"a\", realm=\"{host}\", uri=\"sip:{ip}\"")),
        ("Identity-Info", format!("<https://{host}/cert>")),
        ("X-Gateway", format!("{ip} {tag}")),
    ];
    for (name, value) in lines {
        message.headers.push(HeaderName::from(name), value);
    }
    message
}

fn of_a(message: Message) -> Message {
    telling(message, "pbx.alice.example", "198.18.0.2")
}

fn of_b(message: Message) -> Message {
    telling(message, "sbc.carrier.example", "198.18.1.2")
}

/// A response of bob, with a phrase that tells where he is.
fn answer(request: &Message, status: u16, port: Option<u16>) -> Message {
    let mut response = respond(B, request, status, "bob-secret-tag", port);
    response.headers.set(HeaderName::Contact, "<sip:bob@sbc.carrier.example>");
    if let Start::Response { reason, .. } = &mut response.start {
        *reason = "Said by sbc.carrier.example".into();
    }
    of_b(response)
}

fn invite(net: &mut Net) -> Message {
    let mut invite = net.invite(A, "100");
    invite.headers.set(HeaderName::CallId, "alice-secret-call@pbx.alice.example");
    invite.headers.set(
        HeaderName::From,
        "\"198.18.0.2\" <sip:alice;trunk-context=pbx.alice.example@pbx.alice.example>;tag=alice-secret-tag",
    );
    of_a(invite)
}

fn nets() -> Vec<Net> {
    let trusting = |trust: bool, pass: &[&str]| {
        let pass: Vec<String> = pass.iter().map(|name| (*name).to_owned()).collect();
        Net::with(move |config| {
            for trunk in &mut config.trunks {
                trunk.identity.trust = trust;
                trunk.headers.pass = pass.clone();
            }
        })
    };
    let more =
        ["X-Gateway", "Call-Info", "Organization", "Reply-To", "Remote-Party-ID", "In-Reply-To", "Identity-Info"];
    vec![trusting(false, &[]), trusting(true, &[]), trusting(true, &more)]
}

#[test]
fn a_call_from_its_invite_to_its_bye() {
    for mut net in nets() {
        let mut wire = Wire::default();
        let invite_a = invite(&mut net);
        wire.send(&mut net, A, &invite_a);
        let invite_b = wire.last_request(false, Method::Invite);
        for (status, port) in [(180, None), (183, Some(6_000)), (200, Some(6_000))] {
            wire.send(&mut net, B, &answer(&invite_b, status, port));
        }
        let ok = wire.last_response(true, 200);
        let (a, b) = (
            Ends::caller(A, &invite_a, &ok),
            Ends::callee(B, &invite_b, &respond(B, &invite_b, 200, "bob-secret-tag", None)),
        );
        let ack = net.in_dialog(&a, "ACK", 1);
        wire.send(&mut net, A, &of_a(ack));

        // INFO both ways, and answers to it.
        let info = net.in_dialog(&a, "INFO", 2);
        wire.send(&mut net, A, &of_a(info));
        let passed = wire.last_request(false, Method::Info);
        wire.send(&mut net, B, &answer(&passed, 200, None));
        let info = net.in_dialog(&b, "INFO", 1);
        wire.send(&mut net, B, &of_b(info));
        let passed = wire.last_request(true, Method::Info);
        wire.send(&mut net, A, &of_a(respond(A, &passed, 200, "", None)));

        // A hold that is accepted, and one of the other side that is refused.
        let mut hold = net.in_dialog(&a, "INVITE", 3);
        hold.headers.push(HeaderName::ContentType, "application/sdp");
        hold.body = sdp(A.ip(), 4_000, 2, "a=sendonly\r\n").into();
        wire.send(&mut net, A, &of_a(hold));
        let passed = wire.last_request(false, Method::Invite);
        wire.send(&mut net, B, &answer(&passed, 200, Some(6_000)));
        let ack = net.in_dialog(&a, "ACK", 3);
        wire.send(&mut net, A, &of_a(ack));
        let mut hold = net.in_dialog(&b, "INVITE", 2);
        hold.headers.push(HeaderName::ContentType, "application/sdp");
        hold.body = sdp(B.ip(), 6_000, 2, "a=sendonly\r\n").into();
        wire.send(&mut net, B, &of_b(hold));
        let passed = wire.last_request(true, Method::Invite);
        wire.send(&mut net, A, &of_a(respond(A, &passed, 488, "", None)));
        wire.last_response(false, 488);
        let options = net.in_dialog(&b, "OPTIONS", 3);
        wire.send(&mut net, B, &of_b(options));

        let bye = net.in_dialog(&b, "BYE", 4);
        wire.send(&mut net, B, &of_b(bye));
        let bye = wire.last_request(true, Method::Bye);
        assert_eq!(header(&bye, HeaderName::Reason), "SIP;cause=480, Q.850;cause=16", "the causes pass");
        wire.send(&mut net, A, &of_a(respond(A, &bye, 200, "", None)));
        net.run_out();
        wire.look(&mut net);
        wire.demand_hidden();
    }
}

#[test]
fn refusals_of_every_kind() {
    for status in [302, 401, 404, 407, 480, 486, 500, 503, 603] {
        for mut net in nets() {
            let mut wire = Wire::default();
            let invite_a = invite(&mut net);
            wire.send(&mut net, A, &invite_a);
            let invite_b = wire.last_request(false, Method::Invite);
            let mut refusal = answer(&invite_b, status, None);
            if status == 302 {
                let elsewhere = "<sip:+15550000@sbc.carrier.example:5070;transport=tcp>;q=0.5, <sip:200@198.18.1.2>";
                refusal.headers.set(HeaderName::Contact, elsewhere);
            }
            wire.send(&mut net, B, &refusal);
            if status == 302 {
                let passed = wire.last_response(true, 302);
                let contacts: Vec<String> = passed.contacts().unwrap().iter().map(ToString::to_string).collect();
                assert_eq!(contacts, ["<sip:+15550000@198.18.0.1:5060>;q=0.5", "<sip:200@198.18.0.1:5060>"]);
            }
            net.run_out();
            wire.look(&mut net);
            wire.demand_hidden();
        }
    }
}

#[test]
fn a_challenge_that_does_not_pass_is_a_403() {
    let mut net = Net::new();
    let mut wire = Wire::default();
    let invite_a = invite(&mut net);
    wire.send(&mut net, A, &invite_a);
    let invite_b = wire.last_request(false, Method::Invite);
    wire.send(&mut net, B, &answer(&invite_b, 407, None));
    let passed = wire.last_response(true, 403);
    assert!(!passed.headers.contains(&HeaderName::ProxyAuthenticate));
    assert_eq!(net.the_record().status, 403);
}

#[test]
fn a_call_that_is_given_up_and_one_that_the_operator_ends() {
    for mut net in nets() {
        let mut wire = Wire::default();
        let invite_a = invite(&mut net);
        wire.send(&mut net, A, &invite_a);
        let invite_b = wire.last_request(false, Method::Invite);
        wire.send(&mut net, B, &answer(&invite_b, 180, None));
        let cancel = crate::sip::transaction::table::within_transaction(&invite_a, Method::Cancel);
        wire.send(&mut net, A, &of_a(cancel));
        let passed = wire.last_request(false, Method::Cancel);
        assert_eq!(header(&passed, HeaderName::Reason), "SIP;cause=480, Q.850;cause=16");
        wire.send(&mut net, B, &answer(&passed, 200, None));
        wire.send(&mut net, B, &answer(&invite_b, 487, None));
        net.run_out();
        wire.look(&mut net);
        wire.demand_hidden();

        let mut wire = Wire::default();
        let invite_a = invite(&mut net);
        wire.send(&mut net, A, &invite_a);
        let invite_b = wire.last_request(false, Method::Invite);
        wire.send(&mut net, B, &answer(&invite_b, 200, Some(6_000)));
        let id = net.endpoint.calls().next().unwrap().id;
        assert!(net.endpoint.hang_up(net.now, id, &mut net.media));
        net.collect();
        net.run_out();
        wire.look(&mut net);
        wire.demand_hidden();
    }
}

#[test]
fn what_users_say_passes_if_it_tells_nothing() {
    let mut net = Net::new();
    let mut message = net.invite(A, "100");
    let lines = [
        ("Subject", "Lunch"),
        ("Priority", "urgent"),
        ("Alert-Info", "<urn:alert:service:call-waiting>"),
        ("Alert-Info", "<http://192.0.2.99/ring>;info=alert-external"),
        ("Alert-Info", "<http://192.0.2.99/ring>"),
        ("Reason", "Q.850;cause=16;text=\"Normal call clearing\""),
        ("User-to-User", "56a390f3d2b7310023a2;encoding=hex;purpose=isdn-uui"),
        ("Diversion", "<tel:+15559999>;reason=unconditional;counter=2"),
        ("Diversion", "\"Bob\" <sip:+15551234;npdi;rn=+15550000@198.18.0.2;user=phone>;reason=user-busy"),
        ("X-Gateway", "gw 7"),
    ];
    for (name, value) in lines {
        message.headers.push(HeaderName::from(name), value);
    }
    net.send(A, &message);
    let invite = net.request_to(B, Method::Invite);
    let all = |name: &str| invite.headers.all(&HeaderName::from(name)).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(all("Subject"), ["Lunch"]);
    assert_eq!(all("Priority"), ["urgent"]);
    assert_eq!(all("Alert-Info"), ["<urn:alert:service:call-waiting>", "<http://127.0.0.1>;info=alert-external"]);
    assert_eq!(all("Reason"), ["Q.850;cause=16;text=\"Normal call clearing\""]);
    assert_eq!(all("User-to-User"), ["56a390f3d2b7310023a2;encoding=hex;purpose=isdn-uui"]);
    assert_eq!(
        all("Diversion"),
        [
            "<tel:+15559999>;reason=unconditional;counter=2",
            "\"Bob\" <sip:+15551234;npdi;rn=+15550000@192.0.2.7;user=phone>;reason=user-busy"
        ]
    );
    assert_eq!(all("X-Gateway"), [] as [&str; 0], "not named by anybody");
    let warned = {
        let mut busy = respond(B, &invite, 486, "b-tag", None);
        busy.headers.push(HeaderName::Warning, "370 198.18.1.2 \"Insufficient Bandwidth\"");
        net.send(B, &busy);
        net.take(A).pop().unwrap()
    };
    assert_eq!(header(&warned, HeaderName::Warning), "370 198.18.0.1 \"Insufficient Bandwidth\"");
}

#[test]
fn the_lists_of_either_trunk_let_pass_and_keep_back() {
    let listed = |pass: [&str; 2], drop: [&str; 2]| {
        let owned = |list: [&str; 2]| -> Vec<String> {
            list.iter().filter(|name| !name.is_empty()).map(|name| (*name).to_owned()).collect()
        };
        let mut net = Net::with(|config| {
            for (at, trunk) in config.trunks.iter_mut().take(2).enumerate() {
                trunk.headers.pass = owned([pass[at], ""]);
                trunk.headers.drop = owned([drop[at], ""]);
            }
        });
        let mut message = net.invite(A, "100");
        message.headers.push(HeaderName::from("X-Account"), "4711");
        message.headers.push(HeaderName::Subject, "Lunch");
        net.send(A, &message);
        let invite = net.request_to(B, Method::Invite);
        let has = |name: &str| invite.headers.contains(&HeaderName::from(name));
        (has("X-Account"), has("Subject"))
    };
    assert_eq!(listed(["", ""], ["", ""]), (false, true));
    assert_eq!(listed(["x-account", ""], ["", ""]), (true, true));
    assert_eq!(listed(["", "X-Account"], ["", ""]), (true, true));
    assert_eq!(listed(["X-Account", "X-Account"], ["", "X-ACCOUNT"]), (false, true), "drop wins");
    assert_eq!(listed(["", ""], ["s", ""]), (false, false), "compact names are names");
}

/// Pieces of what a header field may hold, with what is to be hidden among them.
const PIECES: [&str; 26] = [
    "198.18.0.2",
    "pbx.alice.example",
    "PBX.Alice.Example",
    "alice-secret-call@pbx.alice.example",
    "alice-secret-tag",
    "%40pbx.alice.example",
    "198%2e18.0.2",
    "sip:",
    "tel:",
    "urn:x:",
    "http://",
    "<",
    ">",
    "\"",
    "\\",
    "@",
    ";",
    ",",
    "=",
    " ",
    "?Reason=",
    "text",
    "privacy=",
    "SIP;cause=480",
    "7",
    ".",
];

const NAMES: [&str; 12] = [
    "P-Asserted-Identity",
    "Diversion",
    "History-Info",
    "Alert-Info",
    "Reason",
    "User-to-User",
    "Subject",
    "Priority",
    "Privacy",
    "X-Gateway",
    "Call-Info",
    "Warning",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_header_field_holds(
        lines in proptest::collection::vec((0..NAMES.len(), proptest::collection::vec(0..PIECES.len(), 1..9)), 1..5),
    ) {
        let mut net = nets().pop().unwrap();
        let mut message = invite(&mut net);
        for (name, pieces) in &lines {
            let value: String = pieces.iter().map(|at| PIECES[*at]).collect();
            message.headers.push(HeaderName::from(NAMES[*name]), value.trim());
        }
        net.send(A, &message);
        for sent in net.sent.iter().filter(|sent| sent.flow.remote == B) {
            let text = String::from_utf8_lossy(&sent.message.write()).to_ascii_lowercase();
            for secret in OF_A.iter().chain(&["%2e18.0.2", "alice.example"]) {
                prop_assert!(!text.contains(secret), "{secret} leaves with\n{text}");
            }
        }
    }
}
