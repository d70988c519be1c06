from __future__ import annotations

import collections
import functools
import os
import pickle
import random
import urllib.error
import zipfile

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch.utils.data import TensorDataset

from seglab.checkpoint import load_checkpoint
from seglab.errors import ArgumentError, CheckpointError, DataError
from seglab.labels import DRONE, PETS, VOC
from seglab.models import build, load_model, load_weights, weights
from seglab.models.convert import convert
from seglab.models.pickles import read_pickle
from tests.conftest import with_flipped_bit
from tests.models.tester import filled


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """An empty torch cache, and a network that does not answer."""
    def no_network(*args, **kwargs):
        raise urllib.error.URLError("Temporary failure in name resolution")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("SEGLAB_OFFLINE", raising=False)


def theirs(name, num_classes=21, aux=True):
    """Torchvision's network with random weights, made without its own random numbers, which take a second or two."""
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=num_classes,
                                             aux_loss=aux)
    return filled(model)


@pytest.fixture
def cached(monkeypatch, tmp_path):
    """A torch cache that holds the published file, as far as its hash lets us tell: random numbers in its place."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("SEGLAB_OFFLINE")
    monkeypatch.setattr(weights, "published_sha256", lambda name: "")
    entry = weights.coco_weights("fcn", "resnet50")
    path = weights.cache_path(entry)
    path.parent.mkdir(parents=True)
    model = theirs("fcn_resnet50")
    torch.save(model.state_dict(), path)
    return model


@pytest.mark.parametrize(("name", "which"), [("fcn", "bundled"), ("deeplabv3", "bundled"), ("gcn", "bundled"),
                                             ("gcn", "bundled-drone")])
def test_bundled_weights_are_small_and_described(name, which):
    path = weights.bundled(name, which)
    assert path.stat().st_size <= 9_000_000
    model = build(name, weights=which)
    assert model.card.label_set == (PETS if which == "bundled" else DRONE) and not model.training
    assert model.card.architecture["backbone"] == "efficientnet_lite0"
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    photographs = "CC BY-SA 4.0", "Oxford-IIIT Pet", "Parkhi", "python -m tools.bundled"
    for word in ("seed", f'weights="{which}"', *(photographs if which == "bundled" else ["seglab train light"])):
        assert word in card, word


@pytest.mark.slow
def test_coco_weights_come_from_the_torch_cache(cached):
    images = torch.randn(1, 3, 33, 49)
    for aux in (False, True):
        model = build("fcn", weights="coco", aux=aux)
        assert model.card.label_set == VOC and model.card.mean[0] == 0.485 and not model.training
        with torch.no_grad():
            torch.testing.assert_close(model(images)["out"], cached.eval()(images)["out"], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("weights_name", ["coco", "auto"])
def test_coco_weights_of_deeplabv3(monkeypatch, tmp_path, weights_name):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("SEGLAB_OFFLINE")
    monkeypatch.setattr(weights, "published_sha256", lambda name: "")
    path = weights.cache_path(weights.coco_weights("deeplabv3", "mobilenet_v3_large"))
    path.parent.mkdir(parents=True)
    original = theirs("deeplabv3_mobilenet_v3_large")
    torch.save(original.state_dict(), path)
    images = torch.randn(1, 3, 33, 49)
    for aux in (False, True):
        model = build("deeplabv3_mobilenet_v3_large", weights=weights_name, aux=aux)
        assert model.card.label_set == VOC and not model.training
        with torch.no_grad():
            expected, found = original(images), model(images)
        assert set(found) == ({"out", "aux"} if aux else {"out"})
        for name in found:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-5)
    with pytest.raises(CheckpointError, match=r"classifier\.0\.convs\.2\..* missing"):
        build("deeplabv3_mobilenet_v3_large", weights="coco", rates=(6,))


def test_published_weights_are_those_that_were_published(cached, monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    path = weights.cache_path(weights.coco_weights("fcn", "resnet50"))
    for load in (lambda: build("fcn", weights="coco"), lambda: convert(path, tmp_path / "out.safetensors")):
        with pytest.raises(CheckpointError, match=r"1167a1af\.pth: not the file that was published(.|\n)*ownload"):
            load()
    monkeypatch.setitem(weights._SHA256, weights.BUNDLED.name, "another")
    weights._intact.cache_clear()
    with pytest.raises(CheckpointError, match=r"pets_fcn_lite0(.|\n)*Install seglab again"):
        build("fcn", weights="bundled")


def test_deeplabv3_without_a_network_names_the_file_and_the_way_out(offline):
    with pytest.raises(DataError) as error:
        build("deeplabv3", weights="coco")
    for part in ("DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1", "161 MB", "name resolution",
                 'weights="bundled"'):
        assert part in str(error.value), part


@pytest.mark.slow
def test_auto_takes_coco_when_cached_and_says_so(cached, capsys):
    assert build("fcn", weights="auto").card.label_set == VOC
    assert capsys.readouterr().out == 'weights="auto": coco, because they are in the torch cache\n'


@pytest.mark.parametrize("name", ["fcn", "deeplabv3"])
def test_auto_takes_bundled_without_a_network_and_says_so(offline, capsys, monkeypatch, name):
    assert build(name, weights="auto").card.label_set == PETS
    assert capsys.readouterr().out.startswith('weights="auto": bundled, because the COCO weights are not cached')
    monkeypatch.setenv("SEGLAB_OFFLINE", "1")
    assert build(name, weights="auto").card.label_set == PETS
    assert "SEGLAB_OFFLINE" in capsys.readouterr().out


def test_coco_without_a_network_says_what_from_where_how_large_and_what_instead(offline):
    with pytest.raises(DataError) as error:
        build("fcn", weights="coco")
    for part in ("FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1", "135 MB", "https://download.pytorch.org/",
                 'weights="bundled"', "name resolution"):
        assert part in str(error.value), part


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet50", "mobilenet_v3_large", "resnet50.a1_in1k"])
def test_imagenet_without_a_network_names_the_way_out(offline, monkeypatch, backbone):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # as HF_HUB_OFFLINE=1; it was imported before
    with pytest.raises(DataError, match="efficientnet_lite0|bundled"):
        build("fcn", 3, backbone=backbone, weights="imagenet")


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: build("fcn", 3, weights="coco"), ArgumentError, "21 classes"),
    (lambda: build("fcn", backbone="mobilenet_v3_large", weights="coco"), ArgumentError, "resnet50 or resnet101"),
    (lambda: build("deeplabv3", backbone="resnet18", weights="auto"), ArgumentError, "or mobilenet_v3_large"),
    (lambda: build("deeplabv3", 5, weights="coco"), ArgumentError, "fcn or deeplabv3 with 21 classes"),
    (lambda: build("deeplabv3_resnet50", weights="bundled"), CheckpointError, "efficientnet_lite0"),
    (lambda: build("fcn_resnet50", weights="bundled"), CheckpointError, "efficientnet_lite0"),
    (lambda: build("fcn", 5, weights="bundled"), CheckpointError, "num_classes"),
    (lambda: build("fcn", backbone="resnet50", weights="bundled"), CheckpointError, "efficientnet_lite0"),
    (lambda: build("fcn", weights="bundled-drone"), ArgumentError, "bundled-drone.*\n.*fcn\n.*gcn"),
    (lambda: build("single_conv", 3, weights="bundled"), ArgumentError, "fcn or fcn_skip or deeplabv3 or gcn"),
    (lambda: build("single_conv", 3, weights="imagenet"), ArgumentError, "no backbone"),
    (lambda: build("fcn", weights="nowhere.safetensors"), CheckpointError, "nowhere.safetensors"),
    (lambda: build("fcn"), ArgumentError, "num_classes"),
])
def test_weights_that_do_not_fit(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.slow
def test_a_run_of_fit_becomes_a_model_again(tmp_path):
    from seglab import fit

    data = TensorDataset(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8),
                         torch.randint(0, 3, (4, 32, 32), dtype=torch.uint8))
    data.label_set = PETS
    model = build("fcn", 3, backbone="test_efficientnet")
    adam = torch.optim.Adam(model.parameters())
    fit(model, data, optimizer=adam, epochs=1, batch_size=2, folder=tmp_path / "run", progress=False)
    again = load_model(tmp_path / "run" / "last.safetensors")
    assert again.card == model.card and again.card.label_set == PETS
    assert again.card.trained_on == {"name": "pets", "pictures": 4}
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), model.state_dict().values(), strict=True))


def test_other_architecture_names_keys_and_classes(tmp_path):
    other = build("fcn", 7, backbone="resnet18", output_stride=32)
    save_file(other.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError) as error:
        load_weights(build("fcn", 7, backbone="mobilenet_v3_large", output_stride=32), tmp_path / "w.safetensors")
    for part in ("backbone.0.0.weight", "backbone.bn1.bias", "7 classes"):
        assert part in str(error.value), part
    with pytest.raises(CheckpointError, match=r"7 classes.*\n.*5 classes"):
        load_weights(build("fcn", 5, backbone="resnet18", output_stride=32), tmp_path / "w.safetensors")


def test_nan_weights_are_refused(tmp_path):
    model = build("fcn", 2, backbone="resnet18", output_stride=32)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state["backbone.layer2.0.conv1.weight"][0, 0, 0, 0] = float("nan")
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"backbone\.layer2\.0\.conv1\.weight"):
        load_weights(model, tmp_path / "w.safetensors")


@pytest.fixture
def narrow(monkeypatch):
    """ResNets with an eighth of the channels inside their blocks, ours and torchvision's, under the same names.

    That the wide ones are one is tested with each model; here it would be a quarter of a gigabyte to write each time.
    """
    for name in ("resnet50", "resnet101"):
        network = functools.partial(getattr(torchvision.models, name), width_per_group=8)
        for module in (torchvision.models, torchvision.models.segmentation.fcn,
                       torchvision.models.segmentation.deeplabv3):
            monkeypatch.setattr(module, name, network)


@pytest.fixture
def published(narrow):
    return theirs("fcn_resnet50", 4)


@pytest.mark.slow
@pytest.mark.parametrize(("wrapper", "prefix", "others"), [
    (None, "", {}), (None, "_orig_mod.", {}), ("model", "module.", {}), ("model_state_dict", "net.", {}),
    ("state_dict", "model.", {"loss.weight": torch.ones(4)})])
def test_convert_and_verify(published, tmp_path, wrapper, prefix, others):
    path, target = tmp_path / "in.pth", tmp_path / "out.safetensors"
    state = {f"{prefix}{key}": tensor for key, tensor in published.state_dict().items()} | others
    torch.save(state if wrapper is None else {wrapper: state, "epoch": 3}, path)
    line = convert(path, target)
    assert "fcn_resnet50, 4 classes, with aux" in line and ("without 1 tensors" in line) == bool(others)
    model = load_model(target)
    images = torch.randn(1, 3, 43, 57)
    with torch.no_grad():
        torch.testing.assert_close(model(images)["out"], published(images)["out"], rtol=1e-5, atol=1e-5)
    with pytest.raises(ArgumentError, match="there already"):
        convert(path, target)


@pytest.mark.slow
@pytest.mark.parametrize("aux", [False, True])
@pytest.mark.parametrize("name", ["deeplabv3_resnet50", "deeplabv3_resnet101", "deeplabv3_mobilenet_v3_large"])
def test_convert_knows_deeplabv3(narrow, tmp_path, name, aux):
    original = theirs(name, aux=aux)
    torch.save(original.state_dict(), tmp_path / "in.pth")
    line = convert(tmp_path / "in.pth", tmp_path / "out.safetensors")
    assert f"{name}, 21 classes, {'with' if aux else 'without'} aux" in line
    model = load_model(tmp_path / "out.safetensors")
    assert model.card.label_set == VOC and model.card.architecture["name"] == "deeplabv3"
    images = torch.randn(1, 3, 43, 57)
    with torch.no_grad():
        torch.testing.assert_close(model(images)["out"], original(images)["out"], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_convert_leaves_out_an_auxiliary_head_of_other_classes(published, tmp_path):
    """As whoever gave torchvision's network a new head, and forgot the other one."""
    published.aux_classifier[4] = torch.nn.Conv2d(256, 21, 1)
    torch.save(published.state_dict(), tmp_path / "in.pth")
    line = convert(tmp_path / "in.pth", tmp_path / "out.safetensors")
    assert "4 classes, without aux (that in the file has 21)" in line
    assert set(load_model(tmp_path / "out.safetensors")(torch.zeros(1, 3, 32, 32))) == {"out"}


