//! Replay: captures through the real worker, to see what it makes of them and how fast. Everything here runs on the main
//! thread of a short-lived process, but for the worker itself.
//!
//! - `capture`: reading and writing capture files.
//! - `generate`: captures from a recipe, so that none needs to be stored.
//! - `sessions`: what is provisioned for a capture: one flow for each that it holds, or what a file says.
//! - `verdicts`: the share of each sequence verdict when a capture is replayed without end.
//! - `run`: as fast as the worker goes, from `net_pcap`'s endless reception.
//! - `paced`: once, at the capture's own timing, out of a real port.

pub mod capture;
pub mod generate;
#[cfg(feature = "dpdk")]
pub mod paced;
#[cfg(feature = "dpdk")]
pub mod run;
pub mod sessions;
pub mod verdicts;

use std::{io, path::PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("{}: {cause}", path.display())]
    File { path: PathBuf, cause: io::Error },
    #[error("{}: not a capture file that can be read (classic pcap, Ethernet): {cause}", path.display())]
    Capture { path: PathBuf, cause: String },
    #[error("{}: {cause}", path.display())]
    Sessions { path: PathBuf, cause: String },
    #[error("the capture holds no RTP or RTCP over UDP, and no sessions were given")]
    NothingToProvision,
    #[error("{0}")]
    Recipe(String),
    #[error("the media ports of the capture span {found} addresses; at most {allowed} are possible")]
    TooManyAddresses { found: usize, allowed: usize },
    #[error("the device received {received} packets, but {accounted} are accounted for")]
    Unaccounted { received: u64, accounted: u64 },
    #[error("nothing was received in {seconds} s: see what DPDK said on standard error")]
    Nothing { seconds: u64 },
    #[cfg(feature = "dpdk")]
    #[error(transparent)]
    Edge(#[from] crate::io::error::IoError),
    #[error(transparent)]
    Table(#[from] crate::flow::table::TableError),
}
