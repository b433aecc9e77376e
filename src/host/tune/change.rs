//! What has to be done to a machine so that it is as planned, each step with what undoes it. Pure: nothing is done here.

use serde::{Deserialize, Serialize};

use crate::host::{
    CpuSet,
    picture::{Function, GRUB_FILE, Interrupt, MODULE_OPTIONS_FILE, MODULES_FILE, NETWORK_FILE, Picture, UNIT_FILE},
    plan::{Plan, ports::Driver},
};

/// One step, as small as the kernel takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Write { path: String, text: String },
    Remove { path: String },
    Run { program: String, arguments: Vec<String> },
}

/// One change that is told, made, and undone as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The same change has the same key, on every run.
    pub key: String,
    /// `node 0: 512 hugepages of 2048 KiB, of which 0 are there`.
    pub what: String,
    pub does: Vec<Action>,
    pub undoes: Vec<Action>,
    /// The kernel may refuse it with reason; then it is told and no more.
    pub may_fail: bool,
    /// It is in force after the next start only.
    pub after_restart: bool,
}

impl Change {
    fn new(key: impl Into<String>, what: impl Into<String>, does: Vec<Action>, undoes: Vec<Action>) -> Change {
        Change { key: key.into(), what: what.into(), does, undoes, may_fail: false, after_restart: false }
    }
}

fn write(path: impl Into<String>, text: impl Into<String>) -> Action {
    Action::Write { path: path.into(), text: text.into() }
}

fn run(program: &str, arguments: &[&str]) -> Action {
    Action::Run { program: program.to_owned(), arguments: arguments.iter().map(|&a| a.to_owned()).collect() }
}

/// Everything that is not yet as planned, in the order in which it is to be done.
pub fn changes(picture: &Picture, plan: &Plan) -> Vec<Change> {
    let mut changes = Vec::new();
    hugepages(picture, plan, &mut changes);
    modules(picture, plan, &mut changes);
    drivers(picture, plan, &mut changes);
    settings(picture, plan, &mut changes);
    interrupts(picture, plan, &mut changes);
    files(picture, plan, &mut changes);
    changes
}

fn hugepages(picture: &Picture, plan: &Plan, changes: &mut Vec<Change>) {
    let memory = &plan.memory;
    if !memory.hugepages {
        return;
    }
    let there = picture.node(memory.node).and_then(|node| node.hugepages_of(memory.page_kib));
    let total = there.map_or(0, |pages| pages.total);
    if total < memory.pages {
        let folder = format!("/sys/devices/system/node/node{}/hugepages/hugepages-{}kB", memory.node, memory.page_kib);
        let file = format!("{folder}/nr_hugepages");
        let mut change = Change::new(
            format!("hugepages {} {}", memory.node, memory.page_kib),
            format!(
                "node {}: {} hugepages of {} KiB, of which {total} are there",
                memory.node, memory.pages, memory.page_kib
            ),
            vec![write(&file, memory.pages.to_string())],
            vec![write(&file, total.to_string())],
        );
        // Memory may be in pieces by now: the kernel's argument takes them at the next start.
        change.may_fail = true;
        changes.push(change);
    }
    if !picture.hugepage_mounts.iter().any(|mount| mount.page_kib == memory.page_kib) {
        let folder = format!("/dev/hugepages-{}kB", memory.page_kib);
        let options = format!("pagesize={}M", memory.page_kib >> 10);
        changes.push(Change::new(
            format!("mount {}", memory.page_kib),
            format!("hugetlbfs with pages of {} KiB at {folder}", memory.page_kib),
            vec![
                run("mkdir", &["-p", &folder]),
                run("mount", &["-t", "hugetlbfs", "-o", &options, "hugetlbfs", &folder]),
            ],
            vec![run("umount", &[&folder])],
        ));
    }
}

/// The names of the planned drivers' modules, each once.
fn drivers_needed(plan: &Plan) -> Vec<&'static str> {
    let mut names: Vec<&str> = plan.ports.iter().filter_map(|port| port.driver.name()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn modules(picture: &Picture, plan: &Plan, changes: &mut Vec<Change>) {
    let needed = drivers_needed(plan);
    // Options first: they count when the module is loaded.
    let options = if needed.contains(&"igb_uio") { "options igb_uio wc_activate=1\n" } else { "" };
    file(picture, MODULE_OPTIONS_FILE, options, "igb_uio maps write-combining", &[], changes);
    for name in &needed {
        if !picture.kernel.loaded.iter().any(|loaded| loaded == name) {
            changes.push(Change::new(
                format!("module {name}"),
                format!("the module {name} is loaded"),
                vec![run("modprobe", &[name])],
                Vec::new(),
            ));
        }
    }
    let lines: String = needed.iter().map(|name| format!("{name}\n")).collect();
    file(picture, MODULES_FILE, &lines, "the ports' modules are loaded at each start", &[], changes);
}

/// Functions that get another driver, and which.
fn rebound<'a>(picture: &'a Picture, plan: &'a Plan) -> impl Iterator<Item = (&'a Function, &'static str)> {
    plan.ports.iter().filter_map(|port| {
        let (function, driver) = (picture.function(&port.address)?, port.driver.name()?);
        // The plan has no port that carries the way in; it is not touched whatever the plan says.
        let left = picture.manages(function) || function.driver.as_deref() == Some(driver);
        (!left).then_some((function, driver))
    })
}

