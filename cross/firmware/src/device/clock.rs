//! How many instructions a piece of work takes, by SysTick.
//!
//! Under QEMU's `-icount` an instruction takes a fixed time, and SysTick counts that time, some tens of instructions to the
//! tick. How many, a loop of known length tells. The interrupt that comes at each of its ends is the sample clock, too: it
//! is as far apart, in instructions, as it would be on a processor of [`MHZ`] that takes one cycle for each.

use core::sync::atomic::{AtomicU32, Ordering};

use aesa::fbank::SAMPLE_RATE_HZ;
use aesa_firmware::{BLOCK_SAMPLES, MHZ};
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;

use crate::error::Error;

/// SysTick, running.
pub(crate) struct Clock {
    /// Ticks from one interrupt to the next.
    period: u32,
    /// Ticks that [`LOOP_INSTRUCTIONS`] take.
    loop_ticks: u32,
}

impl Clock {
    /// Starts SysTick and its interrupts.
    ///
    /// # Errors
    /// [`Error::Clock`] if it is taken, stands still, or goes so fast that its 24 bits hold no block of samples.
    pub(crate) fn new() -> Result<Self, Error> {
        let mut systick = cortex_m::Peripherals::take().ok_or(Error::Clock)?.SYST;
        systick.set_clock_source(SystClkSource::Core);
        systick.set_reload(MAX_RELOAD);
        systick.clear_current();
        systick.enable_counter();
        let before = SYST::get_current();
        cortex_m::asm::delay(LOOP_INSTRUCTIONS / 2);
        let loop_ticks = before.wrapping_sub(SYST::get_current()) & MAX_RELOAD;
        let period = u64::from(loop_ticks) * BLOCK_INSTRUCTIONS / u64::from(LOOP_INSTRUCTIONS);
        let period = u32::try_from(period)
            .ok()
            .filter(|ticks| (2..=MAX_RELOAD).contains(ticks))
            .ok_or(Error::Clock)?;
        systick.set_reload(period - 1);
        systick.clear_current();
        systick.enable_interrupt();
        Ok(Self { period, loop_ticks })
    }

    /// Does the work, and tells how many instructions it took, those of interrupts included, within two ticks.
    pub(crate) fn count<R>(&self, work: impl FnOnce() -> R) -> (R, u64) {
        let before = self.ticks();
        let result = work();
        let ticks = self.ticks() - before;
        (result, ticks * u64::from(LOOP_INSTRUCTIONS) / u64::from(self.loop_ticks))
    }

    fn ticks(&self) -> u64 {
        loop {
            let periods = PERIODS.load(Ordering::SeqCst);
            let current = SYST::get_current();
            // Else a period ended in between.
            if periods == PERIODS.load(Ordering::SeqCst) {
                // The interrupt comes at 0, so 0 is where a period begins.
                let elapsed = (self.period - current) % self.period;
                return u64::from(periods) * u64::from(self.period) + u64::from(elapsed);
            }
        }
    }
}

/// To be called by SysTick's interrupt.
pub(crate) fn on_interrupt() {
    PERIODS.fetch_add(1, Ordering::SeqCst);
}

static PERIODS: AtomicU32 = AtomicU32::new(0);

/// SysTick has 24 bits.
const MAX_RELOAD: u32 = (1 << 24) - 1;

/// Of the loop in `cortex_m::asm::delay` (0.7.10), which has two: `subs` and `bne`.
const LOOP_INSTRUCTIONS: u32 = 4_000_000;

/// From one block of samples to the next.
const BLOCK_INSTRUCTIONS: u64 = MHZ * 1_000_000 * BLOCK_SAMPLES as u64 / SAMPLE_RATE_HZ as u64;
