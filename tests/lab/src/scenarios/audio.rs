//! What the far ends hear: conversion, relay, events, hold.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    lab::{End, Lab},
    law::Law,
    runner::{BOTH, Scenario},
    sipp::Formats,
    verdict::Heard,
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "pcmu_pcma",
            "20 calls at once, μ-law to A-law and back: every byte by G.711's tables",
            pcmu_pcma,
        )
        .on(BOTH)
        .with_stand_in(),
        Scenario::new("pcmu_pcmu", "μ-law to μ-law passes byte for byte", pcmu_pcmu).on(BOTH).with_stand_in(),
        Scenario::new("telephone_event", "a key press passes with another payload type on each side", telephone_event)
            .on(BOTH)
            .with_stand_in(),
        Scenario::new("early_media", "what the callee plays before it answers is heard (183)", early_media)
            .with_stand_in(),
        Scenario::new("hold_resume", "held beyond the media time-out, resumed, and heard again", hold_resume)
            .prepared(|plan| plan.setup.media_timeout_s = 4)
            .with_stand_in(),
        Scenario::new("hold_music", "the side that holds may go on to play to the other (sendonly)", hold_music)
            .with_stand_in(),
    ]
}

/// Both directions of 20 calls with 7 s of speech. Also what `demo` shows.
pub fn both_laws(lab: &mut Lab<'_>, calls: u32) -> Result<[Heard; 2]> {
    let mu = lab.speech(Law::Mu, Duration::from_secs(60))?;
    let a = lab.speech(Law::A, Duration::from_secs(60))?;
    let mut caller = lab.caller(Law::Mu).plays(&mu);
    let mut callee = lab.callee(Law::A).plays(&a);
    (caller.calls, caller.rate, callee.calls) = (calls, 20, calls);
    lab.call(&caller, &callee)?;
    let there = lab.demand_perfect(End::Near, calls as usize, &lab.expect(Law::Mu, Law::A, None))?;
    let back = lab.demand_perfect(End::Far, calls as usize, &lab.expect(Law::A, Law::Mu, None))?;
    Ok([there, back])
}

fn pcmu_pcma(lab: &mut Lab<'_>) -> Result<String> {
    let [there, back] = both_laws(lab, 20)?;
    if !lab.is_stand_in() {
        // RFC 3246: expedited forwarding is code point 46, and tandem's default for media.
        for end in End::BOTH {
            let marks = lab.tap(end).book().dscp.clone();
            ensure!(marks.keys().eq(&[46]), "RTP arrived at the {end:?} end with these code points: {marks:?}");
        }
        let records = lab.appliance()?.records()?;
        ensure!(records.len() == 20, "{} call-detail records for 20 calls", records.len());
    }
    Ok(format!("to A-law: {there}; to μ-law: {back}"))
}

fn pcmu_pcmu(lab: &mut Lab<'_>) -> Result<String> {
    let mu = lab.speech(Law::Mu, Duration::from_secs(60))?;
    let mut caller = lab.caller(Law::Mu).plays(&mu);
    let mut callee = lab.callee(Law::Mu).plays(&mu);
    (caller.calls, callee.calls) = (3, 3);
    lab.call(&caller, &callee)?;
    let expect = lab.expect(Law::Mu, Law::Mu, None);
    let there = lab.demand_perfect(End::Near, 3, &expect)?;
    let back = lab.demand_perfect(End::Far, 3, &expect)?;
    Ok(format!("there: {there}; back: {back}"))
}

