//! Transfers, with RTP judged at the ears of those who are left; and requests outside of calls.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    book::{Packet, Stream},
    lab::{End, Lab, Plan},
    law::Law,
    runner::Scenario,
    sipp::Phone,
    topology::{CALLEE, SECOND, TANDEM_A, TANDEM_B, sip_uri},
    verdict::{Heard, judge},
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "transfer_blind",
            "the callee refers the caller to a third party: called by tandem, heard by the caller and hearing it",
            transfer_blind,
        )
        .prepared(local)
        .within(Duration::from_secs(60)),
        Scenario::new(
            "transfer_attended",
            "the callee joins its two calls by REFER with Replaces, and leaves; the far sides hear each other",
            transfer_attended,
        )
        .prepared(local)
        .within(Duration::from_secs(60)),
        Scenario::new(
            "transfer_passed",
            "REFER and NOTIFY cross; the caller calls the third party itself, and both are heard",
            transfer_passed,
        )
        .prepared(|plan| {
            third_party(plan);
            plan.setup.trunk_keys.fill("transfer = \"pass\"".into());
        })
        .within(Duration::from_secs(60)),
        Scenario::new(
            "requests_passed",
            "MESSAGE, and SUBSCRIBE with its NOTIFYs, cross outside of calls and name nobody's address",
            requests_passed,
        )
        .prepared(|plan| plan.setup.trunk_keys.fill("requests = \"pass\"".into()))
        .within(Duration::from_secs(40)),
    ]
}

/// A trunk of its own for the second callee, whose numbers begin with 9.
fn third_party(plan: &mut Plan) {
    plan.setup.extra = format!(
        "\n[[trunk]]\nname = \"second\"\naddress = \"b4\"\ncodecs = [\"PCMA\"]\ndestinations = [{:?}]\n\
         \n[[route]]\nprefix = \"9\"\nto = [\"second\"]\n",
        sip_uri(SECOND, false)
    );
}

pub(super) fn local(plan: &mut Plan) {
    third_party(plan);
    plan.setup.trunk_keys.fill("transfer = \"local\"".into());
}

const SECOND_MEDIA: u16 = 44_000;

pub(super) fn second(lab: &Lab<'_>) -> Result<Phone> {
    let mut second = Phone::callee(SECOND, Law::A).plays(&lab.speech(Law::A, Duration::from_secs(60))?);
    (second.name, second.media_port) = ("second".into(), SECOND_MEDIA);
    Ok(second)
}

/// What went from one phone to another from the first packet that arrived on, judged; and how many the first had sent
/// before to somebody else. Of what it sent after `until` nothing is asked.
pub(super) fn judge_from_first(
    lab: &Lab<'_>,
    end: End,
    from: SocketAddr,
    to: SocketAddr,
    laws: (Law, Law),
    until: Duration,
) -> Result<(Heard, usize)> {
    let (sender, receiver) = (lab.tap(end).book(), lab.tap(end.other()).book());
    let sent: Vec<(&Stream, &Packet)> = sender.of_port(true, from);
    let (sent, late): (Vec<_>, Vec<_>) = sent.into_iter().partition(|(_, packet)| packet.at <= until);
    // Others may have spoken to the same ear before: tandem lets the SSRC stand.
    let theirs = |ssrc: u32| sender.streams.keys().any(|key| key.outgoing && key.from == from && key.ssrc == ssrc);
    let mut arrived = receiver.packets(|key| !key.outgoing && key.to == to && theirs(key.ssrc));
    arrived.retain(|(_, packet)| late.iter().all(|(_, other)| other.sequence != packet.sequence));
    let (_, first) = arrived.first().with_context(|| format!("nothing of {from} arrived at {to}"))?;
    let before = sent.iter().take_while(|(_, packet)| packet.sequence != first.sequence).count();
    let heard = judge(sent.get(before..).unwrap_or_default(), &arrived, &lab.expect(laws.0, laws.1, None));
    Ok((heard, before))
}

