//! The exception device: a TAP per port, through which the kernel sees what workers punt and sends what it answers.
//!
//! The slow path's thread owns it. It carries the port's MAC and MTU, so that ARP, ND, ping and SIP work as on any host.
//! It never blocks, and the kernel removes it when it is dropped or the process ends. The device belongs to the network
//! namespace of the thread that opened it.

use std::{
    io,
    os::fd::{AsRawFd, RawFd},
};

use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use super::error::IoError;
use crate::base::ids::PortId;

/// Ethernet header with one VLAN tag: what a frame is longer than the MTU.
const HEADER_BYTES: usize = 18;
/// Frames that the kernel may have waiting for the slow path.
const QUEUE_FRAMES: u32 = 4096;

pub struct Exception {
    pub port: PortId,
    device: SyncDevice,
    name: String,
    ifindex: u32,
    frame_bytes: usize,
}

impl Exception {
    /// Makes the TAP `device` for the port named `name`, with that port's MAC and MTU, and sets it up.
    pub fn open(port: PortId, name: &str, device: &str, mac: [u8; 6], mtu: u16) -> Result<Self, IoError> {
        let refused = |e: io::Error| IoError::Exception {
            port: name.to_owned(),
            device: device.to_owned(),
            hint: hint(&e),
            cause: e.to_string(),
        };
        if device.is_empty() || device.len() > 15 {
            return Err(refused(io::Error::new(
                io::ErrorKind::InvalidInput,
                "an interface's name has 1 to 15 characters",
            )));
        }
        let tap = DeviceBuilder::new()
            .name(device)
            .layer(Layer::L2)
            .mac_addr(mac)
            .mtu(mtu)
            .enable(true)
            .build_sync()
            .map_err(refused)?;
        tap.set_tx_queue_len(QUEUE_FRAMES).map_err(refused)?;
        tap.set_nonblocking(true).map_err(refused)?;
        let ifindex = tap.if_index().map_err(refused)?;
        let frame_bytes = usize::from(mtu) + HEADER_BYTES;
        Ok(Exception { port, device: tap, name: device.to_owned(), ifindex, frame_bytes })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kernel's number of the device, as netlink uses it.
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// The longest frame the kernel sends through it: the size of a buffer for `read`.
    pub fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    /// The next frame from the kernel; `None` if none waits.
    pub fn read<'a>(&mut self, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        match self.device.recv(buffer) {
            Ok(n) => Ok(buffer.get(..n)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Hands a frame to the kernel; false if the kernel did not take it (device down, no memory, no Ethernet header).
    pub fn write(&mut self, frame: &[u8]) -> bool {
        matches!(self.device.send(frame), Ok(n) if n == frame.len())
    }
}

impl AsRawFd for Exception {
    fn as_raw_fd(&self) -> RawFd {
        self.device.as_raw_fd()
    }
}

fn hint(e: &io::Error) -> &'static str {
    match e.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "It takes root or CAP_NET_ADMIN",
        Some(libc::EBUSY) => "Another process holds a device of that name: is tandem running already?",
        Some(libc::ENOENT | libc::ENODEV) => "Is the kernel's tun module there (modprobe tun)?",
        Some(libc::EINVAL) => {
            "Is there already an interface of that name that is no TAP? Change the port's `exception`"
        }
        _ => "Check the port's `exception` and `mtu`",
    }
}
