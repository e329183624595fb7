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

# At 16 kHz a score may be off by so much: conversions at a language's border, another libm.
TOLERANCE = 1e-4

# At other rates by so much: the resampler's FFT rounds as the processor's registers are wide, and where a band is all but empty its
# logarithm shows that (measured: up to 0.011 in WebAssembly, 0.008 on x86-64 without AVX).
TOLERANCE_RESAMPLED = 0.02


def spec(path):
    """Rate and channels of a WAV, and how far off its scores may be."""
    with wave.open(str(path)) as audio:
        rate, channels = audio.getframerate(), audio.getnchannels()
    tolerance = TOLERANCE if rate == 16000 else TOLERANCE_RESAMPLED
    return {"sample_rate_hz": rate, "num_channels": channels, "tolerance": tolerance}


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
