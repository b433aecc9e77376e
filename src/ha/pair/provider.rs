//! The thread that asks the provider, which may wait for a network as long as it likes. One question after the other; the
//! machine has at most one of each kind open.

use std::{io, sync::Arc, thread};

use crossbeam::channel::{Receiver, Sender, bounded};
use mio::Waker;

use crate::ha::{
    provider::Provider,
    role::{Answer, Ask},
};

/// Kinds of questions, and room for a claim that is given up.
const QUESTIONS: usize = 8;

/// The pair thread's end.
pub struct Mover {
    ask: Sender<Ask>,
    answers: Receiver<Answer>,
}

impl Mover {
    pub fn start(mut provider: Box<dyn Provider>, waker: Arc<Waker>) -> io::Result<Mover> {
        let (ask, asked) = bounded::<Ask>(QUESTIONS);
        let (tell, answers) = bounded(QUESTIONS);
        let work = move || {
            for question in asked {
                let answer = match question {
                    Ask::Claim(generation) => Answer::Claimed(provider.claim(&generation)),
                    Ask::Confirm => Answer::Confirmed(provider.confirm()),
                    Ask::Rehearse => Answer::Rehearsed(provider.rehearse()),
                };
                if tell.send(answer).is_err() {
                    return;
                }
                let _ = waker.wake();
            }
        };
        thread::Builder::new().name("ha-provider".into()).spawn(work)?;
        Ok(Mover { ask, answers })
    }

    pub fn ask(&self, ask: Ask) {
        // As many as can be open fit.
        let _ = self.ask.try_send(ask);
    }

    pub fn answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}
