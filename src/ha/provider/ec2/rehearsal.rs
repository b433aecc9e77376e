//! Whether a claim would work, asked of the API without making one: DryRun where a call has it, and something that cannot
//! change anything where it has not. Provider thread.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use aws_sdk_ec2::types::NetworkInterface;
use tokio::runtime::Runtime;

use super::{
    super::ProviderError,
    Known, all_at_once,
    plan::{Call, Move, Way},
    refused, worst,
};

/// Every call of a claim without its effect, and those of `confirm` as they are. All permissions that are missing are
/// named at once: an operator who adds one is not to learn of the next a minute later. In a hurry, for a claim may wait
/// behind this; but a single answer that was lost makes no standby unready.
pub(super) fn rehearse(runtime: &Runtime, known: &Arc<Known>) -> Result<(), ProviderError> {
    let api = known.api.hurried();
    let mut why = Vec::new();
    let mut ids: Vec<String> = Vec::new();
    for one in known.moves.iter().filter(|one| !matches!(one.way, Way::Elastic { .. })) {
        if !ids.contains(&one.interface) {
            ids.push(one.interface.clone());
        }
    }
    let mut primaries = HashMap::new();
    if !ids.is_empty() {
        match runtime.block_on(api.interfaces(ids)) {
            Ok(interfaces) => {
                why.extend(unchecked(&known.moves, &interfaces));
                primaries.extend(
                    interfaces.into_iter().filter_map(|one| Some((one.network_interface_id?, one.private_ip_address?))),
                );
            }
            Err(error) => why.push(error),
        }
    }
    let made = all_at_once(runtime, known, async move |known: &Known, call: &Call| {
        let primary = match call {
            Call::Assign { interface, .. } => primaries.get(interface),
            Call::Associate { .. } | Call::Replace { .. } => None,
        };
        known.api.hurried().rehearse(call, primary.map(String::as_str)).await
    });
    why.extend(made.into_iter().filter_map(|(_, result)| result.err()));
    why.extend(runtime.block_on(api.look(&known.moves)).err());
    forbidden(&why).or_else(|| worst(why.iter()).cloned()).map_or(Ok(()), Err)
}

/// The permissions that are missing, as one refusal.
fn forbidden(why: &[ProviderError]) -> Option<ProviderError> {
    let missing: BTreeSet<&str> = why
        .iter()
        .filter_map(|error| match error {
            ProviderError::Refused { missing, .. } => missing.as_deref(),
            ProviderError::Partial { .. } | ProviderError::Unreachable(_) => None,
        })
        .collect();
    let names = missing.into_iter().collect::<Vec<_>>().join(", ");
    let what = || "the role of this instance may not do all that a takeover needs".to_owned();
    (!names.is_empty()).then(|| ProviderError::Refused { what: what(), missing: Some(names) })
}

/// Route targets that would get no packet. User guide, "source/destination checking": with the check on, an interface
/// takes only what is to its own addresses, and an overlay's is none of them.
fn unchecked(moves: &[Move], interfaces: &[NetworkInterface]) -> Vec<ProviderError> {
    let checks = |id: &str| {
        let found = interfaces.iter().find(|interface| interface.network_interface_id() == Some(id));
        found.and_then(NetworkInterface::source_dest_check) == Some(true)
    };
    moves
        .iter()
        .filter(|one| matches!(one.way, Way::Route { .. }) && checks(&one.interface))
        .map(|one| {
            let (name, id) = (&one.floating.name, &one.interface);
            refused(format!("the source/destination check of {id} is on: no packet to {name:?} would arrive"))
        })
        .collect()
}
