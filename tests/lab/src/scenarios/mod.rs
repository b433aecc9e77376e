//! The scenarios: one behaviour per function, grouped by what they are about.

mod account;
mod audio;
mod dialogs;
mod dialplan;
mod endings;
mod failover;
mod flood;
mod identities;
mod intruder;
mod kamailio;
mod nat;
mod network;
mod ng;
mod ng_nodes;
mod offers;
pub mod pair;
mod ramp;
mod scan;
mod softphones;
mod storm;
mod transfer;
mod transport;
mod trunks;
mod workers;

pub use audio::both_laws;
pub use ramp::cost;

use crate::runner::Scenario;

/// In the order they run: what everything else stands on first, the long ones last.
pub fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    all.extend(network::scenarios());
    all.extend(audio::scenarios());
    all.extend(transport::scenarios());
    all.extend(endings::scenarios());
    all.extend(failover::scenarios());
    all.extend(account::scenarios());
    all.extend(dialplan::scenarios());
    all.extend(dialogs::scenarios());
    all.extend(offers::scenarios());
    all.extend(identities::scenarios());
    all.extend(trunks::scenarios());
    all.extend(transfer::scenarios());
    all.extend(nat::scenarios());
    all.extend(intruder::scenarios());
    all.extend(workers::scenarios());
    all.extend(kamailio::scenarios());
    all.extend(ng::scenarios());
    all.extend(ng_nodes::scenarios());
    all.extend(softphones::scenarios());
    all.extend(storm::scenarios());
    all.extend(ramp::scenarios());
    all.extend(scan::scenarios());
    all.extend(flood::scenarios());
    all
}
