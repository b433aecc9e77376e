//! Two independent soft phones: Debian's baresip on both sides, judged by what they recorded.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    lab::{End, Lab},
    law::Law,
    process::{Running, command_in},
    runner::Scenario,
    topology::{CALLEE, CALLER, TANDEM_A},
    wave,
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("baresip", "two soft phones talk through tandem; each recorded what the other played", baresip)
            .with_stand_in()
            .needing("baresip"),
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
             module_tmp uuid.so\nmodule_tmp account.so\nmodule_app menu.so\nmodule sndfile.so\nsnd_path {path}\n"
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
