//! What the pair looks like to Prometheus, read from the snapshot at scrape. Runs on the HTTP thread.

use std::sync::Arc;

use super::{
    heartbeat::Role,
    link::{Shared, Takeover},
};
use crate::observe::metrics::{MetricSink, Source, families as f};

#[derive(Debug)]
pub struct PairMeters(pub Arc<Shared>);

impl Source for PairMeters {
    fn collect(&self, sink: &mut MetricSink) {
        let status = self.0.read();
        for role in Role::ALL {
            sink.gauge(&f::HA_ROLE, &[("role", role.as_str())], f64::from(u8::from(role == status.role)));
        }
        sink.gauge(&f::HA_GENERATION, &[], status.generation.as_ref().map_or(0, |g| g.number) as f64);
        sink.gauge(&f::HA_READY, &[], f64::from(u8::from(status.ready)));
        sink.gauge(&f::HA_PEER_READY, &[], f64::from(u8::from(status.peer.ready && !status.peer.silent)));
        sink.gauge(&f::HA_LEASE_LEFT, &[], status.lease_left_s.unwrap_or(0.0));
        for path in &status.paths {
            let number = path.path.to_string();
            // A path that never carried one has no age; that it is absent is what to alert on.
            if let Some(age) = path.heard_s {
                sink.gauge(&f::HA_HEARTBEAT_AGE, &[("path", &number)], age);
            }
            sink.count(&f::HA_HEARTBEATS, &[("path", &number), ("result", "heard")], path.heard);
            sink.count(&f::HA_HEARTBEATS, &[("path", &number), ("result", "send_error")], path.send_errors);
            let refused = path.refused.iter().map(|count| (count.name.as_str(), count.count));
            sink.count_each(&f::HA_HEARTBEATS, &[("path", &number)], "result", refused);
        }
        if let Some(lag) = status.lag {
            sink.gauge(&f::HA_LAG_MESSAGES, &[], lag.messages as f64);
            sink.gauge(&f::HA_LAG, &[], lag.seconds);
        }
        sink.count_each(&f::HA_TAKEOVERS, &[], "cause", status.takeovers.iter().map(|c| (c.name.as_str(), c.count)));
        sink.count_each(&f::HA_STOPS, &[], "reason", status.stops.iter().map(|c| (c.name.as_str(), c.count)));
        sink.count(&f::HA_OVERSLEPT, &[], status.overslept);
        sink.count(&f::HA_CLAIMS_ABANDONED, &[], status.abandoned_claims);
        if let Some(last) = &status.last_takeover {
            for (part, seconds) in parts(last) {
                if let Some(seconds) = seconds {
                    sink.gauge(&f::HA_LAST_TAKEOVER, &[("part", part)], seconds);
                }
            }
        }
    }
}

/// A takeover by what it waited for.
pub fn parts(takeover: &Takeover) -> [(&'static str, Option<f64>); 4] {
    [
        ("detect", Some(takeover.detect_s)),
        ("claim", Some(takeover.claim_s)),
        ("announce", takeover.announce_s),
        ("first_packet", takeover.first_packet_s),
    ]
}
