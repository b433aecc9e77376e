//! Ports: found by name, configured and started once, closed when the last handle and queue are gone.
//!
//! Control calls on one port are serialised here, because DPDK leaves that to the application. The data path is not:
//! it belongs to the owners of the queues.

use std::{
    collections::BTreeSet,
    ffi::{CStr, c_void},
    mem::MaybeUninit,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    Socket,
    eal::Eal,
    error::{Error, c_string, check},
    ffi,
    mempool::Pool,
    queue::{RxQueue, TxQueue},
};

/// What the driver says of a device.
#[derive(Clone, Debug)]
pub struct DeviceInfo {
    pub driver: String,
    pub max_rx_queues: u16,
    pub max_tx_queues: u16,
    pub min_mtu: u16,
    pub max_mtu: u16,
    /// Entries of the RSS redirection table; 0: none that can be written.
    pub reta_size: u16,
    /// The device spreads UDP flows over its receive queues by a hash.
    pub rss_udp: bool,
    /// Sends packets of several segments.
    pub tx_multi_segment: bool,
}

#[derive(Clone, Debug)]
pub struct PortArgs<'a> {
    /// One pool per receive queue.
    pub rx_pools: &'a [Pool],
    pub tx_queues: u16,
    pub rx_descriptors: u16,
    pub tx_descriptors: u16,
    pub mtu: u16,
    /// Write the redirection table, so that only the first `rx_pools.len()` queues receive. Fails where that fails.
    pub program_reta: bool,
}

/// A started port: its queues, and what it agreed to.
pub struct Started {
    pub port: Arc<Port>,
    pub rx: Vec<RxQueue>,
    pub tx: Vec<TxQueue>,
    pub facts: StartFacts,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartFacts {
    pub rx_descriptors: u16,
    pub tx_descriptors: u16,
    pub mtu: u16,
    pub rx_ipv4_checksum: bool,
    pub rx_udp_checksum: bool,
    pub rx_scatter: bool,
    pub tx_ipv4_checksum: bool,
    pub tx_udp_checksum: bool,
    pub tx_multi_segment: bool,
    pub rss_udp: bool,
    pub allmulticast: bool,
    pub promiscuous: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub up: bool,
    /// 0 where the driver does not know (ENA).
    pub speed_mbps: u32,
}

/// A port of this process. There is one `Port` per device.
pub struct Port {
    id: u16,
    name: String,
    control: Mutex<()>,
    reset_wanted: Arc<AtomicBool>,
    watching: bool,
    started: bool,
}

/// Ports that have a `Port` now.
static CLAIMED: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

impl Port {
    /// The port of a device that was probed at start: a PCI address or a virtual device's name.
    pub fn find(_eal: &Eal, name: &str) -> Result<Port, Error> {
        let text = c_string(name)?;
        let mut id = 0;
        // SAFETY: the EAL runs; the string lives through the call; `id` is room for the answer.
        if unsafe { ffi::rte_eth_dev_get_port_by_name(text.as_ptr(), &mut id) } < 0 {
            return Err(Error::NoDevice(name.to_owned()));
        }
        if !CLAIMED.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
            return Err(Error::InUse(name.to_owned()));
        }
        let mut port = Port {
            id,
            name: name.to_owned(),
            control: Mutex::new(()),
            reset_wanted: Arc::default(),
            watching: false,
            started: false,
        };
        port.watch_reset();
        Ok(port)
    }

    /// Makes a virtual device (`net_null0,size=172`: name, then arguments) and takes its port.
    pub fn attach(eal: &Eal, device: &str) -> Result<Port, Error> {
        let (name, arguments) = device.split_once(',').unwrap_or((device, ""));
        let (c_name, c_arguments) = (c_string(name)?, c_string(arguments)?);
        // SAFETY: the EAL runs; the strings live through the call, which copies them.
        let status = unsafe { ffi::rte_eal_hotplug_add(c"vdev".as_ptr(), c_name.as_ptr(), c_arguments.as_ptr()) };
        check("rte_eal_hotplug_add", status)?;
        Port::find(eal, name)
    }

