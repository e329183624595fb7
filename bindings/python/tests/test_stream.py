"""Streams: the same numbers as whole clips, and calls at the wrong time."""

import numpy as np
import pytest
from conftest import overflowing_model

import aesa


def rows(frames):
    return np.array([frame[1:5] for frame in frames], np.float32).reshape(-1, 4)


@pytest.mark.parametrize("piece", [1, 7, 160, 1_000, 4_096, 10**6])
def test_cuts_change_nothing(scorer, speech, piece):
    samples, rate = speech
    samples = samples[:24_000]
    whole = scorer.score(samples, rate)
    stream = scorer.stream(rate)
    frames = [frame for at in range(0, len(samples), piece) for frame in stream.accept(samples[at : at + piece])]
    clip = stream.finish()
    assert np.array_equal(np.concatenate([rows(frames), clip.frames]), whole.frames)
    assert np.array_equal(clip.scores, whole.scores)
    assert [frame.start_s for frame in frames] + clip.times.tolist() == whole.times.tolist()
    assert whole.times == pytest.approx(np.arange(len(whole.frames)) * aesa.STEP_S)
    assert clip.num_frames == len(whole.frames)
    assert not any(frame.has_gap or frame.is_lost for frame in [*frames, *clip])


def test_stereo_in_pieces(scorer, music):
    samples, rate = music
    stream = scorer.stream(rate, 2)
    assert (stream.rate, stream.channels) == (rate, 2)
    frames = stream.accept(samples[:50_000]) + stream.accept(samples[50_000:].astype(np.float32) / 32_768)
    assert np.array_equal(np.concatenate([rows(frames), stream.finish().frames]), scorer.score(samples, rate).frames)


