//! Each rule by itself, with the clock moved by hand; `simulation` is all of them together.

mod simulation;
