"""PyTorch's half of run.py: the same training steps in plain PyTorch, behind the same pipe (see step.rs).

usage: step.py FOLDER frozen|cached|fine-tuned float32|bfloat16 --device DEVICE --threads N

The network is that of ../network.py.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import network  # noqa: E402

# As in step.rs: targets and scores are compared in z.
MEAN, STD = 5.0, 2.0
LEARNING_RATE, ENCODER_LEARNING_RATE = 1e-4, 1e-5


class Trainer:
    def __init__(self, arguments):
        folder, self.device = Path(arguments.folder), torch.device(arguments.device)
        self.net = network.load(folder).to(self.device)
        self.is_frozen = arguments.encoder != "fine-tuned"
        self.net["beats"].requires_grad_(not self.is_frozen)
        groups = [{"params": self.net["head"].parameters(), "lr": LEARNING_RATE}]
        if not self.is_frozen:
            groups.append({"params": self.net["beats"].parameters(), "lr": ENCODER_LEARNING_RATE})
        self.optimiser = torch.optim.Adam(groups)
        self.is_bfloat16 = arguments.precision == "bfloat16"
        batch = load_file(folder / "batch.safetensors")
        self.features, self.targets, self.hidden = self.pin(batch["features"]), self.pin(batch["targets"]), None
        if arguments.encoder == "cached":
            with torch.no_grad():
                hidden = torch.stack(self.net["beats"](self.to_device(self.features).float()))
            self.hidden = self.pin(hidden.half().cpu())

    def pin(self, x):
        return x.pin_memory() if self.device.type == "cuda" else x

    def to_device(self, x):
        return x.to(self.device, non_blocking=True)

    def forward(self):
        if self.hidden is not None:
            return self.net["head"](self.to_device(self.hidden).float().unbind(0))
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.is_frozen):
            hidden = self.net["beats"](self.to_device(self.features).float())
        return self.net["head"](hidden)

    def step(self):
        self.optimiser.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.is_bfloat16):
            scores = self.forward()
        z, truth = (10 * scores - MEAN) / STD, (self.to_device(self.targets) - MEAN) / STD
        loss = functional.mse_loss(z.mean(1), truth) + functional.mse_loss(z, truth.unsqueeze(1).expand_as(z))
        loss.backward()
        self.optimiser.step()
        return loss.detach()

    def run(self, count):
        losses = [self.step() for _ in range(count)]
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return [loss.item() for loss in losses]


def answer(**values):
    print(json.dumps(values), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("encoder", choices=["frozen", "cached", "fine-tuned"])
    parser.add_argument("precision", choices=["float32", "bfloat16"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    trainer = Trainer(arguments)
    with torch.no_grad():
        answer(scores=trainer.forward().mean(1).flatten().tolist())
    for line in sys.stdin:
        word, _, count = line.strip().partition(" ")
        if word != "run":
            break
        start = time.perf_counter()
        losses = trainer.run(int(count))
        answer(ms=1e3 * (time.perf_counter() - start), losses=losses)
    with open("/proc/self/status", encoding="ascii") as status:
        kib = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    answer(peak_rss_bytes=1024 * kib)


if __name__ == "__main__":
    main()
