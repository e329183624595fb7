#!/usr/bin/env python3
"""Training steps of this trainer beside the same steps in Python's torch, in turns: clips per second and peak memory.

usage: run.py [base|starter|tiny] [--batch N] [--rounds N] [--device cpu|cuda] [--encoder ...] [--precision ...] [--out FILE.md]

The network is BEATs of the size and the AESA-Net head with random weights, the batch ten-second clips of random features; a step is
forward, MSE of clips and tokens, backward, Adam. The encoder is frozen (run in each step), cached (its hidden states come from
main memory) or fine-tuned, each in f32 and bf16. Before anything is timed both sides' scores must agree within 1e-4 and
the losses of the first three steps in f32 within 0.1 %: they take the same step. Both run on the same libtorch, that of Python's
torch, with the same threads and environment. Needs what the trainer's build needs (trainer/setup-libtorch.sh), and Python's
venv; fetches torch into target/bench-trainer unless --python names an interpreter that has it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
WORK = TARGET / "bench-trainer"
RUST = TARGET / "release" / "examples" / "training-step"
CHECKED_STEPS = 3


def prepare(arguments):
    """Builds the Rust side, finds or fetches torch, writes weights and batch."""
    subprocess.run(["cargo", "build", "--release", "--locked", "-p", "aesa-trainer", "--example", "training-step"], cwd=ROOT, check=True)
    WORK.mkdir(parents=True, exist_ok=True)
    python = arguments.python
    if python is None:
        python = WORK / "python" / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", WORK / "python"], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", HERE / "requirements.txt"], check=True)
    question = "import torch; print(torch.__path__[0], torch.__version__, torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    folder, version, *gpu = subprocess.run([python, "-c", question], check=True, capture_output=True, text=True).stdout.split(maxsplit=2)
    facts = {"python": python, "torch": version, "gpu": gpu[0].strip() if gpu else None}
    threads = str(arguments.threads or os.cpu_count())
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": f"{folder}/lib:{os.environ.get('LD_LIBRARY_PATH', '')}",
        "OMP_NUM_THREADS": threads,
        # As the trainer has it; see its environment.rs.
        "OMP_WAIT_POLICY": "PASSIVE",
        "MALLOC_MMAP_THRESHOLD_": "4294967296",
        "MALLOC_TRIM_THRESHOLD_": "17179869184",
    }
    data = WORK / f"{arguments.size}-{arguments.batch}"
    data.mkdir(exist_ok=True)
    subprocess.run([RUST, "make", arguments.size, str(arguments.batch), data], check=True, env=environment)
    return facts, environment, data


def gpu_bytes():
    """Memory in use on the first GPU."""
    query = ["nvidia-smi", "--id=0", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return 2**20 * int(subprocess.run(query, check=True, capture_output=True, text=True).stdout)


class Side:
    """One implementation in one setting."""

    def __init__(self, name, command, environment, on_gpu):
        self.name, self.times, self.on_gpu = name, [], on_gpu
        before = gpu_bytes() if on_gpu else 0
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ready = self.read()
        self.scores, self.batch_ms = ready["scores"], ready.get("batch_ms")
        self.losses = self.ask(f"run {CHECKED_STEPS}")["losses"]
        # libtorch keeps what it has once had of a GPU.
        self.peak_bytes = gpu_bytes() - before if on_gpu else None

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended with code {self.process.wait()}")
        return json.loads(line)

    def ask(self, word):
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self.read()

    def run(self, steps):
        self.times.append(self.ask(f"run {steps}")["ms"] / steps)

    def end(self):
        peak_rss = self.ask("end")["peak_rss_bytes"]
        self.process.wait()
        if not self.on_gpu:
            self.peak_bytes = peak_rss


def measure(arguments, encoder, precision, facts, environment, data, device):
    """Both sides in one setting, in turns."""
    rest = [encoder, precision, "--device", device, "--threads", str(arguments.threads)]
    commands = {"aesa": [RUST, "serve", data, *rest], "torch": [facts["python"], HERE / "step.py", data, *rest]}
    aesa, torch = sides = [Side(name, command, environment, device != "cpu") for name, command in commands.items()]
    apart = max(abs(a - b) for a, b in zip(aesa.scores, torch.scores, strict=True))
    losses_apart = max(abs(a - b) / b for a, b in zip(aesa.losses, torch.losses, strict=True))
    if apart > 1e-4 or (precision == "float32" and losses_apart > 1e-3):
        sys.exit(f"{encoder}, {precision}: not the same step: scores {apart:.1e} apart, losses {aesa.losses} and {torch.losses}")
    for number in range(arguments.rounds):
        # Whoever comes second finds the other's heat and caches.
        for side in sides if number % 2 == 0 else sides[::-1]:
            side.run(arguments.steps or (1 if device == "cpu" else 20))
    for side in sides:
        side.end()
    per_second = [1e3 * arguments.batch / statistics.median(side.times) for side in sides]
    ratio = statistics.median(b / a for a, b in zip(aesa.times, torch.times, strict=True))
    memory = [side.peak_bytes / 2**20 for side in sides]
    return (
        f"| {encoder} | {precision} | {per_second[0]:.3g} | {per_second[1]:.3g} | {ratio:.2f} | {memory[0]:.0f} | {memory[1]:.0f} "
        f"| {aesa.batch_ms:.1f} of {statistics.median(aesa.times):.0f} | {apart:.0e} | {losses_apart:.0e} |"
    )


def machine(facts, device):
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        model = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), "unknown")
    where = facts["gpu"] if device != "cpu" else "on the CPU"
    return f"{model}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f} at the end; {where}; torch {facts['torch']}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", nargs="?", choices=["base", "starter", "tiny"], default="base")
    parser.add_argument("--batch", type=int, default=1, help="clips of a step")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=0, help="of a round, in a row; 0 is 1 on a CPU and 20 on a GPU")
    parser.add_argument("--threads", type=int, default=0, help="0 takes all CPUs")
    parser.add_argument("--device", default="", help="cpu or cuda; without it cuda where it is there")
    encoders, precisions = ["frozen", "cached", "fine-tuned"], ["float32", "bfloat16"]
    parser.add_argument("--encoder", nargs="+", choices=encoders, default=encoders)
    parser.add_argument("--precision", nargs="+", choices=precisions, default=precisions)
    parser.add_argument("--python", type=Path, help="an interpreter that has torch, numpy and safetensors")
    parser.add_argument("--out", type=Path, help="a file for the table, too")
    arguments = parser.parse_args()
    facts, environment, data = prepare(arguments)
    device = arguments.device or ("cuda" if facts["gpu"] else "cpu")
    settings = [(encoder, precision) for encoder in arguments.encoder for precision in arguments.precision]
    rows = []
    for setting in settings:
        rows.append(measure(arguments, *setting, facts, environment, data, device))
        # What is there is not lost with what comes after.
        print(rows[-1], file=sys.stderr, flush=True)
    lines = [
        f"{arguments.size}, {arguments.batch} clip(s) of 10 s per step, medians of {arguments.rounds} rounds in turns; {machine(facts, device)}",
        "",
        "| encoder | precision | aesa, clips/s | torch, clips/s | aesa / torch | aesa, peak MiB | torch, peak MiB | aesa, ms in main memory of a step | scores apart | losses apart |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *rows,
    ]
    text = "\n".join(lines) + "\n"
    print(f"\n{text}")
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