fn drivers(picture: &Picture, plan: &Plan, changes: &mut Vec<Change>) {
    for (function, driver) in rebound(picture, plan) {
        let device = format!("/sys/bus/pci/devices/{}", function.address);
        let give_up = write(format!("{device}/driver/unbind"), &function.address);
        let probe = write("/sys/bus/pci/drivers_probe", &function.address);
        let mut does = vec![write(format!("{device}/driver_override"), driver)];
        if function.driver.is_some() {
            does.push(give_up.clone());
        }
        does.push(probe.clone());
        // An empty line takes the override back; the kernel's own driver is then found as at its first start.
        let mut undoes = vec![write(format!("{device}/driver_override"), "\n"), give_up];
        if function.driver.is_some() {
            undoes.push(probe);
        }
        let from =
            function.driver.as_deref().map_or_else(|| "no driver".to_owned(), |name| format!("the driver {name}"));
        changes.push(Change::new(
            format!("driver {}", function.address),
            format!("{} goes from {from} to {driver}", function.label()),
            does,
            undoes,
        ));
    }
}

fn settings(picture: &Picture, plan: &Plan, changes: &mut Vec<Change>) {
    if plan.settings.irqbalance {
        changes.push(Change::new(
            "irqbalance",
            "irqbalance is stopped, now and at each start",
            vec![run("systemctl", &["disable", "--now", "irqbalance"])],
            vec![run("systemctl", &["enable", "--now", "irqbalance"])],
        ));
    }
    if plan.settings.transparent_hugepages
        && let Some(before) = &picture.kernel.transparent_hugepages
    {
        let path = "/sys/kernel/mm/transparent_hugepage/enabled";
        changes.push(Change::new(
            "transparent hugepages",
            format!("transparent hugepages: madvise instead of {before}"),
            vec![write(path, "madvise")],
            vec![write(path, before)],
        ));
    }
    let (mut does, mut undoes) = (Vec::new(), Vec::new());
    for cpu in &picture.cpus {
        if let Some(governor) = cpu.governor.as_ref().filter(|governor| *governor != "performance") {
            let path = format!("/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor", cpu.number);
            does.push(write(&path, "performance"));
            undoes.push(write(&path, governor));
        }
    }
    if !does.is_empty() {
        let what = format!("the governor of {} CPUs is performance", does.len());
        changes.push(Change::new("governor", what, does, undoes));
    }
    let (mut does, mut undoes) = (Vec::new(), Vec::new());
    for cpu in plan.seats.own().iter().filter_map(|number| picture.cpu(number)) {
        for state in &cpu.slow_idle {
            let path = format!("/sys/devices/system/cpu/cpu{}/cpuidle/{}/disable", cpu.number, state.folder);
            does.push(write(&path, "1"));
            undoes.push(write(&path, "0"));
        }
    }
    if !does.is_empty() {
        let what = format!("{} slow idle states of tandem's CPUs are switched off", does.len());
        changes.push(Change::new("idle states", what, does, undoes));
    }
}

fn interrupts(picture: &Picture, plan: &Plan, changes: &mut Vec<Change>) {
    let isolated = plan.seats.isolated();
    let online = picture.online();
    // Those of a port go with the driver that had asked for them.
    let given_up: Vec<&str> = rebound(picture, plan).map(|(function, _)| function.address.as_str()).collect();
    let stays = |interrupt: &&Interrupt| !interrupt.function.as_deref().is_some_and(|owner| given_up.contains(&owner));
    for interrupt in misplaced(picture, plan).into_iter().filter(stays) {
        let left = interrupt.cpus.common(&online).less(&isolated);
        let to = if left.is_empty() { &plan.seats.housekeeping } else { &left };
        let path = format!("/proc/irq/{}/smp_affinity_list", interrupt.number);
        let mut change = Change::new(
            format!("interrupt {}", interrupt.number),
            format!("interrupt {} ({}) goes to CPUs {to}", interrupt.number, interrupt.users.join(", ")),
            vec![write(&path, to.to_string())],
            vec![write(&path, interrupt.cpus.to_string())],
        );
        // Some belong to a CPU, and some are placed by the kernel alone.
        change.may_fail = true;
        changes.push(change);
    }
}

/// Interrupts that somebody uses and that may arrive on tandem's CPUs.
pub(super) fn misplaced<'a>(picture: &'a Picture, plan: &Plan) -> Vec<&'a Interrupt> {
    let isolated = plan.seats.isolated();
    let spared = picture.argument("isolcpus").is_some_and(|value| value.split(',').any(|word| word == "managed_irq"));
    let used = picture.interrupts.iter().filter(|interrupt| !interrupt.users.is_empty());
    used.filter(|interrupt| reaches(interrupt, &isolated, spared)).collect()
}

