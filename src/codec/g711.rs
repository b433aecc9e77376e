//! G.711: μ-law ↔ A-law by the Recommendation's own tables 3 and 4, the payload's checksum difference, and silence.
//!
//! The conversion is code to code. Expanding to linear and compressing again gives other codes in places, and so do
//! some well-known tools; the Recommendation's tables are the ones that networks agree on.
//!
//! Always holds: every kernel gives the same bytes, sums and silence for every input; the sign of a sample never
//! changes; a conversion never changes whether a payload is silent. Runs on the workers; allocates nothing.

#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Ssse3, Vbmi};

/// The companding law of a G.711 payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Law {
    /// μ-law, PCMU, RTP payload type 0.
    Mu,
    /// A-law, PCMA, RTP payload type 8.
    A,
}

/// What a conversion tells about the payload it converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Converted {
    /// What the payload's one's complement sum of 16-bit words (RFC 1071) grew by: RFC 1624's ~m + m', folded. Byte 0 is
    /// the high byte of the first word, and an odd last byte is padded with a zero byte. Never 0: where nothing changed
    /// in sum it is 0xffff, which is the other zero.
    pub difference: u16,
    /// As [`Kernel::is_silent`] says, before and after alike.
    pub silent: bool,
}

/// The instructions used to convert: chosen once, at start, and passed along by value.
#[derive(Clone, Copy, Debug)]
pub struct Kernel(Path);

#[derive(Clone, Copy, Debug)]
enum Path {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Ssse3(Ssse3),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Vbmi(Vbmi),
}

impl Path {
    /// Every path this CPU runs, in order of speed.
    fn all() -> impl Iterator<Item = Path> {
        #[cfg(target_arch = "x86_64")]
        let vectors =
            [Ssse3::detect().map(Path::Ssse3), Avx2::detect().map(Path::Avx2), Vbmi::detect().map(Path::Vbmi)];
        #[cfg(not(target_arch = "x86_64"))]
        let vectors: [Option<Path>; 0] = [];
        std::iter::once(Path::Scalar).chain(vectors.into_iter().flatten())
    }
}

impl Kernel {
    /// The fastest kernel this CPU runs.
    pub fn detect() -> Kernel {
        Kernel(Path::all().last().unwrap_or(Path::Scalar))
    }

    /// Every kernel this CPU runs, the scalar one first and the fastest last. For tests and benchmarks.
    pub fn available() -> Vec<Kernel> {
        Path::all().map(Kernel).collect()
    }

    pub fn name(self) -> &'static str {
        match self.0 {
            Path::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Path::Ssse3(_) => "ssse3",
            #[cfg(target_arch = "x86_64")]
            Path::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Path::Vbmi(_) => "avx512vbmi",
        }
    }

    /// Converts a μ-law payload to A-law where it lies.
    pub fn mu_to_a(self, payload: &mut [u8]) -> Converted {
        self.convert(&MU_TO_A, payload)
    }

    /// Converts an A-law payload to μ-law where it lies.
    pub fn a_to_mu(self, payload: &mut [u8]) -> Converted {
        self.convert(&A_TO_MU, payload)
    }

    /// Whether every sample is within ±7 of zero on μ-law's 14-bit scale (±8159), which is within ±3 on A-law's
    /// 13-bit scale (±4096), or ±31 in 16-bit linear: 60 dB below full scale.
    ///
    /// On μ-law these are the four smallest magnitudes (0, 2, 4, 6), on A-law the two smallest (1, 3), and the tables
    /// map the one set onto the other. This is digital silence and idle-channel noise, as a muted or broken source
    /// sends it, and not the pauses of speech in a room. An empty payload is silent.
    #[inline]
    pub fn is_silent(self, law: Law, payload: &[u8]) -> bool {
        // Sound shows in the first samples as a rule: then the rest need not be looked at.
        if let Some(first) = payload.first_chunk::<8>() {
            let (mask, value) = EIGHT_QUIET[law as usize];
            if (u64::from_ne_bytes(*first) ^ value) & mask != 0 {
                return false;
            }
        }
        self.is_all_quiet(law.quiet(), payload)
    }

    #[inline(never)]
    fn is_all_quiet(self, quiet: Quiet, payload: &[u8]) -> bool {
        match self.0 {
            Path::Scalar => quiet.holds_for(payload),
            // SSE2, which is all this takes, is in every x86-64: the compiler makes a vector loop of the plain one.
            #[cfg(target_arch = "x86_64")]
            Path::Ssse3(_) => quiet.holds_for(payload),
            #[cfg(target_arch = "x86_64")]
            Path::Avx2(avx2) => avx2.is_silent(quiet, payload),
            #[cfg(target_arch = "x86_64")]
            Path::Vbmi(vbmi) => vbmi.is_silent(quiet, payload),
        }
    }

    fn convert(self, conversion: &Conversion, payload: &mut [u8]) -> Converted {
        let mut tally = Tally::default();
        match self.0 {
            Path::Scalar => tally.add(conversion, payload),
            #[cfg(target_arch = "x86_64")]
            Path::Ssse3(ssse3) => ssse3.convert(conversion, payload, &mut tally),
            #[cfg(target_arch = "x86_64")]
            Path::Avx2(avx2) => avx2.convert(conversion, payload, &mut tally),
            #[cfg(target_arch = "x86_64")]
            Path::Vbmi(vbmi) => vbmi.convert(conversion, payload, &mut tally),
        }
        tally.converted(conversion)
    }
}

