//! `tandem plan`: what EC2 instances carry by the capacity model of `host::capacity`. Asks no running tandem.

use std::fmt::Write;

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
    value_parser,
};
use serde::Serialize;

use super::{
    CliError, Outcome,
    table::{Table, or_dash},
};
use crate::{
    config::PortRange,
    host::capacity::{
        Budget, CAVEAT, Model, Plan as Planned, Resource,
        instances::{C5N, Instance, SOURCES, Source},
        traffic::{CodecMix, Traffic},
    },
};

/// Say what EC2 instances carry and what binds first (a model, not a measurement)
///
/// Multiplies what is published of the instances with what calls ask for: packets, queues, cores, bandwidth, addresses
/// and ports. Nothing is measured. What AWS does not publish is assumed, and every answer lists what was assumed and
/// where the rest is from.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem plan                                              what each instance carries
  tandem plan --calls 50000                                how many of which it takes
  tandem plan --instance c5n.18xlarge --calls 40000        how much of it they use
  tandem plan --codecs g711=70,g711-transcoded=20,g729=10 --ptime-ms 30
  tandem --json plan --calls 50000 | jq '.plans[] | {name: .instance.name, instances, binds_first}'

Exit codes: 0 done; 2 wrong usage.")]
pub struct Plan {
    /// The instance type [default: each of the c5n family]
    #[arg(long, value_name = "TYPE", value_parser = instance_parser())]
    instance: Option<&'static Instance>,

    /// Two-leg calls at once [default: as many as an instance carries]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=100_000_000))]
    calls: Option<u64>,

    /// Milliseconds of sound in a packet
    #[arg(long, value_name = "MS", default_value_t = 20, value_parser = value_parser!(u64).range(10..=120))]
    ptime_ms: u64,

    /// Per cent of the calls for each codec: g711, g711-transcoded, g722, g729, or a number of payload bytes per packet
    #[arg(long, value_name = "CODEC=PERCENT,…", default_value = "g711=100")]
    codecs: CodecMix,

    /// IPv6 on both legs [default: IPv4]
    #[arg(long)]
    ipv6: bool,

    /// RTCP packets for each 1000 RTP packets; 4 is a report every 5 s beside packets of 20 ms
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = value_parser!(u64).range(0..=1000))]
    rtcp_per_mille: u64,

    /// How long a call lasts on average, in seconds: its ports rest 10 s after it
    #[arg(long, value_name = "S", default_value_t = 180, value_parser = value_parser!(u64).range(1..=86_400))]
    mean_call_s: u64,

    /// The ports on each media address (media.ports of the configuration)
    #[arg(long, value_name = "LOW-HIGH", default_value = "20000-59999", value_parser = port_range)]
    media_ports: PortRange,

    /// All media passes an internet gateway, which AWS gives less bandwidth [default: off]
    #[arg(long)]
    internet_gateway: bool,

    /// Cycles that a worker spends on a packet; the default is assumed, not measured
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = value_parser!(u64).range(1..=1_000_000))]
    cycles_per_packet: u64,

    /// Cycles on top for a packet that is transcoded; the default is assumed, not measured
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = value_parser!(u64).range(0..=1_000_000))]
    transcode_cycles: u64,

    /// Clock of a core, in MHz; the default is assumed
    #[arg(long, value_name = "MHZ", default_value_t = 3000, value_parser = value_parser!(u64).range(100..=10_000))]
    core_mhz: u64,

    /// Cores that do not poll: one for the slow path, one for everything else
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = value_parser!(u64).range(0..=64))]
    reserved_cores: u64,

    /// Per cent of packets, bandwidth and cycles to leave unused
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = value_parser!(u64).range(0..=99))]
    headroom_percent: u64,

    /// Packets per second each way that you measured on --instance [default: assumed, AWS publishes none]
    #[arg(long, value_name = "N", requires = "instance", value_parser = value_parser!(u64).range(1..=1_000_000_000))]
    packets_per_s: Option<u64>,
}

fn instance_parser() -> impl TypedValueParser<Value = &'static Instance> {
    PossibleValuesParser::new(C5N.iter().map(|instance| instance.name))
        .try_map(|name| Instance::named(&name).ok_or("no such instance"))
}

/// `20000-59999`, with at least one pair in it.
fn port_range(text: &str) -> Result<PortRange, String> {
    let range = text
        .split_once('-')
        .and_then(|(low, high)| Some(PortRange { low: low.parse().ok()?, high: high.parse().ok()? }))
        .ok_or("a range is LOW-HIGH, as in 20000-59999")?;
    if port_pairs(range) == 0 {
        return Err("there is no pair of ports, an even one and the next, in it".to_owned());
    }
    Ok(range)
}

/// Pairs of an even port and the next.
fn port_pairs(range: PortRange) -> u64 {
    let first_even = u64::from(range.low).next_multiple_of(2);
    (u64::from(range.high) + 1).saturating_sub(first_even) / 2
}

