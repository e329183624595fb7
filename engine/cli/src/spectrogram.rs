//! A log-mel spectrogram of bounded size, however long the clip is.

use aesa::fbank::{FRAME_SHIFT_SAMPLES, Fbank, NUM_MEL_BINS, SAMPLE_RATE_HZ};

/// Columns of log-mel energies; whenever there are too many, each two neighbours become their mean.
pub(crate) struct Spectrogram {
    fbank: Fbank,
    columns: Columns,
}

#[derive(Default)]
struct Columns {
    /// `[num_columns, 128]`, sums over the frames of a column.
    sums: Vec<f32>,
    frames_per_column: usize,
    /// Frames in the last column.
    num_last: usize,
}

impl Spectrogram {
    /// An empty spectrogram.
    pub(crate) fn new() -> Self {
        Self { fbank: Fbank::new(), columns: Columns { frames_per_column: 1, ..Columns::default() } }
    }

    /// Takes in 16 kHz mono samples.
    pub(crate) fn accept_waveform(&mut self, waveform: &[f32]) {
        let Self { fbank, columns } = self;
        fbank.accept_waveform(waveform, |frame| columns.push(frame));
    }

    /// Mean log-mel energies `[num_columns, 128]`, row-major.
    pub(crate) fn columns(&self) -> Vec<f32> {
        let num_columns = self.num_columns();
        let num_frames = |i: usize| {
            if i + 1 == num_columns { self.columns.num_last } else { self.columns.frames_per_column }
        };
        let scaled = |(i, column): (usize, &[f32])| {
            let scale = 1.0 / num_frames(i) as f32;
            column.iter().map(move |sum| sum * scale).collect::<Vec<f32>>()
        };
        self.columns.sums.chunks_exact(NUM_MEL_BINS).enumerate().flat_map(scaled).collect()
    }

    /// How many columns there are, at most [`MAX_COLUMNS`].
    pub(crate) fn num_columns(&self) -> usize {
        self.columns.sums.len() / NUM_MEL_BINS
    }

    /// How much time the columns span, in seconds.
    pub(crate) fn duration_s(&self) -> f64 {
        let num_frames =
            self.num_columns().saturating_sub(1) * self.columns.frames_per_column + self.columns.num_last;
        num_frames as f64 * FRAME_SHIFT_SAMPLES as f64 / f64::from(SAMPLE_RATE_HZ)
    }
}

impl Columns {
    fn push(&mut self, frame: &[f32; NUM_MEL_BINS]) {
        let is_full = self.sums.is_empty() || self.num_last == self.frames_per_column;
        if is_full && self.sums.len() == MAX_COLUMNS * NUM_MEL_BINS {
            self.halve();
        }
        if self.sums.is_empty() || self.num_last == self.frames_per_column {
            self.sums.extend_from_slice(frame);
            self.num_last = 1;
            return;
        }
        let last = self.sums.len() - NUM_MEL_BINS;
        self.sums[last..].iter_mut().zip(frame).for_each(|(sum, x)| *sum += x);
        self.num_last += 1;
    }

    /// Adds up each two neighbours; the number of columns is even and all of them are full.
    fn halve(&mut self) {
        let halves = self.sums.chunks_exact(2 * NUM_MEL_BINS).flat_map(|pair| {
            let (left, right) = pair.split_at(NUM_MEL_BINS);
            left.iter().zip(right).map(|(a, b)| a + b)
        });
        self.sums = halves.collect();
        self.frames_per_column *= 2;
        self.num_last = self.frames_per_column;
    }
}

/// Columns at most; even.
pub(crate) const MAX_COLUMNS: usize = 800;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_bounded_and_time_is_kept() {
        for num_frames in [1, 799, 800, 801, 1_600, 1_601, 12_345] {
            let mut columns = Columns { frames_per_column: 1, ..Columns::default() };
            for i in 0..num_frames {
                columns.push(&[i as f32; NUM_MEL_BINS]);
            }
            let spectrogram = Spectrogram { fbank: Fbank::new(), columns };
            assert!(spectrogram.num_columns() <= MAX_COLUMNS, "{num_frames}");
            assert!((spectrogram.duration_s() - num_frames as f64 * 0.01).abs() < 1e-9, "{num_frames}");
            // The frames count upwards, so a column's mean is half-way between its first and its last.
            let means = spectrogram.columns();
            let width = spectrogram.columns.frames_per_column;
            for (i, column) in means.chunks_exact(NUM_MEL_BINS).enumerate() {
                let last = (i * width + width).min(num_frames) - 1;
                assert_eq!(column[5], (i * width + last) as f32 / 2.0, "{num_frames}, column {i}");
            }
        }
    }
}
