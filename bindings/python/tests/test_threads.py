"""Threads and signals: the GIL is released, and ctrl-C gets through."""

import _thread
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import aesa


@pytest.fixture(autouse=True)
def interrupts_are_exceptions():
    """Python leaves ctrl-C alone where it was ignored at its start, as in a script's background job."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_one_scorer_in_many_threads(scorer, speech, music):
    jobs = [speech, music] * 8
    expected = [scorer.score(*job).frames for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        actual = list(pool.map(lambda job: scorer.score(*job).frames, jobs))
    assert all(np.array_equal(a, b) for a, b in zip(actual, expected))


def test_two_scorers_in_two_threads(noise):
    samples = noise[: 60 * 16_000]

    def score(_):
        return aesa.Scorer("starter").score(samples, 16_000).frames

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(score, range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(first, score(None))


def test_two_streams_in_two_threads(scorer, noise):
    samples = noise[: 60 * 16_000]

    def score(piece):
        with scorer.stream(16_000) as stream:
            for at in range(0, len(samples), piece):
                stream.accept(samples[at : at + piece])
            return stream.finish().scores

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(score, (1_000, 33_333))
    assert np.array_equal(first, second)


def test_the_gil_is_released(scorer, noise):
    """Without that, this thread would not get to run until the other's call had returned."""
    in_call = threading.Event()
    done = threading.Event()

    def score():
        in_call.set()
        scorer.score(noise, 16_000)
        done.set()

    thread = threading.Thread(target=score)
    # Where the GIL is held, the other thread gives it up at an interval only between two bytecodes: not inside its call.
    thread.start()
    in_call.wait()
    count = 0
    while not done.is_set():
        count += 1
        time.sleep(0.001)
    thread.join()
    assert count > 50


def test_a_stream_takes_one_call_at_a_time(scorer, noise):
    stream = scorer.stream(16_000)
    thread = threading.Thread(target=stream.accept, args=(noise,))
    thread.start()
    refused = 0
    while thread.is_alive():
        try:
            stream.clip_so_far
        except aesa.StreamError as error:
            assert "another thread" in str(error)
            refused += 1
        time.sleep(0.001)
    thread.join()
    assert refused > 10
    # The last frame of 160 ms lacks the 15 ms by which it reaches beyond its end.
    assert stream.finish().num_frames == len(noise) // 2_560 - 1


def interrupt_after(seconds):
    timer = threading.Timer(seconds, _thread.interrupt_main)
    timer.start()
    return timer


def test_ctrl_c_gets_through(scorer, noise):
    samples = np.broadcast_to(noise, (30, len(noise)))[:, : 60 * 16_000].reshape(-1)
    timer = interrupt_after(0.2)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        scorer.score(samples, 16_000)
        time.sleep(60)
    seconds = time.monotonic() - start
    timer.join()
    assert seconds < 1.5
    assert scorer.score(noise[:16_000], 16_000).num_frames == 6


def test_an_interrupted_stream_says_so(scorer, noise):
    samples = np.tile(noise, 3)
    stream = scorer.stream(16_000)
    timer = interrupt_after(0.2)
    with pytest.raises(KeyboardInterrupt):
        stream.accept(samples)
        time.sleep(60)
    timer.join()
    with pytest.raises(aesa.StreamError, match="interrupted"):
        stream.accept(samples[:5])
    with pytest.raises(aesa.StreamError, match="interrupted"):
        stream.finish()
    stream.reset()
    stream.accept(samples[:48_000])
    assert np.array_equal(stream.finish().scores, scorer.score(samples[:48_000], 16_000).scores)


def test_processes_end_while_threads_score():
    """A daemon thread in the middle of its work does not crash the interpreter's end."""
    code = """
import threading, numpy, aesa
scorer = aesa.Scorer("starter")
threading.Thread(target=lambda: scorer.score(numpy.zeros(10**8, "i2"), 16_000), daemon=True).start()
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, b"")
