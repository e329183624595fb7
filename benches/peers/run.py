#!/usr/bin/env python3
"""The same network on the same ten seconds of audio in aesa and in other runtimes, in turns.

usage: run.py [starter|base] [--threads N] [--rounds N] [--only NAME...]

Runtimes, each a process of its own that is asked for one window at a time, all once per round:
  native f32, native int8   model.aesa in aesa's own engine
  native int8 attention     the same with attention in int8, too
  tract f32                 the exported ONNX file in tract, as aesa runs it
  onnxruntime f32           the same file, all graph optimisations
  onnxruntime int8          after its own dynamic quantisation (per channel), all graph optimisations
  rten f32, rten int8       the same two files
  torch f32, torch bf16     plain PyTorch (../network.py), compiled by torch.compile; bf16 as autocast has it, beside int8

Weights are random: they change no time. tract scores a window on one thread; with --threads 2 and more its line is left out.
Prints medians, ratios to onnxruntime of the same kind, both of the clock's time and of the time on a processor (which a busy machine changes less), time until the model was open and until the first window was scored, peak memory, and how far the scores are
from onnxruntime's in f32. Needs Rust, a C++ compiler and Python's venv; fetches onnxruntime into target/peers, and torch (2.8 GB) where
it is measured and --torch-python names no interpreter that has it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WORK = ROOT / "target" / "peers"
PYTHON = WORK / "python" / "bin" / "python"
CLIP = ROOT / "models" / "starter" / "golden" / "speech.flac"


def prepare(size, with_torch):
    """Builds the Rust side, fetches onnxruntime, and torch where it is to be measured, writes the models."""
    subprocess.run(["cargo", "build", "--release", "--locked", "--target-dir", WORK / "cargo"], cwd=HERE, check=True)
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", WORK / "python"], check=True)
    pip = [PYTHON, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", HERE / "requirements.txt"]
    subprocess.run(pip, check=True)
    if with_torch:
        subprocess.run([*pip[:-1], HERE / "requirements-torch.txt"], check=True)
    folder = WORK / size
    folder.mkdir(exist_ok=True)
    subprocess.run([worker(), "make", size, CLIP, folder], check=True)
    subprocess.run([PYTHON, __file__, "--quantise", folder], check=True, stderr=subprocess.DEVNULL)
    return folder


def worker():
    return WORK / "cargo" / "release" / "aesa-peers"


def quantise(folder):
    """f32.onnx as onnxruntime's own tool makes it int8. Run in the environment that has it."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = folder / "prepared.onnx"
    quant_pre_process(folder / "f32.onnx", prepared, skip_symbolic_shape=True)
    quantize_dynamic(prepared, folder / "ort-int8.onnx", per_channel=True, weight_type=QuantType.QInt8)
    prepared.unlink()
    # rten reads lists of numbers only as Python's protobuf writes them.
    onnx.save(onnx.load(folder / "f32.onnx"), folder / "rten-f32.onnx")


def serve_onnxruntime(model, features, threads):
    """The protocol of src/main.rs, for onnxruntime."""
    start = time.perf_counter()
    import numpy
    import onnxruntime

    imported = time.perf_counter()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    opened = time.perf_counter()
    fbank = numpy.fromfile(features, numpy.float32).reshape(1, -1, 128)
    run = lambda: session.run(["frame_scores"], {"fbank": fbank})[0]
    scores = run()
    # Python's own start and imports are not the runtime's.
    print(json.dumps({"open_ms": 1e3 * (opened - imported), "load_ms": 1e3 * (time.perf_counter() - imported), "import_ms": 1e3 * (imported - start)}), flush=True)
    for line in sys.stdin:
        if line.strip() == "end":
            break
        start = time.perf_counter()
        scores = run()
        print(json.dumps({"ms": 1e3 * (time.perf_counter() - start)}), flush=True)
    with open("/proc/self/status", encoding="ascii") as status:
        kib = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    print(json.dumps({"peak_rss_bytes": 1024 * kib, "scores": scores.flatten().tolist()}), flush=True)


def serve_torch(folder, features, threads, precision):
    """The protocol of src/main.rs, for PyTorch."""
    start = time.perf_counter()
    import numpy

    sys.path.insert(0, str(HERE.parent))
    import network
    import torch

    imported = time.perf_counter()
    torch.set_num_threads(threads)
    net = network.load(folder).eval()
    opened = time.perf_counter()
    fbank = torch.from_numpy(numpy.fromfile(features, numpy.float32).reshape(1, -1, 128))
    forward = torch.compile(lambda x: net["head"](net["beats"](x)))

    def run():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return forward(fbank)

    # It is compiled while the first window is scored.
    scores = run()
    print(json.dumps({"open_ms": 1e3 * (opened - imported), "load_ms": 1e3 * (time.perf_counter() - imported), "import_ms": 1e3 * (imported - start)}), flush=True)
    for line in sys.stdin:
        if line.strip() == "end":
            break
        start = time.perf_counter()
        scores = run()
        print(json.dumps({"ms": 1e3 * (time.perf_counter() - start)}), flush=True)
    with open("/proc/self/status", encoding="ascii") as status:
        kib = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    # A frame's score is the mean of its eight tokens', 0 to 10.
    frames = 10.0 * scores.float().reshape(-1, 8, 4).mean(1)
    print(json.dumps({"peak_rss_bytes": 1024 * kib, "scores": frames.flatten().tolist()}), flush=True)


