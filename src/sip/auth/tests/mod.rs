//! Digest authentication against published vectors, text that survives being quoted, nonces by moved clocks.

mod quoted;
mod server;
mod vectors;
