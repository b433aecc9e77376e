//! What DPDK refuses, as values: the call, and its errno with DPDK's own words.

use std::{
    ffi::{CStr, CString, NulError},
    fmt,
};

use crate::ffi;

/// A positive errno, `rte_errno`'s own codes (from 1000) included.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// `rte_errno` of this thread.
    pub(crate) fn last() -> Self {
        // SAFETY: reads a thread-local integer.
        Errno(unsafe { ffi::td_errno() })
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: rte_strerror returns a NUL-terminated string for every number, kept per thread until the next call.
        let text = unsafe { CStr::from_ptr(ffi::rte_strerror(self.0)) };
        write!(f, "{} (errno {})", text.to_string_lossy(), self.0)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{call} failed: {errno}")]
    Call { call: &'static str, errno: Errno },
    #[error("the EAL was started before in this process; it starts once")]
    AlreadyStarted,
    #[error("`{0}` holds a NUL byte")]
    Nul(String),
    #[error("DPDK has no device named `{0}`")]
    NoDevice(String),
    #[error("device `{0}` is already in use in this process")]
    InUse(String),
    #[error("lcore {0} is not one of the EAL's workers")]
    NoLcore(u32),
    #[error("only the EAL's main thread may do this")]
    NotMain,
    #[error("{what} is {found}; allowed is {allowed}")]
    Limit { what: &'static str, found: u64, allowed: String },
    #[error("the device has {has} {what} queues and {wanted} are wanted")]
    Queues { what: &'static str, has: u16, wanted: u16 },
}

impl From<NulError> for Error {
    fn from(e: NulError) -> Self {
        Error::Nul(String::from_utf8_lossy(&e.into_vec()).replace('\0', "\\0"))
    }
}

/// For calls that return 0 or a negative errno.
pub(crate) fn check(call: &'static str, status: i32) -> Result<i32, Error> {
    if status < 0 { Err(Error::Call { call, errno: Errno(-status) }) } else { Ok(status) }
}

/// For calls that return -1 or NULL and leave the reason in `rte_errno`.
pub(crate) fn last(call: &'static str) -> Error {
    Error::Call { call, errno: Errno::last() }
}

pub(crate) fn c_string(text: &str) -> Result<CString, Error> {
    Ok(CString::new(text)?)
}
