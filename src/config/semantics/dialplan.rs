//! Checks of `[[route]]`, `[trunk.numbers]` and `sip.timezone`: prefixes that can match, numbers that can be written,
//! times that can be read.

use std::collections::HashSet;

use super::Checker;
use crate::{
    config::{
        NumberFormat, Numbers, Rewrite, Route, Window,
        document::{Step, at},
    },
    sip::route::zone,
};

const PLAIN: &str = "printable ASCII characters without blanks";

pub(super) fn check(checker: &mut Checker<'_>) {
    let config = checker.config;
    timezone(checker, at!["sip", "timezone"], &config.sip.timezone);
    for (index, trunk) in config.trunks.iter().enumerate() {
        numbers(checker, index, &trunk.numbers);
    }
    let trunks: Vec<&str> = config.trunks.iter().map(|trunk| trunk.name.as_str()).collect();
    let mut seen: HashSet<Claim<'_>> = HashSet::new();
    for (index, route) in config.routes.iter().enumerate() {
        match route.from.as_slice() {
            [from] => checker.must_exist(at!["route", index, "from"], from, &trunks, "trunk"),
            list => {
                for (at, from) in list.iter().enumerate() {
                    checker.must_exist(at!["route", index, "from", at], from, &trunks, "trunk");
                }
            }
        }
        targets(checker, index, route, &trunks);
        plain(checker, at!["route", index, "prefix"], &route.prefix);
        times(checker, index, route);
        rewrite(checker, index, "called", &route.called);
        rewrite(checker, index, "calling", &route.calling);
        // A list of trunks claims what a rule for each of them would.
        let any = [None];
        let named: Vec<Option<&str>> = route.from.iter().map(|from| Some(from.as_str())).collect();
        let all = if named.is_empty() { &any[..] } else { &named };
        let again = all.iter().filter(|from| !seen.insert(Claim::of(route, **from))).count();
        if again > 0 {
            let allowed = match route.times.is_empty() {
                true => "each pair of prefix and from once; list the trunks of one route in `to`",
                false => "each prefix, from and times once; list the trunks of one route in `to`",
            };
            checker.error(at!["route", index, "prefix"], format!("{:?} again", route.prefix), allowed);
        }
    }
}

/// Which calls a rule is for. Two rules with the same claim: one of them would never be followed.
#[derive(PartialEq, Eq, Hash)]
struct Claim<'a> {
    prefix: &'a str,
    emergency: bool,
    from: Option<&'a str>,
    times: &'a [String],
    timezone: Option<&'a str>,
}

impl<'a> Claim<'a> {
    fn of(route: &'a Route, from: Option<&'a str>) -> Self {
        Claim {
            prefix: &route.prefix,
            emergency: route.emergency,
            from,
            times: &route.times,
            timezone: route.timezone.as_deref().filter(|_| !route.times.is_empty()),
        }
    }
}

fn targets(checker: &mut Checker<'_>, index: usize, route: &Route, trunks: &[&str]) {
    let config = checker.config;
    for (at, to) in route.to.iter().enumerate() {
        let path = at!["route", index, "to", at];
        checker.must_exist(path, to, trunks, "trunk");
        let trunk = config.trunks.iter().find(|trunk| &trunk.name == to);
        if checker.whole(&["trunk.destinations"]) && trunk.is_some_and(|trunk| trunk.destinations.is_empty()) {
            checker.error(path, format!("{to:?}, which has no destinations"), "a trunk with destinations");
        }
    }
}

fn plain(checker: &mut Checker<'_>, path: &[Step], text: &str) {
    if let Some(bad) = text.chars().find(|c| !c.is_ascii_graphic()) {
        checker.error(path, format!("{bad:?} in it"), PLAIN);
    }
}

fn timezone(checker: &mut Checker<'_>, path: &[Step], name: &str) {
    if zone(name).is_none() {
        checker.error(path, format!("{name:?}"), "a time zone's IANA name, as in \"Europe/Berlin\", or \"UTC\"");
    }
}

fn times(checker: &mut Checker<'_>, index: usize, route: &Route) {
    for (at, text) in route.times.iter().enumerate() {
        if let Err(error) = text.parse::<Window>() {
            checker.error(
                at!["route", index, "times", at],
                format!("{text:?}: {error}"),
                "[DAYS] [HH:MM-HH:MM], as in \"mon-fri 08:00-18:00\", \"sat,sun\", \"22:00-06:00\"",
            );
        }
    }
    if let Some(name) = &route.timezone {
        timezone(checker, at!["route", index, "timezone"], name);
    }
    if route.emergency && !route.times.is_empty() {
        checker.error(at!["route", index, "times"], "times of an emergency rule", "none: it holds at all hours");
    }
    if route.emergency && route.prefix.is_empty() && checker.whole(&["route.prefix"]) {
        checker.error(at!["route", index, "prefix"], "\"\" of an emergency rule", "the whole emergency number");
    }
}

fn rewrite(checker: &mut Checker<'_>, index: usize, key: &'static str, rewrite: &Rewrite) {
    plain(checker, at!["route", index, key, "prepend"], &rewrite.prepend);
    let Some(number) = &rewrite.number else { return };
    plain(checker, at!["route", index, key, "number"], number);
    if rewrite.strip > 0 || !rewrite.prepend.is_empty() {
        checker.error(
            at!["route", index, key, "number"],
            format!("{number:?} beside strip or prepend"),
            "either a number to write, or strip and prepend",
        );
    }
}

fn numbers(checker: &mut Checker<'_>, index: usize, numbers: &Numbers) {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let country = &numbers.country;
    // ITU-T E.164 §6: one to three digits; none begins with 0.
    if !country.is_empty() && (!digits(country) || country.len() > 3 || country.starts_with('0')) {
        checker.error(
            at!["trunk", index, "numbers", "country"],
            format!("{country:?}"),
            "a country calling code, 1 to 3 digits, as in \"49\"",
        );
    }
    for (key, prefixes) in [("international", &numbers.international), ("national", &numbers.national)] {
        for (at, prefix) in prefixes.iter().enumerate().filter(|(_, prefix)| !digits(prefix)) {
            checker.error(
                at!["trunk", index, "numbers", key, at],
                format!("{prefix:?}"),
                "digits, as in \"00\" or \"0\"",
            );
        }
    }
    for (at, prefix) in numbers.national.iter().enumerate() {
        if numbers.international.contains(prefix) {
            checker.error(
                at!["trunk", index, "numbers", "national", at],
                format!("{prefix:?}, which is an international prefix too"),
                "a prefix that tells a national number from an international one",
            );
        }
    }
    let home = numbers.format == NumberFormat::National || !numbers.national.is_empty();
    if home && country.is_empty() && checker.whole(&["trunk.numbers", "trunk.numbers.country"]) {
        checker.error(
            at!["trunk", index, "numbers"],
            "national numbers without a country",
            "`country`, the country calling code that national numbers belong to",
        );
    }
}
