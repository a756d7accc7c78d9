//! Which instruction set multiplies in which precision. Where the processor has several ways they are measured, not assumed: products of
//! bf16 pairs take twice as long as those in f32 on some processors and half as long on others.

use crate::gemm::amx::self_check;
use crate::precision::OperandBuffer;
use crate::{
    Caches, Capability, FrozenLinear, InstructionSet, InstructionSetError, Precision, SelfCheck,
};
use std::sync::OnceLock;
use std::time::Instant;

/// Rows, inputs and outputs of the measured product: large enough for the blocks of every path, small enough for its operands to stay in the
/// second-level cache, so that the processor is measured and not its memory.
const SHAPE: [usize; 3] = [64, 512, 192];
/// Rounds in which every candidate runs once; the fastest counts, because what disturbs a measurement makes it slower.
const ROUNDS: usize = 7;
/// How much faster than a more capable candidate a plainer one must be to be chosen: more than measurements of one processor differ, so
/// that it chooses the same today and tomorrow. The processors known to need the choice differ by 1.5 and more.
const CLEARLY_FASTER: f64 = 1.15;

/// How fast an instruction set multiplies in one precision on one thread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeasuredRate {
    /// What was measured.
    pub instruction_set: InstructionSet,
    /// Billions of multiplications and additions per second.
    pub gflops_per_sec: f64,
}

/// How products with frozen weights are computed in one precision.
#[derive(Clone, Debug, PartialEq)]
pub struct ProductPath {
    /// What is multiplied.
    pub precision: Precision,
    /// What multiplies it.
    pub instruction_set: InstructionSet,
    /// What could have multiplied it, the most capable first, with its rate.
    pub measured: Vec<MeasuredRate>,
}

impl ProductPath {
    /// What the instruction set does, in a few words.
    pub fn method(&self) -> &'static str {
        use InstructionSet::{Amx, AmxEmulated, Avx512Bf16};
        match (self.precision, self.instruction_set) {
            (Precision::Bf16, Amx) => "tiles of bf16",
            (Precision::Bf16, AmxEmulated) => "tiles of bf16 in software",
            (Precision::Bf16, Avx512Bf16) => "pairs of bf16",
            (Precision::Bf16, _) => "f32 from values rounded to bf16",
            (Precision::F32Split, Amx) => "three products on tiles of bf16",
            (Precision::F32Split, AmxEmulated) => "three products on tiles of bf16 in software",
            (Precision::F32 | Precision::F32Split, _) => "f32",
        }
    }
}

/// What computes on this processor, and why: for records, and for who wants to know what to expect.
///
/// Two paths of one precision sum in different orders, so the last digits of results depend on the choice. On one processor it is the same
/// from run to run; `UEO_INSTRUCTION_SET` fixes it.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineDescription {
    /// The most capable instruction set in use.
    pub instruction_set: InstructionSet,
    /// Whether the environment variable `UEO_INSTRUCTION_SET` names it, so that nothing was chosen.
    pub is_named: bool,
    /// What the tiles' products were beside plain ones.
    pub amx: SelfCheck,
    /// The caches that blocks of products are made for.
    pub caches: Caches,
    /// One for each of [`Precision::ALL`].
    pub products: Vec<ProductPath>,
}

impl EngineDescription {
    /// Describes the processor that this runs on. The first call measures for some milliseconds.
    ///
    /// # Errors
    /// As [`Capability::chosen`].
    pub fn detect() -> Result<Self, InstructionSetError> {
        let products = Precision::ALL.map(|precision| {
            Ok(ProductPath {
                precision,
                instruction_set: Capability::for_precision(precision)?.instruction_set(),
                measured: rates(precision, &candidates(precision)?).to_vec(),
            })
        });
        Ok(Self {
            instruction_set: Capability::chosen()?.instruction_set(),
            is_named: Capability::named_by_user()?.is_some(),
            amx: self_check::amx(),
            caches: Caches::detect(),
            products: products.into_iter().collect::<Result<_, _>>()?,
        })
    }

    /// What a user must know: one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        match self.amx {
            SelfCheck::Failed => vec![
                "the tiles of this processor (AMX) gave wrong products in a check, so they are not used; please report the processor's \
                 name"
                    .to_owned(),
            ],
            SelfCheck::Absent | SelfCheck::Passed => Vec::new(),
        }
    }
}

impl Capability {
    /// The instruction set for products with frozen weights in a precision: the one that the environment variable `UEO_INSTRUCTION_SET`
    /// names, or else the fastest of this CPU. Everything but these products is the same for all candidates.
    ///
    /// The first call for a precision with several candidates measures them for some milliseconds.
    ///
    /// # Errors
    /// As [`Capability::chosen`].
    pub fn for_precision(precision: Precision) -> Result<Self, InstructionSetError> {
        let candidates = candidates(precision)?;
        match candidates[..] {
            [only] => Ok(only),
            _ => Ok(fastest(&candidates, rates(precision, &candidates))),
        }
    }
}

/// What can multiply in a precision, the most capable first; at least one.
fn candidates(precision: Precision) -> Result<Vec<Capability>, InstructionSetError> {
    if let Some(named) = Capability::named_by_user()? {
        return Ok(vec![named]);
    }
    let detected = Capability::detect();
    let vectors = Capability::new(detected.vectors()).unwrap_or(detected);
    let special: &[InstructionSet] = match precision {
        Precision::F32 => &[],
        Precision::Bf16 => &[InstructionSet::Amx, InstructionSet::Avx512Bf16],
        Precision::F32Split => &[InstructionSet::Amx],
    };
    let special = special.iter().filter_map(|&set| Capability::new(set));
    Ok(special.chain([vectors]).collect())
}

