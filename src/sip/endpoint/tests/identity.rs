//! Identity by trust: RFC 3325 and RFC 3323, with RFC 3325 §10's identities; diversions and histories of callers who want
//! none of it known (RFC 5806, RFC 7044).

use super::harness::*;
use crate::sip::message::{HeaderName, Message, Method};

/// Alice's trunk and the carrier's.
fn net(alice: bool, carrier: bool) -> Net {
    Net::with(|config| {
        config.trunks[0].identity.trust = alice;
        config.trunks[1].identity.trust = carrier;
    })
}

fn passed(net: &mut Net, lines: &[(&str, &str)]) -> Message {
    let mut message = net.invite(A, "100");
    for (name, value) in lines {
        if *name == "From" {
            message.headers.set(HeaderName::From, *value);
        } else {
            message.headers.push(HeaderName::from(*name), *value);
        }
    }
    net.send(A, &message);
    net.request_to(B, Method::Invite)
}

fn all(message: &Message, name: &str) -> Vec<String> {
    message.headers.all(&HeaderName::from(name)).map(str::to_owned).collect()
}

fn caller(message: &Message) -> String {
    let mut from = message.from().unwrap();
    from.params.remove("tag");
    from.to_string()
}

const FLUFFY: (&str, &str) = ("P-Asserted-Identity", "\"Cullen Jennings\" <sip:fluffy@cisco.com>");
const FLUFFY_TEL: (&str, &str) = ("P-Asserted-Identity", "tel:+14085264000");
const ANONYMOUS: (&str, &str) = ("From", "\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=9802748");
const NOTHING: [&str; 0] = [];

#[test]
fn between_trusted_trunks_both_identities_pass_as_rfc_3325_section_10_1_has_it() {
    let invite = passed(&mut net(true, true), &[ANONYMOUS, FLUFFY, FLUFFY_TEL, ("Privacy", "id")]);
    assert_eq!(
        all(&invite, "P-Asserted-Identity"),
        ["\"Cullen Jennings\" <sip:fluffy@192.0.2.7>", "<tel:+14085264000>"],
        "but for the host, which is ours"
    );
    assert_eq!(all(&invite, "Privacy"), ["id"]);
    assert_eq!(caller(&invite), "\"Anonymous\" <sip:anonymous@anonymous.invalid>");
}

#[test]
fn to_an_untrusted_trunk_the_identity_is_withheld_as_section_10_2_has_it() {
    let invite = passed(&mut net(true, false), &[ANONYMOUS, FLUFFY, FLUFFY_TEL, ("Privacy", "id")]);
    assert_eq!(all(&invite, "P-Asserted-Identity"), NOTHING);
    assert_eq!(all(&invite, "Privacy"), ["id"]);
    assert_eq!(caller(&invite), "\"Anonymous\" <sip:anonymous@anonymous.invalid>");
    assert!(!String::from_utf8(invite.write()).unwrap().contains("14085264000"));
}

#[test]
fn what_an_untrusted_trunk_asserts_goes_nowhere() {
    for carrier in [false, true] {
        let lines =
            [FLUFFY, ("P-Preferred-Identity", "<sip:fluffy@cisco.com>"), ("Remote-Party-ID", "<sip:fluffy@cisco.com>")];
        let invite = passed(&mut net(false, carrier), &lines);
        assert!(!String::from_utf8(invite.write()).unwrap().contains("fluffy"));
    }
}

#[test]
fn privacy_none_lets_the_identity_out_and_without_privacy_it_stays_in() {
    let invite = passed(&mut net(true, false), &[FLUFFY, ("Privacy", "none")]);
    assert_eq!(all(&invite, "P-Asserted-Identity"), ["\"Cullen Jennings\" <sip:fluffy@192.0.2.7>"]);
    assert_eq!(all(&invite, "Privacy"), ["none"]);
    assert_eq!(caller(&invite), "\"Alice\" <sip:alice@192.0.2.7>");
    let invite = passed(&mut net(true, false), &[FLUFFY]);
    assert_eq!(all(&invite, "P-Asserted-Identity"), NOTHING);
    assert_eq!(caller(&invite), "\"Alice\" <sip:alice@192.0.2.7>");
}

