//! What concerns two calls, or one that was not at hand: done once every call is back in the table. Slow-path thread.
//!
//! Always: when an entry of the endpoint returns, nothing is deferred any more; so none of it is saved.

use super::{CallId, Endpoint, Turn};
use crate::sip::b2bua::{
    call::Phase,
    teardown::{self, Ending},
    transfer::{self, Deferred, Named},
};

impl Endpoint {
    pub(super) fn run_deferred(&mut self, turn: &mut Turn<'_>) {
        while let Some(next) = self.core.deferred.pop_front() {
            match next {
                Deferred::Begin(call) => self.keep(call),
                Deferred::Rings { of, target, status } => {
                    self.with_call(of, |core, call| transfer::told(core, turn, call, target, status));
                }
                Deferred::Answered { of, target } => self.answered_target(turn, of, target),
                Deferred::Failed { of, target, status } => {
                    self.with_call(of, |core, call| transfer::target_failed(core, turn, call, target, status));
                }
                Deferred::Drop(target) => self.drop_call(turn, target),
                Deferred::Attend { of, named } => self.attend(turn, of, &named),
                Deferred::Replace { mut by, named } => {
                    let mut call = self.calls.remove(&named.of);
                    transfer::replace(&mut self.core, turn, &mut by, call.as_deref_mut(), &named);
                    self.keep(by);
                    if let Some(call) = call {
                        self.keep(call);
                    }
                }
                Deferred::Pass { of, side, server } => {
                    let named = self.core.live.tx.server(server).and_then(|entry| transfer::named(&self.core, entry));
                    let replaces = named.and_then(|named| transfer::mapped(&named, self.calls.get(&named.of)?));
                    self.with_call(of, |core, call| transfer::pass_refer(core, turn, call, side, server, replaces));
                }
            }
        }
    }

    fn answered_target(&mut self, turn: &mut Turn<'_>, of: CallId, target: CallId) {
        let Some(mut made) = self.calls.remove(&target) else { return };
        let done = self.with_call(of, |core, call| transfer::target_answered(core, turn, call, &mut made));
        if done.is_none() {
            teardown::end(&mut self.core, turn, &mut made, dropped());
        }
        self.keep(made);
    }

    fn attend(&mut self, turn: &mut Turn<'_>, of: CallId, named: &Named) {
        let mut with = self.calls.remove(&named.of);
        self.with_call(of, |core, call| match &mut with {
            Some(with) => transfer::attended(core, turn, call, with, named),
            None => transfer::target_failed(core, turn, call, named.of, 481),
        });
        if let Some(with) = with {
            self.keep(with);
        }
    }

    /// Only a call that tandem made ends because nobody waits for it.
    fn drop_call(&mut self, turn: &mut Turn<'_>, target: CallId) {
        self.with_call(target, |core, call| {
            if call.origin.take().is_some() && call.phase != Phase::Ended {
                teardown::end(core, turn, call, dropped());
            }
        });
    }
}

fn dropped() -> Ending {
    Ending::tandem(super::Cause::Cancelled, 487)
}
