//! Two independent soft phones: Debian's baresip on both sides, judged by what they recorded.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::transfer;
use crate::{
    lab::{End, Lab},
    law::Law,
    process::{Running, command_in},
    runner::Scenario,
    topology::{CALLEE, CALLER, TANDEM_A, TANDEM_B},
    wave,
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("baresip", "two soft phones talk through tandem; each recorded what the other played", baresip)
            .with_stand_in()
            .needing("baresip"),
        Scenario::new(
            "baresip_transfer",
            "a soft phone transfers the other to a third party, which both hear from then on; it leaves by itself",
            transfer,
        )
        .prepared(transfer::local)
        .needing("baresip")
        .within(Duration::from_secs(60)),
    ]
}

const TALK: Duration = Duration::from_secs(10);

fn baresip(lab: &mut Lab<'_>) -> Result<String> {
    // Different speech each way: the one is the other played backwards.
    let speech = wave::decode_alaw(&lab.speech_of(Law::A)?);
    let reversed: Vec<i16> = speech.iter().rev().copied().collect();
    let near = phone(lab, End::Near, CALLER, "PCMU", &speech)?;
    let far = phone(lab, End::Far, CALLEE, if lab.is_stand_in() { "PCMU" } else { "PCMA" }, &reversed)?;
    let mut there = start(lab, End::Far, &far, None)?;
    std::thread::sleep(Duration::from_secs(1));
    let target = if lab.is_stand_in() { CALLEE } else { TANDEM_A };
    let mut here = start(lab, End::Near, &near, Some(format!("sip:7000@{target}")))?;
    lab.tap(End::Near).wait("the answer", Duration::from_secs(15), |book| {
        book.message(|message| message.is_response(200, "INVITE")).map(|_| ())
    })?;
    std::thread::sleep(TALK);
    here.signal(libc::SIGINT)?;
    let ended = here.wait(Duration::from_secs(10));
    std::thread::sleep(Duration::from_millis(500));
    there.signal(libc::SIGINT)?;
    there.wait(Duration::from_secs(10)).and(ended)?;

    let mut found = Vec::new();
    for (folder, played, who) in [(&far, &speech, "callee"), (&near, &reversed, "caller")] {
        let recorded = wave::read(&recording(folder)?)?;
        let alike = wave::likeness(played, &recorded);
        ensure!(alike > 0.95, "what the {who} recorded is like what was played by {alike:.3} only");
        found.push(format!("the {who} recorded {:.1} s, likeness {alike:.3}", recorded.len() as f64 / 8000.0));
    }
    Ok(found.join("; "))
}

/// The near phone hangs up, and the third party speaks on until its BYE comes and a little beyond: what it sends from this
/// long before on may reach nobody.
const UNDER_WAY: Duration = Duration::from_millis(40);

fn transfer(lab: &mut Lab<'_>) -> Result<String> {
    let speech = wave::decode_alaw(&lab.speech_of(Law::A)?);
    let near = phone(lab, End::Near, CALLER, "PCMU", &speech)?;
    let far = phone(lab, End::Far, CALLEE, "PCMA", &speech)?;
    let mut third = lab.start_waiting(End::Far, &transfer::second(lab)?)?;
    let mut there = start(lab, End::Far, &far, None)?;
    std::thread::sleep(Duration::from_secs(1));
    let mut here = start(lab, End::Near, &near, Some(format!("sip:7000@{TANDEM_A}")))?;
    lab.tap(End::Near).wait("the answer", Duration::from_secs(15), |book| {
        book.message(|message| message.is_response(200, "INVITE")).map(|_| ())
    })?;
    std::thread::sleep(Duration::from_secs(2));
    tell(lab, End::Far, "transfer", &format!("sip:91@{TANDEM_B}"))?;
    lab.tap(End::Far).wait("the outcome, told to the transferor", Duration::from_secs(10), |book| {
        book.message(|message| {
            !message.outgoing && message.is_request("NOTIFY") && message.text.contains("SIP/2.0 200")
        })
        .map(|_| ())
    })?;
    std::thread::sleep(Duration::from_secs(5));
    here.signal(libc::SIGINT)?;
    here.wait(Duration::from_secs(10))?;
    third.finish()?;
    there.signal(libc::SIGINT)?;
    there.wait(Duration::from_secs(10))?;

    let [caller, party] = transfer::ears(lab)?;
    let (forth, first) = transfer::judge_from_first(lab, End::Near, caller, party, (Law::Mu, Law::A), Duration::MAX)?;
    ensure!(forth.is_perfect() && forth.received > 100 && first > 10, "the caller's words at the third party: {forth}");
    let bye = lab.tap(End::Far).book().messages.iter().rfind(|m| !m.outgoing && m.is_request("BYE")).map(|m| m.at);
    let until = bye.context("the third party got no BYE")?.saturating_sub(UNDER_WAY);
    let (back, _) = transfer::judge_from_first(lab, End::Far, party, caller, (Law::A, Law::Mu), until)?;
    ensure!(back.is_perfect() && back.received > 100, "the third party's words at the caller: {back}");
    transfer::records_name_the_transfer(lab, "blind")?;
    Ok(format!("to the third party: {forth}, after {first} frames to the callee; back: {back}"))
}

