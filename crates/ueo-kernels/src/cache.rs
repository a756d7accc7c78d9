//! The sizes of the caches that the processor reports: blocks of a product are made to fit into them.
//!
//! No result depends on them: blocks decide what is read again from where, never the order of a sum.

use std::sync::OnceLock;

/// What is taken for a core's second-level cache where the processor tells nothing: that of most servers and of recent desktops.
const SECOND_LEVEL_FALLBACK: usize = 1 << 20;
/// What a core's second-level cache can be. A virtual machine may report what does not exist.
const SECOND_LEVEL_PLAUSIBLE: std::ops::RangeInclusive<usize> = 128 << 10..=16 << 20;

/// The data caches of a core, in bytes; `None` where the processor does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caches {
    /// First level.
    pub first_level: Option<usize>,
    /// Second level.
    pub second_level: Option<usize>,
    /// Third level, all of it, though cores share it.
    pub third_level: Option<usize>,
}

impl Caches {
    /// Those of the processor that this runs on.
    pub fn detect() -> Self {
        static FOUND: OnceLock<Caches> = OnceLock::new();
        *FOUND.get_or_init(read)
    }
}

/// A core's second-level cache, or what is taken for it.
pub(crate) fn second_level_bytes() -> usize {
    Caches::detect()
        .second_level
        .filter(|bytes| SECOND_LEVEL_PLAUSIBLE.contains(bytes))
        .unwrap_or(SECOND_LEVEL_FALLBACK)
}

/// f32 numbers that fill half of a core's second-level cache: what a chunk of a convolution may have, beside the weights that it reads.
pub(crate) fn half_second_level_numbers() -> usize {
    second_level_bytes() / 2 / size_of::<f32>()
}

#[cfg(not(target_arch = "x86_64"))]
fn read() -> Caches {
    Caches::default()
}

/// Leaf 4 (Intel) and leaf 0x8000_001D (AMD) describe one cache for each subleaf, in the same format.
#[cfg(target_arch = "x86_64")]
fn read() -> Caches {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    /// More than any processor has; a list without an end must not hang.
    const MOST_CACHES: u32 = 16;
    /// AMD, leaf 0x8000_0001: the bit of register ecx that says that leaf 0x8000_001D exists.
    const TOPOLOGY_EXTENSIONS: u32 = 1 << 22;

    let extended = __cpuid(0x8000_0000).eax;
    let has_amd_leaf =
        extended >= 0x8000_001D && __cpuid(0x8000_0001).ecx & TOPOLOGY_EXTENSIONS != 0;
    let leaf = match (has_amd_leaf, __cpuid(0).eax) {
        (true, _) => 0x8000_001D,
        (false, 4..) => 4,
        _ => return Caches::default(),
    };
    let mut caches = Caches::default();
    for subleaf in 0..MOST_CACHES {
        let registers = __cpuid_count(leaf, subleaf);
        let Some((level, bytes)) = describe(registers.eax, registers.ebx, registers.ecx) else {
            break;
        };
        match level {
            1 => caches.first_level = caches.first_level.or(bytes),
            2 => caches.second_level = caches.second_level.or(bytes),
            3 => caches.third_level = caches.third_level.or(bytes),
            _ => {}
        }
    }
    caches
}

/// Level and size of the cache that a subleaf describes, without a size where it holds instructions; `None` behind the last.
#[cfg(target_arch = "x86_64")]
fn describe(eax: u32, ebx: u32, ecx: u32) -> Option<(u32, Option<usize>)> {
    const END: u32 = 0;
    const INSTRUCTIONS: u32 = 2;
    let kind = eax & 0x1f;
    if kind == END {
        return None;
    }
    let level = eax >> 5 & 0x7;
    // Each field holds one less than it says.
    let field = |value: u32, low: u32, bits: u32| (value >> low & ((1 << bits) - 1)) as usize + 1;
    let (line, partitions, ways) = (field(ebx, 0, 12), field(ebx, 12, 10), field(ebx, 22, 10));
    let sets = ecx as usize + 1;
    let bytes = (kind != INSTRUCTIONS).then_some(line * partitions * ways * sets);
    Some((level, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn descriptions_are_read_as_the_manual_says() {
        // A Xeon's 2 MiB of second level: 16 ways of 2048 sets of lines of 64 bytes.
        let ebx = 15 << 22 | 63;
        assert_eq!(describe(2 << 5 | 3, ebx, 2047), Some((2, Some(2 << 20))));
        assert_eq!(describe(1 << 5 | 2, ebx, 63), Some((1, None)));
        assert_eq!(describe(0, ebx, 2047), None);
    }

    #[test]
    fn what_is_found_is_plausible() {
        let caches = Caches::detect();
        assert!(SECOND_LEVEL_PLAUSIBLE.contains(&second_level_bytes()));
        if let (Some(first), Some(second)) = (caches.first_level, caches.second_level) {
            assert!(first < second, "{caches:?}");
        }
    }
}
