//! How the kernel is started and what is set while it runs, so that it stays off tandem's cores. Pure.

use super::{
    Argument, Choices, Settings, Troubles,
    cores::Seats,
    memory::MemoryPlan,
    ports::{Driver, PortPlan},
};
use crate::host::picture::Picture;

pub(super) fn settings(picture: &Picture, choices: &mut Choices) -> Settings {
    let settings = Settings {
        governor: picture.cpus.iter().any(|cpu| cpu.governor.is_some()),
        idle_states: picture.cpus.iter().any(|cpu| !cpu.slow_idle.is_empty()),
        irqbalance: picture.runs("irqbalance"),
        transparent_hugepages: picture.kernel.transparent_hugepages.as_deref() == Some("always"),
    };
    if settings.governor {
        choices.note(
            "governor",
            "performance",
            "A core that changes its clock stalls while it does, and a TSC cycle is no longer one of work.",
        );
    }
    if settings.idle_states {
        let slowest = picture.cpus.iter().flat_map(|cpu| &cpu.slow_idle).max_by_key(|state| state.wake_us);
        let slowest = slowest.map(|state| format!("{} takes {} µs", state.name, state.wake_us)).unwrap_or_default();
        choices.note(
            "idle states",
            "shallow ones only, on tandem's cores",
            format!("Slow path and pair thread sleep and must wake at once: {slowest} to wake from."),
        );
    }
    choices.note(
        "interrupts",
        "to the housekeeping CPUs",
        "One on a worker's CPU holds up every packet of its queue for some microseconds.",
    );
    if settings.irqbalance {
        choices.note("irqbalance", "stopped", "It would bring interrupts back to tandem's cores every 10 s.");
    }
    if settings.transparent_hugepages {
        choices.note(
            "transparent hugepages",
            "madvise",
            "Made unasked they compact memory at moments that nobody chose.",
        );
    }
    if !picture.kernel.mitigations.is_empty() {
        choices.note(
            "mitigations",
            format!("left as they are ({} active)", picture.kernel.mitigations.len()),
            "They cost where a program enters the kernel, which a worker never does; to take them off is yours to decide.",
        );
    }
    settings
}

pub(super) fn arguments(
    picture: &Picture,
    seats: &Seats,
    memory: &MemoryPlan,
    ports: &[PortPlan],
    troubles: &mut Troubles,
    choices: &mut Choices,
) -> Vec<Argument> {
    let mut arguments = Vec::new();
    let mut add = |text: String, why: &str| arguments.push(Argument { text, why: why.to_owned() });
    if memory.hugepages {
        let size = if memory.page_kib >= 1 << 20 { "1G" } else { "2M" };
        add(
            format!("hugepagesz={size} hugepages={}:{}", memory.node, memory.pages),
            "Taken before memory is in pieces, on the node that needs them.",
        );
    }
    let isolated = seats.isolated();
    if !isolated.is_empty() {
        add(
            format!("isolcpus=managed_irq,domain,{isolated}"),
            "The scheduler puts nothing on them, and devices spread their managed interrupts over the others.",
        );
        let workers = seats.worker_cpus().common(&isolated);
        if !workers.is_empty() {
            add(format!("nohz_full={workers}"), "No timer tick while a worker is the only task of its CPU.");
            add(format!("rcu_nocbs={workers}"), "The kernel's deferred work of these CPUs is done on others.");
        }
        add(format!("irqaffinity={}", seats.housekeeping), "Interrupts begin their life on the housekeeping CPUs.");
    }
    let vfio = ports.iter().any(|port| port.driver == Driver::VfioPci) && !picture.virtual_machine;
    if vfio && picture.cpu_model.as_deref().is_some_and(|model| model.contains("Intel")) {
        add("intel_iommu=on".to_owned(), "vfio-pci takes no port without an IOMMU.");
    }
    if vfio || picture.iommu {
        add(
            "iommu=pt".to_owned(),
            "The kernel's own devices, and those of igb_uio, reach memory without a translation.",
        );
    }
    if picture.cpus.iter().any(|cpu| !cpu.slow_idle.is_empty()) {
        add("processor.max_cstate=1".to_owned(), "The idle states that are slow to wake from are never entered.");
        add("intel_idle.max_cstate=1".to_owned(), "The same for Intel's own idle driver.");
    }
    for argument in &arguments {
        choices.note("kernel argument", argument.text.clone(), argument.why.clone());
    }
    if !picture.grub {
        let missing: Vec<&str> = arguments
            .iter()
            .flat_map(|argument| argument.text.split(' '))
            .filter(|text| !picture.kernel.arguments.iter().any(|there| there == text))
            .collect();
        if !missing.is_empty() {
            troubles.warn(
                "boot loader",
                format!(
                    "There is no /etc/default/grub, so `tandem tune apply` cannot write the kernel's arguments: add them yourself \
                     where this machine's boot loader takes them: {}.",
                    missing.join(" ")
                ),
            );
        }
    }
    arguments
}
