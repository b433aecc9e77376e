//! The environment abstraction layer: started once per process, from typed options.
//!
//! The thread that calls `Eal::start` becomes the main lcore and is pinned to that lcore's CPU. Threads that it starts
//! later inherit that CPU. EAL pins its worker threads itself; nobody else pins those.

use std::{
    ffi::{CStr, CString},
    sync::atomic::{AtomicBool, Ordering},
};

use crate::{
    error::{Error, c_string, check, last},
    ffi,
};

/// Where packet memory comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Ordinary pages: `--no-huge --no-shconf -m`. For tests and laboratories: no root, nothing left behind.
    Ordinary { mb: u32 },
    /// Hugepages, 2 MiB or 1 GiB, as the kernel has them: reserved at start per NUMA node (the index), in MiB.
    /// `--in-memory`: no file in hugetlbfs is left behind, and several instances do not meet.
    Huge { per_node_mb: Vec<u32> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warning,
    Notice,
    Info,
    Debug,
}

impl LogLevel {
    fn name(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warning => "warning",
            LogLevel::Notice => "notice",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
        }
    }
}

#[derive(Clone, Debug)]
pub struct EalArgs {
    pub memory: Memory,
    /// (lcore, CPU) pairs, the main lcore first. Several lcores may share a CPU, as laboratories need.
    pub lcores: Vec<(u16, u16)>,
    /// PCI devices to take, each with its device arguments: `0000:00:06.0,enable_llq=1`. Empty: PCI is left alone.
    pub pci: Vec<String>,
    /// Virtual devices to make at start; `Port::attach` makes them later, with an error of their own.
    pub vdevs: Vec<String>,
    pub file_prefix: Option<String>,
    pub log_level: LogLevel,
    /// Handed over as they are, last.
    pub extra: Vec<String>,
}

impl EalArgs {
    /// One lcore on the given CPU, ordinary memory, no devices: what tests start from.
    pub fn ordinary(mb: u32, main_cpu: u16) -> Self {
        EalArgs {
            memory: Memory::Ordinary { mb },
            lcores: vec![(0, main_cpu)],
            pci: Vec::new(),
            vdevs: Vec::new(),
            file_prefix: None,
            log_level: LogLevel::Warning,
            extra: Vec::new(),
        }
    }

    /// The command line that these options make, program name first.
    pub fn command_line(&self) -> Vec<String> {
        let mut line = vec!["tandem".to_owned(), "--no-telemetry".to_owned()];
        match &self.memory {
            Memory::Ordinary { mb } => {
                line.extend(["--no-huge".to_owned(), "--no-shconf".to_owned(), "-m".to_owned(), mb.to_string()]);
            }
            Memory::Huge { per_node_mb } => {
                let nodes: Vec<String> = per_node_mb.iter().map(u32::to_string).collect();
                line.extend(["--in-memory".to_owned(), format!("--socket-mem={}", nodes.join(","))]);
            }
        }
        let lcores: Vec<String> = self.lcores.iter().map(|(lcore, cpu)| format!("{lcore}@{cpu}")).collect();
        if let Some((main, _)) = self.lcores.first() {
            line.extend([format!("--lcores={}", lcores.join(",")), format!("--main-lcore={main}")]);
        }
        if self.pci.is_empty() {
            line.push("--no-pci".to_owned());
        }
        for device in &self.pci {
            line.extend(["-a".to_owned(), device.clone()]);
        }
        line.extend(self.vdevs.iter().map(|device| format!("--vdev={device}")));
        line.extend(self.file_prefix.iter().map(|prefix| format!("--file-prefix={prefix}")));
        line.push(format!("--log-level={}", self.log_level.name()));
        line.extend(self.extra.iter().cloned());
        line
    }
}

/// Proof that the EAL runs. It runs until the process ends: packets in flight may refer to its memory.
#[derive(Clone, Copy, Debug)]
pub struct Eal {
    _proof: (),
}

static STARTED: AtomicBool = AtomicBool::new(false);

