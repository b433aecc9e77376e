//! Each rule by itself, with the clock moved by hand; `simulation` is all of them together.

mod provider;
mod rig;
mod rules;
mod simulation;
mod sleep;
