//! Checks of `[ng]`: addresses that must exist, interfaces that must be told apart, and who may send commands.

use std::collections::HashMap;

use super::Checker;
use crate::config::document::at;

pub(super) fn check(checker: &mut Checker<'_>) {
    let config = checker.config;
    let Some(ng) = &config.ng else { return };
    let addresses: Vec<&str> = config.addresses.iter().map(|address| address.name.as_str()).collect();
    for (index, name) in ng.media.iter().enumerate() {
        checker.must_exist(at!["ng", "media", index], name, &addresses, "address");
    }
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (index, interface) in ng.interfaces.iter().enumerate() {
        for (at, name) in interface.media.iter().enumerate() {
            checker.must_exist(at!["ng", "interface", index, "media", at], name, &addresses, "address");
        }
        let first = *seen.entry(&interface.name).or_insert(index);
        if first != index {
            checker.error(
                at!["ng", "interface", index, "name"],
                format!("{:?} again", interface.name),
                format!("a name of its own; [[ng.interface]] number {} has it", first + 1),
            );
        }
    }
    for (index, net) in ng.allow.iter().enumerate().filter(|(_, net)| net.prefix_len() == 0) {
        checker.warn(
            at!["ng", "allow", index],
            net.to_string(),
            "the networks of your proxies: whoever may send commands can have any call's media sent to himself",
        );
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::{config::parse, host::Host};

    const EXAMPLE: &str = include_str!("../../../docs/tandem.example.toml");

    fn complaints(ng: &str) -> Vec<String> {
        let (before, _) = EXAMPLE.split_once("[ng]").unwrap();
        let reading = parse(Path::new("t.toml"), &format!("{before}{ng}"), &Host { cpus: None });
        reading.problems.iter().map(|problem| problem.to_string()).collect()
    }

    #[test]
    fn the_smallest_one_is_sound() {
        assert_eq!(complaints("[ng]\nmedia = [\"public\"]\n"), [""; 0]);
    }

    #[test]
    fn names_must_exist_and_differ_and_not_everybody_may_command() {
        let ng = "[ng]\nmedia = [\"nowhere\"]\nallow = [\"0.0.0.0/0\"]\noffer_timeout_s = 0\n\
                  [[ng.interface]]\nname = \"x\"\nmedia = [\"nobody\"]\n[[ng.interface]]\nname = \"x\"\nmedia = [\"public\"]\n";
        let found = complaints(ng);
        for expected in [
            "ng.media[1]: found \"nowhere\"",
            "ng.allow[1]: found 0.0.0.0/0; allowed: the networks of your proxies",
            "ng.offer_timeout_s: found 0",
            "ng.interface[x].media[1]: found \"nobody\"",
            "ng.interface[x].name: found \"x\" again",
        ] {
            assert!(found.iter().any(|line| line.contains(expected)), "{expected}\n{found:#?}");
        }
    }
}
