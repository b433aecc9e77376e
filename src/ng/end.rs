//! `delete`: a call, one branch of it, or one fork ends. Pure; slow-path thread.

use std::time::Duration;

use super::{NgError, call::Pair, machine::Ng, request::Request, value::Dictionary};
use crate::{
    base::{Time, limits::NG_DELETE_DELAY},
    control::MediaControl,
};

/// As proxies know it from rtpengine.
const NOTHING: &str = "Call-ID not found or tags didn't match";

/// What a delete is about.
enum Part {
    Call,
    /// The pairs at these places.
    Pairs(Vec<usize>),
    /// One of several tags that have answered, and not the one that media goes to.
    Fork(usize),
}

impl Ng {
    pub(super) fn delete(
        &mut self,
        now: Time,
        request: &Request,
        media: &mut dyn MediaControl,
    ) -> Result<Dictionary, NgError> {
        let call_id = request.needs_call_id()?;
        let Some((number, part)) =
            self.by_id.get(call_id).and_then(|number| Some((*number, self.part(*number, request)?)))
        else {
            return match request.fatal {
                true => Err(NgError::UnknownCall),
                false => Ok(Dictionary::default().with("warning", NOTHING).with("result", "ok")),
            };
        };
        let figures = self.view(number, media);
        match part {
            Part::Call => {
                let delay = request.delete_delay_s.map_or(self.settings.delete_delay, Duration::from_secs);
                if delay.is_zero() {
                    self.end(now, number, media);
                } else if let Some(call) = self.calls.get_mut(&number) {
                    call.delete_at = Some(now + delay.min(NG_DELETE_DELAY));
                    self.changed(now, number);
                }
            }
            Part::Pairs(places) => {
                let gone: Vec<Pair> = match self.calls.get_mut(&number) {
                    Some(call) => places.into_iter().rev().map(|at| call.pairs.remove(at)).collect(),
                    None => Vec::new(),
                };
                gone.iter().flat_map(Pair::sessions).for_each(|id| drop(self.close(now, id, media)));
                self.changed(now, number);
            }
            Part::Fork(at) => {
                if let (Some(call), Some(tag)) = (self.calls.get_mut(&number), &request.to_tag)
                    && let Some(pair) = call.pairs.get_mut(at)
                {
                    pair.tags[1].retain(|known| known != tag);
                }
                self.changed(now, number);
            }
        }
        Ok(figures.with("result", "ok"))
    }

    /// None: nothing fits.
    fn part(&self, number: u64, request: &Request) -> Option<Part> {
        let call = self.calls.get(&number)?;
        let (from, to, branch) = (request.from_tag.as_deref(), request.to_tag.as_deref(), request.branch.as_deref());
        let Some(from) = from else { return Some(Part::Call) };
        let places = |fits: &dyn Fn(&Pair) -> bool| -> Vec<usize> {
            call.pairs.iter().enumerate().filter(|(_, pair)| fits(pair)).map(|(at, _)| at).collect()
        };
        let by_tags = |pair: &Pair| {
            let side = pair.side_of(from);
            side.is_some_and(|side| to.is_none_or(|to| pair.has(side.other(), to)))
        };
        let mut found = places(&|pair| by_tags(pair) && branch.is_none_or(|b| pair.branch.as_deref() == Some(b)));
        if found.is_empty() && to.is_some() {
            found = places(&by_tags);
        }
        // A branch that failed before it was answered has no tag here, or one that this node was never told.
        if found.is_empty() {
            found = places(&|pair| {
                pair.side_of(from).is_some() && !pair.answered && (branch.is_none() || pair.branch.as_deref() == branch)
            });
        }
        if found.is_empty() {
            return None;
        }
        if let ([at], Some(to)) = (found.as_slice(), to) {
            let forks = &call.pairs[*at].tags[1];
            if forks.len() > 1 && forks.iter().any(|tag| tag == to) && forks.last().is_some_and(|last| last != to) {
                return Some(Part::Fork(*at));
            }
        }
        let ended_answered = found.iter().any(|at| call.pairs[*at].answered);
        let goes_on =
            call.pairs.iter().enumerate().any(|(at, p)| !found.contains(&at) && (p.answered || !ended_answered));
        Some(if goes_on { Part::Pairs(found) } else { Part::Call })
    }
}