def test_one_channel_is_refused_with_the_way_out(narrow, tmp_path):
    torch.save(theirs("fcn_resnet50", 1).state_dict(), tmp_path / "in.pth")
    with pytest.raises(ArgumentError, match=r"one output channel(.|\n)*two channels, background and object"):
        convert(tmp_path / "in.pth", tmp_path / "out.safetensors")


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_torchscript_holds_code_and_is_refused(tmp_path):
    torch.jit.trace(torch.nn.Conv2d(3, 2, 1), torch.zeros(1, 3, 4, 4)).save(str(tmp_path / "in.pth"))
    with pytest.raises(CheckpointError, match=r"TorchScript archive(.|\n)*torch.jit.load\(path\).state_dict\(\)"):
        convert(tmp_path / "in.pth", tmp_path / "out.safetensors")


@pytest.mark.slow
def test_convert_lists_what_it_knows(tmp_path):
    for name in ("fcn_mobilenet_v3_large", "deeplabv3_resnet18", "lraspp"):
        network = build(name, 2) if name != "lraspp" else torchvision.models.segmentation.lraspp_mobilenet_v3_large(
            weights=None, weights_backbone=None)
        torch.save(network.state_dict(), tmp_path / "in.pth")
        with pytest.raises(CheckpointError, match="fcn_resnet50, .* or deeplabv3_mobilenet_v3_large"):
            convert(tmp_path / "in.pth", tmp_path / "out.safetensors")


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("save", ["torch", "pickle"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, save):
    path, mark = tmp_path / "bomb.pth", tmp_path / "exploded"
    if save == "torch":
        torch.save({"weight": Bomb(mark)}, path)
    else:
        path.write_bytes(pickle.dumps({"weight": Bomb(mark)}))
    for load in (read_pickle, load_checkpoint, load_model):
        with pytest.raises(CheckpointError):
            load(path)
    assert not mark.exists()
    with pytest.raises(CheckpointError, match="refused"):
        convert(path, tmp_path / "out.safetensors")
    assert not mark.exists() and not (tmp_path / "out.safetensors").exists()
    torch.load(path, weights_only=False) if save == "torch" else pickle.loads(path.read_bytes())
    assert mark.exists()  # it would have


@pytest.mark.parametrize("save", ["torch", "pickle"])
def test_a_refused_pickle_says_why_and_what_to_do(tmp_path, save):
    path = tmp_path / "bomb.pth"
    content = {"weight": Bomb(tmp_path / "exploded")}
    torch.save(content, path) if save == "torch" else path.write_bytes(pickle.dumps(content))
    for read in (read_pickle, lambda path: convert(path, tmp_path / "out.safetensors")):
        with pytest.raises(CheckpointError) as caught:
            read(path)
        text = str(caught.value)
        assert str(path) in text and "pickle that asks to run code" in text
        assert "Where you trust the file" in text and "save model.state_dict()" in text


@pytest.mark.parametrize(("content", "message"), [
    (b"", "bytes"), (b"hello", "torch.save|whole"), ({"a": 1}, "state dict"),
    ({"conv.weight": torch.zeros(1)}, "architecture")])
def test_convert_says_what_is_wrong(tmp_path, content, message):
    path = tmp_path / "in.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(CheckpointError, match=message):
        convert(path, tmp_path / "out.safetensors")


def test_convert_refuses_a_cut_file_and_a_missing_one(published, tmp_path):
    whole = tmp_path / "whole.pth"
    torch.save(published.state_dict(), whole)
    cut = tmp_path / "cut.pth"
    cut.write_bytes(whole.read_bytes()[:100_000])
    for path in (cut, tmp_path / "missing.pth"):
        with pytest.raises(CheckpointError, match=path.name):
            convert(path, tmp_path / "out.safetensors")
    with pytest.raises(ArgumentError, match="safetensors"):
        convert(whole, tmp_path / "out.pth")


TENSORS = {"a": torch.randn(3, 4), "turned": torch.arange(6.0).view(2, 3).t(), "part": torch.arange(9)[2:5],
           "half": torch.ones(2).half(), "none": torch.zeros(0, 3), "one": torch.tensor(True), "brain": torch.ones(
               2, dtype=torch.bfloat16), "parameter": torch.nn.Parameter(torch.ones(1))}


@pytest.mark.parametrize("new", [True, False])
def test_tensors_are_those_that_torch_reads(tmp_path, new):
    state = collections.OrderedDict(TENSORS)
    state._metadata = {"": {"version": 1}}
    content = {"model": state, "optimizer": {"state": {0: {"step": torch.ones(2)}}, "groups": [{"betas": (0.9, 0.99)}]},
               "epoch": 3, "nothing": None, "text": "é", "yes": True, "large": 2 ** 70}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=new)
    found, expected = read_pickle(tmp_path / "a.pth"), torch.load(tmp_path / "a.pth")["model"]
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


