//! Intel's AMX tiles, by inline assembly because the intrinsics are not stable. This is the only code of the tiles that needs a
//! processor with AMX to run.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) use present::Hardware;

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(crate) use absent::Hardware;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod present {
    use super::super::{SIDE, Sums, TILE, TilePair, TileUnit};
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
    use std::marker::PhantomData;
    use std::sync::OnceLock;

    /// The proof that this process may use tiles.
    #[derive(Clone, Copy)]
    pub(crate) struct Hardware(());

    impl Hardware {
        /// Asks the processor and the kernel, once in a process.
        pub fn detect() -> Option<Self> {
            static FOUND: OnceLock<bool> = OnceLock::new();
            FOUND
                .get_or_init(|| processor_has_tiles() && kernel_permits_tiles())
                .then_some(Self(()))
        }

        /// Configures the tiles of the calling thread, until the result is dropped.
        pub fn begin(self) -> ThreadTiles {
            /// What LDTILECFG reads: for each tile bytes per row and rows.
            #[repr(C, align(64))]
            struct Configuration {
                palette: u8,
                start_row: u8,
                reserved: [u8; 14],
                bytes_per_row: [u16; 16],
                rows: [u8; 16],
            }
            let mut configuration = Configuration {
                palette: 1,
                start_row: 0,
                reserved: [0; 14],
                bytes_per_row: [0; 16],
                rows: [0; 16],
            };
            configuration.bytes_per_row[..8].fill(64);
            configuration.rows[..8].fill(TILE as u8);
            // SAFETY: `self` proves that tiles are there and permitted; palette 1 has eight tiles of 16 rows of 64 bytes.
            unsafe {
                asm!(
                    "ldtilecfg [{configuration}]",
                    configuration = in(reg) &raw const configuration,
                    options(nostack, readonly, preserves_flags),
                );
            }
            ThreadTiles {
                not_send: PhantomData,
            }
        }
    }

    /// CPUID, leaf 7: the bits of register edx for tiles and for their products of bf16.
    const AMX_TILE: u32 = 1 << 24;
    const AMX_BF16: u32 = 1 << 22;
    /// CPUID, leaf 1: the bit of register ecx that says that XGETBV may be called.
    const OSXSAVE: u32 = 1 << 27;
    /// XCR0: the kernel saves the tiles' configuration and their data.
    const TILE_STATE: u64 = 0b11 << 17;

    fn processor_has_tiles() -> bool {
        #[target_feature(enable = "xsave")]
        fn enabled_state() -> u64 {
            // SAFETY: register 0 exists wherever XGETBV does.
            unsafe { _xgetbv(0) }
        }
        let highest = __cpuid(0).eax;
        if highest < 7 || __cpuid(1).ecx & OSXSAVE == 0 {
            return false;
        }
        let features = __cpuid_count(7, 0).edx;
        // SAFETY: OSXSAVE says that the kernel has enabled XSAVE and XGETBV.
        let state = unsafe { enabled_state() };
        features & AMX_TILE != 0 && features & AMX_BF16 != 0 && state & TILE_STATE == TILE_STATE
    }

    /// Linux lets a process use the tiles' data once it has asked: `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`. It holds for all
    /// threads, present and future. Kernels before 5.16 know no such request, and no tiles.
    fn kernel_permits_tiles() -> bool {
        const ARCH_PRCTL: isize = 158;
        const REQUEST_PERMISSION: usize = 0x1023;
        const TILE_DATA: usize = 18;
        let mut result = ARCH_PRCTL;
        // SAFETY: a system call that touches no memory of this process; the kernel overwrites rcx and r11.
        unsafe {
            asm!(
                "syscall",
                inout("rax") result,
                in("rdi") REQUEST_PERMISSION,
                in("rsi") TILE_DATA,
                out("rcx") _,
                out("r11") _,
                options(nostack),
            );
        }
        result == 0
    }

    /// The configured tiles of one thread. Configuration and content belong to the thread, so this cannot be sent to another.
    pub(crate) struct ThreadTiles {
        not_send: PhantomData<*const ()>,
    }

    impl Drop for ThreadTiles {
        fn drop(&mut self) {
            // SAFETY: `Hardware::begin` made this, so tiles are there. Not `nomem`: the compiler must not move it before products.
            unsafe { asm!("tilerelease", options(nostack, preserves_flags)) };
        }
    }

    impl TileUnit for ThreadTiles {
        fn multiply(
            &mut self,
            left: &[TilePair],
            right: &[TilePair],
            sums: &mut Sums,
            accumulate: bool,
        ) {
            assert_eq!(left.len(), right.len(), "both operands have one depth");
            assert!(!left.is_empty(), "a product needs at least one term");
            const {
                assert!(size_of::<TilePair>() == 2048 && SIDE * size_of::<f32>() == 128);
            }
            // Tiles 0 to 3 hold the sums, two rows of tiles by two columns; 4 and 5 the left operand, 6 and 7 the right one. All of it is one
            // block, so that no tile has to keep its content between two blocks.
            macro_rules! product {
                ($begin:literal) => {
                    asm!(
                        $begin,
                        "2:",
                        "tileloadd tmm4, [{left} + 1*{row}]",
                        "tileloadd tmm6, [{right} + 1*{row}]",
                        "tileloadd tmm7, [{right} + 1*{row} + 1024]",
                        "tdpbf16ps tmm0, tmm4, tmm6",
                        "tileloadd tmm5, [{left} + 1*{row} + 1024]",
                        "tdpbf16ps tmm1, tmm4, tmm7",
                        "tdpbf16ps tmm2, tmm5, tmm6",
                        "tdpbf16ps tmm3, tmm5, tmm7",
                        "add {left}, 2048",
                        "add {right}, 2048",
                        "dec {steps}",
                        "jnz 2b",
                        "tilestored [{sums} + 1*{sums_row}], tmm0",
                        "tilestored [{sums} + 1*{sums_row} + 64], tmm1",
                        "tilestored [{sums} + 1*{sums_row} + 2048], tmm2",
                        "tilestored [{sums} + 1*{sums_row} + 2112], tmm3",
                        left = inout(reg) left.as_ptr() => _,
                        right = inout(reg) right.as_ptr() => _,
                        steps = inout(reg) left.len() => _,
                        row = in(reg) 64_usize,
                        sums = in(reg) &raw mut *sums,
                        sums_row = in(reg) 128_usize,
                        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                        out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                        options(nostack),
                    )
                };
            }
            // SAFETY: `self` says that the tiles are configured as 16 rows of 64 bytes. Each of the `left.len()` rounds, at least one, reads
            // two tiles of 1 KiB from either operand, which have as many pairs of them. The sums are 32 rows of 128 bytes: tiles begin at
            // byte 0 and 64 of row 0 and of row 16.
            unsafe {
                if accumulate {
                    product!(
                        "tileloadd tmm0, [{sums} + 1*{sums_row}]
                         tileloadd tmm1, [{sums} + 1*{sums_row} + 64]
                         tileloadd tmm2, [{sums} + 1*{sums_row} + 2048]
                         tileloadd tmm3, [{sums} + 1*{sums_row} + 2112]"
                    );
                } else {
                    product!("tilezero tmm0\n tilezero tmm1\n tilezero tmm2\n tilezero tmm3");
                }
            }
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod absent {
    use super::super::emulated::Emulated;

    /// There is none.
    #[derive(Clone, Copy)]
    pub(crate) enum Hardware {}

    impl Hardware {
        pub fn detect() -> Option<Self> {
            None
        }

        pub fn begin(self) -> Emulated {
            match self {}
        }
    }
}
