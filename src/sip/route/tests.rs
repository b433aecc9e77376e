//! Numbers and rules by hand, and against naive references.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::config::{Config, Numbers as Scheme, Rewrite};

fn scheme(text: &str) -> Scheme {
    toml::from_str(text).unwrap()
}

fn germany() -> Scheme {
    scheme("country = '49'\ninternational = '00'\nnational = '0'")
}

fn sip(number: &str) -> Uri {
    let at = if number.is_empty() { "" } else { "@" };
    Uri::parse(&format!("sip:{number}{at}198.18.0.1")).unwrap()
}

/// Two trunks, of which the first writes numbers as in Germany, and `rules`.
fn routing(rules: &str) -> Routing {
    let text = format!(
        "{}\n{rules}",
        r#"
            port = []
            address = []
            media = {}
            sip = { listen = [], timezone = "Europe/Berlin" }
            [[trunk]]
            name = "pbx"
            address = "a"
            numbers = { country = "49", international = "00", national = "0" }
            [[trunk]]
            name = "carrier"
            address = "a"
        "#
    );
    let config: Config = toml::from_str(&text).unwrap();
    Routing::new(&config, &[])
}

const PBX: TrunkId = TrunkId(0);
const CARRIER: TrunkId = TrunkId(1);
/// Tuesday, 2023-11-14, 22:13 UTC, 23:13 in Berlin.
const TUESDAY: u64 = 1_700_000_000_000;

fn ask(routing: &Routing, from: TrunkId, called: &str) -> Choice {
    routing.choose(&Asked { from, called: Some(sip(called)), calling: None, at_ms: TUESDAY })
}

fn verdicts(choice: &Choice) -> Vec<(usize, Verdict)> {
    choice.considered.iter().map(|one| (one.rule, one.verdict)).collect()
}

#[test]
fn dialled_numbers_of_germany_italy_and_north_america() {
    let italy = scheme("country = '39'\ninternational = '00'\nnational = ''");
    let america = scheme("country = '1'\ninternational = '011'\nnational = ['1', '']");
    let bare = scheme("international = ''");
    for (scheme, dialled, seen) in [
        (&germany(), "0301234567", "+49301234567"),
        (&germany(), "00442071838750", "+442071838750"),
        (&germany(), "+49301234567", "+49301234567"),
        // Visual separators (RFC 3966 §3).
        (&germany(), "+49-30-1234567", "+49301234567"),
        (&germany(), "(030)1234-567", "+49301234567"),
        // Short codes, names, service codes and what begins with neither prefix.
        (&germany(), "112", "112"),
        (&germany(), "116117", "116117"),
        (&germany(), "alice", "alice"),
        (&germany(), "*21*0301234567#", "*21*0301234567#"),
        (&germany(), "+49alice", "+49alice"),
        (&germany(), "1234567", "1234567"),
        (&germany(), "", ""),
        // No country code begins with 0; E.164 has 15 digits.
        (&germany(), "0000301234567", "0000301234567"),
        (&germany(), "00491234567890123", "+491234567890123"),
        (&germany(), "004912345678901234", "004912345678901234"),
        // In Italy the 0 belongs to the number.
        (&italy, "0612345678", "+390612345678"),
        (&italy, "0039061234567", "+39061234567"),
        (&italy, "112", "112"),
        (&america, "2125551234", "+12125551234"),
        (&america, "12125551234", "+12125551234"),
        (&america, "011442071838750", "+442071838750"),
        (&america, "911", "911"),
        (&bare, "49301234567", "+49301234567"),
        (&Scheme::default(), "0301234567", "0301234567"),
        (&Scheme::default(), "+49-30", "+49-30"),
    ] {
        assert_eq!(normalise(scheme, dialled, None), seen, "{dialled}");
    }
}