impl Law {
    const fn quiet(self) -> Quiet {
        match self {
            // Levels 0..=3. Codes run downwards from 0x7f and 0xff, so these are the four with all of 0x7c set.
            Law::Mu => Quiet { mask: 0x7c, value: 0x7c },
            // Levels 1 and 2, number 0 and 1 before the inversion of even bits: all but the lowest bit as in 0x55.
            Law::A => Quiet { mask: 0x7e, value: 0x54 },
        }
    }
}

/// The codes near zero: those whose masked bits have one value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quiet {
    pub mask: u8,
    pub value: u8,
}

/// The masks and values of eight codes side by side, by law.
static EIGHT_QUIET: [(u64, u64); 2] = [Law::Mu.quiet().eightfold(), Law::A.quiet().eightfold()];

impl Quiet {
    const fn eightfold(self) -> (u64, u64) {
        (u64::from_ne_bytes([self.mask; 8]), u64::from_ne_bytes([self.value; 8]))
    }

    pub fn holds_for(self, payload: &[u8]) -> bool {
        // One pass without an early exit: the compiler makes it a vector loop, and payloads are short.
        payload.iter().fold(0, |seen, &code| seen | (code ^ self.value)) & self.mask == 0
    }
}

/// One direction of conversion, laid out for every kernel.
#[repr(C, align(64))]
pub(super) struct Conversion {
    /// Result for a code without its sign bit. The sign bit (0x80, set for positive, in both laws) stays as it is.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub magnitude: [[u8; 64]; 2],
    /// The same in rows of 16, each row xor-ed with the one before.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub chained: [[u8; 16]; 8],
    /// Result for a whole code.
    pub code: [u8; 256],
    /// Silence in the law that is converted from.
    pub quiet: Quiet,
}

static MU_TO_A: Conversion = Conversion::new(mu_to_a_magnitudes(), Law::Mu);
static A_TO_MU: Conversion = Conversion::new(a_to_mu_magnitudes(), Law::A);

impl Conversion {
    const fn new(magnitude: [u8; 128], from: Law) -> Conversion {
        let mut halves = [[0; 64]; 2];
        let mut chained = [[0; 16]; 8];
        let mut code = [0; 256];
        let mut i = 0;
        while i < 128 {
            halves[i / 64][i % 64] = magnitude[i];
            chained[i / 16][i % 16] = if i < 16 { magnitude[i] } else { magnitude[i] ^ magnitude[i - 16] };
            code[i] = magnitude[i];
            code[i | 0x80] = magnitude[i] | 0x80;
            i += 1;
        }
        Conversion { magnitude: halves, chained, code, quiet: from.quiet() }
    }
}

const fn mu_to_a_magnitudes() -> [u8; 128] {
    let mut out = [0; 128];
    let mut mu_level = 0;
    while mu_level < 128 {
        // G.711 table 2a: μ-law codes run downwards, level 0 is 0x7f or 0xff. Table 1a: A-law level 1 is code 0 before
        // the even bits are inverted.
        out[0x7f - mu_level] = (TABLE_3_MU_TO_A[mu_level] - 1) ^ 0x55;
        mu_level += 1;
    }
    out
}