/// Where each phone said that it wants RTP, of the call that reached the second callee, and of the caller.
pub(super) fn ears(lab: &Lab<'_>) -> Result<[SocketAddr; 2]> {
    let near = lab.tap(End::Near).book();
    let caller = near.dialogs.by_call_id.values().find_map(|dialog| dialog.said.first()).context("no caller")?.rtp;
    let far = lab.tap(End::Far).book();
    let mut said = far.dialogs.by_call_id.values().flat_map(|dialog| &dialog.said);
    let third = said.find(|said| said.rtp.ip() == SECOND).context("the second callee said nothing")?.rtp;
    Ok([caller, third])
}

/// Both directions between those who are left.
fn judge_both(lab: &Lab<'_>, before: bool) -> Result<String> {
    let [caller, third] = ears(lab)?;
    let (there, first) = judge_from_first(lab, End::Near, caller, third, (Law::Mu, Law::A), Duration::MAX)?;
    ensure!(there.is_perfect() && there.received > 100, "the caller's words at the third party: {there}");
    ensure!(!before || first > 10, "the caller had said {first} frames before the transfer");
    let (back, _) = judge_from_first(lab, End::Far, third, caller, (Law::A, Law::Mu), Duration::MAX)?;
    ensure!(back.is_perfect() && back.received > 100, "the third party's words at the caller: {back}");
    Ok(format!("to the third party: {there}, after {first} frames to the callee; back: {back}"))
}

pub(super) fn records_name_the_transfer(lab: &mut Lab<'_>, kind: &str) -> Result<()> {
    let records = lab.appliance()?.records()?;
    ensure!(records.len() == 2, "{} call-detail records, not 2", records.len());
    let of = |key: &str| records.iter().find(|record| !record[key].is_null() && record[key] != serde_json::json!([]));
    let (Some(call), Some(joined)) = (of("transfers"), of("joined")) else { bail!("no transfer in {records:?}") };
    ensure!(call["transfers"][0]["kind"] == kind, "the record says {}", call["transfers"]);
    ensure!(call["transfers"][0]["with"] == joined["id"] && joined["joined"] == call["id"], "{records:?}");
    Ok(())
}

fn transfer_blind(lab: &mut Lab<'_>) -> Result<String> {
    // Until the third party, who begins later, has said all that it has to say.
    let caller = lab.caller(Law::Mu).plays(&lab.speech(Law::Mu, Duration::from_secs(60))?).with("talk_ms", 11_000);
    let ringing = "<recv request=\"NOTIFY\"/><send><![CDATA[\n\n SIP/2.0 200 OK\n [last_Via:]\n [last_From:]\n [last_To:]\n \
                   [last_Call-ID:]\n [last_CSeq:]\n Content-Length: 0\n\n]]></send>";
    let callee = lab.callee(Law::A).scenario("callee_refers").with("ring_ms", 1_500).with("ringing", ringing);
    let callee = callee.with("refer_to", format!("<sip:91@{TANDEM_B}>"));
    let mut third = lab.start_waiting(End::Far, &second(lab)?)?;
    lab.call(&caller, &callee)?;
    third.finish()?;
    let told = lab.tap(End::Near).book().count(|message| !message.outgoing && message.is_request("INVITE"));
    ensure!(told == 0, "the caller, who was not on hold, got {told} re-INVITEs");
    let heard = judge_both(lab, true)?;
    records_name_the_transfer(lab, "blind")?;
    Ok(heard)
}

fn transfer_attended(lab: &mut Lab<'_>) -> Result<String> {
    let mut third = lab.start_waiting(End::Far, &second(lab)?)?;
    // The callee's other phone consults the third party.
    let mut consult = Phone::caller(CALLEE, TANDEM_B, Law::A).scenario("caller_dropped");
    (consult.name, consult.port, consult.media_port, consult.dial) = ("consult".into(), 5070, 46_000, "9".to_owned());
    let mut consulting = lab.start(End::Far, &consult)?;
    let replaces = consulted(lab)?;
    let caller = lab.caller(Law::Mu).plays(&lab.speech(Law::Mu, Duration::from_secs(60))?);
    let callee = lab.callee(Law::A).scenario("callee_refers").with("ring_ms", 1_500).with("ringing", "");
    let callee = callee.with("refer_to", format!("<sip:91@{TANDEM_B}?Replaces={replaces}>"));
    lab.call(&caller, &callee)?;
    consulting.finish()?;
    third.finish()?;
    let [caller, third] = ears(lab)?;
    let (there, first) = judge_from_first(lab, End::Near, caller, third, (Law::Mu, Law::A), Duration::MAX)?;
    ensure!(there.is_perfect() && there.received > 100 && first > 10, "the caller's words at the third party: {there}");
    // It spoke before, to the callee's other phone: what arrived of it is judged from the first frame that did.
    let (back, before) = judge_from_first(lab, End::Far, third, caller, (Law::A, Law::Mu), Duration::MAX)?;
    ensure!(back.is_perfect() && back.received > 100, "the third party's words at the caller: {back}");
    records_name_the_transfer(lab, "attended")?;
    Ok(format!("to the third party: {there}, after {first} frames to the callee; back: {back}, after {before}"))
}

