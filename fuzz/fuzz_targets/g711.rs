//! G.711 conversion: every kernel as the scalar one, and nothing touched around the payload.
//!
//! The first byte is the law (its high bit) and how far the payload begins from an aligned address.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tandem::codec::{Kernel, Law};

const FENCE: u8 = 0xa5;

fuzz_target!(|input: (u8, &[u8])| {
    let (choice, data) = input;
    let law = if choice & 0x80 == 0 { Law::Mu } else { Law::A };
    let before = usize::from(choice & 0x7f);
    let mut results = Kernel::available().into_iter().map(|kernel| {
        let mut bytes = vec![FENCE; before + data.len() + 64];
        let payload = &mut bytes[before..before + data.len()];
        payload.copy_from_slice(data);
        let silent = kernel.is_silent(law, payload);
        let converted = match law {
            Law::Mu => kernel.mu_to_a(payload),
            Law::A => kernel.a_to_mu(payload),
        };
        assert_eq!(converted.silent, silent);
        (bytes, converted)
    });
    let scalar = results.next().expect("the scalar kernel is always there");
    let fence = |part: &[u8]| part.iter().all(|&byte| byte == FENCE);
    assert!(fence(&scalar.0[..before]) && fence(&scalar.0[before + data.len()..]));
    for other in results {
        assert_eq!(other, scalar);
    }
});
