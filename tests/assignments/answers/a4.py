"""Assignment 4: answers that are right in another way, and wrong ones with the graded cells that they cost."""

RIGHT = [
    {  # loops, as beginners write it
        "run-lengths": """
def run_lengths(mask):
    height, width = mask.shape
    counts, value, length = [], False, 0
    for column in range(width):
        for row in range(height):
            if mask[row, column] == value:
                length += 1
            else:
                counts.append(length)
                value, length = mask[row, column], 1
    counts.append(length)
    return counts
""",
        "iou": """
def iou_matrix(found, true, crowd):
    result = np.zeros((len(found), len(true)))
    for i in range(len(found)):
        for j in range(len(true)):
            both = np.logical_and(found[i], true[j]).sum()
            below = found[i].sum() if crowd[j] else np.logical_or(found[i], true[j]).sum()
            if below > 0:
                result[i, j] = both / below
    return result
""",
        "paint": """
def paint(objects, height, width, share):
    mask = np.zeros((height, width), dtype=np.uint8)
    areas = [shape.sum() for _, shape in objects]
    for i, (class_id, shape) in enumerate(objects):
        visible = shape.copy()
        for j, (_, other) in enumerate(objects):
            if areas[j] < areas[i] or (areas[j] == areas[i] and j > i):
                visible &= ~other
        if visible.sum() / areas[i] < share:
            mask[visible] = 255
        else:
            mask[visible] = class_id
    return mask
""",
        "own": """
pairs, smaller, changed = 0, 0, 0
for picture, objects in my_scenes:
    known = []
    for class_id, shape, crowd in objects:
        if not crowd:
            known.append((class_id, shape))
    for i in range(len(known)):
        for j in range(i + 1, len(known)):
            if np.any(np.logical_and(known[i][1], known[j][1])):
                pairs = pairs + 1
                if known[j][1].sum() < known[i][1].sum():
                    smaller = smaller + 1
    truth = np.zeros(picture.shape[:2])
    for class_id, shape in known:
        truth[shape] = class_id
    changed = changed + np.sum(truth != paint(known, *truth.shape, 0))
smaller_in_front = smaller / pairs
""",
        "ways": """
def ways_seen(rates, size):
    reach = (size - 1) * sum(rates) // 2
    ways = [0] * (2 * reach + 1)
    ways[reach] = 1
    for rate in rates:
        new = [0] * len(ways)
        for place, count in enumerate(ways):
            for step in range(size):
                target = place + rate * (step - size // 2)
                if count:
                    new[target] += count
        ways = new
    return ways
""",
        "rates": "best_rates = [9, 1, 3]",
        "separable": """
def separable_atrous(maps, depthwise, pointwise, rate):
    count, channels, height, width = maps.shape
    size = depthwise.shape[1]
    reach = rate * (size // 2)
    own = []
    for c in range(channels):
        padded = F.pad(maps[:, c], (reach, reach, reach, reach))
        total = torch.zeros(count, height, width)
        for a in range(size):
            for b in range(size):
                total = total + depthwise[c, a, b] * padded[:, a * rate:a * rate + height, b * rate:b * rate + width]
        own.append(total)
    made = torch.zeros(count, len(pointwise), height, width)
    for d in range(len(pointwise)):
        for c in range(channels):
            made[:, d] += pointwise[d, c] * own[c]
    return made
""",
        "aspp": """
class LightASPP(nn.Module):
    def __init__(self, channels, width, rates, classes):
        super().__init__()
        self.first = nn.Conv2d(channels, width, 1)
        self.depth = nn.ModuleList()
        self.point = nn.ModuleList()
        for rate in rates:
            self.depth.append(nn.Conv2d(channels, channels, 3, padding=rate, dilation=rate, groups=channels))
            self.point.append(nn.Conv2d(channels, width, 1))
        self.mean = nn.Conv2d(channels, width, 1)
        self.project = nn.Conv2d(width * (len(rates) + 2), width, 1)
        self.last = nn.Conv2d(width, classes, 1)
    def forward(self, maps):
        parts = [F.relu(self.first(maps))]
        for depth, point in zip(self.depth, self.point):
            parts.append(F.relu(point(depth(maps))))
        mean = F.relu(self.mean(F.adaptive_avg_pool2d(maps, 1)))
        parts.append(F.interpolate(mean, size=maps.shape[-2:], mode="bilinear", align_corners=False))
        return self.last(F.relu(self.project(torch.cat(parts, 1))))
""",
    },
    {  # pycocotools and PyTorch
        "run-lengths": """
def run_lengths(mask):
    from pycocotools import mask as coco_mask
    from seglab.datasets.coco import rle_counts
    return rle_counts(coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"])
""",
        "iou": """
def iou_matrix(found, true, crowd):
    from pycocotools import mask as coco_mask
    first, second = ([coco_mask.encode(np.asfortranarray(one.astype(np.uint8))) for one in shapes]
                     for shapes in (found, true))
    return np.nan_to_num(coco_mask.iou(first, second, [int(one) for one in crowd]))
""",
        "paint": """
def paint(objects, height, width, share):
    mask = torch.zeros(height, width, dtype=torch.uint8)
    if not objects:
        return mask.numpy()
    shapes = torch.stack([torch.from_numpy(shape) for _, shape in objects])
    areas = shapes.sum(dim=(1, 2))
    covered = torch.zeros(height, width, dtype=torch.bool)
    for i in torch.argsort(areas.flip(0), stable=True):  # from the top down: the small and late ones first
        i = len(objects) - 1 - int(i)
        visible = shapes[i] & ~covered
        mask[visible] = objects[i][0] if visible.sum() >= share * areas[i] else 255
        covered |= shapes[i]
    return mask.numpy()
""",
        "ways": """
def ways_seen(rates, size):
    reach = (size - 1) * sum(rates) // 2
    row = torch.zeros(1, 1, 2 * reach + 1, dtype=torch.float64, requires_grad=True)
    made = row
    for rate in rates:
        ones = torch.ones(1, 1, size, dtype=torch.float64)
        made = F.conv1d(made, ones, padding=rate * (size // 2), dilation=rate)
    made[0, 0, reach].backward()
    return row.grad[0, 0]
""",
        "rates": "best_rates = (3, 9, 1)",
        "separable": """
def separable_atrous(maps, depthwise, pointwise, rate):
    weights = pointwise[:, :, None, None] * depthwise  # (D, C, k, k): the ordinary convolution that does the same
    return F.conv2d(maps, weights, padding=rate * (depthwise.shape[-1] // 2), dilation=rate)
""",
        "aspp": """
def block(channels, width):
    return nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.GroupNorm(4, width), nn.ReLU())
class LightASPP(nn.Module):
    def __init__(self, channels, width, rates, classes):
        super().__init__()
        self.convs = nn.ModuleList([block(channels, width)] + [nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=rate, dilation=rate, groups=channels), nn.BatchNorm2d(channels),
            nn.ReLU(), block(channels, width)) for rate in rates])
        self.mean = block(channels, width)
        self.project = nn.Sequential(block((2 + len(rates)) * width, width), nn.Dropout(0.5),
                                     nn.Conv2d(width, classes, 1))
    def forward(self, maps):
        n, _, h, w = maps.shape
        mean = self.mean(maps.mean((2, 3), keepdim=True)).repeat(1, 1, h, w)
        return self.project(torch.cat([branch(maps) for branch in self.convs] + [mean], 1))
""",
    },
    {  # short, and another head and optimizer
        "run-lengths": """
def run_lengths(mask):
    from itertools import groupby
    flat = mask.T.ravel().astype(int)
    counts = [len(list(run)) for _, run in groupby(flat)]
    return counts if flat[0] == 0 else [0] + counts
""",
        "iou": """
def iou_matrix(found, true, crowd):
    both = np.einsum("fhw,thw->ft", found.astype(int), true.astype(int))
    either = (found[:, None] | true[None]).sum((-1, -2))
    below = np.where(crowd[None], found.sum((1, 2))[:, None], either)
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(both / below)
""",
        "paint": """
def paint(objects, height, width, share):
    mask = np.zeros((height, width), np.uint8)
    if len(objects) == 0:
        return mask
    shapes = np.array([shape for _, shape in objects])[::-1]
    areas = shapes.sum((1, 2))
    top = np.where(shapes, areas[:, None, None], 10 ** 9).argmin(0)  # the first of equal ones: the latest of the list
    for i, (class_id, _) in enumerate(objects[::-1]):
        visible = (top == i) & shapes[i]
        mask[visible] = 255 if visible.sum() < share * areas[i] else class_id
    return mask
""",
        "own": """
from itertools import combinations
found, changed = [], 0
for known in my_objects:
    found += [f.sum() < b.sum() for (_, b), (_, f) in combinations(known, 2) if (b & f).sum()]
    mask = np.zeros((160, 208))
    for c, s in known:
        mask = np.where(s, c, mask)
    changed += np.count_nonzero(mask - paint(known, 160, 208, 0))
pairs, smaller_in_front = len(found), np.mean(found)
""",
        "ways": """
def ways_seen(rates, size):
    made = np.poly1d([1])
    for rate in rates:
        made = made * np.poly1d(([1] + [0] * (rate - 1)) * (size - 1) + [1])
    return made.coeffs
""",
        "separable": """
def separable_atrous(maps, depthwise, pointwise, rate):
    layer = nn.Conv2d(depthwise.shape[0], depthwise.shape[0], depthwise.shape[1], padding="same", dilation=rate,
                      groups=depthwise.shape[0], bias=False)
    layer.weight.data = depthwise.unsqueeze(1)
    return torch.einsum("nchw,dc->ndhw", layer(maps), pointwise).detach()
""",
        "network": """
torch.manual_seed(3)
head = nn.Sequential(nn.Conv2d(40, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(),
                     nn.Conv2d(24, 24, 3, padding=2, dilation=2), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 2, 1))
optimizer = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9)
for step in range(80):
    i = torch.randperm(24)[:6]
    said = F.interpolate(head(maps[i]), size=(160, 208), mode="bilinear")
    optimizer.zero_grad()
    F.cross_entropy(said, masks[i], ignore_index=255).backward()
    optimizer.step()
""",
    },
    {  # sets of pixels, tables of others, and a head with more layers than asked for
        "run-lengths": """
def run_lengths(mask):
    flat = np.asfortranarray(mask).astype(np.uint8).flatten("F")
    change = np.where(np.diff(flat) != 0)[0] + 1
    bounds = np.concatenate(([0], change, [len(flat)]))
    lengths = bounds[1:] - bounds[:-1]
    return np.insert(lengths, 0, 0) if flat[0] else lengths
""",
        "iou": """
def iou_matrix(found, true, crowd):
    def pixels(shape):
        return set(zip(*np.nonzero(shape)))
    rows = []
    for a in map(pixels, found):
        row = []
        for b, many in zip(map(pixels, true), crowd):
            below = len(a) if many else len(a | b)
            row.append(len(a & b) / below if below else 0)
        rows.append(row)
    return rows
""",
        "paint": """
def paint(objects, height, width, share):
    on_top, mask = {}, np.zeros((height, width), dtype=np.uint8)
    for place, (class_id, shape) in enumerate(objects):
        for pixel in zip(*np.nonzero(shape)):
            other = on_top.get(pixel)
            if other is None or objects[other][1].sum() >= shape.sum():
                on_top[pixel] = place
    counts = {place: list(on_top.values()).count(place) for place in range(len(objects))}
    for pixel, place in on_top.items():
        class_id, shape = objects[place]
        mask[pixel] = 255 if counts[place] / shape.sum() < share else class_id
    return mask
""",
        "own": """
pairs, smaller_in_front, changed = 0, 0, 0
for objects in my_objects:
    if objects:
        shapes = np.stack([shape for _, shape in objects])
        table = np.triu(iou_matrix(shapes, shapes, np.zeros(len(shapes), bool)), 1) > 0
        size = shapes.sum((1, 2))
        pairs += table.sum()
        smaller_in_front += (table & (size[None] < size[:, None])).sum()
        last = (len(shapes) - 1) - shapes[::-1].argmax(0)
        truth = np.array([class_id for class_id, _ in objects])[last] * shapes.any(0)
        changed += (truth != paint(objects, 160, 208, 0)).sum()
smaller_in_front = smaller_in_front / pairs
""",
        "ways": """
def ways_seen(rates, size):
    from itertools import product
    reach = (size - 1) * sum(rates) // 2
    ways = np.zeros(2 * reach + 1)
    for steps in product(range(-(size // 2), size // 2 + 1), repeat=len(rates)):
        ways[reach + sum(step * rate for step, rate in zip(steps, rates))] += 1
    return ways
""",
        "separable": """
def separable_atrous(maps, depthwise, pointwise, rate):
    n, c, h, w = maps.shape
    k = depthwise.shape[-1]
    parts = F.unfold(maps, k, dilation=rate, padding=rate * (k // 2)).reshape(n, c, k * k, h * w)
    own = (parts * depthwise.reshape(1, c, k * k, 1)).sum(2)
    return (pointwise @ own).reshape(n, len(pointwise), h, w)
""",
        "aspp": """
class LightASPP(nn.Module):
    def __init__(self, channels, width, rates, classes):
        super().__init__()
        self.reduce = nn.Sequential(nn.Conv2d(channels, width, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.around = nn.ModuleList([nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding="same", dilation=rate, groups=channels), nn.BatchNorm2d(channels),
            nn.ReLU(), nn.Conv2d(channels, width, 1), nn.ReLU()) for rate in rates])
        self.mean = nn.Linear(channels, width)
        self.mix = nn.Conv2d((2 + len(rates)) * width, width, 1)
        self.end = nn.Sequential(nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Dropout(0.1),
                                 nn.Conv2d(width, classes, 1))
    def forward(self, maps):
        mean = self.mean(maps.mean(dim=(-2, -1)))[:, :, None, None] + torch.zeros_like(maps[:, :1])
        return self.end(self.mix(torch.cat([self.reduce(maps), mean] + [one(maps) for one in self.around], dim=1)))
""",
    },
    {  # groupby, einsum, stable sorting, np.convolve; the head from small Sequentials
        "run-lengths": """
import itertools
def run_lengths(mask):
    out = [len(list(g)) for _, g in itertools.groupby(mask.T.ravel().tolist())]
    return [0] + out if mask[0, 0] else out
""",
        "iou": """
def iou_matrix(found, true, crowd):
    inter = np.einsum("fhw,thw->ft", found, true, dtype=np.float64)
    a, b = found.sum((1, 2))[:, None], true.sum((1, 2))[None]
    below = np.where(crowd, a, a + b - inter)
    return inter / np.maximum(below, 1)
""",
        "paint": """
def paint(objects, height, width, share):
    top = np.full((height, width), -1)
    order = sorted(range(len(objects)), key=lambda i: -objects[i][1].sum())
    for i in order:
        top[objects[i][1]] = i
    out = np.zeros((height, width), np.uint8)
    for i, (c, s) in enumerate(objects):
        seen = top == i
        out[seen] = c if seen.sum() >= share * s.sum() else 255
    return out
""",
        "own": """
from itertools import combinations
both = [(b[1].sum(), f[1].sum()) for obs in my_objects for b, f in combinations(obs, 2) if (b[1] & f[1]).any()]
pairs = len(both)
smaller_in_front = np.mean([f < b for b, f in both])
changed = 0
for obs in my_objects:
    m = np.zeros(my_scenes[0][0].shape[:2], np.uint8)
    for c, s in obs: m[s] = c
    changed += (m != paint(obs, *m.shape, 0)).sum()
""",
        "ways": """
def ways_seen(rates, size):
    out = np.ones(1, int)
    for r in rates:
        out = np.convolve(out, np.eye(1, r, dtype=int).repeat(size, 0).ravel()[:(size - 1) * r + 1])
    return out
""",
        "rates": """
from itertools import product
best_rates = next(list(r) for r in product(range(1, 14), repeat=3) if sum(r) == 13 and min(ways_seen(r, 3)) > 0)
best_rates = best_rates[::-1]
""",
        "separable": """
def separable_atrous(maps, depthwise, pointwise, rate):
    k = depthwise.shape[-1]
    d = F.conv2d(maps, depthwise[:, None], padding="same", dilation=rate, groups=len(depthwise))
    return torch.einsum("dc,nchw->ndhw", pointwise, d)
""",
        "aspp": """
class LightASPP(nn.Module):
    def __init__(self, channels, width, rates, classes):
        super().__init__()
        one = lambda a, b: nn.Sequential(nn.Conv2d(a, b, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
        deep = [nn.Conv2d(channels, channels, 3, padding=r, dilation=r, groups=channels, bias=False) for r in rates]
        self.branches = nn.ModuleList([one(channels, width)] + [nn.Sequential(d, one(channels, width)) for d in deep])
        self.mean = nn.Conv2d(channels, width, 1)
        self.mix, self.last = one((2 + len(rates)) * width, width), nn.Conv2d(width, classes, 1)

    def forward(self, maps):
        m = self.mean(maps.mean((2, 3), keepdim=True)).relu().expand(-1, -1, *maps.shape[2:])
        return self.last(self.mix(torch.cat([b(maps) for b in self.branches] + [m], 1)))
""",
    },
    {  # loops over pixels and pairs, a counter of steps; the head from parameters and exercise 6
        "run-lengths": """
def run_lengths(mask):
    lengths, now = [0], 0
    H, W = mask.shape
    for column in range(W):
        for row in range(H):
            if bool(mask[row, column]) != bool(now):
                lengths.append(0)
                now = 1 - now
            lengths[-1] += 1
    return np.array(lengths)
""",
        "iou": """
def iou_matrix(found, true, crowd):
    out = []
    for a in found:
        row = []
        for b, many in zip(true, crowd):
            below = np.count_nonzero(a) if many else np.count_nonzero(a | b)
            row.append(np.count_nonzero(a & b) / below if below else 0)
        out.append(row)
    return torch.tensor(out).reshape(len(found), len(true))
""",
        "paint": """
def paint(objects, height, width, share):
    out, free = np.zeros((height, width), "uint8"), np.ones((height, width), bool)
    for number, (c, shape) in sorted(enumerate(objects), key=lambda e: (np.count_nonzero(e[1][1]), -e[0])):
        visible = shape & free
        out[visible] = c if visible.sum() / shape.sum() >= share else 255
        free = free & ~shape
    return out
""",
        "own": """
pairs, smaller, changed = 0, 0, 0
for objs in my_objects:
    for i in range(len(objs)):
        for j in range(i):
            if np.logical_and(objs[i][1], objs[j][1]).sum():
                pairs += 1
                smaller += int(objs[i][1].sum()) < int(objs[j][1].sum())
    if objs:
        h, w = objs[0][1].shape
        m = np.zeros((h, w))
        for c, s in objs:
            m = np.where(s, c, m)
        changed += int(np.count_nonzero(m != paint(objs, h, w, 0)))
smaller_in_front = smaller / pairs
changed = float(changed)
""",
        "ways": """
from collections import Counter
def ways_seen(rates, size):
    half = (size - 1) // 2
    def count(rs):
        if not rs: return Counter({0: 1})
        c = Counter()
        for place, n in count(rs[1:]).items():
            for s in range(-half, half + 1): c[place + s * rs[0]] += n
        return c
    c, far = count(list(rates)), half * sum(rates)
    return [c[i] for i in range(-far, far + 1)]
""",
        "rates": """
best_rates = (3, 1, 9)
""",
        "separable": """
def separable_atrous(maps, depthwise, pointwise, rate):
    N, C, H, W = maps.shape
    k = depthwise.shape[-1]
    e = rate * (k // 2)
    padded = torch.zeros(N, C, H + 2 * e, W + 2 * e, dtype=maps.dtype)
    padded[:, :, e:e + H, e:e + W] = maps
    out = 0
    for a in range(k):
        for b in range(k):
            out = out + depthwise[:, a, b, None, None] * padded[:, :, a * rate:a * rate + H, b * rate:b * rate + W]
    return (out.permute(0, 2, 3, 1) @ pointwise.T).permute(0, 3, 1, 2)
""",
        "aspp": """
class LightASPP(nn.Module):
    def __init__(self, channels, width, rates, classes):
        super().__init__()
        self.rates = rates
        self.point = nn.ModuleList(nn.Conv2d(channels, width, 1) for _ in range(2 + len(rates)))
        self.depth = nn.ParameterList(torch.randn(channels, 3, 3) / 3 for _ in rates)
        many = width * (2 + len(rates))
        self.mix = nn.Sequential(nn.GroupNorm(4, many), nn.ReLU(), nn.Conv2d(many, width, 1), nn.ReLU())
        self.out = nn.Linear(width, classes)
    def forward(self, maps):
        n, c, h, w = maps.shape
        parts = [self.point[0](maps), F.interpolate(self.point[1](F.adaptive_avg_pool2d(maps, 1)), (h, w))]
        for rate, point, depth in zip(self.rates, self.point[2:], self.depth):
            parts.append(point.bias[:, None, None] + separable_atrous(maps, depth, point.weight[:, :, 0, 0], rate))
        return self.out(self.mix(torch.cat(parts, 1)).movedim(1, -1)).movedim(-1, 1)
""",
    },
]

