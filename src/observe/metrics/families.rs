//! Every metric that tandem exports. Names follow Prometheus' rules: a prefix, base units, `_total` for counters.
//! docs/operations.md lists them; a test holds the two together.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Debug)]
pub struct Family {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    /// The labels that every sample of it has, in order.
    pub labels: &'static [&'static str],
}

macro_rules! families {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $constant: Family =
                Family { name: $name, help: $help, kind: Kind::$kind, labels: &[$($label),*] };
        )*
        pub static ALL: &[&Family] = &[$(&$constant),*];
    };
}

families! {
    // Calls.
    CALLS = Counter "tandem_calls_total" [] "Calls that were offered: INVITEs that opened a call.";
    CALLS_ANSWERED = Counter "tandem_calls_answered_total" [] "Calls that got a 200.";
    CALLS_FAILED = Counter "tandem_calls_failed_total" ["cause"] "Calls that were refused or ended before an answer, by cause.";
    CALLS_ENDED = Counter "tandem_calls_ended_total" ["cause"] "Answered calls that ended, by cause.";
    CALLS_IN_PROGRESS = Gauge "tandem_calls_in_progress" [] "Calls between INVITE and BYE.";
    CALL_SETUP = Histogram "tandem_call_setup_seconds" [] "Time from INVITE to its 200.";
    CALL_JITTER = Histogram "tandem_call_jitter_seconds" [] "RFC 3550 interarrival jitter of each received RTP stream when its call ended.";
    CALL_LOSS = Histogram "tandem_call_loss_ratio" [] "Lost over expected packets of each received RTP stream when its call ended.";
    SIP_MESSAGES = Counter "tandem_sip_messages_total" ["direction", "kind"] "SIP messages by method or status.";
    SIP_RETRANSMISSIONS = Counter "tandem_sip_retransmissions_total" ["direction"] "SIP messages that repeat an earlier one.";
    SIP_REFUSED = Counter "tandem_sip_refused_total" ["reason"] "SIP input that opened nothing, by reason.";
    SIP_BANS = Gauge "tandem_sip_bans" ["by"] "Networks that are shut out from SIP, for offences and by the operator.";
    SIP_BANS_IMPOSED = Counter "tandem_sip_bans_imposed_total" ["offence"] "Bans that sources earned, by offence.";
    TLS_HANDSHAKES = Counter "tandem_tls_handshakes_total" ["direction", "result"] "Handshakes of TLS on connections from peers (in) and to them (out), by result.";
    TLS_CERTIFICATE_EXPIRY = Gauge "tandem_tls_certificate_expiry_timestamp_seconds" ["file"] "When a certificate that tandem shows expires, in seconds since 1970.";
    CALLS_ADMITTED_RATIO = Gauge "tandem_calls_admitted_ratio" [] "Of the new calls, what overload control takes: 1 is all.";
    TRUNK_CALLS = Gauge "tandem_trunk_calls" ["trunk", "direction"] "Calls in progress from (in) and to (out) a trunk.";
    TRUNK_REFUSED = Counter "tandem_trunk_refused_total" ["trunk", "direction", "limit"] "Calls that a limit of the trunk refused (in) or kept from it (out).";
    TRUNK_DESTINATION_CALLS = Gauge "tandem_trunk_destination_calls" ["trunk", "destination"] "Calls in progress at a destination of a trunk.";
    TRUNK_DESTINATION_UP = Gauge "tandem_trunk_destination_up" ["trunk", "destination"] "1 if a destination that is asked by OPTIONS is up.";
    TRUNK_DESTINATION_CHANGES = Counter "tandem_trunk_destination_changes_total" ["trunk", "destination", "to"] "Changes of a destination to up or down.";
    TRUNK_AUTH = Counter "tandem_trunk_auth_total" ["trunk", "direction", "result"] "Digest authentication with a trunk: its challenges (out) and the credentials it was to show (in).";
    TRUNK_REGISTERED = Gauge "tandem_trunk_registered" ["trunk"] "1 if tandem is registered with the trunk, 0 if it should be.";
    TRUNK_REGISTRATION_EXPIRES = Gauge "tandem_trunk_registration_expires_seconds" ["trunk"] "Until the registration runs out, unless it is renewed.";
    TRUNK_REGISTER = Counter "tandem_trunk_register_total" ["trunk", "result"] "REGISTER requests, by what they came to.";
    NG_COMMANDS = Counter "tandem_ng_commands_total" ["command", "result"] "Commands of the ng protocol, carried out or failed.";
    NG_REFUSED = Counter "tandem_ng_refused_total" ["reason"] "Commands of the ng protocol that were not carried out: not there, not readable, from elsewhere, for load, or answered from memory.";
    NG_CALLS = Counter "tandem_ng_calls_total" [] "Calls begun by the ng protocol.";
    NG_CALLS_IN_PROGRESS = Gauge "tandem_ng_calls_in_progress" [] "Calls of the ng protocol in progress.";
    NG_CALLS_TIMED_OUT = Counter "tandem_ng_calls_timed_out_total" ["timeout"] "Calls of the ng protocol that ended because nobody answered, or nobody spoke.";
    NG_CONNECTIONS = Gauge "tandem_ng_connections" [] "Connections of the ng protocol over TCP and HTTP.";
    CDR_RECORDS = Counter "tandem_cdr_records_total" ["result"] "Call-detail records written, dropped (queue full) or failed (file).";

    // Packets, counted by the workers.
    INJECTED_PACKETS = Counter "tandem_injected_packets_total" ["port", "worker"] "Frames of the kernel that a worker sent.";
    RX_PACKETS = Counter "tandem_rx_packets_total" ["port", "worker"] "Packets received.";
    RX_BYTES = Counter "tandem_rx_bytes_total" ["port", "worker"] "Bytes received, Ethernet header included.";
    TX_PACKETS = Counter "tandem_tx_packets_total" ["port", "worker"] "Packets given to the device.";
    TX_BYTES = Counter "tandem_tx_bytes_total" ["port", "worker"] "Bytes given to the device, Ethernet header included.";
    DROPPED_PACKETS = Counter "tandem_dropped_packets_total" ["port", "worker", "reason"] "Packets dropped, each for one reason.";
    PUNTED_PACKETS = Counter "tandem_punted_packets_total" ["port", "worker", "reason"] "Packets given to the kernel, each for one reason.";
    OFF_OWNER_PACKETS = Counter "tandem_off_owner_packets_total" ["worker"] "Packets forwarded by a worker that does not own the flow's state line.";
    TRANSCODED_PACKETS = Counter "tandem_transcoded_packets_total" ["worker"] "RTP packets converted between codecs.";
    WORKER_CYCLES = Counter "tandem_worker_cycles_total" ["worker", "state"] "TSC cycles spent busy (bursts with packets) and idle.";
    WORKER_STALLS = Counter "tandem_worker_stalls_total" ["worker"] "Times that a worker took no turn for half a second or more.";
    TSC_HERTZ = Gauge "tandem_tsc_hertz" [] "TSC cycles per second.";

    // Memory and queues.
    MEDIA_SESSIONS = Gauge "tandem_media_sessions" [] "Open media sessions.";
    MEDIA_SESSIONS_REFUSED = Counter "tandem_media_sessions_refused_total" ["reason"] "Media sessions that could not be opened.";
    MEDIA_TIMEOUTS = Counter "tandem_media_timeouts_total" [] "Calls in which no media came either way for media.timeout_s.";
    LATCHED = Counter "tandem_latched_total" [] "Streams that were latched to a source other than the signalled one, or back.";
    PLANS_PUBLISHED = Counter "tandem_plans_published_total" ["result"] "Plans handed to the workers, and those for which the flow table was full.";
    EXCEPTION_FRAMES = Counter "tandem_exception_frames_total" ["direction", "result"] "Frames between the workers and the kernel.";
    MEDIA_PORTS_FREE = Gauge "tandem_media_ports_free" [] "RTP/RTCP port pairs that can be allotted now.";
    FLOWS = Gauge "tandem_flows" [] "Flows with a published plan.";
    MEMPOOL_BUFFERS = Gauge "tandem_mempool_buffers" ["pool", "state"] "Packet buffers, free and used.";
    RING_ENTRIES = Gauge "tandem_ring_entries" ["ring"] "Entries that wait in a ring.";
    RING_CAPACITY = Gauge "tandem_ring_capacity" ["ring"] "Entries that a ring can hold.";
    QUEUE_DEPTH = Gauge "tandem_slow_queue_depth" ["queue"] "Items that wait for or in the slow path.";
    SLOW_LOOP = Histogram "tandem_slow_loop_seconds" [] "Time of one round of the slow path's loop, waiting excluded.";

    SLOW_LATE = Histogram "tandem_slow_late_seconds" ["of"] "How late each round of the slow path found what belongs to calls in progress, and the new calls that wait.";

    // Devices.
    PORT_LINK_UP = Gauge "tandem_port_link_up" ["port"] "1 if the device says that its link is up.";
    PORT_XSTAT = Gauge "tandem_port_xstat" ["port", "xstat"] "The driver's own statistics (DPDK xstats), as it names them.";
    PORT_ALLOWANCE_EXCEEDED = Counter "tandem_port_allowance_exceeded_total" ["port", "allowance"] "Packets queued or dropped by EC2 because the instance passed an allowance (ENA).";

    // The pair.
    HA_ROLE = Gauge "tandem_ha_role" ["role"] "1 for what this host is in its pair.";
    HA_GENERATION = Gauge "tandem_ha_generation" [] "The generation that this host is active under or claims, else the newest that it knows of.";
    HA_READY = Gauge "tandem_ha_ready" [] "1 if this host would take over without a loss.";
    HA_PEER_READY = Gauge "tandem_ha_peer_ready" [] "1 if the peer is heard and would take over without a loss.";
    HA_LEASE_LEFT = Gauge "tandem_ha_lease_left_seconds" [] "Until the workers would stop, were the pair thread to sleep now; 0: they do not transmit.";
    HA_HEARTBEAT_AGE = Gauge "tandem_ha_heartbeat_age_seconds" ["path"] "Since the last heartbeat that came on this path.";
    HA_HEARTBEATS = Counter "tandem_ha_heartbeats_total" ["path", "result"] "Heartbeats that were believed, and those that were not or could not be sent, by reason.";
    HA_LAG_MESSAGES = Gauge "tandem_ha_replication_lag_messages" [] "Changes that the standby has not acknowledged.";
    HA_LAG = Gauge "tandem_ha_replication_lag_seconds" [] "Age of the oldest of them.";
    HA_TAKEOVERS = Counter "tandem_ha_takeovers_total" ["cause"] "How often this host became active, by cause.";
    HA_STOPS = Counter "tandem_ha_stops_total" ["reason"] "How often it stopped being active, by reason.";
    HA_OVERSLEPT = Counter "tandem_ha_overslept_total" [] "How often the lease ran out on it while it was active.";
    HA_CLAIMS_ABANDONED = Counter "tandem_ha_claims_abandoned_total" [] "Claims that came to nothing because the peer was heard again.";
    HA_LAST_TAKEOVER = Gauge "tandem_ha_last_takeover_seconds" ["part"] "The last takeover of this host, split into what it waited for.";

    // This process.
    BUILD_INFO = Gauge "tandem_build_info" ["version"] "1; the label tells what runs.";
    PROCESS_RESIDENT = Gauge "process_resident_memory_bytes" [] "Resident memory.";
    PROCESS_VIRTUAL = Gauge "process_virtual_memory_bytes" [] "Virtual memory.";
    PROCESS_THREADS = Gauge "process_threads" [] "Threads of this process.";
    PROCESS_OPEN_FDS = Gauge "process_open_fds" [] "Open file descriptors.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    // Prometheus' "Metric and label naming": counters end in _total, units are seconds, bytes, ratio and stand last.
    #[test]
    fn names_follow_the_conventions() {
        let mut seen = HashSet::new();
        for family in ALL {
            let name = family.name;
            assert!(seen.insert(name), "{name} twice");
            assert!(name.starts_with("tandem_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), family.kind == Kind::Counter, "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
            assert!(!name.contains("milli") && !name.contains("_ms"), "{name}: base units only");
            assert!(family.help.ends_with('.') && !family.help.contains('\n'), "{name}: help is a sentence");
        }
    }

    #[test]
    fn operations_lists_every_metric_with_its_labels() {
        let text = include_str!("../../../docs/operations.md");
        for family in ALL {
            let named = format!("`{}`", family.name);
            let row = text.lines().find(|line| line.starts_with('|') && line.contains(&named));
            let row = row.unwrap_or_else(|| panic!("docs/operations.md lacks {}", family.name));
            let labels: Vec<&str> = row.split('|').nth(2).unwrap().split(',').map(str::trim).collect();
            let expected = if family.labels.is_empty() { &[""][..] } else { family.labels };
            assert_eq!(labels, expected, "{}", family.name);
        }
    }
}
