//! Responses that the standards print, and for what they do not print, those that Python's hashlib gives.

use crate::sip::auth::{
    digest::{Algorithm, Input, Protection, Qop, same},
    header::Challenge,
};

/// RFC 2617 §3.5.
#[test]
fn rfc_2617_section_3_5() {
    let challenge = Challenge::parse(
        "Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
         opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
    )
    .unwrap();
    let input = Input {
        algorithm: challenge.algorithm(),
        username: "Mufasa",
        password: "Circle Of Life",
        realm: &challenge.realm,
        nonce: &challenge.nonce,
        protection: Some(Protection { qop: challenge.qop.unwrap(), nc: 1, cnonce: "0a4f113b" }),
        method: "GET",
        uri: "/dir/index.html",
        body: b"",
    };
    assert_eq!(input.response(), "6629fae49393a05397450978507c4ef1");
}

/// RFC 7616 §3.9.1: one page, asked for by either algorithm.
#[test]
fn rfc_7616_section_3_9_1() {
    let respond = |algorithm| {
        let input = Input {
            algorithm: Algorithm::parse(algorithm).unwrap(),
            username: "Mufasa",
            password: "Circle of Life",
            realm: "http-auth@example.org",
            nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            protection: Some(Protection {
                qop: Qop::Auth,
                nc: 1,
                cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            }),
            method: "GET",
            uri: "/dir/index.html",
            body: b"",
        };
        input.response()
    };
    assert_eq!(respond("MD5"), "8ca523f5e9506fed4657c9700eebdbec");
    assert_eq!(respond("SHA-256"), "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1");
}

/// RFC 7616 §3.9.2 gives SHA-512-256, a name outside ASCII and a hashed user name. The response that it prints was made
/// with SHA-512 cut short rather than with SHA-512/256 (its erratum 4897 has the numbers below).
#[test]
fn rfc_7616_section_3_9_2_as_its_erratum_corrects_it() {
    let input = Input {
        algorithm: Algorithm::parse("SHA-512-256").unwrap(),
        username: "J\u{e4}s\u{f8}n Doe",
        password: "Secret, or not?",
        realm: "api@example.org",
        nonce: "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK",
        protection: Some(Protection { qop: Qop::Auth, nc: 1, cnonce: "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v" }),
        method: "GET",
        uri: "/doe.json",
        body: b"",
    };
    assert_eq!(input.response(), "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5");
}

/// By Python's hashlib (OpenSSL) over RFC 7616 §3.4's strings: each algorithm, both qualities of protection.
const BY_HASHLIB: &[(&str, Qop, &str)] = &[
    ("MD5", Qop::Auth, "89eb0059246c02b2f6ee02c7961d5ea3"),
    ("MD5", Qop::AuthInt, "0422c22f93d9319f3b047be907f09c11"),
    ("MD5-sess", Qop::Auth, "e4e4ea61d186d07a92c9e1f6919902e9"),
    ("MD5-sess", Qop::AuthInt, "b5bb30825fdc165a6ab7f332d58bab76"),
    ("SHA-256", Qop::Auth, "b3b5a6c69453abafaab9ae4dccdac90a076b6c80615d5f3498e7433b6e93bf4f"),
    ("SHA-256", Qop::AuthInt, "38ba751b94bc922ce5d8a67891a80c80e6bd6e6634a02251b1568922d58c30f1"),
    ("SHA-256-sess", Qop::Auth, "5da59c9ca40954be9d5063a15a174066c8251be2c10cf47c144c366dc7daf792"),
    ("SHA-256-sess", Qop::AuthInt, "c4159bf7c70c95b2dba195d67150c94d5bdddd679b946de7a4b1acb7e5b512b6"),
    ("SHA-512-256", Qop::Auth, "7f1a09de0f19af0a1eac2b28d33e3f2fb89cca1ad8fb01bba5e1883b288bac14"),
    ("SHA-512-256", Qop::AuthInt, "7997a6621ea8e5fdaa2e7f266376eebc0bd5a13eee83c06b1f4d0a478a90d46c"),
    ("SHA-512-256-sess", Qop::Auth, "077d9677be83f41f162d1a4453dc163389919f81e5927391d972f477da767633"),
    ("SHA-512-256-sess", Qop::AuthInt, "7e94bf614766d73633c4075b1c9a731bcd58dcff627a8e98c2e9060189115b63"),
];

fn invite<'a>(algorithm: Algorithm, protection: Option<Protection<'a>>) -> Input<'a> {
    Input {
        algorithm,
        username: "bob",
        password: "zanzibar",
        realm: "biloxi.com",
        nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093",
        protection,
        method: "INVITE",
        uri: "sip:bob@biloxi.com",
        body: b"v=0\r\no=bob 2890844526 2890844526 IN IP4 media.biloxi.com\r\n",
    }
}

#[test]
fn every_algorithm_with_and_without_a_session_and_the_body() {
    for (name, qop, expected) in BY_HASHLIB {
        let protection = Protection { qop: *qop, nc: 1, cnonce: "0a4f113b" };
        let input = invite(Algorithm::parse(name).unwrap(), Some(protection));
        assert_eq!(input.response(), *expected, "{name} {qop:?}");
        assert_eq!(Algorithm::parse(name).unwrap().as_str(), *name);
    }
}

#[test]
fn a_server_that_knows_no_qop_gets_what_rfc_2069_says() {
    assert_eq!(invite(Algorithm::MD5, None).response(), "bf57e4e0d0bffc0fbaedce64d59add5e");
}

#[test]
fn equal_is_equal() {
    assert!(same("00ff", "00ff"));
    assert!(!same("00ff", "00fe") && !same("00ff", "00f") && !same("", "0"));
}