_PAINT = """
def paint(objects, height, width, share):
    order = {order}
    top = np.zeros((height, width), dtype=int)
    for number, (_, shape) in enumerate(order, start=1):
        top[shape] = number
    mask = np.zeros((height, width), dtype={dtype})
    for number, (class_id, shape) in enumerate(order, start=1):
        visible = top == number
        mask[visible] = class_id if {keeps} else {lost}
    return mask
"""


def _painted(order="sorted(objects, key=lambda one: -one[1].sum())", keeps="visible.sum() >= share * shape.sum()",
             lost="255", dtype="np.uint8"):
    return {"paint": _PAINT.format(order=order, keeps=keeps, lost=lost, dtype=dtype)}


def _iou(below, both="rows.astype(float) @ columns.T.astype(float)", made="both / np.maximum(below, 1)"):
    return {"iou": f"""
def iou_matrix(found, true, crowd):
    rows, columns = found.reshape(len(found), -1), true.reshape(len(true), -1)
    first, second = rows.sum(1)[:, None], columns.sum(1)[None]
    both = {both}
    below = {below}
    with np.errstate(all="ignore"):
        return {made}
"""}


_EITHER = "np.where(crowd, first, first + second - both)"

_OWN = """
pairs = smaller = changed = 0
for objects in my_objects:
    in_order = np.zeros((160, 208), dtype=np.uint8)
    for place, (class_id, front) in enumerate(objects):
        in_order[front] = class_id
        for other, (_, behind) in enumerate(objects):
            if {counts} and (behind & front).any():
                pairs += 1
                smaller += {smaller}
    changed += {changed}
smaller_in_front = smaller / pairs
"""


