"""Scores every audio file under a folder with pandas, in threads: pandas_folder.py FOLDER [OUT.csv]"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

import aesa

SUFFIXES = {".wav", ".aiff", ".flac", ".mp3", ".ogg", ".aac", ".m4a"}


def score(scorer: aesa.Scorer, path: str) -> dict[str, object]:
    """A row: the four scores, or why there are none."""
    try:
        clip = scorer.score_file(path)
    except aesa.AesaError as error:
        return {"path": path, "error": str(error)}
    return {"path": path, "seconds": clip.num_frames * aesa.STEP_S, **clip.as_dict(), "error": None}


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    paths = sorted(str(path) for path in Path(sys.argv[1]).rglob("*") if path.suffix.lower() in SUFFIXES)
    scorer = aesa.Scorer("starter")
    # The GIL is released while a file is decoded and scored: threads are enough.
    with ThreadPoolExecutor() as pool:
        table = pd.DataFrame(pool.map(lambda path: score(scorer, path), paths))
    print(table.round(2).to_string(index=False))
    print(f"{len(table)} files, {table['error'].notna().sum()} failed; mean PQ {table['pq'].mean():.4f}")
    if len(sys.argv) == 3:
        table.to_csv(sys.argv[2], index=False)


if __name__ == "__main__":
    main()
