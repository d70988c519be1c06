"""Assignment 5: right answers that look different, and wrong ones with the graded cells that each should cost."""

_BEGINNER_OWN = """
def truths(trimap):
    pet, border = trimap == 1, trimap == 3
    return [(pet, ~border), (pet | border, trimap > 0), (pet, trimap > 0)]

table, wins = np.zeros((2, 3)), 0
for row in range(2):
    for column in range(3):
        inter = union = 0
        for picture, trimap, *programs in my_pets:
            true, known = truths(trimap)[column]
            seen = programs[row]
            inter += int((seen & true & known).sum())
            union += int(((seen | true) & known).sum())
        table[row][column] = inter / union
for picture, trimap, wide, narrow in my_pets:
    known, true = trimap != 3, trimap == 1
    ious = [(one & true)[known].sum() / (one | true)[known].sum() for one in (wide, narrow)]
    if ious[0] > ious[1]:
        wins += 1
"""

RIGHT = [
    {   # a beginner, with loops
        "strips": """
def best_strips(kernel, pairs):
    U, S, Vt = np.linalg.svd(kernel)
    k = len(kernel)
    result = np.zeros((k, k))
    for i in range(min(pairs, k)):
        for y in range(k):
            for x in range(k):
                result[y, x] += S[i] * U[y, i] * Vt[i, x]
    size = np.sqrt(np.sum(kernel ** 2))
    if size == 0:
        return result, 0
    return result, np.sqrt(np.sum((kernel - result) ** 2)) / size
""",
        "border": """
def border_of(mask):
    height, width = mask.shape
    border = np.zeros((height, width), dtype=bool)
    for y in range(height):
        for x in range(width):
            if mask[y, x]:
                for dy, dx in [(-1, 0), (1, 0), (0, -1), (0, 1)]:
                    yy, xx = y + dy, x + dx
                    if 0 <= yy < height and 0 <= xx < width and not mask[yy, xx]:
                        border[y, x] = True
    return border
""",
        "border-score": """
def border_score(found, true, tolerance):
    a = [(y, x) for y in range(found.shape[0]) for x in range(found.shape[1]) if found[y, x]]
    b = [(y, x) for y in range(true.shape[0]) for x in range(true.shape[1]) if true[y, x]]
    if not a and not b:
        return 1
    if not a or not b:
        return 0
    def share(one, other):
        near = 0
        for y, x in one:
            if min((y - v) ** 2 + (x - u) ** 2 for v, u in other) <= tolerance ** 2:
                near += 1
        return near / len(one)
    p, r = share(a, b), share(b, a)
    if p + r == 0:
        return 0
    return 2 * p * r / (p + r)
""",
        "own": _BEGINNER_OWN,
        "tversky": """
def tversky_loss(logits, masks, alpha, beta):
    total, count = 0 * logits.sum(), 0
    for one, mask in zip(logits, masks):
        if (mask == 1).sum() == 0:
            continue
        p = torch.sigmoid(one[mask != 255])
        y = mask[mask != 255].float()
        tp, fp, fn = (p * y).sum(), (p * (1 - y)).sum(), ((1 - p) * y).sum()
        total = total + tp / (tp + alpha * fp + beta * fn)
        count += 1
    if count == 0:
        return total
    return 1 - total / count
""",
        "stop": """
def when_to_stop(losses, patience, margin):
    best, best_loss, bad = 0, None, 0
    for epoch in range(1, len(losses) + 1):
        loss = losses[epoch - 1]
        if np.isnan(loss):
            better = False
        elif best_loss is None:
            better = True
        else:
            better = loss < best_loss - margin
        if better:
            best, best_loss, bad = epoch, loss, 0
        else:
            bad += 1
            if bad >= patience:
                return best, epoch
    return best, len(losses)
""",
        "scale": """
def best_scale(gradients):
    scale = 1.0
    while scale < 65536:
        for gradient in gradients:
            if torch.isinf((gradient * (2 * scale)).half()).any():
                return scale
        scale = 2 * scale
    return scale
""",
        "lost": """
def lost_share(gradients, scale):
    lost, count = 0, 0
    for gradient in gradients:
        for value in gradient.flatten().tolist():
            if value != 0:
                count += 1
                stored = torch.tensor(value * scale).to(torch.float16)
                if stored == 0 or torch.isinf(stored):
                    lost += 1
    return lost / count if count > 0 else 0
""",
        "refinement": """
class Refinement(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.conv1 = nn.Conv2d(channels + 1, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, 1, 3, padding=1)
        self.conv2.weight.data[:] = 0
        self.conv2.bias.data[:] = 0
    def forward(self, coarse, fine):
        big = F.interpolate(coarse, size=(fine.shape[2], fine.shape[3]), mode="bilinear", align_corners=False)
        return big + self.conv2(F.relu(self.conv1(torch.cat([big, fine], 1))))
""",
        "network": """
torch.manual_seed(0)
network = Refinement(24, 32)
opt = torch.optim.Adam(network.parameters(), lr=0.01)
y = (trimaps[:, 2::4, 2::4] != 2).float().unsqueeze(1)
for epoch in range(20):
    for i in range(0, len(coarse), 8):
        loss = F.binary_cross_entropy_with_logits(network(coarse[i:i + 8], fine[i:i + 8]), y[i:i + 8])
        opt.zero_grad()
        loss.backward()
        opt.step()
""",
    },
    {   # other libraries
        "strips": """
def best_strips(kernel, pairs):
    w, v = np.linalg.eigh(kernel.T @ kernel)
    v = v[:, np.argsort(-w)[:pairs]]
    a = kernel @ v @ v.T
    n = np.sqrt((kernel ** 2).sum())
    return a, 0 if n == 0 else np.sqrt(((kernel - a) ** 2).sum()) / n
""",
        "border": """
def border_of(mask):
    from skimage.segmentation import find_boundaries
    return find_boundaries(mask, connectivity=1, mode="inner")
""",
        "border-score": """
def border_score(found, true, tolerance):
    from scipy.ndimage import distance_transform_edt
    if found.sum() == 0 or true.sum() == 0:
        return float(found.sum() == true.sum())
    p = np.mean(distance_transform_edt(~true)[found] <= tolerance)
    r = np.mean(distance_transform_edt(~found)[true] <= tolerance)
    return 0.0 if p + r == 0 else 2 * p * r / (p + r)
""",
        "tversky": """
def tversky_loss(logits, masks, alpha, beta):
    losses = []
    for z, m in zip(logits.double(), masks):
        pet, background = m.eq(1), m.eq(0)
        if pet.any():
            tp, fn, fp = z[pet].sigmoid().sum(), (-z[pet]).sigmoid().sum(), z[background].sigmoid().sum()
            losses.append(1 - tp / (tp + alpha * fp + beta * fn + 1e-9))
    return torch.stack(losses).mean() if losses else 0 * logits.mean()
""",
        "stop": """
def when_to_stop(losses, patience, margin):
    losses = np.array(losses)
    best, reference = 0, np.nan
    for i in range(len(losses)):
        if not np.isnan(losses[i]) and (np.isnan(reference) or losses[i] + margin < reference):
            best, reference = i + 1, losses[i]
        if i + 1 - best == patience:
            return [best, i + 1]
    return np.array([best, len(losses)])
""",
        "scale": """
def best_scale(gradients):
    with np.errstate(over="ignore"):
        for n in range(16, -1, -1):
            if all(np.isfinite(np.float16(g.numpy() * np.float32(2 ** n))).all() for g in gradients):
                return 2 ** n
""",
        "lost": """
def lost_share(gradients, scale):
    v = torch.cat([g.reshape(-1) for g in gradients]).abs() * scale
    given = v > 0
    return ((given & ((v <= 2 ** -25) | (v > 65504))).sum() / max(int(given.sum()), 1)).item()
""",
        "refinement": """
class Refinement(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.a, self.norm = nn.LazyConv2d(width, 3, padding=1), nn.BatchNorm2d(width)
        self.b, self.c = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, 1, 1)
        with torch.no_grad():
            self.c.weight.fill_(0.0)
            self.c.bias.fill_(0.0)
    def forward(self, coarse, fine):
        x = F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=False)
        r = F.gelu(self.norm(self.a(torch.cat((x, fine), 1))))
        return x + self.c(F.relu(r + self.b(r)))
""",
    },
    {   # whole arrays, and OpenCV
        "strips": """
def best_strips(kernel, pairs):
    u, s, v = np.linalg.svd(np.float64(kernel), full_matrices=False)
    s_kept = np.where(np.arange(len(s)) < pairs, s, 0)
    total = (s ** 2).sum()
    return u @ np.diag(s_kept) @ v, np.sqrt((s[pairs:] ** 2).sum() / total) if total else 0.0
""",
        "border": """
def border_of(mask):
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return mask & (cv2.erode(mask.astype(np.uint8), cross) == 0)
""",
        "border-score": """
def border_score(found, true, tolerance):
    a, b = np.argwhere(found), np.argwhere(true)
    if len(a) == 0 or len(b) == 0:
        return 1.0 if len(a) == len(b) else 0.0
    square = ((a[:, None] - b[None]) ** 2).sum(-1)
    near = square <= tolerance ** 2
    hits = near.any(1).mean(), near.any(0).mean()
    return 2 * np.prod(hits) / np.maximum(np.sum(hits), 1e-12)
""",
        "own": """
programs = [np.concatenate([pet[place].ravel() for pet in my_pets]) for place in (2, 3)]
all_trimaps = np.concatenate([pet[1].ravel() for pet in my_pets])
def iou(seen, tri, border):
    known = tri != 3 if border is None else np.full(tri.shape, True)
    true = np.where(tri == 3, bool(border), tri == 1)
    return np.count_nonzero(seen[known] & true[known]) / np.count_nonzero(seen[known] | true[known])
table = [[iou(program, all_trimaps, border) for border in (None, True, False)] for program in programs]
wins = sum(iou(wide, tri, None) > iou(narrow, tri, None) for _, tri, wide, narrow in my_pets)
""",
        "tversky": """
def tversky_loss(logits, masks, alpha, beta):
    kept = (masks == 1).flatten(1).any(1)
    if not bool(kept.any()):
        return (logits * 0).sum()
    z, m = logits[kept].flatten(1), masks[kept].flatten(1)
    w, y = (m != 255).float(), (m == 1).float()
    p = torch.sigmoid(z) * w
    tp = torch.einsum("ni,ni->n", p, y)
    fp, fn = p.sum(1) - tp, y.sum(1) - tp
    return (1 - tp / (tp + alpha * fp + beta * fn)).mean()
""",
        "stop": """
def when_to_stop(losses, patience, margin):
    improved = [0]
    reference = np.inf
    for number, loss in enumerate(losses, 1):
        if np.isfinite(loss) and (reference == np.inf or reference - loss > margin):
            improved.append(number)
            reference = loss
        elif number - improved[-1] == patience:
            return improved[-1], number
    return improved[-1], len(losses)
""",
        "scale": """
def best_scale(gradients):
    top = torch.cat([g.abs().flatten() for g in gradients]).max().item()
    if top == 0:
        return 65536
    return min(65536, 2 ** int(np.floor(np.log2(65504 / top))))
""",
        "lost": """
def lost_share(gradients, scale):
    before = np.concatenate([g.numpy().ravel() for g in gradients])
    with np.errstate(all="ignore"):
        after = (before * np.float32(scale)).astype(np.float16)
    nonzero = np.count_nonzero(before)
    return np.count_nonzero((before != 0) & ((after == 0) | ~np.isfinite(after))) / max(nonzero, 1)
""",
        "refinement": """
class Refinement(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(channels + 1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
                                 nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 1))
        self.gain = nn.Parameter(torch.zeros(1))
    def forward(self, coarse, fine):
        up = nn.functional.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        return up + self.gain * self.net(torch.concat((fine, up), dim=1))
""",
    },
    {   # PyTorch
        "strips": """
def best_strips(kernel, pairs):
    k = torch.as_tensor(kernel)
    u, s, vh = torch.linalg.svd(k)
    s[pairs:] = 0
    made = (u * s) @ vh
    norm = torch.linalg.norm(k)
    return made, (torch.linalg.norm(k - made) / norm).item() if norm > 0 else 0.0
""",
        "border": """
def border_of(mask):
    outside = ~torch.from_numpy(mask)[None, None]
    kernel = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]])[None, None]
    return mask & (F.conv2d(outside.float(), kernel, padding=1)[0, 0].numpy() > 0)
""",
        "border-score": """
def border_score(found, true, tolerance):
    if not found.any() and not true.any():
        return 1.0
    a, b = torch.tensor(np.argwhere(found)).double(), torch.tensor(np.argwhere(true)).double()
    if len(a) == 0 or len(b) == 0:
        return 0.0
    near = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist") <= tolerance
    p, r = near.any(1).double().mean().item(), near.any(0).double().mean().item()
    return 0.0 if p == 0 or r == 0 else 2 / (1 / p + 1 / r)
""",
        "own": """
from seglab.labels import LabelSet
from seglab.metrics import ConfusionMatrix
two = LabelSet("two", ("background", "pet"), np.array([[0, 0, 0], [255, 255, 255]], np.uint8))
table = np.zeros((2, 3))
for row in range(2):
    for column, border in enumerate((255, 1, 0)):
        matrix = ConfusionMatrix(two)
        for _, trimap, *programs in my_pets:
            matrix.update(programs[row].astype(np.uint8), np.array([0, 1, 0, border], np.uint8)[trimap])
        table[row, column] = matrix.compute().iou[1]
own = []
for _, trimap, *programs in my_pets:
    for program in programs:
        matrix = ConfusionMatrix(two)
        matrix.update(program.astype(np.uint8), np.array([0, 1, 0, 255], np.uint8)[trimap])
        own.append(matrix.compute().iou[1].item())
wins = np.sum(np.array(own[::2]) > np.array(own[1::2]))
""",
        "tversky": """
def tversky_loss(logits, masks, alpha, beta):
    y, known = (masks == 1).to(logits.dtype), (masks != 255).to(logits.dtype)
    p = 1 / (1 + torch.exp(-logits))
    tp = (known * p * y).sum((-2, -1))
    fp = (known * p * (1 - y)).sum((-2, -1))
    fn = (known * (1 - p) * y).sum((-2, -1))
    has = y.sum((-2, -1)) > 0
    tversky = tp / torch.where(has, tp + alpha * fp + beta * fn, torch.ones_like(tp))
    return torch.where(has, 1 - tversky, torch.zeros_like(tp)).sum() / has.sum().clamp(min=1)
""",
        "stop": """
def when_to_stop(losses, patience, margin):
    numbers = torch.tensor(losses, dtype=torch.float64)
    best, lowest, last = 0, float("inf"), len(losses)
    for e, value in enumerate(numbers.tolist()):
        if value < lowest - margin:
            best, lowest = e + 1, value
        if e + 1 - best >= patience:
            last = e + 1
            break
    return torch.tensor([best, last])
""",
        "scale": """
def best_scale(gradients):
    for power in range(16, -1, -1):
        if not any(torch.isinf((g * 2 ** power).to(torch.float16)).any() for g in gradients):
            return torch.tensor(2 ** power)
""",
        "lost": """
def lost_share(gradients, scale):
    lost = count = 0
    for g in gradients:
        h = (g * scale).to(torch.float16).float()
        back = h / scale
        lost += (((back == 0) | back.isinf()) & (g != 0)).sum()
        count += (g != 0).sum()
    return lost / count if count else torch.tensor(0.0)
""",
        "refinement": """
class Refinement(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.of_fine, self.of_coarse = nn.Conv2d(channels, width, 5, padding=2), nn.Conv2d(1, width, 5, padding=2)
        self.middle = nn.Conv2d(width, width, 3, padding="same", dilation=3)
        self.last = nn.Conv2d(width, 1, 1, bias=False)
        torch.nn.init.constant_(self.last.weight, 0)
    def forward(self, coarse, fine):
        coarse = F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=False)
        x = torch.relu(self.of_fine(fine) + self.of_coarse(coarse))
        return coarse + self.last(torch.relu(self.middle(x)))
""",
        "network": """
torch.manual_seed(1)
network = nn.Module()
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(25, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
                                  nn.Conv2d(32, 32, 3, padding=2, dilation=2), nn.BatchNorm2d(32), nn.ReLU(),
                                  nn.Conv2d(32, 1, 3, padding=1))
    def forward(self, coarse, fine):
        return self.body(torch.cat([F.interpolate(coarse, fine.shape[2:], mode="bilinear"), fine], 1))
network = Net()
optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
target = (trimaps != 2).float()[:, None]
for step in range(120):
    i = torch.randperm(len(coarse))[:6]
    x = F.interpolate(network(coarse[i], fine[i]), (160, 160), mode="bilinear", align_corners=False)
    loss = F.binary_cross_entropy_with_logits(x, target[i])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
""",
    },
    {  # one-liners with SciPy's distances and erosion, a loss picture by picture, a gain that begins at 0
        "strips": """
def best_strips(kernel, pairs):
    u, s, v = np.linalg.svd(np.asarray(kernel, float))
    n = min(pairs, len(s))
    total = np.sqrt((s ** 2).sum())
    made = sum(s[i] * np.outer(u[:, i], v[i]) for i in range(n))
    return made, np.sqrt((s[n:] ** 2).sum()) / total if total else 0.0
""",
        "border": """
from scipy import ndimage
def border_of(mask):
    return mask & ~ndimage.binary_erosion(mask, border_value=1)
""",
        "border-score": """
from scipy.ndimage import distance_transform_edt as edt
def border_score(found, true, tolerance):
    if not found.any() or not true.any():
        return float(found.any() == true.any())
    P, R = (edt(~true)[found] <= tolerance).mean(), (edt(~found)[true] <= tolerance).mean()
    return 2 * P * R / (P + R) if P + R else 0.0
""",
        "own": """
def iou_parts(said, trimap, protocol):
    pet, keep = (trimap == 1) | ((trimap == 3) & (protocol == 1)), (trimap != 3) | (protocol > 0)
    return np.array([(said & pet & keep).sum(), ((said | pet) & keep).sum()])
table = [[np.divide(*sum(iou_parts(p[k], p[1], j) for p in my_pets)) for j in range(3)] for k in (2, 3)]
wins = 0
for p in my_pets:
    (a, b), (c, d) = iou_parts(p[2], p[1], 0), iou_parts(p[3], p[1], 0)
    wins += a / b > c / d
""",
        "tversky": """
def tversky_loss(logits, masks, alpha, beta):
    ts = []
    for z, m in zip(logits, masks):
        p, t = z[m != 255].sigmoid(), (m[m != 255] == 1)
        if t.any():
            tp = p[t].sum()
            ts.append(tp / (tp + alpha * p[~t].sum() + beta * (1 - p[t]).sum()))
    return 1 - torch.stack(ts).mean() if ts else 0 * logits.sum()
""",
        "stop": """
def when_to_stop(losses, patience, margin):
    best, lowest = 0, float("inf")
    for epoch, loss in enumerate(losses, 1):
        if loss < lowest - margin:
            best, lowest = epoch, loss
        elif epoch - best >= patience:
            return best, epoch
    return best, len(losses)
""",
        "scale": """
def best_scale(gradients):
    return max(2 ** e for e in range(17) if all(torch.isfinite((g * 2 ** e).half()).all() for g in gradients))
""",
        "lost": """
def lost_share(gradients, scale):
    g = torch.cat([g.flatten() for g in gradients])
    g = g[g != 0]
    h = (g * scale).half()
    return float(((h == 0) | h.isinf()).float().mean()) if len(g) else 0.0
""",
        "refinement": """
class Refinement(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(channels + 1, width, 3, padding=1), nn.ReLU(),
                                 nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 1))
        self.gain = nn.Parameter(torch.zeros(1))
    def forward(self, coarse, fine):
        up = F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=False)
        return up + self.gain * self.net(torch.cat([up, fine], 1))
""",
    },
    {  # PyTorch's SVD, loops over pixels, KD trees, sums of all pictures at once
        "strips": """
def best_strips(kernel, pairs):
    k = torch.as_tensor(np.array(kernel), dtype=torch.float64)
    u, s, v = torch.linalg.svd(k)
    s = torch.where(torch.arange(len(s)) < pairs, s, 0)
    a = u @ torch.diag(s) @ v
    size = k.norm()
    return a, float((k - a).norm() / size) if size > 0 else 0
""",
        "border": """
def border_of(mask):
    H, W = mask.shape
    out = [[False] * W for _ in range(H)]
    for i in range(H):
        for j in range(W):
            near = (i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)
            out[i][j] = bool(mask[i, j]) and not all(mask[a, b] for a, b in near if 0 <= a < H and 0 <= b < W)
    return out
""",
        "border-score": """
from scipy.spatial import cKDTree
def border_score(found, true, tolerance):
    a, b = np.argwhere(found), np.argwhere(true)
    if len(a) == 0 and len(b) == 0: return 1
    if len(a) == 0 or len(b) == 0: return 0
    p = np.mean(cKDTree(b).query(a)[0] <= tolerance)
    r = np.mean(cKDTree(a).query(b)[0] <= tolerance)
    return 0 if p == r == 0 else 2 / (1 / p + 1 / r) if p and r else 0
""",
        "own": """
rows = {"wide": [], "narrow": []}
for _, t, w, n in my_pets:
    for name, said in (("wide", w), ("narrow", n)):
        rows[name].append([[np.sum(said & (t == 1)), np.sum((said | (t == 1)) & (t != 3))],
                           [np.sum(said & (t != 2)), np.sum(said | (t != 2))],
                           [np.sum(said & (t == 1)), np.sum(said | (t == 1))]])
a = {k: np.array(v) for k, v in rows.items()}
table = torch.tensor(np.array([a[k].sum(0)[:, 0] / a[k].sum(0)[:, 1] for k in ("wide", "narrow")]))
each = {k: v[:, 0, 0] / v[:, 0, 1] for k, v in a.items()}
wins = (each["wide"] > each["narrow"]).sum()
""",
        "tversky": """
def tversky_loss(logits, masks, alpha, beta):
    on, off = (masks == 1).flatten(1).float(), (masks == 0).flatten(1).float()
    p = torch.sigmoid(logits).flatten(1)
    tp, fp, fn = (p * on).sum(1), (p * off).sum(1), ((1 - p) * on).sum(1)
    has = on.sum(1) > 0
    t = tp[has] / (tp + alpha * fp + beta * fn)[has]
    return (1 - t).sum() / max(int(has.sum()), 1)
""",
        "stop": """
def when_to_stop(losses, patience, margin):
    best, last_good, bad = 0, None, 0
    for i in range(len(losses)):
        l = losses[i]
        if l == l and (last_good is None or last_good - l > margin):
            best, last_good, bad = i + 1, l, 0
        else:
            bad += 1
        if bad == patience:
            return [best, i + 1]
    return [best, len(losses)]
""",
        "scale": """
def best_scale(gradients):
    top = max(float(g.abs().max()) for g in gradients)
    scale = 65536.0
    while scale > 1 and torch.tensor(top * scale, dtype=torch.float32).half().isinf():
        scale /= 2
    return scale
""",
        "lost": """
def lost_share(gradients, scale):
    lost = whole = 0
    for g in gradients:
        with np.errstate(over="ignore"):
            stored = (g.numpy() * np.float32(scale)).astype(np.float16)
        nonzero = g.numpy() != 0
        whole += nonzero.sum()
        lost += (nonzero & ((stored == 0) | np.isinf(stored))).sum()
    return lost / max(whole, 1)
""",
        "refinement": """
class Refinement(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.a = nn.Conv2d(1 + channels, width, 5, padding=2)
        self.b = nn.Conv2d(width, 1, 3, padding=1, bias=False)
        self.b.weight.data *= 0
    def forward(self, coarse, fine):
        coarse = F.interpolate(coarse, size=tuple(fine.shape[-2:]), mode="bilinear", align_corners=False)
        return coarse + self.b(torch.relu(self.a(torch.cat((fine, coarse), dim=1))))
""",
    },
]


