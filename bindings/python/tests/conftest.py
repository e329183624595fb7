"""Where the data lie, and how a WAV becomes an array."""

import json
import wave
from pathlib import Path

import numpy as np
import pytest

import aesa

ROOT = Path(__file__).resolve().parents[3]
CONFORMANCE = ROOT / "tests/conformance"
EXPECTED = json.loads((CONFORMANCE / "expected.json").read_text())
MODEL = ROOT / "models/starter/model.aesa"
GOLDEN = ROOT / "models/starter/golden"


def read_wav(path):
    """int16 samples, [samples] or [samples, channels], and the rate."""
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        channels = file.getnchannels()
        return samples.reshape(-1, channels) if channels > 1 else samples, file.getframerate()


@pytest.fixture(scope="session")
def scorer():
    return aesa.Scorer("starter")


@pytest.fixture(scope="session")
def speech():
    """Three seconds of speech, int16 mono, and their rate."""
    return read_wav(CONFORMANCE / "clips/speech-16000-mono.wav")


@pytest.fixture(scope="session")
def music():
    """Two seconds of music, int16 [samples, 2], and their rate."""
    return read_wav(CONFORMANCE / "clips/music-44100-stereo.wav")


@pytest.fixture(scope="session")
def noise():
    """Ten minutes of noise, float32 mono, at 16 kHz: work for a second or so."""
    return np.random.default_rng(7).normal(0, 0.1, 600 * 16_000).astype(np.float32)
