//! The dial plan as it shows in what leaves: numbers normalised, rewritten and written for each trunk, rules by the
//! clock, emergency numbers.

use std::sync::Arc;

use super::harness::*;
use crate::{
    base::Time,
    config::{Config, Numbers, Route},
    sip::{
        endpoint::{Cause, Endpoint},
        message::{HeaderName, Message, Method},
    },
};

#[derive(serde::Deserialize)]
struct Rules {
    route: Vec<Route>,
}

/// Alice's trunk writes numbers as in Germany, the carrier takes +E.164, the back-up national numbers.
fn german(rules: &str) -> impl Fn(&mut Config) {
    let rules: Rules = toml::from_str(rules).unwrap();
    let numbers = |format: &str| -> Numbers {
        let text = format!("country = '49'\ninternational = '00'\nnational = '0'\nformat = '{format}'");
        toml::from_str(&text).unwrap()
    };
    move |config| {
        config.routes = rules.route.clone();
        config.trunks[0].numbers = numbers("as_dialled");
        config.trunks[1].numbers = numbers("plus_e164");
        config.trunks[2].numbers = numbers("national");
    }
}

const TO_ALL: &str = "[[route]]\nprefix = '+49'\nto = ['carrier', 'backup']";

/// An INVITE of alice's with this Request-URI and From.
fn invite(net: &mut Net, called: &str, from: &str) -> Message {
    let text = String::from_utf8(net.invite(A, "x").write()).unwrap();
    let text = text.replacen("INVITE sip:x@198.18.0.1", &format!("INVITE {called}"), 1).replacen(
        "\"Alice\" <sip:alice@198.18.0.2>",
        from,
        1,
    );
    Message::parse(text.as_bytes()).unwrap()
}

fn target(message: &Message) -> String {
    message.uri().unwrap().to_string()
}

fn from(message: &Message) -> String {
    let mut from = message.from().unwrap();
    from.params.remove("tag");
    from.to_string()
}

#[test]
fn without_a_plan_for_numbers_they_leave_as_they_came() {
    let mut net = Net::new();
    let asked = invite(&mut net, "sip:100@198.18.0.1;user=phone", "\"030-1\" <sip:030-1;isub=7@198.18.0.2>");
    net.send(A, &asked);
    let sent = net.request_to(B, Method::Invite);
    assert_eq!(target(&sent), "sip:100@198.18.1.2;user=phone");
    assert_eq!(from(&sent), "\"030-1\" <sip:030-1;isub=7@192.0.2.7>");
    net.run_out();
}

#[test]
fn a_national_number_leaves_in_e164_and_the_caller_as_the_rule_says() {
    let rules =
        "[[route]]\nprefix = '+4930'\nfrom = 'alice'\ncalling = { strip = 5, prepend = '+4940' }\nto = ['carrier']";
    let mut net = Net::with(german(rules));
    let asked = invite(&mut net, "sip:0301234567@198.18.0.1;user=phone", "\"0309876543\" <sip:0309876543@198.18.0.2>");
    net.send(A, &asked);
    net.response_to(A, 100);
    let sent = net.request_to(B, Method::Invite);
    assert_eq!(target(&sent), "sip:+49301234567@198.18.1.2;user=phone");
    assert_eq!(header(&sent, HeaderName::To), "<sip:+49301234567@198.18.1.2;user=phone>");
    // A name that is the number follows it.
    assert_eq!(from(&sent), "\"+49409876543\" <sip:+49409876543@192.0.2.7>");
    net.send(B, &respond(B, &sent, 486, "b", None));
    let record = net.the_record();
    assert_eq!(record.called, "+49301234567");
    assert_eq!(record.calling.as_deref(), Some("+49309876543"));
    assert_eq!(record.from, "sip:0309876543@198.18.0.2");
    let attempt = &record.attempts[0];
    assert_eq!((attempt.called.as_str(), attempt.calling.as_deref()), ("+49301234567", Some("+49409876543")));
}

