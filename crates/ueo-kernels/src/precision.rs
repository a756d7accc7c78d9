//! The number format of frozen weights and of what they are multiplied with.
//!
//! Everything else is f32 in both precisions: sums of products, the residual stream, layer normalization, softmax, activation functions
//! and the affine parameters' gradients.

use crate::buffer::fit;
use crate::capability::{Arithmetic, multiversion};

/// The number format of weights and of the left operands of their products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 24 significant bits.
    #[default]
    F32,
    /// 8 significant bits with the range of f32: half the memory and, where the CPU multiplies pairs of it, twice the speed.
    ///
    /// Elsewhere the same products are computed in f32 from rounded values.
    Bf16,
    /// The accuracy of f32, nearly (about 4e-6 where f32 has 5e-7): with AMX, operands are split into two bf16 numbers each, whose three
    /// products are summed in f32.
    ///
    /// Elsewhere f32 itself is faster than its emulation, so this is [`Precision::F32`] there.
    F32Split,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::F32Split];

    /// Its name, as in the command line and in `run.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F32Split => "f32-split",
        }
    }
}

/// A number in bfloat16: the upper half of an f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bf16(u16);

impl Bf16 {
    /// The nearest bf16, ties to even; not-a-number stays not-a-number.
    #[inline(always)]
    pub fn round(value: f32) -> Self {
        let bits = value.to_bits();
        // Half of the lower half's range, and one more where the upper half is odd; the carry rounds up, into infinity at the end.
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
        // The quiet bit keeps a not-a-number whose digits all lie in the lower half from becoming infinity.
        let kept = if value.is_nan() {
            bits | 0x0040_0000
        } else {
            rounded
        };
        Self((kept >> 16) as u16)
    }

    /// The same number in f32.
    #[inline(always)]
    pub fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    /// The nearest bf16 and what is left, rounded: together 16 significant bits or more. Nothing is left of what is not finite.
    #[inline(always)]
    pub(crate) fn split(value: f32) -> [Self; 2] {
        let high = Self::round(value);
        let left = value - high.to_f32();
        let low = if left.is_finite() { left } else { 0.0 };
        [high, Self::round(low)]
    }

    /// Two values as a product of pairs reads them.
    #[inline(always)]
    pub fn pair(low: Self, high: Self) -> u32 {
        u32::from(low.0) | u32::from(high.0) << 16
    }

    /// The inverse of [`Bf16::pair`].
    #[inline(always)]
    pub fn from_pair(pair: u32) -> [Self; 2] {
        [Self(pair as u16), Self((pair >> 16) as u16)]
    }
}

/// What element-wise operations write: f32, or f32 rounded to bf16.
pub(crate) trait Element: Copy {
    fn from_f32(value: f32) -> Self;
}

impl Element for f32 {
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }
}

impl Element for Bf16 {
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        Self::round(value)
    }
}

/// The left operand of a product with a frozen weight.
#[derive(Clone, Copy)]
pub(crate) enum Operand<'a> {
    F32(&'a [f32]),
    Bf16(&'a [Bf16]),
}

/// Where an element-wise operation writes an [`Operand`].
pub(crate) enum OperandMut<'a> {
    F32(&'a mut [f32]),
    Bf16(&'a mut [Bf16]),
}

impl OperandMut<'_> {
    /// Writes values from a position on: copies of them, or rounded.
    fn write(&mut self, capability: crate::Capability, at: usize, values: &[f32]) {
        match self {
            Self::F32(target) => target[at..][..values.len()].copy_from_slice(values),
            Self::Bf16(target) => round(capability, values, &mut target[at..][..values.len()]),
        }
    }
}

impl<'a> From<OperandMut<'a>> for Operand<'a> {
    fn from(written: OperandMut<'a>) -> Self {
        match written {
            OperandMut::F32(values) => Self::F32(values),
            OperandMut::Bf16(values) => Self::Bf16(values),
        }
    }
}

/// Memory for an operand in either precision, kept between calls.
#[derive(Default)]
pub(crate) struct OperandBuffer {
    f32: Vec<f32>,
    bf16: Vec<Bf16>,
}

