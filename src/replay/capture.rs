//! Capture files: classic pcap with Ethernet frames, which is what `net_pcap` reads. Runs on the main thread.

use std::{
    fs::File,
    io::{BufReader, BufWriter},
    path::Path,
    time::Duration,
};

use pcap_file::{
    DataLink, PcapError,
    pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter},
};

use super::ReplayError;

/// One frame, and when it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub at: Duration,
    pub bytes: Vec<u8>,
}

fn wrong(path: &Path, cause: PcapError) -> ReplayError {
    match cause {
        PcapError::IoError(cause) => ReplayError::File { path: path.to_owned(), cause },
        other => ReplayError::Capture { path: path.to_owned(), cause: other.to_string() },
    }
}

/// Calls `sink` with each frame of the file in turn.
pub fn read(path: &Path, mut sink: impl FnMut(Frame)) -> Result<(), ReplayError> {
    let file = File::open(path).map_err(|cause| ReplayError::File { path: path.to_owned(), cause })?;
    let mut reader = PcapReader::new(BufReader::with_capacity(1 << 20, file)).map_err(|e| wrong(path, e))?;
    let link = reader.header().datalink;
    if link != DataLink::ETHERNET {
        return Err(ReplayError::Capture { path: path.to_owned(), cause: format!("its link type is {link:?}") });
    }
    while let Some(packet) = reader.next_packet() {
        let packet = packet.map_err(|e| wrong(path, e))?;
        sink(Frame { at: packet.timestamp, bytes: packet.data.into_owned() });
    }
    Ok(())
}

/// A capture file being written.
pub struct Writer<'a> {
    path: &'a Path,
    inner: PcapWriter<BufWriter<File>>,
}

impl<'a> Writer<'a> {
    pub fn create(path: &'a Path) -> Result<Self, ReplayError> {
        let file = File::create(path).map_err(|cause| ReplayError::File { path: path.to_owned(), cause })?;
        let header = PcapHeader { datalink: DataLink::ETHERNET, ..PcapHeader::default() };
        let inner =
            PcapWriter::with_header(BufWriter::with_capacity(1 << 20, file), header).map_err(|e| wrong(path, e))?;
        Ok(Writer { path, inner })
    }

    pub fn write(&mut self, at: Duration, bytes: &[u8]) -> Result<(), ReplayError> {
        let packet = PcapPacket::new(at, bytes.len() as u32, bytes);
        self.inner.write_packet(&packet).map_err(|e| wrong(self.path, e))?;
        Ok(())
    }

    /// A file that is not closed like this may lack its end without a word.
    pub fn close(self) -> Result<(), ReplayError> {
        let path = self.path;
        let mut buffered = self.inner.into_writer();
        std::io::Write::flush(&mut buffered).map_err(|cause| ReplayError::File { path: path.to_owned(), cause })
    }
}
