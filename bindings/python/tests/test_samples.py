"""Arrays of every kind: what is read, what is refused, and how."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import aesa


def same(a, b):
    return np.array_equal(a.frames, b.frames) and np.array_equal(a.scores, b.scores)


def test_formats_share_one_scale(scorer, speech):
    samples, rate = speech
    expected = scorer.score(samples, rate)
    full = samples.astype(np.float64) / 32_768
    for other in (full, full.astype(np.float32), samples.astype(np.int32) << 16):
        assert same(scorer.score(other, rate), expected), other.dtype


def test_byte_order_and_alignment(scorer, speech):
    samples, rate = speech
    expected = scorer.score(samples, rate)
    raw = np.frombuffer(b"x" + samples.tobytes(), np.uint8)[1:]
    misaligned = raw.view(np.int16)
    assert not misaligned.flags.aligned
    assert same(scorer.score(misaligned, rate), expected)
    assert same(scorer.score(samples.astype(">i2"), rate), expected)
    assert same(scorer.score((samples / 32_768).astype(">f8"), rate), expected)


def test_strides(scorer, music):
    samples, rate = music
    expected = scorer.score(samples, rate)
    assert same(scorer.score(np.asfortranarray(samples), rate), expected)
    assert same(scorer.score(np.ascontiguousarray(samples.T).T, rate), expected)
    assert same(scorer.score(np.repeat(samples, 3, axis=0)[::3], rate), expected)
    assert same(scorer.score(samples[::-1][::-1], rate), expected)
    backwards = scorer.score(samples[::-1], rate)
    assert same(backwards, scorer.score(samples[::-1].copy(), rate))
    assert not same(backwards, expected)
    left = scorer.score(samples[:, 0], rate)
    assert same(left, scorer.score(samples[:, 0].copy(), rate))
    assert not same(left, expected)


def test_mono_has_two_shapes(scorer, speech):
    samples, rate = speech
    assert same(scorer.score(samples[:, np.newaxis], rate), scorer.score(samples, rate))


def test_channels_are_averaged(scorer, speech):
    samples, rate = speech
    assert same(scorer.score(np.stack([samples] * 4, axis=1), rate), scorer.score(samples, rate))


def test_the_array_is_left_alone(scorer, speech):
    samples, rate = speech
    assert not samples.flags.writeable
    writeable = samples.copy()
    scorer.score(writeable, rate)
    assert np.array_equal(writeable, samples)
    writeable[0] = 1


PEAK_OF_MEMORY = """
import numpy as np, aesa

def peak_bytes():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024

stream = aesa.Scorer().stream(4_000, 100)
samples = np.zeros((200_000, 100), np.float32)
samples[:] = 0.25
stream.accept(samples[:4_000])
before = peak_bytes()
stream.accept(samples)
print((peak_bytes() - before) / samples.nbytes)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measured where Linux says it")
def test_contiguous_arrays_are_not_copied():
    """A copy of 80 MB would show in the peak of a process that has little else."""
    result = subprocess.run([sys.executable, "-c", PEAK_OF_MEMORY], capture_output=True, text=True, check=True)
    assert 0 <= float(result.stdout) < 0.1


@pytest.mark.parametrize(
    "samples",
    [np.zeros(16_000, dtype) for dtype in (np.uint8, np.int8, np.int64, np.uint16, np.float16, bool, complex, object)]
    + [[0.0] * 16_000, b"\0" * 32_000, None, "talk.wav", 3],
    ids=lambda samples: str(getattr(samples, "dtype", type(samples).__name__)),
)
def test_wrong_types(scorer, samples):
    with pytest.raises(TypeError, match="samples must be"):
        scorer.score(samples, 16_000)
    with pytest.raises(TypeError, match="samples must be"):
        scorer.stream(16_000).accept(samples)


@pytest.mark.parametrize("shape", [(), (2, 8_000, 2), (1, 1, 1, 16_000)], ids=str)
def test_wrong_dimensions(scorer, shape):
    with pytest.raises(aesa.AudioError, match="dimensions"):
        scorer.score(np.zeros(shape, np.float32), 16_000)


def test_axes_the_wrong_way_round(scorer, music):
    samples, rate = music
    with pytest.raises(aesa.AudioError, match=r"\[samples, channels\].*\.T"):
        scorer.score(samples.T, rate)
    assert same(scorer.score(samples.T.T, rate), scorer.score(samples, rate))


def test_no_channels(scorer):
    with pytest.raises(aesa.AudioError, match="channels"):
        scorer.score(np.zeros((16_000, 0), np.float32), 16_000)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e10])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_out_of_range(scorer, bad, dtype):
    samples = np.zeros(100_000, dtype)
    samples[76_543] = bad
    with pytest.raises(aesa.AudioError, match="sample 76543 is not"):
        scorer.score(samples, 16_000)


@pytest.mark.parametrize("shape", [(0,), (1,), (2_799,), (0, 1), (1, 1), (2_799, 1), (0, 2), (2, 2), (2_799, 2)], ids=str)
def test_too_short(scorer, shape):
    with pytest.raises(aesa.TooShortError, match="too short"):
        scorer.score(np.zeros(shape, np.int16), 16_000)


def test_the_shortest(scorer):
    assert scorer.score(np.zeros(2_800, np.int16), 16_000).frames.shape == (1, 4)


@pytest.mark.parametrize("rate", [0, -1, 3_999, 2**31, 2**40, 2**63, -(2**200)])
def test_rates_that_cannot_be(scorer, rate):
    with pytest.raises(aesa.AudioError, match="sample rate"):
        scorer.score(np.zeros(16_000, np.float32), rate)
    with pytest.raises(aesa.AudioError, match="sample rate"):
        scorer.stream(rate)


def test_rates_of_other_types(scorer, speech):
    samples, rate = speech
    assert same(scorer.score(samples, np.int64(rate)), scorer.score(samples, rate))
    for bad in (16_000.5, "16000", None):
        with pytest.raises(TypeError):
            scorer.score(samples, bad)


@pytest.mark.parametrize("mask", [False, True])
def test_masked_arrays_are_refused(scorer, mask):
    masked = np.ma.array(np.zeros(16_000, np.float32), mask=[mask] + 15_999 * [False])
    with pytest.raises(aesa.AudioError, match="MaskedArray"):
        scorer.score(masked, 16_000)
    with pytest.raises(aesa.AudioError, match="MaskedArray"):
        scorer.stream(16_000).accept(masked)
