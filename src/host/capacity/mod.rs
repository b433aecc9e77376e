//! How many calls an instance carries, what they need there, and what binds first. A model, not a measurement: it
//! multiplies what is published or assumed of the instances (`instances`) with what calls ask for (`traffic`).
//!
//! Pure: no I/O, integers only, what is asked for rounded up and what is carried rounded down. It runs once, in the
//! short-lived process of `tandem plan`. A plan always carries its assumptions and sources with it.

pub mod instances;
#[cfg(test)]
mod tests;
pub mod traffic;

use serde::Serialize;

use crate::base::limits::{MAX_MEDIA_ADDRESSES, MAX_PORTS, MAX_WORKERS, PORT_REST};
use instances::{Instance, LARGEST_PACKETS_PER_S, QUEUE_PACKETS_PER_S, RSS_ENTRIES};
use traffic::{PerCall, RTCP_BYTES, Traffic};

/// What every answer says of itself.
pub const CAVEAT: &str = "A model, not a measurement";

/// Left to the kernel: the way in for whoever runs the instance.
const KERNEL_INTERFACES: u64 = 1;

/// The calls that are planned for and what is assumed of the host.
#[derive(Clone, Debug, Serialize)]
pub struct Model {
    pub traffic: Traffic,
    /// Pairs of media ports on one address.
    pub port_pairs_per_address: u64,
    pub cycles_per_packet: u64,
    /// On top, for a packet that is transcoded.
    pub transcode_cycles: u64,
    pub core_mhz: u64,
    /// Cores that do not poll: the slow path's and the one for everything else.
    pub reserved_cores: u64,
    /// Per cent of packets, bandwidth and cycles that stay unused.
    pub headroom_percent: u64,
    /// All media passes an internet gateway.
    pub internet_gateway: bool,
    /// Measured by the user; None: as assumed for the instance.
    pub packets_per_s: Option<u64>,
}

/// What can run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Cores that poll.
    Cores,
    /// Queues: one on each interface for each worker.
    Queues,
    /// The instance's packets, one way.
    Packets,
    /// The instance's bits, one way.
    Bandwidth,
    /// Media addresses, by the ports that each has.
    Addresses,
}

/// One resource of one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Budget {
    pub resource: Resource,
    /// What the instance has for media, headroom taken off.
    pub offers: u64,
    /// What the planned calls need there; None: no number of them is enough.
    pub needs: Option<u64>,
    /// The calls that this resource alone would carry.
    pub calls: u64,
}

/// What one kind of instance does for the planned calls.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    pub instance: Instance,
    /// The calls that one carries.
    pub carries: u64,
    pub binds_first: Resource,
    /// How many it takes for the calls asked for, and 1 where none were. None: it carries no call.
    pub instances: Option<u64>,
    /// Calls on each of those; `needs` are for so many.
    pub calls_each: u64,
    /// Each with a core and a queue of its own; None: no number of them is enough.
    pub workers: Option<u64>,
    /// Pairs of ports in use and resting.
    pub port_pairs: u64,
    pub interfaces: u64,
    pub packets_per_s: u64,
    pub bits_per_s: u64,
    /// In the order of `Resource`.
    pub budgets: [Budget; 5],
}

impl Plan {
    pub fn budget(&self, resource: Resource) -> Budget {
        self.budgets.into_iter().find(|budget| budget.resource == resource).unwrap_or(self.budgets[0])
    }
}

impl Model {
    /// `calls` on so many of this instance as they need, evenly; without `calls`, as many as one carries.
    pub fn plan(&self, instance: &Instance, calls: Option<u64>) -> Plan {
        let carries = self.tightest(instance).calls;
        let instances = (carries > 0).then(|| calls.map_or(1, |calls| calls.div_ceil(carries).max(1)));
        let calls_each = match (calls, instances) {
            (Some(calls), Some(instances)) => calls.div_ceil(instances),
            (Some(calls), None) => calls,
            (None, _) => carries,
        };
        let budgets = self.budgets(instance, calls_each);
        let addresses = self.addresses(calls_each);
        let [cores, queues, ..] = budgets;
        Plan {
            instance: *instance,
            carries,
            binds_first: self.tightest(instance).resource,
            instances,
            calls_each,
            workers: cores.needs.zip(queues.needs).map(|(cores, queues)| cores.max(queues)),
            port_pairs: self.traffic.port_pairs().of(calls_each),
            interfaces: addresses.div_ceil(instance.addresses_per_interface),
            packets_per_s: self.traffic.packets_per_s().of(calls_each),
            bits_per_s: self.traffic.bits_per_s().of(calls_each),
            budgets,
        }
    }

    /// Workers that this instance has room for: one physical core each on the interfaces' node, one queue each.
    pub fn workers(&self, instance: &Instance) -> u64 {
        let cores = instance.cores_on_one_node().saturating_sub(self.reserved_cores);
        cores.min(instance.queues_per_interface).min(MAX_WORKERS as u64)
    }

    /// Which resource carries the fewest calls, and how many; the first of equals.
    fn tightest(&self, instance: &Instance) -> Budget {
        let budgets = self.budgets(instance, 0);
        budgets.into_iter().min_by_key(|budget| budget.calls).unwrap_or(budgets[0])
    }

