"""What scoring gives: plain values, which can be compared, pickled and printed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Iterator, NamedTuple, Optional

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

AXES = ("pq", "pc", "ce", "cu")
"""The axes, in the order of every array of scores."""

STEP_S = 0.16
"""Seconds from one frame to the next, and the length of each."""

_HAS_GAP = 1
_IS_LOST = 2


class FrameScore(NamedTuple):
    """The scores of one frame of 160 ms, 0 to 10."""

    start_s: float
    """When it begins, in seconds from the start of the clip."""
    pq: float
    """Production Quality."""
    pc: float
    """Production Complexity."""
    ce: float
    """Content Enjoyment."""
    cu: float
    """Content Usefulness."""
    has_gap: bool = False
    """Lost audio lies in what the model heard for it."""
    is_lost: bool = False
    """The frame itself touches lost audio: it is no part of the clip's scores."""


@dataclass(frozen=True, eq=False, repr=False)
class ClipScore:
    """The scores of a clip, 0 to 10: the means of its frames', but for lost ones. Iterates over `frames` as FrameScore."""

    scores: NDArray[np.float32]
    """[4], in the order of AXES."""
    num_frames: int
    """How many frames they are the mean of."""
    frames: NDArray[np.float32]
    """[n, 4]: each frame's scores; of a stream, of those frames that no `accept` returned."""
    times: NDArray[np.float64]
    """[n]: when each of `frames` begins, in seconds from the start of the clip."""
    _flags: NDArray[np.uint8]

    @property
    def pq(self) -> float:
        """Production Quality: how clean the recording is."""
        return float(self.scores[0])

    @property
    def pc(self) -> float:
        """Production Complexity: how much goes on at once."""
        return float(self.scores[1])

    @property
    def ce(self) -> float:
        """Content Enjoyment: how enjoyable it is."""
        return float(self.scores[2])

    @property
    def cu(self) -> float:
        """Content Usefulness: how useful it is as material for something else."""
        return float(self.scores[3])

    def as_dict(self) -> dict[str, float]:
        """The clip's four scores under the names of AXES: a row of a table."""
        return dict(zip(AXES, self.scores.tolist()))

    def __iter__(self) -> Iterator[FrameScore]:
        for start_s, (pq, pc, ce, cu), flags in zip(self.times.tolist(), self.frames.tolist(), self._flags.tolist()):
            yield FrameScore(start_s, pq, pc, ce, cu, bool(flags & _HAS_GAP), bool(flags & _IS_LOST))

    def __repr__(self) -> str:
        scores = ", ".join(f"{axis}={score:.2f}" for axis, score in self.as_dict().items())
        return f"ClipScore({scores}, num_frames={self.num_frames})"


class ModelInfo(NamedTuple):
    """What a model file says of itself."""

    id: str
    """Short name, such as "starter"."""
    version: str
    """Version of the weights."""
    labels: str
    """What it learned from: "human" ratings, or "proxy" (computed stand-ins: compare, do not quote)."""
    policy: str
    """How it hears a clip: "windowed" or "chunked"."""
    span_s: float
    """Length of its windows or chunks, in seconds."""
    runtime: str
    """What runs it: "native" or "tract"."""
    weights: Optional[str]
    """"int8" or "f32", where the runtime knows it."""
    run_hash: str
    """Hash of its training run."""
