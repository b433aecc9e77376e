//! Counters of a port: the common ones and the driver's own, by name. For the thread that serves metrics.

use std::{ffi::CStr, mem::MaybeUninit, sync::Arc};

use crate::{
    error::{Error, check},
    ffi,
    port::Port,
};

/// What every driver counts since the port was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub rx_packets: u64,
    pub tx_packets: u64,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    /// Dropped by the device because a queue was full.
    pub rx_missed: u64,
    pub rx_errors: u64,
    pub tx_errors: u64,
    /// No buffer in the pool.
    pub rx_no_mbuf: u64,
}

impl Port {
    pub fn stats(&self) -> Result<Stats, Error> {
        let mut raw = MaybeUninit::<ffi::rte_eth_stats>::zeroed();
        let _control = self.control();
        // SAFETY: the port exists while `self` lives; `raw` is room for the answer, zeroed, which is a valid value.
        let raw = unsafe {
            check("rte_eth_stats_get", ffi::rte_eth_stats_get(self.id(), raw.as_mut_ptr()))?;
            raw.assume_init()
        };
        Ok(Stats {
            rx_packets: raw.ipackets,
            tx_packets: raw.opackets,
            rx_bytes: raw.ibytes,
            tx_bytes: raw.obytes,
            rx_missed: raw.imissed,
            rx_errors: raw.ierrors,
            tx_errors: raw.oerrors,
            rx_no_mbuf: raw.rx_nombuf,
        })
    }
}

/// The driver's counters. Names are read once; a reading allocates nothing.
pub struct Xstats {
    port: Arc<Port>,
    names: Vec<String>,
    values: Vec<ffi::rte_eth_xstat>,
}

// SAFETY: a reader owns its buffers; the port's handle may cross threads.
unsafe impl Send for Xstats {}

impl Xstats {
    pub fn new(port: &Arc<Port>) -> Result<Self, Error> {
        let control = port.control();
        // SAFETY: with NULL and 0 the call only tells how many there are.
        let count = unsafe { ffi::rte_eth_xstats_get_names(port.id(), std::ptr::null_mut(), 0) };
        let count = check("rte_eth_xstats_get_names", count)? as u32;
        let mut raw: Vec<ffi::rte_eth_xstat_name> = Vec::with_capacity(count as usize);
        // SAFETY: `raw` has room for `count` names; the call fills the first `got` of them, or none where it would need
        // more room than that.
        let names = unsafe {
            let got = ffi::rte_eth_xstats_get_names(port.id(), raw.as_mut_ptr(), count);
            let got = check("rte_eth_xstats_get_names", got)? as usize;
            raw.set_len(if got <= count as usize { got } else { 0 });
            raw.iter().map(|n| CStr::from_ptr(n.name.as_ptr()).to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        drop(control);
        let values = Vec::with_capacity(names.len());
        Ok(Xstats { port: port.clone(), names, values })
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Reads all counters: (name, value).
    pub fn read(&mut self) -> Result<impl Iterator<Item = (&str, u64)>, Error> {
        let capacity = self.values.capacity().min(self.names.len());
        self.values.clear();
        let control = self.port.control();
        // SAFETY: `values` has room for `capacity` entries; the call fills the first `got`, or none where it would need
        // more room than that.
        unsafe {
            let got = ffi::rte_eth_xstats_get(self.port.id(), self.values.as_mut_ptr(), capacity as u32);
            let got = check("rte_eth_xstats_get", got)? as usize;
            self.values.set_len(if got <= capacity { got } else { 0 });
        }
        drop(control);
        Ok(self.values.iter().filter_map(|v| Some((self.names.get(v.id as usize)?.as_str(), v.value))))
    }
}
