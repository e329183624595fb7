"""Scores every audio file under a folder with Ray Data, two workers: ray_folder.py FOLDER OUT

OUT becomes a folder of Parquet files with a row for each file: path, seconds, pq, pc, ce, cu, error, worker (its process).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import ray

import aesa

SUFFIXES = {".wav", ".aiff", ".flac", ".mp3", ".ogg", ".aac", ".m4a"}
NUM_WORKERS = 2
BATCH_SIZE = 8


class ScoreFiles:
    """One worker: loads the model once, then scores batches of paths."""

    def __init__(self) -> None:
        self.scorer = aesa.Scorer("starter")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        rows = [self.score(path) for path in batch["path"]]
        return {key: np.array([row[key] for row in rows]) for key in rows[0]}

    def score(self, path: str) -> dict[str, Any]:
        row = {"path": path, "seconds": np.nan, **dict.fromkeys(aesa.AXES, np.nan), "error": "", "worker": os.getpid()}
        try:
            clip = self.scorer.score_file(path)
        except aesa.AesaError as error:
            return {**row, "error": str(error)}
        return {**row, "seconds": clip.num_frames * aesa.STEP_S, **clip.as_dict()}


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    # For a machine with two cores, and one CPU by name for the tasks that write; on a cluster: ray.init().
    ray.init(num_cpus=NUM_WORKERS + 1, object_store_memory=100 * 2**20, include_dashboard=False)
    # Each machine has to see the files under the same paths.
    folder = Path(sys.argv[1]).resolve()
    paths = sorted(str(path) for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    rows = [{"path": path} for path in paths]
    dataset = ray.data.from_items(rows, override_num_blocks=min(len(rows), 1000) // BATCH_SIZE + 1)
    workers = ray.data.ActorPoolStrategy(size=NUM_WORKERS)
    dataset.map_batches(ScoreFiles, batch_size=BATCH_SIZE, compute=workers).write_parquet(sys.argv[2])

    table = pd.read_parquet(sys.argv[2])
    num_failed = (table["error"] != "").sum()
    print(f"{len(table)} files by {table['worker'].nunique()} workers, {num_failed} failed; mean PQ {table['pq'].mean():.4f}")


if __name__ == "__main__":
    main()