def _strips(made="u[:, :pairs] * s[:pairs] @ v[:pairs]",
            error="np.linalg.norm(kernel - made) / max(np.linalg.norm(kernel), 1e-12)"):
    return {"strips": f"""
def best_strips(kernel, pairs):
    u, s, v = np.linalg.svd(kernel)
    made = {made}
    with np.errstate(all="ignore"):
        return made, {error}
"""}


def _border(mask="np.pad(mask, 1, mode='edge')", kernel="cv2.MORPH_CROSS", made="mask & (eroded[1:-1, 1:-1] == 0)"):
    return {"border": f"""
def border_of(mask):
    element = cv2.getStructuringElement({kernel}, (3, 3))
    padded = ({mask}).astype(np.uint8)
    eroded, dilated = cv2.erode(padded, element), cv2.dilate(padded, element)
    return {made}
"""}


def _score(near="{d} <= tolerance", made="2 * p * r / (p + r) if p + r else 0.0", none="1.0", one="0.0",
           distance="cv2.distanceTransform((~{b}).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)"):
    return {"border-score": f"""
def border_score(found, true, tolerance):
    if not found.any() and not true.any():
        return {none}
    if not found.any() or not true.any():
        return {one}
    to_true, to_found = {distance.format(b="true")}, {distance.format(b="found")}
    p, r = ({near.format(d="to_true[found]")}).mean(), ({near.format(d="to_found[true]")}).mean()
    with np.errstate(all="ignore"):
        return {made}
"""}


