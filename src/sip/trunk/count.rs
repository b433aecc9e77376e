//! Which calls are in progress on which trunk and at which destination. Slow-path thread.
//!
//! A call remembers what it is counted as, and `note` makes that what it should be. The endpoint calls `note` whenever it
//! puts a call back, whatever was done to it: a count cannot be forgotten on one of the many ways in which a call ends.

use super::{Direction, Trunks};
use crate::{
    base::ids::Side,
    sip::b2bua::call::{Call, Leg, LegState, Phase},
};

/// What a call is counted as. Not saved: whoever restores a call counts it anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted([Option<Place>; 2]);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    trunk: String,
    /// The destination that was called; None: this side called us.
    uri: Option<String>,
}

impl Place {
    fn of(leg: &Leg) -> Place {
        Place { trunk: leg.trunk.clone(), uri: leg.place.clone() }
    }

    fn is(&self, leg: &Leg) -> bool {
        self.trunk == leg.trunk && self.uri == leg.place
    }
}

/// Counts the call as what it now is: each leg from its trunk, or to its trunk and destination, until it is gone or the
/// call ended. A leg that has left while a transfer is under way is no call of its trunk any more.
pub fn note(trunks: &mut Trunks, call: &mut Call) {
    let mut counted = std::mem::take(&mut call.counted);
    let lives = call.phase != Phase::Ended;
    for (side, before) in Side::BOTH.into_iter().zip(&mut counted.0) {
        let leg = call.leg(side).filter(|leg| lives && leg.state != LegState::Gone);
        if before.as_ref().is_none_or(|before| leg.is_none_or(|leg| !before.is(leg))) {
            trunks.count(before.as_ref(), false);
            *before = leg.map(Place::of);
            trunks.count(before.as_ref(), true);
        }
    }
    call.counted = counted;
}

fn change(count: &mut u32, up: bool) {
    *count = if up { count.saturating_add(1) } else { count.saturating_sub(1) };
}

impl Trunks {
    /// A trunk or destination that the configuration does not have is counted nowhere, neither up nor down.
    fn count(&mut self, place: Option<&Place>, up: bool) {
        let Some(place) = place else { return };
        let direction = if place.uri.is_some() { Direction::Out } else { Direction::In };
        if let Some(state) = self.by_name.get_mut(&place.trunk) {
            change(&mut state.calls[direction.index()], up);
        }
        if let Some(state) = place.uri.as_ref().and_then(|uri| self.destination_mut(&place.trunk, uri)) {
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
