//! The Internet checksum (RFC 1071) and its update by difference (RFC 1624).

/// One's complement sum of 16-bit words, high byte first; an odd last byte is padded with zero. Folded, not inverted.
#[inline]
pub fn sum(data: &[u8]) -> u16 {
    let (words, rest) = data.as_chunks::<8>();
    let mut total: u64 = 0;
    for word in words {
        // The sum of 16-bit words is the sum of wider words modulo 2^16 - 1 (RFC 1071 §2): add with end-around carry.
        let (t, carry) = total.overflowing_add(u64::from_be_bytes(*word));
        total = t + u64::from(carry);
    }
    let mut tail = [0; 8];
    tail[..rest.len()].copy_from_slice(rest);
    let (t, carry) = total.overflowing_add(u64::from_be_bytes(tail));
    fold64(t, carry)
}

#[inline]
fn fold64(total: u64, carry: bool) -> u16 {
    let mut t = (total >> 32) + (total & 0xffff_ffff) + u64::from(carry);
    t = (t >> 32) + (t & 0xffff_ffff);
    fold(t as u32)
}

/// Folds carries until 16 bits remain. Zero only for zero.
#[inline]
pub const fn fold(total: u32) -> u16 {
    let t = (total & 0xffff) + (total >> 16);
    ((t & 0xffff) + (t >> 16)) as u16
}

/// The sum of an IPv6 address's words.
#[inline]
pub const fn sum_v6(ip: u128) -> u32 {
    let (mut total, mut i) = (0, 0);
    while i < 8 {
        total += (ip >> (16 * i)) as u32 & 0xffff;
        i += 1;
    }
    total
}

/// The sum of an IPv4 address's words.
#[inline]
pub const fn sum_v4(ip: u32) -> u32 {
    (ip >> 16) + (ip & 0xffff)
}

/// What changes in the data that a checksum covers: words taken out and words put in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delta(u32);

impl Delta {
    /// `old` and `new` are one's complement sums, folded, of what is replaced.
    #[inline]
    pub fn replace(&mut self, old: u16, new: u16) {
        // RFC 1624 eqn. 3: HC' = ~(~HC + ~m + m').
        self.0 += u32::from(!old) + u32::from(new);
        self.0 = (self.0 & 0xffff) + (self.0 >> 16);
    }

    /// `difference` is what a one's complement sum grew by, folded.
    #[inline]
    pub fn add(&mut self, difference: u16) {
        self.0 += u32::from(difference);
        self.0 = (self.0 & 0xffff) + (self.0 >> 16);
    }

    /// The checksum after the change. Exactly as wrong as it was before, if it was wrong.
    #[inline]
    pub fn apply(self, checksum: u16) -> u16 {
        !fold(u32::from(!checksum) + self.0)
    }

    /// For UDP (RFC 768): 0 means that there is none and stays; a sum that comes out as 0 is sent as all ones.
    #[inline]
    pub fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 {
            return 0;
        }
        match self.apply(checksum) {
            0 => 0xffff,
            c => c,
        }
    }
}

/// A UDP checksum over a pseudo-header's sum and the datagram (its checksum field zero). Never 0.
#[inline]
pub fn udp(pseudo: u16, datagram: &[u8]) -> u16 {
    match !fold(u32::from(pseudo) + u32::from(sum(datagram))) {
        0 => 0xffff,
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 §4.1's loop, word by word.
    fn reference(data: &[u8]) -> u16 {
        let mut total = 0u32;
        for pair in data.chunks(2) {
            total += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            total = (total & 0xffff) + (total >> 16);
        }
        total as u16
    }

    #[test]
    fn rfc_1071_section_3_example() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }

    #[test]
    fn rfc_1624_section_4_example() {
        // The case that the older equation gets wrong: HC = 0xdd2f, m = 0x5555 becomes 0x3285.
        let mut delta = Delta::default();
        delta.replace(0x5555, 0x3285);
        assert_eq!(delta.apply(0xdd2f), 0x0000);
    }

    proptest! {
        #[test]
        fn the_wide_sum_is_the_narrow_one(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(sum(&data), reference(&data));
        }

        #[test]
        fn a_difference_keeps_right_right_and_wrong_wrong(
            mut data in proptest::collection::vec(any::<u8>(), 16..200),
            at in 0usize..7, new in any::<u16>(), wrong in any::<u16>(),
        ) {
            let valid = !sum(&data);
            let before = valid ^ wrong;
            let old = u16::from_be_bytes([data[2 * at], data[2 * at + 1]]);
            data[2 * at..2 * at + 2].copy_from_slice(&new.to_be_bytes());
            let mut delta = Delta::default();
            delta.replace(old, new);
            let after = delta.apply(before);
            // Zero and all ones are the same number in one's complement.
            let holds = |c: u16| fold(u32::from(c) + u32::from(sum(&data))) == 0xffff
                || fold(u32::from(c) + u32::from(sum(&data))) == 0;
            let was_right = wrong == 0 || before ^ valid == 0xffff && (valid == 0 || valid == 0xffff);
            prop_assert_eq!(holds(after), was_right);
        }
    }

    #[test]
    fn udp_zero_is_none_and_is_never_made() {
        let mut delta = Delta::default();
        delta.replace(1, 2);
        assert_eq!(delta.apply_udp(0), 0);
        // A checksum of 1 whose data grows by 1 would become 0.
        assert_eq!(delta.apply(1), 0);
        assert_eq!(delta.apply_udp(1), 0xffff);
    }
}
