"""Assignment 4: objects, masks, and a light head. The right answers, and the mistakes that are named."""

from collections import Counter
from functools import cache, partial
from itertools import combinations, groupby, product

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from grader import handed_out
from seglab.checks import Case
from seglab.classroom import questions
from seglab.classroom.questions import FunctionQuestion, NumberQuestion, ScoreQuestion

data = handed_out("a4", "a4_data")


def run_lengths(mask):
    runs = [(value, len(list(pixels))) for value, pixels in groupby(np.asarray(mask).T.ravel().tolist())]
    return [0] * bool(runs[0][0]) + [length for _, length in runs]


def iou_matrix(found, true, crowd):
    matrix = np.zeros((len(found), len(true)))
    for i, j in product(range(len(found)), range(len(true))):
        whole = found[i].sum() if crowd[j] else (found[i] | true[j]).sum()
        matrix[i, j] = (found[i] & true[j]).sum() / max(whole, 1)
    return matrix


def paint(objects, height, width, share, *, key=lambda area, place: (area, -place), below=np.less, lost=255,
          whole=False, by_class=False, reveal=False, next_alone=False):
    """The right answer; the keywords are what can be wrong about it. key: the lowest lies on top."""
    order = sorted(range(len(objects)), key=lambda place: key(int(objects[place][1].sum()), place), reverse=True)
    top = np.full((height, width), -1)
    for place in order:
        top[objects[place][1]] = place
    mask = np.zeros((height, width), np.uint8)
    for place in order:
        class_id, shape = objects[place]
        mask[top == place] = class_id
    gone = []
    for place, (class_id, shape) in enumerate(objects):
        seen = (mask == class_id) & shape if by_class else top == place
        if next_alone and place != order[-1]:
            seen = shape & ~objects[order[order.index(place) + 1]][1]
        if below(seen.sum() / (height * width if whole else shape.sum()), share):
            gone.append(place)
    if reveal:
        return paint([one for place, one in enumerate(objects) if place not in gone], height, width, 0.0, key=key)
    for place in gone:
        mask[top == place] = lost
    return mask