/// The Replaces of the consultation, as it stands in a URI, once that is answered.
fn consulted(lab: &Lab<'_>) -> Result<String> {
    let tag = |header: &str| header.split_once("tag=").map(|(_, tag)| tag.trim().to_owned());
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(50));
        let book = lab.tap(End::Far).book();
        let answer = book.message(|m| !m.outgoing && m.is_response(200, "INVITE") && m.text.contains(":5070"));
        let Some(answer) = answer else { continue };
        let line = |name: &str| answer.text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let (Some(id), Some(from), Some(to)) =
            (line("Call-ID:"), line("From:").and_then(tag), line("To:").and_then(tag))
        else {
            continue;
        };
        return Ok(format!("{id};to-tag={to};from-tag={from}")
            .replace(';', "%3B")
            .replace('=', "%3D")
            .replace('@', "%40"));
    }
    bail!("the consultation was not answered within 5 s")
}

fn transfer_passed(lab: &mut Lab<'_>) -> Result<String> {
    let caller = lab.caller(Law::Mu).scenario("caller_referred").with("called", "91").with("tandem", TANDEM_A);
    let callee = lab.callee(Law::A).scenario("callee_passes").with("refer_to", format!("<sip:91@{TANDEM_B}>"));
    lab.call(&caller, &callee)?;
    let leaks = lab.tap(End::Near).book().count(|m| !m.outgoing && m.text.contains(&CALLEE.to_string()));
    ensure!(leaks == 0, "{leaks} messages told the caller the callee's address");
    // The caller does what it said.
    let mut again = lab.caller(Law::Mu).plays(&lab.speech(Law::Mu, Duration::from_secs(60))?);
    (again.name, again.dial, again.media_port) = ("again".into(), "9".to_owned(), 34_000);
    let second = second(lab)?;
    let mut third = lab.start_waiting(End::Far, &second)?;
    lab.start(End::Near, &again)?.finish()?;
    third.finish()?;
    let heard = lab.judge_calls(End::Near, &lab.expect(Law::Mu, Law::A, None))?;
    let (_, there) = heard.iter().find(|(called, _)| called.starts_with('9')).context("no call to the third party")?;
    ensure!(there.is_perfect(), "the caller's words at the third party: {there}");
    Ok(format!("REFER, 202 and two NOTIFYs crossed; then, to the third party: {there}"))
}

fn requests_passed(lab: &mut Lab<'_>) -> Result<String> {
    lab.call(&lab.caller(Law::Mu).scenario("message_sends"), &lab.callee(Law::A).scenario("message_takes"))?;
    let (mut here, mut there) = (lab.caller(Law::Mu), lab.callee(Law::A));
    (here.name, there.name) = ("subscriber".into(), "notifier".into());
    lab.call(&here.scenario("subscriber"), &there.scenario("notifier"))?;
    for (end, secret) in [(End::Near, CALLEE), (End::Far, lab.ground.caller_address())] {
        let leaks = lab.tap(end).book().count(|m| !m.outgoing && m.text.contains(&secret.to_string()));
        ensure!(leaks == 0, "{leaks} messages told the {end:?} end {secret}");
    }
    let notified = lab.tap(End::Near).book().count(|m| !m.outgoing && m.is_request("NOTIFY"));
    Ok(format!("MESSAGE and its 202; SUBSCRIBE, {notified} NOTIFYs, and the end of the subscription"))
}