#[test]
fn a_context_is_no_prefix_and_another_countrys_numbers_are_not_read_as_ours() {
    // RFC 3966 §5.1.5: 911 in the context +1 is not +1911.
    assert_eq!(normalise(&germany(), "1234567", Some("+4930")), "1234567");
    assert_eq!(normalise(&germany(), "0301234567", Some("+49")), "+49301234567");
    assert_eq!(normalise(&germany(), "0301234567", Some("+49-30")), "+49301234567");
    assert_eq!(normalise(&germany(), "0201234567", Some("+44")), "0201234567");
    assert_eq!(normalise(&germany(), "0301234567", Some("ims.example")), "+49301234567");
}

#[test]
fn numbers_are_taken_from_uris() {
    for (uri, number) in [
        ("sip:+49301234567@h", "+49301234567"),
        ("sip:0301234567;phone-context=+49@h;user=phone", "0301234567"),
        ("sip:+49-30-1234567@h;user=phone", "+49301234567"),
        // Of a name that is no telephone number nothing is taken.
        ("sip:anna-maria@h", "anna-maria"),
        ("tel:+1-201-555-0123", "+12015550123"),
        ("tel:863-1234;phone-context=+1-914-555", "8631234"),
        ("tel:+358-555-1234567;postd=pp22", "+3585551234567"),
        // RFC 3261 §19.1.4.
        ("sip:%2B49%330@h", "+4930"),
        ("sip:*21%23@h", "*21#"),
        ("sip:1%0d%0a2@h", "1%0d%0a2"),
        ("sip:h", ""),
    ] {
        assert_eq!(called_number(&Uri::parse(uri).unwrap()), number, "{uri}");
    }
}

#[test]
fn numbers_are_written_as_a_trunk_wants_them() {
    let format = |format: &str| scheme(&format!("country = '49'\ninternational = '00'\nnational = '0'\n{format}"));
    let home = Number::of(&sip("030-1234567"), Some(&germany()));
    let abroad = Number::of(&sip("00442071838750"), Some(&germany()));
    let short = Number::of(&sip("112"), Some(&germany()));
    for (scheme, expected) in [
        (format(""), ["030-1234567", "00442071838750", "112"]),
        (format("format = 'plus_e164'"), ["+49301234567", "+442071838750", "112"]),
        (format("format = 'e164'"), ["49301234567", "442071838750", "112"]),
        (format("format = 'national'"), ["0301234567", "00442071838750", "112"]),
        (
            scheme("country = '44'\ninternational = '00'\nnational = '0'\nformat = 'national'"),
            ["0049301234567", "02071838750", "112"],
        ),
        (scheme("country = '44'\nformat = 'national'"), ["+49301234567", "+442071838750", "112"]),
    ] {
        assert_eq!([&home, &abroad, &short].map(|n| n.written(Some(&scheme))), expected, "{scheme:?}");
    }
    // What a rule wrote is kept even where numbers leave as they came.
    let rewrite = Rewrite { strip: 3, prepend: "9".into(), number: None };
    let mut number = home.clone();
    number.rewrite(&rewrite);
    assert_eq!(number.written(None), "9301234567");
    number.rewrite(&Rewrite { strip: 32, ..rewrite });
    assert_eq!(number.written(Some(&germany())), "9");
}

#[test]
fn the_longest_prefix_wins_and_each_other_rule_is_told_why_not() {
    let routing = routing(
        r#"
            [[route]]
            prefix = ""
            to = ["carrier"]
            [[route]]
            prefix = "+49"
            to = ["carrier"]
            [[route]]
            prefix = "+4930"
            from = ["carrier"]
            to = ["pbx"]
            [[route]]
            prefix = "+4930"
            from = "pbx"
            times = ["mon-fri 08:00-18:00"]
            to = ["pbx"]
            [[route]]
            prefix = "+4930"
            to = ["carrier"]
            [[route]]
            prefix = "+4940"
            to = ["pbx"]
        "#,
    );
    let choice = ask(&routing, PBX, "0301234567");
    assert_eq!((choice.rule, choice.emergency, &choice.to[..]), (Some(4), false, &[CARRIER][..]));
    assert_eq!(choice.numbers.called.dialled, "0301234567");
    assert_eq!(choice.numbers.called.seen, "+49301234567");
    assert_eq!(
        verdicts(&choice),
        [
            (3, Verdict::Closed),
            (2, Verdict::OtherTrunk),
            (4, Verdict::Wins),
            (1, Verdict::ShorterPrefix),
            (0, Verdict::ShorterPrefix)
        ]
    );
    // The next morning the office answers itself.
    let morning = TUESDAY + 12 * 3_600_000;
    let choice = routing.choose(&Asked { from: PBX, called: Some(sip("0301234567")), calling: None, at_ms: morning });
    assert_eq!(choice.rule, Some(3));
    assert_eq!(verdicts(&choice)[2], (4, Verdict::NamesNoTrunk));
}

