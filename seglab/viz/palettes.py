"""Colours that colour-blind eyes can tell apart."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

import numpy as np

from seglab.errors import ArgumentError
from seglab.labels import LabelSet, voc_palette

#: 255 colours, RGB. The first seven are those of Okabe and Ito, "Color Universal Design" (2008), without black; each
#: further one is, among 729, the farthest from all before it, as `tools/palette.py` computes. Black, white and light
#: grey stay free: they are the background, paper and ignored. Sky blue and vermilion come first, because they differ
#: most from each other and from fur, wood and grass; the blue and the orange of right and wrong are the last of the
#: seven, so that few classes do not look like errors.
_COLOURS = np.frombuffer(bytes.fromhex(
    "56b4e9d55e00009e73f0e442cc79a70072b2e69f008000ff60200000208060406000ff9f9f80ffdf00404000409fbf60"
    "8000bfbfff809fdfffbf009f80bf806060ff9f4000bf9f9f606060ffbfbf404040002000ff8040008040806080804020"
    "ffff002020202000204000608060df609f609f80bf0000bfff40609fdf600040809f9fff602060000040ffbf008080df"
    "dfffdfbf40bf40dfdf80df8060209f4040df004020df9fbf8040bf9fff60808080804080bfbf9f4020408000209f6040"
    "df80dfdf009fbf00ffbf8040800080604000809fbfdfbf4040009f0000ff000060ff408000ffffbfbfffbf9f409fffbf"
    "bf20609f009fbf602080602040000000bfbf809f20ff809f0000dfffdfff0060dfdfff9f9f000080dfbf80bfdf80bf00"
    "402000800040402060000080ffffbf0060809f609f0040bf60ff409f60ffdf9fffff6060dfbfdfdfdf80002040df60ff"
    "ff60008040df6000df20bf40bf808040604020602080df00004060bfdfdfdf80202080bfdf9f809fdf9f9f2020ff409f"
    "609fdfbf400040209fdf00ff60bfffffbf80002060df60602040ffdf0060df00bfffdf9fff9f60808040bf0040ff40df"
    "0020bfbfbfbf60df409f208060ffdfdfdfbf8000dfdf8080bf809f4020209f6080ff0040bf80df402080bfbf80bfff00"
    "206060408080df9fdfffdfdf400080dfdf00609f80ff40bf9f20bfdf602000df60802040609fffbfbf20df80ffffff80"
    "bfdf40ff2000dfff609f809f00009f9f60df608000df809fff404080bf9f0020ff00bf8080606060609f4080df00ff60"
    "009f20bf00209f8040ffdf60004040ffbfff60bf60bf9fdf9f6060df00206060df9f80dfbf9fbfff9fbf404060ff9f9f"
    "9f9f60dfdf9f8020df6060209f60209f808080bfbfbf2000bfffff20004000002040409fbf9f8080609fdfffbfdf8060"
    "bf60ffdfbf9fff9f80600000dfdfffbf204020609f2000009fff9f009fbf60ff80ff9f009f2040df00808040609f40df"
    "40ffbf804040bf9f00df80bf802080ffbf9f00bf9fff9fdf808060bfbf60dfbfff8060ffbf8020dfbf80802060"
), dtype=np.uint8).reshape(-1, 3)


def colour_blind_safe(count: int, background: bool = False) -> np.ndarray:
    """Colours that differ for normal, red-, green- and blue-blind eyes alike: (count, 3) uint8.

    Beyond some 20 classes no palette is safe; the differences are then as large as they can be. With a background,
    class 0 is black. ArgumentError unless there are 1 to 255.

    Example:
        >>> colour_blind_safe(3, background=True).tolist()
        [[0, 0, 0], [86, 180, 233], [213, 94, 0]]
    """
    if not 1 <= count <= 255:
        raise ArgumentError("count", found=count, expected="1 to 255")
    return np.concatenate([np.zeros((1 if background else 0, 3), np.uint8), _COLOURS])[:count]


def safe_label_set(label_set: LabelSet) -> LabelSet:
    """The same classes in colours from `colour_blind_safe`; a black class 0 stays black, ignored is light grey.

    Example:
        >>> from seglab.labels import PETS
        >>> safe_label_set(PETS).colours
        ((0, 0, 0), (86, 180, 233), (213, 94, 0))
    """
    return _recoloured(label_set, black_first=label_set.colours[0] == (0, 0, 0))


@lru_cache  # asked for once a frame of a video, and the answer keeps its palette
def as_drawn(label_set: LabelSet) -> LabelSet:
    """The same classes in the colours in which they are drawn: over pictures, beside them, in legends and charts.

    Most of Pascal VOC's colours are dark and near each other: over a photograph nobody tells its cat, (64, 0, 0), from
    its dog, (64, 0, 128). A label set in them, that is in entries of `voc_palette` in rising order, is drawn in colours
    from `colour_blind_safe`; a background that is class 0 is black. Any other set keeps its colours. In files, masks
    keep the published colours in either case.

    Example:
        >>> from seglab.labels import DRONE, PETS
        >>> as_drawn(PETS).colours, as_drawn(DRONE) is DRONE
        (((0, 0, 0), (86, 180, 233), (213, 94, 0)), True)
    """
    places = {tuple(colour): place for place, colour in enumerate(voc_palette().tolist())}
    found = [places.get(colour, -1) for colour in label_set.colours]
    if any(before >= after for before, after in pairwise([-1, *found])):
        return label_set
    return _recoloured(label_set, black_first=label_set.background == 0)


def _recoloured(label_set: LabelSet, black_first: bool) -> LabelSet:
    colours = colour_blind_safe(len(label_set), black_first).tolist()
    return replace(label_set, colours=tuple(map(tuple, colours)), ignore_colour=(235, 235, 235))
