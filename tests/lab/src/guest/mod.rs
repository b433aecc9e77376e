//! The image in a machine of QEMU's: it boots, is configured by its user data, is tuned, carries calls through a card that
//! vfio-pci has, and is put back. Main thread.
//!
//! What is shown is that things are right, not how fast they are: the machine's processors are a program.

mod machine;
mod metadata;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

pub use self::machine::{Card, Parts};
use self::{machine::Machine, metadata::Metadata};
use crate::{
    appliance::Device,
    lab::{Frame, Lab, Plan},
    runner::{Count, settled, take_turn},
    scenarios::both_laws,
    topology::{Between, CALLEE, CALLER, MANAGED, TANDEM_A, TANDEM_B},
};

/// From power-on to a tandem that takes calls, with the restart in between, on two busy processors that emulate four.
const STARTING: Duration = Duration::from_secs(300);
/// A refused configuration is told before the machine would start anew.
const REFUSING: Duration = Duration::from_secs(180);
/// The node that the card is on, and its CPUs; the others are left to everything else.
const NODE: u16 = 1;
const CONFIG: &str = "/etc/tandem/tandem.toml";

/// One thing that the image must do.
struct Guest {
    name: &'static str,
    shows: &'static str,
    card: Card,
    user_data: fn(Card) -> String,
    run: fn(&mut Lab<'_>, &mut Machine, Card) -> Result<String>,
}

fn guests() -> [Guest; 3] {
    [
        Guest {
            name: "guest_virtio",
            shows: "power-on to readyz with no hand; as planned; 20 calls through vfio-pci on pages of 1 GiB; undo",
            card: Card::Virtio,
            user_data: sound,
            run: all_of_it,
        },
        Guest {
            name: "guest_igb_vf",
            shows: "the same through a virtual function of an SR-IOV card, on pages of 2 MiB",
            card: Card::IgbFunction,
            user_data: sound,
            run: all_of_it,
        },
        Guest {
            name: "guest_refused",
            shows: "a wrong configuration: a line on the console and in the journal, the way in, and the way out",
            card: Card::Virtio,
            user_data: wrong,
            run: refused,
        },
    ]
}

pub fn list() -> impl Iterator<Item = (&'static str, &'static str)> {
    guests().into_iter().map(|guest| (guest.name, guest.shows))
}

/// All, or those that are named.
pub fn run_all(frame: &Frame, parts: &Parts, wanted: &[String]) -> Result<Count> {
    let mut count = Count::default();
    for guest in guests().iter().filter(|guest| wanted.is_empty() || wanted.iter().any(|name| name == guest.name)) {
        println!("{}: {}", guest.name, guest.shows);
        let _turn = take_turn(true)?;
        let started = Instant::now();
        match settled(|| run_one(frame, parts, guest)) {
            Ok(found) => {
                println!("  passed in {:.0} s: {found}", started.elapsed().as_secs_f64());
                count.passed += 1;
            }
            Err(error) => {
                println!("  FAILED after {:.0} s: {error:#}", started.elapsed().as_secs_f64());
                println!("  console, logs and captures: {}", frame.out.join(guest.name).display());
                count.failed.push(guest.name.to_owned());
            }
        }
    }
    ensure!(count.passed + count.failed.len() > 0, "no scenario has that name: `tandem-lab list` shows them");
    Ok(count)
}

fn run_one(frame: &Frame, parts: &Parts, guest: &Guest) -> Result<String> {
    // The device of the plan is for an appliance of this machine's own.
    let mut plan = Plan::new(Device::AfPacket);
    plan.between = Between::Guest;
    let mut lab = Lab::open(frame, plan, guest.name)?;
    let host = &lab.ground.tandem;
    let _metadata = Metadata::serve(&host.name, (guest.user_data)(guest.card), "guest-1")?;
    let mut machine = Machine::power_on(parts, guest.card, host, &lab.room)?;
    let result = (guest.run)(&mut lab, &mut machine, guest.card).and_then(|found| lab.close().map(|()| found));
    if result.is_err() {
        if let Some(disturbed) = machine.crashed() {
            return Err(disturbed.into());
        }
        keep_journal(&lab, &machine);
        if let Err(error) = lab.save() {
            eprintln!("  the captures could not be kept: {error:#}");
        }
    }
    result
}

/// What the machine's journal says, beside its console, where it can still be asked.
fn keep_journal(lab: &Lab<'_>, machine: &Machine) {
    if let Ok((text, true)) = machine.ask("journalctl --no-pager -o short-monotonic") {
        let _ = std::fs::write(lab.room.join("journal.log"), text);
    }
}

/// A configuration as an instance gets it: no cores and no node, so that the plan and the tags decide.
fn sound(card: Card) -> String {
    // Buffers and tables for so few calls are too few for a page of 1 GiB.
    let dpdk = match card {
        Card::Virtio => "",
        Card::IgbFunction => "[dpdk]\nmemory_mb = 320\nmbufs = 32767\n",
    };
    format!(
        r#"#tandem
# A machine of the laboratory's.
[cores]
poll = "adaptive"

{dpdk}
[[port]]
name = "edge"
device = "{device}"
exception = "tandem0"
addresses = ["{TANDEM_A}/24", "{TANDEM_B}/24"]

[[address]]
name = "near"
port = "edge"
local = "{TANDEM_A}"

[[address]]
name = "far"
port = "edge"
local = "{TANDEM_B}"

[media]
ports = {{ low = 20000, high = 27999 }}
max_sessions = 1000

[sip]
max_calls = 1000

[[sip.listen]]
address = "near"

[[sip.listen]]
address = "far"

[[trunk]]
name = "caller"
from = ["{CALLER}/32"]
address = "near"
codecs = ["PCMU", "PCMA"]

[[trunk]]
name = "callee"
from = ["{CALLEE}/32"]
address = "far"
codecs = ["PCMA", "PCMU"]
destinations = ["sip:{CALLEE}:5060"]

[[route]]
prefix = "7"
to = ["callee"]

[metrics]
listen = "{MANAGED}:9464"
"#,
        device = card.address()
    )
}

/// A port of which no address can be: the prefix is longer than an address.
fn wrong(card: Card) -> String {
    sound(card).replace(&format!("{TANDEM_B}/24"), &format!("{TANDEM_B}/240"))
}

fn all_of_it(lab: &mut Lab<'_>, machine: &mut Machine, card: Card) -> Result<String> {
    let ready = machine.wait_ready(STARTING)?;
    println!(
        "  ready {:.1} s after power-on, with the restart for the kernel's arguments in between",
        ready.as_secs_f64()
    );
    machine.wait_reachable(Duration::from_secs(60))?;
    let planned = as_planned(machine, card)?;
    println!("  {planned}");
    let [there, back] = both_laws(lab, 20)?;
    put_back(machine, card)?;
    Ok(format!("ready {:.1} s after power-on; to A-law: {there}; to μ-law: {back}", ready.as_secs_f64()))
}

/// The plan is kept, by `verify` and by what the kernel says itself.
fn as_planned(machine: &Machine, card: Card) -> Result<String> {
    let device = format!("/sys/bus/pci/devices/{}", card.address());
    // Each processor of this machine is a thread among others: whether it is alone is not asked.
    let (verified, clean) = machine.ask(&format!("tandem tune verify --config {CONFIG} --poll-s 0"))?;
    ensure!(clean, "`tandem tune verify` after apply and a restart: {verified}");
    let again = machine.run(&format!("tandem tune apply --config {CONFIG}"))?;
    ensure!(again.contains("nothing to do"), "a second `tandem tune apply` found something to do: {again}");
    let driver = machine.run(&format!("basename $(readlink {device}/driver)"))?;
    ensure!(driver == "vfio-pci", "the card's driver is {driver}");
    let node = machine.run(&format!("cat {device}/numa_node"))?;
    ensure!(node == NODE.to_string(), "the card is on node {node}");
    let name = machine.run("grep -A1 '^.node' /etc/tandem/tandem.toml | grep name")?;
    ensure!(name == r#"name = "guest-1""#, "the node's name is not that of the tag: {name}");
    let pages = hugepages(machine)?;
    let size = if card == Card::Virtio { 1_048_576 } else { 2_048 };
    let here = pages.iter().find(|page| page.node == NODE && page.kib == size).context("no such pages")?;
    ensure!(here.total > 0 && here.free < here.total, "tandem has none of node {NODE}'s pages of {size} KiB: {here:?}");
    let elsewhere = pages.iter().filter(|page| page.node != NODE || page.kib != size);
    for page in elsewhere {
        ensure!(page.total == 0, "pages that nobody planned: {page:?}");
    }
    // Everything of hugetlbfs that the process has is of the node, and nothing of another.
    let maps = machine.run("grep -h huge /proc/$(systemctl show -P MainPID tandem)/numa_maps")?;
    ensure!(maps.contains(" N1=") && !maps.contains(" N0="), "hugepages of tandem are elsewhere: {maps}");
    let seats = seats(machine)?;
    Ok(format!(
        "vfio-pci on node {node}, {} of {} pages of {size} KiB in use, all of node {node}; {seats}",
        here.total - here.free,
        here.total
    ))
}

/// Where tandem's threads may run: what polls and what signals is on the card's node, everything else on the other.
fn seats(machine: &Machine) -> Result<String> {
    let threads = machine.run(
        "for task in /proc/$(systemctl show -P MainPID tandem)/task/*; do \
         echo $(cat $task/comm) $(sed -n 's/^Cpus_allowed_list:\\t//p' $task/status); done",
    )?;
    let worker = |line: &&str| line.starts_with("rte-worker");
    let workers: Vec<&str> = threads.lines().filter(worker).filter_map(|line| line.split(' ').nth(1)).collect();
    ensure!(workers == ["3"], "the worker is not on CPU 3 alone, or there are others: {threads}");
    let isolated = machine.run("cat /sys/devices/system/cpu/isolated")?;
    ensure!(isolated == "3", "isolated are {isolated}");
    for line in threads.lines().filter(|line| !worker(line)) {
        ensure!(!line.ends_with(" 3") && !line.ends_with("-3"), "a thread beside the worker: {line}");
    }
    Ok(threads.replace('\n', ", "))
}

#[derive(Debug)]
struct Pages {
    node: u16,
    kib: u64,
    total: u64,
    free: u64,
}

fn hugepages(machine: &Machine) -> Result<Vec<Pages>> {
    let text = machine.run(
        "cd /sys/devices/system/node; for p in node*/hugepages/*; do echo $p $(cat $p/nr_hugepages $p/free_hugepages); done",
    )?;
    let one = |line: &str| {
        let (path, numbers) = line.split_once(' ')?;
        let (node, size) = path.strip_prefix("node")?.split_once("/hugepages/hugepages-")?;
        let (total, free) = numbers.split_once(' ')?;
        Some(Pages {
            node: node.parse().ok()?,
            kib: size.strip_suffix("kB")?.parse().ok()?,
            total: total.parse().ok()?,
            free: free.parse().ok()?,
        })
    };
    text.lines().map(|line| one(line).with_context(|| format!("no hugepages in {line:?}"))).collect()
}

/// `undo` leaves the machine as it was before tandem.
fn put_back(machine: &Machine, card: Card) -> Result<()> {
    machine.run("systemctl stop tandem")?;
    let (undone, good) = machine.ask("tandem tune undo")?;
    ensure!(good, "`tandem tune undo`: {undone}");
    let driver = machine.run(&format!("basename $(readlink /sys/bus/pci/devices/{}/driver)", card.address()))?;
    ensure!(driver == card.driver(), "after undo the card's driver is {driver}");
    for pages in hugepages(machine)? {
        ensure!(pages.total == 0, "after undo there are still {pages:?}");
    }
    let left = machine.run("ls /etc/default/grub.d /etc/modules-load.d /etc/modprobe.d /etc/systemd/network")?;
    ensure!(!left.contains("tandem"), "after undo there are still files of tandem's: {left}");
    let next = machine.run("grep -c isolcpus /boot/grub/grub.cfg || true")?;
    ensure!(next == "0", "after undo the next start has the plan's arguments still");
    Ok(())
}

fn refused(_: &mut Lab<'_>, machine: &mut Machine, card: Card) -> Result<String> {
    let told = machine.wait_for_console("first-boot: the user data is no sound configuration", REFUSING)?;
    let console = machine.console();
    // The file, the line, the key, what was found and what is allowed.
    let what = console.lines().find(|line| line.contains("/240")).context("the console does not say what is wrong")?;
    ensure!(
        what.contains("/etc/tandem/tandem.toml.refused:") && what.contains("port[edge].addresses"),
        "the console does not name the file and the key: {what}"
    );
    machine.wait_reachable(REFUSING)?;
    let reached = machine.age();
    let journal = machine.run("journalctl --no-pager -o cat -u tandem-first-boot")?;
    ensure!(journal.contains("/240") && journal.contains("no sound configuration"), "the journal says: {journal}");
    let (state, _) = machine.ask("systemctl is-active tandem")?;
    ensure!(state == "inactive", "tandem is {state}");
    let driver = machine.run(&format!("basename $(readlink /sys/bus/pci/devices/{}/driver)", card.address()))?;
    ensure!(driver == card.driver(), "a machine that was not configured was tuned: {driver}");
    // What the line says is what helps.
    machine.run(&format!("sed 's|/240|/24|' {CONFIG}.refused >{CONFIG} && systemctl start tandem-tune tandem"))?;
    machine.wait_ready(Duration::from_secs(60))?;
    Ok(format!(
        "{what:?}, then {told:?}; reached by SSH {:.0} s after power-on, mended, and ready",
        reached.as_secs_f64()
    ))
}