#[test]
fn each_destination_gets_numbers_as_its_trunk_wants_them_also_after_a_takeover() {
    let rules = format!("{TO_ALL}\ncalled = {{ strip = 3, prepend = '+49800' }}\ncalling = {{ number = '+4930111' }}");
    let setup = german(&rules);
    let mut net = Net::with(&setup);
    let asked = invite(&mut net, "sip:004930111222@198.18.0.1", "<sip:alice@198.18.0.2>");
    net.send(A, &asked);
    let sent = net.request_to(B, Method::Invite);
    assert_eq!(
        (target(&sent), from(&sent)),
        ("sip:+4980030111222@198.18.1.2".into(), "<sip:+4930111@192.0.2.7>".into())
    );
    net.send(B, &respond(B, &sent, 503, "b", None));
    let sent = net.request_to(B2, Method::Invite);
    assert_eq!(target(&sent), "sip:+4980030111222@198.18.1.3:5060");
    // Another host goes on: the numbers are part of the call.
    let saved = net.endpoint.save(net.now);
    let mut config: Config = toml::from_str(CONFIG).unwrap();
    setup(&mut config);
    net.now = Time::from_secs(3);
    net.endpoint = Endpoint::from_shadow(Arc::new(config), [9; 32], net.now, EPOCH_MS, &saved);
    net.send(B2, &respond(B2, &sent, 503, "b2", None));
    let sent = net.request_to(C, Method::Invite);
    assert_eq!(target(&sent), "sip:080030111222@198.18.2.2:5070;transport=tcp");
    assert_eq!(from(&sent), "<sip:030111@192.0.2.7>");
}

#[test]
fn a_rule_holds_at_its_times_on_its_clock() {
    // The test begins on Tuesday, 2023-11-14, at 22:13:20 UTC: 23:13:20 in Berlin.
    let rules = "[[route]]\nprefix = '1'\ntimes = ['tue 18:00-23:30']\ntimezone = 'Europe/Berlin'\nto = ['carrier']
                 [[route]]\nprefix = ''\nto = ['backup']";
    let mut net = Net::with(german(rules));
    let early = net.invite(A, "100");
    net.send(A, &early);
    net.request_to(B, Method::Invite);
    net.pass(16 * 60_000 + 39_000);
    net.take(B);
    net.take(B2);
    let still = net.invite(A, "100");
    net.send(A, &still);
    net.request_to(B, Method::Invite);
    net.pass(1_000);
    net.take(B);
    let late = net.invite(A, "100");
    net.send(A, &late);
    net.nothing_to(B);
    net.request_to(C, Method::Invite);
    // A wall clock that is set counts at once.
    net.endpoint.set_wall(net.now, EPOCH_MS);
    let again = net.invite(A, "100");
    net.send(A, &again);
    net.request_to(B, Method::Invite);
    net.run_out();
}

#[test]
fn an_emergency_call_passes_where_the_limit_refuses_others() {
    let rules = "[[route]]\nprefix = '112'\nemergency = true\nto = ['backup']
                 [[route]]\nprefix = '1'\nto = ['carrier']";
    let mut net = Net::with(|config| {
        german(rules)(config);
        config.sip.max_calls = 1;
    });
    let up = call_up(&mut net);
    let other = net.invite(A, "1120");
    net.send(A, &other);
    net.response_to(A, 503);
    assert_eq!(net.the_record().cause, Cause::Limit);
    let urgent = net.invite(A, "112");
    net.send(A, &urgent);
    net.response_to(A, 100);
    let sent = net.request_to(C, Method::Invite);
    assert_eq!(target(&sent), "sip:112@198.18.2.2:5070;transport=tcp");
    net.send_on(Net::tcp(C, 1), &respond(C, &sent, 486, "c", None));
    net.response_to(A, 486);
    let record = net.the_record();
    assert!(record.emergency);
    take_down(&mut net, &up, 2);
}

