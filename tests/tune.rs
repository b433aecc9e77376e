//! What `tandem tune` makes of machines: each of tests/fixtures/host is read, planned, brought into the state of the plan, started
//! anew, verified and brought back. Needs neither DPDK nor root.
//!
//! What is expected follows from these, and not from what came out:
//! - the layout of the CPUs, which the `.machine` file states (sibling of core c on a host of n cores: n + c);
//! - CPU 0 boots, so its core is the kernel's; slow path and pair thread have the next cores, workers those after them;
//! - an instance is taken to pass 5,000,000 packets/s by the share of its CPUs in 72 (`host::capacity::instances`), a queue
//!   1,000,000, and the busiest of n queues has ceil(128 / n) of 128 entries: 5,000,000 take 6 queues (22 entries of 128
//!   carry 859,375), 2,500,000 take 3 (43 entries: 839,843), 138,888 take 1; rounded up to a power of two, 8, 4 and 1;
//! - buffers of 128 + 128 + 2048 + 128 bytes, 65,535 of them: 152 MiB; `host::plan::memory` has the rest of the sum.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "host/tree.rs"]
mod tree;

use std::path::PathBuf;

use tandem::host::{
    CpuSet,
    plan::{self, Load, Plan, Planning, Wish, WishedPort, ports::Driver},
    tune::{
        carry, change,
        verify::{self, State},
    },
};
use tree::Machine;

const ALL: [&str; 14] = [
    "c5n.18xlarge",
    "c5n.metal",
    "c5n.9xlarge",
    "c5n.large",
    "single-socket",
    "lab",
    "far-port",
    "bad-node-unknown",
    "bad-not-mounted",
    "bad-iommu-off",
    "bad-iommu-refused",
    "bad-offline",
    "bad-one-cpu",
    "bad-no-driver",
];

fn planned(machine: &str) -> Planning {
    plan::plan(&Machine::named(machine).picture(), &Wish::default())
}

fn sound(machine: &str) -> Plan {
    let Planning { plan, troubles } = planned(machine);
    assert_eq!(troubles, [], "{machine}");
    plan.unwrap()
}

fn cpus(list: &str) -> CpuSet {
    CpuSet::parse(list).unwrap()
}

fn arguments(plan: &Plan) -> Vec<&str> {
    plan.arguments.iter().map(|argument| argument.text.as_str()).collect()
}

/// Workers, slow path, pair thread, idle siblings, everything else.
fn seats(plan: &Plan) -> (&[u16], u16, u16, String, String) {
    let seats = &plan.seats;
    (&seats.workers, seats.slow, seats.pair, seats.idle.to_string(), seats.housekeeping.to_string())
}

fn drivers(plan: &Plan) -> Vec<(&str, Driver)> {
    plan.ports.iter().map(|port| (port.address.as_str(), port.driver)).collect()
}

fn pages(plan: &Plan) -> (u16, u64, u64) {
    (plan.memory.node, plan.memory.page_kib, plan.memory.pages)
}

const GIB: u64 = 1 << 20;

// Node 0 has cores 0 to 17. The kernel has core 0 (CPUs 0 and 36), and all that is left.
#[test]
fn c5n_18xlarge() {
    let plan = sound("c5n.18xlarge");
    assert_eq!(plan.node, 0);
    assert_eq!(seats(&plan), (&[3, 4, 5, 6, 7, 8, 9, 10][..], 1, 2, "37-46".into(), "0,11-36,47-71".into()));
    assert_eq!(plan.seats.isolated(), cpus("1-10,37-46"));
    // ens5 carries the default route.
    assert_eq!(drivers(&plan), [("0000:00:06.0", Driver::IgbUio)]);
    // No less than 1024 MiB: one page of 1 GiB wastes nothing.
    assert_eq!(pages(&plan), (0, GIB, 1));
    assert_eq!(plan.memory.parts[0].bytes, 65_535 * (128 + 128 + 2048 + 128));
    assert_eq!(
        arguments(&plan),
        [
            "hugepagesz=1G hugepages=0:1",
            "isolcpus=managed_irq,domain,1-10,37-46",
            "nohz_full=3-10",
            "rcu_nocbs=3-10",
            "irqaffinity=0,11-36,47-71",
            "processor.max_cstate=1",
            "intel_idle.max_cstate=1"
        ]
    );
    assert!(!plan.settings.governor && plan.settings.idle_states && !plan.settings.irqbalance);
}