#[test]
fn among_equal_claims_times_go_first_then_the_order_of_the_file() {
    let routing = routing(
        r#"
            [[route]]
            prefix = "1"
            to = ["carrier"]
            [[route]]
            prefix = "1"
            times = ["tue"]
            to = ["pbx"]
            [[route]]
            prefix = "1"
            times = ["22:00-06:00"]
            to = ["carrier"]
        "#,
    );
    let choice = ask(&routing, CARRIER, "100");
    assert_eq!(verdicts(&choice), [(1, Verdict::Wins), (2, Verdict::StandsLater), (0, Verdict::NamesNoTimes)]);
}

#[test]
fn an_emergency_number_goes_before_all_else_and_is_the_whole_number() {
    let routing = routing(
        r#"
            [[route]]
            prefix = "112"
            from = "pbx"
            to = ["pbx"]
            [[route]]
            prefix = "112"
            emergency = true
            to = ["carrier", "pbx"]
            [[route]]
            prefix = "0112"
            emergency = true
            from = "pbx"
            to = ["carrier"]
        "#,
    );
    let choice = ask(&routing, PBX, "112");
    assert_eq!((choice.rule, choice.emergency, &choice.to[..]), (Some(1), true, &[CARRIER, PBX][..]));
    assert_eq!(verdicts(&choice), [(1, Verdict::Wins), (0, Verdict::NoEmergency)]);
    let choice = ask(&routing, PBX, "1129");
    assert_eq!((choice.rule, choice.emergency), (Some(0), false));
    assert_eq!(ask(&routing, PBX, "0112").rule, Some(2));
    assert_eq!((ask(&routing, CARRIER, "0112").rule, ask(&routing, CARRIER, "0112").emergency), (None, false));
}

#[test]
fn an_emergency_number_counts_as_dialled_too() {
    let routing = routing("[[route]]\nprefix = \"0800112112\"\nemergency = true\nto = [\"carrier\"]");
    let choice = ask(&routing, PBX, "0800112112");
    assert_eq!(choice.numbers.called.seen, "+49800112112");
    assert!(choice.emergency);
}

#[test]
fn a_calling_number_is_rewritten_a_hidden_one_is_not() {
    let routing = routing(
        r#"
            [[route]]
            prefix = "1"
            calling = { strip = 3, prepend = "0" }
            to = ["carrier"]
            [[route]]
            prefix = "2"
            calling = { number = "+4930999" }
            to = ["carrier"]
        "#,
    );
    let calling = |called: &str, caller: &str| {
        let caller = Some(Uri::parse(caller).unwrap());
        let asked = Asked { from: PBX, called: Some(sip(called)), calling: caller, at_ms: TUESDAY };
        routing.choose(&asked).numbers.calling.map(|number| number.routed().to_owned())
    };
    assert_eq!(calling("1", "sip:0301234567@h").as_deref(), Some("0301234567"));
    assert_eq!(calling("1", "sip:alice@h").as_deref(), Some("alice"), "a name has no digits to take");
    assert_eq!(calling("2", "sip:alice@h").as_deref(), Some("+4930999"));
    assert_eq!(calling("2", "sip:h").as_deref(), Some("+4930999"));
    assert_eq!(calling("2", "tel:+44-20-71838750").as_deref(), Some("+4930999"));
    // RFC 3323 §4.1.1.3.
    assert_eq!(calling("2", "sip:anonymous@anonymous.invalid"), None);
    assert_eq!(calling("2", "sip:Anonymous@198.18.0.1"), None);
}