#[derive(Serialize)]
struct Report<'a> {
    caveat: &'static str,
    calls: Option<u64>,
    model: &'a Model,
    plans: Vec<Planned>,
    assumptions: Vec<String>,
    sources: &'static [Source],
}

impl Plan {
    pub fn execute(&self, json: bool) -> Result<Outcome, CliError> {
        let model = self.model();
        let instances = self.instance.map_or(&C5N[..], std::slice::from_ref);
        let report = Report {
            caveat: CAVEAT,
            calls: self.calls,
            plans: instances.iter().map(|instance| model.plan(instance, self.calls)).collect(),
            assumptions: model.assumptions(),
            sources: SOURCES,
            model: &model,
        };
        Outcome::show(json, &report, text)
    }

    fn model(&self) -> Model {
        Model {
            traffic: Traffic {
                ptime_ms: self.ptime_ms,
                codecs: self.codecs.clone(),
                ipv6: self.ipv6,
                rtcp_per_mille: self.rtcp_per_mille,
                mean_call_s: self.mean_call_s,
            },
            port_pairs_per_address: port_pairs(self.media_ports),
            cycles_per_packet: self.cycles_per_packet,
            transcode_cycles: self.transcode_cycles,
            core_mhz: self.core_mhz,
            reserved_cores: self.reserved_cores,
            headroom_percent: self.headroom_percent,
            internet_gateway: self.internet_gateway,
            packets_per_s: self.packets_per_s,
        }
    }
}

fn text(report: &Report<'_>) -> String {
    let traffic = &report.model.traffic;
    // Writing to a String does not fail.
    let calls = report.calls.map_or_else(String::new, |calls| format!("{calls} "));
    let mut text = format!(
        "{CAVEAT}: {calls}two-leg calls, {} ms a packet, {}, {}, {} RTCP packets for each 1000 RTP.\n\n",
        traffic.ptime_ms,
        traffic.codecs,
        if traffic.ipv6 { "IPv6" } else { "IPv4" },
        traffic.rtcp_per_mille,
    );
    match (&report.plans[..], report.calls) {
        ([plan], _) => text.push_str(&one(plan, report.model)),
        (plans, None) => text.push_str(&carried(plans, report.model)),
        (plans, Some(_)) => text.push_str(&fleets(plans, report.model)),
    }
    let _ = writeln!(text, "\nAssumed:");
    for assumption in &report.assumptions {
        let _ = writeln!(text, "  - {assumption}");
    }
    let _ = writeln!(text, "\nSources:");
    for Source { name, gives, url } in report.sources {
        let _ = writeln!(text, "  - {name}: {gives}\n    {url}");
    }
    text
}

/// What each instance carries.
fn carried(plans: &[Planned], model: &Model) -> String {
    let mut table = Table::new(&[
        "INSTANCE",
        "#VCPUS",
        "#GIB",
        "#GB/S",
        "#BURST*",
        "#ADDRESSES",
        "#QUEUES",
        "#WORKERS",
        "#MPPS*",
        "#CALLS",
        "BINDS FIRST",
    ]);
    for plan in plans {
        let instance = &plan.instance;
        table.row([
            instance.name.into(),
            instance.vcpus.to_string(),
            decimal(instance.memory_mib, 1_024, 2),
            decimal(instance.baseline_mbit_per_s, 1_000, 0),
            decimal(instance.burst_mbit_per_s, 1_000, 0),
            format!("{}x{}", instance.interfaces, instance.addresses_per_interface),
            instance.queues_per_interface.to_string(),
            model.workers(instance).to_string(),
            decimal(plan.budget(Resource::Packets).offers, 1_000_000, 2),
            plan.carries.to_string(),
            binding(plan),
        ]);
    }
    let note = "\nRates are each way; addresses are interfaces times IPv4 addresses on each, queues those of one interface; \
                * is assumed.\n";
    table.render() + note
}

/// How many of each instance the calls take, and what one of them then needs.
fn fleets(plans: &[Planned], model: &Model) -> String {
    let mut table = Table::new(&[
        "INSTANCE",
        "#TAKES",
        "#CALLS EACH",
        "#MPPS",
        "#GB/S",
        "#QUEUES",
        "#CORES",
        "#ADDRESSES",
        "#PORT PAIRS",
        "#INTERFACES",
        "BINDS FIRST",
    ]);
    for plan in plans {
        let Some(instances) = plan.instances else {
            let mut row = vec![plan.instance.name.to_owned()];
            row.resize(10, "-".into());
            row.push(binding(plan));
            table.row(row);
            continue;
        };
        table.row([
            plan.instance.name.into(),
            instances.to_string(),
            plan.calls_each.to_string(),
            decimal(plan.packets_per_s, 1_000_000, 2),
            decimal(plan.bits_per_s, 1_000_000_000, 2),
            or_dash(plan.workers),
            or_dash(plan.workers.map(|workers| workers + model.reserved_cores)),
            or_dash(plan.budget(Resource::Addresses).needs),
            plan.port_pairs.to_string(),
            plan.interfaces.to_string(),
            binding(plan),
        ]);
    }
    let note = format!(
        "\nFor one of the instances; rates are each way. One queue for each worker, cores with the {} that do not poll.\n",
        model.reserved_cores
    );
    table.render() + &note
}

