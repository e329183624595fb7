"""Perceptual audio scores on the device: four aesthetic scores for a clip, and for every 160 ms of it.

    import aesa

    clip = aesa.Scorer("starter").score(samples, 44_100)  # a numpy array, [samples] or [samples, channels]
    print(clip.pq, clip.frames.shape)

PQ is Production Quality, PC Production Complexity, CE Content Enjoyment, CU Content Usefulness; all go from 0 to 10.
"""

import numpy as _numpy  # The compiled half needs it: where it is missing, that is told here.

from ._aesa import Scorer, Stream, __version__
from ._errors import (
    AesaError,
    AllLostError,
    AudioError,
    DecodeError,
    FileError,
    ModelError,
    NetworkError,
    PolicyError,
    StreamError,
    TooShortError,
)
from ._results import AXES, STEP_S, ClipScore, FrameScore, ModelInfo

__all__ = [
    "AXES",
    "STEP_S",
    "AesaError",
    "AllLostError",
    "AudioError",
    "ClipScore",
    "DecodeError",
    "FileError",
    "FrameScore",
    "ModelError",
    "ModelInfo",
    "NetworkError",
    "PolicyError",
    "Scorer",
    "Stream",
    "StreamError",
    "TooShortError",
    "__version__",
]
