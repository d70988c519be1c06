"""Damage to files: to their bytes whatever they are, and to the structure of JSON, text, safetensors, tar and zip.

A mutation takes the bytes of a file and a random generator, and returns other bytes and a line that says what it did.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

Mutation = Callable[[bytes, Random], tuple[bytes, str]]

_MAGIC = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\0", b"MM\0*", b"BM", b"GIF89a", b"RIFF\x10\0\0\0WEBP",
          b"PK\3\4", b"\x80\x02", b"\x1f\x8b\x08", b"\x1aE\xdf\xa3", b"\0\0\0\x20ftyp", b"\xef\xbb\xbf", b"\xff\xfe",
          b"%!PS-Adobe-3.0", b"{", b"\0\0\0\x0cjP  \r\n\x87\n"]
_NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1,
            1 << 63, (1 << 64) - 1]
#: Where a file that is written outside of a mutant's folder would land.
OUTSIDE = "../../../escaped"
_TEXTS = ["", " ", "x", "0", "-1", "1e999", "nan", "\0", "a\0b", "é", "猫", "\u202e", "a" * 100_000, OUTSIDE, "/", ".",
          "..", "~", "con", "a\tb", "a\nb", "\ufeff", "%s%n", "{}", "'", '"', "../" * 50, "𝟙", "١"]
_RAW = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5000, "1" + "0" * 400, '"\\ud800"', '"\\u0000"',
        "[" * 100_000 + "]" * 100_000, '{"a":' * 3000 + "1" + "}" * 3000, "[" * 900 + "]" * 900, '{"a":1,"a":2}',
        "1.0000000000000001", "-0.0", "1E5", "0.1"]
_VALUES: list[Any] = [None, True, False, 0, -1, 1, 2, 0.5, -0.5, 1e308, 254, 255, 256, 65536, 2 ** 31 - 1, 2 ** 31,
                      2 ** 32, 2 ** 53, 2 ** 63 - 1, 2 ** 63, -2 ** 63, 2 ** 64, 10 ** 30, [], {}, [None], [[]],
                      {"": None}, [0], [1, 2, 3], ["x"], [1e308] * 4, *_TEXTS]


def of_bytes(data: bytes, rng: Random) -> tuple[bytes, str]:
    """Flip, delete, insert, repeat, swap, overwrite or cut; half of the time in the first 256 bytes."""
    size = len(data)
    at = rng.randrange(max(1, min(size, 256) if rng.random() < 0.5 else size))
    count = min(size - at, rng.choice([1, 1, 2, 4, 8, 64, 1024, size]))
    other = rng.randrange(max(1, size))
    number = struct.pack(rng.choice("<>") + "Q", rng.choice(_NUMBERS))
    width = rng.choice([1, 2, 4, 8])
    number = number[:width] if rng.random() < 0.5 else number[-width:]
    head, block, tail = data[:at], data[at:at + count], data[at + count:]
    flipped = bytes([data[at] ^ (1 << rng.randrange(8))]) if size else b""
    what, found = rng.choice([
        ("a bit flipped", head + flipped + data[at + 1:]), ("a bit flipped", head + flipped + data[at + 1:]),
        (f"{count} bytes deleted", head + tail), ("cut off", head),
        (f"{width} random bytes inserted", head + rng.randbytes(width) + data[at:]),
        (f"{count} bytes repeated", head + block * rng.choice([2, 2, 3, 50]) + tail),
        (f"{count} bytes of {other} put there", head + data[other:other + count] + tail),
        (f"{number.hex()} written", head + number + data[at + width:]),
        (f"{number.hex()} written", head + number + data[at + width:]),
        (f"{count} bytes zeroed", head + bytes(len(block)) + tail),
        (f"{count} random bytes", head + rng.randbytes(len(block)) + tail),
        ("another magic number", (magic := rng.choice(_MAGIC)) + data[len(magic):]),
        ("its second half first", data[size // 2:] + data[:size // 2]), ("emptied", b""), ("doubled", data + data)])
    return found, f"{what} at {at} of {size}"


def of_json(data: bytes, rng: Random) -> tuple[bytes, str]:
    """A value replaced by another one, a key missing, twice or renamed, a list for a dict …, anywhere in the tree."""
    tree, what = of_tree(json.loads(data), rng, raw=True)
    text = json.dumps(tree, ensure_ascii=rng.random() < 0.5)
    for number, raw in enumerate(_RAW):
        text = text.replace(f'"raw {number}"', raw)
    return text.encode("utf-8", "surrogatepass"), what


def of_tree(tree: Any, rng: Random, raw: bool = False) -> tuple[Any, str]:
    """The same for plain values in memory; the tree is changed in place. `raw` puts marks for what JSON alone has."""
    root = [tree]
    holder, key, where = rng.choice([*places(root)])
    value = holder[key]
    if isinstance(value, str) and value[:1] in {"{", "["} and rng.random() < 0.9:  # JSON within JSON
        inner, what = of_json(value.encode(), rng)
        holder[key] = inner.decode("utf-8", "surrogatepass")
        return root[0], f"{where} → {what}"
    if isinstance(holder, dict) and (draw := rng.random()) < 0.15:
        del holder[key]
        if draw < 0.05:
            holder[rng.choice([str(key).upper(), "x", "", *_TEXTS])] = value
        return root[0], f"{where} removed, or renamed"
    holder[key] = new = rng.choice(_others(value, rng, raw))
    return root[0], f"{where} = {str(new)[:60]!r}, {type(new).__name__}"


def places(holder: Any, where: str = "") -> Iterator[tuple[Any, Any, str]]:
    """Every (dict or list, key in it, path to it) of a tree."""
    for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
        yield holder, key, f"{where}[{key!r}]"
        if isinstance(holder[key], (dict, list)):
            yield from places(holder[key], f"{where}[{key!r}]")


def _others(value: Any, rng: Random, raw: bool) -> list[Any]:
    """What may stand in place of a value: things like it, and half of the time anything at all."""
    like: list[Any] = [value]
    if isinstance(value, bool) or value is None:
        like = [not value, 0, 1, "true"]
    elif isinstance(value, (int, float)):
        like = [value + 1, value - 1, -value, value * 1000, value + 0.5, str(value), [value], value * 2 ** 31,
                value / 3]
    elif isinstance(value, str):
        like = [value[::-1], value[:-1], value + "x", value[:1] + "\0" + value[1:], [value], {value: value},
                value.upper(), value * 3, value + "/", "../" + value, f" {value} "]
    elif isinstance(value, list):
        like = [value[:-1], value[1:], value[::-1], value * 2, [value], dict(enumerate(map(str, value))), value[:1],
                [*value, None], [*value, value], [*value[1:], rng.choice(_VALUES)], tuple(value) if not raw else []]
    elif isinstance(value, dict):
        like = [list(value.items()), list(value), [value], {k: value[k] for k in list(value)[::-1]},
                {**value, "x": value}, {str(k).upper(): v for k, v in value.items()}, {"": value},
                dict(zip(value, list(value.values())[::-1], strict=True)), dict.fromkeys(value)]
    marks = [f"raw {number}" for number in range(len(_RAW))] if raw else [float("nan"), float("inf")]
    return like if rng.random() < 0.5 else [*_VALUES, *marks]


def of_lines(data: bytes, rng: Random) -> tuple[bytes, str]:
    """Text of lines and columns: a line or a cell removed, repeated, swapped, replaced; other line ends, encodings."""
    text = data.decode()
    lines = text.split("\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    line = lines[at]
    mark = max(",;:\t ", key=line.count)
    cells = line.split(mark)
    cell = rng.randrange(len(cells))
    edge = rng.choice(["-1", "256", "255", "0", "1.5", "1e3", "x", "", "300000000000", "٣", "0x10", "#ff00ff", *_TEXTS])
    changed = mark.join([*cells[:cell], edge, *cells[cell + 1:]])
    what, found = rng.choice([
        (f"cell {cell} = {edge[:20]!r}", [*lines[:at], changed, *lines[at + 1:]]),
        (f"cell {cell} = {edge[:20]!r}", [*lines[:at], changed, *lines[at + 1:]]),
        (f"cell {cell} removed", [*lines[:at], mark.join(cells[:cell] + cells[cell + 1:]), *lines[at + 1:]]),
        (f"cell {cell} twice", [*lines[:at], mark.join([*cells[:cell + 1], *cells[cell:]]), *lines[at + 1:]]),
        ("removed", lines[:at] + lines[at + 1:]), ("twice", lines[:at + 1] + lines[at:]),
        (f"like line {other}", [*lines[:at], lines[other], *lines[at + 1:]]),
        ("the last", lines[:at + 1]), ("upper case", [*lines[:at], line.upper(), *lines[at + 1:]]),
        ("in quotes", [*lines[:at], f'"{line}', *lines[at + 1:]]), ("backwards", lines[::-1]),
        ("1,000 times", lines[:at] + [line] * 1000 + lines[at:])])
    ending, encoding = rng.choice(["\n"] * 8 + ["\r\n", "\r"]), rng.choice(["utf-8"] * 8 + ["utf-16", "utf-8-sig"])
    return ending.join(found).encode(encoding, "replace"), f"line {at + 1} {what}, {ending!r}, {encoding}"


def of_png(data: bytes, rng: Random) -> tuple[bytes, str]:
    """A chunk of a PNG damaged, twice, elsewhere or gone, with checksums that are right."""
    chunks, at = [], 8
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        chunks.append((kind, data[at + 8:at + 8 + size]))
        at += 12 + size
    place = rng.randrange(len(chunks))
    kind, content = chunks[place]
    packed = kind == b"IDAT" and rng.random() < 0.7
    inside, what = of_bytes(zlib.decompress(content) if packed else content, rng)
    new = kind, zlib.compress(inside) if packed else inside
    other = rng.choice([b"sBIT", b"tRNS", b"PLTE", b"gAMA", b"eXIf", b"iCCP", b"IDAT", b"IEND", b"acTL", b"tEXt"])
    more = other, rng.randbytes(rng.choice([0, 1, 3, 6, 20]))
    how, those = rng.choice([(what, [new])] * 5 + [("gone", []), ("twice", [chunks[place]] * 2), (
        f"before a new {other!r}", [chunks[place], more]), (f"called {other!r}", [(other, content)])])
    chunks[place:place + 1] = those
    return data[:8] + b"".join(struct.pack(">I", len(inside)) + kind + inside + struct.pack(">I", zlib.crc32(
        kind + inside)) for kind, inside in chunks), f"chunk {kind!r}: {how}"


def of_safetensors(data: bytes, rng: Random) -> tuple[bytes, str]:
    """The JSON header of a safetensors file; the tensors' bytes stay."""
    size = struct.unpack("<Q", data[:8])[0]
    header, what = of_json(data[8:8 + size], rng)
    return struct.pack("<Q", len(header)) + header + data[8 + size:], what