// The same board; the frequencies are the kernel's to govern, and igb_uio needs no IOMMU.
#[test]
fn c5n_metal() {
    let (metal, guest) = (sound("c5n.metal"), sound("c5n.18xlarge"));
    assert_eq!(metal.seats, guest.seats);
    assert_eq!(metal.arguments, guest.arguments);
    assert_eq!(drivers(&metal), [("0000:00:06.0", Driver::IgbUio)]);
    assert!(metal.settings.governor);
}

#[test]
fn c5n_9xlarge() {
    let plan = sound("c5n.9xlarge");
    assert_eq!(seats(&plan), (&[3, 4, 5, 6][..], 1, 2, "19-24".into(), "0,7-18,25-35".into()));
    assert_eq!(pages(&plan), (0, GIB, 1));
}

// One core: its second thread polls, the first does everything else.
#[test]
fn c5n_large() {
    let Planning { plan, troubles } = planned("c5n.large");
    let plan = plan.unwrap();
    assert_eq!(seats(&plan), (&[1][..], 0, 0, String::new(), "0".into()));
    assert_eq!(plan.seats.isolated(), cpus("1"));
    let [one] = &troubles[..] else { panic!("{troubles:?}") };
    assert!(!one.grave && one.says.contains("one physical core") && one.says.contains("four cores or more"), "{one:?}");
}

// Of eight cores three are kept; of the five that are left the largest power of two.
#[test]
fn single_socket() {
    let plan = sound("single-socket");
    assert_eq!(seats(&plan), (&[3, 4, 5, 6][..], 1, 2, String::new(), "0,7".into()));
    assert_eq!(drivers(&plan), [("0000:02:00.0", Driver::VfioPci)]);
    assert_eq!(
        arguments(&plan),
        [
            "hugepagesz=1G hugepages=0:1",
            "isolcpus=managed_irq,domain,1-6",
            "nohz_full=3-6",
            "rcu_nocbs=3-6",
            "irqaffinity=0,7",
            "intel_iommu=on",
            "iommu=pt",
            "processor.max_cstate=1",
            "intel_idle.max_cstate=1"
        ]
    );
    assert!(plan.settings.governor && plan.settings.irqbalance && plan.settings.transparent_hugepages);
}

// Its only interface carries the way in; with virtual devices, as laboratories have them, one CPU polls.
#[test]
fn lab() {
    let Planning { plan, troubles } = planned("lab");
    assert!(plan.is_none());
    assert!(
        troubles
            .iter()
            .any(|t| t.grave && t.says.contains("0000:00:03.0 (eth0)") && t.says.contains("second interface")),
        "{troubles:?}"
    );
    let wish = Wish { ports: vec![WishedPort::Virtual("net_af_packet0,iface=x".into())], ..Wish::default() };
    let plan = plan::plan(&Machine::named("lab").picture(), &wish).plan.unwrap();
    assert_eq!(seats(&plan), (&[1][..], 0, 0, String::new(), "0".into()));
}

// The kernel boots on node 0, so node 1 is all tandem's: cores 18 to 35, siblings 54 to 71.
#[test]
fn a_port_on_the_other_node() {
    let plan = sound("far-port");
    assert_eq!(plan.node, 1);
    assert_eq!(
        seats(&plan),
        (&[20, 21, 22, 23, 24, 25, 26, 27][..], 18, 19, "54-63".into(), "0-17,28-53,64-71".into())
    );
    assert_eq!(pages(&plan), (1, GIB, 1));
    assert!(arguments(&plan).contains(&"hugepagesz=1G hugepages=1:1"));
}

/// The one trouble of a machine, whether it is grave, and what it must say.
fn trouble(machine: &str, grave: bool, says: &[&str]) -> Option<Plan> {
    let Planning { plan, troubles } = planned(machine);
    let [trouble] = &troubles[..] else { panic!("{machine}: {troubles:?}") };
    assert_eq!((trouble.grave, plan.is_none()), (grave, grave), "{machine}: {trouble:?}");
    says.iter().for_each(|words| assert!(trouble.says.contains(words), "{machine}: {trouble:?}"));
    plan
}

