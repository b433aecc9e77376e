//! The worker on simulated ports: each test checks the output and the counters.

mod admission;
mod allocation;
mod forwarding;
mod lane;
mod lease;
mod punting;
mod rig;
mod stream;
