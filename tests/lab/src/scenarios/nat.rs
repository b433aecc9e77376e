//! Address translation between the caller and tandem, 1:1 and without state.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    lab::{End, Lab},
    law::Law,
    runner::Scenario,
    topology::Between,
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("phone_behind_nat", "a phone whose SDP names a private address is heard and hears", phone)
            .prepared(|plan| plan.between = Between::PhoneBehindNat),
        Scenario::new("tandem_behind_nat", "tandem behind a translated address tells peers the advertised one", tandem)
            .prepared(|plan| plan.between = Between::TandemBehindNat),
    ]
}

fn phone(lab: &mut Lab<'_>) -> Result<String> {
    let mu = lab.speech(Law::Mu, Duration::from_secs(4))?;
    let a = lab.speech(Law::A, Duration::from_secs(4))?;
    lab.call(&lab.caller(Law::Mu).plays(&mu).with("talk_ms", 4_500), &lab.callee(Law::A).plays(&a))?;
    // Until the phone's own packets have shown where it is, tandem can neither admit nor reach it: a candidate needs
    // two packets in a row. What is heard after that must be right, and nearly all must be heard.
    let mut found = Vec::new();
    for (end, from, to) in [(End::Near, Law::Mu, Law::A), (End::Far, Law::A, Law::Mu)] {
        let judged = lab.judge_calls(end, &lab.expect(from, to, None))?;
        ensure!(judged.len() == 1, "{} calls were answered, not 1", judged.len());
        let heard = judged[0].1;
        ensure!(
            heard.sent > 100
                && heard.lost() <= 8
                && heard.differing_bytes + heard.differing_headers + heard.surplus == 0,
            "the {end:?} end's words: {heard}"
        );
        found.push(heard.to_string());
    }
    Ok(format!("there: {}; back: {}", found[0], found[1]))
}

fn tandem(lab: &mut Lab<'_>) -> Result<String> {
    let mu = lab.speech(Law::Mu, Duration::from_secs(4))?;
    let a = lab.speech(Law::A, Duration::from_secs(4))?;
    lab.call(&lab.caller(Law::Mu).plays(&mu).with("talk_ms", 4_500), &lab.callee(Law::A).plays(&a))?;
    let there = lab.demand_perfect(End::Near, 1, &lab.expect(Law::Mu, Law::A, None))?;
    let back = lab.demand_perfect(End::Far, 1, &lab.expect(Law::A, Law::Mu, None))?;
    for end in End::BOTH {
        let inside = lab.tap(end).book().message(|message| message.text.contains("198.19.")).map(|m| m.text.clone());
        ensure!(inside.is_none(), "the {end:?} end was told the inner address:\n{}", inside.unwrap_or_default());
    }
    Ok(format!("there: {there}; back: {back}; no message names the inner address"))
}
