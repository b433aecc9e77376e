//! What can go wrong at the edge, as sentences that name the port and say what to do.

#[derive(Debug, thiserror::Error)]
pub enum IoError {
    #[error(
        "cores.{key} names CPU {cpu}, but this process may run on CPUs {allowed}: change the configuration or the affinity"
    )]
    Cpu { key: &'static str, cpu: u16, allowed: String },
    #[error("cores.workers is empty: name at least one CPU that polls")]
    NoWorkers,
    #[error("DPDK did not start: {cause}. {hint}")]
    Start { cause: String, hint: &'static str },
    #[error("port `{port}`: no device `{device}`: {cause}. {hint}")]
    Device { port: String, device: String, cause: String, hint: &'static str },
    #[error(
        "port `{port}`: `{device}` has {queues} {direction} queue(s), but cores.workers asks for {workers}, one for each \
         worker: name fewer CPUs, or give the device more queues (net_af_packet: qpairs={workers})"
    )]
    TooFewQueues { port: String, device: String, direction: &'static str, queues: u16, workers: u16 },
    #[error(
        "port `{port}`: `{device}` spreads packets over {queues} queues, but there are {workers} worker(s), so some would \
         never be read: set qpairs={workers}, or name {queues} CPUs in cores.workers"
    )]
    UnreadQueues { port: String, device: String, queues: u16, workers: u16 },
    #[error("port `{port}`: `{device}` did not start: {cause}")]
    PortStart { port: String, device: String, cause: String },
    #[error(
        "dpdk.mbufs = {found} holds fewer buffers than queues and rings can keep at once: set it to {needed} or more, or \
         lower rx_descriptors and tx_descriptors"
    )]
    TooFewBuffers { found: u32, needed: u32 },
    #[error(
        "a pool of dpdk.mbufs = {mbufs} buffers was not to be had: {cause}. It takes about {needed_mb} MiB; dpdk.memory_mb = {memory_mb}: raise it, and the hugepages with it"
    )]
    Pool { mbufs: u32, cause: String, needed_mb: u64, memory_mb: u32 },
    #[error("{what} was not to be had: {cause}. Raise dpdk.memory_mb")]
    Memory { what: String, cause: String },
    #[error("worker {worker} could not be launched: {cause}")]
    Launch { worker: u8, cause: String },
    #[error("port `{port}`: the exception device `{device}` could not be made: {cause}. {hint}")]
    Exception { port: String, device: String, cause: String, hint: &'static str },
    #[error("port `{port}`: {what} could not be set: {cause}")]
    Address { port: String, what: String, cause: String },
    #[error("netlink, which tells routes and neighbours, cannot be opened: {0}")]
    Netlink(#[source] std::io::Error),
}
