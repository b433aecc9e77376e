//! Which functions become ports, which driver takes each, on which node, and how packets spread over queues. Pure.

use serde::Serialize;

use super::{Choices, Troubles, Wish, WishedPort, cores::Seats, count, instance, named};
use crate::host::{
    capacity::instances::RSS_ENTRIES,
    picture::{Function, Picture},
};

/// One PCI function that becomes a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PortPlan {
    pub address: String,
    /// As the kernel calls it now.
    pub interface: Option<String>,
    pub driver: Driver,
    /// It is an Elastic Network Adapter, whose memory has to be mapped write-combining.
    pub write_combining: bool,
    /// As the kernel tells it.
    pub node: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    IgbUio,
    VfioPci,
    UioPciGeneric,
    /// The kernel's own stays: DPDK works beside it.
    Kernel,
}

impl Driver {
    /// As in `/sys/bus/pci/drivers`; None where nothing is bound.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Driver::IgbUio => Some("igb_uio"),
            Driver::VfioPci => Some("vfio-pci"),
            Driver::UioPciGeneric => Some("uio_pci_generic"),
            Driver::Kernel => None,
        }
    }
}

/// `0000:00:06.0` or `00:06.0`, in the kernel's spelling; None: it is no PCI address.
pub fn pci_address(text: &str) -> Option<String> {
    let hex = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_hexdigit());
    let (front, function) = text.rsplit_once('.')?;
    let parts: Vec<&str> = front.split(':').collect();
    let (domain, bus, device) = match parts[..] {
        [domain, bus, device] => (domain, bus, device),
        [bus, device] => ("0000", bus, device),
        _ => return None,
    };
    let valid = hex(domain, 4) && hex(bus, 2) && hex(device, 2) && hex(function, 1);
    valid.then(|| format!("{domain}:{bus}:{device}.{function}").to_ascii_lowercase())
}

/// The functions that were named, or all that carry no way in.
pub(super) fn choose<'a>(picture: &'a Picture, wish: &Wish, troubles: &mut Troubles) -> Vec<&'a Function> {
    if !wish.ports.is_empty() {
        return wish.ports.iter().filter_map(|port| wished(picture, port, troubles)).collect();
    }
    let free: Vec<&Function> = picture.functions.iter().filter(|function| !picture.manages(function)).collect();
    if free.is_empty() {
        troubles.grave(
            "ports",
            if picture.functions.is_empty() {
                "This machine has no PCI network function: name DPDK's virtual devices in the configuration (--config), as \
                 laboratories do, or attach an interface."
                    .to_owned()
            } else {
                format!(
                    "The only network function, {}, carries the default route, by which this machine is reached: attach a second \
                     interface for the calls.",
                    labels(&picture.functions)
                )
            },
        );
    }
    free
}

fn wished<'a>(picture: &'a Picture, port: &WishedPort, troubles: &mut Troubles) -> Option<&'a Function> {
    let WishedPort::Function(name) = port else { return None };
    let Some(function) = picture.function(name) else {
        let there = if picture.functions.is_empty() { "none".to_owned() } else { labels(&picture.functions) };
        troubles.grave(
            format!("port {name}"),
            format!(
                "There is no PCI network function of this address or name: name one of those that there are ({there})."
            ),
        );
        return None;
    };
    if picture.manages(function) {
        troubles.grave(
            format!("port {name}"),
            format!(
                "{} carries the default route: whoever manages this machine would lose it. Name another function, or lead the \
                 default route over another interface first.",
                function.label()
            ),
        );
        return None;
    }
    Some(function)
}

fn labels(functions: &[Function]) -> String {
    functions.iter().map(Function::label).collect::<Vec<_>>().join(", ")
}