#[test]
fn a_machine_that_does_not_serve_gets_a_sentence_that_says_what_to_do() {
    trouble("bad-node-unknown", false, &["numa_node is -1", "node 0 is a guess", "--node"]);
    trouble("bad-iommu-off", false, &["IOMMU is off", "`tandem tune apply`", "VT-d"]);
    trouble("bad-no-driver", true, &["build igb_uio from dpdk-kmods"]);
    trouble("bad-iommu-refused", true, &["no IOMMU", "VT-d", "igb_uio"]);
    let Planning { plan, troubles } = planned("bad-one-cpu");
    assert!(plan.is_none());
    assert!(troubles.iter().any(|t| t.grave && t.about == "ports"), "{troubles:?}");
    let wish = Wish { ports: vec![WishedPort::Virtual("net_null0".into())], ..Wish::default() };
    let Planning { plan, troubles } = plan::plan(&Machine::named("bad-one-cpu").picture(), &wish);
    assert!(plan.is_none());
    assert!(troubles.iter().any(|t| t.grave && t.says.contains("two cores or more")), "{troubles:?}");
}

// Threads are off and core 1 is away: cores 0, 2, 3, 4 and so on, without siblings.
#[test]
fn offline_cpus_are_planned_around_and_told() {
    let plan = trouble("bad-offline", false, &["CPUs 1,36-71 are offline"]).unwrap();
    assert_eq!(seats(&plan), (&[4, 5, 6, 7, 8, 9, 10, 11][..], 2, 3, String::new(), "0,12-35".into()));
}

#[test]
fn what_is_asked_for_is_given_or_refused() {
    let picture = Machine::named("c5n.18xlarge").picture();
    let with = |wish: Wish| plan::plan(&picture, &wish);
    // 10,000 calls are 1,004,000 packets/s each way: two queues carry 64 entries each.
    let plan = with(Wish { load: Load::Calls(10_000), ..Wish::default() }).plan.unwrap();
    assert_eq!(plan.seats.workers, [3, 4]);
    assert_eq!(with(Wish { workers: Some(3), ..Wish::default() }).plan.unwrap().seats.workers, [3, 4, 5]);
    // 18 cores less three.
    assert_eq!(with(Wish { workers: Some(15), ..Wish::default() }).plan.unwrap().seats.workers.len(), 15);
    let refused = |wish: Wish| with(wish).troubles.into_iter().find(|t| t.grave).unwrap().says;
    assert!(refused(Wish { workers: Some(16), ..Wish::default() }).contains("there is room for 15"));
    assert!(refused(Wish { load: Load::PacketsPerS(20_000_000), ..Wish::default() }).contains("`tandem plan`"));
    let port = |name: &str| Wish { ports: vec![WishedPort::Function(name.into())], ..Wish::default() };
    assert_eq!(drivers(&with(port("ens6")).plan.unwrap()), [("0000:00:06.0", Driver::IgbUio)]);
    assert!(refused(port("ens5")).contains("carries the default route"));
    assert!(refused(port("ens9")).contains("0000:00:06.0 (ens6)"));
    assert!(refused(Wish { node: Some(7), ..Wish::default() }).contains("--node"));
    let plan = with(Wish { node: Some(1), ..Wish::default() });
    assert!(plan.troubles.iter().any(|t| !t.grave && t.says.contains("crosses the link")), "{:?}", plan.troubles);
    // A container may use eight CPUs of the node.
    let allowed = |machine: &str| {
        let wish = Wish { allowed: Some(cpus("4-11")), ..Wish::default() };
        plan::plan(&Machine::named(machine).picture(), &wish).plan.unwrap().seats
    };
    let seats = allowed("c5n.18xlarge");
    assert_eq!((seats.slow, seats.pair, &seats.workers[..]), (4, 5, &[6, 7, 8, 9, 10, 11][..]));
    // The same where the CPUs for everything else are of the same node.
    let seats = allowed("c5n.9xlarge");
    assert_eq!((seats.slow, seats.pair, &seats.workers[..]), (4, 5, &[6, 7, 8, 9][..]));
}

