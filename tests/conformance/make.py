#!/usr/bin/env python3
"""Writes expected.json: what `aesa score` gives for the clips here, in the chunks of models/starter/model.aesa.

usage: make.py path/to/aesa

Run it after a new model was exported, and look at the difference before committing it.
"""

import json
import subprocess
import sys
import wave
from pathlib import Path

AXES = ("PQ", "PC", "CE", "CU")

# A score may be off by so much: conversions at a language's border, another libm.
TOLERANCE = 1e-4


def spec(path):
    """Rate and channels of a WAV, and how far off its scores may be."""
    with wave.open(str(path)) as audio:
        return {"sample_rate_hz": audio.getframerate(), "num_channels": audio.getnchannels(), "tolerance": TOLERANCE}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    here = Path(__file__).parent
    model = here / "../../models/starter/model.aesa"
    command = [sys.argv[1], "score", "--model", model, "--frames", "--format", "json", here / "clips"]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    clips = [
        {
            "file": Path(clip["path"]).name,
            **spec(clip["path"]),
            "num_steps": len(clip["frames"]),
            "clip": [clip["scores"][axis] for axis in AXES],
            "frames": [[frame[axis] for axis in AXES] for frame in clip["frames"]],
        }
        for clip in report["clips"]
    ]
    # One frame a line, so that a difference is easy to read.
    text = json.dumps({"clips": clips}, indent=1)
    lines = text.replace("[\n     ", "[").replace(",\n     ", ", ").replace("\n    ]", "]")
    (here / "expected.json").write_text(lines + "\n")


if __name__ == "__main__":
    main()
