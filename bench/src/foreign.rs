//! The only file of the benchmarks with `unsafe`: the time-stamp counter, the C library's memcpy, and calls into
//! libraries that convert G.711 (spandsp, FFmpeg). They are loaded when they are measured, and never linked.
//!
//! Any thread; a converter stays on the thread that made it.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};

use anyhow::{Context, Result, ensure};
use libloading::{Library, Symbol};

/// The time-stamp counter.
#[cfg(target_arch = "x86_64")]
pub fn ticks() -> u64 {
    // SAFETY: reads a register that every x86-64 has; LFENCE waits for what comes before. No memory is touched.
    unsafe {
        core::arch::x86_64::_mm_lfence();
        core::arch::x86_64::_rdtsc()
    }
}

/// Nanoseconds, where there is no such counter.
#[cfg(not(target_arch = "x86_64"))]
pub fn ticks() -> u64 {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed().as_nanos() as u64
}

/// The C library's memcpy, by a real call: its length is not known to the compiler.
#[inline(never)]
pub fn memcpy(to: &mut [u8], from: &[u8]) {
    let len = std::hint::black_box(to.len().min(from.len()));
    // SAFETY: both slices have `len` bytes, and a mutable one overlaps nothing.
    unsafe { libc::memcpy(to.as_mut_ptr().cast(), from.as_ptr().cast(), len) };
}

type Transcode = unsafe extern "C" fn(*mut c_void, *mut u8, *const u8, c_int) -> c_int;

/// libspandsp's G.711 transcoder, μ-law in, A-law out: a loop over its bytes.
pub struct Spandsp {
    loaded: Library,
    state: *mut c_void,
}

impl Spandsp {
    /// spandsp/g711.h: G711_ULAW. It names what comes in.
    const ULAW: c_int = 1;

    pub fn load() -> Result<Spandsp> {
        // SAFETY: the library's initialisers do nothing but set up tables.
        let loaded = unsafe { Library::new("libspandsp.so.2") }.context("libspandsp2 is not installed")?;
        // SAFETY: the type is g711_init's in spandsp/g711.h.
        let init: Symbol<unsafe extern "C" fn(*mut c_void, c_int) -> *mut c_void> =
            unsafe { loaded.get(b"g711_init\0") }?;
        // SAFETY: g711_init allocates the state where it is given none.
        let state = unsafe { init(std::ptr::null_mut(), Self::ULAW) };
        ensure!(!state.is_null(), "g711_init failed");
        Ok(Spandsp { loaded, state })
    }

    pub fn converter(&self) -> Result<impl FnMut(&mut [u8], &[u8]) + '_> {
        // SAFETY: the type is g711_transcode's in spandsp/g711.h.
        let transcode: Symbol<Transcode> = unsafe { self.loaded.get(b"g711_transcode\0") }?;
        let transcode = *transcode;
        Ok(move |to: &mut [u8], from: &[u8]| {
            let len = to.len().min(from.len()) as c_int;
            // SAFETY: it reads and writes `len` bytes, which both have; `self`, borrowed, keeps state and library.
            unsafe { transcode(self.state, to.as_mut_ptr(), from.as_ptr(), len) };
        })
    }
}

impl Drop for Spandsp {
    fn drop(&mut self) {
        // SAFETY: the type is g711_free's; the state came from g711_init and is not used again.
        unsafe {
            if let Ok(free) = self.loaded.get::<unsafe extern "C" fn(*mut c_void) -> c_int>(b"g711_free\0") {
                free(self.state);
            }
        }
    }
}

type Make = unsafe extern "C" fn() -> *mut c_void;
type Find = unsafe extern "C" fn(*const c_char) -> *const c_void;
type MakeContext = unsafe extern "C" fn(*const c_void) -> *mut c_void;
type Open = unsafe extern "C" fn(*mut c_void, *const c_void, *mut *mut c_void) -> c_int;
type SetOption = unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char, c_int) -> c_int;
type Two = unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_int;
type NewPacket = unsafe extern "C" fn(*mut c_void, c_int) -> c_int;
type Unref = unsafe extern "C" fn(*mut c_void);

/// FFmpeg's pcm_mulaw decoder and pcm_alaw encoder, through libavcodec's interface: a packet, a frame, a packet, as an
/// application that forwards RTP calls it. Contexts, packets and the frame live until the process ends.
pub struct Ffmpeg {
    decoder: *mut c_void,
    encoder: *mut c_void,
    packet: *mut c_void,
    frame: *mut c_void,
    new_packet: NewPacket,
    unref: Unref,
    send_packet: Two,
    receive_frame: Two,
    send_frame: Two,
    receive_packet: Two,
    /// What the pointers above point into.
    _libraries: [Library; 2],
}

impl Ffmpeg {
    /// avcodec.h of FFmpeg 5.1, which its soname stands for: AVPacket begins with a pointer and two 64-bit times, then
    /// come its data and their size.
    const PACKET_DATA: usize = 24;
    const PACKET_SIZE: usize = 32;
    /// AVCodecParameters begins with the type, then comes the codec.
    const PARAMETERS_CODEC: usize = 4;
    const PCM_ALAW: u32 = 0x10007;

