"""Checks about what goes into a borrowed network, and what is kept of it: the map file, and the features."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from seglab.checks.exercise import Case, Exercise
from seglab.checks.guard import RefusedError

_Pairs = list[tuple[Any, Any]]


def _pairs(lines: Sequence[str], *, skip: Callable[[str], bool] = lambda line: line.startswith("#"),
           path: Callable[[str], str] = lambda path: path, number: Callable[[str], Any] = int) -> _Pairs:
    parts = (line.rpartition("\t") for line in lines if line and not skip(line))
    return [(path(name), number(label)) for name, _, label in parts]


def _pairs_of(answer: Callable[..., Any], lines: list[str]) -> dict[str, Any]:
    """What is compared of a list of pairs: numbers, and which paths are as they should be."""
    found = answer(list(lines))
    if found is None:
        raise RefusedError("it returns nothing. Is there a `return`?")
    if isinstance(found, (str, Mapping)) or not isinstance(found, Iterable):
        raise RefusedError(f"it returns a {type(found).__name__}, and should return a list of pairs (path, number)")
    rows = list(found)
    for row in rows:
        if not isinstance(row, (tuple, list, np.ndarray)) or len(row) != 2:
            raise RefusedError(f"each picture should be a pair (path, number); found {row!r:.60}")
        if not isinstance(row[1], (int, float, np.number, Tensor, str, PurePath)):
            raise RefusedError(f"the number should be an int; found a {type(row[1]).__name__}")
    numbers = [float(number) if isinstance(number, (int, float, np.number, Tensor)) else np.nan for _, number in rows]
    paths = [path.as_posix() if isinstance(path, PurePath) else path for path, _ in rows]
    return {"pictures": len(rows), "class numbers": numbers, "right paths": [
        float(path == wanted) for path, (wanted, _) in zip(paths, _pairs(lines), strict=False)]}


def _lines(what: str, *lines: str) -> Case:
    return Case(what, (list(lines),), "lines:\n" + "\n".join(f"  {line!r}" for line in lines))


read_map = Exercise(
    "read_map",
    [_lines("two pictures", "cats/a.jpg\t0", "dogs/b.jpg\t1"),
     _lines("a path with spaces", "cats/my cat.jpg\t0", "dogs/b.jpg\t1"),
     _lines("comments and an empty line", "# class 0: cats", "#path\tnumber", "cats/a.jpg\t0", "", "dogs/b.jpg\t1"),
     _lines("more than ten classes", "a.jpg\t10", "b.jpg\t0", "c.jpg\t12"),
     _lines("a path with a # in it", "cats/cat #1.jpg\t0", "dogs/b.jpg\t1")],
    right=lambda lines: _pairs(lines), run=_pairs_of,
    mistakes={
        "The class numbers are text. Convert them with int(…).": lambda lines: _pairs(lines, number=str),
        "The path and the number are exchanged: (path, number).":
            lambda lines: [(number, path) for path, number in _pairs(lines)],
        "These are two lists. Return one list, of pairs: pairs.append((path, int(number))).":
            lambda lines: [*zip(*_pairs(lines), strict=True)],
        "A path with a space in it does not stay whole. Split at the tab alone: line.split(\"\\t\").":
            [lambda lines: _pairs(lines, path=lambda path: path.split()[0]),
             lambda lines: _pairs(lines, path=lambda path: path.split()[-1])],
        "A picture is left out because its path has a # in it. Only lines that begin with # are comments.":
            lambda lines: _pairs(lines, skip=lambda line: "#" in line),
        "The first line is left out. A map file has no line of titles.": lambda lines: _pairs(lines[1:]),
        "The last line is left out.": lambda lines: _pairs(lines[:-1]),
        "Only the last digit of the number is read: 12 is class 12.":
            lambda lines: _pairs(lines, number=lambda text: int(text[-1])),
        "Only the first digit of the number is read: 12 is class 12.":
            lambda lines: _pairs(lines, number=lambda text: int(text[0])),
        "Only the file's name is left. Keep the whole path.":
            lambda lines: _pairs(lines, path=lambda path: path.rpartition("/")[2]),
        "The tab is still at the end of the path.": lambda lines: _pairs(lines, path=lambda path: path + "\t"),
        "The numbers are changed: classes count from 0 in the file, too. Leave them as they are.":
            [lambda lines: _pairs(lines, number=lambda text: int(text) - 1),
             lambda lines: _pairs(lines, number=lambda text: int(text) + 1)],
        "No picture is left. `line == \"\" or \"#\"` is always true: write line.startswith(\"#\").": lambda lines: [],
        "The loop ends at the first comment or empty line. Go on with the next line: continue instead of break.": [
            lambda lines: _pairs([*takewhile(bool, lines)]),
            lambda lines: _pairs([*takewhile(lambda line: line and line[0] != "#", lines)])],
        "Only the last picture is left. Append each pair to the list.": lambda lines: _pairs(lines)[-1:],
        "Only the first picture is read. Is `return` inside of the loop?": lambda lines: _pairs(lines)[:1]},
    errors={"too many values to unpack": "A line gives more than two parts. Paths may hold spaces: split at the tab "
                                         "alone, line.split(\"\\t\").",
            "not enough values to unpack": "A line gives one part alone. Skip empty lines and comments first (a # "
                                           "within a path is none), and split at the tab: line.split(\"\\t\").",
            "invalid literal for int": "What should be a number is none. Is a comment read as a picture, or is the "
                                       "line split at something else than the tab?",
            "string index out of range": "An empty line has no first letter. Skip empty lines before you look at it.",
            "index out of range": "A line has no tab in it. Skip empty lines and comments first, and split at the tab: "
                                  "line.split(\"\\t\").",
            "exactly one argument (2": "append takes one thing, here a pair, with brackets of its own: "
                                       "pairs.append((path, int(number))).",
            "'NoneType' object has no attribute": "append changes the list and returns nothing: write pairs.append(…) "
                                                  "alone, without pairs = …",
            "'list' object has no attribute": "lines is the list. Go through it: for line in lines.",
            "os.PathLike object, not list": "The lines are read already: for line in lines.",
            "not 'list'": "split gives a list of two parts. The second is the number: int(line.split(\"\\t\")[1])."},
    hints=("Go through the lines. Which of them are no pictures? At what do you split the others?",
           "Skip a line that is empty or for which line.startswith(\"#\") is true. line.split(\"\\t\") gives the path "
           "and the number, both as text.",
           "pairs = []\nfor line in lines:\n    if line and not line.startswith(\"#\"):\n"
           "        path, number = line.split(\"\\t\")\n        pairs.append((path, int(number)))\nreturn pairs"))


class _Counted(nn.Module):
    """A body with BatchNorm, which notes how many pictures come at once."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.batches: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        return F.relu(self.bn(self.conv(images))).mean((2, 3))  # (N, D)


