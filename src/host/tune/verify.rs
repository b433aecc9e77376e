//! Whether a machine is as planned, item by item; where it is not, what that costs. Pure: what it looks at was read before.

use serde::Serialize;

use super::{change, stalls::Stalls};
use crate::host::{picture::Picture, plan::Plan};

/// A core on which a poller was held up for less than this in all is alone, but for the machine's own firmware.
const STALLS_PER_S: u64 = 2;

/// One item of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub item: String,
    pub planned: String,
    pub found: String,
    pub state: State,
    /// A sentence where it is not as planned: what that costs, or what to do.
    pub costs: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    AsPlanned,
    /// It costs something.
    Differs,
    /// tandem does not start like this.
    Stops,
    /// The kernel does not say.
    Unknown,
}

struct Findings(Vec<Finding>);

impl Findings {
    fn judge(
        &mut self,
        item: impl Into<String>,
        planned: impl Into<String>,
        found: impl Into<String>,
        bad: Option<(State, &str)>,
    ) {
        let (state, costs) = bad.map_or((State::AsPlanned, None), |(state, costs)| (state, Some(costs.to_owned())));
        self.0.push(Finding { item: item.into(), planned: planned.into(), found: found.into(), state, costs });
    }
}

/// Every item that can be seen from the picture.
pub fn verify(picture: &Picture, plan: &Plan) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    ports(picture, plan, &mut findings);
    write_combining(picture, plan, &mut findings);
    hugepages(picture, plan, &mut findings);
    cores(picture, plan, &mut findings);
    arguments(picture, plan, &mut findings);
    settings(picture, plan, &mut findings);
    findings.0
}

/// What keeps tandem from starting, a sentence each.
pub fn obstacles(picture: &Picture, plan: &Plan) -> Vec<String> {
    let stops = verify(picture, plan).into_iter().filter(|finding| finding.state == State::Stops);
    stops
        .map(|f| format!("{}: planned {}, found {}. {}", f.item, f.planned, f.found, f.costs.unwrap_or_default()))
        .collect()
}

fn ports(picture: &Picture, plan: &Plan, findings: &mut Findings) {
    for port in &plan.ports {
        let item = format!("driver of {}", port.address);
        let found = picture.function(&port.address).and_then(|function| function.driver.clone());
        let shown = found.clone().unwrap_or_else(|| "none".into());
        match port.driver.name() {
            Some(driver) => {
                let bad = (found.as_deref() != Some(driver)).then_some((
                    State::Stops,
                    "DPDK cannot take the port: `tandem tune apply` gives it to this driver.",
                ));
                findings.judge(item, driver, shown, bad);
            }
            None => findings.judge(item, "the kernel's", shown, None),
        }
        if let Some(node) = port.node {
            let bad =
                (node != plan.node).then_some((State::Differs, "Each packet crosses the link between the sockets."));
            findings.judge(format!("node of {}", port.address), plan.node.to_string(), node.to_string(), bad);
        }
    }
}

/// Of each port that needs it, whether any of its memory is mapped so: which of its regions the driver writes packets
/// through is the driver's own knowledge.
fn write_combining(picture: &Picture, plan: &Plan, findings: &mut Findings) {
    for (address, regions) in change::combining(picture, plan) {
        let item = format!("write-combining of {address}");
        let Some(types) = &picture.memory_types else {
            findings.0.push(Finding {
                item,
                planned: "mapped".into(),
                found: "/sys/kernel/debug/x86/pat_memtype_list cannot be read".into(),
                state: State::Unknown,
                costs: Some("Run this as root, with debugfs mounted, while tandem runs.".into()),
            });
            continue;
        };
        let inside =
            |first: u64, end: u64| regions.iter().any(|(low, high)| first >= *low && end <= high.saturating_add(1));
        let mapped: Vec<&str> = types.iter().filter(|t| inside(t.first, t.end)).map(|t| t.kind.as_str()).collect();
        let found = if mapped.is_empty() { "nothing is mapped".to_owned() } else { mapped.join(", ") };
        let bad = if mapped.contains(&"write-combining") {
            None
        } else if mapped.is_empty() {
            Some((State::Unknown, "The memory is mapped while tandem runs: verify then."))
        } else {
            Some((
                State::Differs,
                "Each packet is sent by uncombined stores, at a fraction of the device's rate: igb_uio with wc_activate=1.",
            ))
        };
        findings.judge(item, "write-combining", found, bad);
    }
}

