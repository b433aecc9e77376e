//! Huge pages: how many a run takes, and whether they are there. Main thread. `scripts/bench` sets them and puts them
//! back; nothing here changes the machine.

use std::fs;

use anyhow::{Result, ensure};

use crate::testpmd;

const FOLDER: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";
const PAGE_BYTES: usize = 2 << 20;
/// The EAL's own, rings that hold the capture's buffers, and room lost between areas.
const BESIDE: usize = 192;
/// Bytes of plans and states per flow, with room to spare: what is measured is reported.
const FLOW_BYTES: usize = 512;

/// 2 MiB pages for a capture and its flows; 0 where there is none. Subjects run one after the other, so they share them.
pub fn needed(packets: usize, flows: usize) -> usize {
    if packets == 0 {
        return 0;
    }
    let bytes = testpmd::buffers(packets) * testpmd::BUFFER_BYTES + flows * FLOW_BYTES;
    // A tenth more: pools do not fill pages to the last byte.
    (bytes + bytes / 10).div_ceil(PAGE_BYTES) + BESIDE
}

pub fn check(needed: usize) -> Result<()> {
    let free: usize =
        fs::read_to_string(format!("{FOLDER}/free_hugepages")).ok().and_then(|n| n.trim().parse().ok()).unwrap_or(0);
    ensure!(
        free >= needed,
        "{needed} huge pages of 2 MiB are needed and {free} are free: scripts/bench sets them, \
         or echo {needed} >{FOLDER}/nr_hugepages"
    );
    Ok(())
}