const fn a_to_mu_magnitudes() -> [u8; 128] {
    let mut out = [0; 128];
    let mut a_level = 1;
    while a_level <= 128 {
        out[(a_level - 1) ^ 0x55] = 0x7f - TABLE_4_A_TO_MU[a_level - 1];
        a_level += 1;
    }
    out
}

/// G.711 table 3: for each μ-law decoder value number, 0 to 127, the A-law decoder value number, 1 to 128.
#[rustfmt::skip]
const TABLE_3_MU_TO_A: [u8; 128] = [
    1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8,
    9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24,
    25, 27, 29, 31, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44,
    46, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62,
    64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79,
    80, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95, 96,
    97, 98, 99, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112,
    113, 114, 115, 116, 117, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127, 128,
];

/// G.711 table 4: for each A-law decoder value number, 1 to 128, the μ-law decoder value number, 0 to 127.
#[rustfmt::skip]
const TABLE_4_A_TO_MU: [u8; 128] = [
    1, 3, 5, 7, 9, 11, 13, 15, 16, 17, 18, 19, 20, 21, 22, 23,
    24, 25, 26, 27, 28, 29, 30, 31, 32, 32, 33, 33, 34, 34, 35, 35,
    36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 48, 49, 49,
    50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 64,
    65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80,
    80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95,
    96, 97, 98, 99, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111,
    112, 113, 114, 115, 116, 117, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127,
];

/// What one pass over a payload gathers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// The sum of the new 16-bit words less that of the old ones, exact.
    pub difference: i64,
    /// Every bit that was ever unlike the quiet value.
    pub unlike: u8,
}

impl Tally {
    /// Converts and adds bytes that begin on a word's high byte.
    pub fn add(&mut self, conversion: &Conversion, payload: &mut [u8]) {
        let (words, rest) = payload.as_chunks_mut::<2>();
        // High and low bytes are summed apart: as words they would be put together for each sample.
        let (mut old, mut new, mut unlike) = ([0i64; 2], [0i64; 2], 0);
        for word in words {
            for (i, code) in word.iter_mut().enumerate() {
                old[i] += i64::from(*code);
                unlike |= *code ^ conversion.quiet.value;
                *code = conversion.code[usize::from(*code)];
                new[i] += i64::from(*code);
            }
        }
        self.difference += ((new[0] - old[0]) << 8) + new[1] - old[1];
        self.unlike |= unlike;
        for last in rest {
            self.difference -= i64::from(*last) << 8;
            self.unlike |= *last ^ conversion.quiet.value;
            *last = conversion.code[usize::from(*last)];
            self.difference += i64::from(*last) << 8;
        }
    }

    fn converted(&self, conversion: &Conversion) -> Converted {
        // RFC 1071: sums are counted modulo 0xffff.
        let difference = self.difference.rem_euclid(0xffff) as u16;
        Converted {
            difference: if difference == 0 { 0xffff } else { difference },
            silent: self.unlike & conversion.quiet.mask == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071 §2 (2): the carries go back in at the low end until none is left.
    fn fold(mut sum: u64) -> u16 {
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        sum as u16
    }

    /// (code, μ→A, A→μ) for all 256 codes; where they come from is said at the top of the file.
    fn vectors() -> Vec<(u8, u8, u8)> {
        let rows: Vec<_> = include_str!("g711_vectors.txt")
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let byte = |i: usize| u8::from_str_radix(line.split(' ').nth(i).unwrap(), 16).unwrap();
                (byte(0), byte(1), byte(2))
            })
            .collect();
        assert_eq!(rows.len(), 256);
        rows
    }

