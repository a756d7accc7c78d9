//! A small product on the processor's tiles beside the plain one, before anything relies on them: a processor that nobody has tried must
//! not compute nonsense.

use super::{Hardware, LeftRows, TileUnit, TiledMatrix, multiply_on};
use crate::gemm::{Left, Output};
use crate::precision::Bf16;
use crate::{Capability, InstructionSet};
use std::sync::OnceLock;

/// What became of an instruction set that checks itself before its first use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelfCheck {
    /// It is not there, or the system does not permit it: nothing was checked.
    Absent,
    /// Its products are right.
    Passed,
    /// Its products are wrong, so it is not used.
    Failed,
}

/// Checks the processor's tiles, once in a process.
pub(crate) fn amx() -> SelfCheck {
    static FOUND: OnceLock<SelfCheck> = OnceLock::new();
    *FOUND.get_or_init(|| match Hardware::detect() {
        None => SelfCheck::Absent,
        Some(hardware) if is_right(&mut hardware.begin()) => SelfCheck::Passed,
        Some(_) => SelfCheck::Failed,
    })
}

/// Whether a unit's products in bf16 and in split f32 have the bits that they must have.
fn is_right(unit: &mut impl TileUnit) -> bool {
    // Integers so small that every sum is exact in every order. The second ones have 10 bits: both parts of a split number matter.
    let four_bits = |i: usize| (i * 11 % 15) as f32 - 7.0;
    let ten_bits = |i: usize| 512.0 * ((i * 7 % 3) as f32 - 1.0) + (i * 5 % 11 % 3) as f32 - 1.0;
    agrees(unit, 150, &four_bits, false) && agrees(unit, 70, &ten_bits, true)
}

/// Whether a product of several blocks, panels and rounds, each with a remainder, is what plain loops make it.
fn agrees(
    unit: &mut impl TileUnit,
    depth: usize,
    value: &dyn Fn(usize) -> f32,
    split: bool,
) -> bool {
    let (rows, columns) = (83, 71);
    let values = |len: usize, from: usize| -> Vec<f32> { (from..from + len).map(value).collect() };
    let (a, b) = (values(rows * depth, 0), values(columns * depth, 5));
    let (bias, c) = (values(columns, 3), values(rows * columns, 9));
    let mut expected = c.clone();
    for (sums, a) in expected
        .chunks_exact_mut(columns)
        .zip(a.chunks_exact(depth))
    {
        for ((sum, b), bias) in sums.iter_mut().zip(b.chunks_exact(depth)).zip(&bias) {
            let product: f32 = a.iter().zip(b).map(|(&a, &b)| product(a, b)).sum();
            *sum += product + bias;
        }
    }
    let right = TiledMatrix::pack_transposed(&b, depth, depth, columns, split);
    let rounded: Vec<Bf16> = a.iter().map(|&a| Bf16::round(a)).collect();
    let left = if split {
        LeftRows::F32(Left::rows(&a, rows, depth))
    } else {
        LeftRows::Bf16(Left::rows(&rounded, rows, depth))
    };
    let mut found = c;
    let output = Output {
        data: &mut found,
        row_stride: columns,
        accumulate: true,
    };
    // The plain path of everything around the unit: what is checked is the unit.
    let scalar = Capability::new(InstructionSet::Scalar).expect("every processor has it");
    multiply_on(unit, scalar, left, &right, Some(&bias), output);
    found == expected
}

/// The product of two split numbers without that of their low parts. The low part of a number in bf16 is zero.
fn product(a: f32, b: f32) -> f32 {
    let [[a_high, a_low], [b_high, b_low]] =
        [a, b].map(|value| Bf16::split(value).map(Bf16::to_f32));
    a_high * b_high + a_high * b_low + a_low * b_high
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::amx::{Emulated, Sums, TilePair};

    /// What a unit could get wrong.
    #[derive(Clone, Copy, Debug)]
    enum Fault {
        /// None at all.
        None,
        /// Left and right operand exchanged.
        Exchanged,
        /// The last round left out.
        Short,
        /// Sums begun anew where they should go on.
        Forgetful,
        /// The second band of rows written where the first belongs.
        Displaced,
        /// One number off by its last digit.
        Inexact,
    }

    /// A unit with a fault.
    struct Broken(Emulated, Fault);

    impl TileUnit for Broken {
        fn multiply(
            &mut self,
            left: &[TilePair],
            right: &[TilePair],
            sums: &mut Sums,
            accumulate: bool,
        ) {
            let last = left.len() - 1;
            match self.1 {
                Fault::Exchanged => self.0.multiply(right, left, sums, accumulate),
                Fault::Short => self
                    .0
                    .multiply(&left[..last], &right[..last], sums, accumulate),
                Fault::Forgetful => self.0.multiply(left, right, sums, false),
                _ => self.0.multiply(left, right, sums, accumulate),
            }
            match self.1 {
                Fault::Displaced => sums.0.swap(0, 16),
                Fault::Inexact => sums.0[9][20] = sums.0[9][20].next_up(),
                _ => {}
            }
        }
    }

    #[test]
    fn a_broken_unit_is_caught_and_a_sound_one_is_not() {
        for capability in Capability::available() {
            for fault in [
                Fault::None,
                Fault::Exchanged,
                Fault::Short,
                Fault::Forgetful,
                Fault::Displaced,
                Fault::Inexact,
            ] {
                let right = is_right(&mut Broken(Emulated(capability), fault));
                let expected = matches!(fault, Fault::None);
                assert_eq!(right, expected, "{capability:?} {fault:?}");
            }
        }
    }

    #[test]
    fn the_processor_passes_where_it_has_tiles() {
        assert_ne!(amx(), SelfCheck::Failed);
    }
}
