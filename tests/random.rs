//! Random and damaged bytes at every parser that faces the network: none may panic, whatever comes. A second each with
//! `cargo test`; `scripts/test` gives each a minute (`TANDEM_RANDOM_SECONDS=60`). The seed is printed, and can be given
//! (`TANDEM_RANDOM_SEED`) to see a failure again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    net::IpAddr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::{Bytes, BytesMut};
use tandem::{
    base::{Time, ids::PortId},
    config::Config,
    control::{engine::Engine, neighbours::Kernel},
    flow::FlowTable,
    ng::{Ng, Settings, bencode, json, message},
    sip::{
        message::{Framer, Message},
        sdp::Sdp,
    },
    slow::ng::web::{Dress, Step, Web},
    wire::{ethernet, ipv4, ipv6, rtcp, rtp, udp},
};

/// xorshift64*, Vigna 2016: enough for damage.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// Bytes without sense, or one of `seeds` with a few bytes changed, cut, doubled or joined to another.
    fn input(&mut self, seeds: &[&[u8]]) -> Vec<u8> {
        if self.below(4) == 0 {
            let len = self.below(400);
            return (0..len).map(|_| self.next() as u8).collect();
        }
        let mut bytes = seeds[self.below(seeds.len())].to_vec();
        for _ in 0..=self.below(8) {
            let at = self.below(bytes.len());
            match self.below(5) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.next() as u8),
                2 => {
                    let piece: Vec<u8> = bytes[at..].iter().take(self.below(60)).copied().collect();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, piece);
                }
                3 => bytes.extend_from_slice(seeds[self.below(seeds.len())]),
                _ => {
                    let new = self.next() as u8;
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = new;
                    }
                }
            }
        }
        bytes
    }
}

fn storm(name: &str, seeds: &[&[u8]], mut parse: impl FnMut(&[u8], &mut Random)) {
    let variable = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = variable("TANDEM_RANDOM_SEED").unwrap_or(clock) | 1;
    println!("{name}: TANDEM_RANDOM_SEED={seed}");
    let mut random = Random(seed);
    let end = Instant::now() + Duration::from_secs(variable("TANDEM_RANDOM_SECONDS").unwrap_or(1));
    let mut inputs = 0u64;
    while Instant::now() < end {
        for _ in 0..64 {
            let input = random.input(seeds);
            parse(&input, &mut random);
            inputs += 1;
        }
    }
    assert!(inputs >= 64, "nothing was tried");
    println!("{name}: {inputs} inputs");
}

const INVITE: &[u8] = b"INVITE sip:bob@198.18.2.20 SIP/2.0\r\nVia: SIP/2.0/UDP 198.18.1.20:5060;branch=z9hG4bKa;rport\r\n\
Max-Forwards: 70\r\nFrom: \"A\" <sip:a@198.18.1.20>;tag=1\r\nTo: <sip:bob@198.18.2.20>\r\nCall-ID: 1@x\r\nCSeq: 1 INVITE\r\n\
Contact: <sip:a@[2001:db8::1]:5060;transport=tcp>\r\nRoute: <sip:p1;lr>, <sip:p2;lr>\r\nContent-Type: application/sdp\r\n\
Content-Length: 4\r\n\r\nv=0\n";
const RESPONSE: &[u8] =
    b"SIP/2.0 200 OK\r\nv: SIP/2.0/TCP [2001:db8::9:255]:5060;branch=z9hG4bKb;received=2001:db8::1\r\n\
f: sip:a@x;tag=1\r\nt: <sip:b@y>;tag=2\r\ni: 1@x\r\nCSeq: 1 INVITE\r\nm: *\r\nl: 0\r\n\r\n";
const SDP: &[u8] = b"v=0\r\no=- 1 1 IN IP4 198.18.1.20\r\ns=-\r\nc=IN IP4 198.18.1.20\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0 8 101\r\n\
a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=rtcp:6001\r\na=rtcp-mux\r\na=sendrecv\r\n\
m=video 0 RTP/AVP 96\r\nc=IN IP6 2001:db8::1\r\n";

