//! Which calls are in progress on which trunk and at which destination. Slow-path thread.
//!
//! A call remembers what it is counted as, and `note` makes that what it should be. The endpoint calls `note` whenever it
//! puts a call back, whatever was done to it: a count cannot be forgotten on one of the many ways in which a call ends.

use super::{Direction, Trunks};
use crate::sip::b2bua::call::{Call, Phase};

/// What a call is counted as. Not saved: whoever restores a call counts it anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    from: Option<String>,
    to: Option<Place>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    trunk: String,
    uri: String,
}

/// Counts the call as what it now is: from its trunk until it ends; to a trunk and a destination from the INVITE there
/// until that failed or the call ended.
pub fn note(trunks: &mut Trunks, call: &mut Call) {
    let lives = call.phase != Phase::Ended;
    let from = lives.then_some(call.a.trunk.as_str());
    let attempt = call.attempt.as_ref().map(|attempt| attempt.destination.uri.as_str());
    let uri = attempt.or(call.record.destination.as_deref()).unwrap_or("");
    let to = call.b.as_ref().filter(|_| lives).map(|leg| (leg.trunk.as_str(), uri));
    let counted = &mut call.counted;
    if counted.from.as_deref() != from {
        trunks.add(counted.from.as_deref(), Direction::In, false);
        trunks.add(from, Direction::In, true);
        counted.from = from.map(str::to_owned);
    }
    if counted.to.as_ref().map(|place| (place.trunk.as_str(), place.uri.as_str())) != to {
        if let Some(place) = &counted.to {
            trunks.add(Some(&place.trunk), Direction::Out, false);
            trunks.add_at(&place.trunk, &place.uri, false);
        }
        if let Some((trunk, uri)) = to {
            trunks.add(Some(trunk), Direction::Out, true);
            trunks.add_at(trunk, uri, true);
        }
        counted.to = to.map(|(trunk, uri)| Place { trunk: trunk.to_owned(), uri: uri.to_owned() });
    }
}

fn change(count: &mut u32, up: bool) {
    *count = if up { count.saturating_add(1) } else { count.saturating_sub(1) };
}

impl Trunks {
    fn add(&mut self, trunk: Option<&str>, direction: Direction, up: bool) {
        if let Some(state) = trunk.and_then(|name| self.by_name.get_mut(name)) {
            change(&mut state.calls[direction.index()], up);
        }
    }

    /// A destination that the configuration does not have is counted nowhere, neither up nor down.
    fn add_at(&mut self, trunk: &str, uri: &str, up: bool) {
        if let Some(state) = self.destination_mut(trunk, uri) {
            change(&mut state.calls, up);
        }
    }

    /// Calls in progress over all trunks and directions, and over all destinations.
    #[cfg(test)]
    pub fn all_calls(&self) -> ([u32; 2], u32) {
        let mut sum = ([0; 2], 0);
        for state in self.by_name.values() {
            sum.0[0] += state.calls[0];
            sum.0[1] += state.calls[1];
            sum.1 += state.destinations.values().map(|to| to.calls).sum::<u32>();
        }
        sum
    }
}
