//! Batches made ahead on a thread of their own, so that the device does not wait for main memory.

use std::sync::mpsc::sync_channel;
use std::thread;

/// How many batches wait for the step that takes them.
const AHEAD: usize = 2;

/// Runs `make` on a thread, at most `AHEAD` items and the one in the making before `take`, which gets them in order.
///
/// What `take` leaves is not made. Items must not depend on what `take` does: which of them come first is not defined.
///
/// # Panics
/// Where `make` panics.
pub fn ahead<T: Send, R>(
    make: impl Iterator<Item = T> + Send,
    take: impl FnOnce(&mut dyn Iterator<Item = T>) -> R,
) -> R {
    thread::scope(|scope| {
        let (sender, items) = sync_channel(AHEAD);
        scope.spawn(move || {
            for item in make {
                if sender.send(item).is_err() {
                    break; // nobody takes any more
                }
            }
        });
        take(&mut items.into_iter())
    })
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn items_come_in_order() {
        let taken: Vec<usize> = ahead(0..100, |items| items.collect());
        assert_eq!(taken, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn items_are_made_beside_the_taker_and_no_more_than_wait() {
        let made = AtomicUsize::new(0);
        let make = (0..100).inspect(|_| _ = made.fetch_add(1, Ordering::SeqCst));
        ahead(make, |items| {
            assert_eq!(items.next(), Some(0));
            // Without a thread of its own nothing more would ever be made.
            while made.load(Ordering::SeqCst) < 2 + AHEAD {
                thread::yield_now();
            }
            assert_eq!(items.next(), Some(1));
        });
        let made = made.into_inner();
        assert!(made <= 4 + AHEAD, "{made} made, 2 taken");
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_panic_of_the_maker_is_not_the_end_of_the_items() {
        let make = (0..10).inspect(|n| assert!(*n < 5, "no sixth item"));
        ahead(make, |items| items.for_each(drop));
    }
}
