//! Worker threads of the EAL, each pinned by it to the CPU that `EalArgs::lcores` names.

use std::{marker::PhantomData, os::raw::c_void};

use crate::{
    eal::Eal,
    error::{Error, check, last},
    ffi,
};

type Job = Box<dyn FnOnce() + Send>;

/// A job that was launched. Dropping it leaves the job running.
#[derive(Debug)]
pub struct Running {
    lcore: u32,
}

impl Running {
    /// Blocks until the job has returned. Only on the main lcore.
    pub fn wait(self, eal: &Eal) -> Result<(), Error> {
        if !eal.on_main() {
            return Err(Error::NotMain);
        }
        // SAFETY: the EAL runs and `lcore` is one of its workers (checked by `launch`).
        check("rte_eal_wait_lcore", unsafe { ffi::rte_eal_wait_lcore(self.lcore) })?;
        Ok(())
    }
}

/// Runs `job` on a worker lcore. Only on the main lcore; fails while that worker has a job.
///
/// A job that panics aborts the process: a worker that is gone cannot be told from one that stands still.
pub fn launch(eal: &Eal, lcore: u16, job: Job) -> Result<Running, Error> {
    let lcore = u32::from(lcore);
    if !eal.on_main() {
        return Err(Error::NotMain);
    }
    // SAFETY: reads the running EAL's configuration; any number is allowed for the first, and the second takes none.
    if unsafe { ffi::rte_lcore_is_enabled(lcore) == 0 || ffi::rte_get_main_lcore() == lcore } {
        return Err(Error::NoLcore(lcore));
    }
    let raw = Box::into_raw(Box::new(job));
    // SAFETY: `raw` is a Box<Job> given away; `run` takes it back exactly once. Job is Send.
    let status = unsafe { ffi::rte_eal_remote_launch(Some(run), raw.cast(), lcore) };
    if status < 0 {
        // SAFETY: the worker did not accept it, so `run` will not be called and the Box is still ours.
        drop(unsafe { Box::from_raw(raw) });
    }
    check("rte_eal_remote_launch", status)?;
    Ok(Running { lcore })
}

unsafe extern "C" fn run(raw: *mut c_void) -> i32 {
    // SAFETY: `launch` passes a Box<Job> given away, and the EAL calls this once for it.
    let job = unsafe { Box::from_raw(raw.cast::<Job>()) };
    job();
    0
}

/// The EAL's number of this thread; `None` on a thread that the EAL does not know.
pub fn current() -> Option<u32> {
    // SAFETY: reads a thread-local integer.
    let id = unsafe { ffi::td_lcore_id() };
    (id != ffi::TD_LCORE_ID_ANY).then_some(id)
}

/// Makes this thread known to the EAL, with a number and so a pool cache of its own, until the guard is dropped.
pub fn register(_eal: &Eal) -> Result<Registered, Error> {
    // SAFETY: the EAL runs. A thread that is registered already is refused by DPDK.
    if unsafe { ffi::rte_thread_register() } < 0 {
        return Err(last("rte_thread_register"));
    }
    Ok(Registered { _thread_bound: PhantomData })
}

/// Not Send: the thread that registered is the one that takes its leave.
#[derive(Debug)]
pub struct Registered {
    _thread_bound: PhantomData<*const ()>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        // SAFETY: this thread registered (Registered does not leave it).
        unsafe { ffi::rte_thread_unregister() }
    }
}

/// NUMA node of an lcore's CPU, as the EAL found it.
pub fn socket(_eal: &Eal, lcore: u16) -> u16 {
    let lcore = u32::from(lcore);
    if lcore >= ffi::TD_MAX_LCORE {
        return 0;
    }
    // SAFETY: reads the running EAL's configuration of a number in range.
    u16::try_from(unsafe { ffi::rte_lcore_to_socket_id(lcore) }).unwrap_or(0)
}
