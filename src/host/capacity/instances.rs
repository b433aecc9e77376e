//! What is known of the instances, and where from. A table; nothing runs here.
//!
//! Each figure stands under the source that was read for it. What no source gives is assumed, says so here, and is
//! printed as assumed with every plan.

use serde::Serialize;

/// An EC2 instance type. Rates hold for each way at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Instance {
    pub name: &'static str,
    /// Hyper-threads: two to a core. Source: karpenter.
    pub vcpus: u64,
    /// Source: karpenter.
    pub memory_mib: u64,
    /// What it may send and receive without end. Source: karpenter.
    pub baseline_mbit_per_s: u64,
    /// What it may send and receive for a while. Assumed; no plan counts on it.
    pub burst_mbit_per_s: u64,
    /// Network interfaces. Source: cni.
    pub interfaces: u64,
    /// Addresses on each, the first included. Source: cni for IPv4; assumed to be as many for IPv6.
    pub addresses_per_interface: u64,
    /// Queue pairs of one interface. Source: ena-queues; assumed for c5n.large and c5n.9xlarge.
    pub queues_per_interface: u64,
    /// Assumed: c5n.18xlarge has its CPUs 0 to 17 and 36 to 53 on node 0, and the same number on node 1; smaller ones
    /// have one node.
    pub numa_nodes: u64,
}

/// Assumed, see `pps`: AWS publishes no packet rate. Each way.
pub const LARGEST_PACKETS_PER_S: u64 = 5_000_000;
/// Assumed, see `pps`. Each way.
pub const QUEUE_PACKETS_PER_S: u64 = 1_000_000;
/// Entries of the table that spreads flows over queues. Source: ena-rss.
pub const RSS_ENTRIES: u64 = 128;
/// Source: bandwidth.
const GATEWAY_MBIT_PER_S: u64 = 5_000;
/// Source: bandwidth. From so many vCPUs on, half of the bandwidth may pass a gateway.
const GATEWAY_HALF_FROM_VCPUS: u64 = 32;
const LARGEST_VCPUS: u64 = 72;

impl Instance {
    pub fn named(name: &str) -> Option<&'static Instance> {
        C5N.iter().find(|instance| instance.name == name)
    }

    /// Assumed: the largest one's rate by the share of its vCPUs.
    pub fn packets_per_s(&self) -> u64 {
        LARGEST_PACKETS_PER_S * self.vcpus / LARGEST_VCPUS
    }

    pub fn cores(&self) -> u64 {
        self.vcpus / 2
    }

    /// Those on the interfaces' node: polling from the other node fetches each packet across the link between them.
    pub fn cores_on_one_node(&self) -> u64 {
        self.cores() / self.numa_nodes
    }

    /// Through an internet gateway or not.
    pub fn bits_per_s(&self, gateway: bool) -> u64 {
        let through_gateway = if self.vcpus >= GATEWAY_HALF_FROM_VCPUS {
            GATEWAY_MBIT_PER_S.max(self.baseline_mbit_per_s / 2)
        } else {
            GATEWAY_MBIT_PER_S
        };
        let mbit = if gateway { self.baseline_mbit_per_s.min(through_gateway) } else { self.baseline_mbit_per_s };
        mbit * 1_000_000
    }
}

#[rustfmt::skip]
pub const C5N: [Instance; 7] = [
    Instance { name: "c5n.large",    vcpus: 2,  memory_mib: 5_376,   baseline_mbit_per_s: 3_000,   burst_mbit_per_s: 25_000,
               interfaces: 3,  addresses_per_interface: 10, queues_per_interface: 2,  numa_nodes: 1 },
    Instance { name: "c5n.xlarge",   vcpus: 4,  memory_mib: 10_752,  baseline_mbit_per_s: 5_000,   burst_mbit_per_s: 25_000,
               interfaces: 4,  addresses_per_interface: 15, queues_per_interface: 4,  numa_nodes: 1 },
    Instance { name: "c5n.2xlarge",  vcpus: 8,  memory_mib: 21_504,  baseline_mbit_per_s: 10_000,  burst_mbit_per_s: 25_000,
               interfaces: 4,  addresses_per_interface: 15, queues_per_interface: 8,  numa_nodes: 1 },
    Instance { name: "c5n.4xlarge",  vcpus: 16, memory_mib: 43_008,  baseline_mbit_per_s: 15_000,  burst_mbit_per_s: 25_000,
               interfaces: 8,  addresses_per_interface: 30, queues_per_interface: 16, numa_nodes: 1 },
    Instance { name: "c5n.9xlarge",  vcpus: 36, memory_mib: 98_304,  baseline_mbit_per_s: 50_000,  burst_mbit_per_s: 50_000,
               interfaces: 8,  addresses_per_interface: 30, queues_per_interface: 32, numa_nodes: 1 },
    Instance { name: "c5n.18xlarge", vcpus: 72, memory_mib: 196_608, baseline_mbit_per_s: 100_000, burst_mbit_per_s: 100_000,
               interfaces: 15, addresses_per_interface: 50, queues_per_interface: 32, numa_nodes: 2 },
    Instance { name: "c5n.metal",    vcpus: 72, memory_mib: 196_608, baseline_mbit_per_s: 100_000, burst_mbit_per_s: 100_000,
               interfaces: 15, addresses_per_interface: 50, queues_per_interface: 32, numa_nodes: 2 },
];

/// Where figures are from.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Source {
    pub name: &'static str,
    pub gives: &'static str,
    pub url: &'static str,
}

pub const SOURCES: &[Source] = &[
    Source {
        name: "karpenter",
        gives: "vCPUs, memory, baseline bandwidth: AWS's own list, made from the EC2 API and its documentation",
        url: "https://github.com/aws/karpenter-provider-aws/blob/main/website/content/en/docs/reference/instance-types.md",
    },
    Source {
        name: "cni",
        gives: "interfaces, and IPv4 addresses on each: AWS's own list, made from the EC2 API",
        url: "https://github.com/aws/amazon-vpc-cni-k8s/blob/master/pkg/vpc/vpc_ip_resource_limit.go",
    },
    Source {
        name: "bandwidth",
        gives: "bandwidth holds for each way at once; 5 Gb/s through an internet gateway, from 32 vCPUs on half of it all",
        url: "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-network-bandwidth.html",
    },
    Source {
        name: "ena-queues",
        gives: "queues of an interface, as users saw them: c5n.xlarge 4",
        url: "https://github.com/amzn/amzn-drivers/issues/185",
    },
    Source { name: "ena-queues", gives: "c5n.2xlarge 8", url: "https://github.com/amzn/amzn-drivers/issues/264" },
    Source {
        name: "ena-queues",
        gives: "c5n.4xlarge 14 or more, taken as one for each vCPU",
        url: "https://github.com/amzn/amzn-drivers/issues/149",
    },
    Source {
        name: "ena-queues, ena-rss",
        gives: "c5n.18xlarge or c5n.metal 32; the table that spreads flows has 128 entries",
        url: "https://github.com/amzn/amzn-drivers/issues/263",
    },
    Source {
        name: "pps",
        gives: "reported, not published: about 5 Mpps on c5n.9xlarge and 2.5 on c5n.4xlarge, the way not told; the rates \
                assumed here, in and out together, are no higher",
        url: "https://github.com/amzn/amzn-drivers/issues/138",
    },
];
