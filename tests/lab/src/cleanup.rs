//! What must be gone when a test ends, however it ends: child processes and namespaces.
//!
//! Processes are started by the main thread only (they die with it: PR_SET_PDEATHSIG); the signal thread calls
//! `sweep_and_exit`. Whatever is registered here is ended by its own id, never by a name.

use std::{
    collections::BTreeSet,
    io::Write as _,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use anyhow::{Result, bail};

#[derive(Default)]
struct Registry {
    interrupted: bool,
    children: BTreeSet<u32>,
    namespaces: BTreeSet<String>,
}

static REGISTRY: Mutex<Registry> =
    Mutex::new(Registry { interrupted: false, children: BTreeSet::new(), namespaces: BTreeSet::new() });

fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Starts something that must not outlive the laboratory, and remembers its id.
pub fn start_child(start: impl FnOnce() -> std::io::Result<std::process::Child>) -> Result<std::process::Child> {
    let mut registry = registry();
    if registry.interrupted {
        bail!("interrupted");
    }
    let child = start()?;
    registry.children.insert(child.id());
    Ok(child)
}

pub fn child_ended(pid: u32) {
    registry().children.remove(&pid);
}

pub fn namespace_made(name: &str) -> Result<()> {
    let mut registry = registry();
    if registry.interrupted {
        bail!("interrupted");
    }
    registry.namespaces.insert(name.to_owned());
    Ok(())
}

pub fn namespace_gone(name: &str) {
    registry().namespaces.remove(name);
}

/// SIGINT, SIGTERM and SIGHUP end everything that was started and laid, then the program.
pub fn wait_for_signals() -> Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([libc::SIGINT, libc::SIGTERM, libc::SIGHUP])?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // Whoever read our output may have been interrupted with us: that must not keep us from cleaning up.
            let _ = writeln!(std::io::stderr(), "\ninterrupted: cleaning up");
            sweep_and_exit(128 + signal);
        }
    });
    Ok(())
}

/// Ends every child, removes every namespace, and leaves. For the signal thread.
pub fn sweep_and_exit(code: i32) -> ! {
    let (children, namespaces) = {
        let mut registry = registry();
        registry.interrupted = true;
        (std::mem::take(&mut registry.children), std::mem::take(&mut registry.namespaces))
    };
    for pid in &children {
        let _ = crate::sys::signal(*pid, libc::SIGTERM);
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(2);
    while std::time::Instant::now() < deadline && children.iter().any(|pid| is_running(*pid)) {
        std::thread::sleep(Duration::from_millis(20));
    }
    for pid in &children {
        if is_running(*pid) {
            let _ = crate::sys::signal(*pid, libc::SIGKILL);
        }
    }
    for name in &namespaces {
        let _ = std::process::Command::new("ip").args(["netns", "del", name]).status();
    }
    std::process::exit(code);
}

/// Ends every child now, so that whatever waits for one goes on. For the watchdog of a test that takes too long.
pub fn kill_children() {
    for pid in registry().children.iter() {
        let _ = crate::sys::signal(*pid, libc::SIGKILL);
    }
}

fn is_running(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
}

/// Removes namespaces that a laboratory left behind which was killed outright: their names carry its process id.
pub fn sweep_leftovers() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    for name in entries.flatten().filter_map(|e| e.file_name().into_string().ok()) {
        let Some(pid) = name.strip_prefix("tl").and_then(|rest| rest.split('-').next()?.parse::<u32>().ok()) else {
            continue;
        };
        if !is_running(pid) {
            eprintln!("removing namespace {name}, left by a laboratory that was killed");
            let _ = std::process::Command::new("ip").args(["netns", "del", &name]).status();
        }
    }
}
