"""Scores audio files, and the first of them once more as a stream: score.py FILE.wav..."""

from __future__ import annotations

import sys
import wave

import numpy as np
from numpy.typing import NDArray

import aesa


def read_wav(path: str) -> tuple[NDArray[np.int16], int]:
    """The samples of a 16-bit WAV, [samples, channels], and their rate."""
    with wave.open(path) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        return samples.reshape(-1, file.getnchannels()), file.getframerate()


def stream(scorer: aesa.Scorer, samples: NDArray[np.int16], rate: int) -> aesa.ClipScore:
    """Prints each frame as soon as its scores are final."""
    with scorer.stream(rate, samples.shape[1]) as stream:
        for start in range(0, len(samples), 1000):
            for frame in stream.accept(samples[start : start + 1000]):
                print(f"{frame.start_s:.2f} s: PQ {frame.pq:.2f}")
        clip = stream.finish()
        for frame in clip:
            print(f"{frame.start_s:.2f} s: PQ {frame.pq:.2f}")
        return clip


def main() -> int:
    paths = sys.argv[1:]
    if not paths:
        sys.exit(__doc__)
    scorer = aesa.Scorer("starter")
    failed = 0
    for path in paths:
        try:
            samples, rate = read_wav(path)
            clip = scorer.score(samples, rate)
        except (OSError, wave.Error, aesa.AesaError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            failed = 1
            continue
        if path == paths[0] and stream(scorer, samples, rate).scores.tolist() != clip.scores.tolist():
            raise AssertionError("a stream has the scores of a whole clip")
        print(f"{path}: PQ {clip.pq:.2f}, PC {clip.pc:.2f}, CE {clip.ce:.2f}, CU {clip.cu:.2f}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
