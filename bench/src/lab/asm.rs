//! A small assembler for eBPF: instructions as the kernel takes them, jumps by name. Pure.
//!
//! The generator and the delay meter are some dozens of instructions each that run inside the kernel; assembling them
//! here needs no compiler for BPF and no loader for its object files. Opcodes: RFC 9669.

use std::collections::HashMap;

use anyhow::{Context, Result};

/// A register; R0 holds results, R1 to R5 arguments (lost by a call), R6 to R9 are kept, R10 is the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct R(pub u8);

/// How much is loaded or stored: RFC 9669 §5, the size field.
#[derive(Clone, Copy, Debug)]
pub enum Size {
    W = 0x00,
    H = 0x08,
    B = 0x10,
    D = 0x18,
}

/// RFC 9669 §4.1, the operation in an arithmetic instruction's upper bits.
#[derive(Clone, Copy, Debug)]
pub enum Alu {
    Add = 0x00,
    Sub = 0x10,
    And = 0x50,
    Lsh = 0x60,
    Rsh = 0x70,
    Xor = 0xa0,
    Mov = 0xb0,
}

/// RFC 9669 §4.3, unsigned comparisons.
#[derive(Clone, Copy, Debug)]
pub enum If {
    Eq = 0x10,
    Gt = 0x20,
    Ne = 0x50,
    Lt = 0xa0,
}

/// Either side of an operation's right.
#[derive(Clone, Copy, Debug)]
pub enum Right {
    Reg(R),
    Imm(i32),
}

impl From<R> for Right {
    fn from(r: R) -> Self {
        Right::Reg(r)
    }
}

impl From<i32> for Right {
    fn from(imm: i32) -> Self {
        Right::Imm(imm)
    }
}

impl Right {
    /// The source bit, the source register, the immediate.
    fn parts(self) -> (u8, u8, i32) {
        match self {
            Right::Reg(r) => (0x08, r.0, 0),
            Right::Imm(imm) => (0, 0, imm),
        }
    }
}

/// Helper functions of the kernel, by number (include/uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug)]
pub enum Helper {
    MapLookup = 1,
    KtimeNs = 5,
    Redirect = 23,
    SkbLoadBytes = 26,
}

#[derive(Default)]
pub struct Assembler {
    code: Vec<u64>,
    labels: HashMap<&'static str, usize>,
    jumps: Vec<(usize, &'static str)>,
}

impl Assembler {
    /// The layout of one instruction, from the low bit: opcode 8, destination 4, source 4, offset 16, immediate 32.
    fn put(&mut self, op: u8, dst: u8, src: u8, offset: i16, imm: i32) {
        self.code.push(
            u64::from(op)
                | u64::from(dst) << 8
                | u64::from(src) << 12
                | u64::from(offset as u16) << 16
                | u64::from(imm as u32) << 32,
        );
    }

    /// 64 bits wide.
    pub fn alu(&mut self, op: Alu, dst: R, right: impl Into<Right>) {
        let (bit, src, imm) = right.into().parts();
        self.put(0x07 | bit | op as u8, dst.0, src, 0, imm);
    }

    pub fn mov(&mut self, dst: R, right: impl Into<Right>) {
        self.alu(Alu::Mov, dst, right);
    }

    /// To network order; what lies above `bits` becomes zero.
    pub fn big_endian(&mut self, dst: R, bits: i32) {
        self.put(0xdc, dst.0, 0, 0, bits);
    }

    pub fn load(&mut self, size: Size, dst: R, at: R, offset: i16) {
        self.put(0x61 | size as u8, dst.0, at.0, offset, 0);
    }

    pub fn store(&mut self, size: Size, at: R, offset: i16, src: R) {
        self.put(0x63 | size as u8, at.0, src.0, offset, 0);
    }

    pub fn store_imm(&mut self, size: Size, at: R, offset: i16, imm: i32) {
        self.put(0x62 | size as u8, at.0, 0, offset, imm);
    }

    /// The address of a map that is known by its file descriptor: two slots, source 1.
    pub fn map(&mut self, dst: R, fd: i32) {
        self.put(0x18, dst.0, 1, 0, fd);
        self.put(0, 0, 0, 0, 0);
    }

    pub fn call(&mut self, helper: Helper) {
        self.put(0x85, 0, 0, 0, helper as i32);
    }

    pub fn jump_if(&mut self, left: R, when: If, right: impl Into<Right>, to: &'static str) {
        let (bit, src, imm) = right.into().parts();
        self.jumps.push((self.code.len(), to));
        self.put(0x05 | bit | when as u8, left.0, src, 0, imm);
    }

    pub fn label(&mut self, name: &'static str) {
        self.labels.insert(name, self.code.len());
    }

    pub fn exit(&mut self, result: i32) {
        self.mov(R(0), result);
        self.put(0x95, 0, 0, 0, 0);
    }

    /// Ends with what R0 holds.
    pub fn exit_r0(&mut self) {
        self.put(0x95, 0, 0, 0, 0);
    }

    /// Looks up the entry of an array map whose index lies on the frame at `key`; R0 is its address. Leaves to `else_to`
    /// where there is none.
    pub fn entry(&mut self, fd: i32, key: i16, else_to: &'static str) {
        self.mov(R(2), R(10));
        self.alu(Alu::Add, R(2), i32::from(key));
        self.map(R(1), fd);
        self.call(Helper::MapLookup);
        self.jump_if(R(0), If::Eq, 0, else_to);
    }

    pub fn finish(mut self) -> Result<Vec<u64>> {
        for (at, name) in self.jumps {
            let target = *self.labels.get(name).with_context(|| format!("no label {name}"))?;
            let distance = i16::try_from(target as i64 - at as i64 - 1)?;
            self.code[at] |= u64::from(distance as u16) << 16;
        }
        Ok(self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against what `llvm-mc -triple=bpf -show-encoding` printed for the same instructions.
    #[test]
    fn instructions_are_encoded_as_llvm_encodes_them() {
        let mut a = Assembler::default();
        a.mov(R(6), R(1)); // r6 = r1
        a.alu(Alu::Add, R(2), -8); // r2 += -8
        a.load(Size::W, R(7), R(6), 4); // r7 = *(u32 *)(r6 + 4)
        a.store(Size::H, R(7), 40, R(3)); // *(u16 *)(r7 + 40) = r3
        a.big_endian(R(3), 16); // r3 = be16 r3
        a.jump_if(R(1), If::Gt, R(8), "out"); // if r1 > r8 goto +1
        a.call(Helper::KtimeNs); // call 5
        a.label("out");
        a.exit(2); // r0 = 2; exit
        let bytes: Vec<[u8; 8]> = a.finish().expect("all labels").iter().map(|i| i.to_le_bytes()).collect();
        assert_eq!(
            bytes,
            [
                [0xbf, 0x16, 0, 0, 0, 0, 0, 0],
                [0x07, 0x02, 0, 0, 0xf8, 0xff, 0xff, 0xff],
                [0x61, 0x67, 4, 0, 0, 0, 0, 0],
                [0x6b, 0x37, 40, 0, 0, 0, 0, 0],
                [0xdc, 0x03, 0, 0, 16, 0, 0, 0],
                [0x2d, 0x81, 1, 0, 0, 0, 0, 0],
                [0x85, 0, 0, 0, 5, 0, 0, 0],
                [0xb7, 0, 0, 0, 2, 0, 0, 0],
                [0x95, 0, 0, 0, 0, 0, 0, 0],
            ]
        );
    }
}