fn hugepages(picture: &Picture, plan: &Plan, findings: &mut Findings) {
    let memory = &plan.memory;
    if !memory.hugepages {
        return;
    }
    let pages = picture.node(memory.node).and_then(|node| node.hugepages_of(memory.page_kib)).unwrap_or_default();
    let item = format!("hugepages of node {}", memory.node);
    let planned = format!("{} of {} KiB", memory.pages, memory.page_kib);
    let bad = (pages.total < memory.pages).then_some((
        State::Stops,
        "There is not memory enough for buffers and tables: `tandem tune apply`, and a new start if memory is in pieces by now.",
    ));
    findings.judge(item, planned, format!("{}, of which {} free", pages.total, pages.free), bad);
    let mount = picture.hugepage_mounts.iter().find(|mount| mount.page_kib == memory.page_kib);
    let bad = mount
        .is_none()
        .then_some((State::Stops, "DPDK finds no place to take them from: `tandem tune apply` mounts it."));
    let found = mount.map_or_else(|| "not mounted".to_owned(), |mount| mount.folder.clone());
    findings.judge(format!("hugetlbfs of {} KiB", memory.page_kib), "mounted", found, bad);
}

fn cores(picture: &Picture, plan: &Plan, findings: &mut Findings) {
    let online = picture.online();
    let missing = plan.seats.own().less(&online);
    let bad = (!missing.is_empty()).then_some((State::Stops, "A CPU that is to run tandem is offline."));
    let found = if missing.is_empty() { "online".to_owned() } else { format!("{missing} offline") };
    findings.judge("tandem's CPUs", plan.seats.own().to_string(), found, bad);
    let isolated = plan.seats.isolated();
    if !isolated.is_empty() {
        let open = isolated.less(&picture.kernel.isolated);
        let bad = (!open.is_empty()).then_some((
            State::Differs,
            "The scheduler runs other programs there: each of their slices holds up a queue for milliseconds.",
        ));
        findings.judge("isolated CPUs", isolated.to_string(), shown(&picture.kernel.isolated), bad);
        let workers = plan.seats.worker_cpus().common(&isolated);
        let ticking = workers.less(&picture.kernel.tickless);
        let bad = (!ticking.is_empty()).then_some((
            State::Differs,
            "The timer interrupts each worker up to 250 times a second, some microseconds each.",
        ));
        findings.judge("tickless CPUs", workers.to_string(), shown(&picture.kernel.tickless), bad);
    }
}

fn shown(cpus: &crate::host::CpuSet) -> String {
    if cpus.is_empty() { "none".to_owned() } else { cpus.to_string() }
}

fn arguments(picture: &Picture, plan: &Plan, findings: &mut Findings) {
    let missing: Vec<&str> = plan
        .arguments
        .iter()
        .flat_map(|argument| argument.text.split(' '))
        .filter(|text| !picture.kernel.arguments.iter().any(|there| there == text))
        .collect();
    let bad = (!missing.is_empty()).then_some((
        State::Differs,
        "The kernel was started without: `tandem tune apply`, then start the machine anew.",
    ));
    let found = if missing.is_empty() { "all there".to_owned() } else { format!("missing: {}", missing.join(" ")) };
    findings.judge("kernel arguments", plan.arguments.len().to_string(), found, bad);
}

fn settings(picture: &Picture, plan: &Plan, findings: &mut Findings) {
    let slow: Vec<u16> = picture
        .cpus
        .iter()
        .filter(|c| c.governor.as_ref().is_some_and(|g| g != "performance"))
        .map(|c| c.number)
        .collect();
    if plan.settings.governor {
        let found = if slow.is_empty() { "performance".to_owned() } else { format!("others on {} CPUs", slow.len()) };
        let bad = (!slow.is_empty())
            .then_some((State::Differs, "A core changes its clock under load, and stalls while it does."));
        findings.judge("governor", "performance", found, bad);
    }
    let misplaced = change::misplaced(picture, plan);
    let found = match misplaced.len() {
        0 => "housekeeping CPUs".to_owned(),
        number => format!(
            "{number} may reach tandem's CPUs: {}",
            misplaced.iter().take(8).map(|i| i.number.to_string()).collect::<Vec<_>>().join(", ")
        ),
    };
    let bad = (!misplaced.is_empty())
        .then_some((State::Differs, "Each one that arrives holds up its CPU for some microseconds."));
    findings.judge("interrupts", "housekeeping CPUs", found, bad);
    let running = picture.runs("irqbalance");
    let bad = running.then_some((State::Differs, "It brings interrupts to tandem's CPUs every 10 s."));
    findings.judge("irqbalance", "stopped", if running { "runs" } else { "stopped" }, bad);
    if let Some(thp) = &picture.kernel.transparent_hugepages {
        let bad = (thp == "always").then_some((State::Differs, "Memory is compacted at moments that nobody chose."));
        findings.judge("transparent hugepages", "madvise", thp, bad);
    }
}

/// What the pollers met, one item for each core.
pub fn judge_stalls(stalls: &[Stalls]) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    for core in stalls {
        let found = match core.longest_us {
            0 => "none".to_owned(),
            longest => format!("{} in {} s, the longest {longest} µs", core.count, core.seconds),
        };
        let allowed = STALLS_PER_S * core.seconds;
        let bad = (core.count > allowed).then_some((
            State::Differs,
            "It is not alone on its core: a queue waits that long each time, and overflows in the end.",
        ));
        findings.judge(format!("stalls of CPU {}", core.cpu), format!("{allowed} or fewer over 10 µs"), found, bad);
    }
    findings.0
}