def of_zip(data: bytes, rng: Random) -> tuple[bytes, str]:
    """A zip packed again with a member that is renamed, repeated or a link, with dates that cannot be, or a bomb."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        members = [(one, old.read(one)) for one in old.infolist()]
        at = rng.randrange(len(members))
        one, content = members[at]
        name, twice = rng.choice(_names(one.filename)), rng.random() < 0.2
        one.external_attr = rng.choice([one.external_attr, 0o120777 << 16, 0o40755 << 16, 0])
        one.date_time = rng.choice([one.date_time, (1980, 0, 0, 0, 0, 0), (2107, 15, 31, 31, 63, 62)])
        one.filename = name if rng.random() < 0.7 else one.filename
        content = rng.choice([content, content, b"", b"\0" * 60_000_000, OUTSIDE.encode(), content[:-20]])
        members[at:at + 1] = [(one, content)] * (1 + twice)
        for member, inside in members:
            new.writestr(member, inside)
    return out.getvalue(), f"member {at} is {one.filename[:60]!r}, {len(content)} bytes, {one.date_time}, {1 + twice}×"


def of_tar_gz(data: bytes, rng: Random) -> tuple[bytes, str]:
    """A tar.gz packed again with a member that is renamed, of another type, or has another size."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as old, tarfile.open(fileobj=out, mode="w") as new:
        members = old.getmembers()
        at = rng.randrange(len(members))
        for number, one in enumerate(members):
            content = old.extractfile(one).read() if one.isfile() else b""  # type: ignore[union-attr]
            if number == at:
                one.name = rng.choice([one.name, *_names(one.name)])
                one.type = rng.choice([one.type, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE,
                                       tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE, b"Z"])
                one.linkname = rng.choice(_names(one.name))
                one.mode, one.mtime = rng.choice([one.mode, 0, 0o7777]), rng.choice([one.mtime, -1, 1 << 40])
                what = f"member {at} is {one.name[:60]!r}, type {one.type!r}, link {one.linkname[:60]!r}"
            new.addfile(one, io.BytesIO(content))
    return gzip.compress(out.getvalue(), 1), what


def _names(name: str) -> list[str]:
    return [OUTSIDE, f"{OUTSIDE}/{name}", f"a/../../{name}", name.upper(), f"./{name}", f"{name}/{name}", name + " ",
            "C:\\x\\" + name, "\\\\server\\" + name, "/" + name, "a" * 300 + name, "猫" * 80 + name, name + "\n", "."]
