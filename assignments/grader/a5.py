"""Assignment 5: thin things and their borders. The right answers, and the mistakes that are named."""

import math
from functools import cache, partial
from itertools import product

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from grader import handed_out
from seglab.checks import Case
from seglab.classroom import questions
from seglab.classroom.questions import FunctionQuestion, NumberQuestion, ScoreQuestion

data = handed_out("a5", "a5_data")


def best_strips(kernel, pairs, *, power=1, squared=False, whole=True, zero=0.0, first=0, transposed=False):
    """The right answer; the keywords are what can be wrong about it. Of the columns, those of K K^T are taken."""
    kernel = np.asarray(kernel, dtype=np.float64)
    _, columns = np.linalg.eigh(kernel @ kernel.T)
    columns = columns[:, ::-1] if not first else columns
    made = columns[:, :pairs] @ columns[:, :pairs].T @ kernel  # K, projected on the first columns
    if power == 0:
        kept = columns[:, :pairs]
        rows = kept.T @ kernel
        made = kept @ (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
    error = np.sqrt(((kernel - made) ** 2).sum())
    size = np.sqrt((kernel ** 2).sum()) if whole else 1.0
    error = error / size if size else zero
    return made.T if transposed else made, error ** 2 if squared else error


def border_of(mask, *, neighbours=((-1, 0), (1, 0), (0, -1), (0, 1)), edge=False, outside=False, both=False):
    mask = np.asarray(mask)
    found = np.zeros(mask.shape, bool)
    for y, x in product(*map(range, mask.shape)):
        around = [(y + dy, x + dx) for dy, dx in neighbours]
        here = [one for one in around if 0 <= one[0] < mask.shape[0] and 0 <= one[1] < mask.shape[1]]
        differs = any(mask[one] != mask[y, x] for one in here) or (edge and mask[y, x] and len(here) < len(around))
        found[y, x] = differs and (both or mask[y, x] != outside)
    return found


_EIGHT = [(dy, dx) for dy, dx in product((-1, 0, 1), repeat=2) if dy or dx]


def border_score(found, true, tolerance, *, order=2, strict=False, mean=None, empty=None, none=0.0, half=False):
    """The right answer, from all distances of pixels; mean: of precision and recall."""
    one, other = (np.argwhere(border) for border in (found, true))
    if empty is not None and not (len(one) and len(other)):
        return empty
    if not (len(one) and len(other)):
        return float(len(one) == len(other))
    away = np.abs(one[:, None] - other[None]).astype(float)
    away = np.linalg.norm(away, ord=order, axis=2)  # (found, true)
    near = away < tolerance - 1e-9 if strict else away <= tolerance + 1e-9
    precision, recall = near.any(axis=1).mean(), near.any(axis=0).mean()
    if half:
        return precision
    if mean is not None:
        return mean(precision, recall)
    return 2 / (1 / precision + 1 / recall) if precision and recall else none


def _exact(found, true, tolerance):
    return border_score(found, true, 0)


def _approximate(found, true, tolerance, size):
    """With the masks of 3×3 or 5×5 pixels of OpenCV's distanceTransform."""
    if not (found.any() and true.any()):
        return border_score(found, true, tolerance)
    precision, recall = ((cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_L2, size)[one] <= tolerance).mean()
                         for one, other in ((found, true), (true, found)))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def tversky_loss(logits, masks, alpha, beta, *, ignored="out", batch=False, without="left out", empty=0.0, hard=False,
                 share=False):
    """The right answer, picture by picture."""
    values = []
    pairs = [(logits.flatten(), masks.flatten())] if batch else zip(logits, masks, strict=True)
    for one, mask in pairs:
        known = (mask != 255) | (ignored != "out")
        p, y = torch.sigmoid(one)[known], ((mask == 1) | ((mask == 255) & (ignored == "pet")))[known].float()
        p = (p > 0.5).float() + 0 * p if hard else p
        if y.sum() == 0 and without == "left out":
            continue
        hit = (p * y).sum()
        below = hit + alpha * (p * (1 - y)).sum() + beta * ((1 - p) * y).sum()
        value = 1 + 0 * hit if y.sum() == 0 and without == "right" else hit / (below + 1e-12)
        values.append(value)
    if not values:
        return empty + 0 * logits.sum()
    found = torch.stack(values).mean()
    return found if share else 1 - found


