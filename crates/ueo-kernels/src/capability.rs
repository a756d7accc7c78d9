//! What the CPU can do, as a value: found once by detection, or chosen by the user or a test.
//!
//! This is the only place where instruction sets are chosen. Operations that the compiler vectorizes well are written once
//! and compiled once per instruction set by `multiversion!`; only the matrix product has intrinsics of its own.

use crate::InstructionSetError;
use crate::gemm::amx::self_check::{self, SelfCheck};
use std::fmt;
use std::sync::OnceLock;

/// The environment variable that names the instruction set to use instead of the most capable one.
pub(crate) const VARIABLE: &str = "UEO_INSTRUCTION_SET";

/// The instruction sets that have a code path, from the plainest to the most capable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InstructionSet {
    /// Plain loops; the reference of the other paths. Never chosen by detection because it is slow.
    Scalar,
    /// The target's baseline for element-wise work and the `gemm` crate (which detects for itself, NEON included) for products.
    Portable,
    /// As [`InstructionSet::Amx`] with tiles in software, bit for bit, and the longest vectors of this CPU. Never chosen by detection
    /// because it is slow: what tests run, and what can be asked for where a result of AMX is to be reproduced.
    AmxEmulated,
    /// AVX2 and FMA, eight lanes.
    Avx2,
    /// AVX-512 F, BW, DQ and VL, sixteen lanes.
    Avx512,
    /// AVX-512 with products of bf16 pairs (`vdpbf16ps`): twice the terms of an f32 product in the same time.
    Avx512Bf16,
    /// AVX-512 with products of bf16 on tiles of 16 x 16 (AMX). It computes a small product and compares it with the plain one before its
    /// first use; where they differ it counts as absent ([`SelfCheck`]).
    Amx,
}

impl InstructionSet {
    /// Every instruction set, whether this CPU has it or not.
    pub const ALL: [Self; 7] = [
        Self::Scalar,
        Self::AmxEmulated,
        Self::Portable,
        Self::Avx2,
        Self::Avx512,
        Self::Avx512Bf16,
        Self::Amx,
    ];

    /// Its name in the environment variable `UEO_INSTRUCTION_SET`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::AmxEmulated => "amx-emulated",
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512bf16",
            Self::Amx => "amx",
        }
    }

    fn is_present(self) -> bool {
        match self {
            Self::Scalar | Self::AmxEmulated | Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_present()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => Self::Avx512.is_present() && is_x86_feature_detected!("avx512bf16"),
            #[cfg(target_arch = "x86_64")]
            Self::Amx => Self::Avx512.is_present() && self_check::amx() == SelfCheck::Passed,
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 | Self::Avx512Bf16 | Self::Amx => false,
        }
    }
}

/// An instruction set that this CPU is known to have.
///
/// The field is private and every constructor checks the CPU: holding a value is the proof that `unsafe` calls into code
/// compiled for that instruction set rely on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(InstructionSet);

impl Capability {
    /// The instruction set that the environment variable `UEO_INSTRUCTION_SET` names, or else the most capable one of this CPU.
    ///
    /// The variable is read at the first call only, so that everything in a process runs on the same instruction set.
    ///
    /// # Errors
    /// [`InstructionSetError`] when the variable names no instruction set, or one that this CPU lacks.
    pub fn chosen() -> Result<Self, InstructionSetError> {
        Ok(Self::named_by_user()?.unwrap_or_else(Self::detect))
    }

    /// The instruction set that the environment variable names, if it is set at the first call.
    pub(crate) fn named_by_user() -> Result<Option<Self>, InstructionSetError> {
        static NAMED: OnceLock<Result<Option<Capability>, InstructionSetError>> = OnceLock::new();
        let read = || {
            std::env::var_os(VARIABLE)
                .map(|name| Self::named(&name.to_string_lossy()))
                .transpose()
        };
        NAMED.get_or_init(read).clone()
    }

    fn named(name: &str) -> Result<Self, InstructionSetError> {
        let set = InstructionSet::ALL
            .into_iter()
            .find(|set| set.name() == name)
            .ok_or_else(|| InstructionSetError::Unknown {
                found: name.to_owned(),
            })?;
        let is_broken = set == InstructionSet::Amx && self_check::amx() == SelfCheck::Failed;
        Self::new(set).ok_or(if is_broken {
            InstructionSetError::Broken { found: set }
        } else {
            InstructionSetError::Absent { found: set }
        })
    }

    /// The most capable instruction set of this CPU.
    pub fn detect() -> Self {
        [
            InstructionSet::Amx,
            InstructionSet::Avx512Bf16,
            InstructionSet::Avx512,
            InstructionSet::Avx2,
        ]
        .into_iter()
        .find(|set| set.is_present())
        .map_or(Self(InstructionSet::Portable), Self)
    }

    /// A given instruction set, or `None` where this CPU lacks it.
    pub fn new(set: InstructionSet) -> Option<Self> {
        set.is_present().then_some(Self(set))
    }

    /// All that this CPU has, so that tests can try each.
    pub fn available() -> impl Iterator<Item = Self> {
        InstructionSet::ALL.into_iter().filter_map(Self::new)
    }

