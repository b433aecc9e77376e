//! G.711 conversion in vectors, for x86-64: SSSE3, AVX2 and AVX-512 VBMI.
//!
//! The one file of this room with `unsafe`, for two things: loads and stores through pointers, and calls into functions
//! compiled for instructions that not every CPU has. A kernel's value is the proof for the latter: it is made only by
//! `detect`, which asks the CPU. Runs on the workers; allocates nothing. Every kernel leaves what it left of the
//! payload, at an even offset, to the next smaller one, the last bytes to the scalar code.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::g711::{Conversion, Quiet, Tally};

/// Proof that this CPU has SSSE3.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ssse3(());

/// Proof that this CPU has AVX2.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx2(());

/// Proof that this CPU has AVX-512 F, BW, VBMI and VNNI.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vbmi(());

impl Ssse3 {
    pub fn detect() -> Option<Ssse3> {
        is_x86_feature_detected!("ssse3").then_some(Ssse3(()))
    }

    pub fn convert(self, conversion: &Conversion, payload: &mut [u8], tally: &mut Tally) {
        // SAFETY: `self` exists, so `detect` found SSSE3.
        unsafe { convert_ssse3(conversion, payload, tally) }
    }
}

impl Avx2 {
    pub fn detect() -> Option<Avx2> {
        is_x86_feature_detected!("avx2").then_some(Avx2(()))
    }

    pub fn convert(self, conversion: &Conversion, payload: &mut [u8], tally: &mut Tally) {
        // SAFETY: `self` exists, so `detect` found AVX2.
        unsafe { convert_avx2(conversion, payload, tally) }
    }

    pub fn is_silent(self, quiet: Quiet, payload: &[u8]) -> bool {
        // SAFETY: `self` exists, so `detect` found AVX2.
        unsafe { is_silent_avx2(quiet, payload) }
    }
}

impl Vbmi {
    pub fn detect() -> Option<Vbmi> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512vnni"))
        .then_some(Vbmi(()))
    }

    pub fn convert(self, conversion: &Conversion, payload: &mut [u8], tally: &mut Tally) {
        // SAFETY: `self` exists, so `detect` found AVX-512 F, BW, VBMI and VNNI.
        unsafe { convert_vbmi(conversion, payload, tally) }
    }

    pub fn is_silent(self, quiet: Quiet, payload: &[u8]) -> bool {
        // SAFETY: `self` exists, so `detect` found AVX-512 F, BW, VBMI and VNNI.
        unsafe { is_silent_vbmi(quiet, payload) }
    }
}

// `pshufb` looks up 16 entries and gives 0 where the index has its high bit set. The 128 magnitudes are eight such
// tables, each stored xor-ed with the one before. A magnitude is looked up in all eight, 16 less each time: it has
// gone negative from the first table above its own onwards, and the xor of those up to its own is its own.

#[inline]
#[target_feature(enable = "ssse3")]
fn convert_ssse3(conversion: &Conversion, payload: &mut [u8], tally: &mut Tally) {
    let (blocks, rest) = payload.as_chunks_mut::<16>();
    if !blocks.is_empty() {
        let (zero, step) = (_mm_setzero_si128(), _mm_set1_epi8(16));
        let mut tables = [zero; 8];
        for (table, row) in tables.iter_mut().zip(&conversion.chained) {
            *table = load_128(row);
        }
        let (sign, high) = (_mm_set1_epi8(-0x80), _mm_set1_epi16(0x00ff));
        let quiet = _mm_set1_epi8(conversion.quiet.value as i8);
        let (mut unlike, mut old_all, mut old_high, mut new_all, mut new_high) = (zero, zero, zero, zero, zero);
        for block in blocks {
            let old = load_128(block);
            let mut left = _mm_andnot_si128(sign, old);
            let mut new = _mm_and_si128(sign, old);
            for table in tables {
                new = _mm_xor_si128(new, _mm_shuffle_epi8(table, left));
                left = _mm_sub_epi8(left, step);
            }
            // SAFETY: `block` is 16 writable bytes, and this store asks for no alignment.
            unsafe { _mm_storeu_si128(block.as_mut_ptr().cast(), new) };
            unlike = _mm_or_si128(unlike, _mm_xor_si128(old, quiet));
            old_all = _mm_add_epi64(old_all, _mm_sad_epu8(old, zero));
            old_high = _mm_add_epi64(old_high, _mm_sad_epu8(_mm_and_si128(old, high), zero));
            new_all = _mm_add_epi64(new_all, _mm_sad_epu8(new, zero));
            new_high = _mm_add_epi64(new_high, _mm_sad_epu8(_mm_and_si128(new, high), zero));
        }
        tally.difference += sum_words_128(new_all, new_high) as i64 - sum_words_128(old_all, old_high) as i64;
        tally.unlike |= fold_or_128(unlike);
    }
    tally.add(conversion, rest);
}