def _chosen_too_late(logits, masks, alpha, beta):
    pet, p = (masks == 1).float(), logits.sigmoid() * (masks != 255)
    hit = (p * pet).sum(dim=(1, 2))
    index = hit / (hit + alpha * (p * (1 - pet)).sum(dim=(1, 2)) + beta * ((1 - p) * pet).sum(dim=(1, 2)))
    kept = pet.sum(dim=(1, 2)) > 0
    return 1 - index[kept].mean() if kept.any() else 0 * logits.sum()


def when_to_stop(losses, patience, margin, *, more=0, first=1, equal=False, lowest=False, relative=False,
                 previous=False, nan="counts", fixed=False, up=False):
    improved, waited, reference, last = [], 0, None, len(losses)
    for epoch, loss in enumerate(losses, start=first):
        if math.isnan(loss) and nan == "left out":
            continue
        if math.isnan(loss) and nan == "resets":
            waited = 0
            continue
        falls = None if reference is None else (loss - reference if up else reference - loss)
        if relative and falls is not None:
            falls /= reference
        needed = 0.0 if fixed else margin
        if not math.isnan(loss) and (falls is None or falls > needed or (equal and falls >= needed)):
            improved, waited, reference = [*improved, epoch], 0, loss
        else:
            waited += 1
            if not math.isnan(loss) and (previous or (lowest and reference is not None and loss < reference)):
                reference = loss
        if waited >= patience + more:
            last = epoch
            break
    return improved[-1] if improved else 0, last


def best_scale(gradients, *, signed=False, only=None, above=False, most=2.0 ** 16, exact=False, least=False,
               zeros=2.0 ** 16):
    parts = gradients[:1] if only == "first" else gradients[-1:] if only == "last" else gradients
    values = torch.cat([part.flatten().double() for part in parts])
    largest = float((values if signed else values.abs()).max())
    if least:
        largest = float(values.abs()[values != 0].min()) if (values != 0).any() else 0.0
    if largest <= 0:
        return zeros
    if exact:
        return min(65504 / largest, most)
    return min(2.0 ** (math.floor(math.log2(65519 / largest)) + above), most)


def lost_share(gradients, scale, *, early=False, infinite=True, below=0.0, zeros="out", tensors=False, empty=0.0):
    if tensors:
        return sum(lost_share([one], scale) for one in gradients) / len(gradients)
    values = np.concatenate([gradient.numpy().ravel() for gradient in gradients])
    with np.errstate(over="ignore", under="ignore"):
        stored = (values.astype(np.float16).astype(np.float32) if early else values) * np.float32(scale)
        stored = stored.astype(np.float16).astype(np.float64)
    lost = (np.abs(stored) <= below) & ((values != 0) | (zeros == "lost"))
    if infinite:
        lost |= np.isinf(stored)
    count = (values != 0).sum() if zeros == "out" else len(values)
    return lost.sum() / count if count else empty


class Refinement(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.first, self.last = nn.Conv2d(channels + 1, width, 5, padding=2), nn.Conv2d(width, 1, 5, padding=2)
        for number in self.last.parameters():
            nn.init.zeros_(number)

    def enlarged(self, coarse, fine):
        return F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=False)

    def forward(self, coarse, fine):
        scores = self.enlarged(coarse, fine)
        return scores + self.last(torch.relu(self.first(torch.cat([fine, scores], dim=1))))


# --- mistakes -------------------------------------------------------------------------------------------------------

class _Nearest(Refinement):
    def enlarged(self, coarse, fine):
        return F.interpolate(coarse, fine.shape[2:])


class _Corners(Refinement):
    def enlarged(self, coarse, fine):
        return F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=True)


class _Free(Refinement):
    def __init__(self, channels, width):
        super().__init__(channels, width)
        self.last.reset_parameters()


class _WithoutCoarse(Refinement):
    def forward(self, coarse, fine):
        scores = self.enlarged(coarse, fine)
        return self.last(torch.relu(self.first(torch.cat([fine, scores], dim=1))))


