"""Decode once: what the cache depends on, who shares it, and what damages it."""

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

from seglab.datasets import CamVid, CatDog, Drone, Folder, Pets, Samples, base, collate, decode
from seglab.errors import CacheError
from seglab.files import atomic_folder
from seglab.labels import LabelSet
from seglab.samples import write_catdog_sample, write_pets_sample
from tests.conftest import COLOURS, with_flipped_bit, write_pair
from tests.processes import prepared

DAMAGE = {"a text": "{", "a list": "[]", "other names": {"shapes": 3}, "no shapes": {"shapes": []},
          "sides below 0": {"shapes": [[-1, -1]] * 9}, "text as sides": {"shapes": [["48", "72"]] * 9},
          "places twice": {"places": [0] * 9}, "a place too many": {"places": [*range(8), 9]},
          "few pixels": {"pixels": [1]}, "a number as reason": {"bad": {"a": 1}}, "text as truth": {"stored": "yes"}}


def opened(root: Path, split: str = "train", **options) -> Samples:
    return Samples(Drone(root), split, **{"progress": False, **options})


def refuse(*args, **options):
    raise AssertionError("decoded again")


@pytest.mark.parametrize("options", [{}, {"within": (30, 30)}, {"size": (32, 80)}, {"size": 20, "how": "resize"}])
def test_same_items_as_without(drone_root, options):
    plain, fast = opened(drone_root, cache=False, **options), opened(drone_root, **options)
    assert fast.names == plain.names and len(fast) == len(plain) == 9
    for i, (image, mask) in enumerate(plain):
        assert torch.equal(image, fast[i][0]) and torch.equal(mask, fast[i][1])
        assert plain.picture_size(i) == fast.picture_size(i) == tuple(mask.shape)
    assert plain.key is plain.pixels is None
    assert fast.pixels.sum() == sum(mask.numel() for _, mask in plain) and fast.pixels[-1] == sum(
        (mask == 255).sum() for _, mask in plain)


def test_pictures_of_different_sizes_and_padding(tmp_path):
    rng = np.random.default_rng(0)
    for name, size in (("a", (10, 20)), ("b", (15, 8))):
        write_pair(tmp_path, name, Image.fromarray(rng.integers(1, 256, (*size, 3), dtype=np.uint8)),
                   rng.integers(0, 3, size, dtype=np.uint8))
    plain, fast = (Samples(Folder(tmp_path, label_set=COLOURS), "all", cache=cache, progress=False)
                   for cache in (False, True))
    images, masks = next(iter(DataLoader(fast, 2, collate_fn=collate)))
    assert images.shape == (2, 3, 15, 20)
    assert torch.equal(images[0, :, :10], plain[0][0])
    assert torch.equal(images[1, :, :, :8], plain[1][0])
    assert images[0, :, 10:].max() == 0
    assert (masks[0, 10:] == 255).all()
    assert (masks[1, :, 8:] == 255).all()
    assert torch.equal(masks[1, :, :8], plain[1][1])


def write_streets(root: Path) -> Path:
    for split in ("train", "val"):
        for i in range(3):
            for folder, shape in ((split, (20, 30, 3)), (f"{split}annot", (20, 30))):
                (root / folder).mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full(shape, i, np.uint8)).save(root / folder / f"{i}.png")
    return root


@pytest.mark.parametrize("kind", ["drone", "camvid", "catdog", "pets", "folder"])
def test_the_second_opening_of_every_layout_decodes_nothing(tmp_path, drone_root, monkeypatch, caches, kind):
    readers = {"drone": lambda: Drone(drone_root), "camvid": lambda: CamVid(write_streets(tmp_path / "c")),
               "catdog": lambda: CatDog(write_catdog_sample(tmp_path / "s", (5, 2), (32, 40), progress=False)),
               "pets": lambda: Pets(write_pets_sample(tmp_path / "p", count=12, progress=False), target="foreground"),
               "folder": lambda: Folder(write_streets(tmp_path / "f"), label_set=COLOURS)}
    data = Samples(readers[kind](), "train", size=24, progress=False)
    before, reader, source = [*data], readers[kind](), base._source(type(data.reader))
    for where, name in ((decode, "read_image"), (decode, "read_square"), (type(reader), "mask")):
        monkeypatch.setattr(where, name, refuse)
    monkeypatch.setattr(base, "_source", lambda kind: source)
    again = Samples(reader, "train", size=24, progress=False)
    assert again.names == data.names and again.key == data.key and caches() == 1
    assert all(torch.equal(torch.as_tensor(x), torch.as_tensor(y)) for old, new in zip(before, again, strict=True)
               for x, y in zip(old, new, strict=True))


