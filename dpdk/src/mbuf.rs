//! A packet: a chain of buffers from a pool, owned.
//!
//! Contract with DPDK: every packet that a device, ring or pool hands over has one reference and is known to nobody
//! else, so its owner may write to it. The first segment is what is read and changed; `Option<Mbuf>` is a pointer.

use std::{fmt, ptr::NonNull, slice};

use crate::{ffi, mempool::Pool};

/// What the device found out about a checksum on reception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    Unknown,
    Good,
    Bad,
}

/// Which checksums the device is to fill in on transmission, and where the headers lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxChecksums {
    /// At most 127 bytes.
    pub l2_len: u8,
    /// At most 511 bytes.
    pub l3_len: u16,
    pub ipv6: bool,
    pub ip: bool,
    /// The UDP field must hold the pseudo-header's sum.
    pub udp: bool,
}

#[repr(transparent)]
pub struct Mbuf {
    raw: NonNull<ffi::rte_mbuf>,
}

// SAFETY: a packet has one owner and refers to pool memory that lives as long as the process; pools may be returned to
// from any thread.
unsafe impl Send for Mbuf {}
// SAFETY: through `&Mbuf` the packet is only read.
unsafe impl Sync for Mbuf {}

impl Mbuf {
    /// An empty packet, headroom in front; `None` when the pool is empty.
    pub fn alloc(pool: &Pool) -> Option<Mbuf> {
        // SAFETY: a Pool is a live pktmbuf pool; the call returns NULL or a packet with one reference.
        NonNull::new(unsafe { ffi::td_pktmbuf_alloc(pool.as_ptr()) }).map(|raw| Mbuf { raw })
    }

    /// A packet that holds `bytes`, in as many segments as it takes; `None` when the pool is empty.
    pub fn from_bytes(pool: &Pool, bytes: &[u8]) -> Option<Mbuf> {
        let room = usize::from(pool.data_bytes()).max(1);
        let mut pieces = bytes.chunks(room);
        let mut packet = Mbuf::alloc(pool)?;
        packet.fill(pieces.next().unwrap_or_default())?;
        let mut tail = packet.raw;
        for piece in pieces {
            let mut segment = Mbuf::alloc(pool)?;
            segment.fill(piece)?;
            let raw = segment.into_raw();
            // SAFETY: `tail` is the last segment of `packet`, which is owned here, and `raw` a single segment that was
            // given up by its owner: linking it hands it to `packet`. u16 and u32 hold the counts: room ≥ 1 and
            // `nb_segs` is checked.
            unsafe {
                let head = packet.raw.as_mut();
                let Some(segments) = head.nb_segs.checked_add(1) else {
                    drop(Mbuf { raw });
                    return None;
                };
                (*tail.as_ptr()).next = raw.as_ptr();
                head.nb_segs = segments;
                head.pkt_len = head.pkt_len.checked_add(piece.len() as u32)?;
                tail = raw;
            }
        }
        Some(packet)
    }

    /// Copies `piece` into an empty segment.
    fn fill(&mut self, piece: &[u8]) -> Option<()> {
        let m = self.header_mut();
        let room = m.buf_len.checked_sub(m.data_off)?;
        let length = u16::try_from(piece.len()).ok().filter(|n| *n <= room)?;
        m.data_len = length;
        m.pkt_len = length.into();
        self.data_mut().copy_from_slice(piece);
        Some(())
    }

    #[inline]
    fn header(&self) -> &ffi::rte_mbuf {
        // SAFETY: the packet is owned and its header initialised by the pool or the device.
        unsafe { self.raw.as_ref() }
    }

    #[inline]
    fn header_mut(&mut self) -> &mut ffi::rte_mbuf {
        // SAFETY: as above, and `&mut self` is exclusive.
        unsafe { self.raw.as_mut() }
    }

    /// Bytes of the first segment.
    #[inline]
    pub fn data(&self) -> &[u8] {
        // SAFETY: see `segment_bytes`; the packet is owned.
        unsafe { segment_bytes(self.raw) }
    }

