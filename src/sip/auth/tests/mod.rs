//! Digest authentication against published vectors, and text that survives being quoted.

mod quoted;
mod vectors;