    /// DPDK's number.
    pub fn id(&self) -> u16 {
        self.id
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn control(&self) -> MutexGuard<'_, ()> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn raw_info(&self) -> Result<ffi::rte_eth_dev_info, Error> {
        let mut raw = MaybeUninit::<ffi::rte_eth_dev_info>::zeroed();
        let _control = self.control();
        // SAFETY: the port exists while `self` lives; the call clears and fills the structure.
        unsafe {
            check("rte_eth_dev_info_get", ffi::rte_eth_dev_info_get(self.id, raw.as_mut_ptr()))?;
            Ok(raw.assume_init())
        }
    }

    pub fn info(&self) -> Result<DeviceInfo, Error> {
        let raw = self.raw_info()?;
        let driver = if raw.driver_name.is_null() {
            String::new()
        } else {
            // SAFETY: a driver's name is a static NUL-terminated string.
            unsafe { CStr::from_ptr(raw.driver_name) }.to_string_lossy().into_owned()
        };
        Ok(DeviceInfo {
            driver,
            max_rx_queues: raw.max_rx_queues,
            max_tx_queues: raw.max_tx_queues,
            min_mtu: raw.min_mtu,
            max_mtu: raw.max_mtu,
            reta_size: raw.reta_size,
            rss_udp: raw.flow_type_rss_offloads & ffi::TD_RSS_UDP != 0,
            tx_multi_segment: raw.tx_offload_capa & ffi::TD_TX_OFFLOAD_MULTI_SEGS != 0,
        })
    }

    /// NUMA node of the device; `None` where it has none.
    pub fn socket(&self) -> Socket {
        // SAFETY: the port exists while `self` lives.
        u16::try_from(unsafe { ffi::rte_eth_dev_socket_id(self.id) }).ok()
    }

    pub fn mac(&self) -> Result<[u8; 6], Error> {
        let mut raw = ffi::rte_ether_addr { addr_bytes: [0; 6] };
        // SAFETY: the port exists while `self` lives; `raw` is room for the answer.
        check("rte_eth_macaddr_get", unsafe { ffi::rte_eth_macaddr_get(self.id, &mut raw) })?;
        Ok(raw.addr_bytes)
    }

    pub fn link(&self) -> Result<Link, Error> {
        let (mut speed_mbps, mut up) = (0, 0);
        let _control = self.control();
        // SAFETY: the port exists while `self` lives; both are room for the answer.
        check("rte_eth_link_get_nowait", unsafe { ffi::td_link(self.id, &mut speed_mbps, &mut up) })?;
        Ok(Link { up: up != 0, speed_mbps })
    }

    /// True from the moment the device asked to be reset (`RTE_ETH_EVENT_INTR_RESET`): it carries nothing until then.
    pub fn reset_wanted(&self) -> bool {
        self.reset_wanted.load(Ordering::Relaxed)
    }

    /// The same, to be read without the port at hand.
    pub fn reset_flag(&self) -> Arc<AtomicBool> {
        self.reset_wanted.clone()
    }

    /// Configures and starts the port. After an error the port is stopped and may be started with other arguments.
    pub fn start(mut self, arguments: &PortArgs<'_>) -> Result<Started, (Port, Error)> {
        match self.bring_up(arguments) {
            Ok(facts) => {
                self.started = true;
                Ok(self.into_started(arguments, facts))
            }
            Err(e) => {
                // SAFETY: the port exists; stopping one that is not started does nothing.
                unsafe { ffi::rte_eth_dev_stop(self.id) };
                Err((self, e))
            }
        }
    }