@pytest.mark.parametrize("seed", range(3))
def test_no_flipped_bit_of_weights_is_read_as_another_number(tmp_path, seed):
    path = tmp_path / "a.pth"
    torch.save(TENSORS, path)
    data, generator, refused = path.read_bytes(), random.Random(seed), 0
    for _ in range(100):
        place = generator.randrange(8 * len(data))
        path.write_bytes(with_flipped_bit(data, place))
        try:
            found = read_pickle(path)
        except CheckpointError:
            refused += 1
        else:  # what pads the records, or what zip says twice
            assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items()), place
    assert refused > 30


class Asks:
    """An object whose pickle asks for this call."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


STORED = torch.storage.TypedStorage(wrap_storage=torch.zeros(4).untyped_storage(), dtype=torch.float32, _internal=True)


@pytest.mark.parametrize("content", [
    {"a": Asks(torch._utils._rebuild_tensor_v2, (STORED, 0, (10 ** 6, 10 ** 6), (0, 0), False, {}))},
    {"a": Asks(torch._utils._rebuild_tensor_v2, (STORED, 2, (4,), (1,), False, {}))},
    {"a": Asks(torch._utils._rebuild_tensor_v2, (STORED, -1, (1,), (1,), False, {}))},
    {"a": Asks(torch._utils._rebuild_tensor_v2, (STORED, 0, (-1,), (1,), False, {}))},
    {"a": Asks(torch._utils._rebuild_tensor_v2, (STORED, 0, (2,) * 99, (1,) * 99, False, {}))},
    {"a": Asks(torch._utils._rebuild_tensor_v2, (5, 0, (2,), (1,), False, {}))},
    {"a": Asks(bytearray, (10 ** 12,))}, {"a": torch.zeros(3).to_sparse()}, {"a": torch.zeros(3, device="meta")},
    {("a",): torch.zeros(3)}, {1: torch.zeros(3)}, [torch.zeros(3)], torch.zeros(3), {"a": [torch.zeros(3)]}, {}, None])
@pytest.mark.parametrize("new", [True, False])
def test_tensors_that_the_file_does_not_hold_are_not_made(tmp_path, content, new):
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=new)
    with pytest.raises(CheckpointError, match=r"a\.pth"):
        read_pickle(tmp_path / "a.pth")


def test_a_zip_that_is_larger_inside_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10 ** 8))
    with pytest.raises(CheckpointError, match="a zip that holds more than its size"):
        read_pickle(tmp_path / "a.pth")


@pytest.mark.parametrize("pickled", [b"\x80\x02" + code for code in (
    b"(((.", b")" + b"\x85" * 10 ** 5 + b"Ns.", b".", b"", b"r\xff\xff\xff\x7f.", b"cos\nsystem\nX\x01\x00\x00\x00aR.",
    b"\x8f(K\x01\x90.", b"\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.", b"X\xff\xff\xff\xffa.", b"h\x05.", b"0.")])
def test_pickles_that_torch_does_not_write(tmp_path, pickled):
    for name, data in (("data.pkl", pickled), ("constants.pkl", b"")):
        with zipfile.ZipFile(tmp_path / f"{name}.pth", "w") as archive:
            archive.writestr(f"archive/{name}", data)
    (tmp_path / "old.pth").write_bytes(pickled)
    for path in tmp_path.iterdir():
        with pytest.raises(CheckpointError, match=path.name):
            read_pickle(path)


@pytest.mark.parametrize(("value", "why"), [("", "not cached"), ("0", "not cached"), ("1", "SEGLAB_OFFLINE is set")])
def test_seglab_offline_is_a_switch_that_0_turns_off(offline, monkeypatch, capsys, value, why):
    monkeypatch.setenv("SEGLAB_OFFLINE", value)
    assert weights.choose() == "bundled" and why in capsys.readouterr().out
