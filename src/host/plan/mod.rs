//! What tandem would do with a machine: which CPU runs what, on which node memory lies, which driver takes which port, how
//! the kernel is started. Each choice comes with a sentence that says why; a machine that does not serve gets a sentence that
//! says what to do.
//!
//! Pure: from a picture of the machine and what is wished for to a plan. `tandem tune` shows it and brings the machine into
//! its state, `tandem run` takes its cores. The same picture and wish always give the same plan.

pub mod cores;
mod kernel;
pub mod memory;
pub mod ports;

use serde::Serialize;

use self::{cores::Seats, memory::MemoryPlan, ports::PortPlan};
use super::{CpuSet, capacity::instances::Instance, picture::Picture};

/// What the machine is wanted for. Nothing but a wish: what it cannot give is told.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    pub ports: Vec<WishedPort>,
    /// The node to run on; None: that of the ports.
    pub node: Option<u16>,
    pub load: Load,
    /// So many workers; None: as many as the load takes.
    pub workers: Option<u16>,
    /// CPUs that may be used; None: all that are online.
    pub allowed: Option<CpuSet>,
    pub memory: memory::Demand,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WishedPort {
    /// A PCI function, by its address or its interface's name.
    Function(String),
    /// A virtual device of DPDK's: it has no driver to bind and no node.
    Virtual(String),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Load {
    /// What the machine is taken to carry.
    #[default]
    Any,
    /// Two-leg calls with packets of 20 ms.
    Calls(u64),
    /// Each way.
    PacketsPerS(u64),
}

#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// What the firmware calls the machine.
    pub machine: Option<String>,
    /// Where workers, slow path, buffers and tables are.
    pub node: u16,
    pub ports: Vec<PortPlan>,
    pub seats: Seats,
    pub memory: MemoryPlan,
    /// What the kernel has to be started with.
    pub arguments: Vec<Argument>,
    pub settings: Settings,
    /// Everything above in words, in the order it is decided.
    pub choices: Vec<Choice>,
}

/// One decision: `workers`, `8: CPUs 3-10`, and the sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Choice {
    pub what: String,
    pub value: String,
    pub why: String,
}

/// An argument of the kernel's command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Argument {
    pub text: String,
    pub why: String,
}

/// What is set while the machine runs, where it has such a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// The CPUs have a frequency governor: `performance`.
    pub governor: bool,
    /// The CPUs have idle states: only those that wake at once, on tandem's cores.
    pub idle_states: bool,
    /// irqbalance runs, and would bring interrupts back: stopped.
    pub irqbalance: bool,
    /// Transparent hugepages are made without being asked for: only where a program asks.
    pub transparent_hugepages: bool,
}

/// Something about the machine that is not as it should be, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// `port eth1`, `node 0`.
    pub about: String,
    /// Sentences: what is wrong, what it costs, what to do.
    pub says: String,
    /// There is no plan because of it.
    pub grave: bool,
}

/// A plan, unless a trouble is grave.
#[derive(Clone, Debug, Serialize)]
pub struct Planning {
    pub plan: Option<Plan>,
    pub troubles: Vec<Trouble>,
}

/// Troubles as they are found.
#[derive(Default)]
struct Troubles(Vec<Trouble>);

impl Troubles {
    fn grave(&mut self, about: impl Into<String>, says: impl Into<String>) {
        self.0.push(Trouble { about: about.into(), says: says.into(), grave: true });
    }

    fn warn(&mut self, about: impl Into<String>, says: impl Into<String>) {
        self.0.push(Trouble { about: about.into(), says: says.into(), grave: false });
    }
}

/// Decisions in the order they are made.
#[derive(Default)]
struct Choices(Vec<Choice>);

impl Choices {
    fn note(&mut self, what: impl Into<String>, value: impl Into<String>, why: impl Into<String>) {
        self.0.push(Choice { what: what.into(), value: value.into(), why: why.into() });
    }
}

/// The plan for this machine, or what stands against one.
pub fn plan(picture: &Picture, wish: &Wish) -> Planning {
    let (mut troubles, mut choices) = (Troubles::default(), Choices::default());
    let plan = try_plan(picture, wish, &mut troubles, &mut choices);
    let grave = troubles.0.iter().any(|trouble| trouble.grave);
    Planning { plan: plan.filter(|_| !grave).map(|plan| Plan { choices: choices.0, ..plan }), troubles: troubles.0 }
}

fn try_plan(picture: &Picture, wish: &Wish, troubles: &mut Troubles, choices: &mut Choices) -> Option<Plan> {
    offline(picture, troubles);
    let functions = ports::choose(picture, wish, troubles);
    let node = ports::node(picture, wish, &functions, troubles, choices)?;
    let ports = ports::plan(picture, &functions, node, troubles, choices);
    let room = ports::queues(picture, &functions);
    let seats = cores::seat(picture, wish, node, room, troubles, choices)?;
    ports::spread(&seats, choices);
    let memory = memory::plan(picture, &wish.memory, node, seats.workers.len() as u16, troubles, choices);
    let settings = kernel::settings(picture, choices);
    let arguments = kernel::arguments(picture, &seats, &memory, &ports, troubles, choices);
    Some(Plan {
        machine: picture.product.clone(),
        node,
        ports,
        seats,
        memory,
        arguments,
        settings,
        choices: Vec::new(),
    })
}

/// CPUs that are switched off are no part of any plan; whoever did not mean to should know.
fn offline(picture: &Picture, troubles: &mut Troubles) {
    let offline = picture.offline();
    if !offline.is_empty() {
        troubles.warn(
            "CPUs",
            format!(
                "CPUs {offline} are offline and were not planned with; bring them back (echo 1 > \
                 /sys/devices/system/cpu/cpuN/online, or without nosmt and maxcpus on the kernel's command line) if that was \
                 not meant."
            ),
        );
    }
}

fn instance(picture: &Picture) -> Option<&'static Instance> {
    picture.product.as_deref().and_then(Instance::named)
}

/// `CPU 3` or `CPUs 3-10`.
pub fn named(cpus: &CpuSet) -> String {
    if cpus.len() == 1 { format!("CPU {cpus}") } else { format!("CPUs {cpus}") }
}

/// `1 worker`, `8 workers`.
fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