#[test]
fn a_caller_who_asks_for_privacy_has_no_name_outside() {
    for (asked, left) in [("id", &["id"][..]), ("user", &[]), ("user;id", &["id"]), ("header;user;critical", &[])] {
        let mut net = net(true, false);
        let invite = passed(&mut net, &[("Privacy", asked), ("Subject", "Lunch with Alice")]);
        assert_eq!(caller(&invite), "\"Anonymous\" <sip:anonymous@anonymous.invalid>", "{asked}");
        assert_eq!(all(&invite, "Privacy"), left, "{asked}");
        let text = String::from_utf8(invite.write()).unwrap();
        assert!(!text.contains("alice") && !text.contains("198.18.0.2"));
        assert_eq!(text.contains("Lunch"), asked == "id", "RFC 3323 §5.3: of the user");
    }
    // Within the trust domain the next one will see to it.
    let invite = passed(&mut net(true, true), &[("Privacy", "user;id"), FLUFFY]);
    assert_eq!(caller(&invite), "\"Alice\" <sip:alice@192.0.2.7>");
    assert_eq!(all(&invite, "Privacy"), ["user;id"]);
    // `header` is about Via, Contact and Record-Route, which are ours anyway.
    let invite = passed(&mut net(true, false), &[("Privacy", "header")]);
    assert_eq!((caller(&invite).as_str(), all(&invite, "Privacy").len()), ("\"Alice\" <sip:alice@192.0.2.7>", 0));
}

#[test]
fn an_anonymous_call_is_a_call_like_any() {
    let mut net = net(true, false);
    let mut message = net.invite(A, "100");
    message.headers.push(HeaderName::Privacy, "id");
    net.send(A, &message);
    net.response_to(A, 100);
    let invite = net.request_to(B, Method::Invite);
    let ok = respond(B, &invite, 200, "b-tag", Some(6_000));
    net.send(B, &ok);
    net.request_to(B, Method::Ack);
    let ok_a = net.response_to(A, 200);
    let (a, b) = (Ends::caller(A, &message, &ok_a), Ends::callee(B, &invite, &ok));
    let message = ack(&mut net, &a, 1);
    net.send(A, &message);
    let bye = net.in_dialog(&b, "BYE", 1);
    net.send(B, &bye);
    net.response_to(B, 200);
    let bye = net.request_to(A, Method::Bye);
    net.send(A, &respond(A, &bye, 200, "", None));
    net.run_out();
}

#[test]
fn privacy_that_is_critical_and_not_known_fails_the_call() {
    let mut untrusted = net(true, false);
    let mut message = untrusted.invite(A, "100");
    message.headers.push(HeaderName::Privacy, "id;invisible;critical");
    untrusted.send(A, &message);
    let last = untrusted.take(A).pop().unwrap();
    assert_eq!(last.status(), Some(500));
    assert!(format!("{:?}", last.start).contains("Privacy failed: invisible"), "RFC 3323 §4.2: says which");
    untrusted.nothing_to(B);
    let ack = crate::sip::transaction::table::within_transaction(&message, Method::Ack);
    untrusted.send(A, &ack);
    untrusted.run_out();
    // Not critical, or to somebody who may know it.
    passed(&mut net(true, false), &[("Privacy", "invisible")]);
    passed(&mut net(true, true), &[("Privacy", "invisible;critical")]);
}

#[test]
fn a_trusted_trunk_that_only_prefers_asserts_that_and_one_of_each_kind_is_enough() {
    let invite =
        passed(&mut net(true, true), &[("P-Preferred-Identity", "\"Cullen Jennings\" <sip:fluffy@cisco.com>")]);
    assert_eq!(all(&invite, "P-Asserted-Identity"), ["\"Cullen Jennings\" <sip:fluffy@192.0.2.7>"]);
    assert_eq!(all(&invite, "P-Preferred-Identity"), NOTHING);
    // RFC 3325 §9.1.
    let more = ("P-Asserted-Identity", "<sip:other@cisco.com>, <tel:+14085551212>");
    let invite =
        passed(&mut net(true, true), &[FLUFFY, FLUFFY_TEL, more, ("P-Preferred-Identity", "<sip:x@y.example>")]);
    assert_eq!(
        all(&invite, "P-Asserted-Identity"),
        ["\"Cullen Jennings\" <sip:fluffy@192.0.2.7>", "<tel:+14085264000>"]
    );
}

