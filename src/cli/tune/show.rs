//! The machine as it is, as people read it.

use std::fmt::Write;

use crate::{
    cli::table::{Table, or_dash, plain},
    host::picture::{Function, Picture},
};

pub(super) fn text(picture: &Picture) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(
        text,
        "{}: {}, {} online, {} to a core{}\n",
        plain(picture.product.as_deref().unwrap_or("this machine")),
        plain(picture.cpu_model.as_deref().unwrap_or("CPUs of an unknown kind")),
        picture.online().len(),
        picture.threads_per_core(),
        if picture.virtual_machine { ", a virtual machine" } else { "" }
    );
    text + &nodes(picture) + "\n" + &ports(picture) + "\n" + &kernel(picture)
}

fn nodes(picture: &Picture) -> String {
    let mut table = Table::new(&["NODE", "CPUS", "CORES", "#MEMORY MIB", "HUGEPAGES", "LAST CACHE"]);
    for node in &picture.nodes {
        let here = picture.cpus.iter().filter(|cpu| node.cpus.contains(cpu.number));
        let cores = here.clone().filter(|cpu| cpu.online && cpu.siblings.first() == Some(cpu.number)).count();
        let last = here.flat_map(|cpu| &cpu.caches).max_by_key(|cache| cache.level);
        let pages: Vec<String> = node
            .hugepages
            .iter()
            .map(|pages| format!("{} of {} KiB ({} free)", pages.total, pages.page_kib, pages.free))
            .collect();
        table.row([
            node.number.to_string(),
            node.cpus.to_string(),
            cores.to_string(),
            (node.memory_kib >> 10).to_string(),
            pages.join(", "),
            or_dash(last.map(|cache| format!("L{} {}", cache.level, cache.size))),
        ]);
    }
    table.render()
}

fn ports(picture: &Picture) -> String {
    let mut table =
        Table::new(&["PORT", "INTERFACE", "DEVICE", "DRIVER", "NODE", "#RX QUEUES", "IOMMU GROUP", "LINK", "NOTE"]);
    for function in &picture.functions {
        let interface = function.interface.as_ref();
        table.row([
            function.address.clone(),
            or_dash(interface.map(|i| i.name.clone())),
            format!("{:04x}:{:04x}", function.vendor, function.device),
            or_dash(function.driver.clone()),
            or_dash(function.node),
            or_dash(interface.map(|i| i.rx_queues)),
            or_dash(function.iommu_group.clone()),
            or_dash(interface.map(|i| i.state.clone())),
            note(picture, function).into(),
        ]);
    }
    if picture.functions.is_empty() {
        return "no PCI network functions\n".to_owned();
    }
    table.render()
}

fn note(picture: &Picture, function: &Function) -> &'static str {
    match (picture.manages(function), function.is_ena(), function.virtual_function) {
        (true, ..) => "carries the default route",
        (_, true, _) => "ENA",
        (.., true) => "virtual function",
        _ => "",
    }
}

fn kernel(picture: &Picture) -> String {
    let kernel = &picture.kernel;
    let some = |text: String| if text.is_empty() { "none".to_owned() } else { text };
    let mut governors: Vec<&str> = picture.cpus.iter().filter_map(|cpu| cpu.governor.as_deref()).collect();
    governors.sort_unstable();
    governors.dedup();
    let slow = picture.cpus.iter().flat_map(|cpu| &cpu.slow_idle).max_by_key(|state| state.wake_us);
    let mitigations: Vec<&str> = kernel.mitigations.iter().map(|(name, _)| name.as_str()).collect();
    let mounts: Vec<String> =
        picture.hugepage_mounts.iter().map(|mount| format!("{} ({} KiB)", mount.folder, mount.page_kib)).collect();
    let mut table = Table::new(&["KERNEL", ""]);
    for (what, value) in [
        ("release", kernel.release.clone()),
        ("arguments", kernel.arguments.join(" ")),
        ("offline CPUs", some(picture.offline().to_string())),
        ("isolated CPUs", some(kernel.isolated.to_string())),
        ("tickless CPUs", some(kernel.tickless.to_string())),
        ("IOMMU", if picture.iommu { "on" } else { "off" }.to_owned()),
        ("hugetlbfs", some(mounts.join(", "))),
        ("drivers for user space", some(kernel.loaded.join(", "))),
        ("that could be loaded", some(kernel.loadable.join(", "))),
        ("governor", some(governors.join(", "))),
        ("slowest idle state", slow.map_or_else(|| "none".into(), |s| format!("{}, {} µs", s.name, s.wake_us))),
        ("irqbalance", if picture.runs("irqbalance") { "runs" } else { "stopped" }.to_owned()),
        ("transparent hugepages", or_dash(kernel.transparent_hugepages.clone())),
        ("clock source", or_dash(kernel.clock_source.clone())),
        ("mitigations", some(mitigations.join(", "))),
    ] {
        table.row([what.into(), value]);
    }
    table.render()
}