_GROWN = """
def border_score(found, true, tolerance):
    if not found.any() or not true.any():
        return float(found.any() == true.any())
    size = 2 * int(tolerance) + 1
    disc = cv2.getStructuringElement({shape}, (size, size))
    p = (cv2.dilate(true.astype(np.uint8), disc) > 0)[found].mean()
    r = (cv2.dilate(found.astype(np.uint8), disc) > 0)[true].mean()
    return 2 * p * r / (p + r) if p + r > 0 else 0.0
"""


def _own(ignored="trimap != 3", union="((found | true) & known).sum()", pet="(trimap == 1) | (trimap == 3)",
         table="both[0].sum(-1) / both[1].sum(-1)", wins="(ious[0, 0] > ious[1, 0]).sum()"):
    return {"own": f"""
both = np.zeros((2, 2, 3, 16))
for number, (_, trimap, *programs) in enumerate(my_pets):
    for row, found in enumerate(programs):
        truths = [(trimap == 1, {ignored}), ({pet}, trimap > 0), (trimap == 1, trimap > 0)]
        for column, (true, known) in enumerate(truths):
            both[:, row, column, number] = (found & true & known).sum(), {union}
ious = both[0] / both[1]
table = {table}
wins = {wins}
"""}


def _tversky(fp="alpha * (p * (1 - y)).sum((1, 2))", fn="beta * ((1 - p) * y * w).sum((1, 2))",
             p="logits.sigmoid() * w", w="(masks != 255).float()", kept="y.sum((1, 2)) > 0", made="1 - t.mean()",
             none="0 * logits.sum()"):
    return {"tversky": f"""
def tversky_loss(logits, masks, alpha, beta):
    w, y = {w}, (masks == 1).float()
    p = {p}
    tp = (p * y).sum((1, 2))
    below = tp + {fp} + {fn}
    kept = {kept}
    if not kept.any():
        return {none}
    t = tp[kept] / below[kept]
    return {made}
"""}


