//! Registrations as the operator and the metrics see them. Slow-path thread; plain values.

use super::{Registration, machine::Outcome};
use crate::{base::Time, config::TrunkRegister};

#[derive(Clone, Debug, PartialEq)]
pub struct RegistrationView {
    pub aor: String,
    pub registrar: String,
    pub registered: bool,
    /// Until the binding runs out; None: there is none.
    pub expires_in_s: Option<u64>,
    /// Until the next REGISTER; None: one is under way, or none will follow.
    pub next_in_s: Option<u64>,
    /// What the last REGISTER came to.
    pub last: Option<&'static str>,
    /// Since the start, by what they came to.
    pub attempts: Vec<(&'static str, u64)>,
}

impl RegistrationView {
    pub fn of(rule: &TrunkRegister, registration: &Registration, now: Time) -> RegistrationView {
        RegistrationView {
            aor: rule.aor.clone(),
            registrar: rule.registrar.clone(),
            registered: registration.is_registered(now),
            expires_in_s: registration.expires_in(now).map(|left| left.as_secs()),
            next_in_s: registration.next_in(now).map(|left| left.as_secs()),
            last: registration.last(),
            attempts: Outcome::NAMES.into_iter().zip(registration.counts()).collect(),
        }
    }
}
