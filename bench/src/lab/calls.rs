//! Calls set up over the `ng` protocol, by the same commands whoever carries them out: what is measured afterwards is the same
//! work. Main thread.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tandem_lab::{
    ng::Client,
    topology::{CALLEE, CALLER, TANDEM_A},
};

use super::{generator::Stream, place::CALLS};

/// Where the subject listens for commands, in its own network.
pub const CONTROL: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 2223);

/// `CALLS` relayed and `CALLS` converted calls; their callers' streams. The subject calls its interfaces `a4` and `b4`.
pub fn set_up(client: &mut Client) -> Result<(Vec<Stream>, Vec<Stream>)> {
    let relay = kind(client, false).context("relayed calls")?;
    let transcode = kind(client, true).context("converted calls")?;
    Ok((relay, transcode))
}

fn kind(client: &mut Client, transcode: bool) -> Result<Vec<Stream>> {
    let base = if transcode { 34_000 } else { 30_000 };
    (0..CALLS as u16).map(|index| call(client, base + 4 * index, transcode)).collect()
}

fn call(client: &mut Client, port: u16, transcode: bool) -> Result<Stream> {
    let id = format!("call-{port}");
    let from = SocketAddr::new(CALLER, port);
    let payload_out = if transcode { 8 } else { 0 };
    let mut offer = json!({
        "command": "offer", "call-id": id, "from-tag": "caller", "sdp": description(from, 0),
        "direction": ["a4", "b4"], "replace": ["origin"], "flags": ["strict-source"], "ICE": "remove",
    });
    if transcode {
        offer["codec"] = json!({ "mask": ["PCMU"], "transcode": ["PCMA"] });
    }
    let (_, payload) = ask(client, &offer)?;
    ensure!(payload == payload_out, "the callee is offered payload type {payload}");
    let answer = json!({
        "command": "answer", "call-id": id, "from-tag": "caller", "to-tag": "callee",
        "sdp": description(SocketAddr::new(CALLEE, port), payload_out), "flags": ["strict-source"], "ICE": "remove",
    });
    let (to, payload) = ask(client, &answer)?;
    ensure!(payload == 0 && to.ip() == TANDEM_A, "the caller is answered payload type {payload} at {to}");
    Ok(Stream { from, to })
}

/// Where the description that comes back wants its audio, and its first payload type.
fn ask(client: &mut Client, command: &Value) -> Result<(SocketAddr, u8)> {
    let reply = client.ask(command)?;
    ensure!(reply["result"] == "ok", "{command} was answered {reply}");
    media(reply["sdp"].as_str().context("no description in the answer")?)
}

fn description(at: SocketAddr, payload: u8) -> String {
    let (ip, port) = (at.ip(), at.port());
    let name = if payload == 0 { "PCMU" } else { "PCMA" };
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP {payload}\r\n\
         a=rtpmap:{payload} {name}/8000\r\na=ptime:20\r\na=sendrecv\r\n"
    )
}

fn media(description: &str) -> Result<(SocketAddr, u8)> {
    let line = |start| description.lines().find_map(|line| line.strip_prefix(start));
    let ip: IpAddr = line("c=IN IP4 ").context("no c= line")?.trim_end().parse()?;
    let mut words = line("m=audio ").context("no m= line")?.split_whitespace();
    let port = words.next().context("no port")?.parse()?;
    let payload = words.nth(1).context("no payload type")?.parse()?;
    Ok((SocketAddr::new(ip, port), payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_media_line_is_read_from_a_description() {
        let description = "v=0\r\nc=IN IP4 198.18.1.10\r\nt=0 0\r\nm=audio 20010 RTP/AVP 8 0\r\n";
        assert_eq!(media(description).expect("a media line"), ("198.18.1.10:20010".parse().expect("an address"), 8));
    }
}
