#!/usr/bin/env python3
"""Compares an ONNX model's scores in onnxruntime with scores computed elsewhere.

usage: compare_onnxruntime.py MODEL.onnx EXPECTED.safetensors [--tolerance DIFFERENCE]

EXPECTED holds the input `fbank` [1, num_frames, 128] and what another runtime made of it: `frame_scores`
[1, num_steps, 4] and `clip_scores` [1, 4], 0 to 10; other outputs of the model may be there under their names. Several
clips lie in one file as `NAME.fbank`, `NAME.frame_scores` and so on. A number `tolerance` there counts in place of 1e-4. A model that scores chunks (its inputs `past.NAME` are
the outputs `present.NAME` of the call before) is run chunk after chunk, and has no clip scores. The model is also checked by
onnx.checker. The exit code is 1 if a value differs by more than the tolerance or is missing.
"""

import argparse
import sys

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file

REQUIRED = ("frame_scores", "clip_scores")


def check_file(path):
    """Refuses a file that breaks ONNX's rules or needs more than the standard operators."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    domains = {node.domain for node in model.graph.node} | {opset.domain for opset in model.opset_import}
    if domains - {"", "ai.onnx"}:
        sys.exit(f"{path}: operators beyond ai.onnx: {sorted(domains)}")


def run(session, inputs):
    """All outputs by name."""
    return dict(zip((output.name for output in session.get_outputs()), session.run(None, inputs)))


def run_chunks(session, fbank, states):
    """Frame scores of a clip whose chunks are scored one after another."""
    chunk_frames = 16 * int(session.get_modelmeta().custom_metadata_map["aesa.chunk_steps"])
    past = {state.name: np.zeros(state.shape, np.float32) for state in states}
    scores = []
    for start in range(0, fbank.shape[1], chunk_frames):
        outputs = run(session, {"fbank": fbank[:, start : start + chunk_frames], **past})
        scores.append(outputs.pop("frame_scores"))
        past = {name.replace("present.", "past.", 1): value for name, value in outputs.items()}
    return {"frame_scores": np.concatenate(scores, axis=1)}


def differences(session, expected, prefix):
    """Yields (output's name, largest absolute difference) for one clip."""
    fbank = expected[f"{prefix}fbank"]
    states = [i for i in session.get_inputs() if i.name != "fbank"]
    actual = run_chunks(session, fbank, states) if states else run(session, {"fbank": fbank})
    for name in actual:
        other = expected.get(f"{prefix}{name}")
        if other is None and name not in REQUIRED:
            continue
        if other is None or other.shape != actual[name].shape:
            shape = None if other is None else other.shape
            sys.exit(f"{prefix}{name}: expected file has shape {shape}, onnxruntime gives {actual[name].shape}")
        yield f"{prefix}{name}", float(np.max(np.abs(actual[name].astype(np.float64) - other)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("expected")
    parser.add_argument("--tolerance", type=float, help="1e-4 if neither this nor EXPECTED says")
    arguments = parser.parse_args()

    check_file(arguments.model)
    session = onnxruntime.InferenceSession(arguments.model, providers=["CPUExecutionProvider"])
    expected = load_file(arguments.expected)
    own = expected.pop("tolerance", np.array([1e-4]))
    tolerance = float(own[0]) if arguments.tolerance is None else arguments.tolerance
    prefixes = sorted(key.removesuffix("fbank") for key in expected if key == "fbank" or key.endswith(".fbank"))
    if not prefixes:
        sys.exit(f"{arguments.expected}: no tensor called fbank")

    found = []
    for prefix in prefixes:
        for name, difference in differences(session, expected, prefix):
            print(f"{name}: max difference {difference:.2e}")
            found.append(difference)
    worst = np.max(found)  # NaN if any is, and then not within the tolerance
    holds = bool(worst <= tolerance)
    print(f"{arguments.model}: {'equal' if holds else 'DIFFERENT'} within {tolerance:g}, worst {worst:.2e}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
