//! Offers and answers wherever RFC 3261, 3262 and 3311 let them stand, forks, and glare. SIPp on both sides; what each side
//! hears is in its script.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{
    lab::{End, Lab},
    law::Law,
    runner::Scenario,
    script::{BODY, NO_BODY, Script, has, keep, lacks, sdp},
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "offers",
            "late offers, delayed answers, offers in 18x, PRACK, ACK and UPDATE: each reaches the other side's phone",
            offers,
        )
        .within(Duration::from_secs(60)),
        Scenario::new(
            "forks",
            "two forks of a call ring, each acknowledged in its dialog; one answers, and one that answers late is hung up",
            forks,
        )
        .within(Duration::from_secs(40)),
        Scenario::new(
            "glare",
            "re-INVITEs and UPDATEs that meet get 491, a refusal with 491 crosses, and the call goes on",
            glare,
        )
        .within(Duration::from_secs(40)),
    ]
}

const RELIABLE: &[&str] = &["Supported: 100rel"];
const RACK: &[&str] = &["RAck: [$rseq] 1 INVITE"];

/// Both phones to the end of their scripts.
pub fn both(lab: &Lab<'_>, name: &str, caller: Script, callee: Script) -> Result<()> {
    let (mut near, mut far) = (lab.caller(Law::Mu).follows(caller), lab.callee(Law::A).follows(callee));
    near.limit = Duration::from_secs(15);
    far.limit = Duration::from_secs(15);
    (near.name, far.name) = (name.to_owned(), format!("{name}_callee"));
    lab.call(&near, &far).with_context(|| name.to_owned())
}

