//! Checks of what a `[[trunk]]` says about its destinations, its limits and its health: keys that mean nothing as they
//! stand.

use super::Checker;
use crate::config::{Policy, Trunk, TrunkDestination, document::at};

pub(super) fn check(checker: &mut Checker<'_>, index: usize, trunk: &Trunk) {
    weights(checker, index, trunk);
    limits(checker, index, trunk);
    super::account::check(checker, index, trunk);
    if trunk.health.is_some() && trunk.destinations.is_empty() && checker.whole(&["trunk.destinations"]) {
        checker.warn(at!["trunk", index, "health"], "no destinations to ask", "a trunk with destinations");
    }
}

fn weights(checker: &mut Checker<'_>, index: usize, trunk: &Trunk) {
    if matches!(trunk.policy, Policy::Weighted | Policy::LeastCalls) {
        return;
    }
    let weighty = trunk.destinations.iter().position(|to| to.weight != TrunkDestination::WEIGHT);
    if let Some(at) = weighty {
        checker.warn(
            at!["trunk", index, "destinations", at, "weight"],
            trunk.destinations[at].weight.to_string(),
            format!("policy \"weighted\" or \"least_calls\": {:?} looks at no weight", trunk.policy.as_str()),
        );
    }
}

fn limits(checker: &mut Checker<'_>, index: usize, trunk: &Trunk) {
    let limits = &trunk.limits;
    for (key, part, whole_key, whole) in [
        ("max_calls_in", limits.max_calls_in, "max_calls", limits.max_calls),
        ("max_calls_out", limits.max_calls_out, "max_calls", limits.max_calls),
        ("calls_per_second_in", limits.calls_per_second_in, "calls_per_second", limits.calls_per_second),
        ("calls_per_second_out", limits.calls_per_second_out, "calls_per_second", limits.calls_per_second),
    ] {
        if let (Some(part), Some(whole)) = (part, whole)
            && part > whole
        {
            checker.warn(
                at!["trunk", index, "limits", key],
                part.to_string(),
                format!("{whole} ({whole_key}) or less: that limit binds first"),
            );
        }
    }
    let rated = limits.calls_per_second.or(limits.calls_per_second_in).or(limits.calls_per_second_out).is_some();
    if limits.burst.is_some() && !rated {
        checker.warn(at!["trunk", index, "limits", "burst"], "a burst without a rate", "calls_per_second beside it");
    }
}
