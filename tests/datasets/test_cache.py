from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from seglab.datasets import CachedDataset, SemanticDrone, cache, collate
from seglab.datasets.folder import SegmentationFolder, pair_files
from seglab.errors import CacheError, DataError
from seglab.files import atomic_folder
from seglab.labels import LabelSet
from tests.conftest import COLOURS, write_pair
from tests.processes import prepared


def cached(dataset, folder, **options) -> CachedDataset:
    return CachedDataset(dataset, folder=folder, progress=False, **options)


def caches(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir())


@pytest.mark.slow
def test_same_items_as_without(tmp_path, drone_root):
    plain = SemanticDrone(drone_root, split="train", fit=(30, 30))
    fast = cached(plain, tmp_path)
    assert len(fast) == len(plain)
    assert fast.names == plain.names
    for (image, mask), (image2, mask2) in zip(plain, fast, strict=True):
        assert torch.equal(image, image2)
        assert torch.equal(mask, mask2)


def test_pictures_of_different_sizes_and_padding(tmp_path):
    rng = np.random.default_rng(0)
    for name, size in (("a", (10, 20)), ("b", (15, 8))):
        write_pair(tmp_path, name, Image.fromarray(rng.integers(1, 256, (*size, 3), dtype=np.uint8)),
                   rng.integers(0, 3, size, dtype=np.uint8))
    plain = SegmentationFolder(pair_files(tmp_path / "images", tmp_path / "masks"), COLOURS)
    images, masks = next(iter(DataLoader(cached(plain, tmp_path / "c"), 2, collate_fn=collate)))
    assert images.shape == (2, 3, 15, 20)
    assert torch.equal(images[0, :, :10], plain[0][0])
    assert torch.equal(images[1, :, :, :8], plain[1][0])
    assert images[0, :, 10:].max() == 0
    assert (masks[0, 10:] == 255).all()
    assert (masks[1, :, 8:] == 255).all()
    assert torch.equal(masks[1, :, :8], plain[1][1])


def test_second_opening_decodes_nothing(tmp_path, drone_train, monkeypatch):
    cached(drone_train, tmp_path)

    def refuse(self, index):
        raise AssertionError("decoded again")

    monkeypatch.setattr(SegmentationFolder, "read", refuse)
    assert len(cached(drone_train, tmp_path)[0]) == 2