/// The first candidate that no later one beats clearly.
fn fastest(candidates: &[Capability], rates: &[MeasuredRate]) -> Capability {
    let mut best = 0;
    for index in 1..candidates.len() {
        if rates[index].gflops_per_sec > CLEARLY_FASTER * rates[best].gflops_per_sec {
            best = index;
        }
    }
    candidates[best]
}

/// The rates of the candidates for a precision, measured once in a process.
fn rates(precision: Precision, candidates: &[Capability]) -> &'static [MeasuredRate] {
    static F32: OnceLock<Vec<MeasuredRate>> = OnceLock::new();
    static BF16: OnceLock<Vec<MeasuredRate>> = OnceLock::new();
    static F32_SPLIT: OnceLock<Vec<MeasuredRate>> = OnceLock::new();
    let measured = match precision {
        Precision::F32 => &F32,
        Precision::Bf16 => &BF16,
        Precision::F32Split => &F32_SPLIT,
    };
    measured.get_or_init(|| measure(precision, candidates))
}

fn measure(precision: Precision, candidates: &[Capability]) -> Vec<MeasuredRate> {
    let [rows, inputs, outputs] = SHAPE;
    // Any values will do that are neither zero nor subnormal.
    let values = |len: usize| -> Vec<f32> { (0..len).map(|i| (i % 29) as f32 - 14.5).collect() };
    let (x, weight) = (values(rows * inputs), values(outputs * inputs));
    let mut y = vec![0.0; rows * outputs];
    let layers: Vec<FrozenLinear> = candidates
        .iter()
        .map(|&capability| {
            FrozenLinear::new(capability, precision, &weight, None, inputs, outputs)
                .expect("the weight has its shape")
        })
        .collect();
    let mut seconds = vec![f64::INFINITY; layers.len()];
    let mut rounded = OperandBuffer::default();
    for _ in 0..ROUNDS {
        for ((layer, seconds), &capability) in layers.iter().zip(&mut seconds).zip(candidates) {
            let x = rounded.rounded(capability, precision, &x);
            let start = Instant::now();
            layer.forward_operand(rows, x, &mut y);
            *seconds = start.elapsed().as_secs_f64().min(*seconds);
        }
    }
    let operations = (2 * rows * inputs * outputs) as f64;
    candidates
        .iter()
        .zip(seconds)
        .map(|(capability, seconds)| MeasuredRate {
            instruction_set: capability.instruction_set(),
            gflops_per_sec: operations / seconds.max(1e-9) / 1e9,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The choice among instruction sets whose rates are given, all of them present or not.
    fn choice(rates: &[f64]) -> usize {
        let candidates: Vec<Capability> = Capability::available().take(rates.len()).collect();
        let rates: Vec<MeasuredRate> = rates
            .iter()
            .zip(&candidates)
            .map(|(&gflops_per_sec, candidate)| MeasuredRate {
                instruction_set: candidate.instruction_set(),
                gflops_per_sec,
            })
            .collect();
        let fastest = fastest(&candidates, &rates);
        candidates.iter().position(|&c| c == fastest).unwrap()
    }

    #[test]
    fn the_fastest_is_chosen_and_the_more_capable_of_two_that_are_as_fast() {
        // Pairs of bf16 and f32 on an AMD Zen 5 and on an Intel Xeon; tiles before them.
        assert_eq!(choice(&[215.0, 110.0]), 0);
        assert_eq!(choice(&[80.0, 135.0]), 1);
        assert_eq!(choice(&[700.0, 80.0, 135.0]), 0);
        // A machine whose tiles somebody else keeps busy.
        assert_eq!(choice(&[90.0, 80.0, 135.0]), 2);
        assert_eq!(choice(&[100.0, 110.0]), 0);
    }

    #[test]
    fn candidates_are_what_the_processor_has_and_every_one_is_measured() {
        for precision in Precision::ALL {
            let candidates = candidates(precision).unwrap();
            let rates = rates(precision, &candidates);
            assert_eq!(rates.len(), candidates.len());
            for (rate, candidate) in rates.iter().zip(&candidates) {
                assert_eq!(rate.instruction_set, candidate.instruction_set());
                assert!(rate.gflops_per_sec > 0.0);
            }
            let chosen = Capability::for_precision(precision).unwrap();
            assert!(candidates.contains(&chosen));
            assert_eq!(Capability::for_precision(precision), Ok(chosen));
        }
    }

    #[test]
    fn the_description_says_what_is_used() {
        let description = EngineDescription::detect().unwrap();
        assert_eq!(description.products.len(), Precision::ALL.len());
        for path in &description.products {
            let chosen = Capability::for_precision(path.precision).unwrap();
            assert_eq!(path.instruction_set, chosen.instruction_set());
            assert!(!path.method().is_empty());
        }
        assert!(description.warnings().is_empty());
        let failed = EngineDescription {
            amx: SelfCheck::Failed,
            ..description
        };
        assert_eq!(failed.warnings().len(), 1);
    }
}
