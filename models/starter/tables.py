#!/usr/bin/env python3
"""Prints the tables of the starter model's card from the runs that make.sh leaves.

usage: tables.py WORK

Each figure is the mean over the seeds, with the smallest and the largest in brackets.
"""

import json
import re
import statistics
import sys
from pathlib import Path

AXES = ("PQ", "PC", "CE", "CU")
METRICS = ("mse", "lcc", "srcc", "ktau")
ALPHAS = ("0.2", "0.0")
CHUNKS = ("", "-chunk6", "-chunk12", "-chunk24")


def reports(work, alpha, split):
    """The evaluations of all seeds trained with this alpha, by seed."""
    found = {}
    for path in Path(work).glob(f"head-alpha{alpha}-seed*/eval-{split}.json"):
        found[int(re.search(r"seed(\d+)", str(path)).group(1))] = json.loads(path.read_text())
    if len(found) < 3:
        sys.exit(f"{work}: {len(found)} runs with alpha {alpha} evaluated on {split}, at least 3 are needed")
    return [found[seed] for seed in sorted(found)]


def cell(values):
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def metric_table(work, split, level):
    print(f"\n**{split.capitalize()}, {level} level**\n")
    heads = [f"{metric.upper()}, alpha {alpha}" for metric in METRICS for alpha in ALPHAS]
    print("| domain | axis | " + " | ".join(heads) + " |")
    print("|---|---" + "|---" * len(heads) + "|")
    runs = {alpha: reports(work, alpha, split) for alpha in ALPHAS}
    for domain in ("speech", "music", "sound", "all"):
        for axis in AXES:
            cells = []
            for metric in METRICS:
                for alpha in ALPHAS:
                    axes = [run["axes"] if domain == "all" else run["domains"][domain] for run in runs[alpha]]
                    cells.append(cell([a[axis][level][metric] for a in axes]))
            print(f"| {domain} | {axis} | " + " | ".join(cells) + " |")


def shipped_table(work):
    for split, level in (("test", "system"), ("test", "utterance"), ("validation", "utterance")):
        print(f"\n**The model that ships: {split} set, {level} level**\n")
        report = json.loads((Path(work) / f"starter/eval-{split}.json").read_text())
        print("| domain | axis | " + " | ".join(metric.upper() for metric in METRICS) + " |")
        print("|---" * 6 + "|")
        for domain in ("speech", "music", "sound", "all"):
            axes = report["axes"] if domain == "all" else report["domains"][domain]
            for axis in AXES:
                print(f"| {domain} | {axis} | " + " | ".join(f"{axes[axis][level][m]:.3f}" for m in METRICS) + " |")
    print("\n| ladder | PQ falls at every step in |")
    print("|---|---|")
    for ladder in json.loads((Path(work) / "starter/eval-ladders.json").read_text()):
        steps = ", ".join(f"{value:g}" for value in ladder["values"])
        share, clips = ladder["share_falling_throughout"], ladder["num_clips"]
        print(f"| {ladder['ladder']} ({steps}) | {100 * share:.0f} % of {clips} clips |")


def chunk_table(work):
    """What the model loses where it hears chunks in place of windows."""
    print("\n**In chunks, as a stream is scored: SRCC of systems on the test set**\n")
    names = ("windows of 9.92 s", "chunks of 0.96 s", "chunks of 1.92 s", "chunks of 3.84 s")
    reports = [json.loads((Path(work) / f"starter/eval-test{chunk}.json").read_text()) for chunk in CHUNKS]
    print("| domain | axis | " + " | ".join(names) + " |")
    print("|---" * (2 + len(names)) + "|")
    for domain in ("speech", "music", "sound", "all"):
        for axis in AXES:
            of = [report["axes"] if domain == "all" else report["domains"][domain] for report in reports]
            print(f"| {domain} | {axis} | " + " | ".join(f"{a[axis]['system']['srcc']:.3f}" for a in of) + " |")


def ladder_table(work):
    print("\n**Ladders: share of clips whose PQ falls at every step**\n")
    print("| ladder | " + " | ".join(f"alpha {alpha}" for alpha in ALPHAS) + " |")
    print("|---" * 3 + "|")
    runs = {alpha: reports(work, alpha, "ladders") for alpha in ALPHAS}
    for index, ladder in enumerate(runs[ALPHAS[0]][0]):
        cells = [cell([run[index]["share_falling_throughout"] for run in runs[alpha]]) for alpha in ALPHAS]
        steps = ", ".join(f"{value:g}" for value in ladder["values"])
        print(f"| {ladder['ladder']} ({steps}) | " + " | ".join(cells) + " |")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    work = sys.argv[1]
    shipped_table(work)
    chunk_table(work)
    print("\n**Heads on its frozen encoder, with and without the triplet loss**: mean over three seeds "
          "(smallest to largest in brackets)")
    metric_table(work, "validation", "utterance")
    metric_table(work, "test", "utterance")
    metric_table(work, "test", "system")
    ladder_table(work)


if __name__ == "__main__":
    main()