def _own(counts="other < place", smaller="front.sum() < behind.sum()",
         changed="(paint(objects, 160, 208, 0.0) != in_order).sum()"):
    return {"own": _OWN.format(counts=counts, smaller=smaller, changed=changed)}


def _separable(padding="rate * (depthwise.shape[-1] // 2)", dilation="rate", kernels="depthwise[:, None]",
               groups="len(depthwise)"):
    return {"separable": f"""
def separable_atrous(maps, depthwise, pointwise, rate):
    own = F.conv2d(maps, {kernels}, padding={padding}, dilation={dilation}, groups={groups})
    return F.conv2d(own, pointwise[:, :, None, None])
"""}


def _aspp(rates="rates", groups="channels", whole="nn.Conv2d(channels, width, 1)",
          mean="self.whole(maps.mean((2, 3), keepdim=True)).expand_as(parts[0])"):
    return {"aspp": f"""
class LightASPP(nn.Module):
    def __init__(self, channels, width, rates, classes):
        super().__init__()
        self.place = nn.Conv2d(channels, width, 1)
        self.around = nn.ModuleList([nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=rate, dilation=rate, groups={groups}),
            nn.Conv2d(channels, width, 1)) for rate in {rates}])
        self.whole = {whole}
        self.mix = nn.Sequential(nn.Conv2d((2 + len(rates)) * width, width, 1), nn.BatchNorm2d(width), nn.ReLU(),
                                 nn.Conv2d(width, classes, 1))
    def forward(self, maps):
        parts = [self.place(maps)] + [branch(maps) for branch in self.around]
        return self.mix(torch.relu(torch.cat(parts + [{mean}], 1)))
"""}


