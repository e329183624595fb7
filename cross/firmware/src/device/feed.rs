//! The interrupt's side: what a microphone's DMA would do, the clip does.

use core::cell::RefCell;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use aesa_firmware::{BLOCK_SAMPLES, clip};
use critical_section::Mutex;
use heapless::spsc::Producer;

/// Where the samples go, and those that are still to come.
struct Feed {
    queue: Producer<'static, i16>,
    rest: &'static [i16],
}

/// From the next interrupt on, each brings a block of samples, until the clip is over.
pub(crate) fn start(queue: Producer<'static, i16>) {
    IS_DELIVERING.store(true, Ordering::SeqCst);
    critical_section::with(|section| FEED.borrow_ref_mut(section).replace(Feed { queue, rest: clip() }));
}

/// Whether samples are still to come.
pub(crate) fn is_delivering() -> bool {
    IS_DELIVERING.load(Ordering::SeqCst)
}

/// How many samples came when the queue was full.
pub(crate) fn num_lost() -> u32 {
    NUM_LOST.load(Ordering::SeqCst)
}

/// How many samples waited in the queue at most.
pub(crate) fn most_waiting() -> u32 {
    MOST_WAITING.load(Ordering::SeqCst)
}

/// To be called by SysTick's interrupt.
pub(crate) fn on_interrupt() {
    critical_section::with(|section| {
        if let Some(feed) = FEED.borrow_ref_mut(section).as_mut() {
            feed.deliver();
        }
    });
}

impl Feed {
    fn deliver(&mut self) {
        let (block, rest) = self.rest.split_at(self.rest.len().min(BLOCK_SAMPLES));
        self.rest = rest;
        let num_lost = block.iter().filter(|sample| self.queue.enqueue(**sample).is_err()).count();
        NUM_LOST.fetch_add(num_lost as u32, Ordering::SeqCst);
        MOST_WAITING.fetch_max(self.queue.len() as u32, Ordering::SeqCst);
        if rest.is_empty() {
            IS_DELIVERING.store(false, Ordering::SeqCst);
        }
    }
}

static FEED: Mutex<RefCell<Option<Feed>>> = Mutex::new(RefCell::new(None));
static IS_DELIVERING: AtomicBool = AtomicBool::new(false);
static MOST_WAITING: AtomicU32 = AtomicU32::new(0);
static NUM_LOST: AtomicU32 = AtomicU32::new(0);
