//! rtpengine as Debian ships it, in user space on one core, with calls set up over its `ng` protocol. Main thread.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tandem_lab::{
    process::{Running, command_in},
    sys::in_netns,
    topology::{CALLEE, CALLER, TANDEM_A, TANDEM_B, Topology},
};

use super::{
    generator::Stream,
    place::{CALLS, SUBJECT_CPU},
};

const CONTROL: &str = "127.0.0.1:2223";

pub struct Rtpengine {
    running: Running,
}

impl Rtpengine {
    /// Its ports are free afterwards.
    pub fn end(&mut self) -> Result<()> {
        self.running.signal(libc::SIGKILL)?;
        self.running.wait(Duration::from_secs(10)).map(drop)
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// What it needs of the ground, once.
    pub fn prepare(ground: &Topology) -> Result<()> {
        for (port, address) in [("p0", TANDEM_A), ("p1", TANDEM_B)] {
            ground.tandem.address(port, address, 24)?;
            // Nothing but media and some ARP is to be counted.
            ground.tandem.sysctl(&format!("net.ipv6.conf.{port}.disable_ipv6"), "1")?;
            // The generator's frames are taken by the port's NAPI, which veth runs only for XDP or GRO.
            ground.tandem.run("ethtool", &["-K", port, "gro", "on"])?;
        }
        Ok(())
    }

    /// Relayed and converted calls, and their callers' streams.
    pub fn start(ground: &Topology, room: &Path) -> Result<(Self, Vec<Stream>, Vec<Stream>)> {
        let mut command = command_in(Some(&ground.tandem.name), "taskset");
        command.args(["-c", &SUBJECT_CPU.to_string(), "rtpengine", "--foreground", "--log-stderr", "--log-level=3"]);
        // Table -1: no kernel module; the packets go through user space.
        command.args(["--config-file=none", "--table=-1", "--num-threads=1", "--media-num-threads=1"]);
        command.arg(format!("--interface=a/{TANDEM_A}")).arg(format!("--interface=b/{TANDEM_B}"));
        command.arg(format!("--listen-ng={CONTROL}")).args(["--port-min=20000", "--port-max=27999"]);
        command.args(["--timeout=3600", "--silent-timeout=3600", "--offer-timeout=3600"]);
        let mut running = Running::start("rtpengine", command, room.join("rtpengine.log"))?;
        let mut control = Control::open(&ground.tandem.name)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while control.ask(&Value::dict([("command", "ping")])).is_err() {
            ensure!(running.ended()?.is_none(), "rtpengine ended at its start: {}", running.tail());
            ensure!(Instant::now() < deadline, "rtpengine does not answer: {}", running.tail());
            std::thread::sleep(Duration::from_millis(50));
        }
        let relay = calls(&mut control, false).context("rtpengine, relayed calls")?;
        let transcode = calls(&mut control, true).context("rtpengine, converted calls")?;
        Ok((Rtpengine { running }, relay, transcode))
    }
}

fn calls(control: &mut Control, transcode: bool) -> Result<Vec<Stream>> {
    let base = if transcode { 34_000 } else { 30_000 };
    (0..CALLS as u16)
        .map(|index| {
            let port = base + 4 * index;
            let id = format!("call-{port}");
            let from = SocketAddr::new(CALLER, port);
            let payload_out = if transcode { 8 } else { 0 };
            let mut offer = vec![
                ("command", Value::from("offer")),
                ("call-id", Value::from(&*id)),
                ("from-tag", Value::from("caller")),
                ("sdp", Value::from(&*description(from, 0))),
                ("direction", Value::List(vec!["a".into(), "b".into()])),
                ("replace", Value::List(vec!["origin".into()])),
                ("flags", Value::List(vec!["strict-source".into()])),
                ("ICE", Value::from("remove")),
            ];
            if transcode {
                let lists = [("mask", vec!["PCMU".into()]), ("transcode", vec!["PCMA".into()])];
                offer.push(("codec", Value::Dict(lists.map(|(key, list)| (key, Value::List(list))).into())));
            }
            let offered = control.ask(&Value::Dict(offer))?;
            let (_, payload) = media(&offered)?;
            ensure!(payload == payload_out, "the callee is offered payload type {payload}");
            let answered = control.ask(&Value::Dict(vec![
                ("command", Value::from("answer")),
                ("call-id", Value::from(&*id)),
                ("from-tag", Value::from("caller")),
                ("to-tag", Value::from("callee")),
                ("sdp", Value::from(&*description(SocketAddr::new(CALLEE, port), payload_out))),
                ("flags", Value::List(vec!["strict-source".into()])),
                ("ICE", Value::from("remove")),
            ]))?;
            let (to, payload) = media(&answered)?;
            ensure!(payload == 0 && to.ip() == TANDEM_A, "the caller is answered payload type {payload} at {to}");
            Ok(Stream { from, to })
        })
        .collect()
}

fn description(at: SocketAddr, payload: u8) -> String {
    let (ip, port) = (at.ip(), at.port());
    let name = if payload == 0 { "PCMU" } else { "PCMA" };
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP {payload}\r\n\
         a=rtpmap:{payload} {name}/8000\r\na=ptime:20\r\na=sendrecv\r\n"
    )
}