#[test]
fn ip_frames() {
    let mut v4 = vec![2, 0, 0, 0, 1, 0, 2, 0, 0, 0, 9, 9, 8, 0, 0x46, 0, 0, 40, 0, 0, 0x20, 0, 64, 17, 0, 0];
    v4.extend_from_slice(&[198, 18, 1, 20, 198, 18, 1, 10, 1, 1, 1, 0, 0x9c, 0x40, 0x4e, 0x20, 0, 16, 0, 0]);
    v4.extend_from_slice(&[0; 8]);
    let mut v6 = vec![2, 0, 0, 0, 1, 0, 2, 0, 0, 0, 9, 9, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 0, 64];
    v6.extend_from_slice(&[0x20; 32]);
    v6.extend_from_slice(&[44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 1, 0, 0, 0, 9, 0x9c, 0x40, 0x4e, 0x20, 0, 16, 0, 0]);
    v6.extend_from_slice(&[0; 8]);
    storm("ip", &[&v4, &v6], |data, random| {
        if ethernet::Frame::new_checked(data).is_err() {
            return;
        }
        let ip = &data[ethernet::HEADER_LEN..];
        let available = ip.len() + random.below(3) * 100;
        if let Ok(p) = ipv4::Packet::new_checked(ip, available) {
            let _ = (p.verify_checksum(), p.is_fragment(), p.fragment_offset());
            let _ = udp::Datagram::new_checked(&ip[p.header_len()..], available - p.header_len()).map(|d| d.len());
        }
        if let Ok(p) = ipv6::Packet::new_checked(ip, available)
            && let Ok(upper) = p.upper()
        {
            let rest = ip.get(upper.offset..).unwrap_or(&[]);
            let _ = udp::Datagram::new_checked(rest, rest.len()).map(|d| d.len());
        }
    });
}

#[test]
fn rtp_packets() {
    let plain = [0x80, 0, 0, 1, 0, 0, 0, 160, 1, 2, 3, 4, 0xff, 0xff];
    let full = [0xb1, 0x80, 0, 1, 0, 0, 0, 160, 1, 2, 3, 4, 9, 9, 9, 9, 0xbe, 0xde, 0, 1, 0, 0, 0, 0, 0xff, 0, 0, 2];
    storm("rtp", &[&plain, &full], |data, random| {
        let available = data.len() + random.below(3) * 50;
        if let Ok(p) = rtp::Packet::new_checked(data, available) {
            let range = p.payload_range();
            assert!(range.start <= range.end && range.end <= available);
            let _ = (p.marker(), p.payload_type(), p.sequence(), p.timestamp(), p.ssrc());
        }
    });
}

#[test]
fn rtcp_packets() {
    let mut report = vec![0x81, 201, 0, 7, 0, 0, 0, 1];
    report.extend_from_slice(&[1; 24]);
    let mut extended = vec![0x80, 207, 0, 13, 0, 0, 0, 1, 4, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 8];
    extended.extend_from_slice(&[3; 32]);
    storm("rtcp", &[&report, &extended], |data, _| {
        if let Ok(compound) = rtcp::Compound::new_checked(data) {
            for packet in compound.packets() {
                let _ = (packet.report_blocks().count(), packet.voip_metrics());
            }
        }
    });
}

#[test]
fn sip_messages() {
    storm("sip message", &[INVITE, RESPONSE], |data, _| match Message::parse(data) {
        Ok(message) => {
            let _ = (message.vias(), message.from(), message.to(), message.cseq(), message.contacts());
            let _ = (message.routes(), message.record_routes(), message.max_forwards());
            assert!(!message.write().is_empty());
        }
        Err(malformed) => drop(malformed.reply.map(|reply| reply.write())),
    });
}

#[test]
fn sip_streams() {
    storm("sip stream", &[INVITE, RESPONSE, b"\r\n\r\n"], |data, random| {
        let mut framer = Framer::new();
        let mut rest = data;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(1 + random.below(rest.len()));
            framer.push(now);
            while let Ok(Some(_)) = framer.next() {}
            rest = later;
        }
        assert!(framer.buffered() <= data.len());
    });
}

#[test]
fn session_descriptions() {
    storm("sdp", &[SDP], |data, _| {
        if let Ok(sdp) = Sdp::parse(data) {
            let _ = sdp.media();
            let _ = sdp.write();
        }
    });
}

