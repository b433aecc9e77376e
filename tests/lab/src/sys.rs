//! The only place in the laboratory with `unsafe`: entering a namespace, packet sockets, signals, dlopen.
//!
//! Any thread. A namespace is a property of a thread, so `enter_netns` is called by threads that exist for it.

#![allow(unsafe_code)]

use std::{
    ffi::CString,
    fs::File,
    io, mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::Duration,
};

/// Moves the calling thread into the network namespace of this name.
pub fn enter_netns(name: &str) -> io::Result<()> {
    let file = File::open(format!("/run/netns/{name}"))?;
    // SAFETY: setns takes an open descriptor and a flag; it touches no memory of ours.
    check(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}

/// Runs `f` on a thread inside the namespace and returns what it made. Sockets keep the namespace they were made in.
pub fn in_netns<T: Send>(name: &str, f: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                enter_netns(name)?;
                f()
            })
            .join()
            .map_err(|_| io::Error::other("the thread inside the namespace died"))?
    })
}

pub fn signal(pid: u32, signal: i32) -> io::Result<()> {
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: kill takes two integers.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

pub fn is_root() -> bool {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

pub fn clock_ticks_per_second() -> u64 {
    // SAFETY: sysconf takes an integer.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100)
}

/// Lets this process have so many files open, as far as the system allows.
pub fn allow_files(count: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live struct of the right type.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    if limit.rlim_cur >= count {
        return Ok(());
    }
    limit.rlim_cur = count;
    limit.rlim_max = limit.rlim_max.max(count);
    // SAFETY: as above; the call only reads it.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }).map(drop)
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// What a packet socket says about one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Since 1970, by the kernel's clock.
    pub at: Duration,
    /// The frame left through the interface; otherwise it arrived.
    pub outgoing: bool,
}

const BATCH: usize = 128;
const FRAME_BYTES: usize = 4096;
const CONTROL_BYTES: usize = 64;

/// A packet socket on one interface that sees every frame in both directions, and reads them in batches.
pub struct PacketSocket {
    fd: OwnedFd,
    buffers: Vec<u8>,
    control: Vec<u8>,
    addresses: Vec<libc::sockaddr_ll>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

// SAFETY: the raw pointers in `vectors` and `headers` point into the heap blocks of the Vecs beside them, which are
// never resized and move with the struct; nothing else refers to them.
unsafe impl Send for PacketSocket {}

/// A packet socket of the calling thread's namespace, which is on no interface yet, and the interface's number.
fn packet_socket(interface: &str) -> io::Result<(OwnedFd, i32)> {
    let name = CString::new(interface)?;
    // SAFETY: plain system calls with integers; the descriptor is checked, then owned once.
    let fd = unsafe {
        let fd = check(libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0))?;
        OwnedFd::from_raw_fd(fd)
    };
    // SAFETY: `name` is a valid C string for the duration of the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((fd, i32::try_from(index).map_err(io::Error::other)?))
}

/// Puts it on the interface; with protocol 0 it hears nothing.
fn bind_to(fd: &OwnedFd, index: i32, protocol: u16) -> io::Result<()> {
    // SAFETY: sockaddr_ll is plain data; zero is a valid value for each field.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = index;
    // SAFETY: the pointer and the length describe `address`, which outlives the call.
    check(unsafe {
        libc::bind(fd.as_raw_fd(), (&raw const address).cast(), mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t)
    })
    .map(drop)
}

/// Sends frames as they are.
pub struct RawSender(OwnedFd);

impl RawSender {
    /// In the calling thread's namespace.
    pub fn open(interface: &str) -> io::Result<Self> {
        let (fd, index) = packet_socket(interface)?;
        bind_to(&fd, index, 0)?;
        Ok(RawSender(fd))
    }

    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the pointer and the length describe `frame`, which outlives the call.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), libc::MSG_DONTWAIT) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl PacketSocket {
    /// Opens it in the calling thread's namespace, with a receive buffer of `buffer_bytes`.
    pub fn open(interface: &str, buffer_bytes: i32) -> io::Result<Self> {
        let (fd, index) = packet_socket(interface)?;
        set_option(&fd, libc::SO_RCVBUFFORCE, &buffer_bytes)?;
        set_option(&fd, libc::SO_TIMESTAMPNS, &1i32)?;
        set_option(&fd, libc::SO_RCVTIMEO, &libc::timeval { tv_sec: 0, tv_usec: 50_000 })?;
        bind_to(&fd, index, libc::ETH_P_ALL as u16)?;
        Ok(Self::with_buffers(fd))
    }

    fn with_buffers(fd: OwnedFd) -> Self {
        let mut buffers = vec![0u8; BATCH * FRAME_BYTES];
        let mut control = vec![0u8; BATCH * CONTROL_BYTES];
        // SAFETY: both are plain data for which zero is valid.
        let mut addresses: Vec<libc::sockaddr_ll> = vec![unsafe { mem::zeroed() }; BATCH];
        let mut vectors: Vec<libc::iovec> = buffers
            .chunks_exact_mut(FRAME_BYTES)
            .map(|chunk| libc::iovec { iov_base: chunk.as_mut_ptr().cast(), iov_len: FRAME_BYTES })
            .collect();
        let headers = (0..BATCH)
            .map(|i| {
                // SAFETY: mmsghdr is plain data for which zero is valid.
                let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
                header.msg_hdr.msg_name = (&raw mut addresses[i]).cast();
                header.msg_hdr.msg_iov = &raw mut vectors[i];
                header.msg_hdr.msg_iovlen = 1;
                header.msg_hdr.msg_control = control[i * CONTROL_BYTES..].as_mut_ptr().cast();
                header
            })
            .collect();
        PacketSocket { fd, buffers, control, addresses, vectors, headers }
    }

    /// Reads what waits, up to 50 ms for the first frame. Returns how many there are now, for `frame`.
    pub fn read(&mut self) -> io::Result<usize> {
        for header in &mut self.headers {
            header.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            header.msg_hdr.msg_controllen = CONTROL_BYTES as _;
        }
        debug_assert_eq!(self.vectors.len(), BATCH);
        debug_assert_eq!(self.control.len(), BATCH * CONTROL_BYTES);
        // SAFETY: every header points at a live buffer, address and control block of this struct, of the stated sizes.
        let result = unsafe {
            libc::recvmmsg(
                self.fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_WAITFORONE as _,
                std::ptr::null_mut(),
            )
        };
        match check(result) {
            Ok(n) => Ok(n as usize),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
            // The interface went down or away: nothing more to see.
            Err(e) if e.raw_os_error() == Some(libc::ENETDOWN) => Ok(0),
            Err(e) => Err(e),
        }
    }

    /// The `i`th frame of the last `read`.
    pub fn frame(&self, i: usize) -> (Stamp, &[u8]) {
        let len = (self.headers[i].msg_len as usize).min(FRAME_BYTES);
        let stamp = Stamp {
            at: timestamp(&self.headers[i].msg_hdr),
            outgoing: self.addresses[i].sll_pkttype == libc::PACKET_OUTGOING,
        };
        (stamp, &self.buffers[i * FRAME_BYTES..i * FRAME_BYTES + len])
    }

    /// Frames the kernel could not hand to this socket since the last time this was asked.
    pub fn dropped(&self) -> io::Result<u32> {
        let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut len = mem::size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: the pointer and the length describe `stats`.
        check(unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast(),
                &raw mut len,
            )
        })?;
        Ok(stats.tp_drops)
    }
}

