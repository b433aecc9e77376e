//! tandem's binding to the distribution's DPDK (22.11).
//!
//! `ffi` is what bindgen reads by name; `shim.c` gives a symbol to what DPDK keeps static-inline, one call per burst.
//! Everything else here is a safe wrapper whose contract stands at its type:
//!
//! - There is one EAL per process, started by `Eal::start`; every constructor asks for the `Eal` as proof.
//! - Pools and memory zones live as long as the process, so a packet can always go back to where it came from.
//! - A packet (`Mbuf`) has one owner. A queue (`RxQueue`, `TxQueue`) has one owner. A ring end has one owner, or says so.
//! - A port stops and closes when its last queue and handle are gone, never while a queue can still be polled.
//! - Nothing panics; what DPDK refuses comes back as an `Error` that carries the call and its errno.
#![deny(clippy::undocumented_unsafe_blocks)]

mod ffi;

pub mod eal;
pub mod error;
pub mod lcore;
pub mod mbuf;
pub mod mempool;
pub mod memzone;
pub mod port;
pub mod queue;
pub mod ring;
pub mod xstats;

pub use eal::{Eal, EalArgs, LogLevel, Memory};
pub use error::{Errno, Error};
pub use mbuf::{Checksum, Mbuf, TxChecksums};
pub use mempool::{Pool, PoolArgs};
pub use port::{DeviceInfo, Port, PortArgs, Started};
pub use queue::{Refused, RxQueue, TxQueue};
pub use ring::{Consumer, Producer, RingLevel, SharedProducer};
pub use xstats::{Stats, Xstats};

/// NUMA node; `None` where the memory may lie on any.
pub type Socket = Option<u16>;

pub(crate) fn socket_id(socket: Socket) -> i32 {
    socket.map_or(ffi::TD_SOCKET_ID_ANY, i32::from)
}