/// With tandem running, its exception device has the best default route: the way in is the other's.
#[test]
fn no_interface_of_a_default_route_is_taken() {
    let machine = Machine::named("c5n.18xlarge");
    let line = |name: &str, metric: u32| format!("{name}\t00000000\t0101010A\t0003\t0\t0\t{metric}\t00000000");
    let routes = |routes: &[String]| machine.put("proc/net/route", &format!("Iface\n{}", routes.join("\n")));
    routes(&[line("tandem0", 0), line("ens5", 100)]);
    let ports = |machine: &Machine| drivers(&plan::plan(&machine.picture(), &Wish::default()).plan.unwrap()).len();
    assert_eq!(ports(&machine), 1);
    // The default route of a VLAN on a bond on ens5.
    routes(&[line("bond0.7", 0)]);
    assert_eq!(ports(&machine), 2);
    machine.put("sys/class/net/bond0.7/lower_bond0/mtu", "1500");
    machine.put("sys/class/net/bond0/lower_ens5/mtu", "1500");
    assert_eq!(ports(&machine), 1);
    // By IPv6 alone.
    routes(&[]);
    let nowhere = "00000000000000000000000000000000";
    machine.put(
        "proc/net/ipv6_route",
        &format!("{nowhere} 00 {nowhere} 00 fe80 00000400 00000001 00000000 00000003 ens5"),
    );
    assert_eq!(ports(&machine), 1);
}

/// Every choice says what it is, and why in one sentence.
#[test]
fn each_choice_has_its_sentence() {
    for machine in ALL {
        for choice in planned(machine).plan.map(|plan| plan.choices).unwrap_or_default() {
            let stops = choice.why.matches(". ").count();
            assert!(!choice.value.is_empty() && choice.why.ends_with('.') && stops == 0, "{machine}: {choice:?}");
        }
    }
}

fn journal() -> PathBuf {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    std::env::temp_dir().join(format!("tandem-journal-{}-{number}/tune.json", std::process::id()))
}

fn apply(machine: &mut Machine, journal: &std::path::Path) -> usize {
    let picture = machine.picture();
    let changes = change::changes(&picture, &plan::plan(&picture, &Wish::default()).plan.unwrap());
    let done = carry::apply(machine, &changes, journal, &mut |_| {}).unwrap();
    done.iter().for_each(|done| assert!(done.result.is_ok(), "{done:?}"));
    done.len()
}

fn differing(machine: &Machine) -> Vec<String> {
    let picture = machine.picture();
    let findings = verify::verify(&picture, &plan::plan(&picture, &Wish::default()).plan.unwrap());
    findings.into_iter().filter(|f| matches!(f.state, State::Differs | State::Stops)).map(|f| f.item).collect()
}

/// From a bare machine to a tuned one, over a start, and back to the last file.
#[test]
fn a_machine_is_brought_into_its_plan_and_back() {
    for name in ["c5n.18xlarge", "c5n.large", "single-socket", "bad-not-mounted"] {
        let mut machine = Machine::named(name);
        let (before, journal) = (machine.files(), journal());
        assert!(apply(&mut machine, &journal) > 0, "{name}");
        assert_eq!(apply(&mut machine, &journal), 0, "{name}: a second time there is nothing to do");
        assert_eq!(
            differing(&machine),
            ["isolated CPUs", "tickless CPUs", "kernel arguments"],
            "{name}: before the start"
        );
        machine.restart();
        assert_eq!(differing(&machine), [""; 0], "{name}");
        let management =
            if name == "single-socket" || name == "bad-not-mounted" { "0000:01:00.0" } else { "0000:00:05.0" };
        let way_in = format!("sys/bus/pci/devices/{management}/driver");
        assert_eq!(machine.files()[&way_in], before[&way_in], "{name}: the way in was touched");

        let done = carry::undo(&mut machine, &journal, &mut |_| {}).unwrap();
        done.iter().for_each(|done| assert!(done.result.is_ok(), "{name}: {done:?}"));
        let after = machine.files();
        let started_anew = ["proc/cmdline", "isolated", "nohz_full"];
        for (path, text) in &after {
            let of_start = started_anew.iter().any(|name| path.ends_with(name));
            assert!(
                of_start || before.get(path) == Some(text),
                "{name}: {path} is {text:?}, was {:?}",
                before.get(path)
            );
        }
        let gone: Vec<&String> = before.keys().filter(|path| !after.contains_key(*path)).collect();
        assert!(gone.is_empty(), "{name}: {gone:?}");
        assert_eq!(carry::undo(&mut machine, &journal, &mut |_| {}).unwrap().len(), 0, "{name}");
        std::fs::remove_dir_all(journal.parent().unwrap()).unwrap();
    }
}