#[target_feature(enable = "avx2")]
fn convert_avx2(conversion: &Conversion, payload: &mut [u8], tally: &mut Tally) {
    let (blocks, rest) = payload.as_chunks_mut::<32>();
    if !blocks.is_empty() {
        let (zero, step) = (_mm256_setzero_si256(), _mm256_set1_epi8(16));
        let mut tables = [zero; 8];
        for (table, row) in tables.iter_mut().zip(&conversion.chained) {
            *table = _mm256_broadcastsi128_si256(load_128(row));
        }
        let (sign, high) = (_mm256_set1_epi8(-0x80), _mm256_set1_epi16(0x00ff));
        let quiet = _mm256_set1_epi8(conversion.quiet.value as i8);
        let (mut unlike, mut old_all, mut old_high, mut new_all, mut new_high) = (zero, zero, zero, zero, zero);
        for block in blocks {
            let old = load_256(block);
            let mut left = _mm256_andnot_si256(sign, old);
            let mut new = _mm256_and_si256(sign, old);
            for table in tables {
                new = _mm256_xor_si256(new, _mm256_shuffle_epi8(table, left));
                left = _mm256_sub_epi8(left, step);
            }
            // SAFETY: `block` is 32 writable bytes, and this store asks for no alignment.
            unsafe { _mm256_storeu_si256(block.as_mut_ptr().cast(), new) };
            unlike = _mm256_or_si256(unlike, _mm256_xor_si256(old, quiet));
            old_all = _mm256_add_epi64(old_all, _mm256_sad_epu8(old, zero));
            old_high = _mm256_add_epi64(old_high, _mm256_sad_epu8(_mm256_and_si256(old, high), zero));
            new_all = _mm256_add_epi64(new_all, _mm256_sad_epu8(new, zero));
            new_high = _mm256_add_epi64(new_high, _mm256_sad_epu8(_mm256_and_si256(new, high), zero));
        }
        tally.difference += sum_words_256(new_all, new_high) as i64 - sum_words_256(old_all, old_high) as i64;
        tally.unlike |= fold_or_128(halves_or_256(unlike));
    }
    convert_ssse3(conversion, rest, tally);
}

#[target_feature(enable = "avx2")]
fn is_silent_avx2(quiet: Quiet, payload: &[u8]) -> bool {
    let (blocks, rest) = payload.as_chunks::<32>();
    let value = _mm256_set1_epi8(quiet.value as i8);
    let mut unlike = _mm256_setzero_si256();
    for block in blocks {
        unlike = _mm256_or_si256(unlike, _mm256_xor_si256(load_256(block), value));
    }
    _mm256_testz_si256(unlike, _mm256_set1_epi8(quiet.mask as i8)) != 0 && quiet.holds_for(rest)
}

// `vpermi2b` looks up 128 entries in two registers by the index's low seven bits and ignores the sign bit: the whole
// conversion but for putting the sign back.
//
// `vpdpbusd` adds four bytes, each times a weight, to a 32-bit lane. With weights of ±1 on every other byte one register
// gathers the high bytes of the words, new less old, and another the low ones.

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni")]
fn convert_vbmi(conversion: &Conversion, payload: &mut [u8], tally: &mut Tally) {
    let [table_low, table_high] = [load_512(&conversion.magnitude[0]), load_512(&conversion.magnitude[1])];
    let tables = (table_low, table_high);
    for piece in payload.chunks_mut(LANE_PIECE) {
        let (mut highs, mut lows) = (_mm512_setzero_si512(), _mm512_setzero_si512());
        let (blocks, rest) = piece.as_chunks_mut::<64>();
        for block in blocks {
            // SAFETY: `block` is 64 readable bytes, and this load asks for no alignment.
            let old = unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
            let new = look_up(tables, old);
            // SAFETY: `block` is 64 writable bytes, and this store asks for no alignment.
            unsafe { _mm512_storeu_si512(block.as_mut_ptr().cast(), new) };
            tally.unlike |= unlike_vbmi(conversion, old, u64::MAX);
            (highs, lows) = weigh((highs, lows), old, new);
        }
        if !rest.is_empty() {
            // The lanes of `rest` are the low ones, the others read as zero and are not written.
            let lanes = u64::MAX >> (64 - rest.len());
            // SAFETY: exactly the lanes of `rest` are read; the instruction does not touch what is masked off.
            let old = unsafe { _mm512_maskz_loadu_epi8(lanes, rest.as_ptr().cast()) };
            let new = _mm512_maskz_mov_epi8(lanes, look_up(tables, old));
            // SAFETY: exactly the lanes of `rest` are written; the instruction does not touch what is masked off.
            unsafe { _mm512_mask_storeu_epi8(rest.as_mut_ptr().cast(), lanes, new) };
            tally.unlike |= unlike_vbmi(conversion, old, lanes);
            (highs, lows) = weigh((highs, lows), old, new);
        }
        let words = _mm512_add_epi32(_mm512_slli_epi32::<8>(highs), lows);
        tally.difference += i64::from(_mm512_reduce_add_epi32(words));
    }
}