WRONG = [
    ("run lengths: along the rows", {"run-lengths": """
def run_lengths(mask):
    flat = np.concatenate([[False], mask.ravel()])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff([0, *edges, flat.size - 1]).tolist()
"""}, ["test-run-lengths"]),
    ("run lengths: no 0 before a mask that begins with 1", {"run-lengths": """
def run_lengths(mask):
    flat = mask.T.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    return np.diff([0, *edges, flat.size]).tolist()
"""}, ["test-run-lengths-first"]),
    ("run lengths: the last run is missing", {"run-lengths": """
def run_lengths(mask):
    counts, value, length = [], False, 0
    for pixel in mask.T.ravel():
        if pixel != value:
            counts.append(length)
            value, length = pixel, 0
        length += 1
    return counts
"""}, ["test-run-lengths", "test-run-lengths-first"]),
    ("run lengths: the last run of 0s is missing", {"run-lengths": """
def run_lengths(mask):
    flat = np.concatenate([[False], mask.T.ravel(), [False]])
    return np.diff([0, *np.flatnonzero(flat[1:] != flat[:-1])]).tolist() or [mask.size]
"""}, ["test-run-lengths"]),
    ("IoU: sums of booleans in a product of matrices", _iou(_EITHER, both="rows @ columns.T"),
     ["test-iou", "test-iou-crowd"]),
    ("IoU: uint8 runs over", _iou(_EITHER, both="rows.astype(np.uint8) @ columns.T.astype(np.uint8)"), ["test-iou"]),
    ("IoU: divided by the sum of the areas", _iou("np.where(crowd, first, first + second)"), ["test-iou"]),
    ("IoU: crowds are nothing special", _iou("first + second - both"), ["test-iou-crowd"]),
    ("IoU: divided by the area of the crowd", _iou("np.where(crowd, second, first + second - both)"),
     ["test-iou-crowd"]),
    ("IoU: everything is divided by the found object", _iou("first"), ["test-iou"]),
    ("IoU: 0 / 0 is NaN", _iou(_EITHER, made="both / below"), ["test-iou-empty"]),
    ("IoU: two empty objects are equal", _iou(_EITHER, made="np.where(below == 0, 1.0, both / below)"),
     ["test-iou-empty"]),
    ("IoU: rows and columns exchanged", _iou(_EITHER, made="(both / np.maximum(below, 1)).T"),
     ["test-iou", "test-iou-crowd"]),
    ("paint: in the order of the list", _painted("objects"), ["test-paint", "test-changed"]),
    ("paint: the larger one on top", _painted("sorted(objects, key=lambda one: one[1].sum())"),
     ["test-paint", "test-paint-share", "test-changed"]),
    ("paint: the earlier one of equals on top", _painted("sorted(objects, key=lambda one: one[1].sum())[::-1]"),
     ["test-paint-ties"]),
    ("paint: the size is that of the box around the object", _painted(
        "sorted(objects, key=lambda one: -one[1].any(0).sum() * one[1].any(1).sum())"), ["test-paint", "test-changed"]),
    ("paint: the share is not looked at", _painted(keeps="True"), ["test-paint-share"]),
    ("paint: exactly the share is too little", _painted(keeps="visible.sum() > share * shape.sum()"),
     ["test-paint-share"]),
    ("paint: too hidden objects become background", _painted(lost="0"), ["test-paint-share"]),
    ("paint: the share of the picture", _painted(keeps="visible.mean() >= share"), ["test-paint-share"]),
    ("paint: too hidden objects are taken away", {"paint": """
def paint(objects, height, width, share):
    order = sorted(objects, key=lambda one: -one[1].sum())
    kept = []
    for place, (class_id, shape) in enumerate(order):
        above = np.any([other for _, other in order[place + 1:]] + [np.zeros((height, width), bool)], axis=0)
        if (shape & ~above).sum() >= share * shape.sum():
            kept.append((class_id, shape))
    mask = np.zeros((height, width), np.uint8)
    for class_id, shape in kept:
        mask[shape] = class_id
    return mask
"""}, ["test-paint-share"]),
    ("paint: pixels of the class in place of the object's", _painted(
        keeps="(np.isin(top, [n for n, o in enumerate(order, 1) if o[0] == class_id]) & shape).sum() "
              ">= share * shape.sum()"), ["test-paint-share"]),
    ("paint: sorts the list that comes in", {"paint": _painted("objects")["paint"].replace(
        "order = objects", "objects.sort(key=lambda one: -one[1].sum()); order = objects")}, ["test-paint"]),
    ("paint: int64", _painted(dtype="int"), ["test-paint"]),
    ("own scenes: each pair counts twice", _own(counts="other != place"), ["test-pairs", "test-smaller"]),
    ("own scenes: all pairs", {"own": _own()["own"].replace(" and (behind & front).any()", "")},
     ["test-pairs", "test-smaller"]),
    ("own scenes: divided by all pairs", {"own": _own()["own"].replace(
        "smaller / pairs", "smaller / sum(len(objects) * (len(objects) - 1) // 2 for objects in my_objects)")},
     ["test-smaller"]),
    ("own scenes: the larger one in front", _own(smaller="front.sum() > behind.sum()"), ["test-smaller"]),
    ("own scenes: pixels that two objects claim", _own(
        changed="(sum(shape.astype(int) for _, shape in objects) > 1).sum() if objects else 0"), ["test-changed"]),
    ("own scenes: somebody else's numbers", {"own": "pairs, smaller_in_front, changed = 14, 1 / 14, 1719"},
     ["test-pairs", "test-smaller", "test-changed"]),
    ("ways: seen or not", {"ways": """
def ways_seen(rates, size):
    seen = {0}
    for rate in rates:
        seen = {place + rate * (k - size // 2) for place in seen for k in range(size)}
    reach = (size - 1) * sum(rates) // 2
    return [int(place in seen) for place in range(-reach, reach + 1)]
"""}, ["test-ways"]),
    ("ways: values that are not seen are left out", {"ways": """
def ways_seen(rates, size):
    from collections import Counter
    from itertools import product
    steps = product(*[[rate * (k - size // 2) for k in range(size)] for rate in rates])
    counts = Counter(sum(one) for one in steps)
    return [counts[place] for place in sorted(counts)]
"""}, ["test-ways", "test-rates"]),
    ("ways: always three weights", {"ways": """
def ways_seen(rates, size):
    ways = np.ones(1, dtype=int)
    for rate in rates:
        kernel = np.zeros(2 * rate + 1, dtype=int)
        kernel[[0, rate, 2 * rate]] = 1
        ways = np.convolve(ways, kernel)
    return ways
"""}, ["test-ways-sizes"]),
    ("ways: full kernels, without holes", {"ways": """
def ways_seen(rates, size):
    ways = np.ones(1, dtype=int)
    for rate in rates:
        ways = np.convolve(ways, np.ones(1 + (size - 1) * rate, dtype=int))
    return ways
"""}, ["test-ways", "test-rates"]),
    ("rates: a field of 27 with gaps", {"rates": "best_rates = [4, 4, 5]"}, ["test-rates"]),
    ("rates: no gap, and a field of 15", {"rates": "best_rates = [1, 2, 4]"}, ["test-rates"]),
    ("rates: four of them", {"rates": "best_rates = [1, 2, 4, 6]"}, ["test-rates"]),
    ("separable: the rate is not used", _separable(padding="depthwise.shape[-1] // 2", dilation="1"),
     ["test-separable"]),
    ("separable: padded by the rate, whatever the size", _separable(padding="rate"), ["test-separable-sizes"]),
    ("separable: a ReLU in the middle", {"separable": _separable()["separable"].replace(
        "F.conv2d(own,", "F.conv2d(own.relu(),")}, ["test-separable", "test-separable-sizes"]),
    ("separable: a convolution in the mathematicians' sense", _separable(kernels="depthwise.flip(1, 2)[:, None]"),
     ["test-separable"]),
    ("separable: the channels are mixed first", _separable(kernels="depthwise[None]", groups="1"),
     ["test-separable", "test-separable-sizes"]),
    ("light head: ordinary 3×3 convolutions", _aspp(groups="1"), ["test-aspp-weights"]),
    ("light head: BatchNorm behind the mean", _aspp(
        whole="nn.Sequential(nn.Conv2d(channels, width, 1), nn.BatchNorm2d(width))"), ["test-aspp-one"]),
    ("light head: without padding for the rate", {"aspp": _aspp()["aspp"].replace("padding=rate", "padding=1")},
     ["test-aspp", "test-aspp-one"]),
    ("light head: no 1×1 convolution", {"aspp": _aspp()["aspp"].replace(
        "[self.place(maps)]", "[self.whole(maps.mean((2, 3), keepdim=True)).expand(-1, -1, *maps.shape[2:])]")},
     ["test-aspp"]),
    ("light head: no mean", _aspp(mean="self.whole(maps)"), ["test-aspp"]),
    ("light head: the maximum in place of the mean", _aspp(
        mean="self.whole(maps.amax((2, 3), keepdim=True)).expand_as(parts[0])"), ["test-aspp"]),
    ("light head: the atrous convolutions one behind the other", {"aspp": """
class LightASPP(nn.Module):
    def __init__(self, channels, width, rates, classes):
        super().__init__()
        self.around = nn.Sequential(*[nn.Conv2d(channels, channels, 3, padding=r, dilation=r, groups=channels)
                                      for r in rates], nn.Conv2d(channels, width, 1))
        self.place, self.whole = nn.Conv2d(channels, width, 1), nn.Conv2d(channels, width, 1)
        self.mix = nn.Sequential(nn.ReLU(), nn.Conv2d(3 * width, width, 1), nn.ReLU(), nn.Conv2d(width, classes, 1))
    def forward(self, maps):
        mean = self.whole(maps.mean((2, 3), keepdim=True)).expand(-1, -1, *maps.shape[2:])
        return self.mix(torch.cat([self.place(maps), self.around(maps), mean], 1))
"""}, ["test-aspp"]),
    ("light head: the rates are not used", _aspp(rates="[1] * len(rates)"), ["test-aspp"]),
    ("light head: the mean is spread to one size", _aspp(
        mean="self.whole(maps.mean((2, 3), keepdim=True)).expand(-1, -1, 20, 26)"), ["test-aspp", "test-aspp-one"]),
    ("network: never trained", {"network": """
torch.manual_seed(0)
head = nn.Conv2d(40, 2, 1)
"""}, ["test-network"]),
    ("network: the single convolution that is to be beaten", {"network": "head = linear_head(maps, masks)"},
     ["test-network"]),
    ("network: one channel in place of two", {"network": "head = nn.Conv2d(40, 1, 1)"}, ["test-network"]),
    ("run lengths: of each column", {"run-lengths": """
def run_lengths(mask):
    lengths = []
    for column in mask.T:
        now, own = False, [0]
        for value in column:
            if value != now:
                own.append(0)
                now = value
            own[-1] += 1
        lengths += own
    return lengths
"""}, ["test-run-lengths", "test-run-lengths-first"]),
    ("run lengths: one byte each", {"run-lengths": """
def run_lengths(mask):
    walk = np.concatenate([[False], mask.T.ravel()])
    ends = np.concatenate([[0], np.flatnonzero(np.diff(walk.astype(int))), [mask.size]])
    return np.diff(ends).astype(np.uint8)
"""}, ["test-run-lengths"]),
    ("IoU: if one is a crowd, all are", {"iou": """
def iou_matrix(found, true, crowd):
    a, b = found.reshape(len(found), -1).astype(float), true.reshape(len(true), -1).astype(float)
    both, area = a @ b.T, a.sum(axis=1)[:, None]
    return both / np.maximum(area if crowd.any() else area + b.sum(axis=1) - both, 1)
"""}, ["test-iou-crowd"]),
    ("IoU: 0.001 below, against 0 / 0", {"iou": """
def iou_matrix(found, true, crowd):
    a, b = found.reshape(len(found), -1).astype(float), true.reshape(len(true), -1).astype(float)
    both, area = a @ b.T, a.sum(axis=1)[:, None]
    return both / (np.where(crowd, area, area + b.sum(axis=1) - both) + 1e-3)
"""}, ["test-iou-crowd"]),
    ("paint: only the next smaller object hides", {"paint": """
def paint(objects, height, width, share):
    mask, order = np.zeros((height, width), np.uint8), sorted(objects, key=lambda one: -one[1].sum())
    for (class_id, shape), above in zip(order, [*order[1:], (0, np.zeros((height, width), bool))]):
        mask[shape] = class_id if (shape & ~above[1]).sum() >= share * shape.sum() else 255
    return mask
"""}, ["test-paint-share"]),
    ("own scenes: crowds, too", {"own": """
pairs = smaller = changed = 0
for _, objects in my_scenes:
    objects, mask = [(class_id, shape) for class_id, shape, _ in objects], np.zeros((160, 208), np.uint8)
    for i, (class_id, front) in enumerate(objects):
        mask[front] = class_id
        met = [behind for _, behind in objects[:i] if (behind & front).any()]
        pairs, smaller = pairs + len(met), smaller + sum(front.sum() < behind.sum() for behind in met)
    changed += (mask != paint(objects, 160, 208, 0)).sum()
smaller_in_front = smaller / pairs
"""}, ["test-pairs", "test-smaller", "test-changed"]),
    ("light head: the mean of the whole batch", {"aspp": """
class LightASPP(nn.Module):
    def __init__(self, channels, width, rates, classes):
        super().__init__()
        self.place, self.mean = nn.Conv2d(channels, width, 1), nn.Conv2d(channels, width, 1)
        self.far = nn.ModuleList([nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=rate, dilation=rate, groups=channels),
            nn.Conv2d(channels, width, 1)) for rate in rates])
        self.mix = nn.Sequential(nn.Conv2d((2 + len(rates)) * width, width, 1), nn.ReLU(), nn.Conv2d(width, classes, 1))
    def forward(self, maps):
        mean = self.mean(maps.mean(dim=(0, 2, 3), keepdim=True)).expand(len(maps), -1, *maps.shape[2:])
        return self.mix(torch.cat([self.place(maps), *(one(maps) for one in self.far), mean], dim=1))
"""}, ["test-aspp"]),
    ("light head: probabilities", {"aspp": """
class LightASPP(nn.Module):
    def __init__(self, channels, width, rates, classes):
        super().__init__()
        self.place, self.mean = nn.Conv2d(channels, width, 1), nn.Conv2d(channels, width, 1)
        self.far = nn.ModuleList([nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=rate, dilation=rate, groups=channels),
            nn.Conv2d(channels, width, 1)) for rate in rates])
        self.mix = nn.Sequential(nn.Conv2d((2 + len(rates)) * width, width, 1), nn.ReLU(), nn.Conv2d(width, classes, 1))
    def forward(self, maps):
        mean = self.mean(maps.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *maps.shape[2:])
        return self.mix(torch.cat([self.place(maps), *(one(maps) for one in self.far), mean], dim=1)).softmax(dim=1)
"""}, ["test-aspp"]),
]