impl Eal {
    /// Starts the EAL. A second call in a process fails, also after a failure: DPDK cannot be started twice.
    pub fn start(arguments: &EalArgs) -> Result<Eal, Error> {
        let line = arguments.command_line().iter().map(|a| c_string(a)).collect::<Result<Vec<CString>, Error>>()?;
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(Error::AlreadyStarted);
        }
        let count = i32::try_from(line.len()).unwrap_or(i32::MAX);
        // The EAL may keep pointers into its arguments, so they stay for good.
        let mut pointers: Vec<*mut std::os::raw::c_char> = line.into_iter().map(CString::into_raw).collect();
        pointers.push(std::ptr::null_mut());
        // SAFETY: `pointers` is an argv: `count` NUL-terminated strings that are never freed, then NULL. STARTED makes
        // this the only call in the process; the log stream is set before any other DPDK call.
        let status = unsafe {
            ffi::td_log_to_stderr();
            ffi::rte_eal_init(count, Box::leak(pointers.into_boxed_slice()).as_mut_ptr())
        };
        if status < 0 {
            return Err(last("rte_eal_init"));
        }
        // Drivers arm timers (ENA's watchdog); rte_timer_manage without this would follow a null pointer.
        // SAFETY: the EAL runs.
        match unsafe { ffi::rte_timer_subsystem_init() } {
            // -EALREADY: a driver has done it while it was probed.
            status if status == -libc::EALREADY => {}
            status => {
                check("rte_timer_subsystem_init", status)?;
            }
        }
        Ok(Eal { _proof: () })
    }

    /// "DPDK 22.11.11".
    pub fn version() -> String {
        // SAFETY: rte_version returns a static NUL-terminated string, with or without a running EAL.
        unsafe { CStr::from_ptr(ffi::rte_version()) }.to_string_lossy().into_owned()
    }

    /// Runs what drivers have due (ENA's watchdog and keep-alive); to be called once a second on the main lcore,
    /// because drivers arm their timers there.
    pub fn run_timers(&self) -> Result<(), Error> {
        if !self.on_main() {
            return Err(Error::NotMain);
        }
        // SAFETY: the EAL runs, the timer subsystem was initialised by `start`, and this is an EAL thread.
        check("rte_timer_manage", unsafe { ffi::rte_timer_manage() })?;
        Ok(())
    }

    /// True on the thread that called `start`.
    pub fn on_main(&self) -> bool {
        // SAFETY: both read integers of the running EAL.
        unsafe { ffi::td_lcore_id() == ffi::rte_get_main_lcore() }
    }

    /// The time-stamp counter.
    pub fn ticks(&self) -> u64 {
        ticks()
    }

    /// Counts per second of `ticks`, as the EAL calibrated it at start.
    pub fn ticks_per_second(&self) -> u64 {
        // SAFETY: reads an integer of the running EAL.
        unsafe { ffi::rte_get_tsc_hz() }
    }
}

/// The time-stamp counter; about ten nanoseconds.
pub fn ticks() -> u64 {
    // SAFETY: reads a processor register; needs no EAL.
    unsafe { ffi::td_rdtsc() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_says_what_the_options_say() {
        let mut arguments = EalArgs::ordinary(64, 0);
        arguments.lcores = vec![(0, 0), (1, 1), (2, 0)];
        assert_eq!(
            arguments.command_line().join(" "),
            "tandem --no-telemetry --no-huge --no-shconf -m 64 --lcores=0@0,1@1,2@0 --main-lcore=0 --no-pci \
             --log-level=warning"
        );
        arguments.memory = Memory::Huge { per_node_mb: vec![1024, 512] };
        arguments.pci = vec!["0000:00:06.0,enable_llq=1".into()];
        assert_eq!(
            arguments.command_line().join(" "),
            "tandem --no-telemetry --in-memory --socket-mem=1024,512 --lcores=0@0,1@1,2@0 --main-lcore=0 \
             -a 0000:00:06.0,enable_llq=1 --log-level=warning"
        );
    }

    #[test]
    fn an_argument_with_a_nul_byte_is_refused_before_anything_starts() {
        let mut arguments = EalArgs::ordinary(64, 0);
        arguments.extra = vec!["a\0b".into()];
        assert_eq!(Eal::start(&arguments).err(), Some(Error::Nul("a\\0b".into())));
    }
}
