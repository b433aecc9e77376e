//! Metrics: `Source`s hold counters where they are counted; the `Registry` asks them at scrape, on the HTTP thread, and
//! writes Prometheus' text format. Nothing is looked up or labelled while packets pass.
//!
//! Names, types and help texts stand in `families`, and nowhere else.

pub mod calls;
pub mod families;
pub mod histogram;
pub mod process;
pub mod sink;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus::TextEncoder;

pub use calls::CallMetrics;
pub use families::{Family, Kind};
pub use histogram::Histogram;
pub use process::ProcessMetrics;
pub use sink::MetricSink;

/// Something that counts. `collect` runs on the HTTP thread, so it reads atomics or takes a lock that no packet and no
/// call waits for.
pub trait Source: Send + Sync {
    fn collect(&self, sink: &mut MetricSink);
}

/// A closure is a source: for figures that are read from somewhere else at scrape.
impl<F: Fn(&mut MetricSink) + Send + Sync> Source for F {
    fn collect(&self, sink: &mut MetricSink) {
        self(sink);
    }
}

/// All sources of this process.
#[derive(Default)]
pub struct Registry {
    sources: Mutex<Vec<Arc<dyn Source>>>,
}

impl Registry {
    /// With what every process tells: build and process figures.
    pub fn new() -> Self {
        let registry = Registry::default();
        registry.add(Arc::new(ProcessMetrics::new()));
        registry
    }

    pub fn add(&self, source: Arc<dyn Source>) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    /// The page that `/metrics` answers with.
    pub fn page(&self) -> Result<String, prometheus::Error> {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut sink = MetricSink::default();
        for source in &sources {
            source.collect(&mut sink);
        }
        TextEncoder::new().encode_to_string(&sink.into_families())
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner).len();
        f.debug_struct("Registry").field("sources", &sources).finish()
    }
}

#[cfg(test)]
mod tests;