def _stop(better="reference - loss > margin", otherwise="waited += 1", start="1", when="waited == patience",
          first="float('inf')", before=""):
    return {"stop": f"""
def when_to_stop(losses, patience, margin):
    best, reference, waited = 0, {first}, 0
    for epoch, loss in enumerate(losses, start={start}):
        {before or "pass"}
        if {better}:
            best, reference, waited = epoch, loss, 0
        else:
            {otherwise}
        if {when}:
            return best, epoch
    return best, len(losses)
"""}


def _scale(largest="max(g.abs().max().item() for g in gradients)", power="np.floor(np.log2(65504 / top))",
           made="min(2.0 ** power, 65536.0)", zero="65536.0"):
    return {"scale": f"""
def best_scale(gradients):
    top = {largest}
    if top <= 0:
        return {zero}
    power = {power}
    return {made}
"""}


def _lost(stored="(values * scale).half()", lost="(stored == 0) | stored.isinf()", chosen="values[values != 0]",
          made="lost.float().mean().item() if len(lost) else 0.0"):
    return {"lost": f"""
def lost_share(gradients, scale):
    values = torch.cat([g.flatten() for g in gradients])
    values = {chosen}
    stored = {stored}
    lost = {lost}
    return {made}
"""}


def _refinement(up="F.interpolate(coarse, fine.shape[2:], mode='bilinear', align_corners=False)",
                zero="nn.init.zeros_(self.two.weight), nn.init.zeros_(self.two.bias)",
                seen="torch.cat([up, fine], 1)", channels="channels + 1", made="up + correction"):
    return {"refinement": f"""
class Refinement(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.one, self.two = nn.Conv2d({channels}, width, 3, padding=1), nn.Conv2d(width, 1, 3, padding=1)
        {zero}
    def forward(self, coarse, fine):
        up = {up}
        correction = self.two(torch.relu(self.one({seen})))
        return {made}
"""}