fn offers(lab: &mut Lab<'_>) -> Result<String> {
    let offer = || has(BODY, "m=audio");
    both(
        lab,
        "late_offer",
        Script::caller("INVITE without an offer; the answer is in the ACK")
            .asks("INVITE", &[], NO_BODY)
            .may_hear(&[100])
            .hears(180, &[lacks(BODY, "m=audio")])
            .hears(200, &[offer()])
            .acks(&sdp(1, "sendrecv"))
            .waits(200)
            .hangs_up(),
        Script::callee("offers in its 200")
            .gets("INVITE", &[lacks(BODY, "m=audio")])
            .answers(180, "INVITE", &[], NO_BODY)
            .answers(200, "INVITE", &[], &sdp(1, "sendrecv"))
            .gets("ACK", &[offer()])
            .is_hung_up(),
    )?;
    both(
        lab,
        "delayed_answer",
        Script::caller("183 and 180 say nothing of media; the answer is in the 200")
            .invites(RELIABLE)
            .hears(183, &[lacks(BODY, "m=audio"), keep("RSeq:", "[0-9]+", "rseq"), has("Require:", "100rel")])
            .requests("PRACK", RACK, NO_BODY)
            .hears(200, &[])
            .hears_of_invite(180, &[lacks(BODY, "m=audio"), lacks("Require:", "100rel")])
            .hears_of_invite(200, &[offer()])
            .acks(NO_BODY)
            .waits(200)
            .hangs_up(),
        Script::callee("answers the offer at last")
            .gets("INVITE", &[offer()])
            .answers(183, "INVITE", &["Require: 100rel", "RSeq: 1"], NO_BODY)
            .gets("PRACK", &[has("RAck:", "1 [0-9]+ INVITE")])
            .answers(200, "PRACK", &[], NO_BODY)
            .waits(300)
            .answers(180, "INVITE", &[], NO_BODY)
            .waits(300)
            .answers(200, "INVITE", &[], &sdp(1, "sendrecv"))
            .gets("ACK", &[])
            .is_hung_up(),
    )?;
    both(
        lab,
        "offer_in_18x",
        Script::caller("the callee offers in a reliable 183, the caller answers in its PRACK, and offers in the next")
            .asks("INVITE", RELIABLE, NO_BODY)
            .may_hear(&[100])
            .hears(183, &[offer(), keep("RSeq:", "[0-9]+", "rseq")])
            .requests("PRACK", RACK, &sdp(1, "sendrecv"))
            .hears(200, &[])
            .hears_of_invite(180, &[keep("RSeq:", "[0-9]+", "rseq")])
            .requests("PRACK", RACK, &sdp(2, "sendonly"))
            .hears(200, &[has(BODY, "a=recvonly")])
            .hears_of_invite(200, &[])
            .acks(NO_BODY)
            .waits(200)
            .hangs_up(),
        Script::callee("offers in its 183; what the caller offers after the PRACK of the 180 comes as UPDATE")
            .gets("INVITE", &[lacks(BODY, "m=audio")])
            .answers(183, "INVITE", &["Require: 100rel", "RSeq: 71"], &sdp(1, "sendrecv"))
            .gets("PRACK", &[offer(), has("RAck:", "71 [0-9]+ INVITE")])
            .answers(200, "PRACK", &[], NO_BODY)
            .waits(200)
            .answers(180, "INVITE", &["Require: 100rel", "RSeq: 72"], NO_BODY)
            .gets("PRACK", &[has("RAck:", "72 [0-9]+ INVITE")])
            .answers(200, "PRACK", &[], NO_BODY)
            .gets("UPDATE", &[has(BODY, "a=sendonly")])
            .answers(200, "UPDATE", &[], &sdp(2, "recvonly"))
            .waits(200)
            .answers(200, "INVITE", &[], NO_BODY)
            .gets("ACK", &[])
            .is_hung_up(),
    )?;
    both(
        lab,
        "offer_in_prack",
        Script::caller("offers again in the PRACK of the answer")
            .invites(RELIABLE)
            .hears(183, &[offer(), keep("RSeq:", "[0-9]+", "rseq")])
            .requests("PRACK", RACK, &sdp(2, "sendonly"))
            .hears(200, &[has(BODY, "a=recvonly")])
            .hears_of_invite(200, &[lacks(BODY, "m=audio")])
            .acks(NO_BODY)
            .waits(200)
            .hangs_up(),
        Script::callee("takes an offer in a PRACK")
            .gets("INVITE", &[offer()])
            .answers(183, "INVITE", &["Require: 100rel", "RSeq: 3"], &sdp(1, "sendrecv"))
            .gets("PRACK", &[has(BODY, "a=sendonly"), has("RAck:", "3 [0-9]+ INVITE")])
            .answers(200, "PRACK", &[], &sdp(2, "recvonly"))
            .waits(200)
            .answers(200, "INVITE", &[], NO_BODY)
            .gets("ACK", &[])
            .is_hung_up(),
    )?;
    both(
        lab,
        "early_update",
        Script::caller("UPDATE in early media, from the caller and then from the callee")
            .invites(RELIABLE)
            .hears(183, &[offer(), keep("RSeq:", "[0-9]+", "rseq")])
            .requests("PRACK", RACK, NO_BODY)
            .hears(200, &[])
            .waits(200)
            .requests("UPDATE", &[], &sdp(2, "sendonly"))
            .hears(200, &[has(BODY, "a=recvonly")])
            .gets("UPDATE", &[has(BODY, "a=inactive")])
            .answers(200, "UPDATE", &[], &sdp(3, "inactive"))
            .hears_of_invite(200, &[])
            .acks(NO_BODY)
            .waits(200)
            .requests("INFO", &["Content-Type: application/dtmf-relay"], "Signal=5")
            .hears(200, &[])
            .hangs_up(),
        Script::callee("answers one UPDATE and sends another, before it answers the call")
            .gets("INVITE", &[offer()])
            .answers(183, "INVITE", &["Require: 100rel", "RSeq: 9"], &sdp(1, "sendrecv"))
            .gets("PRACK", &[])
            .answers(200, "PRACK", &[], NO_BODY)
            .gets("UPDATE", &[has(BODY, "a=sendonly")])
            .answers(200, "UPDATE", &[], &sdp(2, "recvonly"))
            .waits(200)
            .requests("UPDATE", &[], &sdp(3, "inactive"))
            .hears(200, &[has(BODY, "a=inactive")])
            .answers(200, "INVITE", &[], NO_BODY)
            .gets("ACK", &[])
            .gets("INFO", &[has(BODY, "Signal=5"), has("Content-Type:", "application/dtmf-relay")])
            .answers(200, "INFO", &[], NO_BODY)
            .is_hung_up(),
    )?;
    both(
        lab,
        "late_reinvite",
        Script::caller("a re-INVITE without an offer: the callee makes one")
            .invites(&[])
            .hears(200, &[offer()])
            .acks(NO_BODY)
            .waits(200)
            .requests("INVITE", &[], NO_BODY)
            .may_hear(&[100])
            .hears(200, &[has(BODY, "a=sendonly")])
            .acks(&sdp(2, "recvonly"))
            .waits(200)
            .hangs_up(),
        Script::callee("offers in the 200 of a re-INVITE")
            .gets("INVITE", &[offer()])
            .answers(200, "INVITE", &[], &sdp(1, "sendrecv"))
            .gets("ACK", &[])
            .gets("INVITE", &[lacks(BODY, "m=audio")])
            .answers(200, "INVITE", &[], &sdp(2, "sendonly"))
            .gets("ACK", &[has(BODY, "a=recvonly")])
            .is_hung_up(),
    )?;
    Ok("late offer and late re-INVITE, delayed answer, offers in 183 and PRACK, UPDATE both ways in early media, INFO"
        .into())
}