/// Bytes in which no sum of a lane, and no sum of lanes, leaves 31 bits: 64 blocks.
const LANE_PIECE: usize = 4096;

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn look_up(tables: (__m512i, __m512i), old: __m512i) -> __m512i {
    let magnitude = _mm512_permutex2var_epi8(tables.0, old, tables.1);
    // Of each bit: the sign from `old`, the rest from the table.
    _mm512_ternarylogic_epi32::<0xd8>(magnitude, old, _mm512_set1_epi8(-0x80))
}

/// Nonzero if any code in `lanes` is not a quiet one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn unlike_vbmi(conversion: &Conversion, old: __m512i, lanes: u64) -> u8 {
    let (quiet, mask) = (_mm512_set1_epi8(conversion.quiet.value as i8), _mm512_set1_epi8(conversion.quiet.mask as i8));
    let unlike = _mm512_mask_test_epi8_mask(lanes, _mm512_xor_si512(old, quiet), mask);
    if unlike != 0 { u8::MAX } else { 0 }
}

#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn weigh((highs, lows): (__m512i, __m512i), old: __m512i, new: __m512i) -> (__m512i, __m512i) {
    // Weights in memory order: the first byte of a word is its high one.
    let plus_high = _mm512_set1_epi32(0x0001_0001);
    let plus_low = _mm512_set1_epi32(0x0100_0100);
    let minus_high = _mm512_set1_epi32(0x00ff_00ff);
    let minus_low = _mm512_set1_epi32(0xff00_ff00_u32 as i32);
    let highs = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(highs, new, plus_high), old, minus_high);
    let lows = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(lows, new, plus_low), old, minus_low);
    (highs, lows)
}

#[target_feature(enable = "avx512f,avx512bw")]
fn is_silent_vbmi(quiet: Quiet, payload: &[u8]) -> bool {
    let (value, mask) = (_mm512_set1_epi8(quiet.value as i8), _mm512_set1_epi8(quiet.mask as i8));
    let mut unlike = 0;
    for block in payload.chunks(64) {
        let lanes = u64::MAX >> (64 - block.len());
        // SAFETY: exactly the lanes of `block` are read; the instruction does not touch what is masked off.
        let codes = unsafe { _mm512_maskz_loadu_epi8(lanes, block.as_ptr().cast()) };
        unlike |= _mm512_mask_test_epi8_mask(lanes, _mm512_xor_si512(codes, value), mask);
    }
    unlike == 0
}

#[inline]
#[target_feature(enable = "sse2")]
fn load_128(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: 16 readable bytes, and this load asks for no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_256(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: 32 readable bytes, and this load asks for no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_512(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: 64 readable bytes, and this load asks for no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

// A word is 256 times its high byte plus its low one: all bytes, plus 255 times the high ones.

#[inline]
#[target_feature(enable = "sse2")]
fn sum_words_128(all: __m128i, high: __m128i) -> u64 {
    let words = _mm_add_epi64(_mm_sub_epi64(all, high), _mm_slli_epi64::<8>(high));
    _mm_cvtsi128_si64(_mm_add_epi64(words, _mm_unpackhi_epi64(words, words))) as u64
}

#[inline]
#[target_feature(enable = "avx2")]
fn sum_words_256(all: __m256i, high: __m256i) -> u64 {
    let halves = |lanes| _mm_add_epi64(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
    sum_words_128(halves(all), halves(high))
}

#[inline]
#[target_feature(enable = "avx2")]
fn halves_or_256(bytes: __m256i) -> __m128i {
    _mm_or_si128(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes))
}

/// The OR of all 16 bytes.
#[inline]
#[target_feature(enable = "sse2")]
fn fold_or_128(bytes: __m128i) -> u8 {
    let half = _mm_cvtsi128_si64(_mm_or_si128(bytes, _mm_unpackhi_epi64(bytes, bytes)));
    half.to_ne_bytes().iter().fold(0, |all, &byte| all | byte)
}
