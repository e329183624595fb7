#!/usr/bin/env python3
"""Writes golden/expected.json and golden/expected-chunks.json: what `aesa score` gives for the clips in golden/ today, in the windows of
model.onnx and in the chunks of model.aesa.

usage: make_expected.py path/to/aesa

Run it after new models were exported, and look at the difference before committing it.
"""

import json
import subprocess
import sys
from pathlib import Path

AXES = ("PQ", "PC", "CE", "CU")


FILES = {"model.onnx": "expected.json", "model.aesa": "expected-chunks.json"}


def scores(program, model, folder):
    """Number of steps, clip scores and the first frame's scores of every clip."""
    command = [program, "score", "--model", model, "--frames", "--format", "json", folder]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {
        Path(clip["path"]).name: {
            "num_steps": len(clip["frames"]),
            "clip": [clip["scores"][axis] for axis in AXES],
            "first_frame": [clip["frames"][0][axis] for axis in AXES],
        }
        for clip in report["clips"]
    }


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(__file__).parent / "golden"
    for model, file in FILES.items():
        expected = scores(sys.argv[1], folder.parent / model, folder)
        (folder / file).write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