    fn into_started(self, arguments: &PortArgs<'_>, facts: StartFacts) -> Started {
        let (id, prepare) = (self.id, facts.tx_ipv4_checksum || facts.tx_udp_checksum);
        let port = Arc::new(self);
        let rx = (0..arguments.rx_pools.len() as u16).map(|queue| RxQueue { port: port.clone(), id, queue }).collect();
        let tx = (0..arguments.tx_queues).map(|queue| TxQueue { port: port.clone(), id, queue, prepare }).collect();
        Started { port, rx, tx, facts }
    }

    fn bring_up(&mut self, arguments: &PortArgs<'_>) -> Result<StartFacts, Error> {
        let info = self.raw_info()?;
        let rx_queues = check_limits(&info, arguments)?;
        let mut facts = self.configure(&info, arguments, rx_queues)?;
        self.set_up_queues(&info, arguments, &mut facts)?;
        // SAFETY: the port is configured and all its queues are set up.
        check("rte_eth_dev_start", unsafe { ffi::rte_eth_dev_start(self.id) })?;
        if arguments.program_reta {
            self.program_reta(info.reta_size, rx_queues)?;
        }
        facts.mtu = self.settle_mtu(arguments.mtu)?;
        // Neighbour discovery and MLD arrive as multicast. A device that cannot be told takes all, or filters nothing.
        // SAFETY: the port exists and is started.
        unsafe {
            facts.allmulticast = ffi::rte_eth_allmulticast_enable(self.id) == 0;
            facts.promiscuous = !facts.allmulticast && ffi::rte_eth_promiscuous_enable(self.id) == 0;
        }
        Ok(facts)
    }

    fn configure(
        &self,
        info: &ffi::rte_eth_dev_info,
        arguments: &PortArgs<'_>,
        rx_queues: u16,
    ) -> Result<StartFacts, Error> {
        let longest = u32::from(arguments.mtu) + overhead_bytes(info);
        let scatter = arguments.rx_pools.iter().any(|pool| u32::from(pool.data_bytes()) < longest);
        let rx_wanted = ffi::TD_RX_OFFLOAD_IPV4_CKSUM
            | ffi::TD_RX_OFFLOAD_UDP_CKSUM
            | if scatter { ffi::TD_RX_OFFLOAD_SCATTER } else { 0 };
        let tx_wanted = ffi::TD_TX_OFFLOAD_IPV4_CKSUM | ffi::TD_TX_OFFLOAD_UDP_CKSUM | ffi::TD_TX_OFFLOAD_MULTI_SEGS;
        let (rx, tx) = (rx_wanted & info.rx_offload_capa, tx_wanted & info.tx_offload_capa);
        let hash = ffi::TD_RSS_UDP & info.flow_type_rss_offloads;
        // A table that is to be written needs the mode even with one queue.
        let rss = hash != 0 && (rx_queues > 1 || arguments.program_reta);

        // SAFETY: rte_eth_conf is integers, nullable pointers and arrays of them: all-zero is valid and DPDK's default.
        let mut conf: ffi::rte_eth_conf = unsafe { MaybeUninit::zeroed().assume_init() };
        conf.rxmode.mtu = arguments.mtu.into();
        conf.rxmode.offloads = rx;
        conf.txmode.offloads = tx;
        conf.rxmode.mq_mode = if rss { ffi::TD_MQ_RX_RSS } else { ffi::TD_MQ_RX_NONE };
        if rss {
            conf.rx_adv_conf.rss_conf.rss_hf = hash;
        }
        // SAFETY: the port exists and is stopped; `conf` lives through the call, which copies it.
        let status = unsafe { ffi::rte_eth_dev_configure(self.id, rx_queues, arguments.tx_queues, &conf) };
        check("rte_eth_dev_configure", status)?;
        Ok(StartFacts {
            rx_ipv4_checksum: rx & ffi::TD_RX_OFFLOAD_IPV4_CKSUM != 0,
            rx_udp_checksum: rx & ffi::TD_RX_OFFLOAD_UDP_CKSUM != 0,
            rx_scatter: rx & ffi::TD_RX_OFFLOAD_SCATTER != 0,
            tx_ipv4_checksum: tx & ffi::TD_TX_OFFLOAD_IPV4_CKSUM != 0,
            tx_udp_checksum: tx & ffi::TD_TX_OFFLOAD_UDP_CKSUM != 0,
            tx_multi_segment: tx & ffi::TD_TX_OFFLOAD_MULTI_SEGS != 0,
            rss_udp: rss,
            ..StartFacts::default()
        })
    }