class Peer:
    """One runtime with one model."""

    def __init__(self, name, command, threads):
        environment = {**os.environ, "RTEN_NUM_THREADS": str(threads)}
        self.name = name
        self.times = []
        self.cpu_times = []
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        loaded = self.read()
        self.open_ms, self.load_ms = loaded["open_ms"], loaded["load_ms"]

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended with code {self.process.wait()}")
        return json.loads(line)

    def ask(self, word):
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self.read()

    def run(self):
        before = self.cpu_ms()
        self.times.append(self.ask("run")["ms"])
        self.cpu_times.append(self.cpu_ms() - before)

    def cpu_ms(self):
        """How long its threads have been on a processor, as Linux has it."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text(encoding="ascii").split()[0]) for task in tasks) / 1e6

    def end(self):
        answer = self.ask("end")
        self.process.wait()
        self.peak_mib = answer["peak_rss_bytes"] / 2**20
        self.scores = answer["scores"]

    @property
    def kind(self):
        """f32 or int8, with which bf16 is compared."""
        return self.name.split()[1].replace("bf16", "int8")

    @property
    def median(self):
        return statistics.median(self.times)

    @property
    def cpu_median(self):
        return statistics.median(self.cpu_times)


def commands(folder, threads, torch_python):
    """Command lines by name."""
    features = folder / "features.f32"
    rust = lambda runtime, model: [worker(), "run", runtime, folder / model, features, "--threads", str(threads)]
    ort = lambda model: [PYTHON, __file__, "--serve", folder / model, features, "--threads", str(threads)]
    torch = lambda precision: [torch_python, __file__, "--serve-torch", precision, "--serve", folder, features, "--threads", str(threads)]
    own = {
        "native f32": rust("aesa", "f32.aesa"),
        "native int8": rust("aesa", "int8.aesa"),
        "native int8 attention": rust("aesa", "int8-attention.aesa"),
    }
    if threads == 1:
        own["tract f32"] = rust("aesa", "f32.onnx")
    others = {
        "onnxruntime f32": ort("f32.onnx"),
        "onnxruntime int8": ort("ort-int8.onnx"),
        "rten f32": rust("rten", "rten-f32.onnx"),
        "rten int8": rust("rten", "ort-int8.onnx"),
        "torch f32": torch("f32"),
        "torch bf16": torch("bf16"),
    }
    return {**own, **others}


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        model = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), "unknown")
    return f"{model}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f} at the end"


def report(size, threads, rounds, peers):
    by_name = {peer.name: peer for peer in peers}
    exact = by_name.get("onnxruntime f32")
    print(f"\n{size}, 10 s of audio, {threads} thread(s), median of {rounds} rounds in turns; {machine()}\n")
    print("| runtime | ms | fastest | against onnxruntime | CPU ms | fewest | against onnxruntime | open after, ms | first scores after, ms | peak memory, MiB | from onnxruntime f32 |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for peer in peers:
        base = by_name.get(f"onnxruntime {peer.kind}")
        ratio, cpu_ratio = (f"{peer.median / base.median:.2f}", f"{peer.cpu_median / base.cpu_median:.2f}") if base else ("", "")
        apart = f"{max(abs(a - b) for a, b in zip(exact.scores, peer.scores, strict=True)):.1e}" if exact else ""
        cpu = f"{peer.cpu_median:.1f} | {min(peer.cpu_times):.1f} | {cpu_ratio}"
        print(f"| {peer.name} | {peer.median:.1f} | {min(peer.times):.1f} | {ratio} | {cpu} | {peer.open_ms:.0f} | {peer.load_ms:.0f} | {peer.peak_mib:.0f} | {apart} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", nargs="?", choices=["starter", "base"], default="starter")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", nargs="+", metavar="NAME", help='for example "native int8" "onnxruntime int8"')
    parser.add_argument("--torch-python", type=Path, metavar="PYTHON", help="an interpreter that has torch, numpy and safetensors")
    parser.add_argument("--serve-torch", choices=["f32", "bf16"], help=argparse.SUPPRESS)
    parser.add_argument("--quantise", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--serve", type=Path, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quantise:
        return quantise(arguments.quantise)
    if arguments.serve_torch:
        return serve_torch(*arguments.serve, arguments.threads, arguments.serve_torch)
    if arguments.serve:
        return serve_onnxruntime(*map(str, arguments.serve), arguments.threads)
    with_torch = not arguments.only or any(name.startswith("torch ") for name in arguments.only)
    folder = prepare(arguments.size, with_torch and not arguments.torch_python)
    known = commands(folder, arguments.threads, arguments.torch_python or PYTHON)
    names = arguments.only or list(known)
    if set(names) - set(known):
        sys.exit(f"unknown: {sorted(set(names) - set(known))}; there are {sorted(known)}")
    peers = [Peer(name, known[name], arguments.threads) for name in names]
    for number in range(arguments.rounds):
        # Whoever comes after another finds that one's heat and caches: the order goes round.
        for peer in peers[number % len(peers) :] + peers[: number % len(peers)]:
            peer.run()
    for peer in peers:
        peer.end()
    report(arguments.size, arguments.threads, arguments.rounds, peers)


if __name__ == "__main__":
    main()