/// A command for a phone that runs, as a netstring of JSON: baresip's `ctrl_tcp`.
fn tell(lab: &Lab<'_>, end: End, command: &str, parameters: &str) -> Result<()> {
    let order = serde_json::json!({ "command": command, "params": parameters, "token": "lab" }).to_string();
    let say = "printf '%s:%s,' \"${#1}\" \"$1\" >/dev/tcp/127.0.0.1/4444";
    let mut shell = command_in(Some(&lab.phones(end).name), "bash");
    let status = shell.args(["-c", say, "tell", &order]).status().context("no bash")?;
    ensure!(status.success(), "baresip takes no commands");
    Ok(())
}

/// baresip's configuration: one account, one codec, a file as microphone, a recording of what it hears.
fn phone(lab: &Lab<'_>, end: End, address: IpAddr, codec: &str, speech: &[i16]) -> Result<PathBuf> {
    let folder = lab.room.join(format!("baresip-{end:?}").to_lowercase());
    std::fs::create_dir_all(&folder)?;
    wave::write(&folder.join("speech.wav"), speech)?;
    let path = folder.display();
    std::fs::write(
        folder.join("config"),
        format!(
            "sip_listen {address}:5060\nsip_trans_bw 10\nnet_interface eth0\n\
             audio_player aufile,{path}/heard.wav\naudio_source aufile,{path}/speech.wav\naudio_alert aufile,{path}/alert.wav\n\
             ausrc_srate 8000\nauplay_srate 8000\nausrc_channels 1\nauplay_channels 1\nausrc_format s16\nauplay_format s16\n\
             audio_buffer 20-160\nrtp_ports 10000-10100\njitter_buffer_delay 1-5\n\
             module_path /usr/lib/baresip/modules\nmodule g711.so\nmodule aufile.so\n\
             module_tmp uuid.so\nmodule_tmp account.so\nmodule_app menu.so\nmodule_app ctrl_tcp.so\nctrl_tcp_listen 127.0.0.1:4444\nmodule sndfile.so\nsnd_path {path}\n"
        ),
    )?;
    std::fs::write(
        folder.join("accounts"),
        format!("<sip:7000@{address}>;regint=0;answermode=auto;audio_codecs={codec}/8000/1\n"),
    )?;
    std::fs::write(folder.join("contacts"), "")?;
    Ok(folder)
}

fn start(lab: &Lab<'_>, end: End, folder: &Path, dial: Option<String>) -> Result<Running> {
    let mut command = command_in(Some(&lab.phones(end).name), "baresip");
    command.arg("-f").arg(folder);
    if let Some(uri) = dial {
        command.arg("-e").arg(format!("/dial {uri}"));
    }
    Running::start("baresip", command, folder.join("baresip.log"))
}

/// What it heard: sndfile's recording of the decoder, `dump-…-dec.wav`.
fn recording(folder: &Path) -> Result<PathBuf> {
    std::fs::read_dir(folder)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().ends_with("-dec.wav"))
        .with_context(|| format!("baresip recorded nothing in {}", folder.display()))
}
