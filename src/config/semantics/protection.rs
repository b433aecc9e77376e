//! Checks of `[sip.protection]`, `[trunk.identity]` and `[trunk.headers]`: what is looked for in messages, and which
//! header fields may be let through or kept back.

use super::{Checker, Step};
use crate::{
    config::document::at,
    sip::{b2bua::headers, message::HeaderName},
};

/// A shorter pattern is found in too much that is no scanner.
const SHORTEST_PATTERN: usize = 4;

pub(super) fn check(checker: &mut Checker<'_>) {
    let config = checker.config;
    for (at, pattern) in config.sip.protection.scanners.iter().enumerate() {
        if pattern.len() < SHORTEST_PATTERN || pattern.chars().any(char::is_control) {
            checker.error(
                at!["sip", "protection", "scanners", at],
                format!("{pattern:?}"),
                format!("{SHORTEST_PATTERN} printable characters or more"),
            );
        }
    }
    let everyone = |net: &ipnet::IpNet| net.prefix_len() == 0;
    for (index, trunk) in config.trunks.iter().enumerate() {
        if config.sip.protection.enabled
            && let Some(at) = trunk.from.iter().position(everyone)
        {
            checker.warn(
                at!["trunk", index, "from", at],
                trunk.from[at].to_string(),
                "networks of peers that are known: a trunk's addresses are never banned and not limited as strangers",
            );
        }
        for (key, names) in [("pass", &trunk.headers.pass), ("drop", &trunk.headers.drop)] {
            for (at, name) in names.iter().enumerate() {
                field(checker, at!["trunk", index, "headers", key, at], key, name);
            }
        }
    }
}

fn field(checker: &mut Checker<'_>, path: &[Step], key: &str, name: &str) {
    let token = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b));
    if !token {
        checker.error(path, format!("{name:?}"), "the name of a SIP header field");
    } else if headers::belongs_to_hop(&HeaderName::from(name)) {
        checker.error(
            path,
            format!("{name:?}"),
            "a header field that belongs neither to the hop nor to the dialog nor to the body: these are tandem's own",
        );
    } else if key == "pass" && headers::is_identity(&HeaderName::from(name)) {
        checker.error(path, format!("{name:?}"), "another header field: this one crosses by trust, see trunk.identity");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::{config::parse, host::Host};

    const EXAMPLE: &str = include_str!("../../../docs/tandem.example.toml");

    fn complaints(more: &str, of_trunk: &str) -> Vec<String> {
        let trunk = format!("no_reply_ms = 4000\n{of_trunk}\n");
        let text = EXAMPLE.replacen("no_reply_ms = 4000\n", &trunk, 1) + more;
        let reading = parse(Path::new("t.toml"), &text, &Host { cpus: None });
        reading.problems.iter().map(|problem| problem.to_string()).collect()
    }

    fn expect(found: &[String], expected: &[&str]) {
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found}\n{expected}");
        }
    }

    #[test]
    fn protection_lists_and_trust_are_sound_as_documented() {
        let more =
            "[sip.protection]\nsource_per_s = 5\nban_after = 0\ntrunk_per_s = 0\nscanners = [\"friendly-scanner\"]\n";
        let of_trunk = "identity = { trust = true }\nheaders = { pass = [\"X-Account\", \"Authorization\"], drop = [\"Diversion\"] }";
        expect(&complaints(more, of_trunk), &[]);
    }

    #[test]
    fn what_would_match_too_much_or_is_tandems_own_is_told() {
        expect(
            &complaints("[sip.protection]\nscanners = [\"sip\", \"friendly-scanner\"]\n", ""),
            &["sip.protection.scanners[1]: found \"sip\"; allowed: 4 printable characters or more"],
        );
        expect(
            &complaints("[sip.protection]\nban_window_s = 0\nsource_per_s = 0\n", ""),
            &["sip.protection.ban_window_s: found 0", "sip.protection.source_per_s: found 0"],
        );
        let of_trunk = "headers = { pass = [\"Via\", \"P-Asserted-Identity\", \"no header\"], drop = [\"i\", \"P-Asserted-Identity\"] }";
        expect(
            &complaints("", of_trunk),
            &[
                "headers.pass[1]: found \"Via\"; allowed: a header field that belongs neither to the hop",
                "headers.pass[2]: found \"P-Asserted-Identity\"; allowed: another header field: this one crosses by trust",
                "headers.pass[3]: found \"no header\"; allowed: the name of a SIP header field",
                "headers.drop[1]: found \"i\"; allowed: a header field that belongs neither to the hop",
            ],
        );
    }

    #[test]
    fn a_trunk_of_everybody_leaves_nobody_to_be_banned() {
        let text = EXAMPLE.replacen("from = [\"192.0.2.0/28\"]", "from = [\"0.0.0.0/0\"]", 1);
        let reading = parse(Path::new("t.toml"), &text, &Host { cpus: None });
        let warned: Vec<String> = reading.problems.iter().map(|problem| problem.to_string()).collect();
        assert!(warned.iter().any(|w| w.contains("found 0.0.0.0/0") && w.contains("never banned")), "{warned:#?}");
    }
}