    fn set_up_queues(
        &self,
        info: &ffi::rte_eth_dev_info,
        arguments: &PortArgs<'_>,
        facts: &mut StartFacts,
    ) -> Result<(), Error> {
        let (mut rx_count, mut tx_count) = (arguments.rx_descriptors, arguments.tx_descriptors);
        // SAFETY: the port is configured; both are room for the adjusted answer.
        let status = unsafe { ffi::rte_eth_dev_adjust_nb_rx_tx_desc(self.id, &mut rx_count, &mut tx_count) };
        check("rte_eth_dev_adjust_nb_rx_tx_desc", status)?;
        (facts.rx_descriptors, facts.tx_descriptors) = (rx_count, tx_count);
        // SAFETY: reads an integer of an existing port; -1 (any node) is passed on as unsigned, as DPDK's callers do.
        let socket = unsafe { ffi::rte_eth_dev_socket_id(self.id) } as u32;
        for (queue, pool) in (0..).zip(arguments.rx_pools) {
            let conf = &info.default_rxconf;
            // SAFETY: the queue is below the configured number; `conf` is the driver's own default; the pool is never
            // freed.
            let status = unsafe { ffi::rte_eth_rx_queue_setup(self.id, queue, rx_count, socket, conf, pool.as_ptr()) };
            check("rte_eth_rx_queue_setup", status)?;
        }
        for queue in 0..arguments.tx_queues {
            let conf = &info.default_txconf;
            // SAFETY: the queue is below the configured number; `conf` is the driver's own default.
            let status = unsafe { ffi::rte_eth_tx_queue_setup(self.id, queue, tx_count, socket, conf) };
            check("rte_eth_tx_queue_setup", status)?;
        }
        Ok(())
    }

    /// Points every entry of the redirection table at one of the first `rx_queues` queues, in turn.
    fn program_reta(&self, size: u16, rx_queues: u16) -> Result<(), Error> {
        let group = ffi::TD_RETA_GROUP as u16;
        let mut table: Vec<ffi::rte_eth_rss_reta_entry64> = (0..size.div_ceil(group))
            .map(|g| {
                let mut entry = ffi::rte_eth_rss_reta_entry64 { mask: 0, reta: [0; ffi::TD_RETA_GROUP as usize] };
                for (i, to) in (0..group).zip(&mut entry.reta) {
                    let at = g * group + i;
                    if at < size {
                        entry.mask |= 1 << i;
                        *to = at % rx_queues;
                    }
                }
                entry
            })
            .collect();
        // SAFETY: the port is started; `table` holds ⌈size / 64⌉ groups, as the call reads for `size` entries.
        let status = unsafe { ffi::rte_eth_dev_rss_reta_update(self.id, table.as_mut_ptr(), size) };
        check("rte_eth_dev_rss_reta_update", status)?;
        Ok(())
    }

    /// Drivers that ignore the MTU in the configuration are told once more; those that cannot be told keep theirs.
    fn settle_mtu(&self, wanted: u16) -> Result<u16, Error> {
        let mut mtu = 0;
        // SAFETY: the port exists; `mtu` is room for the answer.
        check("rte_eth_dev_get_mtu", unsafe { ffi::rte_eth_dev_get_mtu(self.id, &mut mtu) })?;
        if mtu != wanted {
            // SAFETY: the port exists.
            match unsafe { ffi::rte_eth_dev_set_mtu(self.id, wanted) } {
                0 => mtu = wanted,
                status if status == -libc::ENOTSUP => {}
                status => {
                    check("rte_eth_dev_set_mtu", status)?;
                }
            }
        }
        Ok(mtu)
    }

