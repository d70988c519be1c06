from __future__ import annotations

import json
import os
import pickle
import random
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from seglab.checkpoint import to_bytes
from seglab.errors import CheckpointError
from seglab.files import atomic_write
from seglab.models import build, load_model
from seglab.training import load_checkpoint, load_weights, save_checkpoint
from tests.conftest import with_flipped_bit
from tests.processes import prepared
from tests.training.runs import same_bits, train

TREE = {"a": torch.arange(6).view(2, 3), "b": {0: torch.tensor(1.5), "x": [1, 2.5, None, True, "é"]}, "t": (1, (2,)),
        "half": torch.ones(3, dtype=torch.bfloat16).float(), "nan": float("inf"), "empty": {}, "none": torch.zeros(0)}


def test_round_trip_keeps_types_and_bits(tmp_path):
    save_checkpoint(tmp_path / "c.safetensors", TREE)
    assert same_bits(load_checkpoint(tmp_path / "c.safetensors"), TREE)
    save_checkpoint(tmp_path / "d.safetensors", TREE)
    assert (tmp_path / "c.safetensors").read_bytes() == (tmp_path / "d.safetensors").read_bytes()


@pytest.mark.parametrize("length", [640, 896, 1152, 1408, 19280])
def test_a_header_whose_length_looks_like_a_pickle_is_read(tmp_path, length):
    """The file begins with that length: 640 is 80 02 in hexadecimal, as a pickle of protocol 2 begins; 19280 is PK."""
    path = tmp_path / "c.safetensors"

    def save(text: str) -> int:
        save_checkpoint(path, {"model": {"w": torch.ones(2)}, "text": text})
        return int.from_bytes(path.read_bytes()[:8], "little")

    text = "x" * (length - save(""))
    assert save(text) == length
    assert load_checkpoint(path)["text"] == text


def test_what_cannot_be_saved_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"a\.1(.|\n)*function"):
        save_checkpoint(tmp_path / "c", {"a": [1, lambda: 1]})
    assert not list(tmp_path.iterdir())


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


@pytest.mark.parametrize("write", [
    lambda path: torch.save({"model": Bomb()}, path),
    lambda path: torch.save({"model": Bomb()}, path, _use_new_zipfile_serialization=False),
    lambda path: path.write_bytes(pickle.dumps(Bomb())),
    lambda path: path.write_bytes(pickle.dumps(Bomb(), protocol=0))])
def test_pickles_are_never_opened(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "bad.pt")
    for read in (load_checkpoint, lambda path: load_weights(build("single_conv", 3), path)):
        with pytest.raises(CheckpointError, match=r"bad\.pt"):
            read(tmp_path / "bad.pt")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("write", [
    lambda path: torch.save({"w": torch.zeros(2)}, path),
    lambda path: torch.save({"w": torch.zeros(2)}, path, _use_new_zipfile_serialization=False),
    *(lambda path, protocol=n: path.write_bytes(pickle.dumps({"w": [0.0]}, protocol)) for n in range(2, 6))])
@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.safetensors"])
def test_a_pickle_is_called_one_and_the_way_out_is_named(tmp_path, write, name):
    write(tmp_path / name)
    for read in (load_checkpoint, lambda path: load_weights(build("single_conv", 3), path), load_model):
        with pytest.raises(CheckpointError) as caught:
            read(tmp_path / name)
        text = str(caught.value)
        assert name in text and "found: a PyTorch pickle" in " ".join(text.split())
        assert "can run code" in text and "safetensors.torch.save_file" in text


def test_damaged_missing_and_foreign_files(tmp_path):
    path = tmp_path / "c.safetensors"
    with pytest.raises(CheckpointError, match="No such file"):
        load_checkpoint(path)
    save_checkpoint(path, {"model": {"w": torch.zeros(1000)}})
    data = path.read_bytes()
    for cut in (0, 5, 50, len(data) - 7):
        path.write_bytes(data[:cut])
        with pytest.raises(CheckpointError, match="damaged"):
            load_checkpoint(path)
    path.write_text("hello, I am a text")
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)
    save_file({"w": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="did not write"):
        load_checkpoint(path)


def test_weights_of_another_model_leave_the_model_as_it_was(tmp_path):
    train(tmp_path, epochs=1)
    for model, message in ((build("single_conv", 4), "number of classes"), (torch.nn.Linear(2, 2), "another model")):
        before = {k: v.clone() for k, v in model.state_dict().items()}
        with pytest.raises(CheckpointError, match=message):
            load_weights(model, tmp_path / "best.safetensors")
        assert same_bits(dict(model.state_dict()), before)


def test_bare_safetensors_weights_load(tmp_path):
    source, target = build("single_conv", 3), build("single_conv", 3)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    load_weights(target, tmp_path / "w.safetensors")
    assert same_bits(dict(source.state_dict()), dict(target.state_dict()))


def fill_the_disk(path: Path, told) -> None:
    import resource

    save_checkpoint(path, {"model": {"w": torch.zeros(10)}})
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
    try:
        save_checkpoint(path, {"model": {"w": torch.ones(10_000)}})
    except CheckpointError as error:
        told.send(str(error))


@pytest.mark.slow
def test_a_full_disk_keeps_the_old_checkpoint(tmp_path):
    pytest.importorskip("resource")
    context, path = prepared(), tmp_path / "c.safetensors"
    hear, told = context.Pipe(duplex=False)
    process = context.Process(target=fill_the_disk, args=(path, told))
    process.start()
    process.join()
    assert process.exitcode == 0 and hear.poll()
    text = hear.recv()
    assert "c.safetensors: the checkpoint cannot be written" in text
    assert "Free some space" in text
    assert load_checkpoint(path)["model"]["w"].shape == (10,)
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]


