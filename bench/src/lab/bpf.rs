//! bpf(2): array maps, programs, running one, and attaching one to a packet socket; and what a thread asks of its
//! scheduler. The only `unsafe` of this section.
//!
//! Any thread; `Program::run_live` stays in the kernel while the program runs. Everything is gone with its descriptor.

#![allow(unsafe_code)]

use std::{
    ffi::CString,
    io, mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    sync::{Arc, OnceLock, atomic::AtomicBool},
};

use anyhow::{Context, Result, bail};

// include/uapi/linux/bpf.h
const MAP_CREATE: libc::c_int = 0;
const MAP_LOOKUP: libc::c_int = 1;
const MAP_UPDATE: libc::c_int = 2;
const PROG_LOAD: libc::c_int = 5;
const PROG_TEST_RUN: libc::c_int = 10;
const MAP_TYPE_ARRAY: u32 = 2;
/// Redirected frames go out of real interfaces.
const LIVE_FRAMES: u32 = 1 << 1;

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    SocketFilter = 1,
    Xdp = 6,
}

/// The parts of `union bpf_attr` that are used; what follows is zero.
#[repr(C)]
#[derive(Default)]
struct CreateMap {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    rest: [u64; 16],
}

#[repr(C)]
#[derive(Default)]
struct Element {
    fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct LoadProgram {
    prog_type: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    rest: [u64; 16],
}

#[repr(C)]
#[derive(Default)]
struct TestRun {
    fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

fn bpf<T>(command: libc::c_int, attribute: &mut T) -> io::Result<i32> {
    // SAFETY: `attribute` is one of the structures above, laid out as the kernel's; its size is passed with it, and
    // every address in it belongs to a live buffer of the stated size that its caller holds.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attribute), mem::size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us; nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// An array of values of `N` 64-bit words.
pub struct Map<const N: usize> {
    fd: OwnedFd,
}

impl<const N: usize> Map<N> {
    pub fn new(entries: u32) -> Result<Self> {
        let mut attribute = CreateMap {
            map_type: MAP_TYPE_ARRAY,
            key_size: 4,
            value_size: 8 * N as u32,
            max_entries: entries,
            ..CreateMap::default()
        };
        let fd = bpf(MAP_CREATE, &mut attribute).context("a BPF map could not be made")?;
        Ok(Map { fd: owned(fd) })
    }

    pub fn fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    fn element(&self, key: &u32, value: u64) -> Element {
        Element { fd: self.fd() as u32, key: std::ptr::from_ref(key) as u64, value, ..Element::default() }
    }

    pub fn set(&self, index: u32, value: &[u64; N]) -> Result<()> {
        let mut attribute = self.element(&index, value.as_ptr() as u64);
        bpf(MAP_UPDATE, &mut attribute).context("a BPF map could not be written").map(drop)
    }

    pub fn get(&self, index: u32) -> Result<[u64; N]> {
        let mut value = [0; N];
        let mut attribute = self.element(&index, value.as_mut_ptr() as u64);
        bpf(MAP_LOOKUP, &mut attribute).context("a BPF map could not be read")?;
        Ok(value)
    }
}

pub struct Program {
    fd: OwnedFd,
}

impl Program {
    pub fn load(kind: Kind, code: &[u64]) -> Result<Self> {
        let license = CString::new("Apache-2.0")?;
        let mut log = vec![0u8; 1 << 18];
        let mut attribute = LoadProgram {
            prog_type: kind as u32,
            count: u32::try_from(code.len())?,
            instructions: code.as_ptr() as u64,
            license: license.as_ptr() as u64,
            log_level: 1,
            log_size: log.len() as u32,
            log: log.as_mut_ptr() as u64,
            ..LoadProgram::default()
        };
        match bpf(PROG_LOAD, &mut attribute) {
            Ok(fd) => Ok(Program { fd: owned(fd) }),
            Err(error) => {
                let log = String::from_utf8_lossy(&log);
                let lines: Vec<&str> = log.trim_end_matches('\0').lines().collect();
                bail!(
                    "the kernel refuses a BPF program: {error}\n{}",
                    lines[lines.len().saturating_sub(20)..].join("\n")
                )
            }
        }
    }

    /// Runs an XDP program `repeat` times on copies of `frame`, in batches; what it redirects is sent. In the calling
    /// thread's namespace. (Linux 5.18.)
    pub fn run_live(&self, frame: &[u8], repeat: u32, batch: u32) -> io::Result<()> {
        let mut attribute = TestRun {
            fd: self.fd.as_raw_fd() as u32,
            data_size_in: frame.len() as u32,
            data_in: frame.as_ptr() as u64,
            repeat,
            flags: LIVE_FRAMES,
            batch_size: batch,
            ..TestRun::default()
        };
        bpf(PROG_TEST_RUN, &mut attribute).map(drop)
    }

    /// Lets the program judge every frame that arrives at an interface of the calling thread's namespace, as the filter
    /// of a packet socket, until the socket that this returns is closed.
    pub fn listen(&self, interface: &str) -> Result<OwnedFd> {
        let name = CString::new(interface)?;
        // SAFETY: system calls with integers and a C string that lives through the call; results are checked.
        let (fd, index) = unsafe {
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
            if fd < 0 {
                return Err(io::Error::last_os_error()).context("no packet socket");
            }
            (OwnedFd::from_raw_fd(fd), libc::if_nametoindex(name.as_ptr()))
        };
        let program = self.fd.as_raw_fd();
        // SAFETY: the pointer and the length describe `program`.
        let attached = unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_BPF,
                (&raw const program).cast(),
                mem::size_of_val(&program) as libc::socklen_t,
            )
        };
        // SAFETY: sockaddr_ll is plain data; zero is a valid value for each field.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = i32::try_from(index)?;
        // SAFETY: the pointer and the length describe `address`.
        let bound = unsafe {
            libc::bind(fd.as_raw_fd(), (&raw const address).cast(), mem::size_of_val(&address) as libc::socklen_t)
        };
        if index == 0 || attached < 0 || bound < 0 {
            return Err(io::Error::last_os_error()).with_context(|| format!("cannot listen on {interface}"));
        }
        Ok(fd)
    }
}

/// Keeps the calling thread, and what it starts, on these CPUs.
pub fn pin(cpus: &[usize]) -> io::Result<()> {
    // SAFETY: cpu_set_t is plain data for which zero is valid; the pointer and the length describe it.
    let result = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        cpus.iter().for_each(|cpu| libc::CPU_SET(*cpu, &mut set));
        libc::sched_setaffinity(0, mem::size_of_val(&set), &raw const set)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The nice value of what comes first.
const FIRST: libc::c_int = -20;

/// Puts a thread (0: the calling one) before all others that share its CPU, as far as the fair scheduler goes. Real-time
/// classes would not do: the kernel takes their CPU away for up to 50 ms in a second.
pub fn prefer(thread: u32) -> io::Result<()> {
    // SAFETY: setpriority takes three integers.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, thread, FIRST) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Brings the kernel's account of a preferred thread up to this moment, on whatever CPU it runs: the scheduler writes down
/// what a thread has run when its priority changes, and otherwise at its next tick.
pub fn settle(thread: u32) -> io::Result<()> {
    // SAFETY: setpriority takes three integers.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, thread, FIRST + 1) };
    if result < 0 { Err(io::Error::last_os_error()) } else { prefer(thread) }
}

/// The index of an interface in the calling thread's namespace.
pub fn interface_index(interface: &str) -> Result<i32> {
    let name = CString::new(interface)?;
    // SAFETY: `name` is a valid C string for the duration of the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("no interface {interface}"));
    }
    Ok(i32::try_from(index)?)
}

/// A thread of this process, to be interrupted.
#[derive(Clone, Copy, Debug)]
pub struct Thread(i32);

/// The calling thread. From now on SIGUSR1 interrupts a system call and does nothing else.
pub fn this_thread() -> Result<Thread> {
    static HANDLED: OnceLock<()> = OnceLock::new();
    if HANDLED.set(()).is_ok() {
        // What the flag says does not matter: a handler is there, so that the signal ends no process.
        signal_hook::flag::register(libc::SIGUSR1, Arc::<AtomicBool>::default())?;
    }
    // SAFETY: gettid takes nothing and cannot fail.
    Ok(Thread(unsafe { libc::gettid() }))
}

pub fn interrupt(thread: Thread) -> io::Result<()> {
    // SAFETY: tgkill takes three integers.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread.0, libc::SIGUSR1) };
    if result < 0 && io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH) {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
