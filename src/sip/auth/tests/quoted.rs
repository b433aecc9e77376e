//! Challenges and credentials as text: RFC 3261 §25.1's quoted strings, and what is not understood.

use proptest::prelude::*;

use crate::sip::auth::{
    digest::{Algorithm, Qop},
    header::{Challenge, Credentials},
};

/// What a header field can carry within quotes: no line break, which would end the field.
fn text() -> impl Strategy<Value = String> {
    proptest::string::string_regex("[^\\x00-\\x08\\x0a-\\x1f\\x7f]{0,24}").unwrap()
}

fn algorithms() -> impl Strategy<Value = Option<Algorithm>> {
    const NAMES: [&str; 7] = ["", "MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256", "SHA-512-256-sess"];
    proptest::sample::select(&NAMES[..]).prop_map(Algorithm::parse)
}

proptest! {
    #[test]
    fn credentials_survive_being_written(
        username in text(), realm in text(), nonce in text(), uri in text(), cnonce in text(),
        opaque in proptest::option::of(text()), algorithm in algorithms(), int in any::<bool>(), nc in any::<u32>(),
    ) {
        let qop = Some((if int { Qop::AuthInt } else { Qop::Auth }, nc, cnonce));
        let response = "00ff".to_owned();
        let written = Credentials { username, realm, nonce, uri, response, algorithm, opaque, qop };
        prop_assert_eq!(Credentials::parse(&written.to_string()), Some(written));
    }

    #[test]
    fn challenges_survive_being_written(
        realm in text(), nonce in text(), opaque in proptest::option::of(text()), algorithm in algorithms(),
        stale in any::<bool>(),
    ) {
        let written = Challenge { realm, nonce, opaque, algorithm, qop: Some(Qop::Auth), stale };
        prop_assert_eq!(Challenge::parse(&written.to_string()), Some(written));
    }

    #[test]
    fn nothing_that_arrives_is_too_strange(text in "\\PC{0,200}", rest in "[\",=\\\\ a-z]{0,60}") {
        let _ = Challenge::parse(&text);
        let _ = Credentials::parse(&format!("Digest {rest}"));
    }
}

#[test]
fn quotes_and_backslashes_are_escaped_once() {
    let credentials = Credentials {
        username: "a\"b\\c".into(),
        realm: "r".into(),
        nonce: "n".into(),
        uri: "sip:x".into(),
        response: "0".into(),
        algorithm: None,
        opaque: None,
        qop: None,
    };
    let text = r#"Digest username="a\"b\\c", realm="r", nonce="n", uri="sip:x", response="0""#;
    assert_eq!(credentials.to_string(), text);
}

#[test]
fn what_must_not_be_quoted_is_not() {
    // RFC 7616 §3.4: qop, nc and algorithm of credentials; §3.3: stale and algorithm of a challenge.
    let credentials = Credentials {
        username: "u".into(),
        realm: "r".into(),
        nonce: "n".into(),
        uri: "sip:x".into(),
        response: "0".into(),
        algorithm: Some(Algorithm::SHA_256),
        opaque: Some("o".into()),
        qop: Some((Qop::Auth, 26, "c".into())),
    };
    let text = credentials.to_string();
    assert!(text.ends_with(r#"algorithm=SHA-256, qop=auth, nc=0000001a, cnonce="c", opaque="o""#), "{text}");
}

#[test]
fn a_challenge_is_read_as_peers_write_it() {
    let read = |text: &str| Challenge::parse(text).unwrap();
    let plain = read(
        r#"Digest realm="atlanta.com",domain="sip:ss1.carrier.com", qop="auth,auth-int" ,nonce="f84",opaque="", stale=FALSE, algorithm=MD5"#,
    );
    assert_eq!((plain.realm.as_str(), plain.nonce.as_str(), plain.opaque.as_deref()), ("atlanta.com", "f84", Some("")));
    assert_eq!((plain.algorithm, plain.qop, plain.stale), (Some(Algorithm::MD5), Some(Qop::Auth), false));
    let bare = read("digest  nonce=1b/2+c==, realm=\"x\", qop=auth-int, stale=\"TRUE\", algorithm=\"sha-256\"");
    assert_eq!((bare.nonce.as_str(), bare.qop, bare.stale), ("1b/2+c==", Some(Qop::AuthInt), true));
    assert_eq!(bare.algorithm, Some(Algorithm::SHA_256));
    let old = read("Digest realm=\"x\", nonce=\"y\"");
    assert_eq!((old.algorithm, old.algorithm(), old.qop), (None, Algorithm::MD5, None));
}

#[test]
fn what_cannot_be_answered_is_no_challenge() {
    for text in [
        "",
        "Basic realm=\"x\"",
        "Digest",
        "Digest realm=\"x\"",
        "Digest nonce=\"y\"",
        "Digest realm=\"x\", nonce=\"y\", algorithm=AKAv1-MD5",
        "Digest realm=\"x\", nonce=\"y\", qop=\"token\"",
        // A session's key needs a cnonce, which comes with a qop alone.
        "Digest realm=\"x\", nonce=\"y\", algorithm=MD5-sess",
        // Said twice: nobody knows which is meant.
        "Digest realm=\"x\", nonce=\"y\", nonce=\"z\"",
        "Digest realm=\"x\", nonce=\"y",
        "Digest realm=\"x\" nonce=\"y\"",
        // RFC 3261 §7.3.1: two challenges in one line are not allowed.
        "Digest realm=\"x\", nonce=\"y\", Digest realm=\"x\", nonce=\"z\"",
    ] {
        assert_eq!(Challenge::parse(text), None, "{text}");
    }
}

#[test]
fn a_nonce_count_has_eight_digits() {
    let with = |nc: &str| {
        let text = format!(
            r#"Digest username="u", realm="r", nonce="n", uri="x", response="0", qop=auth, nc={nc}, cnonce="c""#
        );
        Credentials::parse(&text)
    };
    assert_eq!(with("0000000A").unwrap().qop, Some((Qop::Auth, 10, "c".into())));
    for bad in ["1", "00000000a", "0000000g", "+0000001"] {
        assert_eq!(with(bad), None, "{bad}");
    }
}
