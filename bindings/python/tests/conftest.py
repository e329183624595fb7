"""Where the data lie, and how a WAV becomes an array."""

import json
import struct
import wave
import zlib
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


def other_model(sizes=None, **metadata):
    """The starter's file with other metadata and header sizes (by offset): docs/SPEC.md, "model.aesa". None takes a key away."""
    data = bytearray(MODEL.read_bytes())
    num_tensors, num_bytes = struct.unpack_from("<II", data, 24)
    begin = 128 + 32 * num_tensors
    pairs, at = {}, begin
    while at < begin + num_bytes:
        key, value = struct.unpack_from("<HH", data, at)
        pairs[data[at + 4 : at + 4 + key].decode()] = data[at + 4 + key : at + 4 + key + value].decode()
        at += 4 + key + value
    pairs.update({f"aesa.{key}": value for key, value in metadata.items()})
    texts = [(key.encode(), value.encode()) for key, value in pairs.items() if value is not None]
    encoded = b"".join(struct.pack("<HH", len(key), len(value)) + key + value for key, value in texts)
    # The tensors stay where they are.
    padding = num_bytes - len(encoded) - 4
    assert padding >= 0
    data[begin : begin + num_bytes] = encoded + struct.pack("<HH", padding, 0) + b"x" * padding
    for offset, value in (sizes or {}).items():
        struct.pack_into("<I", data, offset, value)
    return sealed(data)


def overflowing_model():
    """The starter's file with a bias so large, in its last branch's attention, that what follows is no number."""
    data = bytearray(MODEL.read_bytes())
    (num_tensors,) = struct.unpack_from("<I", data, 24)
    *_, rows, columns, at = struct.unpack_from("<IIIIQ", data, 128 + 32 * (num_tensors - 2))
    assert (rows, columns) == (1, 4)
    struct.pack_into("<4f", data, at, 3e38, -3e38, 3e38, -3e38)
    return sealed(data)


def sealed(data):
    """A model file with the checksum that belongs to it."""
    struct.pack_into("<I", data, 12, 0)
    struct.pack_into("<I", data, 12, zlib.crc32(data))
    return bytes(data)


@pytest.fixture(scope="session")
def windowed():
    """The starter's weights in windows of 62 steps instead of chunks."""
    policy = {"policy": "windowed", "window_steps": "62", "chunk_steps": None, "left_steps": None}
    return aesa.Scorer(other_model({32 + 4 * 14: 62, 32 + 4 * 15: 0, 32 + 4 * 16: 0}, **policy))


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