#[test]
fn what_disturbs_is_put_away() {
    let (mut machine, journal) = (Machine::named("single-socket"), journal());
    apply(&mut machine, &journal);
    let file = |path: &str| machine.files()[path].clone();
    // The i40e's own interrupt goes with its driver's; eno1's keeps what is left of its CPUs.
    assert_eq!(file("proc/irq/44/smp_affinity_list"), "0,7");
    assert_eq!(file("proc/irq/45/smp_affinity_list"), "0,7");
    assert_eq!(file("proc/irq/99/smp_affinity_list"), "7");
    assert_eq!(file("sys/devices/system/cpu/cpu3/cpufreq/scaling_governor"), "performance");
    // C1 wakes within a microsecond and stays; CPU 7 is not tandem's.
    assert_eq!(file("sys/devices/system/cpu/cpu3/cpuidle/state1/disable"), "0");
    assert_eq!(file("sys/devices/system/cpu/cpu3/cpuidle/state2/disable"), "1");
    assert_eq!(file("sys/devices/system/cpu/cpu7/cpuidle/state2/disable"), "0");
    assert_eq!(file("sys/bus/pci/devices/0000:02:00.0/driver"), "../../drivers/vfio-pci");
    assert_eq!(file("etc/modules-load.d/tandem.conf"), "vfio-pci");
    assert!(file("etc/systemd/system/tandem.service.d/90-tune.conf").ends_with("[Service]\nCPUAffinity=0,7"));
    let ran: Vec<&str> = machine.ran.iter().map(String::as_str).collect();
    for command in ["modprobe vfio-pci", "update-grub", "systemctl daemon-reload", "systemctl disable --now irqbalance"]
    {
        assert!(ran.contains(&command), "{command}: {ran:?}");
    }
    std::fs::remove_dir_all(journal.parent().unwrap()).unwrap();
}

#[test]
fn networkd_leaves_the_ports_alone() {
    let (mut machine, journal) = (Machine::named("c5n.18xlarge"), journal());
    apply(&mut machine, &journal);
    let file = machine.files()["etc/systemd/network/05-tandem.network"].clone();
    assert!(file.ends_with("[Match]\nPath=pci-0000:00:06.0\n\n[Link]\nUnmanaged=yes"), "{file}");
    std::fs::remove_dir_all(journal.parent().unwrap()).unwrap();
}

#[test]
fn what_keeps_tandem_from_starting_is_told() {
    let obstacles = |machine: &Machine| {
        let picture = machine.picture();
        verify::obstacles(&picture, &plan::plan(&picture, &Wish::default()).plan.unwrap()).join("\n")
    };
    let bare = obstacles(&Machine::named("single-socket"));
    assert!(bare.contains("driver of 0000:02:00.0: planned vfio-pci, found i40e."), "{bare}");
    assert!(bare.contains("hugepages of node 0: planned 1 of 1048576 KiB, found 0, of which 0 free."), "{bare}");
    let unmounted = obstacles(&Machine::named("bad-not-mounted"));
    assert!(unmounted.contains("hugetlbfs of 1048576 KiB: planned mounted, found not mounted."), "{unmounted}");
    assert!(!unmounted.contains("hugepages of node"), "{unmounted}");
}

/// ENA's memory at fe800000, as the kernel tells how it is mapped.
#[test]
fn write_combining_is_read_from_the_kernels_list() {
    let found = |list: Option<&str>| {
        let machine = Machine::named("c5n.18xlarge");
        if let Some(list) = list {
            machine.put("sys/kernel/debug/x86/pat_memtype_list", &format!("PAT memtype list:\n{list}"));
        }
        let picture = machine.picture();
        let findings = verify::verify(&picture, &plan::plan(&picture, &Wish::default()).plan.unwrap());
        findings.into_iter().find(|f| f.item == "write-combining of 0000:00:06.0").unwrap().state
    };
    assert_eq!(found(Some("PAT: [mem 0x00000000fe800000-0x00000000fe900000] write-combining")), State::AsPlanned);
    assert_eq!(found(Some("PAT: [mem 0x00000000fe800000-0x00000000fe900000] uncached-minus")), State::Differs);
    assert_eq!(found(Some("PAT: [mem 0x00000000c0000000-0x00000000c0100000] write-combining")), State::Unknown);
    assert_eq!(found(None), State::Unknown);
}