/// The node where packets arrive: that of most ports, the lower of equals.
pub(super) fn node(
    picture: &Picture,
    wish: &Wish,
    functions: &[&Function],
    troubles: &mut Troubles,
    choices: &mut Choices,
) -> Option<u16> {
    let with_cpus: Vec<u16> =
        picture.nodes.iter().filter(|node| !node.cpus.is_empty()).map(|node| node.number).collect();
    let lowest = *with_cpus.first()?;
    let known = |function: &&&Function| function.node.filter(|node| with_cpus.contains(node));
    let on = |node: u16| functions.iter().filter(|function| known(function) == Some(node)).count();
    // The last of equals is the lowest: the nodes are looked at from the highest.
    let most = with_cpus.iter().copied().rev().max_by_key(|node| on(*node)).filter(|node| on(*node) > 0);
    let (node, why) = match (wish.node, most) {
        (Some(node), _) if !with_cpus.contains(&node) => {
            troubles.grave(
                format!("node {node}"),
                format!(
                    "No CPU of it is there: take one of {with_cpus:?}, or leave out --node to take that of the ports."
                ),
            );
            return None;
        }
        (Some(node), _) => (node, "It was asked for.".to_owned()),
        (None, _) if with_cpus.len() == 1 => (lowest, "It is the only one.".to_owned()),
        (None, Some(node)) => {
            let there: Vec<String> =
                functions.iter().filter(|function| function.node == Some(node)).map(|f| f.label()).collect();
            let why = "a worker elsewhere would fetch each packet over the link between the sockets";
            (node, format!("{} is there, and {why}.", there.join(", ")))
        }
        (None, None) => (lowest, "No port has a node that the kernel knows, so it is the first.".to_owned()),
    };
    choices.note("node", node.to_string(), why);
    for function in functions {
        match function.node {
            None if with_cpus.len() > 1 && wish.node.is_none() => troubles.warn(
                format!("port {}", function.label()),
                format!(
                    "The kernel does not know its node (numa_node is -1) and this machine has {}: node {node} is a guess. If it is \
                     wrong each packet crosses the link between the sockets; find out from the vendor's layout or by measuring, and \
                     name it (--node).",
                    count(with_cpus.len() as u64, "node")
                ),
            ),
            Some(other) if other != node => troubles.warn(
                format!("port {}", function.label()),
                format!(
                    "It is on node {other}, the workers are on node {node}: each of its packets crosses the link between the \
                     sockets. Use ports of one node, as a worker serves a queue of every port."
                ),
            ),
            _ => {}
        }
    }
    Some(node)
}

pub(super) fn plan(
    picture: &Picture,
    functions: &[&Function],
    node: u16,
    troubles: &mut Troubles,
    choices: &mut Choices,
) -> Vec<PortPlan> {
    let mut ports = Vec::with_capacity(functions.len());
    for function in functions {
        let Some((driver, why)) = driver(picture, function, troubles) else { continue };
        let value = match driver.name() {
            Some("igb_uio") if function.is_ena() => "igb_uio with wc_activate=1".to_owned(),
            Some(name) => name.to_owned(),
            None => format!("{}, as it is", function.driver.as_deref().unwrap_or("the kernel's")),
        };
        choices.note(format!("driver of {}", function.label()), value, why);
        ports.push(PortPlan {
            address: function.address.clone(),
            interface: function.interface.as_ref().map(|interface| interface.name.clone()),
            driver,
            write_combining: function.is_ena(),
            node: function.node,
        });
    }
    if functions.is_empty() {
        choices.note(
            "ports",
            "virtual",
            format!("They have no driver to bind and no node of their own; node {node} holds all."),
        );
    }
    ports
}

fn driver(picture: &Picture, function: &Function, troubles: &mut Troubles) -> Option<(Driver, String)> {
    let about = format!("port {}", function.label());
    if function.is_mlx5() {
        return Some((Driver::Kernel, "DPDK's mlx5 driver works beside the kernel's; nothing is bound.".to_owned()));
    }
    if function.is_ena() {
        return ena_driver(picture, about, troubles);
    }
    if picture.iommu && picture.has_module("vfio-pci") {
        let why = "Behind the IOMMU the device reaches tandem's memory and no other.";
        return Some((Driver::VfioPci, why.to_owned()));
    }
    if picture.iommu {
        troubles.grave(
            about,
            "The kernel has no vfio-pci: install a kernel with that module (Debian's linux-image-amd64).",
        );
        return None;
    }
    // Asked for, and yet not there: a guest without one, or firmware that has it off.
    let asked = picture.argument("intel_iommu").is_some_and(|value| value.starts_with("on"));
    if !asked && !picture.virtual_machine && picture.has_module("vfio-pci") {
        troubles.warn(
            about,
            "The IOMMU is off, so vfio-pci cannot take the port yet: `tandem tune apply` writes the kernel's argument, after which \
             the machine has to be started anew. If it is off then, turn on VT-d or AMD-Vi in the firmware.",
        );
        return Some((
            Driver::VfioPci,
            "With the IOMMU on, the device reaches tandem's memory and no other.".to_owned(),
        ));
    }
    let uio = [("igb_uio", Driver::IgbUio), ("uio_pci_generic", Driver::UioPciGeneric)];
    let Some((name, driver)) = uio.into_iter().find(|(name, _)| picture.has_module(name)) else {
        troubles.grave(
            about,
            "There is no IOMMU for vfio-pci and no module that does without one: turn the IOMMU on (VT-d or AMD-Vi in the \
             firmware, or the hypervisor's virtual one), or install igb_uio (dpdk-kmods).",
        );
        return None;
    };
    troubles.warn(
        about,
        format!(
            "There is no IOMMU: with {name} the device can reach all memory, so a fault of the driver is one of the whole machine. \
             Turn the IOMMU on (VT-d or AMD-Vi in the firmware, or the hypervisor's virtual one) where there is one."
        ),
    );
    Some((driver, "There is no IOMMU, which vfio-pci asks for.".to_owned()))
}

