//! How the audio of calls was: jitter and loss of each received stream, noted when its call ends. Written by the slow
//! path, read at scrape.

use super::{Histogram, MetricSink, Source, families, histogram};
use crate::control::{LegReport, StreamReport};

#[derive(Debug)]
pub struct CallMetrics {
    jitter: Histogram,
    loss: Histogram,
}

impl Default for CallMetrics {
    fn default() -> Self {
        CallMetrics { jitter: Histogram::new(histogram::JITTER_SECONDS), loss: Histogram::new(histogram::LOSS_RATIO) }
    }
}

impl CallMetrics {
    /// The final figures of a call's media, answered or not.
    pub fn media(&self, legs: &[LegReport; 2]) {
        for stream in legs.iter().map(|leg| &leg.rtp).filter(|stream| stream.packets > 0) {
            self.jitter.observe(stream.jitter_ms / 1e3);
            self.loss.observe(loss_ratio(stream));
        }
    }
}

/// RFC 3550 §A.3: duplicates can make the loss negative; that counts as none.
fn loss_ratio(stream: &StreamReport) -> f64 {
    let lost = stream.lost.max(0) as f64;
    let expected = stream.packets as f64 + lost;
    if expected > 0.0 { lost / expected } else { 0.0 }
}

impl Source for CallMetrics {
    fn collect(&self, sink: &mut MetricSink) {
        sink.histogram(&families::CALL_JITTER, &[], &self.jitter);
        sink.histogram(&families::CALL_LOSS, &[], &self.loss);
    }
}