fn forks(lab: &mut Lab<'_>) -> Result<String> {
    both(
        lab,
        "forks",
        Script::caller("hears of both forks in one early dialog, and talks to the one that answers")
            .invites(&[])
            .hears(183, &[has(BODY, "m=audio"), keep("To:", "tag=.*", "early")])
            .hears(180, &[has("To:", "tag=")])
            .hears(200, &[has(BODY, "m=audio")])
            .acks(NO_BODY)
            .waits(1_500)
            .hangs_up(),
        Script::callee("is two phones: both ring reliably, the second answers; the first answers too late")
            .gets("INVITE", &[])
            .fork("one")
            .answers(183, "INVITE", &["Require: 100rel", "RSeq: 100"], &sdp(1, "sendrecv"))
            .gets("PRACK", &[has("RAck:", "100 [0-9]+ INVITE"), has("To:", "s[0-9]*one")])
            .answers(200, "PRACK", &[], NO_BODY)
            .fork("two")
            .answers(180, "INVITE", &["Require: 100rel", "RSeq: 900"], NO_BODY)
            .gets("PRACK", &[has("RAck:", "900 [0-9]+ INVITE"), has("To:", "s[0-9]*two")])
            .answers(200, "PRACK", &[], NO_BODY)
            .waits(200)
            .answers(200, "INVITE", &[], &sdp(1, "sendrecv"))
            .gets("ACK", &[has("To:", "s[0-9]*two")])
            .fork("one")
            .answers(200, "INVITE", &[], NO_BODY)
            .gets("ACK", &[has("To:", "s[0-9]*one")])
            .gets("BYE", &[has("To:", "s[0-9]*one")])
            .answers(200, "BYE", &[], NO_BODY)
            .gets("BYE", &[has("To:", "s[0-9]*two")])
            .answers(200, "BYE", &[], NO_BODY),
    )?;
    let pracks = lab.tap(End::Near).book().count(|message| message.is_request("PRACK"));
    ensure!(pracks == 0, "{pracks} PRACKs were seen at the caller, who cannot do them");
    Ok("PRACK in each fork's dialog; ACK and BYE for the one that answered too late".into())
}

fn glare(lab: &mut Lab<'_>) -> Result<String> {
    both(
        lab,
        "glare",
        Script::caller(
            "its re-INVITE meets the callee's; then one that the callee refuses with 491; then UPDATEs that meet",
        )
        .invites(&[])
        .hears(200, &[])
        .acks(NO_BODY)
        .waits(200)
        .requests("INVITE", &[], &sdp(2, "sendonly"))
        .may_hear(&[100])
        .hears(200, &[has(BODY, "a=recvonly")])
        .acks(NO_BODY)
        .waits(200)
        .requests("INVITE", &[], &sdp(3, "sendrecv"))
        .may_hear(&[100])
        .hears(491, &[])
        .acks_refusal()
        .waits(200)
        .requests("UPDATE", &[], &sdp(4, "sendrecv"))
        .hears(200, &[has(BODY, "m=audio")])
        .waits(200)
        .hangs_up(),
        Script::callee("sends a re-INVITE while one waits for its answer, and an UPDATE while one waits")
            .gets("INVITE", &[])
            .answers(200, "INVITE", &[], &sdp(1, "sendrecv"))
            .gets("ACK", &[])
            .gets("INVITE", &[has(BODY, "a=sendonly")])
            .requests("UPDATE", &[], &sdp(2, "sendrecv"))
            .hears(491, &[])
            .answers(200, "INVITE", &[], &sdp(3, "recvonly"))
            .gets("ACK", &[])
            .gets("INVITE", &[])
            .answers(491, "INVITE", &[], NO_BODY)
            .gets("ACK", &[])
            .gets("UPDATE", &[])
            .answers(200, "UPDATE", &[], &sdp(4, "sendrecv"))
            .is_hung_up(),
    )?;
    both(
        lab,
        "glare_invite",
        Script::caller("its re-INVITE meets the callee's")
            .invites(&[])
            .hears(200, &[])
            .acks(NO_BODY)
            .waits(200)
            .requests("INVITE", &[], &sdp(2, "sendonly"))
            .may_hear(&[100])
            .hears(200, &[has(BODY, "a=recvonly")])
            .acks(NO_BODY)
            .waits(200)
            .hangs_up(),
        Script::callee("sends a re-INVITE while one waits for its answer")
            .gets("INVITE", &[])
            .answers(200, "INVITE", &[], &sdp(1, "sendrecv"))
            .gets("ACK", &[])
            .gets("INVITE", &[has(BODY, "a=sendonly")])
            .requests("INVITE", &[], &sdp(2, "sendrecv"))
            .hears(491, &[])
            .acks_refusal()
            .answers(200, "INVITE", &[], &sdp(3, "recvonly"))
            .gets("ACK", &[])
            .is_hung_up(),
    )?;
    Ok("491 for the callee's UPDATE and re-INVITE, 491 of the callee passed on, and the calls went on".into())
}