def test_atomic_write_leaves_the_old_file_if_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in Path(tmp_path).iterdir()] == ["a"]


def test_a_tuple_comes_back_as_a_tuple_and_a_list_as_a_list(tmp_path):
    content = {"betas": (0.9, (0.99,)), "rates": [1, [2]], "pair": [(1, 2), {"t": (torch.ones(1),)}]}
    save_checkpoint(tmp_path / "c.safetensors", content)
    assert load_checkpoint(tmp_path / "c.safetensors") == content


@pytest.mark.parametrize("seed", range(3))
def test_no_flipped_bit_of_a_checkpoint_is_read_as_another_one(tmp_path, seed):
    path = tmp_path / "c.safetensors"
    content = {"card": build("single_conv", 3).card.to_dict(), "model": build("single_conv", 3).state_dict()}
    save_checkpoint(path, content)
    data, generator, refused = path.read_bytes(), random.Random(seed), 0
    for _ in range(100):
        place = generator.randrange(8 * len(data))
        path.write_bytes(with_flipped_bit(data, place))
        try:
            assert same_bits(load_checkpoint(path), content), place  # only what is not read was hit
        except CheckpointError:
            refused += 1
            with pytest.raises(CheckpointError):
                load_weights(build("single_conv", 3), path)
    assert refused > 90


def test_checkpoints_of_before_the_checksum_are_read(tmp_path):
    path, weights = tmp_path / "c.safetensors", build("single_conv", 3).state_dict()
    tree = {"dict": [["model", {"dict": [[name, {"tensor": f"model.{name}"}] for name in weights]}]]}
    save_file({f"model.{name}": tensor for name, tensor in weights.items()}, path,
              {"seglab-checkpoint-1": json.dumps(tree)})
    assert same_bits(load_checkpoint(path), {"model": weights})


NESTED = 100_000 * "["


@pytest.mark.parametrize("tree", [
    "5", "null", '"a"', "[]", "{}", NESTED, '{"dict": 5}', '{"dict": [5]}', '{"dict": [["a"]]}', '{"dict": [[[], 1]]}',
    '{"dict": [["model", {"tensor": "b"}]]}', '{"dict": [["model", {"tensor": 5}]]}', '{"dict": [], "list": []}',
    '{"dict": [["model", {"dict": [["w", 5]]}]]}', '{"dict": [["model", {"dict": [[1, {"tensor": "w"}]]}]]}',
    '{"dict": [["model", {"list": [{"tuple": {}}]}]]}', '{"dict": [["a", ' * 2000, '{"dict": []}',
    '{"dict": [["settings", 5], ["model", {"dict": []}]]}', '{"dict": [["card", 5], ["model", {"dict": []}]]}'])
def test_a_tree_that_is_none_is_said_to_be_damaged(tmp_path, tree):
    path = tmp_path / "c.safetensors"
    path.write_bytes(to_bytes({"w": torch.zeros(2)}, tree))
    for read in (load_model, lambda path: load_weights(build("single_conv", 3), path)):
        with pytest.raises(CheckpointError, match=r"c\.safetensors"):
            read(path)


@pytest.mark.parametrize("kind", [torch.int8, torch.complex64, torch.bool, torch.float8_e4m3fn])
def test_weights_of_another_type_are_not_cast(tmp_path, kind):
    weights = {name: tensor.to(kind) for name, tensor in build("single_conv", 3).state_dict().items()}
    save_checkpoint(tmp_path / "c.safetensors", {"model": weights})
    with pytest.raises(CheckpointError, match=f"weights of another type(.|\n)*{kind}(.|\n)*torch.float32"):
        load_weights(build("single_conv", 3), tmp_path / "c.safetensors")
    save_checkpoint(tmp_path / "c.safetensors", {"model": {name: tensor.half() for name, tensor in
                                                           build("single_conv", 3).state_dict().items()}})
    load_weights(build("single_conv", 3), tmp_path / "c.safetensors")


def test_keys_that_would_come_back_as_others_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="strings or whole numbers"):
        save_checkpoint(tmp_path / "c", {"a": {1.5: 2}})