#[test]
fn who_hides_stays_hidden() {
    let rules = format!("{TO_ALL}\ncalling = {{ number = '+4930111' }}");
    let mut net = Net::with(german(&rules));
    let asked = invite(&mut net, "sip:030111222@198.18.0.1", "\"Anonymous\" <sip:anonymous@anonymous.invalid>");
    net.send(A, &asked);
    let sent = net.request_to(B, Method::Invite);
    assert_eq!(from(&sent), "\"Anonymous\" <sip:anonymous@anonymous.invalid>");
    net.send(B, &respond(B, &sent, 486, "b", None));
    let record = net.the_record();
    assert_eq!((record.calling, record.attempts[0].calling.clone()), (None, None));
}

#[test]
fn tel_uris_become_sip_uris_of_a_telephone() {
    // RFC 3261 §19.1.6, RFC 3966 §3: parameters go along, visual separators do not count.
    let mut net = Net::with(german(&format!("{TO_ALL}\n[[route]]\nprefix = ''\nto = ['carrier']")));
    for (called, expected) in [
        ("tel:+49-30-111222", "sip:+4930111222@198.18.1.2;user=phone"),
        ("tel:+49-30-111222;ext=17", "sip:+4930111222;ext=17@198.18.1.2;user=phone"),
        // A local number of this country becomes global: its context goes.
        ("tel:030111222;phone-context=+49", "sip:+4930111222@198.18.1.2;user=phone"),
        ("tel:030111222;isub=12;phone-context=example.com", "sip:+4930111222;isub=12@198.18.1.2;user=phone"),
        // One of another country stays what it is.
        ("tel:020-111222;phone-context=+44", "sip:020111222;phone-context=+44@198.18.1.2;user=phone"),
        ("sip:020-111222;phone-context=+44@x;user=phone", "sip:020-111222;phone-context=+44@198.18.1.2;user=phone"),
    ] {
        let asked = invite(&mut net, called, "<tel:030-999888;phone-context=+49>");
        net.send(A, &asked);
        let sent = net.request_to(B, Method::Invite);
        assert_eq!(target(&sent), expected, "{called}");
        assert_eq!(from(&sent), "<sip:+4930999888@192.0.2.7;user=phone>");
    }
    net.run_out();
}

#[test]
fn a_rewritten_call_that_comes_back_is_a_spiral_once_and_then_a_loop() {
    // RFC 3261 §16.3 item 4. The number that comes back is another than the one that went in, so it goes round once more.
    let mut net = Net::with(german("[[route]]\nprefix = '+'\ncalled = { number = '+491' }\nto = ['carrier']"));
    let came_back = |out: &Message, net: &mut Net| {
        let mut again = out.clone();
        let branch = net.branch();
        again.headers.push_front(HeaderName::Via, format!("SIP/2.0/UDP {B};branch={branch};rport"));
        String::from_utf8(again.write()).unwrap().replacen("@198.18.1.2 SIP", &format!("@{TANDEM_B} SIP"), 1)
    };
    let first = invite(&mut net, "sip:030111222@198.18.0.1", "<sip:alice@198.18.0.2>");
    net.send(A, &first);
    let out = net.request_to(B, Method::Invite);
    let text = came_back(&out, &mut net);
    net.send_bytes(Net::udp(B), text.as_bytes());
    let mut sent = net.take(B);
    assert_eq!(sent[0].status(), Some(100));
    let out = sent.remove(1);
    assert_eq!(target(&out), "sip:+491@198.18.1.2");
    let text = came_back(&out, &mut net);
    net.send_bytes(Net::udp(B), text.as_bytes());
    net.response_to(B, 482);
    net.run_out();
}

#[test]
fn no_rule_at_this_time_is_no_route() {
    let mut net = Net::with(german("[[route]]\nprefix = ''\ntimes = ['wed']\nto = ['carrier']"));
    let asked = net.invite(A, "100");
    net.send(A, &asked);
    net.response_to(A, 404);
    assert_eq!(net.the_record().cause, Cause::NoRoute);
}