    /// The instruction set of element-wise operations and of products in f32.
    pub(crate) fn vectors(self) -> InstructionSet {
        match self.0 {
            InstructionSet::Avx512Bf16 | InstructionSet::Amx => InstructionSet::Avx512,
            InstructionSet::AmxEmulated => [InstructionSet::Avx512, InstructionSet::Avx2]
                .into_iter()
                .find(|set| set.is_present())
                .unwrap_or(InstructionSet::Portable),
            set => set,
        }
    }

    /// Whether products of bf16 run on tiles.
    pub(crate) fn has_tiles(self) -> bool {
        matches!(self.0, InstructionSet::Amx | InstructionSet::AmxEmulated)
    }

    /// The instruction set of this value.
    pub fn instruction_set(self) -> InstructionSet {
        self.0
    }
}

impl Default for Capability {
    fn default() -> Self {
        Self::detect()
    }
}

impl fmt::Debug for Capability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Capability::{:?}", self.0)
    }
}

/// How `a * b + c` is evaluated. A fused operation is one instruction where the CPU has it and a slow library call where it
/// has not, so the choice is made with the instruction set.
pub(crate) trait Arithmetic {
    fn mul_add(a: f32, b: f32, c: f32) -> f32;
}

/// One rounding.
pub(crate) struct Fused;

/// Two roundings.
pub(crate) struct Separate;

impl Arithmetic for Fused {
    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

impl Arithmetic for Separate {
    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
}

/// The arithmetic of the target's baseline.
#[cfg(not(target_arch = "aarch64"))]
pub(crate) type Baseline = Separate;
#[cfg(target_arch = "aarch64")]
pub(crate) type Baseline = Fused;

/// Compiles an `#[inline(always)]` function that is generic over [`Arithmetic`] once per instruction set, behind a function
/// that takes a [`Capability`] first.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident = $generic:ident($($arg:ident: $ty:ty),* $(,)?)) => {
        $(#[$meta])*
        $vis fn $name(capability: $crate::Capability, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) {
                $generic::<$crate::capability::Fused>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512($($arg: $ty),*) {
                $generic::<$crate::capability::Fused>($($arg),*)
            }
            match capability.vectors() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: a `Capability` exists only for an instruction set that was detected.
                $crate::InstructionSet::Avx2 => unsafe { avx2($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: a `Capability` exists only for an instruction set that was detected.
                $crate::InstructionSet::Avx512 => unsafe { avx512($($arg),*) },
                _ => $generic::<$crate::capability::Baseline>($($arg),*),
            }
        }
    };
}
pub(crate) use multiversion;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// Names the instruction sets that the tests must run on, separated by commas, so that a run that passes cannot hide kernels that
    /// the machine was to test and did not.
    const REQUIRED: &str = "UEO_REQUIRE_INSTRUCTION_SETS";

    /// What is wrong with the instruction sets that are required.
    fn missing(required: &str) -> Vec<String> {
        let names = required.split(',').map(str::trim);
        names
            .filter(|name| !name.is_empty())
            .filter_map(|name| Capability::named(name).err())
            .map(|error| error.to_string())
            .collect()
    }

    #[test]
    fn required_instruction_sets_are_tested() {
        let tested: Vec<&str> = Capability::available()
            .map(|capability| capability.instruction_set().name())
            .collect();
        // Not `println!`, which the test harness holds back where tests pass.
        let line = format!("instruction sets tested: {}\n", tested.join(", "));
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        let required = std::env::var(REQUIRED).unwrap_or_default();
        let missing = missing(&required);
        assert!(missing.is_empty(), "{REQUIRED}={required}: {missing:?}");
    }

    #[test]
    fn a_required_instruction_set_that_is_unknown_or_absent_is_missing() {
        assert!(missing("").is_empty());
        assert!(missing("scalar, portable").is_empty());
        assert_eq!(missing("scalar,avx1024").len(), 1);
        for set in InstructionSet::ALL {
            let present = Capability::available().any(|found| found.instruction_set() == set);
            assert_eq!(missing(set.name()).is_empty(), present);
        }
    }

    #[test]
    fn detection_prefers_the_most_capable_and_never_the_reference() {
        let detected = Capability::detect();
        assert!(detected >= Capability(InstructionSet::Portable));
        assert_eq!(Capability::available().max(), Some(detected));
    }

    #[test]
    fn an_instruction_set_is_chosen_by_its_name_where_the_cpu_has_it() {
        for set in InstructionSet::ALL {
            let expected = Capability::new(set).ok_or(InstructionSetError::Absent { found: set });
            assert_eq!(Capability::named(set.name()), expected);
        }
        for name in ["", "AVX2", "sse2"] {
            let expected = InstructionSetError::Unknown {
                found: name.to_owned(),
            };
            assert_eq!(Capability::named(name), Err(expected));
        }
    }

    #[test]
    fn errors_say_what_was_expected_and_found() {
        let error = Capability::named("sse2").unwrap_err();
        assert_eq!(
            error.to_string(),
            "UEO_INSTRUCTION_SET: expected one of scalar, amx-emulated, portable, avx2, avx512, avx512bf16, amx, found \"sse2\""
        );
        let error = InstructionSetError::Absent {
            found: InstructionSet::Avx512Bf16,
        };
        let message = error.to_string();
        let expected =
            "UEO_INSTRUCTION_SET: expected one that this CPU has (scalar, amx-emulated, portable";
        assert!(message.starts_with(expected), "{message}");
        assert!(message.ends_with("), found avx512bf16"), "{message}");
    }
}