    #[test]
    fn all_512_codes_convert_as_the_tables_say() {
        for kernel in Kernel::available() {
            let mut to_a: Vec<u8> = vectors().iter().map(|v| v.0).collect();
            let mut to_mu = to_a.clone();
            assert_eq!(to_a, (0..=255).collect::<Vec<u8>>());
            kernel.mu_to_a(&mut to_a);
            kernel.a_to_mu(&mut to_mu);
            for (code, a, mu) in vectors() {
                let i = usize::from(code);
                assert_eq!((to_a[i], to_mu[i]), (a, mu), "{}: code {code:#04x}", kernel.name());
                // And alone, so that the ends of the vector loops are tried with every code too.
                let (mut one_a, mut one_mu) = ([code], [code]);
                kernel.mu_to_a(&mut one_a);
                kernel.a_to_mu(&mut one_mu);
                assert_eq!((one_a, one_mu), ([a], [mu]), "{}: code {code:#04x} alone", kernel.name());
            }
        }
    }

    fn convert_from(kernel: Kernel, law: Law, payload: &mut [u8]) -> Converted {
        match law {
            Law::Mu => kernel.mu_to_a(payload),
            Law::A => kernel.a_to_mu(payload),
        }
    }

    /// One's complement sum by the letter of RFC 1071 §1: 16-bit words added one by one, each carry added back.
    fn ones_complement_sum(payload: &[u8]) -> u16 {
        payload.chunks(2).fold(0u16, |sum, word| {
            let (sum, carry) = sum.overflowing_add(u16::from_be_bytes([word[0], *word.get(1).unwrap_or(&0)]));
            sum + u16::from(carry)
        })
    }

    /// 16-bit linear values of a code, by the formulas of G.711 tables 1a and 2a.
    fn linear(law: Law, code: u8) -> i32 {
        let inverted = match law {
            Law::Mu => !code,
            Law::A => code ^ 0x55,
        };
        let (segment, step) = (i32::from(inverted >> 4 & 7), i32::from(inverted & 0xf));
        let magnitude = match (law, segment) {
            (Law::Mu, _) => ((2 * step + 33) << segment) - 33,
            (Law::A, 0) => 2 * step + 1,
            (Law::A, _) => (2 * step + 33) << (segment - 1),
        };
        let scale = if law == Law::Mu { 4 } else { 8 };
        if code & 0x80 == 0 { -magnitude * scale } else { magnitude * scale }
    }

    #[test]
    fn linear_gives_the_values_that_the_recommendation_prints() {
        // The outermost and innermost decoder outputs of tables 1a (±4032 of 4096) and 2a (±8031 of 8159).
        assert_eq!((linear(Law::A, 0xaa), linear(Law::A, 0xd5), linear(Law::A, 0x55)), (4032 * 8, 8, -8));
        assert_eq!((linear(Law::Mu, 0x80), linear(Law::Mu, 0xff), linear(Law::Mu, 0x00)), (8031 * 4, 0, -8031 * 4));
    }

    #[test]
    fn silence_is_the_magnitudes_up_to_the_documented_one() {
        for kernel in Kernel::available() {
            for law in [Law::Mu, Law::A] {
                let quiet: Vec<u8> = (0..=255).filter(|&code| linear(law, code).abs() <= 31).collect();
                assert_eq!(quiet.len(), if law == Law::Mu { 8 } else { 4 });
                assert!(kernel.is_silent(law, &quiet) && kernel.is_silent(law, &[]));
                for code in 0..=255 {
                    assert_eq!(kernel.is_silent(law, &[code]), quiet.contains(&code), "{}: {code:#04x}", kernel.name());
                }
                // A conversion keeps a sample on its side of the threshold.
                for code in 0..=255 {
                    let mut payload = [code];
                    let converted = convert_from(kernel, law, &mut payload);
                    let to = if law == Law::Mu { Law::A } else { Law::Mu };
                    assert_eq!(converted.silent, quiet.contains(&code));
                    assert_eq!(converted.silent, kernel.is_silent(to, &payload), "{}: {code:#04x}", kernel.name());
                }
            }
        }
    }

