"""compare.py EXPECTED.jsonl ACTUAL: the scores that `aesa score --frames --format jsonl` gave, and those that the examples print.

Prints the largest difference; fails if it is above 1e-6, or a frame is missing.
"""

import json
import sys

AXES = ["PQ", "PC", "CE", "CU"]


def main(expected_path, actual_path):
    with open(expected_path, encoding="utf-8") as file:
        line = json.loads(file.readline())
    expected = [(f"{f['start_s']:.2f}", [f[axis] for axis in AXES]) for f in line["frames"]]
    expected.append(("clip", [line[axis] for axis in AXES]))
    with open(actual_path, encoding="utf-8") as file:
        fields = [line.split() for line in file]
    actual = [(f[0], [float(x) for x in f[1:]]) for f in fields]
    if len(expected) < 2 or [e[0] for e in expected] != [a[0] for a in actual]:
        sys.exit(f"{actual_path}: {len(actual)} lines; other frames than the {len(expected) - 1} expected and the clip")
    largest = max(abs(x - y) for e, a in zip(expected, actual) for x, y in zip(e[1], a[1], strict=True))
    print(f"largest difference {largest:.1e} in {len(expected) - 1} frames and the clip")
    if not largest <= 1e-6:
        sys.exit(f"{actual_path}: above 1e-6")


main(*sys.argv[1:])