/// Requests and WebSocket frames with the `ng` protocol in them: the same answers however they are cut, and nothing kept beyond
/// what was sent.
#[test]
fn ng_requests() {
    let post = b"POST /ng HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-rtpengine-ng\r\nContent-Length: 19\r\n\r\n1 d7:command4:pinge";
    let plain = b"POST /ng-plain HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n{}";
    let upgrade =
        b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: ng.rtpengine.com\r\n\r\n\
        \x82\x84\0\0\0\x001 de\x89\x80\0\0\0\0\x01\x81\0\0\0\0x\x80\x81\0\0\0\0y";
    storm("ng requests", &[post, plain, upgrade], |data, random| {
        let cut = random.below(data.len() + 1);
        let whole = web_answers(&[data]);
        assert_eq!(whole, web_answers(&[&data[..cut], &data[cut..]]), "cut at {cut}: {data:?}");
        // Each byte is a request's or a frame's once, and no answer is longer than a thousand bytes for each of them.
        assert!(whole.len() <= 1_000 * (data.len() + 1));
    });
}

/// What comes back to these pieces; being told to send a body is no answer.
fn web_answers(pieces: &[&[u8]]) -> String {
    let (mut web, mut incoming, mut outgoing) = (Web::default(), BytesMut::new(), Vec::new());
    let mut answer = |bytes: &Bytes, dress: Dress| Some(Bytes::from(format!("{dress:?} {}", bytes.len())));
    'connection: for piece in pieces {
        incoming.extend_from_slice(piece);
        loop {
            match web.step(&mut incoming, &mut outgoing, &mut answer) {
                Step::Again => {}
                Step::Wait => break,
                Step::Close => break 'connection,
            }
        }
    }
    outgoing.escape_ascii().to_string().replace("HTTP/1.1 100 Continue\\r\\n\\r\\n", "")
}

struct NoKernel;

impl Kernel for NoKernel {
    fn gateway(&mut self, _: IpAddr) -> Option<(PortId, IpAddr)> {
        None
    }

    fn watch(&mut self, _: PortId, _: IpAddr) -> Option<[u8; 6]> {
        None
    }

    fn forget(&mut self, _: PortId, _: IpAddr) {}
}

/// A command in bencode, with a description.
fn ng_command(command: &str, more: &str) -> Vec<u8> {
    let sdp = String::from_utf8(SDP.to_vec()).unwrap();
    format!("c d7:command{}:{command}7:call-id1:x8:from-tag1:f3:sdp{}:{sdp}{more}e", command.len(), sdp.len())
        .into_bytes()
}

#[test]
fn ng_messages() {
    let offer = ng_command("offer", "5:flagsl13:trust address15:codec-mask-PCMUe8:rtcp-muxl6:acceptee");
    let answer = ng_command("answer", "6:to-tag1:t7:replacel6:originee");
    let object = b"c {\"command\":\"delete\",\"call-id\":\"x\",\"from-tag\":\"f\",\"codec\":{\"strip\":[\"all\"]}}";
    let block = b"c d7:command10:block DTMF7:call-id1:xe";
    let config: Config = toml::from_str(include_str!("../docs/tandem.example.toml")).unwrap();
    let media: Vec<IpAddr> = config.addresses.iter().map(|a| a.local).collect();
    let table = FlowTable::new(&media, 20_000, 20_999, 8_192, 0);
    let mut engine = Engine::new(&config, table, Vec::new(), Box::new(NoKernel));
    let mut ng = Ng::new(Settings::of(&config).unwrap(), 1, Time::ZERO, 0);
    let mut now = Time::from_secs(1);
    storm("ng message", &[&offer, &answer, object, block], |data, random| {
        now += Duration::from_millis(20);
        // A cookie of its own, else it would be answered from memory.
        let mut bytes = format!("{}", random.next()).into_bytes();
        let cookie = bytes.len();
        bytes.extend_from_slice(data.strip_prefix(b"c").unwrap_or(data));
        let bytes = Bytes::from(bytes);
        let _ = (message::length(&bytes), bencode::read(&bytes.slice(cookie..)), json::read(&bytes[cookie..]));
        let reply = ng.message(now, [127, 0, 0, 1].into(), &bytes, &mut engine);
        if bytes.get(cookie) == Some(&b' ') {
            assert!(reply.is_some_and(|reply| reply.starts_with(&bytes[..=cookie])), "an answer with the cookie");
        }
        engine.tick(now);
        ng.tick(now, &mut engine);
        let _ = (ng.take_closed(), ng.poll_note());
        // What nobody answers is gone after `offer_timeout_s`, 600 s, whatever came: 30,000 commands at 20 ms.
        assert!(ng.in_progress() <= 30_000);
    });
    // All that is left ends, and every port with it.
    for _ in 0..2_000 {
        now += Duration::from_secs(10);
        ng.tick(now, &mut engine);
    }
    assert_eq!((ng.in_progress(), engine.sessions()), (0, 0));
}