class _FineAlone(Refinement):
    def forward(self, coarse, fine):
        scores = self.enlarged(coarse, fine)
        return scores + self.last(torch.relu(self.first(torch.cat([fine, 0 * scores], dim=1))))


class _CoarseAlone(Refinement):
    def forward(self, coarse, fine):
        scores = self.enlarged(coarse, fine)
        return scores + self.last(torch.relu(self.first(torch.cat([0 * fine, scores], dim=1))))


class _Linear(Refinement):
    def forward(self, coarse, fine):
        scores = self.enlarged(coarse, fine)
        return scores + self.last(self.first(torch.cat([fine, scores], dim=1)))


class _Dead(Refinement):
    def __init__(self, channels, width):
        super().__init__(channels, width)
        for number in self.parameters():
            nn.init.zeros_(number)


# --- how answers are called: this goes to the student's kernel ------------------------------------------------------

def _strips_run(answer, kernel, pairs):
    import numpy as np
    return np.asarray(answer(kernel, pairs)[0])


def _strips_error_run(answer, kernel, pairs):
    return float(answer(kernel, pairs)[1])


def _array_run(answer, *args):
    import numpy as np
    return np.asarray(answer(*args))


def _number_run(answer, *args):
    return float(answer(*args))


def _pair_run(answer, *args):
    return [float(number) for number in answer(*args)]


def _loss_run(answer, logits, masks, alpha, beta):
    inputs = logits.clone().requires_grad_()
    loss = answer(inputs, masks, alpha, beta)
    loss.backward()
    return {"the loss": loss.detach(), "its gradient": inputs.grad if inputs.grad is not None else 0 * logits}


def _refinement_run(answer, channels, width, small, size):
    import torch
    import torch.nn.functional as F
    torch.manual_seed(0)
    coarse, fine = torch.randn(2, 1, *small), torch.randn(2, channels, *size)
    module = answer(channels, width)
    enlarged = F.interpolate(coarse, size, mode="bilinear", align_corners=False)
    found = {"the result before training": module(coarse, fine).detach()}
    module.eval()
    for number in module.parameters():
        torch.nn.init.normal_(number, 0, 0.5)
    with torch.no_grad():
        first, second, third = (module(factor * coarse, fine) - factor * enlarged for factor in (1, 2, 3))
        found["with other weights, it depends on the fine maps"] = bool(
            (module(coarse, 2 * fine) - enlarged - first).abs().max() > 1e-5)
        found["with other weights, the correction depends on the coarse scores"] = bool(
            (first - second).abs().max() > 1e-4)
        found["with other weights, the correction is not linear"] = bool(
            (first - 2 * second + third).abs().max() > 1e-4)
    return found


def _learns_run(answer, channels, width, small, size):
    import torch
    torch.manual_seed(0)
    coarse, fine = torch.randn(2, 1, *small), torch.randn(2, channels, *size)
    module = answer(channels, width)
    steps = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(5):
        steps.zero_grad()
        (module(coarse, fine) - fine.mean(dim=1, keepdim=True)).square().mean().backward()
        steps.step()
    with torch.no_grad():
        moved = (module(coarse, 2 * fine) - module(coarse, fine)).abs().max()
    return {"after five steps, the result depends on the fine maps": bool(moved > 1e-5)}


def _scores_run(network, coarse, fine):
    import torch
    network.eval()
    with torch.no_grad():
        return network(coarse, fine).float()


_rng = np.random.default_rng(5)
_KERNEL, _LARGE = _rng.normal(0, 1, (5, 5)), _rng.normal(0, 1, (7, 7))
_PAIR = np.outer([1.0, 4, 6, 4, 1], [-1.0, -2, 0, 2, 1])

_BLOB = np.zeros((14, 17), bool)
_BLOB[0:7, 0:6] = _BLOB[4:12, 4:12] = _BLOB[13, 8] = _BLOB[6, 12:] = True  # at the edge; a tail, one pixel wide
_BLOB[8, 8] = False  # a hole
_SMALL = np.zeros((5, 6), bool)
_SMALL[1:4, 1:5] = True
_FULL = np.ones((4, 5), bool)


