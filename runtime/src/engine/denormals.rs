//! Denormal numbers as zero, on the calling thread, while the engine computes.
//!
//! ONNX Runtime sets this for the threads of its own pool only; with one thread it computes on ours. It is a register of the
//! processor that no safe function reaches, hence `unsafe`. Why it is sound: the two bits change the
//! result of arithmetic on denormal numbers and nothing else (no exception, no trap, no rounding of other numbers); they are
//! put back before the guard's scope ends, also when it unwinds; and within that scope nothing of ours computes with floats.
#![expect(
    unsafe_code,
    reason = "the control register of floating point is reached by assembly only; argued above"
)]

use std::marker::PhantomData;

/// While this lives, denormal numbers count as zero on this thread.
pub(super) struct DenormalsAsZero {
    before: Control,
    /// The register is the thread's: the guard must not be dropped on another one.
    of_this_thread: PhantomData<*const ()>,
}

impl DenormalsAsZero {
    /// From now on.
    pub(super) fn begin() -> Self {
        let before = read();
        write(before | FLUSH);
        Self { before, of_this_thread: PhantomData }
    }
}

impl Drop for DenormalsAsZero {
    fn drop(&mut self) {
        write(self.before);
    }
}

#[cfg(target_arch = "x86_64")]
type Control = u32;
/// MXCSR: denormals are zero (bit 6), flush to zero (bit 15). Intel SDM, volume 1, 10.2.3.
#[cfg(target_arch = "x86_64")]
const FLUSH: Control = 1 << 6 | 1 << 15;

#[cfg(target_arch = "x86_64")]
fn read() -> Control {
    let mut control: Control = 0;
    // SAFETY: stores the register into a local variable of its size.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut control, options(nostack, preserves_flags)) };
    control
}

#[cfg(target_arch = "x86_64")]
fn write(control: Control) {
    // SAFETY: the value was read from this register, with at most the two bits of `FLUSH` added; see the module.
    unsafe {
        std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const control, options(nostack, preserves_flags, readonly));
    };
}

#[cfg(target_arch = "aarch64")]
type Control = u64;
/// FPCR: flush to zero (bit 24). Arm Architecture Reference Manual, C5.2.8.
#[cfg(target_arch = "aarch64")]
const FLUSH: Control = 1 << 24;

#[cfg(target_arch = "aarch64")]
fn read() -> Control {
    let control: Control;
    // SAFETY: reads the register into a variable of its size.
    unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) control, options(nostack, nomem, preserves_flags)) };
    control
}

#[cfg(target_arch = "aarch64")]
fn write(control: Control) {
    // SAFETY: the value was read from this register, with at most the bit of `FLUSH` added; see the module.
    unsafe { std::arch::asm!("msr fpcr, {}", in(reg) control, options(nostack, nomem, preserves_flags)) };
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn denormals_are_zero_within_the_scope_only() {
        let tiny = || black_box(1e-30_f32) * black_box(1e-9_f32);
        let within = {
            let _flushing = DenormalsAsZero::begin();
            black_box(tiny())
        };
        assert_eq!(within.to_bits(), 0);
        assert!(tiny() > 0.0);
    }
}
