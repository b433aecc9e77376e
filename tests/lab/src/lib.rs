//! tandem's laboratory as a library: namespaces, phones and what the far end heard, for the `tandem-lab` program and for
//! the benchmarks. Nothing that it makes is left behind, however the program ends.

pub mod appliance;
pub mod book;
pub mod by_hand;
pub mod cleanup;
pub mod cloud;
pub mod connected;
pub mod demo;
pub mod frame;
pub mod guest;
pub mod inject;
pub mod kamailio;
pub mod lab;
pub mod law;
pub mod net;
pub mod ng;
pub mod pair;
pub mod process;
pub mod runner;
pub mod scenarios;
pub mod script;
pub mod sip;
pub mod sipp;
pub mod speech;
pub mod storm;
pub mod sys;
pub mod talk;
pub mod talker;
pub mod tap;
pub mod topology;
pub mod verdict;
pub mod wave;