/// Room for what arrives while a socket's owner has no turn, whatever the system's limit is.
pub fn receive_buffer(socket: &impl AsRawFd, bytes: i32) -> io::Result<()> {
    set_option(socket, libc::SO_RCVBUFFORCE, &bytes)
}

fn set_option<T>(fd: &impl AsRawFd, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const *value).cast(),
            mem::size_of::<T>() as libc::socklen_t,
        )
    })
    .map(drop)
}

fn timestamp(header: &libc::msghdr) -> Duration {
    // SAFETY: the kernel filled the control block; CMSG_* walk it within msg_controllen, and the one message that is
    // asked for carries a timespec.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            if (*message).cmsg_level == libc::SOL_SOCKET && (*message).cmsg_type == libc::SCM_TIMESTAMPNS {
                let time: libc::timespec = std::ptr::read_unaligned(libc::CMSG_DATA(message).cast());
                return Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    Duration::ZERO
}

/// The direct conversions of Recommendation G.711 (tables 3 and 4) as libspandsp has them: not our own work, so they
/// can judge ours. Returns μ→A and A→μ.
pub fn spandsp_tables() -> Result<([u8; 256], [u8; 256]), libloading::Error> {
    type Convert = unsafe extern "C" fn(u8) -> u8;
    // SAFETY: libspandsp has no initialiser with demands of its own; both functions have the stated signature in its
    // public header (spandsp/g711.h) and are pure.
    unsafe {
        let library = libloading::Library::new("libspandsp.so.2")?;
        let to_alaw: libloading::Symbol<Convert> = library.get(b"ulaw_to_alaw\0")?;
        let to_ulaw: libloading::Symbol<Convert> = library.get(b"alaw_to_ulaw\0")?;
        let (mut a, mut u) = ([0; 256], [0; 256]);
        for code in 0..=255u8 {
            a[usize::from(code)] = to_alaw(code);
            u[usize::from(code)] = to_ulaw(code);
        }
        Ok((a, u))
    }
}