/// One instance, resource by resource, the scarcest first.
fn one(plan: &Planned, model: &Model) -> String {
    let mut budgets = plan.budgets;
    // Stable: of equals, the one that is said to bind first stands first.
    budgets.sort_by_key(|budget| budget.calls);
    let mut table = Table::new(&["RESOURCE", "#OFFERS", "#NEEDED", "#CALLS IT WOULD CARRY"]);
    for Budget { resource, offers, needs, calls } in budgets {
        let shown = |amount: u64| match resource {
            Resource::Packets => format!("{} Mpps", decimal(amount, 1_000_000, 2)),
            Resource::Bandwidth => format!("{} Gb/s", decimal(amount, 1_000_000_000, 2)),
            _ => amount.to_string(),
        };
        table.row([label(resource).into(), shown(offers), or_dash(needs.map(shown)), calls.to_string()]);
    }
    let name = plan.instance.name;
    let binds = binding(plan);
    let each = plan.calls_each;
    let mut text = match plan.instances {
        None => format!("{name} carries no call. First binds: {binds}.\n"),
        Some(1) => format!("One {name} for {each} calls; it carries {}. First binds: {binds}.\n", plan.carries),
        Some(instances) => {
            format!(
                "{instances} of {name} for {each} calls each; one carries {}. First binds: {binds}.\n",
                plan.carries
            )
        }
    };
    let _ = writeln!(
        text,
        "Room for workers: {}. Cores on the interfaces' NUMA node: {}, of which {} do not poll. Queues on an interface: {}.",
        model.workers(&plan.instance),
        plan.instance.cores_on_one_node(),
        model.reserved_cores,
        plan.instance.queues_per_interface
    );
    if plan.instances.is_some() {
        let _ = writeln!(
            text,
            "Needed: workers {}, media interfaces {}, pairs of ports in use or resting {}; media.max_sessions and sip.max_calls \
             of {each} or more.",
            or_dash(plan.workers),
            plan.interfaces,
            plan.port_pairs
        );
    }
    text + "\n" + &table.render()
}

fn label(resource: Resource) -> &'static str {
    match resource {
        Resource::Cores => "cores that poll",
        Resource::Queues => "queues, one per worker",
        Resource::Packets => "packets each way",
        Resource::Bandwidth => "bandwidth each way",
        Resource::Addresses => "media addresses",
    }
}

fn binding(plan: &Planned) -> String {
    match plan.binds_first {
        Resource::Cores if plan.budget(Resource::Cores).offers == 0 => "cores: none is left to poll".into(),
        resource => label(resource).into(),
    }
}

/// `amount / unit` with so many places, rounded to the nearest.
fn decimal(amount: u64, unit: u64, places: u32) -> String {
    let scale = 10_u64.pow(places);
    let rounded = (u128::from(amount) * u128::from(scale) + u128::from(unit / 2)) / u128::from(unit);
    let (whole, part) = (rounded / u128::from(scale), rounded % u128::from(scale));
    if places == 0 { whole.to_string() } else { format!("{whole}.{part:0width$}", width = places as usize) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_counted_as_the_allotter_does() {
        let pairs = |low, high| port_pairs(PortRange { low, high });
        // 20000 to 59999 are 40,000 ports.
        assert_eq!(pairs(20_000, 59_999), 20_000);
        // 20001 and 20004 are alone: (20002, 20003) is left.
        assert_eq!(pairs(20_001, 20_004), 1);
        assert_eq!(pairs(20_000, 20_000), 0);
        assert_eq!(pairs(30_000, 20_000), 0);
        assert_eq!(pairs(0, 65_535), 32_768);
    }

    #[test]
    fn ranges_without_a_pair_are_refused() {
        assert_eq!(port_range("20000-59999"), Ok(PortRange { low: 20_000, high: 59_999 }));
        assert!(port_range("20000").is_err_and(|error| error.contains("LOW-HIGH")));
        assert!(port_range("20001-20002").is_err_and(|error| error.contains("no pair")));
        assert!(port_range("1-70000").is_err());
    }

    #[test]
    fn decimals_are_rounded_to_the_nearest() {
        assert_eq!(decimal(555_555, 1_000_000, 2), "0.56");
        assert_eq!(decimal(5_000_000, 1_000_000, 2), "5.00");
        assert_eq!(decimal(8_560_000_000, 1_000_000_000, 2), "8.56");
        assert_eq!(decimal(5_376, 1_024, 2), "5.25");
        assert_eq!(decimal(25_000, 1_000, 0), "25");
    }
}
