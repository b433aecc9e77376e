//! What the kernel says of this process, read from `/proc` at scrape. What cannot be read is left out.

use std::fs;

use super::{MetricSink, Source, families};

#[derive(Debug, Default)]
pub struct ProcessMetrics;

impl ProcessMetrics {
    pub fn new() -> Self {
        ProcessMetrics
    }
}

impl Source for ProcessMetrics {
    fn collect(&self, sink: &mut MetricSink) {
        sink.gauge(&families::BUILD_INFO, &[("version", env!("TANDEM_VERSION"))], 1.0);
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            let mut gauge = |family, key, unit: f64| {
                if let Some(value) = field(&status, key) {
                    sink.gauge(family, &[], value * unit);
                }
            };
            // proc(5): sizes in /proc/PID/status are in kB of 1024 bytes.
            gauge(&families::PROCESS_RESIDENT, "VmRSS:", 1024.0);
            gauge(&families::PROCESS_VIRTUAL, "VmSize:", 1024.0);
            gauge(&families::PROCESS_THREADS, "Threads:", 1.0);
        }
        if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
            sink.gauge(&families::PROCESS_OPEN_FDS, &[], descriptors.count() as f64);
        }
    }
}

fn field(status: &str, key: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}