def test_scores_come_within_the_latency(scorer, speech):
    samples, rate = speech
    stream = scorer.stream(rate)
    num_samples = int(stream.latency_s * rate)
    assert 0.9 < stream.latency_s < 1.2
    assert stream.clip_so_far is None
    assert stream.accept(samples[: num_samples // 2]) == []
    assert stream.accept(samples[num_samples // 2 : num_samples + 1])
    assert stream.clip_so_far.num_frames > 0
    assert stream.clip_so_far.frames.shape == (0, 4)


def test_the_clip_so_far_becomes_the_clip(scorer, speech):
    samples, rate = speech
    stream = scorer.stream(rate)
    frames = stream.accept(samples)
    so_far = stream.clip_so_far
    assert so_far.scores == pytest.approx(rows(frames).mean(axis=0), abs=1e-5)
    clip = stream.finish()
    assert np.array_equal(stream.clip_so_far.scores, clip.scores)


def test_reset_begins_another_clip(scorer, speech):
    samples, rate = speech
    expected = scorer.score(samples, rate)
    stream = scorer.stream(rate)
    stream.accept(samples[::-1])
    for _ in range(2):
        stream.reset()
        frames = stream.accept(samples)
        clip = stream.finish()
        assert np.array_equal(np.concatenate([rows(frames), clip.frames]), expected.frames)


def test_calls_after_the_end(scorer, speech):
    samples, rate = speech
    stream = scorer.stream(rate)
    stream.accept(samples)
    stream.finish()
    for call in (lambda: stream.accept(samples), lambda: stream.accept(samples[:0]), stream.finish, lambda: stream.gap(5)):
        with pytest.raises(aesa.StreamError, match="ended"):
            call()
    with stream:
        pass
    for call in (lambda: stream.accept(samples), stream.finish, stream.reset, lambda: stream.gap(5), lambda: stream.clip_so_far):
        with pytest.raises(aesa.StreamError, match="closed"):
            call()
    stream.close()


def test_refused_samples_leave_the_clip_as_it_was(scorer, speech):
    samples, rate = speech
    stream = scorer.stream(rate)
    frames = stream.accept(samples[:20_000])
    bad = np.zeros(40_000, np.float32)
    bad[30_000] = np.nan
    with pytest.raises(aesa.AudioError, match="sample 50000 is not"):
        stream.accept(bad)
    with pytest.raises(TypeError):
        stream.accept(list(samples))
    frames += stream.accept(samples[20_000:])
    clip = stream.finish()
    assert np.array_equal(np.concatenate([rows(frames), clip.frames]), scorer.score(samples, rate).frames)


def test_other_numbers_of_channels(scorer, music):
    samples, rate = music
    for channels, array in ((1, samples), (2, samples[:, 0]), (3, samples), (2, samples.T)):
        with pytest.raises(aesa.AudioError, match="channels"):
            scorer.stream(rate, channels).accept(array)
    for channels in (0, -1, 2**64, -(10**30)):
        with pytest.raises(aesa.AudioError, match="channels"):
            scorer.stream(rate, channels)


def test_too_short(scorer):
    stream = scorer.stream(16_000)
    assert stream.accept(np.zeros(2_000, np.int16)) == []
    with pytest.raises(aesa.TooShortError):
        stream.finish()
    with pytest.raises(aesa.TooShortError):
        scorer.stream(16_000).finish()


def test_gaps(scorer, speech):
    samples, rate = speech
    stream = scorer.stream(rate)
    frames = stream.accept(samples) + stream.gap(rate) + stream.accept(samples)
    clip = stream.finish()
    frames += list(clip)
    lost = [frame for frame in frames if frame.is_lost]
    assert 6 <= len(lost) <= 8
    assert all(frame.has_gap for frame in lost)
    assert clip.num_frames == len(frames) - len(lost)
    assert sum(frame.has_gap for frame in frames) > len(lost)
    for num_samples in (-1, -(2**40), 2**40 + 1, 2**63, 2**200):
        with pytest.raises(aesa.AudioError, match="gap"):
            scorer.stream(rate).gap(num_samples)


def test_all_lost(scorer):
    stream = scorer.stream(16_000)
    stream.gap(16_000)
    with pytest.raises(aesa.AllLostError):
        stream.finish()


def test_windows_are_for_other_models(scorer):
    for windows in ({"hop": 0.96}, {"look_ahead": 0.16}, {"hop": 0.0, "look_ahead": float("nan")}):
        with pytest.raises(aesa.PolicyError, match="chunks"):
            scorer.stream(16_000, **windows)


def test_windows(windowed, speech):
    samples, rate = speech
    assert (windowed.info.policy, windowed.info.span_s) == ("windowed", pytest.approx(9.92))
    samples = np.concatenate([samples] * 5)
    whole = windowed.score(samples, rate)
    default = windowed.stream(rate)
    assert default.latency_s == pytest.approx(9.92 + 0.015)
    default.accept(samples)
    assert np.array_equal(default.finish().scores, whole.scores)

    # The hop is rounded down to steps of 160 ms, the look-ahead up.
    stream = windowed.stream(rate, hop=1.0, look_ahead=0.81)
    assert stream.latency_s == pytest.approx(0.96 + 0.96 + 0.015)
    frames = stream.accept(samples)
    clip = stream.finish()
    frames += list(clip)
    assert len(frames) == len(whole.frames)
    assert not np.array_equal(clip.scores, whole.scores)
    assert np.abs(clip.scores - whole.scores).max() < 1


@pytest.mark.parametrize(
    "windows", [{"hop": 0.1}, {"hop": 0.0}, {"hop": -1.0}, {"hop": float("nan")}, {"hop": 9.92, "look_ahead": 0.1}, {"look_ahead": 1e300}]
)
def test_windows_that_cannot_be(windowed, windows):
    with pytest.raises(aesa.PolicyError, match="hop"):
        windowed.stream(16_000, **windows)


def test_a_network_that_gives_no_numbers(speech):
    samples, rate = speech
    broken = aesa.Scorer(overflowing_model())
    with pytest.raises(aesa.NetworkError, match="not a number"):
        broken.score(samples, rate)
    stream = broken.stream(rate)
    with pytest.raises(aesa.NetworkError):
        stream.accept(samples)
    with pytest.raises(aesa.StreamError, match="ended"):
        stream.accept(samples)


def test_a_block_that_raises_closes_too(scorer):
    with pytest.raises(ZeroDivisionError):
        with scorer.stream(16_000) as stream:
            1 / 0
    with pytest.raises(aesa.StreamError, match="closed"):
        stream.finish()


def test_results_in_words(scorer, speech):
    clip = scorer.score(*speech)
    assert repr(clip).startswith(f"ClipScore(pq={clip.pq:.2f}, ")
    assert list(clip.as_dict()) == list(aesa.AXES)
    assert clip.scores.dtype == clip.frames.dtype == np.float32 and clip.times.dtype == np.float64
    with pytest.raises(AttributeError):
        clip.scores = None
    frames = list(clip)
    assert len(frames) == len(clip.frames)
    assert np.array_equal(rows(frames), clip.frames)