    /// Asks for the device's cry for a reset. A driver without that event is no error.
    fn watch_reset(&mut self) {
        let flag = Arc::into_raw(self.reset_wanted.clone());
        // SAFETY: the port exists; the argument is a counted reference that `Drop` takes back after it unregistered.
        let status = unsafe {
            ffi::rte_eth_dev_callback_register(
                self.id,
                ffi::RTE_ETH_EVENT_INTR_RESET,
                Some(note_reset),
                flag.cast_mut().cast(),
            )
        };
        self.watching = status == 0;
        if !self.watching {
            // SAFETY: the registration failed, so the reference given away above is still ours.
            drop(unsafe { Arc::from_raw(flag) });
        }
    }

    fn unwatch_reset(&mut self) {
        let flag = Arc::as_ptr(&self.reset_wanted);
        // SAFETY: these are the arguments of the registration.
        let status = unsafe {
            ffi::rte_eth_dev_callback_unregister(
                self.id,
                ffi::RTE_ETH_EVENT_INTR_RESET,
                Some(note_reset),
                flag.cast_mut().cast(),
            )
        };
        // While the callback runs (-EAGAIN) it keeps the reference, which is then never freed.
        if status == 0 {
            // SAFETY: unregistered, so nobody else holds the reference that `watch_reset` gave away.
            drop(unsafe { Arc::from_raw(flag) });
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if self.watching {
            self.unwatch_reset();
        }
        // SAFETY: this is the last handle: queues hold the port in an Arc, so nobody polls any more.
        unsafe {
            if self.started {
                ffi::rte_eth_dev_stop(self.id);
            }
            ffi::rte_eth_dev_close(self.id);
        }
        CLAIMED.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// Runs on the EAL's interrupt thread.
unsafe extern "C" fn note_reset(
    _port: u16,
    _event: ffi::rte_eth_event_type,
    flag: *mut c_void,
    _detail: *mut c_void,
) -> i32 {
    // SAFETY: the argument is the counted AtomicBool that `watch_reset` gave away; it lives until unregistered.
    unsafe { (*flag.cast::<AtomicBool>()).store(true, Ordering::Relaxed) };
    0
}

/// What a frame is longer than the MTU: Ethernet header, checksum, and what the driver adds.
fn overhead_bytes(info: &ffi::rte_eth_dev_info) -> u32 {
    let longest = if info.max_mtu == u16::MAX { 0 } else { info.max_rx_pktlen };
    longest.checked_sub(info.max_mtu.into()).filter(|n| *n < 64).unwrap_or(18)
}

/// Queues and MTU against what the device can do; the number of receive queues.
fn check_limits(info: &ffi::rte_eth_dev_info, arguments: &PortArgs<'_>) -> Result<u16, Error> {
    let rx_queues = u16::try_from(arguments.rx_pools.len()).unwrap_or(u16::MAX);
    if rx_queues == 0 || rx_queues > info.max_rx_queues {
        return Err(Error::Queues { what: "receive", has: info.max_rx_queues, wanted: rx_queues });
    }
    if arguments.tx_queues == 0 || arguments.tx_queues > info.max_tx_queues {
        return Err(Error::Queues { what: "transmit", has: info.max_tx_queues, wanted: arguments.tx_queues });
    }
    if arguments.mtu < info.min_mtu || arguments.mtu > info.max_mtu {
        return Err(Error::Limit {
            what: "the MTU",
            found: arguments.mtu.into(),
            allowed: format!("{} to {} bytes on this device", info.min_mtu, info.max_mtu),
        });
    }
    Ok(rx_queues)
}