#[test]
fn who_answers_is_told_by_the_same_rules() {
    for (alice, carrier, privacy, told) in [
        (true, true, "", true),
        (true, true, "id", true),
        (false, true, "", false),
        (false, true, "none", true),
        (true, false, "none", false),
    ] {
        let mut net = net(alice, carrier);
        let invite = passed(&mut net, &[]);
        net.take(A);
        let mut ringing = respond(B, &invite, 180, "b-tag", None);
        ringing.headers.push(HeaderName::PAssertedIdentity, "\"Bob\" <sip:+15551234@198.18.1.2>");
        if !privacy.is_empty() {
            ringing.headers.push(HeaderName::Privacy, privacy);
        }
        net.send(B, &ringing);
        let ringing = net.response_to(A, 180);
        let expected: &[&str] = if told { &["\"Bob\" <sip:+15551234@198.18.0.1>"] } else { &[] };
        assert_eq!(all(&ringing, "P-Asserted-Identity"), expected, "{alice} {carrier} {privacy}");
    }
}

#[test]
fn a_diversion_is_kept_and_hides_whom_it_is_told_to_hide() {
    // RFC 5806 §10's parties.
    let bob = "\"Bob\" <sip:+15551234@B.example>;reason=no-answer;counter=1";
    for (privacy, outside) in [
        ("", "\"Bob\" <sip:+15551234@192.0.2.7>;reason=no-answer;counter=1"),
        (";privacy=off", "\"Bob\" <sip:+15551234@192.0.2.7>;reason=no-answer;counter=1;privacy=off"),
        (";privacy=name", "<sip:+15551234@192.0.2.7>;reason=no-answer;counter=1;privacy=name"),
        (";privacy=uri", "\"Bob\" <sip:anonymous@anonymous.invalid>;reason=no-answer;counter=1;privacy=uri"),
        (";privacy=full", "<sip:anonymous@anonymous.invalid>;reason=no-answer;counter=1;privacy=full"),
    ] {
        let value = format!("{bob}{privacy}");
        assert_eq!(all(&passed(&mut net(true, false), &[("Diversion", &value)]), "Diversion"), [outside]);
        let inside = format!("\"Bob\" <sip:+15551234@192.0.2.7>;reason=no-answer;counter=1{privacy}");
        assert_eq!(all(&passed(&mut net(true, true), &[("Diversion", &value)]), "Diversion"), [inside]);
    }
}

#[test]
fn a_history_is_kept_and_hides_whom_it_is_told_to_hide() {
    let value =
        "<sip:bob@example.com?Privacy=history&Reason=SIP%3Bcause%3D302>;index=1, <sip:carol@192.0.2.4>;index=1.1;rc=1";
    let inside =
        "<sip:bob@192.0.2.7?Privacy=history&Reason=SIP%3Bcause%3D302>;index=1, <sip:carol@192.0.2.7>;index=1.1;rc=1";
    assert_eq!(all(&passed(&mut net(true, true), &[("History-Info", value)]), "History-Info"), [inside]);
    // RFC 7044 §10.1.2: an entry that is private by itself, and all of them by the message.
    let outside = "<sip:anonymous@anonymous.invalid>;index=1, <sip:carol@192.0.2.7>;index=1.1;rc=1";
    assert_eq!(all(&passed(&mut net(true, false), &[("History-Info", value)]), "History-Info"), [outside]);
    let nobody = "<sip:anonymous@anonymous.invalid>;index=1, <sip:anonymous@anonymous.invalid>;index=1.1;rc=1";
    for privacy in ["history", "header", "session"] {
        let lines = [("History-Info", value), ("Privacy", privacy)];
        let invite = passed(&mut net(true, false), &lines);
        assert_eq!(all(&invite, "History-Info"), [nobody], "{privacy}");
        assert_eq!(all(&invite, "Privacy"), NOTHING, "done");
    }
}

#[test]
fn a_tel_uri_in_from_becomes_a_sip_uri_at_our_address() {
    let invite = passed(&mut net(false, false), &[("From", "\"Cullen\" <tel:+1-408-526-4000>;tag=1928301774")]);
    assert_eq!(caller(&invite), "\"Cullen\" <sip:+14085264000@192.0.2.7;user=phone>");
}
