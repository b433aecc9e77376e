//! PCI network functions, whose interrupts are whose, and which interfaces carry the way in. Reads, never writes.

use std::collections::BTreeMap;

use super::{Function, Interface, read::Tree};

/// PCI base classes: of mass storage, and of network controllers.
const STORAGE_CLASS: u32 = 0x01;
const NETWORK_CLASS: u32 = 0x02;
/// A default route in `/proc/net/route` and `/proc/net/ipv6_route`.
const ANYWHERE_V4: &str = "00000000";
const ANYWHERE_V6: &str = "00000000000000000000000000000000";
/// ip6_route(7) has no name for it: RTF_REJECT, a route that leads nowhere.
const REJECT: u32 = 0x0200;
/// Bridges on bonds on VLANs: no deeper.
const LAYERS: usize = 8;

pub(super) fn functions(tree: &Tree<'_>) -> Vec<Function> {
    tree.list("sys/bus/pci/devices").into_iter().filter_map(|address| function(tree, address)).collect()
}

/// By the number of an interrupt that is a message: the function that sends it, and whether that is a disk's.
pub(super) fn senders(tree: &Tree<'_>) -> BTreeMap<u32, (String, bool)> {
    let mut senders = BTreeMap::new();
    for address in tree.list("sys/bus/pci/devices") {
        let folder = format!("sys/bus/pci/devices/{address}");
        let storage = hex(tree, &format!("{folder}/class")).is_some_and(|class| class >> 16 == STORAGE_CLASS);
        for number in tree.list(&format!("{folder}/msi_irqs")).iter().filter_map(|name| name.parse().ok()) {
            senders.insert(number, (address.clone(), storage));
        }
    }
    senders
}

fn hex(tree: &Tree<'_>, path: &str) -> Option<u32> {
    u32::from_str_radix(tree.text(path)?.trim_start_matches("0x"), 16).ok()
}

fn function(tree: &Tree<'_>, address: String) -> Option<Function> {
    let folder = format!("sys/bus/pci/devices/{address}");
    let hex = |file: &str| hex(tree, &format!("{folder}/{file}"));
    if hex("class")? >> 16 != NETWORK_CLASS {
        return None;
    }
    // Of a virtio function the interface stands one level deeper.
    let virtio = tree.list(&folder).into_iter().find(|name| name.starts_with("virtio"));
    let holders = std::iter::once(folder.clone()).chain(virtio.map(|name| format!("{folder}/{name}")));
    Some(Function {
        vendor: hex("vendor")? as u16,
        device: hex("device")? as u16,
        driver: tree.link(&format!("{folder}/driver")),
        node: tree.number::<i32>(&format!("{folder}/numa_node")).and_then(|node| u16::try_from(node).ok()),
        iommu_group: tree.link(&format!("{folder}/iommu_group")),
        virtual_function: tree.exists(&format!("{folder}/physfn")),
        interface: holders.into_iter().find_map(|holder| interface(tree, &format!("{holder}/net"))),
        memory: memory(&tree.text(&format!("{folder}/resource")).unwrap_or_default()),
        address,
    })
}

fn interface(tree: &Tree<'_>, folder: &str) -> Option<Interface> {
    let name = tree.list(folder).into_iter().next()?;
    let folder = format!("{folder}/{name}");
    let queues = tree.list(&format!("{folder}/queues"));
    Some(Interface {
        mac: tree.text(&format!("{folder}/address")).unwrap_or_default(),
        mtu: tree.number(&format!("{folder}/mtu")),
        state: tree.text(&format!("{folder}/operstate")).unwrap_or_else(|| "unknown".into()),
        // -1 where it is unknown, and no answer at all while the link is down.
        speed_mbps: tree.number(&format!("{folder}/speed")),
        rx_queues: queues.iter().filter(|queue| queue.starts_with("rx-")).count(),
        name,
    })
}

/// `0x00000000fe800000 0x00000000fe8fffff 0x0000000000042208`: first, last, flags. IORESOURCE_MEM is 0x200,
/// IORESOURCE_PREFETCH 0x2000.
fn memory(resource: &str) -> Vec<(u64, u64, bool)> {
    let one = |line: &str| {
        let mut numbers =
            line.split_whitespace().map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok());
        let (first, last, flags) = (numbers.next()??, numbers.next()??, numbers.next()??);
        (last > first && flags & 0x200 != 0).then_some((first, last, flags & 0x2000 != 0))
    };
    resource.lines().take(6).filter_map(one).collect()
}

/// The interfaces of all default routes, and all that those are built on. Not of the best one alone: where tandem's own
/// exception device has that, the way in is among the others.
pub(super) fn management(tree: &Tree<'_>) -> Vec<String> {
    let v4 = tree.text("proc/net/route").unwrap_or_default();
    let v6 = tree.text("proc/net/ipv6_route").unwrap_or_default();
    let mut names: Vec<String> = v4.lines().skip(1).filter_map(default_v4).collect();
    names.extend(v6.lines().filter_map(default_v6));
    for _ in 0..LAYERS {
        let below: Vec<String> = names.iter().flat_map(|name| lower(tree, name)).collect();
        names.extend(below);
        names.sort();
        names.dedup();
    }
    names
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT`.
fn default_v4(line: &str) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let anywhere = *fields.get(1)? == ANYWHERE_V4 && *fields.get(7)? == ANYWHERE_V4;
    let flags = u32::from_str_radix(fields.get(3)?, 16).ok()?;
    (anywhere && flags & REJECT == 0).then_some((*fields.first()?).to_owned())
}

/// `destination length source length next-hop metric references uses flags interface`.
fn default_v6(line: &str) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let flags = u32::from_str_radix(fields.get(8)?, 16).ok()?;
    let name = *fields.get(9)?;
    let anywhere = *fields.first()? == ANYWHERE_V6 && *fields.get(1)? == "00";
    (anywhere && flags & REJECT == 0 && name != "lo").then_some(name.to_owned())
}

fn lower(tree: &Tree<'_>, name: &str) -> Vec<String> {
    let entries = tree.list(&format!("sys/class/net/{name}"));
    entries.iter().filter_map(|entry| entry.strip_prefix("lower_")).map(str::to_owned).collect()
}