    #[test]
    fn one_loud_sample_ends_silence_wherever_it_lies() {
        for kernel in Kernel::available() {
            for (law, quiet, loud) in [(Law::Mu, 0xff, 0xfb), (Law::A, 0xd5, 0xd7)] {
                let mut payload = [quiet; 200];
                for len in [1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 80, 160, 200] {
                    for at in 0..len {
                        payload[at] = loud;
                        assert!(!kernel.is_silent(law, &payload[..len]), "{} {at} of {len}", kernel.name());
                        let mut copy = payload;
                        let converted = convert_from(kernel, law, &mut copy[..len]);
                        assert!(!converted.silent, "{} {at} of {len}", kernel.name());
                        payload[at] = quiet;
                    }
                    // What lies behind the payload's end is not looked at.
                    if len < payload.len() {
                        payload[len] = loud;
                        assert!(kernel.is_silent(law, &payload[..len]), "{} {len}", kernel.name());
                        let mut copy = payload;
                        let converted = convert_from(kernel, law, &mut copy[..len]);
                        assert!(converted.silent && copy[len..] == payload[len..], "{} {len}", kernel.name());
                        payload[len] = quiet;
                    }
                }
            }
        }
    }

    #[test]
    fn every_kernel_agrees_at_every_length_and_alignment() {
        let vectors = vectors();
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut noise = [0u8; 2048 + 64];
        for byte in &mut noise {
            // Marsaglia's xorshift: the codes must vary, not be random.
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            *byte = seed as u8;
        }
        // Loud, silent, and the two extremes of the sums.
        let fills: [fn(u8) -> u8; 4] = [|code| code, |code| code | 0x7c, |_| 0x00, |_| 0xff];
        for kernel in Kernel::available() {
            for fill in fills {
                let input = noise.map(fill);
                let to_a = input.map(|code| vectors[usize::from(code)].1);
                let to_mu = input.map(|code| vectors[usize::from(code)].2);
                for len in 0..=2048 {
                    let start = len % 64;
                    let range = start..start + len;
                    for (from, table) in [(Law::Mu, &to_a), (Law::A, &to_mu)] {
                        let mut bytes = input;
                        let got = convert_from(kernel, from, &mut bytes[range.clone()]);
                        let mut expected = input;
                        expected[range.clone()].copy_from_slice(&table[range.clone()]);
                        assert!(bytes == expected, "{} from {from:?}, {len} at {start}", kernel.name());
                        let (old, new) =
                            (ones_complement_sum(&input[range.clone()]), ones_complement_sum(&table[range.clone()]));
                        // Modulo 0xffff, as ~m + m' of RFC 1624.
                        let expected = (u32::from(!old) + u32::from(new)) % 0xffff;
                        assert_eq!(u32::from(got.difference) % 0xffff, expected, "{}, {len} at {start}", kernel.name());
                        assert_ne!(got.difference, 0, "{}, {len} at {start}", kernel.name());
                        let silent = input[range.clone()].iter().all(|&code| linear(from, code).abs() <= 31);
                        assert_eq!(got.silent, silent, "{} from {from:?}, {len} at {start}", kernel.name());
                        assert_eq!(kernel.is_silent(from, &input[range.clone()]), silent, "{}", kernel.name());
                    }
                }
            }
        }
    }

    #[test]
    fn the_sums_update_a_checksum_as_rfc_1624_says() {
        // RFC 1624 §4's own example: the checksum 0xdd2f, a word that goes from 0x5555 to 0x3285, and then 0x0000.
        let (old, new) = (0x5555u16, 0x3285u16);
        assert_eq!(!fold(u64::from(!0xdd2f_u16) + u64::from(!old) + u64::from(new)), 0x0000);
        // And with a payload: what the difference gives is what a fresh sum over the new bytes gives.
        for kernel in Kernel::available() {
            for len in [1, 2, 33, 79, 80, 160, 161] {
                let mut packet: Vec<u8> = (0..12 + len).map(|i| (i * 37 + 11) as u8).collect();
                let before = !ones_complement_sum(&packet);
                let converted = kernel.a_to_mu(&mut packet[12..]);
                let sum = u64::from(!before) + u64::from(converted.difference);
                assert_eq!(!fold(sum), !ones_complement_sum(&packet), "{}, {len} bytes", kernel.name());
            }
        }
    }

    #[test]
    fn detect_gives_the_last_and_names_differ() {
        let mut names: Vec<_> = Kernel::available().into_iter().map(Kernel::name).collect();
        assert_eq!(names[0], "scalar");
        assert_eq!(names.last(), Some(&Kernel::detect().name()));
        names.dedup();
        assert_eq!(names.len(), Kernel::available().len());
    }
}
