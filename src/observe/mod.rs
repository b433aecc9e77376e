//! What tandem tells of itself: logs, call-detail records, metrics and health over HTTP, the local admin socket.
//!
//! Nothing here is touched by a worker. The slow path hands over values and never waits: records go through a bounded
//! queue, metrics are read at scrape by another thread, the admin socket is non-blocking.

pub mod admin;
pub mod cdr;
pub mod health;
pub mod http;
pub mod log;
pub mod metrics;

pub use cdr::CdrWriter;
pub use health::Health;
pub use http::HttpServer;
pub use metrics::{MetricSink, Registry, Source};
