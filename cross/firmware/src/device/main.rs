//! Scores the clip on a Cortex-M while an interrupt delivers it, and prints what `host` prints.
//!
//! ```text
//!  feed.rs     SysTick interrupt: the next samples -> queue
//!  main.rs     queue -> scorer -> lines over semihosting
//!  clock.rs    instructions, by SysTick;   stack.rs  how deep the stack went;   cost.rs  both, printed
//! ```
//!
//! Scores go to standard output, what the run took to standard error. The exit code is 0 only if no sample was lost and
//! every score was printed.
#![no_std]
#![no_main]

mod clock;
mod cost;
mod error;
mod feed;
mod stack;

use core::panic::PanicInfo;

use aesa::native::Model;
use aesa::{ClipScore, Scores};
use aesa_firmware::{
    BLOCK_SAMPLES, CHUNK_STEPS, MEMORY_NUMBERS, Scorer, clip_line, frame_line, model_file, model_line,
};
use cortex_m_rt::{ExceptionFrame, entry, exception};
use cortex_m_semihosting::hio::HostStream;
use cortex_m_semihosting::{debug, heprintln, hio};
use heapless::spsc::{Consumer, Queue};

use clock::Clock;
use cost::Cost;
use error::Error;

#[entry]
fn main() -> ! {
    static mut MEMORY: [f32; MEMORY_NUMBERS] = [0.0; MEMORY_NUMBERS];
    static mut QUEUE: Queue<i16, QUEUE_SLOTS> = Queue::new();
    let result = Clock::new().and_then(|clock| {
        cost::print_front_end(&clock);
        run(&clock, MEMORY, QUEUE)
    });
    match result {
        Ok(()) => exit(debug::EXIT_SUCCESS),
        Err(error) => {
            heprintln!("device: {}", error);
            exit(debug::EXIT_FAILURE)
        }
    }
}

/// Scores the clip and prints its lines.
#[inline(never)]
fn run(clock: &Clock, memory: &mut [f32], queue: &'static mut Queue<i16, QUEUE_SLOTS>) -> Result<(), Error> {
    let mut out = hio::hstdout().map_err(|()| Error::Output)?;
    let (model, checking) = clock.count(|| Model::from_bytes(model_file()));
    let model = model?;
    model_line(&mut out, model_file(), &model)?;
    let (scorer, preparing) = clock.count(|| Scorer::new(&model, memory));
    let mut station = Station { scorer: scorer?, frames: heapless::Vec::new(), num_frames: 0 };
    let mut cost = Cost::new(checking, preparing);
    let (producer, mut samples) = queue.split();
    feed::start(producer);
    while feed::is_delivering() || samples.ready() {
        let mut block = [0; BLOCK_SAMPLES];
        let block = take(&mut samples, &mut block);
        if block.is_empty() {
            cortex_m::asm::wfi();
            continue;
        }
        let (result, instructions) = clock.count(|| station.score(block));
        result?;
        cost.add(instructions, !station.frames.is_empty());
        station.print(&mut out)?;
    }
    let clip = station.finish();
    station.print(&mut out)?;
    clip_line(&mut out, &clip.ok_or(Error::TooShort)?)?;
    cost.print();
    match feed::num_lost() {
        0 => Ok(()),
        num_samples => Err(Error::Lost { num_samples }),
    }
}

/// What the queue holds, up to a block of it.
fn take<'b>(samples: &mut Consumer<'_, i16>, block: &'b mut [i16; BLOCK_SAMPLES]) -> &'b [i16] {
    let mut count = 0;
    while let Some(sample) = (count < block.len()).then(|| samples.dequeue()).flatten() {
        block[count] = sample;
        count += 1;
    }
    &block[..count]
}

/// The scorer, and its scores until they are printed.
struct Station<'m> {
    scorer: Scorer<'m>,
    /// A block of samples is shorter than a chunk, so it completes one at most.
    frames: heapless::Vec<Scores, CHUNK_STEPS>,
    /// Printed so far.
    num_frames: usize,
}

impl Station<'_> {
    fn score(&mut self, samples: &[i16]) -> Result<(), Error> {
        let Self { scorer, frames, .. } = self;
        let mut is_full = false;
        scorer.push(samples, |scores| is_full |= frames.push(scores).is_err())?;
        if is_full { Err(Error::TooManyFrames) } else { Ok(()) }
    }

    fn finish(&mut self) -> Option<ClipScore> {
        let Self { scorer, frames, .. } = self;
        let mut is_full = false;
        let clip = scorer.finish(|scores| is_full |= frames.push(scores).is_err());
        clip.filter(|_| !is_full)
    }

    fn print(&mut self, out: &mut HostStream) -> Result<(), Error> {
        for scores in &self.frames {
            frame_line(out, self.num_frames, *scores)?;
            self.num_frames += 1;
        }
        self.frames.clear();
        Ok(())
    }
}

#[exception]
fn SysTick() {
    clock::on_interrupt();
    feed::on_interrupt();
}

#[exception]
#[allow(unsafe_code)]
// SAFETY: a handler of this exception is unsafe by cortex-m-rt's rules since memory may be damaged; this one ends the program.
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    heprintln!("device: hard fault: {:?}", frame);
    exit(debug::EXIT_FAILURE)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    heprintln!("device: {}", info);
    exit(debug::EXIT_FAILURE)
}

/// Ends the emulator with the status as its exit code.
fn exit(status: debug::ExitStatus) -> ! {
    debug::exit(status);
    loop {
        cortex_m::asm::wfi();
    }
}

/// One more than the samples that it holds, 0.51 s: longer than a chunk takes.
const QUEUE_SLOTS: usize = 8192;