def _network(truth):
    return {"network": f"""
torch.manual_seed(0)
network = Refinement(24, 24)
truth = {truth}
optimizer = torch.optim.Adam(network.parameters(), lr=0.005)
for _ in range(150):
    i = torch.randint(len(coarse), (8,))
    scores, wanted = network(coarse[i], fine[i]), truth[i][:, None]
    known = wanted != 255
    loss = F.binary_cross_entropy_with_logits(scores[known], wanted[known])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""}


WRONG = [
    ("strips: the singular values are missing", _strips("u[:, :pairs] @ v[:pairs]"),
     ["test-strips", "test-strips-error"]),
    ("strips: the smallest singular values", _strips("u[:, -pairs:] * s[-pairs:] @ v[-pairs:]"),
     ["test-strips", "test-strips-error"]),
    ("strips: columns of v in place of rows", _strips("u[:, :pairs] * s[:pairs] @ v[:, :pairs].T"),
     ["test-strips", "test-strips-error"]),
    ("strips: one pair, whatever is asked", _strips("u[:, :1] * s[:1] @ v[:1]"), ["test-strips", "test-strips-error"]),
    ("strips: a column too many", _strips("u[:, :pairs + 1] * s[:pairs + 1] @ v[:pairs + 1]"),
     ["test-strips", "test-strips-error"]),
    ("strips: the middle column and row, scaled", _strips(
        "np.outer(kernel[:, len(kernel) // 2], kernel[len(kernel) // 2]) / kernel[len(kernel) // 2, len(kernel) // 2]"),
     ["test-strips", "test-strips-error"]),
    ("strips: the squared error", _strips(error="((kernel - made) ** 2).sum() / max((kernel ** 2).sum(), 1e-12)"),
     ["test-strips-error"]),
    ("strips: the error is not divided", _strips(error="np.linalg.norm(kernel - made)"), ["test-strips-error"]),
    ("strips: 0 / 0", _strips(error="np.linalg.norm(kernel - made) / np.linalg.norm(kernel)"), ["test-strips-error"]),
    ("strips: fails with more pairs than rows", {"strips": """
def best_strips(kernel, pairs):
    u, s, v = np.linalg.svd(kernel)
    made = sum(s[i] * np.outer(u[:, i], v[i]) for i in range(pairs))
    return made, np.linalg.norm(kernel - made) / max(np.linalg.norm(kernel), 1e-12)
"""}, ["test-strips"]),
    ("border: eight neighbours", _border(kernel="cv2.MORPH_RECT"), ["test-border"]),
    ("border: the edge of the picture counts", _border("np.pad(mask, 1)"), ["test-border"]),
    ("border: outside of the object", _border(made="~mask & (dilated[1:-1, 1:-1] > 0)"), ["test-border"]),
    ("border: both sides", _border(made="(dilated != eroded)[1:-1, 1:-1]"), ["test-border"]),
    ("border: neighbours wrap around", {"border": """
def border_of(mask):
    shifted = [np.roll(mask, step, axis) for step in (-1, 1) for axis in (0, 1)]
    return mask & ~np.all(shifted, axis=0)
"""}, ["test-border"]),
    ("border score: precision", _score(made="p"), ["test-border-score"]),
    ("border score: the mean of both", _score(made="(p + r) / 2"), ["test-border-score"]),
    ("border score: less than the tolerance", _score("{d} < tolerance"),
     ["test-border-score"]),
    ("border score: grown with a square", {"border-score": _GROWN.format(shape="cv2.MORPH_RECT")},
     ["test-border-score"]),
    ("border score: grown with OpenCV's ellipse", {"border-score": _GROWN.format(shape="cv2.MORPH_ELLIPSE")},
     ["test-border-score"]),
    ("border score: the distance goes along rows and columns", _score(
        distance="cv2.distanceTransform((~{b}).astype(np.uint8), cv2.DIST_L1, 3)"), ["test-border-score"]),
    ("border score: the distance inside of the border", _score(
        distance="cv2.distanceTransform({b}.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)"),
     ["test-border-score", "test-border-score-empty"]),
    ("border score: the IoU of grown borders", {"border-score": """
def border_score(found, true, tolerance):
    if not found.any() and not true.any():
        return 1.0
    disc = np.hypot(*np.mgrid[-int(tolerance):int(tolerance) + 1, -int(tolerance):int(tolerance) + 1]) <= tolerance
    a, b = (cv2.dilate(one.astype(np.uint8), disc.astype(np.uint8)) > 0 for one in (found, true))
    return (a & b).sum() / (a | b).sum()
"""}, ["test-border-score", "test-border-score-empty"]),
    ("border score: two empty masks get 0", _score(none="0.0"), ["test-border-score-empty"]),
    ("border score: one empty mask is NaN", _score(one="float('nan')"), ["test-border-score-empty"]),
    ("border score: 0 / 0", _score(made="2 * p * r / (p + r)"), ["test-border-score-empty"]),
    ("own pets: the mean of the pictures' IoUs", _own(table="ious.mean(-1)"), ["test-ignored", "test-counted"]),
    ("own pets: the border is in the union", _own(union="(found | true).sum()"), ["test-ignored", "test-wins"]),
    ("own pets: background is ignored", _own("trimap != 2"), ["test-ignored", "test-wins"]),
    ("own pets: the trimap's 3 is not in the pet", _own(pet="trimap == 1"), ["test-counted"]),
    ("own pets: protocols in another order", _own(table="(both[0].sum(-1) / both[1].sum(-1))[:, [0, 2, 1]]"),
     ["test-counted"]),
    ("own pets: rows exchanged", _own(table="(both[0].sum(-1) / both[1].sum(-1))[::-1]"),
     ["test-ignored", "test-counted"]),
    ("own pets: wins with the border as the pet", _own(wins="(ious[0, 1] > ious[1, 1]).sum()"), ["test-wins"]),
    ("own pets: wins of the narrow one", _own(wins="(ious[0, 0] <= ious[1, 0]).sum() + 1"), ["test-wins"]),
    ("own pets: Dice", _own(table="2 * both[0].sum(-1) / (both[0].sum(-1) + both[1].sum(-1))"),
     ["test-ignored", "test-counted"]),
    ("own pets: somebody else's numbers", {"own": """
table, wins = np.array([[0.913, 0.896, 0.706], [0.931, 0.713, 0.885]]), 3
"""}, ["test-ignored", "test-counted", "test-wins"]),
    ("Tversky: alpha and beta exchanged", _tversky("beta * (p * (1 - y)).sum((1, 2))",
                                                   "alpha * ((1 - p) * y * w).sum((1, 2))"),
     ["test-tversky"]),
    ("Tversky: over the whole batch", {"tversky": """
def tversky_loss(logits, masks, alpha, beta):
    known = masks != 255
    p, y = logits.sigmoid()[known], (masks == 1)[known].float()
    if not y.any():
        return 0 * logits.sum()
    tp, fp, fn = (p * y).sum(), (p * (1 - y)).sum(), ((1 - p) * y).sum()
    return 1 - tp / (tp + alpha * fp + beta * fn)
"""}, ["test-tversky", "test-tversky-without"]),
    ("Tversky: T in place of 1 - T", _tversky(made="t.mean()"),
     ["test-tversky", "test-tversky-ignored", "test-tversky-without"]),
    ("Tversky: the logits are taken for probabilities", _tversky(p="logits * w"),
     ["test-tversky", "test-tversky-ignored", "test-tversky-without"]),
    ("Tversky: the probabilities are rounded", _tversky(p="(logits > 0).float() * w + 0 * logits"),
     ["test-tversky", "test-tversky-ignored", "test-tversky-without"]),
    ("Tversky: ignored pixels are background", _tversky(w="torch.ones_like(logits)"), ["test-tversky-ignored"]),
    ("Tversky: ignored pixels have the value 255", {"tversky": """
def tversky_loss(logits, masks, alpha, beta):
    y, p = masks.float(), logits.sigmoid()
    kept = (masks == 1).sum((1, 2)) > 0
    if not kept.any():
        return 0 * logits.sum()
    tp, fp, fn = (p * y).sum((1, 2)), (p * (1 - y)).sum((1, 2)), ((1 - p) * y).sum((1, 2))
    return 1 - (tp[kept] / (tp + alpha * fp + beta * fn)[kept]).mean()
"""}, ["test-tversky-ignored"]),
    ("Tversky: pictures without a pet count as 0", _tversky(kept="w.sum((1, 2)) > 0"), ["test-tversky-without"]),
    ("Tversky: no picture is NaN", _tversky().copy() | {"tversky": _tversky()["tversky"].replace(
        "if not kept.any():", "if False:")}, ["test-tversky-without"]),
    ("Tversky: a plain 0 if no picture has a pet", _tversky(none="torch.tensor(0.0)"), ["test-tversky-without"]),
    ("Tversky: chosen after the division", {"tversky": _tversky()["tversky"].replace(
        "tp[kept] / below[kept]", "(tp / below)[kept]")}, ["test-tversky-without"]),
    ("Tversky: NumPy, so that there is no gradient", {"tversky": """
def tversky_loss(logits, masks, alpha, beta):
    values = []
    for p, m in zip(1 / (1 + np.exp(-logits.detach().numpy())), masks.numpy()):
        if (m == 1).any():
            tp = p[m == 1].sum()
            values.append(1 - tp / (tp + alpha * p[m == 0].sum() + beta * (1 - p[m == 1]).sum()))
    return torch.tensor(np.mean(values) if values else 0.0, requires_grad=True)
"""}, ["test-tversky", "test-tversky-ignored", "test-tversky-without"]),
    ("Tversky: a 1 is added above and below", {"tversky": _tversky()["tversky"].replace(
        "tp[kept] / below[kept]", "(tp[kept] + 1) / (below[kept] + 1)")},
     ["test-tversky", "test-tversky-ignored", "test-tversky-without"]),
    ("stop: an epoch too late", _stop(when="waited > patience"), ["test-stop", "test-stop-nan"]),
    ("stop: counted from 0", _stop(start="0"), ["test-stop", "test-stop-margin", "test-stop-nan"]),
    ("stop: the lowest loss of all epochs", {"stop": _stop()["stop"].replace(
        "return best, epoch", "return int(np.nanargmin(losses)) + 1 if not np.isnan(losses).all() else 0, epoch")},
     ["test-stop", "test-stop-nan"]),
    ("stop: an equal loss is an improvement", _stop("reference - loss >= margin"), ["test-stop", "test-stop-margin"]),
    ("stop: compared with the epoch before", {"stop": """
def when_to_stop(losses, patience, margin):
    best, waited = 0, 0
    for epoch, loss in enumerate(losses, start=1):
        if loss == loss and (best == 0 or losses[epoch - 2] - loss > margin):
            best, waited = epoch, 0
        else:
            waited += 1
        if waited == patience:
            return best, epoch
    return best, len(losses)
"""}, ["test-stop", "test-stop-margin"]),
    ("stop: waited in all, and not in a row", {"stop": _stop()["stop"].replace(
        "reference, waited = epoch, loss, 0", "reference = epoch, loss")}, ["test-stop"]),
    ("stop: begins at 1, as if losses were shares", _stop(first="1.0"), ["test-stop"]),
    ("stop: without the margin", _stop("loss < reference"), ["test-stop-margin"]),
    ("stop: the margin is a share", _stop("loss < reference * (1 - margin) or best == 0 and loss == loss"),
     ["test-stop-margin"]),
    ("stop: the margin is added", _stop("loss < reference + margin"), ["test-stop-margin"]),
    ("stop: compared with the lowest loss", _stop(
        otherwise="waited, reference = waited + 1, min(reference, loss if loss == loss else reference)"),
     ["test-stop-margin"]),
    ("stop: NaN is left out", _stop(before="if loss != loss: continue"), ["test-stop-nan"]),
    ("stop: NaN is an improvement", _stop("not reference - loss <= margin"), ["test-stop-nan"]),
    ("stop: NaN stays as the best of min()", {"stop": """
def when_to_stop(losses, patience, margin):
    best, reference, waited = 1, losses[0], 0
    for epoch in range(2, len(losses) + 1):
        if reference - losses[epoch - 1] > margin:
            best, reference, waited = epoch, losses[epoch - 1], 0
        else:
            waited += 1
        if waited == patience:
            return best, epoch
    return best, len(losses)
"""}, ["test-stop-nan"]),
    ("scale: without absolute values", _scale("max(g.max().item() for g in gradients)"), ["test-scale"]),
    ("scale: the first tensor alone", _scale("gradients[0].abs().max().item()"), ["test-scale"]),
    ("scale: rounded up", _scale(power="np.ceil(np.log2(65504 / top))"), ["test-scale"]),
    ("scale: no power of two", _scale(made="min(65504 / top, 65536.0)"), ["test-scale"]),
    ("scale: no end at 65,536", _scale(made="2.0 ** power"), ["test-scale"]),
    ("scale: zeros get 1", _scale(zero="1.0"), ["test-scale"]),
    ("scale: the exponent", _scale(made="min(power, 16)", zero="16"), ["test-scale"]),
    ("scale: the scale is stored in half precision, too", {"scale": """
def best_scale(gradients):
    good = [s for s in (2.0 ** n for n in range(17))
            if all((g.half() * torch.tensor(s).half()).isfinite().all() for g in gradients)]
    return max(good)
"""}, ["test-scale"]),
    ("scale: log2 of 0", {"scale": """
def best_scale(gradients):
    import math
    top = max(g.abs().max().item() for g in gradients)
    return min(2 ** math.floor(math.log2(65504 / top)), 65536)
"""}, ["test-scale"]),
    ("lost: half precision first", _lost("values.half() * scale"), ["test-lost"]),
    ("lost: infinite ones are not lost", _lost(lost="stored == 0"), ["test-lost"]),
    ("lost: below the smallest normal number", _lost(
        lost="((values * scale).abs() < torch.finfo(torch.float16).tiny) | stored.isinf()"),
     ["test-lost"]),
    ("lost: the scale is not used", _lost("values.half()"), ["test-lost"]),
    ("lost: zeros are lost", _lost(chosen="values"), ["test-lost-zeros"]),
    ("lost: divided by all", _lost(made="lost.sum().item() / sum(g.numel() for g in gradients)"), ["test-lost-zeros"]),
    ("lost: the mean of the tensors' shares", {"lost": """
def lost_share(gradients, scale):
    shares = []
    for g in gradients:
        kept = g[g != 0]
        stored = (kept * scale).half()
        shares.append(((stored == 0) | stored.isinf()).float().mean().item() if len(kept) else 0.0)
    return sum(shares) / len(shares)
"""}, ["test-lost-zeros"]),
    ("lost: 0 / 0", _lost(made="lost.float().mean().item()"), ["test-lost-zeros"]),
    ("lost: the number, and not the share", _lost(made="lost.sum().item()"), ["test-lost", "test-lost-zeros"]),
    ("refinement: nothing begins at 0", _refinement(zero="pass"), ["test-refinement"]),
    ("refinement: only the bias begins at 0", _refinement(zero="nn.init.zeros_(self.two.bias)"), ["test-refinement"]),
    ("refinement: all weights begin at 0", _refinement(
        zero="[nn.init.zeros_(number) for number in self.parameters()]"), ["test-refinement-learns"]),
    ("refinement: the scores are not added", _refinement(made="correction"), ["test-refinement"]),
    ("refinement: the fine maps alone", _refinement(seen="fine", channels="channels"), ["test-refinement"]),
    ("refinement: the coarse scores alone", _refinement(seen="up", channels="1"),
     ["test-refinement", "test-refinement-learns"]),
    ("refinement: the nearest score", _refinement("F.interpolate(coarse, fine.shape[2:])"), ["test-refinement"]),
    ("refinement: corners aligned", _refinement(
        "F.interpolate(coarse, fine.shape[2:], mode='bilinear', align_corners=True)"), ["test-refinement"]),
    ("refinement: always four times the size", _refinement(
        "F.interpolate(coarse, scale_factor=4, mode='bilinear', align_corners=False)"),
     ["test-refinement", "test-refinement-learns"]),
    ("refinement: no ReLU", {"refinement": _refinement()["refinement"].replace("torch.relu(", "(")},
     ["test-refinement"]),
    ("refinement: a single convolution", {"refinement": """
class Refinement(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.conv = nn.Conv2d(1 + channels, 1, 3, padding=1)
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)
    def forward(self, coarse, fine):
        up = F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=False)
        return up + self.conv(torch.cat([up, fine], 1))
