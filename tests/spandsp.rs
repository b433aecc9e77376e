//! G.711 conversion against an implementation that no one here wrote: libspandsp's direct tables, called as a library.
//!
//! Needs Debian's libspandsp2. Without it the test fails and says so: it is not skipped, because it is the only proof
//! that the vectors in the tree are what that library gives.

#![allow(unsafe_code, clippy::panic, clippy::expect_used)]

use libloading::Library;
use tandem::codec::Kernel;

/// `uint8_t ulaw_to_alaw(uint8_t)` and its inverse, spandsp/g711.h.
type Convert = unsafe extern "C" fn(u8) -> u8;

/// The library's answers for all 256 codes.
fn spandsp(function: &str) -> [u8; 256] {
    // SAFETY: the library is Debian's, and loading it runs no code of consequence.
    let library = match unsafe { Library::new("libspandsp.so.2") } {
        Ok(library) => library,
        Err(error) => panic!("libspandsp.so.2 does not load: run `apt-get install libspandsp2` first ({error})"),
    };
    // SAFETY: both functions have this type in spandsp/g711.h of the library's version 2.
    let convert = unsafe { library.get::<Convert>(function) }.expect("libspandsp has the function");
    // SAFETY: a table look-up, defined for every byte.
    std::array::from_fn(|code| unsafe { convert(code as u8) })
}

fn every_code() -> [u8; 256] {
    std::array::from_fn(|code| code as u8)
}

#[test]
fn mu_law_to_a_law_equals_libspandsp_on_every_kernel() {
    let expected = spandsp("ulaw_to_alaw");
    for kernel in Kernel::available() {
        let mut codes = every_code();
        kernel.mu_to_a(&mut codes);
        assert_eq!(codes, expected, "{}", kernel.name());
    }
}

#[test]
fn a_law_to_mu_law_equals_libspandsp_on_every_kernel() {
    let expected = spandsp("alaw_to_ulaw");
    for kernel in Kernel::available() {
        let mut codes = every_code();
        kernel.a_to_mu(&mut codes);
        assert_eq!(codes, expected, "{}", kernel.name());
    }
}

#[test]
fn the_vectors_in_the_tree_are_libspandsps() {
    let (to_a, to_mu) = (spandsp("ulaw_to_alaw"), spandsp("alaw_to_ulaw"));
    let written: Vec<String> =
        (0..256).map(|code| format!("{code:02x} {:02x} {:02x}", to_a[code], to_mu[code])).collect();
    let file: Vec<&str> =
        include_str!("../src/codec/g711_vectors.txt").lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(file, written);
}