def test_changed_contents_make_another_cache(tmp_path, drone_root):
    root = tmp_path / "copy"
    shutil.copytree(drone_root, root)
    before = opened(root, "all")
    path = sorted((root / "label_images_semantic").glob("*.png"))[0]
    stat = path.stat()
    mask = np.array(Image.open(path))
    mask[0, 0] = (mask[0, 0] + 1) % 23
    Image.fromarray(mask).save(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # the time of change is forged; the content counts
    after = opened(root, "all")
    assert before.key != after.key
    place = before.names.index(path.stem)
    assert after[place][1][0, 0] == mask[0, 0] != before[place][1][0, 0]


GREYS = LabelSet("greys", ("black", "dark", "light"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
TABLES = {"names": (("black", "dark", "bright"), GREYS.colours), "order": (GREYS.classes[::-1], GREYS.colours[::-1]),
          "colours": (GREYS.classes, ((2, 2, 2), (1, 1, 1), (0, 0, 0))), "more": ((*GREYS.classes, "white"),
                                                                                   (*GREYS.colours, (255,) * 3))}


@pytest.mark.parametrize("change", [
    "within", "within of the other side", "size", "how", "encoding", "ignore_ids", "names", "order", "colours", "more",
    "picture", "mask", "one left out", "another order", "format", "other functions"])
def test_whatever_shapes_the_bytes_is_part_of_the_key(tmp_path, home, monkeypatch, caches, change):
    """Masks are grey RGB, so that they can be read as ids and as colours."""
    for name in "ab":
        write_pair(tmp_path, name, Image.new("RGB", (6, 4), (ord(name), 9, 9)), Image.new("RGB", (6, 4), (1, 1, 1)))

    def key(of=slice(None), label_set=GREYS, encoding="ids", ignore_ids=(), kind=Folder, **options):
        reader = kind(tmp_path, label_set=label_set, encoding=encoding, ignore_ids=ignore_ids)
        reader.splits["all"] = reader.splits["all"][of]
        return Samples(reader, "all", progress=False, **options).key

    class Changed(Folder):
        def mask(self, entry):
            return 1 - super().mask(entry)

    settings = {"how": {"size": 3}}.get(change, {})
    before = key(**settings)
    if change in {"picture", "mask"}:
        Image.new("RGB", (6, 4), (2, 2, 2)).save(tmp_path / ("images" if change == "picture" else "masks") / "b.png")
        after = key()
    elif change == "format":
        monkeypatch.setattr(base, "FORMAT", base.FORMAT + 1)
        after = key()
    else:
        after = key(**{
            "within": {"within": (2, 3)}, "within of the other side": {"within": (4, 3)}, "size": {"size": 3},
            "how": {"size": 3, "how": "resize"}, "encoding": {"encoding": "colours"},
            "ignore_ids": {"ignore_ids": (7,)}, "one left out": {"of": slice(1)},
            "another order": {"of": slice(None, None, -1)},
            "other functions": {"kind": Changed}}.get(change) or {"label_set": LabelSet("greys", *TABLES[change])})
    assert after != before and caches() == 2
    monkeypatch.undo()
    monkeypatch.setenv("SEGLAB_HOME", str(home))
    if change not in {"picture", "mask"}:
        assert key(**settings) == before


@pytest.mark.parametrize(("options", "expected"), [({"ignore_ids": (1,)}, 255), ({"encoding": "colours"}, 2)])
def test_other_settings_never_get_the_masks_of_these(tmp_path, options, expected):
    write_pair(tmp_path, "a", Image.new("RGB", (6, 4)), Image.new("RGB", (6, 4), (1, 1, 1)))
    labels = LabelSet("greys", GREYS.classes, ((0, 0, 0), (2, 2, 2), (1, 1, 1)))
    plain, other = (Samples(Folder(tmp_path, label_set=labels, **{"encoding": "ids", **how}), "all", progress=False)
                    for how in ({}, options))
    assert plain[0][1].unique().tolist() == [1]
    assert other[0][1].unique().tolist() == [expected]


def test_settings_and_splits_have_caches_of_their_own_and_moved_pictures_keep_theirs(tmp_path, drone_root, caches):
    for options in ({}, {"within": (20, 20)}, {"within": (20, 20), "split": "val"}):
        opened(drone_root, **options)
    assert caches() == 3
    shutil.copytree(drone_root, tmp_path / "elsewhere")
    assert opened(tmp_path / "elsewhere").key == opened(drone_root).key and caches() == 3


def test_writing_into_an_item_does_not_reach_the_cache(drone_root):
    data = opened(drone_root)
    before = data[0][0].clone()
    data[0][0].zero_()
    assert torch.equal(data[0][0], before)


@pytest.mark.slow
@pytest.mark.parametrize("forked", [True, False])
def test_loader_workers_share_the_map(drone_root, drone_train, forked):
    data = opened(drone_root)
    assert len(pickle.dumps(data)) < 20_000
    loader = DataLoader(data, 3, num_workers=1, multiprocessing_context="fork" if forked else prepared(),
                        collate_fn=collate)
    images = torch.cat([images for images, _ in loader])
    assert torch.equal(images, torch.stack([image for image, _ in drone_train]))


def sum_of_a_cache(root: Path, home: Path, together, sums) -> None:
    os.environ["SEGLAB_HOME"] = str(home)
    together.wait()
    sums.put(int(sum(image.sum() + mask.sum() for image, mask in opened(root, "all"))))


@pytest.mark.slow
def test_two_processes_at_once(home, drone_root, caches):
    context = prepared()
    together, sums = context.Barrier(2), context.Queue()
    processes = [context.Process(target=sum_of_a_cache, args=(drone_root, home, together, sums)) for _ in range(2)]
    for process in processes:
        process.start()
    found = [sums.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    wanted = int(sum(image.sum() + mask.sum() for image, mask in opened(drone_root, "all", cache=False)))
    assert found == [wanted, wanted] and caches() == 1


@pytest.mark.parametrize("damage", ["cut", "gone", "no index", *DAMAGE])
def test_a_damaged_cache_says_what_to_do(home, drone_root, drone_train, damage):
    folder = home / "cache" / opened(drone_root).key
    index = folder / "index.json"
    if damage == "cut":
        os.truncate(folder / "images.u8", 100)
    elif damage in {"gone", "no index"}:
        (folder / "masks.u8" if damage == "gone" else index).unlink()
    else:
        other = DAMAGE[damage]
        index.write_text(other if isinstance(other, str) else json.dumps(json.loads(index.read_text()) | other))
    with pytest.raises(CacheError, match="damaged(.|\n)*Delete the folder"):
        opened(drone_root)
    shutil.rmtree(folder)
    assert torch.equal(opened(drone_root)[0][0], drone_train[0][0])


@pytest.mark.parametrize("name", ["images.u8", "masks.u8"])
def test_one_flipped_bit_of_the_pixels_is_seen(home, drone_root, drone_train, name):
    path = home / "cache" / opened(drone_root).key / name
    data = path.read_bytes()
    path.write_bytes(with_flipped_bit(data, 4 * len(data)))
    samples = opened(drone_root)
    with pytest.raises(CacheError, match="other pixels than were written(.|\n)*Delete the folder"):
        list(samples)


def test_damaged_memories_cost_only_the_time_to_look_again(home, drone_root):
    key = opened(drone_root).key
    for text in ("{", "[1]", '{"a": 1}', "null", json.dumps({str(next(drone_root.rglob("*.jpg")).resolve()): [1]})):
        (home / "cache" / "digests.json").write_text(text)
        assert opened(drone_root).key == key


def test_a_full_disk_leaves_no_cache_behind(drone_root, monkeypatch, caches):
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
        opened(drone_root)
    assert caches() == 0


def test_pictures_that_would_fill_the_disk_are_read_once_and_not_kept(home, drone_root, drone_train, monkeypatch):
    usage = shutil.disk_usage(home.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=248_000))  # 2 × 9 × 48 × 72 × 4 is more
    data = opened(drone_root)
    assert data.pixels is not None and "decoded pictures are not kept" in data.report()
    assert sum(path.stat().st_size for path in (home / "cache" / data.key).glob("*.u8")) == 0
    assert torch.equal(data[3][0], drone_train[3][0]) and data.names == drone_train.names
    assert torch.equal(data.subset([3])[0][1], drone_train[3][1])
    monkeypatch.setattr(decode.Decoder, "__call__", refuse)
    assert opened(drone_root).pixels.tolist() == data.pixels.tolist()
    monkeypatch.undo()
    monkeypatch.setenv("SEGLAB_HOME", str(home))
    assert opened(drone_root).report() == "9 of 9 pictures of 'train' are used", "there is room now"
    assert sum(path.stat().st_size for path in (home / "cache" / data.key).glob("*.u8")) == 9 * 48 * 72 * 4
    assert torch.equal(opened(drone_root)[3][0], drone_train[3][0]) and data.names == opened(drone_root).names


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
