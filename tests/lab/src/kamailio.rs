//! Debian's Kamailio as a peer: a configuration with its blanks filled in, inside a namespace. Main thread.
//!
//! It runs in a process namespace of its own, so that its children end with it, however it ends.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::{Result, bail};

use crate::{
    net::Namespace,
    process::{Running, command_in},
};

pub struct Kamailio {
    running: Running,
}

impl Kamailio {
    /// With `text` as its configuration and these names defined; waits until it listens at `address`, which it brings along.
    pub fn start(
        namespace: &Namespace,
        room: &Path,
        name: &str,
        (address, text): (IpAddr, &str),
        defined: &[&str],
    ) -> Result<Self> {
        namespace.address("eth0", address, 24)?;
        Kamailio::start_at(namespace, room, name, (SocketAddr::new(address, 5060), text), defined)
    }

    /// The same with an address that the namespace has, and a port of its own.
    pub fn start_at(
        namespace: &Namespace,
        room: &Path,
        name: &str,
        (listens, text): (SocketAddr, &str),
        defined: &[&str],
    ) -> Result<Self> {
        let config = room.join(format!("{name}.cfg"));
        std::fs::write(&config, text)?;
        let mut command = command_in(Some(&namespace.name), "unshare");
        command.args(["--pid", "--fork", "--kill-child", "--", "kamailio", "-DD", "-E", "-m", "32", "-M", "4"]);
        command.arg("-Y").arg(room).arg("-w").arg(room).arg("-f").arg(&config);
        for define in defined {
            command.args(["-A", define]);
        }
        let mut running = Running::start(name, command, room.join(format!("{name}.log")))?;
        let filter = format!("src {listens}");
        for _ in 0..250 {
            if running.ended()?.is_some() {
                bail!("{name} ended at its start: {}", running.tail());
            }
            if !namespace.run("ss", &["-ulnH", &filter])?.trim().is_empty() {
                return Ok(Kamailio { running });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("{name} does not listen: {}", running.tail())
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        self.running.output()
    }
}