def test_changed_contents_make_another_cache(tmp_path, drone_root):
    root = tmp_path / "copy"
    shutil.copytree(drone_root, root)
    before = cached(SemanticDrone(root, split="all"), tmp_path / "c")
    path = sorted((root / "label_images_semantic").glob("*.png"))[0]
    stat = path.stat()
    mask = np.array(Image.open(path))
    mask[0, 0] = (mask[0, 0] + 1) % 23
    Image.fromarray(mask).save(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # the time of change is forged; the content counts
    after = cached(SemanticDrone(root, split="all"), tmp_path / "c")
    assert before.folder != after.folder
    assert after[0][1][0, 0] == mask[0, 0] != before[0][1][0, 0]


def test_settings_are_part_of_the_key(tmp_path, drone_root):
    for options in ({}, {"fit": (20, 20)}, {"fit": (20, 20), "split": "val"}):
        cached(SemanticDrone(drone_root, **{"split": "train", **options}), tmp_path)
    assert len(caches(tmp_path)) == 3


GREYS = LabelSet("greys", ("black", "dark", "light"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
TABLES = {"names": (("black", "dark", "bright"), GREYS.colours), "order": (GREYS.classes[::-1], GREYS.colours[::-1]),
          "colours": (GREYS.classes, ((2, 2, 2), (1, 1, 1), (0, 0, 0))), "more": ((*GREYS.classes, "white"),
                                                                                   (*GREYS.colours, (255,) * 3))}


@pytest.mark.parametrize("change", [
    "fit", "fit of the other side", "encoding", "ignore_ids", "names", "order", "colours", "more", "picture", "mask",
    "pair left out", "pairs in another order", "format"])
def test_whatever_shapes_the_bytes_is_part_of_the_key(tmp_path, monkeypatch, change):
    """Masks are grey RGB, so that they can be read as ids and as colours."""
    for name in "ab":
        write_pair(tmp_path, name, Image.new("RGB", (6, 4), (ord(name), 9, 9)), Image.new("RGB", (6, 4), (1, 1, 1)))
    pairs = pair_files(tmp_path / "images", tmp_path / "masks")
    settings = {"label_set": GREYS, "encoding": "ids", "ignore_ids": (), "fit": None}

    def folder(pairs=pairs, **options):
        return cached(SegmentationFolder(pairs, **(settings | options)), tmp_path / "c").folder

    before = folder()
    if change in {"picture", "mask"}:
        path = pairs[1][change == "mask"]
        Image.new("RGB", (6, 4), (2, 2, 2)).save(path)
        after = folder()
    elif change == "format":
        monkeypatch.setattr(cache, "_FORMAT", cache._FORMAT + 1)
        after = folder()
    else:
        after = folder(**{
            "fit": {"fit": (2, 3)}, "fit of the other side": {"fit": (4, 3)}, "encoding": {"encoding": "colours"},
            "ignore_ids": {"ignore_ids": (7,)}, "pair left out": {"pairs": pairs[:1]},
            "pairs in another order": {"pairs": pairs[::-1]}}.get(change)
            or {"label_set": LabelSet("greys", *TABLES[change])})
    assert after != before
    assert len(caches(tmp_path / "c")) == 2
    monkeypatch.undo()
    if change not in {"picture", "mask"}:
        assert folder() == before


@pytest.mark.parametrize(("options", "expected"), [({"ignore_ids": (1,)}, 255), ({"encoding": "colours"}, 2)])
def test_other_settings_never_get_the_masks_of_these(tmp_path, options, expected):
    write_pair(tmp_path, "a", Image.new("RGB", (6, 4)), Image.new("RGB", (6, 4), (1, 1, 1)))
    pairs = pair_files(tmp_path / "images", tmp_path / "masks")
    labels = LabelSet("greys", GREYS.classes, ((0, 0, 0), (2, 2, 2), (1, 1, 1)))
    plain, other = (cached(SegmentationFolder(pairs, labels, **{"encoding": "ids", **how}), tmp_path / "c")
                    for how in ({}, options))
    assert plain[0][1].unique().tolist() == [1]
    assert other[0][1].unique().tolist() == [expected]


def test_moved_pictures_keep_their_cache(tmp_path, drone_root):
    shutil.copytree(drone_root, tmp_path / "elsewhere")
    first = cached(SemanticDrone(drone_root, split="train"), tmp_path / "c")
    assert cached(SemanticDrone(tmp_path / "elsewhere", split="train"), tmp_path / "c").folder == first.folder


def test_writing_into_an_item_does_not_reach_the_cache(tmp_path, drone_train):
    data = cached(drone_train, tmp_path)
    before = data[0][0].clone()
    data[0][0].zero_()
    assert torch.equal(data[0][0], before)


@pytest.mark.slow
@pytest.mark.parametrize("forked", [True, False])
def test_loader_workers_share_the_map(tmp_path, drone_train, forked):
    data = cached(drone_train, tmp_path)
    assert len(pickle.dumps(data)) < 20_000
    loader = DataLoader(data, 3, num_workers=1, multiprocessing_context="fork" if forked else prepared(),
                        collate_fn=collate)
    images = torch.cat([images for images, _ in loader])
    assert torch.equal(images, torch.stack([image for image, _ in drone_train]))


def sum_of_a_cache(root: Path, folder: Path, together, sums) -> None:
    together.wait()
    data = cached(SemanticDrone(root, split="all"), folder)
    sums.put(int(sum(image.sum() + mask.sum() for image, mask in data)))


@pytest.mark.slow
def test_two_processes_at_once(tmp_path, drone_root):
    context = prepared()
    together, sums = context.Barrier(2), context.Queue()
    processes = [context.Process(target=sum_of_a_cache, args=(drone_root, tmp_path, together, sums)) for _ in range(2)]
    for process in processes:
        process.start()
    found = [sums.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    wanted = int(sum(image.sum() + mask.sum() for image, mask in SemanticDrone(drone_root, split="all")))
    assert found == [wanted, wanted]
    assert len(caches(tmp_path)) == 1


@pytest.mark.parametrize("damage", ["cut", "gone", "no index", "bad index"])
def test_a_damaged_cache_says_what_to_do(tmp_path, drone_train, damage):
    folder = cached(drone_train, tmp_path).folder
    if damage == "cut":
        os.truncate(folder / "images.u8", 100)
    elif damage == "gone":
        (folder / "masks.u8").unlink()
    elif damage == "no index":
        (folder / "index.json").unlink()
    else:
        (folder / "index.json").write_text(json.dumps({"shapes": 3}))
    with pytest.raises(CacheError, match="damaged(.|\n)*Delete the folder"):
        cached(drone_train, tmp_path)
    assert torch.equal(cached(drone_train, tmp_path, rebuild=True)[0][0], drone_train[0][0])


def test_an_unusable_picture_leaves_no_cache_behind(tmp_path, drone_root):
    shutil.copytree(drone_root, tmp_path / "copy")
    path = sorted((tmp_path / "copy" / "original_images").glob("*.jpg"))[5]
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DataError, match=path.name):
        cached(SemanticDrone(tmp_path / "copy", split="all"), tmp_path / "c")
    assert caches(tmp_path / "c") == []


def test_a_full_disk_leaves_no_cache_behind(tmp_path, drone_train, monkeypatch):
    import builtins

    real = builtins.open

    def full(path, mode="r", *args, **options):
        file = real(path, mode, *args, **options)
        if str(path).endswith("masks.u8") and "w" in mode:
            file.close()
            return real("/dev/full", mode, buffering=0)
        return file

    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    monkeypatch.setattr(builtins, "open", full)
    with pytest.raises(CacheError, match="No space left(.|\n)*SEGLAB_HOME"):
        cached(drone_train, tmp_path)
    monkeypatch.undo()
    assert caches(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="no umask")
@pytest.mark.parametrize(("mask", "wanted"), [(0o022, 0o755), (0o027, 0o750), (0o002, 0o775)])
def test_a_new_folder_has_the_permissions_that_the_umask_leaves(tmp_path, mask, wanted):
    before = os.umask(mask)
    try:
        with atomic_folder(tmp_path / "new"):
            pass
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == wanted
