"""Models and files: good ones, bad ones, and the errors' classes."""

import errno
import os
import pickle

import numpy as np
import pytest
from conftest import GOLDEN, MODEL, ROOT

import aesa


def test_info(scorer):
    info = scorer.info
    assert (info.id, info.labels, info.policy, info.runtime, info.weights) == ("starter", "proxy", "chunked", "native", "int8")
    assert info.version and info.run_hash
    assert info.span_s == pytest.approx(0.96)
    assert "starter" in repr(scorer)
    assert aesa.__version__ == "0.1.0"


@pytest.mark.parametrize("make", [str, os.fspath, lambda path: path, lambda path: path.read_bytes()])
def test_a_model_from_anywhere(scorer, speech, make):
    other = aesa.Scorer(make(MODEL))
    assert other.info == scorer.info
    assert np.array_equal(other.score(*speech).frames, scorer.score(*speech).frames)


def test_bytes_of_other_types(scorer):
    data = MODEL.read_bytes()
    assert aesa.Scorer(bytearray(data)).info == scorer.info
    assert aesa.Scorer(memoryview(data)).info == scorer.info
    assert aesa.Scorer().info == scorer.info


@pytest.mark.parametrize("make", [lambda: "starter", lambda: MODEL, lambda: MODEL.read_bytes()], ids=["name", "path", "bytes"])
def test_pickles(speech, make):
    scorer = aesa.Scorer(make())
    other = pickle.loads(pickle.dumps(scorer))
    result = other.score(*speech)
    assert np.array_equal(result.frames, scorer.score(*speech).frames)
    again = pickle.loads(pickle.dumps(result))
    assert np.array_equal(again.frames, result.frames) and list(again) == list(result)


def test_a_path_is_kept_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(MODEL.parent)
    data = pickle.dumps(aesa.Scorer(MODEL.name))
    monkeypatch.chdir(tmp_path)
    assert pickle.loads(data).info.id == "starter"


def damaged():
    data = MODEL.read_bytes()
    middle = bytearray(data)
    middle[len(data) // 2] ^= 1
    return {
        "nothing": b"",
        "text": b"not a model at all",
        "cut short": data[: len(data) // 2],
        "a bit": bytes(middle),
        "header": data[:8] + b"\xff" * 64 + data[72:],
        "zeros": bytes(4096),
    }


@pytest.mark.parametrize("name", damaged())
def test_bad_models(name, tmp_path):
    data = damaged()[name]
    with pytest.raises(aesa.ModelError) as from_bytes:
        aesa.Scorer(data)
    path = tmp_path / "bad.aesa"
    path.write_bytes(data)
    with pytest.raises(aesa.ModelError, match="bad.aesa"):
        aesa.Scorer(path)
    assert isinstance(from_bytes.value, ValueError) and str(from_bytes.value)


def test_a_model_that_is_not_built_in():
    try:
        scorer = aesa.Scorer(ROOT / "models/starter/model.onnx")
    except aesa.ModelError as error:
        assert "no support for other models" in str(error)
    else:
        assert scorer.info.runtime == "tract"


def test_no_such_model(tmp_path):
    with pytest.raises(aesa.FileError, match="does not exist") as error:
        aesa.Scorer(tmp_path / "none.aesa")
    assert isinstance(error.value, OSError)
    assert error.value.errno == errno.ENOENT
    assert error.value.filename == str(tmp_path / "none.aesa")
    with pytest.raises(aesa.FileError):
        aesa.Scorer(tmp_path)


@pytest.mark.parametrize("model", [3, 1.5, [], np.zeros(3)])
def test_what_is_no_model_at_all(model):
    with pytest.raises(TypeError, match="model must be"):
        aesa.Scorer(model)


@pytest.mark.parametrize("path", sorted(p for p in GOLDEN.iterdir() if p.suffix != ".json"), ids=lambda path: path.name)
def test_files_of_every_codec(scorer, path):
    result = scorer.score_file(path)
    assert result.frames.shape == (result.num_frames, 4)
    assert np.all((result.scores >= 0) & (result.scores <= 10))
    assert np.array_equal(scorer.score_file(str(path)).frames, result.frames)


def test_bad_files(scorer, tmp_path):
    text = tmp_path / "text.wav"
    text.write_text("not audio")
    with pytest.raises(aesa.DecodeError, match="text.wav: not a known audio format"):
        scorer.score_file(text)
    short = tmp_path / "short.wav"
    short.write_bytes((GOLDEN / "rain.wav").read_bytes()[:100_000])
    with pytest.raises(aesa.DecodeError, match="truncated"):
        scorer.score_file(short)
    empty = tmp_path / "empty.wav"
    empty.touch()
    with pytest.raises(aesa.DecodeError, match="empty"):
        scorer.score_file(empty)
    with pytest.raises(aesa.FileError, match="does not exist") as error:
        scorer.score_file(tmp_path / "none.wav")
    assert error.value.errno == errno.ENOENT
    with pytest.raises(aesa.FileError, match="folder"):
        scorer.score_file(tmp_path)
    with pytest.raises(TypeError):
        scorer.score_file(3)


def test_every_error_is_an_aesa_error():
    classes = [value for name, value in vars(aesa).items() if name.endswith("Error")]
    assert len(classes) == 10
    assert all(issubclass(value, aesa.AesaError) for value in classes)