fn telephone_event(lab: &mut Lab<'_>) -> Result<String> {
    let (near_pt, far_pt) = (101, 96);
    let mut files = Vec::new();
    for (law, pt, key) in [(Law::Mu, near_pt, 5), (Law::A, far_pt, 11)] {
        let mut speech = lab.speech_of(law)?.first(Duration::from_secs(4));
        speech.press(key, pt, 50);
        files.push(speech.write(lab.room.join(format!("keys-{pt}.pcap")))?);
    }
    let mut caller = lab.caller(Law::Mu).plays(&files[0]).with("talk_ms", 5_000);
    caller.formats = Formats::of(Law::Mu, Some(near_pt));
    let mut callee = lab.callee(Law::A).plays(&files[1]);
    callee.formats = Formats::of(Law::A, Some(far_pt));
    lab.call(&caller, &callee)?;
    let there = lab.demand_perfect(End::Near, 1, &lab.expect(Law::Mu, Law::A, Some((near_pt, far_pt))))?;
    let back = lab.demand_perfect(End::Far, 1, &lab.expect(Law::A, Law::Mu, Some((far_pt, near_pt))))?;
    for (end, pt) in [(End::Near, if lab.is_stand_in() { far_pt } else { near_pt }), (End::Far, far_pt)] {
        let pt = if lab.is_stand_in() && end == End::Far { near_pt } else { pt };
        let events: usize = lab
            .tap(end)
            .book()
            .streams
            .iter()
            .filter(|(key, _)| !key.outgoing)
            .map(|(_, stream)| stream.packets.iter().filter(|packet| packet.pt == pt).count())
            .sum();
        ensure!(events == 8, "{events} of 8 event packets arrived at the {end:?} end under payload type {pt}");
    }
    Ok(format!("there: {there}; back: {back}; 8 event packets each way"))
}

fn early_media(lab: &mut Lab<'_>) -> Result<String> {
    let a = lab.speech(Law::A, Duration::from_secs(2))?;
    let callee = lab.callee(Law::A).scenario("callee_early").plays(&a).with("ring_ms", 2_500);
    lab.call(&lab.caller(Law::Mu).with("talk_ms", 500), &callee)?;
    let heard = lab.demand_perfect(End::Far, 1, &lab.expect(Law::A, Law::Mu, None))?;
    let book = lab.tap(End::Near).book();
    let answered = book.message(|message| message.is_response(200, "INVITE")).map(|message| message.at);
    let last = book.streams.values().filter_map(|stream| stream.packets.last()).map(|packet| packet.at).max();
    ensure!(last.is_some() && last < answered, "the announcement was not heard before the answer");
    Ok(format!("before the answer: {heard}"))
}

fn held(lab: &mut Lab<'_>, how: &str, answer: &str, hold_ms: u64) -> Result<(Heard, Heard)> {
    let mu = lab.speech(Law::Mu, Duration::from_secs(2))?;
    let a = lab.speech(Law::A, Duration::from_secs(2))?;
    let caller = lab.caller(Law::Mu).scenario("caller_hold").plays(&mu);
    let caller = caller.with("talk_ms", 2_500).with("hold", how).with("hold_ms", hold_ms);
    let callee = lab.callee(Law::A).scenario("callee_hold").plays(&a).with("hold", answer);
    lab.call(&caller, &callee)?;
    let there = lab.demand_perfect(End::Near, 1, &lab.expect(Law::Mu, Law::A, None))?;
    let back = lab.demand_perfect(End::Far, 1, &lab.expect(Law::A, Law::Mu, None))?;
    // RFC 3264 §8.4: the other side must have been told of the hold, and of its end.
    let told: Vec<String> = {
        let book = lab.tap(End::Far).book();
        let dialog = book.dialogs.by_call_id.values().find(|dialog| dialog.status == Some(200));
        dialog.map(|dialog| dialog.told.iter().map(|sdp| sdp.direction.clone()).collect()).unwrap_or_default()
    };
    ensure!(told == ["sendrecv", how, "sendrecv"], "the callee was told {told:?}");
    Ok((there, back))
}

fn hold_resume(lab: &mut Lab<'_>) -> Result<String> {
    let (there, back) = held(lab, "inactive", "inactive", 7_000)?;
    Ok(format!("there: {there}; back: {back}"))
}

fn hold_music(lab: &mut Lab<'_>) -> Result<String> {
    let (there, back) = held(lab, "sendonly", "recvonly", 1_000)?;
    Ok(format!("there: {there}; back: {back}"))
}