"""}, ["test-refinement"]),
    ("refinement: the correction is switched off", _refinement(made="up + 0 * correction"),
     ["test-refinement", "test-refinement-learns"]),
    ("network: never trained", {"network": "network = Refinement(24, 24)"}, ["test-network"]),
    ("network: the coarse scores, shifted", {"network": """
class Shifted(nn.Module):
    def forward(self, coarse, fine):
        return F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=False) + 0.3
network = Shifted()
"""}, ["test-network"]),
    ("network: trained with the border ignored", _network(
        "torch.tensor([0.0, 1.0, 0.0, 255.0])[trimaps[:, 2::4, 2::4]]"), ["test-network"]),
    ("network: trained with the border as background", _network("(trimaps[:, 2::4, 2::4] == 1).float()"),
     ["test-network"]),
    ("strips: the error from sums of singular values, without squares", {"strips": """
def best_strips(kernel, pairs):
    u, s, vt = np.linalg.svd(kernel)
    return (u[:, :pairs] * s[:pairs]) @ vt[:pairs], s[pairs:].sum() / s.sum() if s.any() else 0.0
"""}, ["test-strips-error"]),
    ("border: only what differs to the right and below", {"border": """
def border_of(mask):
    border = np.zeros_like(mask)
    border[:-1] |= mask[:-1] & ~mask[1:]
    border[:, :-1] |= mask[:, :-1] & ~mask[:, 1:]
    return border