def _box_border(top, left, bottom, right, height=30, width=36):
    border = np.zeros((height, width), bool)
    border[top:bottom, left:right] = True
    border[top + 1:bottom - 1, left + 1:right - 1] = False
    return border


_ONE, _OTHER = _box_border(4, 5, 20, 22), _box_border(7, 6, 22, 30)
_DOT, _KNIGHT = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
_DOT[4, 4] = _DOT[8, 0] = True
_KNIGHT[6, 5] = _KNIGHT[0, 4] = _KNIGHT[8, 0] = True  # at the distances 2.24, 4 and 0
_DIAGONAL = np.zeros((9, 9), bool)
_DIAGONAL[6, 6] = _DIAGONAL[8, 0] = True  # at the distances 2.83 and 0
_EMPTY = np.zeros_like(_ONE)
_FAR = np.zeros_like(_ONE)
_FAR[29, 35] = True

_LOGITS = torch.from_numpy(_rng.normal(0, 1.5, (3, 6, 7))).float()
_MASKS = torch.zeros(3, 6, 7, dtype=torch.uint8)
_MASKS[0, 1:5, 1:6] = _MASKS[1, 2, 3:] = _MASKS[2, :, 5:] = 1
_RIMS = _MASKS.clone()
_RIMS[0, 1] = _RIMS[1, 2, :4] = _RIMS[2, :, 4] = 255
_SOME = _MASKS.clone()
_SOME[1] = 0
_HIDDEN = _MASKS.clone()
_HIDDEN[1] = 255  # no labelled pixel

_NAN = math.nan
_FIRST = torch.from_numpy(_rng.normal(0, 1e-3, (3, 4, 5))).float()
_SECOND = torch.from_numpy(_rng.normal(0, 0.2, (40,))).float()
_SECOND[7] = -1.7
_TINY = torch.from_numpy(_rng.normal(0, 3e-7, (8, 25))).float()
_TINY[0, :5] = 0
_BOTH = torch.tensor([3e-8, 0.02, -70.0, 5e-6])
_MIXED = [torch.tensor([[1e-9, 0.0, -3e-9], [0.5, 0.0, 0.0]]), torch.tensor([2.0, -0.25, 7.0, 1e-10])]


# --- on the student's own data --------------------------------------------------------------------------------------

@cache
def _counts(student):
    """(program, protocol, picture): how many pixels are right, in the intersection, in the union, and labelled."""
    rows = np.zeros((2, 3, 16, 4))
    for number, (_, trimap, *found) in enumerate(data.answers(student)):
        for row, column in product(range(2), range(3)):
            truth = np.array([[0, 1, 0, 255], [0, 1, 0, 1], [0, 1, 0, 0]])[column][trimap]
            seen, truth = found[row][truth != 255], truth[truth != 255]
            hit, missed, invented = (truth[seen] == 1).sum(), (truth[~seen] == 1).sum(), (truth[seen] == 0).sum()
            rows[row, column, number] = len(truth) - missed - invented, hit, hit + missed + invented, len(truth)
    return rows


def _table(student, above=1, below=2):
    both = _counts(student).sum(axis=2)
    return both[..., above] / both[..., below]


def _by_picture(student):
    both = _counts(student)
    return both[..., 1] / both[..., 2]  # (2, 3, 16)


def _both_classes(student):
    right, hit, union, labelled = np.moveaxis(_counts(student).sum(axis=2), -1, 0)
    return (hit / union + (right - hit) / (labelled - hit)) / 2


def _with_border_below(student):
    """With the border ignored in the intersection, and not in the union."""
    pixels = [[((found | (trimap == 1)).sum(), (found & (trimap == 1)).sum()) for found in programs]
              for _, trimap, *programs in data.answers(student)]
    union, both = np.sum(pixels, axis=0).T
    return both / union


def _wins(student, column=0, row=0):
    of_pictures = _by_picture(student)[:, column]
    return int((of_pictures[row] > of_pictures[1 - row]).sum())


def _wins_of_accuracy(student):
    both = _counts(student)[:, 0]
    return int((both[0, :, 0] > both[1, :, 0]).sum())


@cache
def _test(student):
    return data.refine_data(student, "test")