impl OperandBuffer {
    /// Room for `len` values, to be written.
    pub fn fit(&mut self, precision: Precision, len: usize) -> OperandMut<'_> {
        match precision {
            Precision::F32 | Precision::F32Split => OperandMut::F32(fit(&mut self.f32, len)),
            Precision::Bf16 => OperandMut::Bf16(self.bf16(len)),
        }
    }

    /// Room for `len` values in bf16.
    pub fn bf16(&mut self, len: usize) -> &mut [Bf16] {
        fit(&mut self.bf16, len)
    }

    /// What was written.
    pub fn operand(&self, precision: Precision) -> Operand<'_> {
        match precision {
            Precision::F32 | Precision::F32Split => Operand::F32(&self.f32),
            Precision::Bf16 => Operand::Bf16(&self.bf16),
        }
    }

    /// `len` values in rows from different places as one operand, row after row, copied or rounded into this buffer.
    pub fn gathered<'a>(
        &mut self,
        capability: crate::Capability,
        precision: Precision,
        rows: impl Iterator<Item = &'a [f32]>,
        len: usize,
    ) -> Operand<'_> {
        let mut target = self.fit(precision, len);
        let mut at = 0;
        for row in rows {
            target.write(capability, at, row);
            at += row.len();
        }
        target.into()
    }

    /// `values` as an operand: themselves in f32, rounded into this buffer in bf16.
    pub fn rounded<'a>(
        &'a mut self,
        capability: crate::Capability,
        precision: Precision,
        values: &'a [f32],
    ) -> Operand<'a> {
        match precision {
            Precision::F32 | Precision::F32Split => Operand::F32(values),
            Precision::Bf16 => {
                let target = self.bf16(values.len());
                round(capability, values, target);
                Operand::Bf16(target)
            }
        }
    }
}

#[inline(always)]
fn round_generic<A: Arithmetic>(values: &[f32], rounded: &mut [Bf16]) {
    for (value, rounded) in values.iter().zip(rounded) {
        *rounded = Bf16::round(*value);
    }
}

multiversion! {
    /// Rounds every value to bf16.
    pub(crate) fn round = round_generic(values: &[f32], rounded: &mut [Bf16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_nearest_with_ties_to_even() {
        let cases = [
            (0.0, 0.0),
            (1.0, 1.0),
            (-1.5, -1.5),
            // 1 + 2^-8 lies between 1 and 1 + 2^-7, 1 + 3 x 2^-8 between that and 1 + 2^-6.
            (1.003_906_2, 1.0),
            (1.003_906_4, 1.007_812_5),
            (1.011_718_8, 1.015_625),
            (f32::MAX, f32::INFINITY),
            (f32::NEG_INFINITY, f32::NEG_INFINITY),
        ];
        for (value, expected) in cases {
            assert_eq!(Bf16::round(value).to_f32(), expected, "{value}");
        }
        for bits in [0x7f80_0001, 0x7fff_ffff, 0xffff_ffff] {
            assert!(Bf16::round(f32::from_bits(bits)).to_f32().is_nan());
        }
    }

    #[test]
    fn every_instruction_set_rounds_alike() {
        let values: Vec<f32> = (0..4096_u32)
            .map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b9)))
            .collect();
        let expected: Vec<Bf16> = values.iter().map(|&value| Bf16::round(value)).collect();
        for capability in crate::Capability::available() {
            let mut found = vec![Bf16::default(); values.len()];
            round(capability, &values, &mut found);
            assert_eq!(found, expected, "{capability:?}");
        }
    }

    #[test]
    fn a_split_number_keeps_sixteen_bits_and_stays_what_it_is() {
        for value in crate::reference::Random::new(31).values(1000, 1e3) {
            let [high, low] = Bf16::split(value);
            let error = (value - high.to_f32() - low.to_f32()).abs();
            assert!(
                error <= value.abs() * 2.0_f32.powi(-16),
                "{value}: {error:e}"
            );
        }
        for value in [0.0, -1.5, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(Bf16::split(value).map(Bf16::to_f32), [value, 0.0]);
        }
        assert!(Bf16::split(f32::NAN)[0].to_f32().is_nan());
    }

    #[test]
    fn pairs_come_apart_again() {
        let (low, high) = (Bf16::round(-3.25), Bf16::round(0.007));
        assert_eq!(Bf16::from_pair(Bf16::pair(low, high)), [low, high]);
    }
}
