//! The endpoint between scripted peers, without sockets and with a clock moved by hand. One file per behaviour.

mod admission;
mod basic;
mod cancel;
mod drain;
mod failover;
mod families;
mod harness;
mod load;
mod lossy;
mod media;
mod options_info;
mod overlap;
mod property;
mod refusal;
mod reinvite;
mod reliable;
mod restore;
mod routing;