"""}, ["test-border"]),
    ("border score: OpenCV's approximation with 5×5 pixels", {"border-score": """
def border_score(found, true, tolerance):
    if not (found.any() and true.any()):
        return float(found.any() == true.any())
    p, r = ((cv2.distanceTransform((~b).astype(np.uint8), cv2.DIST_L2, 5)[a] <= tolerance).mean()
            for a, b in ((found, true), (true, found)))
    return 2 * p * r / (p + r) if p + r else 0.0
"""}, ["test-border-score"]),
    ("border score: OpenCV's approximation with 3×3 pixels", {"border-score": """
def border_score(found, true, tolerance):
    if not (found.any() and true.any()):
        return float(found.any() == true.any())
    p, r = ((cv2.distanceTransform((~b).astype(np.uint8), cv2.DIST_L2, 3)[a] <= tolerance).mean()
            for a, b in ((found, true), (true, found)))
    return 2 * p * r / (p + r) if p + r else 0.0
"""}, ["test-border-score"]),
    ("border score: the geometric mean", {"border-score": """
def border_score(found, true, tolerance):
    if not (found.any() and true.any()):
        return float(found.any() == true.any())
    p, r = ((cv2.distanceTransform((~b).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[a] <= tolerance).mean()
            for a, b in ((found, true), (true, found)))
    return (p * r) ** 0.5
"""}, ["test-border-score"]),
    ("Tversky: each picture counts as much as its pet is large", {"tversky": """
def tversky_loss(logits, masks, alpha, beta):
    y, p = (masks == 1).float(), torch.sigmoid(logits) * (masks != 255)
    tp, fp, fn = ((p * y).sum((1, 2)), (p * (1 - y)).sum((1, 2)), ((1 - p) * y).sum((1, 2)))
    size = y.sum((1, 2))
    if size.sum() == 0:
        return 0 * logits.sum()
    return 1 - (size * tp / (tp + alpha * fp + beta * fn + 1e-9)).sum() / size.sum()
"""}, ["test-tversky", "test-tversky-without"]),
    ("stop: lower by exactly the margin is enough", {"stop": """
def when_to_stop(losses, patience, margin):
    best, lowest = 0, float("inf")
    for epoch, loss in enumerate(losses, 1):
        if loss < lowest and lowest - loss >= margin:
            best, lowest = epoch, loss
        elif epoch - best >= patience:
            return best, epoch
    return best, len(losses)
"""}, ["test-stop-margin"]),
    ("stop: best and patience are added up", {"stop": """
def when_to_stop(losses, patience, margin):
    best, lowest = 0, float("inf")
    for epoch, loss in enumerate(losses, 1):
        if lowest - loss > margin:
            best, lowest = epoch, loss
        if epoch - best >= patience:
            break
    return best, best + patience
"""}, ["test-stop", "test-stop-margin", "test-stop-nan"]),
    ("lost: only what becomes infinite above 0", {"lost": """
def lost_share(gradients, scale):
    values = torch.cat([one.flatten() for one in gradients])
    values = values[values != 0]
    stored = (values * scale).half()
    return float(((stored == 0) | (stored == float("inf"))).float().mean()) if len(values) else 0.0
"""}, ["test-lost"]),
    ("refinement: a ReLU behind the correction", {"refinement": """
class Refinement(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.first, self.last = nn.Conv2d(channels + 1, width, 3, padding=1), nn.Conv2d(width, 1, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
    def forward(self, coarse, fine):
        large = F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=False)
        return large + F.relu(self.last(F.relu(self.first(torch.cat([large, fine], dim=1)))))
"""}, ["test-refinement-learns"]),
]
