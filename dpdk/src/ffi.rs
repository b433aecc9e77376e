//! DPDK's C interface as bindgen reads it from the installed headers, by name (build.rs holds the list). Nothing
//! outside this crate sees it.

#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals, dead_code, unsafe_op_in_unsafe_fn)]
#![allow(clippy::all, clippy::undocumented_unsafe_blocks, unnecessary_transmutes)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