fn any_scheme() -> impl Strategy<Value = Scheme> {
    let prefix = || proptest::collection::vec("0{0,3}|01?1?|1", 0..3);
    ("|[1-9][0-9]{0,2}", prefix(), prefix(), 1u8..10).prop_map(|(country, international, national, shortest)| Scheme {
        country,
        international,
        national,
        shortest,
        ..Scheme::default()
    })
}

proptest! {
    #[test]
    fn normalising_twice_is_normalising_once(
        scheme in any_scheme(),
        number in "[+]?[0-9]{0,18}|[+]?[-0-9.()*#a-z]{0,12}|\\PC{0,8}",
        context in proptest::option::of("[+][0-9]{1,3}|[a-z]{1,8}"),
    ) {
        let once = normalise(&scheme, &number, context.as_deref());
        prop_assert_eq!(normalise(&scheme, &once, context.as_deref()), once.clone());
        // Once it is global, its context says no more.
        if once.starts_with('+') {
            prop_assert_eq!(normalise(&scheme, &once, None), once.clone());
        }
        // What it made is E.164: + and at most 15 digits, the first not 0.
        if once != number && !number.starts_with('+') {
            let digits = once.strip_prefix('+').unwrap();
            prop_assert!(digits.len() <= 15 && !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()));
        }
    }

    /// A caller's E.164 number, written by a scheme that has all its prefixes, means the same when it comes back.
    #[test]
    fn what_is_written_in_national_form_is_read_as_the_same_number(digits in "[1-9][0-9]{7,13}") {
        let scheme = scheme("country = '49'\ninternational = '00'\nnational = '0'\nformat = 'national'");
        let seen = format!("+{digits}");
        let number = Number { dialled: seen.clone(), seen: seen.clone(), rewritten: None };
        let written = number.written(Some(&scheme));
        let back = normalise(&scheme, &written, None);
        // A national number that begins with 0 is dialled like an international one.
        prop_assume!(!digits.starts_with("490"));
        prop_assert_eq!(back, seen);
    }

    #[test]
    fn the_longest_prefix_is_the_naive_one(
        rules in proptest::collection::vec(("[1-3]{0,4}", proptest::option::of(0u16..2)), 0..24),
        called in "[1-4]{0,6}",
        from in 0u16..2,
    ) {
        let names = ["pbx", "carrier"];
        let mut text = String::new();
        for (prefix, from) in &rules {
            let from = from.map(|from| format!("from = {:?}\n", names[usize::from(from)])).unwrap_or_default();
            text += &format!("[[route]]\nprefix = {prefix:?}\n{from}to = [\"carrier\"]\n");
        }
        let choice = ask(&routing(&text), TrunkId(from), &called);
        // The first of the best: every rule that fits, by length, then whether it names the trunk.
        let fits = rules.iter().enumerate().filter(|(_, (prefix, for_trunk))| {
            called.starts_with(prefix) && for_trunk.is_none_or(|trunk| trunk == from)
        });
        let naive = fits.min_by_key(|(at, (prefix, for_trunk))| (usize::MAX - prefix.len(), for_trunk.is_none(), *at));
        prop_assert_eq!(choice.rule, naive.map(|(at, _)| at));
        let matching: HashMap<usize, ()> =
            rules.iter().enumerate().filter(|(_, (prefix, _))| called.starts_with(prefix)).map(|(at, _)| (at, ())).collect();
        prop_assert_eq!(choice.considered.len(), matching.len(), "every rule that fits is accounted for");
        prop_assert!(choice.considered.iter().all(|one| matching.contains_key(&one.rule)));
    }
}
