"""compare.py EXPECTED.jsonl ACTUAL: the scores that `aesa score --frames --format jsonl` gave, and those that the examples print.
compare.py EXPECTED.json ACTUAL CLIP: those of a clip in tests/conformance/expected.json instead.

Prints the largest difference; fails if it is above 1e-6 (the clip's own tolerance), or a frame is missing.
"""

import json
import sys

AXES = ["PQ", "PC", "CE", "CU"]


def of_score(path):
    """Frames with their starts, then the clip, and how near a score has to be."""
    with open(path, encoding="utf-8") as file:
        line = json.loads(file.readline())
    frames = [(f"{f['start_s']:.2f}", [f[axis] for axis in AXES]) for f in line["frames"]]
    return [*frames, ("clip", [line[axis] for axis in AXES])], 1e-6


def of_conformance(path, clip):
    """The same from the conformance clips' scores."""
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    found = next(c for c in document["clips"] if c["file"] == clip)
    frames = [(f"{0.16 * index:.2f}", scores) for index, scores in enumerate(found["frames"])]
    return [*frames, ("clip", found["clip"])], found["tolerance"]


def main(expected_path, actual_path, *clip):
    expected, tolerance = of_conformance(expected_path, *clip) if clip else of_score(expected_path)
    with open(actual_path, encoding="utf-8") as file:
        fields = [line.split() for line in file]
    actual = [(f[0], [float(x) for x in f[1:]]) for f in fields]
    if len(expected) < 2 or [e[0] for e in expected] != [a[0] for a in actual]:
        sys.exit(f"{actual_path}: {len(actual)} lines; other frames than the {len(expected) - 1} expected and the clip")
    largest = max(abs(x - y) for e, a in zip(expected, actual) for x, y in zip(e[1], a[1], strict=True))
    print(f"largest difference {largest:.1e} in {len(expected) - 1} frames and the clip")
    if not largest <= tolerance:
        sys.exit(f"{actual_path}: above {tolerance}")


main(*sys.argv[1:])