    /// Bytes of the first segment.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        let m = self.header();
        // SAFETY: data_off + data_len ≤ buf_len holds for every mbuf (DPDK's invariant, kept by the methods here); the
        // buffer belongs to this packet alone (one reference) and `&mut self` is exclusive.
        unsafe { slice::from_raw_parts_mut(m.buf_addr.cast::<u8>().add(m.data_off.into()), m.data_len.into()) }
    }

    /// Bytes of all segments.
    #[inline]
    pub fn total_len(&self) -> usize {
        self.header().pkt_len as usize
    }

    /// Segments, at least one.
    #[inline]
    pub fn segments_len(&self) -> usize {
        self.header().nb_segs.into()
    }

    /// The bytes of each segment in turn.
    pub fn segments(&self) -> Segments<'_> {
        Segments { next: Some(self.raw), left: self.segments_len(), _packet: self }
    }

    /// Free bytes in front of the data.
    pub fn headroom(&self) -> usize {
        self.header().data_off.into()
    }

    /// Adds `n` bytes in front; their content is what lay there. False if there is no room.
    #[inline]
    pub fn prepend(&mut self, n: usize) -> bool {
        let m = self.header_mut();
        let Ok(n) = u16::try_from(n) else { return false };
        let (Some(offset), Some(length)) = (m.data_off.checked_sub(n), m.data_len.checked_add(n)) else { return false };
        let Some(total) = m.pkt_len.checked_add(n.into()) else { return false };
        (m.data_off, m.data_len, m.pkt_len) = (offset, length, total);
        true
    }

    /// Takes `n` bytes off the front; false if the first segment has not as many.
    #[inline]
    pub fn adj(&mut self, n: usize) -> bool {
        let m = self.header_mut();
        let Ok(n) = u16::try_from(n) else { return false };
        let (Some(length), Some(total)) = (m.data_len.checked_sub(n), m.pkt_len.checked_sub(n.into())) else {
            return false;
        };
        // data_off + n ≤ data_off + data_len ≤ buf_len, which is a u16.
        (m.data_off, m.data_len, m.pkt_len) = (m.data_off + n, length, total);
        true
    }

    /// Cuts `n` bytes off the end of a packet of one segment; false if it has several, or not as many bytes.
    #[inline]
    pub fn trim(&mut self, n: usize) -> bool {
        let m = self.header_mut();
        let Ok(n) = u16::try_from(n) else { return false };
        if !m.next.is_null() {
            return false;
        }
        let (Some(length), Some(total)) = (m.data_len.checked_sub(n), m.pkt_len.checked_sub(n.into())) else {
            return false;
        };
        (m.data_len, m.pkt_len) = (length, total);
        true
    }

    #[inline]
    pub fn ol_flags(&self) -> u64 {
        self.header().ol_flags
    }

    #[inline]
    pub fn set_ol_flags(&mut self, flags: u64) {
        self.header_mut().ol_flags = flags;
    }

    /// Whether the device saw the IPv4 header's checksum so.
    #[inline(always)]
    pub fn rx_ip_checksum_is(&self, seen: Checksum) -> bool {
        let flags = self.ol_flags() & ffi::TD_RX_IP_CKSUM_MASK;
        is_seen(seen, flags == ffi::TD_RX_IP_CKSUM_GOOD, flags == ffi::TD_RX_IP_CKSUM_BAD)
    }

    /// Whether the device saw the UDP checksum so.
    #[inline(always)]
    pub fn rx_l4_checksum_is(&self, seen: Checksum) -> bool {
        let flags = self.ol_flags() & ffi::TD_RX_L4_CKSUM_MASK;
        is_seen(seen, flags == ffi::TD_RX_L4_CKSUM_GOOD, flags == ffi::TD_RX_L4_CKSUM_BAD)
    }

    /// Asks the device to fill in checksums. Replaces what was asked before.
    pub fn request_checksums(&mut self, request: TxChecksums) {
        let m = self.header_mut();
        let mut flags = m.ol_flags & !(ffi::TD_TX_OFFLOAD_MASK | ffi::TD_TX_IPV4 | ffi::TD_TX_IPV6);
        flags |= if request.ipv6 { ffi::TD_TX_IPV6 } else { ffi::TD_TX_IPV4 };
        if request.ip && !request.ipv6 {
            flags |= ffi::TD_TX_IP_CKSUM;
        }
        if request.udp {
            flags |= ffi::TD_TX_UDP_CKSUM;
        }
        m.ol_flags = flags;
        let l2 = u64::from(request.l2_len) & ((1 << ffi::TD_L2_LEN_BITS) - 1);
        let l3 = u64::from(request.l3_len) & ((1 << ffi::TD_L3_LEN_BITS) - 1);
        m.__bindgen_anon_3.tx_offload = l2 | l3 << ffi::TD_L2_LEN_BITS;
    }

    /// The port it came in on, or whatever `set_port` said last.
    #[inline]
    pub fn port(&self) -> u16 {
        self.header().port
    }

    #[inline]
    pub fn set_port(&mut self, port: u16) {
        self.header_mut().port = port;
    }

    /// Hints that the first bytes are about to be read.
    #[inline]
    pub fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let m = self.header();
            // SAFETY: a prefetch is a hint and may name any address; SSE is part of x86_64.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(m.buf_addr.cast::<i8>().wrapping_add(m.data_off.into())) };
        }
    }

    /// Gives the packet up; whoever holds the pointer now frees it.
    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<ffi::rte_mbuf> {
        let raw = self.raw;
        std::mem::forget(self);
        raw
    }
}

#[inline(always)]
fn is_seen(seen: Checksum, good: bool, bad: bool) -> bool {
    match seen {
        Checksum::Good => good,
        Checksum::Bad => bad,
        Checksum::Unknown => !good & !bad,
    }
}

impl Drop for Mbuf {
    fn drop(&mut self) {
        // SAFETY: the packet is owned; this frees the whole chain, once.
        unsafe { ffi::td_pktmbuf_free(self.raw.as_ptr()) }
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mbuf {{ port: {}, bytes: {}, segments: {} }}", self.port(), self.total_len(), self.segments_len())
    }
}

/// # Safety
/// `segment` is a segment of a packet that stays owned and unchanged for `'a`.
unsafe fn segment_bytes<'a>(segment: NonNull<ffi::rte_mbuf>) -> &'a [u8] {
    // SAFETY: data_off + data_len ≤ buf_len holds for every mbuf (DPDK's invariant, kept by the methods here).
    unsafe {
        let m = segment.as_ref();
        slice::from_raw_parts(m.buf_addr.cast::<u8>().add(m.data_off.into()), m.data_len.into())
    }
}

/// The segments of a packet, in order.
pub struct Segments<'a> {
    next: Option<NonNull<ffi::rte_mbuf>>,
    left: usize,
    _packet: &'a Mbuf,
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        // `left` bounds the walk, should a chain be longer than it says.
        let segment = self.next.filter(|_| self.left > 0)?;
        self.left -= 1;
        // SAFETY: `segment` belongs to `_packet`, which is borrowed for 'a; `next` is NULL or its next segment.
        unsafe {
            self.next = NonNull::new(segment.as_ref().next);
            Some(segment_bytes(segment))
        }
    }
}