/// The interrupts of a disk's queues are the kernel's to place, and nobody may move them. Started with `isolcpus=managed_irq` it
/// sends those of a queue that isolated CPUs share with others to the others; those of a queue that only isolated CPUs have
/// come when a program there reads or writes, and none does.
fn reaches(interrupt: &Interrupt, isolated: &CpuSet, spared: bool) -> bool {
    let placed = spared && interrupt.storage && !interrupt.effective.is_empty();
    let arrives = if placed { &interrupt.effective } else { &interrupt.cpus };
    let alone = placed && interrupt.cpus.less(isolated).is_empty();
    !alone && !arrives.common(isolated).is_empty()
}

/// What is in force after the next start.
fn files(picture: &Picture, plan: &Plan, changes: &mut Vec<Change>) {
    if picture.grub {
        let arguments: Vec<&str> = plan.arguments.iter().map(|argument| argument.text.as_str()).collect();
        let text = format!(
            "# Written by `tandem tune apply`; `tandem tune undo` takes it away.\n\
             GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX {}\"\n",
            arguments.join(" ")
        );
        file(
            picture,
            GRUB_FILE,
            &text,
            "the kernel's arguments, after the next start",
            &[run("update-grub", &[])],
            changes,
        );
        if let Some(change) = changes.last_mut().filter(|change| change.key == GRUB_FILE) {
            change.after_restart = true;
        }
    }
    if picture.networkd {
        let bound = plan.ports.iter().filter(|port| port.driver.name().is_some());
        let paths: Vec<String> = bound.map(|port| format!("Path=pci-{}\n", port.address)).collect();
        let text = if paths.is_empty() {
            String::new()
        } else {
            format!(
                "# Written by `tandem tune apply`; `tandem tune undo` takes it away.\n[Match]\n{}\n[Link]\nUnmanaged=yes\n",
                paths.concat()
            )
        };
        file(
            picture,
            NETWORK_FILE,
            &text,
            "systemd-networkd leaves the ports alone, after the next start",
            &[],
            changes,
        );
    }
    let text = format!(
        "# Written by `tandem tune apply`; `tandem tune undo` takes it away.\n\
         # Threads that tandem does not pin itself stay off its own CPUs.\n\
         [Service]\nCPUAffinity={}\n",
        plan.seats.housekeeping
    );
    file(
        picture,
        UNIT_FILE,
        &text,
        "tandem's unit: threads that are not pinned stay on the housekeeping CPUs",
        &[run("systemctl", &["daemon-reload"])],
        changes,
    );
}

/// A file of ours is to hold `text`, or not be there if that is empty; `then` makes it count.
fn file(picture: &Picture, path: &str, text: &str, what: &str, then: &[Action], changes: &mut Vec<Change>) {
    let before = picture.own_files.get(path);
    let same = before.map_or(text.is_empty(), |before| before.trim_end() == text.trim_end());
    if same {
        return;
    }
    let set = |text: Option<&str>| match text {
        Some(text) => write(path, format!("{}\n", text.trim_end())),
        None => Action::Remove { path: path.to_owned() },
    };
    let with = |first: Action| std::iter::once(first).chain(then.iter().cloned()).collect::<Vec<_>>();
    let what = if text.is_empty() { format!("{path} is removed") } else { format!("{path}: {what}") };
    changes.push(Change::new(
        path,
        what,
        with(set(Some(text).filter(|text| !text.is_empty()))),
        with(set(before.map(String::as_str))),
    ));
}

/// A port whose memory has to be mapped write-combining, with the addresses that have to be.
pub(super) fn combining<'a>(picture: &'a Picture, plan: &'a Plan) -> impl Iterator<Item = (&'a str, Vec<(u64, u64)>)> {
    let ports = plan.ports.iter().filter(|port| port.write_combining && port.driver != Driver::Kernel);
    ports.filter_map(|port| {
        let function = picture.function(&port.address)?;
        let bars = function.memory.iter().filter(|(_, _, prefetchable)| *prefetchable);
        Some((port.address.as_str(), bars.map(|(first, last, _)| (*first, *last)).collect()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(list: &str) -> CpuSet {
        CpuSet::parse(list).unwrap()
    }

    // Documentation/admin-guide/kernel-parameters.txt, isolcpus, managed_irq.
    #[test]
    fn a_disks_interrupts_count_where_the_kernel_lets_them_arrive() {
        let disk = |cpus: &str, effective: &str| Interrupt {
            cpus: set(cpus),
            effective: set(effective),
            storage: true,
            ..Interrupt::default()
        };
        let reached = |interrupt: &Interrupt, spared| reaches(interrupt, &set("2-3"), spared);
        assert!(!reached(&disk("1,3", "1"), true), "the queue's other CPU gets it");
        assert!(!reached(&disk("3", "3"), true), "only what runs on CPU 3 would cause it");
        assert!(reached(&disk("1,3", "3"), true), "it arrives on an isolated CPU");
        assert!(reached(&disk("1,3", "1"), false) && reached(&disk("3", "3"), false), "the kernel was not told");
        let card = Interrupt { storage: false, ..disk("3", "3") };
        assert!(reached(&card, true), "a card's can be moved");
    }
}