class _Pictures(Dataset[tuple[Tensor, int]]):
    """A dataset that, as most, gives one picture at a time."""

    def __init__(self, count: int) -> None:
        self.pictures = torch.rand(count, 3, 5, 5)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: Any) -> tuple[Tensor, int]:
        if isinstance(index, slice):
            raise RefusedError("a dataset gives one picture at a time, and no slices: dataset[start:end] fails")
        return self.pictures[index], int(index) % 3


def _kept_features(answer: Callable[..., Any], count: int, batch_size: int) -> dict[str, Any]:
    """What is compared of features and labels."""
    torch.manual_seed(0)
    body = _Counted()
    found = answer(body, _Pictures(count), batch_size)
    if found is None:
        raise RefusedError("it returns nothing. Is there a `return`?")
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        raise RefusedError("it should return two things: return features, labels")
    features, labels = found
    if isinstance(features, (tuple, list)):
        raise RefusedError("the features are a list. Join its parts: torch.cat(…) for batches, torch.stack(…) for rows")
    if isinstance(labels, (tuple, list)) and any(isinstance(one, Tensor) and one.ndim for one in labels):
        raise RefusedError("the labels are a list of batches. Join them: torch.cat(…)")
    if not isinstance(features, (Tensor, np.ndarray)) or not isinstance(labels, Iterable):
        raise RefusedError(f"it should return two tensors; found a {type(features).__name__}, {type(labels).__name__}")
    if isinstance(labels, (Tensor, np.ndarray)) and labels.ndim != 1:
        raise RefusedError("features and labels are exchanged: return features, labels" if features.ndim == 1 else
                           f"the labels have the shape {tuple(labels.shape)}, and should be {(count,)}: torch.cat(…) "
                           "joins batches, where torch.stack(…) adds an axis")
    return {"features": features, "labels": [float(one) for one in labels], "batches that are too large": sum(
        batch > batch_size for batch in body.batches), "the features hold their gradients' graph": int(
            isinstance(features, Tensor) and features.requires_grad)}