def _iou(found, student):
    found, trimaps = torch.as_tensor(np.asarray(found)).float(), _test(student)[2]
    if found.shape != (len(trimaps), 1, 40, 40):
        raise ValueError(f"scores of shape {tuple(found.shape)}, and {(len(trimaps), 1, 40, 40)} is needed")
    if not torch.isfinite(found).all():
        raise ValueError("some scores are NaN or infinite")
    seen = F.interpolate(found, trimaps.shape[1:], mode="bilinear", align_corners=False)[:, 0] > 0
    return float((seen & (trimaps != 2)).sum() / (seen | (trimaps != 2)).sum())


@cache
def _coarse_iou(student):
    coarse, _, trimaps = _test(student)
    return data.pet_iou(coarse, trimaps)


QUESTIONS = {one.name: one for one in (
    FunctionQuestion(
        "strips", [Case("5×5 weights, one pair", (_KERNEL, 1)), Case("5×5 weights, two pairs", (_KERNEL, 2)),
                   Case("7×7 weights, three pairs", (_LARGE, 3)), Case("more pairs than rows", (_KERNEL, 9)),
                   Case("a kernel that is one pair", (_PAIR, 1))], best_strips,
        {"The singular value is missing: the columns and rows have the length 1.": partial(best_strips, power=0),
         "These are the pairs with the smallest singular values. Take the largest.": partial(best_strips, first=1),
         "Rows and columns are exchanged.": partial(best_strips, transposed=True)}, run=_strips_run),
    FunctionQuestion(
        "strips_error", [Case("5×5 weights, one pair", (_KERNEL, 1)), Case("7×7 weights, three pairs", (_LARGE, 3)),
                         Case("no weight but 0", (np.zeros((5, 5)), 2))], best_strips,
        {"It is the squared error. Take the root.": partial(best_strips, squared=True),
         "It is not divided by the size of the kernel.": partial(best_strips, whole=False),
         "0 / 0 is NaN. It should be 0 here.": partial(best_strips, zero=np.nan)}, run=_strips_error_run),
    FunctionQuestion(
        "border", [Case("an object with a hole and a tail, at the edge", (_BLOB,)), Case("a rectangle", (_SMALL,)),
                   Case("the object is the whole picture", (_FULL,)), Case("no object", (~_FULL,))], border_of,
        {"A diagonal neighbour does not count. There are four neighbours.": partial(border_of, neighbours=_EIGHT),
         "The edge of the picture is no border.": partial(border_of, edge=True),
         "These pixels lie outside of the object. Its border pixels are its own.": partial(border_of, outside=True),
         "Pixels on both sides are marked. Border pixels are pixels of the object.": partial(border_of, both=True)},
        run=_array_run),
    FunctionQuestion(
        "border_score", [Case("two rectangles, tolerance 2", (_ONE, _OTHER, 2)),
                         Case("the same, the other way round, tolerance 3.5", (_OTHER, _ONE, 3.5)),
                         Case("two pixels and three others, tolerance 2", (_DOT, _KNIGHT, 2)),
                         Case("the same, tolerance 3", (_DOT, _KNIGHT, 3)),
                         Case("the same, tolerance 4", (_DOT, _KNIGHT, 4)),
                         Case("two rectangles, tolerance 0", (_ONE, _OTHER, 0)),
                         Case("two pixels and three others, tolerance 2.22", (_DOT, _KNIGHT, 2.22)),
                         Case("two pixels, two rows and two columns away, tolerance 2.78", (_DOT, _DIAGONAL, 2.78))],
        border_score,
        {"This is the precision alone.": partial(border_score, half=True),
         "This is the recall alone.": lambda found, true, tolerance: border_score(true, found, tolerance, half=True),
         "It is the mean of precision and recall.": partial(border_score, mean=lambda p, r: (p + r) / 2),
         "The distance is the root of a sum of squares; this counts the larger of rows and columns.":
         partial(border_score, order=np.inf),
         "The distance is the root of a sum of squares; this is the sum of rows and columns.":
         partial(border_score, order=1),
         "A pixel at exactly the tolerance is near enough.": partial(border_score, strict=True),
         "The distances are approximations. Use exact ones, as of cv2.DIST_MASK_PRECISE.":
         [partial(_approximate, size=3), partial(_approximate, size=5)], "The tolerance is not used.": _exact},
        run=_number_run),
    FunctionQuestion(
        "border_score_empty",
        [Case("neither has a pixel", (_EMPTY, _EMPTY, 2)), Case("nothing is found", (_EMPTY, _ONE, 2)),
         Case("nothing is true", (_ONE, _EMPTY, 50)), Case("all are too far away", (_ONE, _FAR, 2))],
        border_score,
        {"If neither has a border pixel, the score is 1.": partial(border_score, empty=0.0),
         "If only one of them has no border pixel, the score is 0.": partial(border_score, empty=1.0),
         "0 / 0 is NaN. It should be 0.": partial(border_score, none=np.nan)}, run=_number_run),
    NumberQuestion("ignored", lambda student: _table(student)[:, 0], {
        "It is the mean of the pictures' IoUs. Add up the pixels of all pictures first.":
        lambda student: _by_picture(student)[:, 0].mean(axis=1),
        "Border pixels are in the union. If they are ignored, they count nowhere.": _with_border_below,
        "It is the share of right pixels. Divide the intersection by the union.":
        lambda student: _table(student, 0, 3)[:, 0],
        "It is the mean IoU of background and pet. Take that of the pet.":
        lambda student: _both_classes(student)[:, 0],
        "The rows are exchanged: wide comes first.": lambda student: _table(student)[::-1, 0]}, 1e-4),
    NumberQuestion("counted", lambda student: _table(student)[:, 1:], {
        "It is the mean of the pictures' IoUs. Add up the pixels of all pictures first.":
        lambda student: _by_picture(student)[:, 1:].mean(axis=2),
        "The two protocols are exchanged: the second column is the border as the pet.":
        lambda student: _table(student)[:, :0:-1],
        "It is the share of right pixels. Divide the intersection by the union.":
        lambda student: _table(student, 0, 3)[:, 1:],
        "It is the mean IoU of background and pet. Take that of the pet.":
        lambda student: _both_classes(student)[:, 1:],
        "The rows are exchanged: wide comes first.": lambda student: _table(student)[::-1, 1:]}, 1e-4),
    NumberQuestion("wins", _wins, {
        "Perhaps these are the pictures in which the narrow program has the higher IoU.":
        lambda student: _wins(student, row=1),
        "Perhaps the border is counted as the pet. It should be ignored.": lambda student: _wins(student, column=1),
        "Perhaps the border is counted as background. It should be ignored.": lambda student: _wins(student, column=2),
        "Perhaps the shares of right pixels are compared. Compare the IoUs.": _wins_of_accuracy}, 0.5),
    FunctionQuestion(
        "tversky", [Case("three pictures, alpha 0.3 and beta 0.7", (_LOGITS, _MASKS, 0.3, 0.7)),
                    Case("alpha 2 and beta 0.1", (_LOGITS, _MASKS, 2.0, 0.1)),
                    Case("a batch of one picture, alpha = beta = 1", (_LOGITS[:1], _MASKS[:1], 1.0, 1.0))],
        tversky_loss,
        {"Alpha and beta are exchanged: alpha belongs to FP.":
         lambda logits, masks, alpha, beta: tversky_loss(logits, masks, beta, alpha),
         "The sums run over the whole batch. Each picture has sums of its own.": partial(tversky_loss, batch=True),
         "This is the mean of T. The loss is 1 minus it.": partial(tversky_loss, share=True),
         "The probabilities are rounded to 0 and 1, so that they have no gradient.": partial(tversky_loss, hard=True)},
        run=_loss_run),
    FunctionQuestion(
        "tversky_ignored", [Case("a picture with ignored pixels", (_LOGITS[:1], _RIMS[:1], 0.5, 0.5)),
                            Case("another one, alpha = beta = 2", (_LOGITS[1:2], _RIMS[1:2], 2.0, 2.0))], tversky_loss,
        {"Ignored pixels are counted as background.": partial(tversky_loss, ignored="background"),
         "Ignored pixels are counted as the pet.": partial(tversky_loss, ignored="pet")}, run=_loss_run),
    FunctionQuestion(
        "tversky_without", [Case("one of three pictures has no pet", (_LOGITS, _SOME, 0.5, 0.5)),
                            Case("one of three pictures is ignored completely", (_LOGITS, _HIDDEN, 0.5, 0.5)),
                            Case("no picture has a pet", (_LOGITS, 0 * _MASKS, 0.3, 0.7)),
                            Case("no pixel is labelled", (_LOGITS, 0 * _MASKS + 255, 0.3, 0.7))], tversky_loss,
        {"A picture without a pet is in the mean, with T = 0.": partial(tversky_loss, without="wrong"),
         "A picture without a pet is in the mean, with T = 1.": partial(tversky_loss, without="right"),
         "The mean of no numbers is NaN. The loss should be 0.": partial(tversky_loss, empty=np.nan),
         "If no picture has a pet, the loss should be 0, not 1.": partial(tversky_loss, empty=1.0),
         "0 / 0 is NaN, and so is its gradient, even if the value is not used. Do not divide there.":
         _chosen_too_late}, run=_loss_run),
    FunctionQuestion(
        "stop", [Case("patience 2", ([2.0, 1.5, 1.6, 1.4, 1.7, 1.6, 1.0], 2, 0.0)),
                 Case("patience 1", ([0.9, 0.8, 0.85, 0.1], 1, 0.0)), Case("it never stops", ([3.0, 2.0, 1.0], 1, 0.0)),
                 Case("it stops after the last epoch", ([1.0, 2.0, 1.5], 2, 0.0)),
                 Case("a loss that falls again, but not below the best", ([1.0, 3.0, 2.5, 2.0, 1.5], 3, 0.0)),
                 Case("equal losses", ([0.5, 0.4, 0.4, 0.4, 0.3], 2, 0.0)),
                 Case("losses below 0", ([-0.5, -1.5, -1.0, -1.2], 2, 0.0)), Case("one epoch", ([0.7], 3, 0.0))],
        when_to_stop,
        {"It stops an epoch too late.": partial(when_to_stop, more=1),
         "It stops an epoch too early.": partial(when_to_stop, more=-1),
         "Epochs are counted from 1.": partial(when_to_stop, first=0),
         "An equal loss counts as an improvement.": partial(when_to_stop, equal=True),
         "Each loss is compared with the one before. Compare it with that of the last improvement.":
         partial(when_to_stop, previous=True),
         "Large losses count as better.": partial(when_to_stop, up=True)}, run=_pair_run),
    FunctionQuestion(
        "stop_margin", [Case("margin 0.2", ([0.7, 0.4, 0.35, 0.3], 9, 0.2)),
                        Case("several small steps together are more than the margin",
                             ([0.8, 0.7, 0.6, 0.5, 0.4, 0.35], 9, 0.15)),
                        Case("no step is large enough", ([0.5, 0.48, 0.46], 5, 0.1)),
                        Case("small losses, and a large margin", ([0.5, 0.3, 0.1, 0.05], 9, 0.3)),
                        Case("a loss that is lower by exactly the margin", ([1.0, 0.75, 0.625], 9, 0.25))],
        when_to_stop,
        {"The margin is not used.": partial(when_to_stop, fixed=True),
         "Each loss is compared with the lowest one. Compare it with that of the last improvement.":
         partial(when_to_stop, lowest=True),
         "A loss that is lower by exactly the margin is no improvement.": partial(when_to_stop, equal=True),
         "The margin is taken as a share of the loss.": partial(when_to_stop, relative=True)}, run=_pair_run),
    FunctionQuestion(
        "stop_nan", [Case("NaN later on", ([0.9, 0.8, _NAN, _NAN, 0.5], 2, 0.0)),
                     Case("NaN in the first epochs", ([_NAN, 0.7, 0.8, 0.6], 3, 0.0)),
                     Case("a NaN between other epochs without an improvement", ([0.6, 0.7, _NAN, 0.8, 0.1], 2, 0.0)),
                     Case("NaN in all epochs", ([_NAN] * 4, 3, 0.0)),
                     Case("NaN, and it never stops", ([_NAN], 2, 0.0))],
        when_to_stop,
        {"An epoch with NaN is left out. It counts like each other one without an improvement.":
         partial(when_to_stop, nan="left out"),
         "With NaN, the count begins again. NaN is no improvement.": partial(when_to_stop, nan="resets")},
        run=_pair_run),
    FunctionQuestion(
        "scale", [Case("several tensors; the farthest value from 0 is negative", ([_FIRST, _SECOND],)),
                  Case("the same in another order", ([_SECOND, _FIRST],)), Case("values of 1", ([torch.ones(2, 2)],)),
                  Case("large values", ([torch.tensor([40000.0, -3.0])],)),
                  Case("a negative value alone", ([torch.tensor([-5.0])],)), Case("tiny values", ([_TINY],)),
                  Case("only zeros", ([torch.zeros(3), torch.zeros(2, 2)],))], best_scale,
        {"The largest value is not the farthest from 0: take absolute values.": partial(best_scale, signed=True),
         "Only the first tensor is looked at.": partial(best_scale, only="first"),
         "Only the last tensor is looked at.": partial(best_scale, only="last"),
         "With this scale, a value becomes infinite.": partial(best_scale, above=True),
         "The scale is 65,536 at most.": partial(best_scale, most=np.inf),
         "It should be a power of two.": partial(best_scale, exact=True),
         "The smallest value decides. It should be the largest.": partial(best_scale, least=True),
         "If all gradients are 0, the scale is 65,536.": partial(best_scale, zeros=1.0)}, run=_number_run),
    FunctionQuestion(
        "lost", [Case("small values, scale 1", ([_TINY[1:]], 1.0)), Case("the same, scale 64", ([_TINY[1:]], 64.0)),
                 Case("values that become infinite", ([_SECOND], 60000.0)),
                 Case("both", ([_BOTH], 1024.0)), Case("a scale below 1", ([_FIRST], 2.0 ** -15))], lost_share,
        {"They are stored in half precision before they are multiplied.": partial(lost_share, early=True),
         "What becomes infinite is lost, too.": partial(lost_share, infinite=False),
         "About 6e-5 is the smallest normal number. Down to 6e-8 there are others, with fewer digits.":
         partial(lost_share, below=6.1e-5)}, run=_number_run),
    FunctionQuestion(
        "lost_zeros", [Case("several tensors, with zeros", (_MIXED, 1.0)), Case("only zeros", ([torch.zeros(4)], 8.0)),
                       Case("a tensor of zeros, and another one", ([torch.zeros(6), torch.tensor([1e-9, 1.0])], 1.0))],
        lost_share,
        {"A gradient that is 0 is not lost.": partial(lost_share, zeros="lost"),
         "Divide by the number of those that are not 0.": partial(lost_share, zeros="in"),
         "This is the mean of the tensors' shares. Count all gradients together.": partial(lost_share, tensors=True),
         "0 / 0 is NaN. It should be 0.": partial(lost_share, empty=np.nan)}, run=_number_run),
    FunctionQuestion(
        "refinement", [Case("maps of 40×40, scores of 10×10", (24, 16, (10, 10), (40, 40))),
                       Case("a size that is not a multiple", (5, 8, (4, 7), (13, 22))),
                       Case("both have the same size", (3, 8, (9, 12), (9, 12)))], Refinement,
        {"The scores are enlarged by copying. Use bilinear interpolation.": _Nearest,
         "The scores are enlarged with align_corners=True.": _Corners,
         "Before training, the correction is not 0.": _Free,
         "The coarse scores are not added to the correction.": _WithoutCoarse,
         "The correction does not depend on the coarse scores.": _FineAlone,
         "The correction does not depend on the fine maps.": _CoarseAlone,
         "The correction is linear: there is no ReLU between two convolutions.": _Linear}, run=_refinement_run),
    FunctionQuestion(
        "refinement_learns", [Case("five steps of training", (5, 8, (4, 5), (12, 15)))], Refinement,
        {"All weights begin at 0, so that no kernel gets a gradient other than 0.": _Dead}, run=_learns_run),
    ScoreQuestion("network", "the IoU of the pet on your test pictures", lambda student: _test(student)[:2],
                  _scores_run, _iou, lambda student: _coarse_iou(student) + 0.05),
)}
grade = partial(questions.grade, QUESTIONS)
