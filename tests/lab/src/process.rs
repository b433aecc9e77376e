//! Programs that the laboratory runs, inside a namespace or not. Main thread.
//!
//! Each has its output in a file, is ended when its handle is dropped, and dies with the laboratory.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{cleanup, sys};

/// Runs to its end and returns what it wrote to its standard output; what it wrote otherwise is in the error.
pub fn run(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{program} could not be started: run scripts/install"))?;
    if !output.status.success() {
        bail!("`{program} {}` failed: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A command whose process enters the namespace's network only (mounts stay: `ip netns exec` would hide bpffs) and
/// gets SIGKILL if the laboratory's main thread goes.
pub fn command_in(namespace: Option<&str>, program: impl AsRef<Path>) -> Command {
    let setpriv = ["setpriv", "--pdeathsig", "KILL", "--"];
    let mut command = match namespace {
        Some(name) => {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net=/run/netns/{name}")).args(setpriv);
            command
        }
        None => {
            let mut command = Command::new(setpriv[0]);
            command.args(&setpriv[1..]);
            command
        }
    };
    command.arg(program.as_ref());
    command
}

/// A program that runs beside the test.
pub struct Running {
    name: String,
    child: Child,
    status: Option<ExitStatus>,
    log: PathBuf,
}

impl Running {
    /// Starts `command` with both outputs in `log`.
    pub fn start(name: &str, command: Command, log: PathBuf) -> Result<Self> {
        Running::start_with(name, command, log, Stdio::null())
    }

    /// With a standard input that stays open until this is dropped.
    pub fn start_held(name: &str, command: Command, log: PathBuf) -> Result<Self> {
        Running::start_with(name, command, log, Stdio::piped())
    }

    fn start_with(name: &str, mut command: Command, log: PathBuf, input: Stdio) -> Result<Self> {
        let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let err = out.try_clone()?;
        command.stdin(input).stdout(out).stderr(err);
        let child = cleanup::start_child(|| command.spawn()).with_context(|| format!("{name} could not be started"))?;
        Ok(Running { name: name.to_owned(), child, status: None, log })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The exit status if it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait()?;
            if self.status.is_some() {
                cleanup::child_ended(self.child.id());
            }
        }
        Ok(self.status)
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("{} did not end within {} s; its output: {}", self.name, limit.as_secs(), self.tail());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn signal(&mut self, signal: i32) -> Result<()> {
        if self.ended()?.is_none() {
            sys::signal(self.pid(), signal)?;
        }
        Ok(())
    }

    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines it wrote, for an error message.
    pub fn tail(&self) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().filter(|line| !line.trim().is_empty()).collect();
        format!("{}\n(all of it: {})", lines[lines.len().saturating_sub(15)..].join("\n"), self.log.display())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.ended(), Ok(None)) {
            let _ = self.signal(libc::SIGKILL);
            let _ = self.wait(Duration::from_secs(5));
        }
    }
}
