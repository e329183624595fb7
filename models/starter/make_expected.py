#!/usr/bin/env python3
"""Writes golden/expected.json: what `aesa score` gives for the clips in golden/ today.

usage: make_expected.py path/to/aesa

Run it after a new model.onnx was exported, and look at the difference before committing it.
"""

import json
import subprocess
import sys
from pathlib import Path

AXES = ("PQ", "PC", "CE", "CU")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(__file__).parent / "golden"
    model = folder.parent / "model.onnx"
    command = [sys.argv[1], "score", "--model", model, "--frames", "--format", "json", folder]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    expected = {}
    for clip in report["clips"]:
        expected[Path(clip["path"]).name] = {
            "num_steps": len(clip["frames"]),
            "clip": [clip["scores"][axis] for axis in AXES],
            "first_frame": [clip["frames"][0][axis] for axis in AXES],
        }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
