//! How a model hears a clip: docs/SPEC.md, "Windows and streams".

use core::fmt;

/// What a network is given at once, and what it knows of the clip before: docs/SPEC.md, "Windows and streams".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Windows of up to this many steps, each scored alone.
    Windowed {
        /// Steps of a window; 62 is ten seconds.
        window_steps: usize,
    },
    /// Chunks on one grid; state is carried from chunk to chunk.
    Chunked {
        /// Steps of a chunk.
        chunk_steps: usize,
        /// Steps before its chunk that a token sees, rounded up to whole chunks.
        left_steps: usize,
    },
}

/// The longest window or chunk, and the most steps before a chunk, that a model may ask for: 164 s. The memory for attention grows with
/// their square.
pub const MAX_STEPS: usize = 1024;

impl Policy {
    /// `windowed` or `chunked`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Windowed { .. } => "windowed",
            Self::Chunked { .. } => "chunked",
        }
    }

    /// The most steps that the network is given at once: those of a window, or of a chunk.
    pub const fn max_steps(self) -> usize {
        match self {
            Self::Windowed { window_steps } => window_steps,
            Self::Chunked { chunk_steps, .. } => chunk_steps,
        }
    }

    /// Steps before a chunk that its tokens attend to, in whole chunks; none before a window.
    ///
    /// # Panics
    /// If a chunk has no steps.
    pub const fn steps_before(self) -> usize {
        match self {
            Self::Windowed { .. } => 0,
            Self::Chunked { chunk_steps, left_steps } => left_steps.next_multiple_of(chunk_steps),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} steps of 160 ms", self.name(), self.max_steps())?;
        match self {
            Self::Windowed { .. } => Ok(()),
            Self::Chunked { left_steps, .. } => write!(f, " and {left_steps} before them"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn chunks_see_whole_chunks_before_them() {
        for (chunk_steps, left_steps, expected) in [(6, 12, 12), (5, 12, 15), (6, 0, 0), (6, 1, 6)] {
            assert_eq!(Policy::Chunked { chunk_steps, left_steps }.steps_before(), expected);
        }
        assert_eq!(Policy::Windowed { window_steps: 62 }.steps_before(), 0);
    }

    #[test]
    fn policies_in_words() {
        assert_eq!(Policy::Windowed { window_steps: 62 }.to_string(), "windowed, 62 steps of 160 ms");
        let chunked = Policy::Chunked { chunk_steps: 6, left_steps: 12 };
        assert_eq!(chunked.to_string(), "chunked, 6 steps of 160 ms and 12 before them");
    }
}