def ways_seen(rates, size):
    shifts = [[rate * (k - size // 2) for k in range(size)] for rate in rates]
    counts = Counter(sum(chosen) for chosen in product(*shifts))
    reach = (size - 1) * sum(rates) // 2
    return [counts[place] for place in range(-reach, reach + 1)]


def separable_atrous(maps, depthwise, pointwise, rate):
    size, (height, width) = depthwise.shape[-1], maps.shape[2:]
    reach = rate * (size // 2)
    padded = F.pad(maps, (reach,) * 4)
    own = sum((depthwise[:, i, j, None, None] * padded[:, :, i * rate:i * rate + height, j * rate:j * rate + width]
               for i, j in product(range(size), repeat=2)), torch.zeros_like(maps))
    return torch.einsum("dc,nchw->ndhw", pointwise, own)


class LightASPP(nn.Module):
    def __init__(self, channels, width, rates, classes):
        super().__init__()
        self.place = nn.Conv2d(channels, width, 1)
        self.apart = nn.ModuleList([nn.Conv2d(channels, channels, 3, padding=rate, dilation=rate, groups=channels)
                                    for rate in rates])
        self.mixed = nn.ModuleList([nn.Conv2d(channels, width, 1) for _ in rates])
        self.whole = nn.Conv2d(channels, width, 1)
        self.project, self.last = nn.Conv2d((2 + len(rates)) * width, width, 1), nn.Conv2d(width, classes, 1)

    def forward(self, maps):
        mean = self.whole(maps.mean(dim=(2, 3), keepdim=True))
        parts = [self.place(maps), *(mix(own(maps)) for own, mix in zip(self.apart, self.mixed, strict=True)),
                 mean.expand(-1, -1, *maps.shape[2:])]
        return self.last(torch.relu(self.project(torch.relu(torch.cat(parts, dim=1)))))


# --- mistakes -------------------------------------------------------------------------------------------------------

def _runs_by_rows(mask):
    return run_lengths(np.asarray(mask).T)


def _runs_without_zero(mask):
    counts = run_lengths(mask)
    return counts[1:] if counts[0] == 0 else counts


def _runs_without_last_zeros(mask):
    counts = run_lengths(mask)
    return counts[:-1] if len(counts) % 2 else counts


def _run_ends(mask):
    return np.cumsum(run_lengths(mask))


def _iou(found, true, crowd, crowd_whole="found", empty=0.0, uint8=False, dice=False):
    matrix = np.zeros((len(found), len(true)))
    for i, j in product(range(len(found)), range(len(true))):
        both, either = (found[i] & true[j]).sum(), (found[i] | true[j]).sum()
        if dice:
            both, either = 2 * both, found[i].sum() + true[j].sum()
        if uint8:
            both, either = both % 256, found[i].sum() + true[j].sum() - both % 256
        whole = {"found": found[i].sum(), "true": true[j].sum(), "union": either}[crowd_whole if crowd[j] else "union"]
        matrix[i, j] = both / whole if whole else empty
    return matrix


def _iou_transposed(found, true, crowd):
    return iou_matrix(found, true, crowd).T


def _iou_all_crowds(found, true, crowd):
    return iou_matrix(found, true, np.ones(len(true), bool))


def _iou_all_crowds_if_one(found, true, crowd):
    return iou_matrix(found, true, np.full(len(true), crowd.any()))


def _dense_ways(rates, size):
    return ways_seen([1] * len(rates), size)


def _seen_or_not(rates, size):
    return [min(count, 1) for count in ways_seen(rates, size)]


def _ways_of_three(rates, size):
    return ways_seen(rates, 3)


def _separable(maps, depthwise, pointwise, rate, *, dense=False, flipped=False, first=False, turned=False, same=False):
    if flipped:
        depthwise = depthwise.flip((1, 2))
    if same:
        depthwise = depthwise[:1].expand_as(depthwise)
    if first:  # works only where there are as many channels behind as before
        return separable_atrous(torch.einsum("dc,nchw->ndhw", pointwise, maps), depthwise,
                                torch.eye(len(pointwise)), rate)
    return separable_atrous(maps, depthwise, pointwise.T if turned else pointwise, 1 if dense else rate)


def _padded_by_rate(maps, depthwise, pointwise, rate):
    own = F.conv2d(maps, depthwise[:, None], padding=rate, dilation=rate, groups=maps.shape[1])
    return torch.einsum("dc,nchw->ndhw", pointwise, own)


class _WithoutMean(LightASPP):
    def forward(self, maps):
        parts = [self.place(maps), *(mix(own(maps)) for own, mix in zip(self.apart, self.mixed, strict=True))]
        parts.append(torch.zeros_like(parts[0]))
        return self.last(torch.relu(self.project(torch.relu(torch.cat(parts, dim=1)))))


class _WithoutPlace(LightASPP):
    def forward(self, maps):
        mean = self.whole(maps.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *maps.shape[2:])
        parts = [mean, *(mix(own(maps)) for own, mix in zip(self.apart, self.mixed, strict=True)), mean]
        return self.last(torch.relu(self.project(torch.relu(torch.cat(parts, dim=1)))))


class _Maximum(LightASPP):
    def forward(self, maps):
        parts = [self.place(maps), *(mix(own(maps)) for own, mix in zip(self.apart, self.mixed, strict=True)),
                 self.whole(maps.amax(dim=(2, 3), keepdim=True)).expand(-1, -1, *maps.shape[2:])]
        return self.last(torch.relu(self.project(torch.relu(torch.cat(parts, dim=1)))))


class _Chained(LightASPP):
    def forward(self, maps):
        parts, seen = [self.place(maps)], maps
        for own, mix in zip(self.apart, self.mixed, strict=True):
            seen = own(seen)
            parts.append(mix(seen))
        parts.append(self.whole(maps.mean(dim=(2, 3), keepdim=True)).expand_as(parts[0]))
        return self.last(torch.relu(self.project(torch.relu(torch.cat(parts, dim=1)))))


class _WithoutRates(LightASPP):
    def __init__(self, channels, width, rates, classes):
        super().__init__(channels, width, [1] * len(rates), classes)


class _Heavy(LightASPP):
    def __init__(self, channels, width, rates, classes):
        super().__init__(channels, width, rates, classes)
        self.apart = nn.ModuleList([nn.Conv2d(channels, channels, 3, padding=rate, dilation=rate) for rate in rates])


class _NormOfOne(LightASPP):
    def __init__(self, channels, width, rates, classes):
        super().__init__(channels, width, rates, classes)
        self.whole = nn.Sequential(nn.Conv2d(channels, width, 1), nn.BatchNorm2d(width))


class _OfTheBatch(LightASPP):
    def forward(self, maps):
        mean = self.whole(maps.mean(dim=(0, 2, 3), keepdim=True)).expand(len(maps), -1, *maps.shape[2:])
        parts = [self.place(maps), *(mix(own(maps)) for own, mix in zip(self.apart, self.mixed, strict=True)), mean]
        return self.last(torch.relu(self.project(torch.relu(torch.cat(parts, dim=1)))))


class _Probabilities(LightASPP):
    def forward(self, maps):
        return super().forward(maps).softmax(dim=1)


def _crowd_run(answer, found, true, crowd):
    """The columns of crowds, and whether those of single objects are as without a crowd, be they right or not."""
    import numpy as np
    matrix, alone = (np.asarray(answer(found, true[kept], crowd[kept]), dtype=float) for kept in (crowd | True, ~crowd))
    if matrix.shape != (len(found), len(true)):
        return {"the shape": list(matrix.shape)}
    return {"the shape": list(matrix.shape), "the columns of crowds": matrix[:, crowd],
            "the other columns, away from those without the crowd": matrix[:, ~crowd] - alone}


def _list_run(answer, *args):
    import numpy as np
    return np.asarray(answer(*args))


def _paint_run(answer, *args):
    import numpy as np
    made = np.asarray(answer(*args))
    return {"ids": made, "one byte a pixel (uint8)": made.dtype == np.uint8}


def _head_run(answer, channels, width, rates, classes, size, beside, sums):
    """What a head is like: shape, and what the middle of a map looks at.

    beside: how far away, in rows and columns, a place is that no branch looks at. sums: how far away, in columns,
    places are that only branches one behind the other would look at. The map is so large that no border is near.
    """
    import torch
    torch.manual_seed(0)
    head = answer(channels, width, rates, classes).double().eval()
    # One value in each channel: so a norm over the map does not say where a value was changed.
    maps = torch.randn(2, channels, 1, 1, dtype=torch.float64).repeat(1, 1, *size)
    row, column = size[0] // 2, size[1] // 2

    def middle(y, x):
        """The middle's logits, when the values of one place are lowered: so the mean falls, and no maximum rises."""
        changed = maps.clone()
        changed[:, :, row + y, column + x] -= 3 * size[0] * size[1]
        return head(changed)[:, :, row, column]

    with torch.no_grad():
        logits = head(maps)
        if tuple(logits.shape) != (2, classes, *size):
            return {"the shape of the logits": list(logits.shape)}
        far = middle(beside, beside)
        moves = [float((middle(y * rate, x * rate) - far).abs().max()) for rate in rates
                 for y, x in ((0, 1), (-1, 0), (1, -1))]
        return {"the shape of the logits": list(logits.shape),
                "the middle looks at itself": bool((middle(0, 0) - far).abs().max() > 1e-6),
                "the middle looks at its neighbours at the rates": min([1.0, *moves]) > 1e-6,
                "the middle looks at the mean of the map":
                bool((far - logits[:, :, row, column]).abs().max() > 1e-6),
                "each picture of a batch is on its own": bool(torch.allclose(head(maps[:1]), logits[:1], atol=1e-6)),
                "it gives logits, and no probabilities":
                not torch.allclose(logits.sum(dim=1), torch.ones(()).double(), atol=1e-6),
                "the branches stand side by side":
                all(bool((middle(0, x) - far).abs().max() <= 1e-6) for x in sums)}


def _head_weights_run(answer, channels, width, rates, classes, most):
    head = answer(channels, width, rates, classes)
    return {"it has few weights": sum(weights.numel() for weights in head.parameters()) <= most}


def _head_one_run(answer, channels, width, rates, classes, height, breadth):
    import torch
    torch.manual_seed(0)
    head = answer(channels, width, rates, classes).train()
    logits = head(torch.randn(1, channels, height, breadth))
    return {"the shape of the logits": list(logits.shape), "finite": bool(torch.isfinite(logits).all())}


def _rates_run(answer):
    return [float(rate) for rate in answer]


_rng = np.random.default_rng(4)
_BLOTS = np.zeros((5, 7), bool)
_BLOTS[1:4, 1:3] = _BLOTS[0, 4:6] = _BLOTS[3:, 6] = True  # ends with a 1
_NOISE = _rng.random((6, 4)) < 0.4
_NOISE[0, 0] = _NOISE[-1, -1] = False
_OPEN = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1]], bool)  # equal to its transpose


def _box(top, left, bottom, right, height=40, width=50):
    shape = np.zeros((height, width), bool)
    shape[top:bottom, left:right] = True
    return shape


_FOUND = np.stack([_box(0, 0, 20, 20), _box(5, 10, 35, 40), _box(30, 42, 40, 50)])
_TRUE = np.stack([_box(0, 0, 20, 16), _box(10, 10, 38, 44)])
_NONE = np.zeros((1, 40, 50), bool)
_NO, _LAST = np.zeros(2, bool), np.array([False, True])
#: Two found objects, and an object and a crowd that both of them meet.
_FEW = np.stack([_box(0, 0, 5, 4, 10, 12), _box(1, 2, 9, 8, 10, 12)])
_HERD = np.stack([_box(0, 2, 4, 12, 10, 12), _box(1, 1, 6, 5, 10, 12)])
_THREE = [(2, _box(0, 0, 2, 3, 6, 8)), (1, _box(0, 0, 6, 7, 6, 8)), (3, _box(1, 2, 5, 6, 6, 8))]
_RING = (3, _box(0, 0, 6, 8, 6, 8) & ~_box(1, 1, 5, 7, 6, 8))  # 24 pixels in a wide frame
_TIES = [(1, _box(0, 0, 3, 4, 6, 8)), (2, _box(1, 2, 4, 6, 6, 8)), (3, _box(2, 1, 6, 4, 6, 8))]  # 12 pixels each
_CORNER = _box(0, 0, 4, 5, 6, 8) | _box(0, 5, 1, 6, 6, 8)  # 21 pixels
#: From large to small: below all of it 48 pixels; then 24, of which 3 are seen (1/8); 21, of which 19 are seen; 6.
_HIDDEN = [(2, _box(0, 0, 6, 8, 6, 8)), (1, _box(0, 0, 4, 6, 6, 8)), (2, _CORNER), (3, _box(3, 3, 6, 5, 6, 8))]
_TWINS = [(1, _box(0, 0, 4, 6, 6, 8)), (1, _box(0, 0, 4, 5, 6, 8)), (2, _box(0, 0, 2, 5, 6, 8))]
#: The largest one, 40 pixels, is hidden by two others: 16 pixels by each, so that 8 are seen.
_BY_TWO = [(1, _box(0, 0, 5, 8, 6, 8)), (2, _box(0, 0, 6, 3, 6, 8)), (3, _box(0, 5, 6, 8, 6, 8))]
_LONG = _box(0, 0, 30, 40, 40, 50) ^ _box(12, 7, 13, 8, 40, 50)  # runs of more than 255 pixels
_LONG[30:] = True
_MAPS = torch.from_numpy(_rng.normal(0, 1, (2, 3, 7, 9))).float()
_KERNELS = {size: torch.from_numpy(_rng.normal(0, 1, (3, size, size))).float() for size in (1, 3, 5)}
_KERNELS[5] = _KERNELS[5] + _KERNELS[5].flip((1, 2))  # turned by half a turn, it is the same
_WIDER, _SQUARE = (torch.from_numpy(_rng.normal(0, 1, (count, 3))).float() for count in (5, 3))


# --- on the student's own data --------------------------------------------------------------------------------------

@cache
def _objects(student):
    """The objects of each scene that are no crowds, from back to front: [(class_id, shape)]."""
    return [[(class_id, shape) for class_id, shape, crowd in objects if not crowd]
            for _, objects in data.scenes(student)]


@cache
def _pairs(student):
    """(pixels of the one behind, of the one in front) of each pair that overlaps."""
    return [(int(behind.sum()), int(front.sum())) for objects in _objects(student)
            for (_, behind), (_, front) in combinations(objects, 2) if (behind & front).any()]


def _smaller(student):
    return float(np.mean([front < behind for behind, front in _pairs(student)]))


@cache
def _changed(student, key=lambda area, place: (area, -place)):
    """Pixels whose class differs between painting by a rule and from back to front."""
    total = 0
    for objects in _objects(student):
        made = [paint(objects, 160, 208, 0.0, key=one) for one in (key, lambda _, place: -place)]
        total += int((made[0] != made[1]).sum())
    return total


@cache
def _claimed(student):
    """Pixels that two objects or more claim."""
    return sum(int((np.sum([shape for _, shape in objects], axis=0) > 1).sum())
               for objects in _objects(student) if objects)


def _all_pairs(student):
    return sum(len(objects) * (len(objects) - 1) // 2 for objects in _objects(student))


@cache
def _animal(student):
    return data.animal_maps(student, "train"), data.animal_maps(student, "test")


def _classes_of(head, maps):
    import torch
    import torch.nn.functional as F
    head.eval()
    with torch.no_grad():
        logits = F.interpolate(head(maps), (160, 208), mode="bilinear", align_corners=False)
        return logits.argmax(dim=1).to(torch.uint8)


def _animal_iou(found, student):
    masks = _animal(student)[1][1].numpy()
    found = np.asarray(found)
    if found.shape != masks.shape:
        raise ValueError(f"masks of shape {found.shape}, and {masks.shape} is needed")
    known = masks != 255
    return float((known & (found == 1) & (masks == 1)).sum() / (known & ((found == 1) | (masks == 1))).sum())


@cache
def _linear(student):
    train, test = _animal(student)
    return data.animal_iou(data.linear_head(*train), *test)


def _width_without_gaps(rates, _):
    rates = np.asarray(rates)
    if rates.shape != (3,) or (rates < 1).any() or (rates != np.round(rates)).any() or rates.sum() > 1000:
        raise ValueError("it should be three whole numbers of 1 or more")
    ways = ways_seen(rates.astype(int).tolist(), 3)
    return float(len(ways) if min(ways) > 0 else 0)


QUESTIONS = {one.name: one for one in (
    FunctionQuestion(
        "run_lengths", [Case("a mask that is not square", (_BLOTS,)), Case("a mask that ends with 0", (_NOISE,)),
                        Case("runs of more than 255 pixels", (~_LONG,))],
        run_lengths, {"The runs go along the rows. COCO goes down the columns.": _runs_by_rows,
                      "The last run of 0s is missing: the runs add up to the number of pixels.":
                      _runs_without_last_zeros,
                      "These are the places where runs end. COCO wants their lengths.": _run_ends}, run=_list_run),
    FunctionQuestion(
        "run_lengths_first", [Case("a mask that begins with 1", (_OPEN,)), Case("only 0s", (np.zeros((2, 3), bool),)),
                              Case("only 1s", (np.ones((2, 3), bool),))],
        run_lengths, {"A mask that begins with 1 has a first run of length 0.": _runs_without_zero}, run=_list_run),
    FunctionQuestion(
        "iou", [Case("three found objects, two true ones", (_FOUND, _TRUE, _NO))], iou_matrix,
        {"Rows are found objects, columns are true ones.": _iou_transposed,
         "The numbers of pixels run over: uint8 ends at 255.": partial(_iou, uint8=True),
         "It is divided by the sum of both areas: that is the Dice score.": partial(_iou, dice=True),
         "It is divided by the area of the found object, as with crowds.": _iou_all_crowds}),
    FunctionQuestion(
        "iou_crowd", [Case("the second true object is a crowd", (_FEW, _HERD, _LAST)),
                      Case("the first true object is a crowd", (_FEW, _HERD[::-1], ~_LAST))], iou_matrix,
        {"The crowd is treated like a single object.": partial(_iou, crowd_whole="union"),
         "With a crowd, divide by the area of the found object, not of the crowd.": partial(_iou, crowd_whole="true"),
         "If one of them is a crowd, all are treated like crowds.": _iou_all_crowds_if_one}, run=_crowd_run),
    FunctionQuestion(
        "iou_empty", [Case("two objects without a pixel", (_NONE, _NONE, _NO[:1])),
                      Case("a found object without a pixel, and a crowd", (_NONE, _TRUE[1:], _LAST[1:]))], iou_matrix,
        {"0 / 0 is NaN. It should be 0 here.": partial(_iou, empty=np.nan),
         "It is 1 where both have no pixel. It should be 0 here.": partial(_iou, empty=1.0)}),
    FunctionQuestion(
        "paint", [Case("three objects of different sizes", (_THREE, 6, 8, 0.0)),
                  Case("two objects, the larger one first", (_THREE[1:], 6, 8, 0.0)),
                  Case("a ring, and a box with more pixels in a smaller frame",
                       ([_RING, (1, _box(0, 0, 4, 7, 6, 8))], 6, 8, 0.0)), Case("no object", ([], 6, 8, 0.0))], paint,
        {"The objects are painted in the order of the list.": partial(paint, key=lambda _, place: -place),
         "The larger objects lie on top.": partial(paint, key=lambda area, place: (-area, -place))},
        run=_paint_run),
    FunctionQuestion(
        "paint_ties", [Case("three equally large objects", (_TIES, 6, 8, 0.0))], paint,
        {"Of equally large objects, the earlier one in the list lies on top.":
         partial(paint, key=lambda area, place: (area, place))}, run=_list_run),
    FunctionQuestion(
        "paint_share", [Case("an object of which 1/8 is visible, and one quarter is asked", (_HIDDEN, 6, 8, 0.25)),
                        Case("exactly as much is visible as is asked", (_HIDDEN, 6, 8, 0.125)),
                        Case("two objects of one class", (_TWINS, 6, 8, 0.25)),
                        Case("an object that is hidden by two others", (_BY_TWO, 6, 8, 0.5))], paint,
        {"Nothing is lost: the visible share is not looked at.": partial(paint, below=lambda *_: False),
         "An object of which exactly the share is visible keeps its class.": partial(paint, below=np.less_equal),
         "The visible pixels of an object that is lost become 0. They should be 255.": partial(paint, lost=0),
         "The share is taken of the picture. Divide by the object's own pixels.": partial(paint, whole=True),
         "A lost object is taken away, so that what lies below it appears. It still hides that.":
         partial(paint, reveal=True),
         "The pixels of its class are counted, also those of other objects.": partial(paint, by_class=True),
         "Only the next smaller object is looked at. Several ones may hide it together.":
         partial(paint, next_alone=True)},
        run=_list_run),
    NumberQuestion("pairs", lambda student: len(_pairs(student)), {
        "Each pair counts twice.": lambda student: 2 * len(_pairs(student)),
        "These are all pairs, also those that share no pixel.": _all_pairs}, 0.5),
    NumberQuestion("smaller_in_front", _smaller, {
        "It is the share of pairs in which the larger one is in front. Objects are listed from back to front.":
        lambda student: 1 - _smaller(student),
        "It is the number of pairs, not their share.":
        lambda student: sum(front < behind for behind, front in _pairs(student))}, 1e-4),
    NumberQuestion("changed", _changed, {
        "These are the pixels that two objects claim, whatever their classes are.": _claimed,
        "It compares with painting from front to back.":
        lambda student: _changed(student, key=lambda _, place: place)}, 0.5),
    FunctionQuestion(
        "ways_seen", [Case("rates 1 and 1", ([1, 1], 3)), Case("rates 2 and 3", ([2, 3], 3)),
                      Case("rates 4, 4 and 4", ([4, 4, 4], 3))], ways_seen,
        {"The rates are not used.": _dense_ways,
         "It says whether a value is seen. Say in how many ways.": _seen_or_not}, run=_list_run),
    FunctionQuestion(
        "ways_seen_sizes", [Case("kernels of five weights", ([1], 5)), Case("kernels of seven weights", ([1], 7)),
                            Case("kernels of one weight", ([3], 1)),
                            Case("no convolution", ([], 3))], ways_seen,
        {"The kernels have three weights, whatever is asked.": _ways_of_three}, run=_list_run),
    ScoreQuestion("best_rates", "three rates: the width of the field, if it has no gap, and else 0,", lambda _: (),
                  _rates_run, _width_without_gaps, lambda _: 27.0),
    FunctionQuestion(
        "separable", [Case("rate 1", (_MAPS, _KERNELS[3], _WIDER, 1)), Case("rate 2", (_MAPS, _KERNELS[3], _WIDER, 2)),
                      Case("three channels that become three", (_MAPS, _KERNELS[3], _SQUARE, 3)),
                      Case("a rate that is larger than the map", (_MAPS, _KERNELS[3], _WIDER, 12))], separable_atrous,
        {"The rate is not used.": partial(_separable, dense=True),
         "The kernels are turned by half a turn.": partial(_separable, flipped=True),
         "All channels get the first kernel.": partial(_separable, same=True)}),
    FunctionQuestion(
        "separable_sizes", [Case("kernels of 5×5 weights", (_MAPS, _KERNELS[5], _WIDER, 1)),
                            Case("kernels of 1×1 weights", (_MAPS, _KERNELS[1], _WIDER, 3))],
        separable_atrous, {"The padding is the rate, whatever the size of the kernel is.": _padded_by_rate}),
    FunctionQuestion(
        "aspp", [Case("a map of 36×40 places", (8, 32, (2, 4), 3, (36, 40), 7, (6,))),
                 Case("another size, and other numbers", (6, 32, (1, 3, 5), 4, (45, 43), 10, (8, 9))),
                 Case("no rates", (8, 32, (), 3, (36, 40), 7, ()))], LightASPP,
        {"The mean of the whole map is missing, or it gets lost, or it is the maximum.": [_WithoutMean, _Maximum],
         "The mean is one of all pictures of a batch. Each picture has its own.": _OfTheBatch,
         "It gives probabilities. Logits are what stands before the softmax.": _Probabilities,
         "The branch with a 1×1 convolution is missing.": _WithoutPlace, "The rates are not used.": _WithoutRates,
         "The atrous convolutions stand one behind the other. They should stand side by side.": _Chained},
        run=_head_run),
    FunctionQuestion(
        "aspp_weights", [Case("LightASPP(40, 32, (2, 4, 6), 2)", (40, 32, (2, 4, 6), 2, 25_000))], LightASPP,
        {"It has more than 25,000 weights: the 3×3 convolutions are not separable.": _Heavy}, run=_head_weights_run),
    FunctionQuestion(
        "aspp_one", [Case("a batch of one picture, in training mode", (8, 16, (1, 2), 2, 10, 12))], LightASPP, {},
        errors={"Expected more than 1 value per channel": "In the branch of the mean, each channel has a single value "
                                                          "for one picture: BatchNorm cannot scale it in training."},
        run=_head_one_run),
    ScoreQuestion("network", "the IoU of the animals on your test pictures", lambda student: (_animal(student)[1][0],),
                  _classes_of, _animal_iou, lambda student: _linear(student) + 0.08),
)}
grade = partial(questions.grade, QUESTIONS)