    fn budgets(&self, instance: &Instance, calls: u64) -> [Budget; 5] {
        let workers = self.workers(instance);
        let packets = self.traffic.packets_per_s();
        let bits = self.traffic.bits_per_s();
        let cycles = self.traffic.cycles_per_s(self.cycles_per_packet, self.transcode_cycles);
        let core = self.usable(self.core_mhz * 1_000_000);
        let queue = self.usable(QUEUE_PACKETS_PER_S);
        let instance_packets = self.usable(self.packets_per_s.unwrap_or_else(|| instance.packets_per_s()));
        let bandwidth = self.usable(instance.bits_per_s(self.internet_gateway));
        let addresses = offered_addresses(instance);
        let pairs = addresses * self.port_pairs_per_address;
        let spread = |resource, per_call: PerCall, each| Budget {
            resource,
            offers: workers,
            needs: shares_needed(per_call.of(calls), each),
            calls: per_call.within(spread_over(each, workers)),
        };
        let whole = |resource, per_call: PerCall, offers| Budget {
            resource,
            offers,
            needs: Some(per_call.of(calls)),
            calls: per_call.within(offers),
        };
        [
            spread(Resource::Cores, cycles, core),
            spread(Resource::Queues, packets, queue),
            whole(Resource::Packets, packets, instance_packets),
            whole(Resource::Bandwidth, bits, bandwidth),
            Budget {
                resource: Resource::Addresses,
                offers: addresses,
                needs: Some(self.addresses(calls)),
                calls: self.traffic.port_pairs().within(pairs),
            },
        ]
    }

    fn addresses(&self, calls: u64) -> u64 {
        self.traffic.port_pairs().of(calls).div_ceil(self.port_pairs_per_address.max(1))
    }

    fn usable(&self, all: u64) -> u64 {
        all * (100 - self.headroom_percent.min(100)) / 100
    }

    /// What was taken for granted, a sentence each.
    pub fn assumptions(&self) -> Vec<String> {
        let mut assumed = vec![
            format!(
                "a worker spends {} cycles on a packet, assumed and not measured (--cycles-per-packet)",
                self.cycles_per_packet
            ),
            format!(
                "{} more on one that is transcoded, assumed and not measured (--transcode-cycles)",
                self.transcode_cycles
            ),
            format!("a core runs at {} MHz (--core-mhz)", self.core_mhz),
            format!(
                "workers poll physical cores of the interfaces' NUMA node, never hyper-thread siblings; {} cores of it are \
                 kept for the slow path and for everything else (--reserved-cores)",
                self.reserved_cores
            ),
            format!("an ENA queue carries {QUEUE_PACKETS_PER_S} packets/s each way, assumed: AWS publishes none"),
        ];
        assumed.push(match self.packets_per_s {
            Some(rate) => format!("the instance is allowed {rate} packets/s each way: yours (--packets-per-s)"),
            None => format!(
                "c5n.18xlarge and c5n.metal are allowed {LARGEST_PACKETS_PER_S} packets/s each way, smaller ones the share \
                 that their vCPUs are of 72: AWS publishes no packet rate (--packets-per-s)"
            ),
        });
        assumed.extend([
            format!(
                "flows spread evenly over the {RSS_ENTRIES} entries of ENA's table; where the queues do not divide it, the \
                 busiest queue has an entry more"
            ),
            "all media is on one interface as far as queues go; one interface is left to the kernel".to_owned(),
            format!(
                "a leg takes two ports (RTP and RTCP), which rest {} s after a call of {} s on average (--mean-call-s)",
                PORT_REST.as_secs(),
                self.traffic.mean_call_s
            ),
            format!("an RTCP packet is {RTCP_BYTES} bytes on UDP; SIP, ARP and ICMP are too little to count"),
            "bandwidth is counted with Ethernet headers and without bursts; the bursts shown are assumed".to_owned(),
            "an interface of c5n.large has 2 queues, one of c5n.9xlarge 32; c5n.18xlarge and c5n.metal have two equal NUMA \
             nodes, the others one; an interface has as many IPv6 addresses as IPv4 ones"
                .to_owned(),
            "two legs a call, sound all the time both ways; a standby is not counted".to_owned(),
            "security groups do not track the media: their limits are not published".to_owned(),
        ]);
        if self.headroom_percent == 0 {
            assumed.push("no headroom: these are ceilings (--headroom-percent)".to_owned());
        } else {
            let percent = self.headroom_percent;
            assumed.push(format!("{percent} % of packets, bandwidth and cycles stay unused (--headroom-percent)"));
        }
        assumed
    }
}

fn offered_addresses(instance: &Instance) -> u64 {
    let interfaces = instance.interfaces.saturating_sub(KERNEL_INTERFACES).min(MAX_PORTS as u64);
    (interfaces * instance.addresses_per_interface).min(MAX_MEDIA_ADDRESSES as u64)
}

/// What `shares` queues or workers of `each` carry together when the busiest one is full.
fn spread_over(each: u64, shares: u64) -> u64 {
    if shares == 0 { 0 } else { each * RSS_ENTRIES / RSS_ENTRIES.div_ceil(shares) }
}

/// The fewest queues that carry so many packets each way; None: no number of them does.
pub fn queues_for(packets_per_s: u64) -> Option<u64> {
    shares_needed(packets_per_s, QUEUE_PACKETS_PER_S)
}

/// The fewest queues or workers of `each` that carry `all`. None: not even one for each entry of the table.
fn shares_needed(all: u64, each: u64) -> Option<u64> {
    (1..=RSS_ENTRIES).find(|&shares| all <= spread_over(each, shares))
}