    pub fn load() -> Result<Ffmpeg> {
        // SAFETY: the libraries' initialisers do nothing but set up tables.
        let util = unsafe { Library::new("libavutil.so.57") }.context("libavutil57 is not installed")?;
        // SAFETY: as above.
        let codec = unsafe { Library::new("libavcodec.so.59") }.context("libavcodec59 is not installed")?;
        // SAFETY: every symbol gets the type that FFmpeg 5.1's headers give it; `Library` checks that it is there. The
        // contexts are made by FFmpeg itself, for the codecs that they are opened with, and set through its options.
        unsafe {
            let find = |call: &[u8], name: &CStr| -> Result<*const c_void> {
                let found = codec.get::<Find>(call)?(name.as_ptr());
                ensure!(!found.is_null(), "FFmpeg has no {name:?}");
                Ok(found)
            };
            let mulaw = find(b"avcodec_find_decoder_by_name\0", c"pcm_mulaw")?;
            let alaw = find(b"avcodec_find_encoder_by_name\0", c"pcm_alaw")?;
            let make = codec.get::<MakeContext>(b"avcodec_alloc_context3\0")?;
            let set = util.get::<SetOption>(b"av_opt_set\0")?;
            let open = codec.get::<Open>(b"avcodec_open2\0")?;
            let option = |context, name: &CStr, value: &CStr| {
                let result = set(context, name.as_ptr(), value.as_ptr(), 0);
                ensure!(result >= 0, "FFmpeg refuses {name:?}");
                Ok(())
            };
            let decoder = make(mulaw);
            option(decoder, c"ar", c"8000")?;
            option(decoder, c"ch_layout", c"mono")?;
            ensure!(open(decoder, mulaw, std::ptr::null_mut()) >= 0, "FFmpeg does not open pcm_mulaw");
            // The encoder takes what the decoder gives, but for the codec.
            let parameters = codec.get::<Make>(b"avcodec_parameters_alloc\0")?();
            codec.get::<Two>(b"avcodec_parameters_from_context\0")?(parameters, decoder);
            parameters.cast::<u8>().add(Self::PARAMETERS_CODEC).cast::<u32>().write(Self::PCM_ALAW);
            let encoder = make(alaw);
            codec.get::<Two>(b"avcodec_parameters_to_context\0")?(encoder, parameters);
            option(encoder, c"time_base", c"1/8000")?;
            ensure!(open(encoder, alaw, std::ptr::null_mut()) >= 0, "FFmpeg does not open pcm_alaw");
            Ok(Ffmpeg {
                decoder,
                encoder,
                packet: codec.get::<Make>(b"av_packet_alloc\0")?(),
                frame: util.get::<Make>(b"av_frame_alloc\0")?(),
                new_packet: *codec.get(b"av_new_packet\0")?,
                unref: *codec.get(b"av_packet_unref\0")?,
                send_packet: *codec.get(b"avcodec_send_packet\0")?,
                receive_frame: *codec.get(b"avcodec_receive_frame\0")?,
                send_frame: *codec.get(b"avcodec_send_frame\0")?,
                receive_packet: *codec.get(b"avcodec_receive_packet\0")?,
                _libraries: [util, codec],
            })
        }
    }

    /// One payload; false if FFmpeg refused it.
    pub fn convert(&mut self, to: &mut [u8], from: &[u8]) -> bool {
        let len = to.len().min(from.len());
        // SAFETY: av_new_packet makes `len` writable bytes where PACKET_DATA points; what comes back is read only as far
        // as its own size and `to` go.
        unsafe {
            let data = |packet: *mut c_void| packet.cast::<u8>().add(Self::PACKET_DATA).cast::<*mut u8>().read();
            if (self.new_packet)(self.packet, len as c_int) < 0 {
                return false;
            }
            std::ptr::copy_nonoverlapping(from.as_ptr(), data(self.packet), len);
            let decoded = (self.send_packet)(self.decoder, self.packet) >= 0
                && (self.receive_frame)(self.decoder, self.frame) >= 0;
            (self.unref)(self.packet);
            if !decoded
                || (self.send_frame)(self.encoder, self.frame) < 0
                || (self.receive_packet)(self.encoder, self.packet) < 0
            {
                return false;
            }
            let size = self.packet.cast::<u8>().add(Self::PACKET_SIZE).cast::<c_int>().read();
            let fits = usize::try_from(size).is_ok_and(|size| size == len);
            if fits {
                std::ptr::copy_nonoverlapping(data(self.packet), to.as_mut_ptr(), len);
            }
            (self.unref)(self.packet);
            fits
        }
    }
}

#[cfg(test)]
mod tests {
    use tandem::codec::Kernel;

    use super::*;

    fn tables() -> (Vec<u8>, Vec<u8>) {
        let codes: Vec<u8> = (0..=255).collect();
        let mut ours = codes.clone();
        Kernel::detect().mu_to_a(&mut ours);
        (codes, ours)
    }

    #[test]
    fn spandsp_converts_as_we_do() {
        let spandsp = Spandsp::load().expect("scripts/install brings libspandsp2");
        let (codes, ours) = tables();
        let mut theirs = vec![0; 256];
        (spandsp.converter().unwrap())(&mut theirs, &codes);
        assert_eq!(theirs, ours);
    }

    #[test]
    fn ffmpeg_converts_nearly_as_we_do() {
        let mut ffmpeg = Ffmpeg::load().expect("scripts/install brings libavcodec59");
        let (codes, ours) = tables();
        let mut theirs = vec![0; 256];
        for _ in 0..3 {
            assert!(ffmpeg.convert(&mut theirs, &codes));
        }
        // It goes through linear, and differs in some codes, by one step: that it converts at all is what is shown.
        let differ = theirs.iter().zip(&ours).filter(|(a, b)| a != b).count();
        // A-law's codes in the order of their levels, from the most negative to the most positive.
        let level = |code: &u8| {
            let magnitude = i32::from((code ^ 0x55) & 0x7f);
            if code & 0x80 != 0 { magnitude } else { -1 - magnitude }
        };
        let far = theirs.iter().zip(&ours).filter(|(a, b)| (level(a) - level(b)).abs() > 1).count();
        assert!(differ < 64 && far == 0, "{differ} differ, {far} by more than one step");
    }
}