/// Where the description in an answer wants its audio, and its first payload type.
fn media(answer: &str) -> Result<(SocketAddr, u8)> {
    let lines = || answer.lines().map(str::trim_end);
    let address = lines().find_map(|l| l.split_once("c=IN IP4 ").map(|(_, ip)| ip)).context("no c= line")?;
    let audio = lines().find_map(|l| l.strip_prefix("m=audio ")).context("no m= line")?;
    let mut words = audio.split(' ');
    let port = words.next().context("no port")?.parse()?;
    let payload = words.nth(1).context("no payload type")?.parse()?;
    let ip: IpAddr = address.trim().parse()?;
    Ok((SocketAddr::new(ip, port), payload))
}

/// The control socket: a cookie, then one bencoded dictionary, each way.
struct Control {
    socket: UdpSocket,
    cookie: u32,
}

impl Control {
    fn open(namespace: &str) -> Result<Self> {
        let socket = in_netns(namespace, || {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.connect(CONTROL)?;
            Ok(socket)
        })?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        Ok(Control { socket, cookie: 0 })
    }

    /// The answer's text; an error where it does not say ok or pong.
    fn ask(&mut self, request: &Value) -> Result<String> {
        self.cookie += 1;
        let mut message = format!("{} ", self.cookie);
        request.write(&mut message);
        self.socket.send(message.as_bytes())?;
        let mut buffer = [0; 8192];
        let length = self.socket.recv(&mut buffer).context("rtpengine does not answer")?;
        let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if !answer.contains("6:result2:ok") && !answer.contains("6:result4:pong") {
            bail!("rtpengine answered {answer}");
        }
        Ok(answer)
    }
}

/// What bencode can say, as far as it is needed.
enum Value {
    Text(String),
    List(Vec<Value>),
    Dict(Vec<(&'static str, Value)>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl Value {
    fn dict<const N: usize>(pairs: [(&'static str, &str); N]) -> Self {
        Value::Dict(pairs.map(|(key, value)| (key, value.into())).into())
    }

    fn write(&self, out: &mut String) {
        match self {
            Value::Text(text) => out.push_str(&format!("{}:{text}", text.len())),
            Value::List(list) => {
                out.push('l');
                list.iter().for_each(|value| value.write(out));
                out.push('e');
            }
            Value::Dict(pairs) => {
                out.push('d');
                for (key, value) in pairs {
                    out.push_str(&format!("{}:{key}", key.len()));
                    value.write(out);
                }
                out.push('e');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BEP 3's own examples: `4:spam`, `l4:spam4:eggse`, `d3:cow3:moo4:spam4:eggse`.
    #[test]
    fn bencode_is_written_as_its_standard_shows() {
        let mut out = String::new();
        Value::List(vec!["spam".into(), "eggs".into()]).write(&mut out);
        Value::dict([("cow", "moo"), ("spam", "eggs")]).write(&mut out);
        assert_eq!(out, "l4:spam4:eggsed3:cow3:moo4:spam4:eggse");
    }

    #[test]
    fn the_media_line_is_read_from_an_answer() {
        let answer = "1 d3:sdp90:v=0\r\nc=IN IP4 198.18.1.10\r\nt=0 0\r\nm=audio 20010 RTP/AVP 8 0\r\ne";
        assert_eq!(media(answer).expect("a media line"), ("198.18.1.10:20010".parse().expect("an address"), 8));
    }
}
