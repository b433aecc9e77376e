//! Nonces and credentials as tandem, who challenges, sees them; by moved clocks.

use std::time::Duration;

use crate::{
    base::{Time, limits::DIGEST_NONCES},
    sip::{
        auth::{
            digest::{Input, Protection, Qop},
            header::{Challenge, Credentials},
            server::{Expected, Nonces, Verdict},
        },
        message::{HeaderName, Message, Method, Uri},
    },
};

const T0: Time = Time::from_secs(1_000);
const URI: &str = "sip:100@198.18.0.1";

fn expected() -> Expected<'static> {
    Expected { trunk: "pbx", realm: "tandem", username: "pbx", password: "zanzibar-7" }
}

fn challenge(nonces: &Nonces, at: Time, random: u64) -> Challenge {
    nonces.challenges(at, &expected(), false, random).remove(0)
}

fn request() -> Message {
    Message::request(Method::Invite, Uri::parse(URI).unwrap())
}

/// A request that answers the challenge, changed by `change` before it is hashed.
fn answer(challenge: &Challenge, nc: u32, password: &str, uri: &str) -> Message {
    let mut request = request();
    let input = Input {
        algorithm: challenge.algorithm(),
        username: "pbx",
        password,
        realm: &challenge.realm,
        nonce: &challenge.nonce,
        protection: Some(Protection { qop: Qop::Auth, nc, cnonce: "c" }),
        method: "INVITE",
        uri,
        body: b"",
    };
    let credentials = Credentials {
        username: "pbx".into(),
        realm: challenge.realm.clone(),
        nonce: challenge.nonce.clone(),
        uri: uri.into(),
        response: input.response(),
        algorithm: challenge.algorithm,
        opaque: None,
        qop: Some((Qop::Auth, nc, "c".into())),
    };
    request.headers.push(HeaderName::Authorization, credentials.to_string());
    request
}

fn right(challenge: &Challenge, nc: u32) -> Message {
    answer(challenge, nc, "zanzibar-7", URI)
}

#[test]
fn sha_256_is_offered_before_md5_and_either_is_taken() {
    let mut nonces = Nonces::new([1; 32]);
    let offered = nonces.challenges(T0, &expected(), false, 1);
    let names: Vec<&str> = offered.iter().map(|one| one.algorithm().as_str()).collect();
    assert_eq!(names, ["SHA-256", "MD5"]);
    for (nc, one) in (1..).zip(&offered) {
        assert_eq!(nonces.check(T0, &expected(), &right(one, nc)), Verdict::Right);
    }
}

#[test]
fn a_count_is_taken_once_and_may_overtake_another() {
    let mut nonces = Nonces::new([1; 32]);
    let one = challenge(&nonces, T0, 1);
    let mut verdict = |nc| nonces.check(T0, &expected(), &right(&one, nc));
    for nc in [1, 4, 2, 3, 100, 99, 37] {
        assert_eq!(verdict(nc), Verdict::Right, "{nc}");
    }
    // Seen, too far behind to know, or none at all.
    for nc in [1, 4, 2, 3, 100, 99, 37, 36, 0] {
        assert_eq!(verdict(nc), Verdict::Stale, "{nc}");
    }
}

#[test]
fn a_nonce_lives_five_minutes() {
    let mut nonces = Nonces::new([1; 32]);
    let one = challenge(&nonces, T0, 1);
    assert_eq!(nonces.check(T0 + Duration::from_secs(300), &expected(), &right(&one, 1)), Verdict::Right);
    assert_eq!(nonces.check(T0 + Duration::from_millis(300_001), &expected(), &right(&one, 2)), Verdict::Stale);
}

#[test]
fn nonces_of_others_are_stale_at_best() {
    let mut nonces = Nonces::new([1; 32]);
    let foreign = challenge(&Nonces::new([2; 32]), T0, 1);
    assert_eq!(nonces.check(T0, &expected(), &right(&foreign, 1)), Verdict::Stale);
    // Of another trunk with the same account.
    let other = nonces.challenges(T0, &Expected { trunk: "other", ..expected() }, false, 1).remove(0);
    assert_eq!(nonces.check(T0, &expected(), &right(&other, 1)), Verdict::Stale);
    let mut changed = challenge(&nonces, T0, 1);
    changed.nonce.replace_range(0..1, "f");
    assert_eq!(nonces.check(T0, &expected(), &right(&changed, 1)), Verdict::Stale);
    for nonce in ["", "x", &"é".repeat(40)] {
        let odd = Challenge { nonce: nonce.into(), ..challenge(&nonces, T0, 1) };
        assert_eq!(nonces.check(T0, &expected(), &right(&odd, 1)), Verdict::Stale);
    }
}

#[test]
fn wrong_is_wrong_and_missing_is_missing() {
    let mut nonces = Nonces::new([1; 32]);
    let one = challenge(&nonces, T0, 1);
    assert_eq!(nonces.check(T0, &expected(), &answer(&one, 1, "zanzibar-8", URI)), Verdict::Wrong);
    // For another request: somebody heard it.
    assert_eq!(nonces.check(T0, &expected(), &answer(&one, 1, "zanzibar-7", "sip:0900@198.18.0.1")), Verdict::Wrong);
    assert_eq!(nonces.check(T0, &expected(), &request()), Verdict::Missing);
    let elsewhere = Challenge { realm: "carrier".into(), ..one.clone() };
    assert_eq!(nonces.check(T0, &expected(), &right(&elsewhere, 1)), Verdict::Missing);
    // A session's key was not offered.
    let session = Challenge { algorithm: crate::sip::auth::digest::Algorithm::parse("MD5-sess"), ..one.clone() };
    assert_eq!(nonces.check(T0, &expected(), &right(&session, 1)), Verdict::Missing);
    // None of that used the count up.
    assert_eq!(nonces.check(T0, &expected(), &right(&one, 1)), Verdict::Right);
}

#[test]
fn what_is_remembered_is_bounded_and_the_forgotten_is_stale() {
    let mut nonces = Nonces::new([1; 32]);
    let given: Vec<Challenge> =
        (0..DIGEST_NONCES as u64 + 1).map(|nth| challenge(&nonces, T0 + Duration::from_millis(nth), nth)).collect();
    let now = T0 + Duration::from_secs(10);
    for one in &given {
        assert_eq!(nonces.check(now, &expected(), &right(one, 1)), Verdict::Right);
    }
    // The first was forgotten: a replay of it finds a closed door, not an open one.
    assert_eq!(nonces.check(now, &expected(), &right(&given[0], 1)), Verdict::Stale);
    assert_eq!(nonces.check(now, &expected(), &right(&given[1], 1)), Verdict::Stale);
    assert_eq!(nonces.check(now, &expected(), &right(&given[1], 2)), Verdict::Right);
}

#[test]
fn the_next_host_takes_what_this_one_gave_and_knows_what_was_used() {
    let mut nonces = Nonces::new([1; 32]);
    let one = challenge(&nonces, T0, 1);
    assert_eq!(nonces.check(T0, &expected(), &right(&one, 1)), Verdict::Right);
    let saved = serde_json::to_string(&nonces).unwrap();
    let mut next: Nonces = serde_json::from_str(&saved).unwrap();
    assert_eq!(next.check(T0, &expected(), &right(&one, 1)), Verdict::Stale);
    assert_eq!(next.check(T0, &expected(), &right(&one, 2)), Verdict::Right);
    assert_eq!(format!("{nonces:?}"), "Nonces { used: 1, .. }");
}