def _features(body: Any, dataset: Dataset[Any], batch_size: int, *, training: bool = False, shuffle: bool = False,
              drop_last: bool = False, graph: bool = False, flat: bool = False) -> tuple[Tensor, Tensor]:
    body.train(training)
    features, labels = [], []
    with torch.set_grad_enabled(graph):
        for images, truth in DataLoader(dataset, batch_size, shuffle=shuffle, drop_last=drop_last):
            features.append(body(images))
            labels.append(truth)
    joined = torch.cat(features)
    return joined.mean(1) if flat else joined, torch.cat(labels)


def _first(body: Any, dataset: Dataset[Any], batch_size: int) -> tuple[Tensor, Tensor]:
    features, labels = _features(body, dataset, batch_size)
    return features[:batch_size], labels[:batch_size]


def _last(body: Any, dataset: Dataset[Any], batch_size: int) -> tuple[Tensor, Tensor]:
    features, labels = _features(body, dataset, batch_size)
    start = (len(labels) - 1) // batch_size * batch_size
    return features[start:], labels[start:]


def _stacked(body: Any, dataset: Dataset[Any], batch_size: int) -> tuple[Tensor, Tensor]:
    features, labels = _features(body, dataset, batch_size)
    return torch.stack(features.split(batch_size)), labels


features_once = Exercise(
    "features_once",
    [Case("four pictures in batches of two", (4, 2), ""), Case("five pictures in batches of two", (5, 2), ""),
     Case("three pictures, batches of up to eight", (3, 8), "")],
    right=lambda body, dataset, batch_size: _features(body, dataset, batch_size), run=_kept_features,
    mistakes={
        "The network is in train mode: BatchNorm takes the means of the batch. Call body.eval() first.":
            lambda *a: _features(*a, training=True),
        "The features hold the graph for a backward pass. Compute them in torch.no_grad().":
            lambda *a: _features(*a, graph=True),
        "Train mode, and with gradients: call body.eval(), and compute in torch.no_grad().":
            lambda *a: _features(*a, training=True, graph=True),
        "The last, smaller batch is missing.": lambda *a: _features(*a, drop_last=True),
        "The order is another one. Features and pictures must stay in the same order: no shuffle.":
            lambda *a: _features(*a, shuffle=True),
        "All pictures go through the network at once. Take batches of batch_size: memory is limited.":
            lambda body, dataset, batch_size: _features(body, dataset, 10_000),
        "Only the first batch is kept. Is `return` inside of the loop?": _first,
        "Only the last batch is kept. Collect the batches in a list.": _last,
        "There is one number a picture, the mean of its features. Keep all of them.":
            lambda *a: _features(*a, flat=True),
        "Batches are stacked along a new axis. Join them: torch.cat(features).": _stacked},
    errors={"stack expects each tensor": "The last batch is smaller, so batches cannot be stacked. Join them: "
                                         "torch.cat(features).",
            "'Tensor' object has no attribute 'append'": "The list and a batch have the same name, and the batch has "
                                                         "taken its place. Give them different names.",
            "same number of dimensions": "squeeze() takes the first axis, too, from a batch of one picture. Leave it "
                                         "out: the body gives (N, D).",
            "zero-dimensional tensor": "+= adds the batch's values one by one. Append the batch to the list: "
                                       "labels.append(truth).",
            "must be int, not list": "torch.cat takes one list: torch.cat(features), torch.cat(labels).",
            "only one element tensors": "torch.tensor cannot join tensors. torch.cat(features) joins a list of them.",
            "expected 4D input": "The body wants batches: go through DataLoader(dataset, batch_size).",
            "object is not callable": "A dataset is no function. DataLoader(dataset, batch_size) makes batches of it.",
            "context manager": "no_grad wants its brackets: with torch.no_grad():",
            "out of bounds": "The last batch is smaller: range(start, min(start + batch_size, len(dataset)))."},
    hints=("A loop over batches, as in a test. Which two switches does it need? Collect what comes out.",
           "body.eval(), then in torch.no_grad() go through torch.utils.data.DataLoader(dataset, batch_size), without "
           "shuffle. Append each batch to a list. torch.cat joins a list of tensors.",
           "body.eval()\nfeatures, labels = [], []\nwith torch.no_grad():\n"
           "    for images, truth in torch.utils.data.DataLoader(dataset, batch_size):\n"
           "        features.append(body(images))\n        labels.append(truth)\n"
           "return torch.cat(features), torch.cat(labels)"))