fn ena_driver(picture: &Picture, about: String, troubles: &mut Troubles) -> Option<(Driver, String)> {
    if picture.has_module("igb_uio") {
        let why = "ENA takes descriptors and headers by write-combined stores, which igb_uio maps and the kernel's own vfio-pci \
                   does not.";
        return Some((Driver::IgbUio, why.to_owned()));
    }
    if !picture.has_module("vfio-pci") {
        troubles.grave(about, "There is neither igb_uio nor vfio-pci: build igb_uio from dpdk-kmods for this kernel.");
        return None;
    }
    let iommu = if picture.iommu {
        ""
    } else {
        " There is no IOMMU either, so vfio-pci works only in its mode without one, which Debian's kernels lack."
    };
    troubles.warn(
        about,
        format!(
            "There is no igb_uio: unless this vfio-pci was patched for write-combining, ENA sends at a fraction of its rate.{iommu} \
             Build igb_uio from dpdk-kmods for this kernel; `tandem tune verify` then shows how its memory is mapped."
        ),
    );
    Some((Driver::VfioPci, "It is the only driver for user space that this kernel has.".to_owned()))
}

/// Queue pairs that every one of the functions has; None: the kernel does not tell of any.
pub(super) fn queues(picture: &Picture, functions: &[&Function]) -> Option<u64> {
    let of = |function: &&Function| match instance(picture).filter(|_| function.is_ena()) {
        Some(instance) => Some(instance.queues_per_interface),
        None => function.interface.as_ref().map(|interface| interface.rx_queues as u64).filter(|queues| *queues > 0),
    };
    functions.iter().filter_map(of).min()
}

/// Queues, hash and table: what `io::dpdk` does with a port that has them.
pub(super) fn spread(seats: &Seats, choices: &mut Choices) {
    let workers = seats.workers.len() as u64;
    choices.note(
        "queues",
        format!("{workers} on each port"),
        format!(
            "Queue w of every port is worker w's ({}), so a packet leaves from the CPU that it came to.",
            named(&seats.worker_cpus())
        ),
    );
    choices.note(
        "RSS key",
        "the driver's, drawn at each start where it can",
        "Nobody outside can choose which worker he reaches, and no symmetry is needed as each direction is a flow of its own.",
    );
    choices.note(
        "RSS table",
        format!("{RSS_ENTRIES} entries, dealt over the queues in turn"),
        format!(
            "Each worker gets {} of them, and the slow path's own transmit queue receives nothing.",
            if RSS_ENTRIES.is_multiple_of(workers.max(1)) {
                (RSS_ENTRIES / workers.max(1)).to_string()
            } else {
                format!("{} or {}", RSS_ENTRIES / workers, RSS_ENTRIES.div_ceil(workers))
            }
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_addresses_are_told_from_virtual_devices() {
        assert_eq!(pci_address("0000:00:06.0").as_deref(), Some("0000:00:06.0"));
        assert_eq!(pci_address("00:1F.7").as_deref(), Some("0000:00:1f.7"));
        assert_eq!(pci_address("net_af_packet0,iface=eth0.100"), None);
        assert_eq!(pci_address("net_pcap0,rx_pcap=a:b:c.d"), None);
    }
}
