"""The scores that every way into aesa gives: tests/conformance."""

import numpy as np
import pytest
from conftest import CONFORMANCE, EXPECTED, MODEL, read_wav

import aesa


@pytest.fixture(scope="module", params=["starter", MODEL], ids=["built in", "model.aesa"])
def any_scorer(request):
    return aesa.Scorer(request.param)


@pytest.fixture(params=EXPECTED["clips"], ids=lambda clip: clip["file"])
def clip(request):
    return request.param


def load(clip):
    samples, rate = read_wav(CONFORMANCE / "clips" / clip["file"])
    assert rate == clip["sample_rate_hz"]
    assert samples.shape[1:] == ((clip["num_channels"],) if clip["num_channels"] > 1 else ())
    return samples, rate


def assert_close(actual, expected, tolerance):
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance


def test_there_are_clips():
    assert len(EXPECTED["clips"]) >= 4


def test_whole(any_scorer, clip):
    samples, rate = load(clip)
    result = any_scorer.score(samples, rate)
    assert_close(result.scores, clip["clip"], clip["tolerance"])
    assert_close(result.frames, clip["frames"], clip["tolerance"])
    assert result.num_frames == clip["num_steps"]
    assert_close([result.pq, result.pc, result.ce, result.cu], clip["clip"], clip["tolerance"])
    assert_close(list(result.as_dict().values()), clip["clip"], clip["tolerance"])


def test_pieces(any_scorer, clip):
    samples, rate = load(clip)
    values = samples.reshape(-1)
    per_piece = 1000 // clip["num_channels"]
    with any_scorer.stream(rate, clip["num_channels"]) as stream:
        frames = []
        for start in range(0, len(samples), per_piece):
            frames += stream.accept(samples[start : start + per_piece])
        assert len(values) > 1000 and 0 < len(frames)
        result = stream.finish()
        frames += list(result)
    assert_close(result.scores, clip["clip"], clip["tolerance"])
    assert_close([frame[1:5] for frame in frames], clip["frames"], clip["tolerance"])
    assert_close([frame.start_s for frame in frames], [i * aesa.STEP_S for i in range(clip["num_steps"])], 1e-9)


def test_file(any_scorer, clip):
    result = any_scorer.score_file(CONFORMANCE / "clips" / clip["file"])
    assert_close(result.scores, clip["clip"], clip["tolerance"])
    assert_close(result.frames, clip["frames"], clip["tolerance"])
