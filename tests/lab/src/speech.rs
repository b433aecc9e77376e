//! What the phones say: the speech that sip-tester ships as A-law, its μ-law twin, and key presses. Main thread.
//!
//! SIPp plays captures, so each is written as one; it sets addresses and ports itself.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    frame::Rtp,
    law::{Law, Tables},
};

const SHIPPED: &str = "/usr/share/sip-tester/g711a.pcap";

/// One RTP packet to play, when it is due, owned.
#[derive(Clone, Debug)]
pub struct Said {
    pub at: Duration,
    pub pt: u8,
    pub marker: bool,
    pub sequence: u16,
    pub timestamp: u32,
    pub payload: Vec<u8>,
}

/// Speech in one law, ready to be played.
#[derive(Clone, Debug)]
pub struct Speech {
    pub law: Law,
    pub packets: Vec<Said>,
}

impl Speech {
    /// The shipped A-law speech: 7 s in frames of 30 ms.
    pub fn shipped() -> Result<Self> {
        let bytes = std::fs::read(SHIPPED).with_context(|| format!("no {SHIPPED}: run scripts/install"))?;
        let mut packets: Vec<Said> = Vec::new();
        let mut rest = bytes.get(24..).context("no capture file")?;
        let word = |at: usize, from: &[u8]| -> Option<u32> {
            Some(u32::from_le_bytes(from.get(at..at + 4)?.try_into().ok()?))
        };
        let mut start = None;
        while let (Some(secs), Some(micros), Some(len)) = (word(0, rest), word(4, rest), word(8, rest)) {
            let frame = rest.get(16..16 + len as usize).context("the capture file is cut short")?;
            rest = &rest[16 + len as usize..];
            // Ethernet, IPv4 and UDP without options: it is one file, and it is known.
            let rtp = frame.get(42..).and_then(Rtp::read).context("not RTP in the capture file")?;
            let at = Duration::from_secs(secs.into()) + Duration::from_micros(micros.into());
            packets.push(Said {
                at: at - *start.get_or_insert(at),
                pt: rtp.pt,
                marker: rtp.marker,
                sequence: rtp.sequence,
                timestamp: rtp.timestamp,
                payload: rtp.payload.to_vec(),
            });
        }
        ensure!(packets.len() > 200, "{SHIPPED} is not the file that sip-tester shipped");
        Ok(Speech { law: Law::A, packets })
    }

    /// The same speech in the other law, by G.711's own table.
    pub fn twin(&self, tables: &Tables) -> Self {
        let law = if self.law == Law::A { Law::Mu } else { Law::A };
        let convert = |said: &Said| Said {
            pt: law.payload_type(),
            payload: tables.convert(self.law, law, &said.payload),
            ..said.clone()
        };
        Speech { law, packets: self.packets.iter().map(convert).collect() }
    }

    /// Its first part.
    pub fn first(&self, length: Duration) -> Self {
        Speech { law: self.law, packets: self.packets.iter().filter(|said| said.at < length).cloned().collect() }
    }

    /// RFC 4733: presses a key for 160 ms in the middle of the speech: `pt` is telephone-event's payload type. Each
    /// event packet takes the place of the speech packet that was due; the end is sent three times (§2.5.1.4).
    pub fn press(&mut self, key: u8, pt: u8, from_packet: usize) {
        const PACKETS: usize = 8;
        let Some(start) = self.packets.get(from_packet).map(|said| said.timestamp) else { return };
        for (i, said) in self.packets.iter_mut().skip(from_packet).take(PACKETS).enumerate() {
            let end = i >= PACKETS - 3;
            let duration = (240 * (i.min(PACKETS - 3) + 1)) as u16;
            said.pt = pt;
            said.marker = i == 0;
            said.timestamp = start;
            said.payload = vec![key, if end { 0x8a } else { 0x0a }];
            said.payload.extend(duration.to_be_bytes());
        }
    }

    /// Writes it as a capture that SIPp can play.
    pub fn write(&self, path: PathBuf) -> Result<PathBuf> {
        write_pcap(&path, self)?;
        Ok(path)
    }
}

fn write_pcap(path: &Path, speech: &Speech) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.write_all(&word.to_le_bytes())?;
    }
    for said in &speech.packets {
        let rtp = Rtp {
            pt: said.pt,
            marker: said.marker,
            sequence: said.sequence,
            timestamp: said.timestamp,
            ssrc: 0x1abe_0000 + u32::from(speech.law.payload_type()),
            payload: &said.payload,
        };
        let frame = frame_for_sipp(&rtp.write())?;
        let length = u32::try_from(frame.len())?;
        for word in [u32::try_from(said.at.as_secs())?, said.at.subsec_micros(), length, length] {
            file.write_all(&word.to_le_bytes())?;
        }
        file.write_all(&frame)?;
    }
    Ok(file.flush()?)
}

fn frame_for_sipp(datagram: &[u8]) -> Result<Vec<u8>> {
    let udp = u16::try_from(datagram.len() + 8)?;
    let mut frame = vec![0; 12];
    frame.extend([8, 0, 0x45, 0]);
    frame.extend((udp + 20).to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 198, 18, 0, 1, 198, 18, 0, 2]);
    frame.extend(5000u16.to_be_bytes());
    frame.extend(5000u16.to_be_bytes());
    frame.extend(udp.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(datagram);
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_press_replaces_eight_packets_and_ends_three_times() {
        let packets = (0..20u16)
            .map(|i| Said {
                at: Duration::from_millis(30 * u64::from(i)),
                pt: 0,
                marker: false,
                sequence: i,
                timestamp: 240 * u32::from(i),
                payload: vec![0xff; 240],
            })
            .collect();
        let mut speech = Speech { law: Law::Mu, packets };
        speech.press(5, 101, 10);
        let events: Vec<_> = speech.packets.iter().filter(|said| said.pt == 101).collect();
        assert_eq!(events.len(), 8);
        assert!(events.iter().all(|said| said.timestamp == 2400), "RFC 4733 §2.2.1: the time the event began");
        assert_eq!(events[0].payload, [5, 0x0a, 0, 240]);
        assert_eq!(events.iter().filter(|said| said.payload[1] & 0x80 != 0).count(), 3);
    }
}
