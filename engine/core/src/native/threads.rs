//! Threads that share the work on a chunk.

use alloc::format;
use alloc::sync::Arc;
use core::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

/// Who computes the chunks of a [`Session`](super::Session) or a [`Stream`](super::Stream): the thread that asks for scores
/// and, where there are to be more, a pool of others that help it. A stream that is told nothing has its own thread alone.
///
/// The scores are the same to the last bit whatever the number of threads: work is split by rows and heads, never within
/// a sum. Clones share one pool; any number of streams may, and a chunk of one then waits for helpers that are busy with
/// another's, at most for a part of a stage. Memory: each stream that is helped takes scratch for every thread, once; a
/// stage asks for a few hundred bytes while it is split.
///
/// ```
/// use aesa::native::{Threads, ThreadsError};
///
/// assert_eq!(Threads::new(2)?.count(), 2);
/// assert!(matches!(Threads::new(0), Err(ThreadsError::Zero)));
/// # Ok::<(), ThreadsError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Threads {
    /// One thread fewer than [`count`](Self::count); none, if that is 1.
    helpers: Option<Arc<ThreadPool>>,
    count: usize,
    least_work: u64,
}

/// Why there are no [`Threads`].
#[derive(Debug)]
#[non_exhaustive]
pub enum ThreadsError {
    /// Zero threads: nobody would compute anything.
    Zero,
    /// The system starts no more threads.
    Start {
        /// How many were asked for.
        count: usize,
        /// The system's words.
        source: io::Error,
    },
}

impl Threads {
    /// `count` threads, the one that asks for scores among them; the others start now and end with the last clone.
    ///
    /// # Errors
    /// [`ThreadsError::Zero`]; [`ThreadsError::Start`] if the system has no room for as many.
    pub fn new(count: usize) -> Result<Self, ThreadsError> {
        let num_helpers = count.checked_sub(1).ok_or(ThreadsError::Zero)?;
        let builder = ThreadPoolBuilder::new().num_threads(num_helpers).thread_name(|i| format!("aesa-{}", i + 1));
        let start = || builder.build().map_err(|e| ThreadsError::Start { count, source: io::Error::other(e) });
        let helpers = if num_helpers > 0 { Some(Arc::new(start()?)) } else { None };
        Ok(Self { helpers, count, least_work: LEAST_WORK })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Chunks of fewer multiplications stay on the thread that asks for scores: to split them costs more than it saves.
    /// 2^26 unless set, about a millisecond's.
    #[must_use]
    pub fn with_least_work(self, multiplications: u64) -> Self {
        Self { least_work: multiplications, ..self }
    }

    /// Whether a chunk of so many multiplications is split.
    pub(super) fn split(&self, multiplications: u64) -> bool {
        self.helpers.is_some() && multiplications >= self.least_work
    }

    /// Does `work` on every item, each with one of the `parts`: threads take items in their order, one after another, as
    /// long as there are any, and a thread keeps its part.
    pub(super) fn each<P: Send, T>(
        &self,
        parts: &mut [P],
        items: impl Iterator<Item = T> + Send,
        work: impl Fn(T, &mut P) + Sync,
    ) {
        let Some((own, others)) = parts.split_first_mut() else { return };
        let num_helpers = items.size_hint().1.unwrap_or(usize::MAX).saturating_sub(1);
        let items = Mutex::new(items);
        let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
        let share = |part: &mut P| {
            while let Some(item) = next() {
                work(item, part);
            }
        };
        let Some(helpers) = &self.helpers else { return share(own) };
        helpers.in_place_scope(|scope| {
            for part in others.iter_mut().take(num_helpers) {
                scope.spawn(|_| share(part));
            }
            share(own);
        });
    }
}

impl fmt::Display for ThreadsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero => f.write_str("0 threads: there has to be one at least"),
            Self::Start { count, source } => write!(f, "{count} threads cannot be started: {source}"),
        }
    }
}

impl core::error::Error for ThreadsError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Zero => None,
            Self::Start { source, .. } => Some(source),
        }
    }
}

/// Some twenty times what it costs to hand out and gather a chunk's stages.
const LEAST_WORK: u64 = 1 << 26;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    #[test]
    fn every_item_is_done_once_with_a_part_of_ones_own() {
        for count in [1, 2, 5] {
            let threads = Threads::new(count).unwrap();
            for num_items in [0, 1, 2, 4, 100] {
                let (mut parts, mut items) = (vec![0; count], vec![0; num_items]);
                threads.each(&mut parts, items.iter_mut().enumerate(), |(i, item), part| {
                    *item += i + 1;
                    *part += 1;
                });
                assert_eq!(items, (1..=num_items).collect::<Vec<_>>());
                assert_eq!(parts.iter().sum::<usize>(), num_items);
            }
        }
    }

    #[test]
    fn little_work_is_not_split() {
        let two = Threads::new(2).unwrap();
        assert!(two.split(LEAST_WORK) && !two.split(LEAST_WORK - 1));
        assert!(two.with_least_work(0).split(0));
        assert!(!Threads::new(1).unwrap().split(u64::MAX));
    }
}
