from os import PathLike
from types import TracebackType
from typing import Any, Optional, Union, final

import numpy as np
from numpy.typing import NDArray

from ._results import ClipScore, FrameScore, ModelInfo

_Samples = Union[NDArray[np.float32], NDArray[np.float64], NDArray[np.int16], NDArray[np.int32]]

__all__ = ["Scorer", "Stream", "__version__"]

__version__: str

@final
class Scorer:
    """A model that scores audio: "starter" (inside this package), the path of a model file, or its bytes."""

    def __new__(
        cls, model: Optional[Union[str, PathLike[str], bytes, bytearray, memoryview]] = None
    ) -> Scorer: ...
    @property
    def info(self) -> ModelInfo:
        """What the model says of itself."""

    def score(self, samples: _Samples, rate: int) -> ClipScore:
        """Scores a whole clip: a numpy array, [samples] or [samples, channels], at `rate` samples per second."""

    def score_file(self, path: Union[str, PathLike[str]]) -> ClipScore:
        """Scores an audio file: WAV, AIFF, FLAC, MP3, Ogg Vorbis, AAC or M4A."""

    def stream(
        self,
        rate: int,
        channels: int = 1,
        *,
        hop: Optional[float] = None,
        look_ahead: Optional[float] = None,
    ) -> Stream:
        """Starts a stream; `hop` and `look_ahead`, in seconds, are for models that hear in windows."""

    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class Stream:
    """One clip that arrives piece by piece; `Scorer.stream` makes it."""

    @property
    def rate(self) -> int:
        """Samples per second and channel."""

    @property
    def channels(self) -> int:
        """How many channels an array has to have."""

    @property
    def latency_s(self) -> float:
        """The longest wait for a frame, in seconds of audio from its start."""

    @property
    def clip_so_far(self) -> Optional[ClipScore]:
        """The clip's scores so far, without frames; None before the first."""

    def accept(self, samples: _Samples) -> list[FrameScore]:
        """Takes the next samples and returns the frames that became final."""

    def gap(self, num_samples: int) -> list[FrameScore]:
        """Marks the next samples (of every channel) as lost and returns the frames that became final."""

    def finish(self) -> ClipScore:
        """Ends the clip; the result has the frames that no `accept` returned."""

    def reset(self) -> None:
        """Forgets the clip: the next samples begin another."""

    def close(self) -> None:
        """Frees the stream's memory; no call is possible any more."""

    def __enter__(self) -> Stream: ...
    def __exit__(
        self,
        exc_type: Optional[type[BaseException]],
        exc: Optional[BaseException],
        traceback: Optional[TracebackType],
        /,
    ) -> None: ...
