"""Assignment 3: answers that are right in another way, and wrong ones with the graded cells that they cost."""

RIGHT = [
    {  # loops, as beginners write them
        "fingerprint": """
def fingerprint(picture):
    h, w = picture.shape[0] // 8, picture.shape[1] // 8
    means = np.zeros((8, 8))
    for r in range(8):
        for c in range(8):
            means[r, c] = picture[r * h:(r + 1) * h, c * w:(c + 1) * w].mean()
    bits = []
    for r in range(8):
        for c in range(1, 8):
            bits.append(means[r, c] > means[r, c - 1])
    for r in range(1, 8):
        for c in range(8):
            bits.append(means[r, c] > means[r - 1, c])
    return np.array(bits)
""",
        "copies": """
is_copy = []
for one in images["more"]:
    smallest = 112
    for other in images["train"]:
        different = sum(fingerprint(gray(one)) != fingerprint(gray(other)))
        smallest = min(smallest, different)
        if smallest <= 18:
            break
    is_copy.append(smallest <= 18)
""",
        "last": """
def train_last(model, count):
    trains = 0
    for i in range(len(model)):
        if i < len(model) - count:
            model[i].eval()
        else:
            model[i].train()
        for p in model[i].parameters():
            p.requires_grad = i >= len(model) - count
            if p.requires_grad:
                trains = trains + p.numel()
    return trains
""",
        "neighbours": """
def neighbour_votes(queries, features, labels, classes, k):
    made = torch.zeros(len(queries), classes)
    for i in range(len(queries)):
        similar = [float((queries[i] * f).sum() / queries[i].norm() / f.norm()) for f in features]
        order = sorted(range(len(features)), key=lambda j: similar[j], reverse=True)[:k]
        for j in order:
            made[i, labels[j]] += 1 / len(order)
    return made
""",
        "left-out": """
f = x["train"] / x["train"].norm(dim=1, keepdim=True)
similar = f @ f.T
similar.fill_diagonal_(-2)
left_out = []
for k in [1, 3, 7, 21]:
    dogs = y["train"][similar.argsort(dim=1, descending=True)[:, :k]].sum(dim=1)
    left_out.append(float(((2 * dogs > k).long() == y["train"]).float().mean()))
left_out = torch.tensor(left_out)
""",
        "paired": """
def paired_p(first, second):
    b = c = 0
    for one, other in zip(first.tolist(), second.tolist()):
        if one and not other:
            b += 1
        if other and not one:
            c += 1
    total, term = 0, 1
    for i in range(min(b, c) + 1):
        total += term
        term = term * (b + c - i) // (i + 1)
    p = 2 * total / 2 ** (b + c)
    return p if p < 1 else 1.0
""",
        "temperature": """
def temperature(logits, labels):
    best, smallest = None, float("inf")
    t = 0.05
    while t < 20:
        loss = F.cross_entropy(logits / t, labels).item()
        if loss < smallest:
            best, smallest = t, loss
        t *= 1.005
    return 20.0 if F.cross_entropy(logits / 20, labels).item() < smallest else best
""",
        "threshold": """
def threshold(probabilities, labels, target):
    best = float("inf")
    sure = [float(max(p)) for p in probabilities]
    right = [int(p.argmax()) == int(c) for p, c in zip(probabilities, labels)]
    for t in sure:
        answered = [r for s, r in zip(sure, right) if s >= t]
        if sum(answered) / len(answered) >= target and t < best:
            best = t
    return best
""",
    },
    {  # with NumPy, SciPy and OpenCV
        "fingerprint": """
import cv2
def fingerprint(picture):
    small = cv2.resize(picture.astype(np.float32), (8, 8), interpolation=cv2.INTER_AREA)
    return np.hstack([(np.diff(small, axis=1) > 0).flatten(), (np.diff(small, axis=0) > 0).flatten()])
""",
        "copies": """
from scipy.spatial.distance import cdist
bits = [np.array([fingerprint(gray(one)) for one in images[split]], dtype=float) for split in ("more", "train")]
is_copy = cdist(*bits, "cityblock").min(axis=1) <= 18
""",
        "last": """
def train_last(model, count):
    model.eval().requires_grad_(False)
    for block in list(model)[len(model) - count:]:
        block.train().requires_grad_(True)
    return sum(np.prod(p.shape, dtype=int) for p in model.parameters() if p.requires_grad)
""",
        "neighbours": """
from scipy.spatial.distance import cdist
def neighbour_votes(queries, features, labels, classes, k):
    nearest = np.argsort(cdist(queries.numpy(), features.numpy(), "cosine"), axis=1)[:, :k]
    return np.array([np.bincount(labels.numpy()[row], minlength=classes) / len(row) for row in nearest])
""",
        "paired": """
from scipy.stats import binomtest
def paired_p(first, second):
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    return binomtest(b, b + c).pvalue if b + c else 1.0
""",
        "temperature": """
from scipy.optimize import minimize_scalar
def temperature(logits, labels):
    found = minimize_scalar(lambda s: F.cross_entropy(logits / math.exp(s), labels).item(),
                            bounds=(math.log(0.05), math.log(20)), method="bounded", options={"xatol": 1e-4})
    return math.exp(found.x)
""",
        "threshold": """
def threshold(probabilities, labels, target):
    p = probabilities.numpy()
    confidence, right = p.max(1), p.argmax(1) == labels.numpy()
    values = np.unique(confidence)  # the smallest first
    enough = [right[confidence >= t].mean() >= target for t in values]
    return values[int(np.argmax(enough))] if any(enough) else np.inf
""",
        "answered": """
p, q = (torch.softmax(logits[s], 1).numpy() for s in ("val", "test"))
t = threshold(torch.from_numpy(p), y["val"], 7 / 8)
who = q.max(1) >= t
answered = np.array([who.mean(), (q.argmax(1) == y["test"].numpy())[who].mean()])
""",
    },
    {  # in PyTorch; the head has a temperature
        "fingerprint": """
def fingerprint(picture):
    t = torch.from_numpy(picture).double()[None, None]
    b = F.avg_pool2d(t, (picture.shape[0] // 8, picture.shape[1] // 8))[0, 0]
    return torch.cat([(b[:, :-1] < b[:, 1:]).reshape(-1), (b[:-1] < b[1:]).reshape(-1)])
""",
        "copies": """
a, b = (torch.stack([fingerprint(gray(one)) for one in images[s]]) for s in ("more", "train"))
is_copy = torch.tensor([bool(((one != b).sum(1) < 19).any()) for one in a])
""",
        "last": """
def train_last(model, count):
    blocks = list(model.children())
    cut = len(blocks) - count
    for block in blocks[:cut]:
        for part in block.modules():
            part.training = False
        for p in block.parameters():
            p.requires_grad_(False)
    for block in blocks[cut:]:
        block.train()
        for p in block.parameters():
            p.requires_grad_(True)
    return torch.tensor(sum(p.numel() for block in blocks[cut:] for p in block.parameters()))
""",
        "neighbours": """
def neighbour_votes(queries, features, labels, classes, k):
    similar = F.cosine_similarity(queries[:, None], features[None], dim=2)
    chosen = labels[similar.argsort(dim=1, descending=True)[:, :k]]
    return torch.stack([(chosen == c).double().mean(dim=1) for c in range(classes)], dim=1)
""",
        "left-out": """
left_out = np.zeros(4)
for i in range(80):
    rest = [j for j in range(80) if j != i]
    for n, k in enumerate((1, 3, 7, 21)):
        v = torch.as_tensor(neighbour_votes(x["train"][[i]], x["train"][rest], y["train"][rest], 2, k))
        left_out[n] += (v[0, 1] > 0.5) == bool(y["train"][i])
left_out /= 80
""",
        "temperature": """
def temperature(logits, labels):
    s = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([s], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
    for _ in range(300):
        optimizer.zero_grad()
        F.cross_entropy(logits * torch.exp(-s), labels).backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            s.clamp_(math.log(0.05), math.log(20))
    return s.exp().item()
""",
        "confidences": """
z = logits["test"].numpy()
t = temperature(logits["val"], y["val"])
gap = np.abs(z[:, 0] - z[:, 1])  # of two classes, the larger probability is the sigmoid of this
confidences = np.array([np.mean(1 / (1 + np.exp(-gap / s))) for s in (1, t)])
""",
        "head": """
pictures_too, labels_too = draw_more(STUDENT, 200)
a, b = torch.cat([x["train"], features_of(pictures_too)]), torch.cat([y["train"], labels_too])
long = train_head(a, b)
t = temperature(long(x["val"]).double(), y["val"])
def my_head(features):
    return long(features) / t
""",
    },
    {  # one-liners with SciPy: distances, a bounded search; exact fractions
        "fingerprint": """
def fingerprint(picture):
    h, w = np.array(picture.shape) // 8
    b = np.array([[picture[i * h:(i + 1) * h, j * w:(j + 1) * w].sum(dtype=int) for j in range(8)] for i in range(8)])
    return np.r_[(b[:, 1:] > b[:, :-1]).ravel(), (b[1:] > b[:-1]).ravel()]
""",
        "copies": """
from scipy.spatial.distance import cdist
fp = {s: np.array([fingerprint(gray(i)) for i in images[s]]) for s in ("train", "more")}
is_copy = (cdist(fp["more"], fp["train"], "hamming").min(1) * 112).round() <= 18
""",
        "last": """
def train_last(model, count):
    n = 0
    for i, block in enumerate(model):
        on = i >= len(model) - count
        block.train(on).requires_grad_(on)
        n += on * sum(p.numel() for p in block.parameters())
    return n
""",
        "neighbours": """
def neighbour_votes(queries, features, labels, classes, k):
    near = (F.normalize(queries, dim=1) @ F.normalize(features, dim=1).T).topk(min(k, len(features))).indices
    return torch.eye(classes)[labels[near]].mean(1)
""",
        "left-out": """
cos = F.normalize(x["train"]) @ F.normalize(x["train"]).T
cos.fill_diagonal_(-9)
left_out = [float((y["train"][cos.topk(k).indices].mode(1).values == y["train"]).float().mean()) for k in (1, 3, 7, 21)]
""",
        "paired": """
from scipy.stats import binomtest
from fractions import Fraction
def paired_p(first, second):
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    n = b + c
    return min(1.0, float(Fraction(2 * sum(math.comb(n, i) for i in range(min(b, c) + 1)), 2 ** n)))
""",
        "own-p": """
p_value = paired_p(*(z["test"].argmax(1) == y["test"] for z in (logits, small_logits)))
""",
        "temperature": """
from scipy.optimize import minimize_scalar
def temperature(logits, labels):
    f = lambda s: float(F.cross_entropy(logits / math.exp(s), labels))
    ends = math.log(.05), math.log(20)
    return math.exp(minimize_scalar(f, bounds=ends, method="bounded", options=dict(xatol=1e-4)).x)
""",
        "confidences": """
T = temperature(logits["val"], y["val"])
confidences = np.array([(logits["test"] / t).softmax(1).amax(1).mean().item() for t in (1, T)])
""",
        "threshold": """
def threshold(probabilities, labels, target):
    conf, said = probabilities.max(1)
    right = (said == labels).double()
    return min((float(t) for t in conf if right[conf >= t].mean() >= target), default=math.inf)
""",
        "answered": """
t = threshold(logits["val"].softmax(1), y["val"], 7 / 8)
conf, said = logits["test"].softmax(1).max(1)
yes = conf >= t
answered = yes.double().mean(), (said == y["test"])[yes].double().mean()
""",
    },
    {  # loops over bits and pictures, a slope that is bisected, Python's lists
        "fingerprint": """
def fingerprint(picture):
    H, W = picture.shape
    m = F.avg_pool2d(torch.from_numpy(np.ascontiguousarray(picture))[None].double(), (H // 8, W // 8))[0]
    bits = []
    for r in range(8):
        for c in range(1, 8):
            bits.append(bool(m[r, c] > m[r, c - 1]))
    for r in range(1, 8):
        for c in range(8):
            bits.append(bool(m[r, c] > m[r - 1, c]))
    return np.array(bits)
""",
        "copies": """
known = [fingerprint(gray(picture)) for picture in images["train"]]
is_copy = [any(sum(a != b for a, b in zip(fingerprint(gray(picture)), other)) <= 18 for other in known)
           for picture in images["more"]]
""",
        "last": """
def train_last(model, count):
    model.eval()
    for p in model.parameters(): p.requires_grad = False
    trained = list(model.children())[len(model) - count:]
    for block in trained:
        block.train()
        for p in block.parameters(): p.requires_grad = True
    return sum(math.prod(p.shape) for block in trained for p in block.parameters())
""",
        "neighbours": """
def neighbour_votes(queries, features, labels, classes, k):
    rows = []
    for q in queries.double():
        cos = F.cosine_similarity(q[None], features.double(), dim=1).tolist()
        near = sorted(range(len(cos)), key=lambda i: -cos[i])[:k]
        rows.append([sum(int(labels[i]) == c for i in near) / len(near) for c in range(classes)])
    return torch.tensor(rows)
""",
        "left-out": """
def loo(k):
    right = 0
    for i in range(80):
        rest = [j for j in range(80) if j != i]
        v = neighbour_votes(x["train"][i:i + 1], x["train"][rest], y["train"][rest], 2, k)
        right += int(v.argmax()) == int(y["train"][i])
    return right / 80
left_out = tuple(loo(k) for k in [1, 3, 7, 21])
""",
        "paired": """
def paired_p(first, second):
    only = first != second
    n = int(only.sum())
    less = min(int((first & only).sum()), int((second & only).sum()))
    term, total = 1, 0
    for i in range(less + 1):
        total += term
        term = term * (n - i) // (i + 1)
    return min(1.0, 2 * total / (1 << n)) if n else 1.0
""",
        "own-p": """
first = logits["test"].argmax(1).eq(y["test"])
second = small_logits["test"].argmax(1).eq(y["test"])
p_value = torch.tensor(paired_p(first, second))
""",
        "temperature": """
def temperature(logits, labels):
    low, high = 0.05, 20.0
    def slope(t):
        u = torch.tensor(1 / t, dtype=torch.float64, requires_grad=True)
        F.cross_entropy(logits * u, labels).backward()
        return float(u.grad)
    # the loss is convex in u = 1/T
    a, b = 1 / high, 1 / low
    for _ in range(80):
        u = (a + b) / 2
        if slope(1 / u) > 0: b = u
        else: a = u
    return 2 / (a + b)
""",
        "confidences": """
chosen = temperature(logits["val"], y["val"])
confidences = [float(np.mean([max(r) for r in F.softmax(logits["test"] / t, dim=1).tolist()])) for t in (1.0, chosen)]
""",
        "threshold": """
def threshold(probabilities, labels, target):
    c = probabilities.max(1).values.numpy()
    ok = (probabilities.argmax(1) == labels).numpy()
    best = np.inf
    for t in np.unique(c)[::-1]:
        n, r = (c >= t).sum(), ok[c >= t].sum()
        if r / n >= target: best = t
    return best
""",
        "answered": """
border = threshold(torch.softmax(logits["val"], 1), y["val"], 0.875)
prob = torch.softmax(logits["test"], 1)
sel = [i for i in range(80) if float(prob[i].max()) >= border]
answered = [len(sel) / 80, sum(int(prob[i].argmax()) == int(y["test"][i]) for i in sel) / len(sel) if sel else math.nan]
""",
    },
]

WRONG = [
    ("fingerprint: one pixel of each block", {"fingerprint": """
def fingerprint(picture):
    b = picture[::picture.shape[0] // 8, ::picture.shape[1] // 8]
    return np.concatenate([(b[:, 1:] > b[:, :-1]).ravel(), (b[1:] > b[:-1]).ravel()])
"""}, ["test-fingerprint", "test-copies"]),
    ("fingerprint: the two parts are exchanged", {"fingerprint": """
def fingerprint(picture):
    b = picture.reshape(8, picture.shape[0] // 8, 8, -1).mean(axis=(1, 3))
    return np.concatenate([(b[1:] > b[:-1]).ravel(), (b[:, 1:] > b[:, :-1]).ravel()])
"""}, ["test-fingerprint"]),
    ("fingerprint: equal blocks give True", {"fingerprint": """
def fingerprint(picture):
    b = picture.reshape(8, picture.shape[0] // 8, 8, -1).mean(axis=(1, 3))
    return np.concatenate([(b[:, 1:] >= b[:, :-1]).ravel(), (b[1:] >= b[:-1]).ravel()])
"""}, ["test-fingerprint-flat"]),
    ("fingerprint: 0 and 1 in place of booleans", {"fingerprint": """
def fingerprint(picture):
    b = picture.reshape(8, picture.shape[0] // 8, 8, -1).mean(axis=(1, 3))
    return np.concatenate([(b[:, 1:] > b[:, :-1]).ravel(), (b[1:] > b[:-1]).ravel()]).astype(int)
"""}, ["test-fingerprint-flat"]),
    ("fingerprint: height and width are equal for it", {"fingerprint": """
def fingerprint(picture):
    s = picture.shape[0] // 8
    b = np.array([[picture[r * s:r * s + s, c * s:c * s + s].mean() for c in range(8)] for r in range(8)])
    return np.concatenate([(b[:, 1:] > b[:, :-1]).ravel(), (b[1:] > b[:-1]).ravel()])
"""}, ["test-fingerprint"]),
    ("fingerprint: differences in uint8", {"fingerprint": """
def fingerprint(picture):
    b = picture.reshape(8, picture.shape[0] // 8, 8, -1).mean(axis=(1, 3)).astype(np.uint8)
    return np.concatenate([(b[:, 1:] - b[:, :-1] > 0).ravel(), (b[1:] - b[:-1] > 0).ravel()])
"""}, ["test-fingerprint", "test-copies"]),
    ("fingerprint: the means are rounded", {"fingerprint": """
import cv2
def fingerprint(picture):
    b = cv2.resize(picture, (8, 8), interpolation=cv2.INTER_AREA).astype(int)
    return np.concatenate([(b[:, 1:] > b[:, :-1]).ravel(), (b[1:] > b[:-1]).ravel()])
"""}, ["test-fingerprint"]),
    ("copies: the others", {"copies": """
prints = {split: np.stack([fingerprint(gray(one)) for one in images[split]]) for split in ("train", "more")}
is_copy = ((prints["more"][:, None] != prints["train"]).sum(axis=2) > 18).all(axis=1)
"""}, ["test-copies"]),
    ("copies: equal pixels are looked for", {"copies": """
is_copy = np.array([any((one == other).all() for other in images["train"]) for one in images["more"]])
"""}, ["test-copies"]),
    ("copies: somebody else's", {"copies": """
is_copy = np.arange(24) < 8
"""}, ["test-copies"]),
    ("train_last: model[-count:]", {"last": """
def train_last(model, count):
    model.requires_grad_(False).eval()
    model[-count:].requires_grad_(True).train()
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
"""}, ["test-last-none"]),
    ("train_last: no modes", {"last": """
def train_last(model, count):
    model.requires_grad_(False)
    for block in list(model)[len(model) - count:]:
        block.requires_grad_(True)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
"""}, ["test-last-modes"]),
    ("train_last: only freezes, and counts tensors", {"last": """
def train_last(model, count):
    for block in list(model)[:len(model) - count]:
        block.requires_grad_(False).eval()
    for block in list(model)[len(model) - count:]:
        block.train()
    return sum(p.requires_grad for p in model.parameters())
"""}, ["test-last"]),
    ("train_last: modes of the outer modules alone", {"last": """
def train_last(model, count):
    for i, block in enumerate(model):
        block.requires_grad_(i >= len(model) - count)
        block.training = i >= len(model) - count
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
"""}, ["test-last-modes"]),
    ("neighbours: the smallest distance", {"neighbours": """
def neighbour_votes(queries, features, labels, classes, k):
    nearest = torch.cdist(queries, features).argsort(dim=1)[:, :k]
    return F.one_hot(labels[nearest], classes).float().mean(dim=1)
"""}, ["test-neighbours", "test-left-out"]),
    ("neighbours: the dot product", {"neighbours": """
def neighbour_votes(queries, features, labels, classes, k):
    nearest = (queries @ features.T).argsort(dim=1, descending=True)[:, :k]
    return F.one_hot(labels[nearest], classes).float().mean(dim=1)
"""}, ["test-neighbours", "test-left-out"]),
    ("neighbours: divided by k", {"neighbours": """
def neighbour_votes(queries, features, labels, classes, k):
    cosine = F.normalize(queries, dim=1) @ F.normalize(features, dim=1).T
    nearest = cosine.argsort(dim=1, descending=True)[:, :k]
    return F.one_hot(labels[nearest], classes).sum(dim=1) / k
"""}, ["test-neighbours-few"]),
    ("neighbours: topk wants k rows", {"neighbours": """
def neighbour_votes(queries, features, labels, classes, k):
    cosine = F.normalize(queries, dim=1) @ F.normalize(features, dim=1).T
    return F.one_hot(labels[cosine.topk(k, dim=1).indices], classes).float().mean(dim=1)
"""}, ["test-neighbours-few"]),
    ("neighbours: a column for classes that occur alone", {"neighbours": """
def neighbour_votes(queries, features, labels, classes, k):
    cosine = F.normalize(queries, dim=1) @ F.normalize(features, dim=1).T
    chosen = labels[cosine.argsort(dim=1, descending=True)[:, :k]]
    return torch.stack([(chosen == c).float().mean(dim=1) for c in labels.unique()], dim=1)
"""}, ["test-neighbours-few"]),
    ("neighbours: all votes for the majority", {"neighbours": """
def neighbour_votes(queries, features, labels, classes, k):
    cosine = F.normalize(queries, dim=1) @ F.normalize(features, dim=1).T
    nearest = cosine.topk(min(k, len(features)), dim=1).indices
    return F.one_hot(F.one_hot(labels[nearest], classes).sum(dim=1).argmax(dim=1), classes)
"""}, ["test-neighbours"]),
    ("left out: each picture is its own neighbour", {"left-out": """
left_out = [float((torch.as_tensor(neighbour_votes(x["train"], x["train"], y["train"], 2, k)).argmax(1)
                   == y["train"]).double().mean()) for k in (1, 3, 7, 21)]
"""}, ["test-left-out"]),
    ("left out: the validation pictures", {"left-out": """
left_out = [float((torch.as_tensor(neighbour_votes(x["val"], x["train"], y["train"], 2, k)).argmax(1)
                   == y["val"]).double().mean()) for k in (1, 3, 7, 21)]
"""}, ["test-left-out"]),
    ("paired: one-sided", {"paired": """
def paired_p(first, second):
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    return sum(math.comb(b + c, i) for i in range(min(b, c) + 1)) / 2 ** (b + c)
"""}, ["test-paired", "test-own-p"]),
    ("paired: not cut at 1", {"paired": """
def paired_p(first, second):
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    return 2 * sum(math.comb(b + c, i) for i in range(min(b, c) + 1)) / 2 ** (b + c)
"""}, ["test-paired-limits"]),
    ("paired: floats run over with thousands", {"paired": """
def paired_p(first, second):
    b, c = (first & ~second).sum().item(), (second & ~first).sum().item()
    return min(1.0, 2 * sum(math.comb(b + c, i) for i in range(min(b, c) + 1)) / 2.0 ** (b + c))
"""}, ["test-paired-limits"]),
    ("paired: tensors of int64 run over with thousands", {"paired": """
def paired_p(first, second):
    b, c = (first & ~second).sum(), (second & ~first).sum()
    return min(1.0, float(2 * sum(math.comb(int(b + c), i) for i in range(min(b, c) + 1)) / 2 ** (b + c)))
"""}, ["test-paired-limits"]),
    ("paired: chi-square", {"paired": """
def paired_p(first, second):
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    return math.erfc(abs(b - c) / math.sqrt(2 * (b + c))) if b + c else 1.0
"""}, ["test-paired", "test-own-p"]),
    ("p: of the validation pictures", {"own-p": """
p_value = paired_p(logits["val"].argmax(1) == y["val"], small_logits["val"].argmax(1) == y["val"])
"""}, ["test-own-p"]),
    ("temperature: 1 / T", {"temperature": """
def temperature(logits, labels):
    return float(min(np.geomspace(0.05, 20, 1500), key=lambda t: F.cross_entropy(logits * t, labels).item()))
"""}, ["test-temperature", "test-temperature-limits", "test-confidences"]),
    ("temperature: exp of large logits", {"temperature": """
def temperature(logits, labels):
    def loss(t):
        e = torch.exp(logits / t)
        return -(e / e.sum(dim=1, keepdim=True)).log()[torch.arange(len(labels)), labels].mean().item()
    return float(min(np.geomspace(0.05, 20, 1500), key=loss))
"""}, ["test-temperature-limits"]),
    ("temperature: from 1 upwards", {"temperature": """
def temperature(logits, labels):
    return float(min(np.geomspace(1, 20, 900), key=lambda t: F.cross_entropy(logits / t, labels).item()))
"""}, ["test-temperature", "test-temperature-limits"]),
    ("temperature: steps of 0.5", {"temperature": """
def temperature(logits, labels):
    return float(min([0.05, *np.arange(0.5, 20.1, 0.5)], key=lambda t: F.cross_entropy(logits / t, labels).item()))
"""}, ["test-temperature", "test-confidences"]),
    ("confidences: the temperature of the test pictures", {"confidences": """
t = temperature(logits["test"], y["test"])
confidences = [float((logits["test"] / s).softmax(1).max(1).values.mean()) for s in (1, t)]
"""}, ["test-confidences"]),
    ("confidences: the probability of a dog", {"confidences": """
t = temperature(logits["val"], y["val"])
confidences = [float((logits["test"] / s).softmax(1)[:, 1].mean()) for s in (1, t)]
"""}, ["test-confidences"]),
    ("threshold: stops where it is too low", {"threshold": """
def threshold(probabilities, labels, target):
    confidence, said = probabilities.max(dim=1)
    best = math.inf
    for t in sorted(confidence.tolist(), reverse=True):
        if (said == labels)[confidence >= t].double().mean() < target:
            break
        best = t
    return best
"""}, ["test-threshold"]),
    ("threshold: sorted, picture by picture", {"threshold": """
def threshold(probabilities, labels, target):
    confidence, said = probabilities.max(dim=1)
    order = confidence.argsort(descending=True, stable=True)
    share = (said == labels)[order].double().cumsum(0) / torch.arange(1, len(order) + 1)
    good = confidence[order][share >= target]
    return float(good.min()) if len(good) else math.inf
"""}, ["test-threshold-ties"]),
    ("threshold: 1 if none is enough", {"threshold": """
def threshold(probabilities, labels, target):
    confidence, said = probabilities.max(dim=1)
    good = [t for t in confidence.tolist() if (said == labels)[confidence >= t].double().mean() >= target]
    return min(good, default=1.0)
"""}, ["test-threshold-ties"]),
    ("answered: the threshold of the test pictures", {"answered": """
p = logits["test"].softmax(1)
there = p.max(1).values >= threshold(p, y["test"], 0.875)
answered = [float(there.double().mean()), float((p.argmax(1) == y["test"])[there].double().mean())]
"""}, ["test-answered"]),
    ("answered: right ones of all pictures", {"answered": """
p = logits["test"].softmax(1)
there = p.max(1).values >= threshold(logits["val"].softmax(1), y["val"], 0.875)
answered = [float(there.double().mean()), float(((p.argmax(1) == y["test"]) & there).double().mean())]
"""}, ["test-answered"]),
    ("head: the given one with its temperature", {"head": """
def my_head(features):
    return head(features) / temperature(logits["val"], y["val"])
"""}, ["test-head"]),
    ("head: probabilities in place of logits", {"head": """
my_head = nn.Sequential(train_head(x["train"], y["train"]), nn.Softmax(dim=1))
"""}, ["test-head"]),
    ("head: never trained", {"head": """
torch.manual_seed(0)
my_head = nn.Linear(1280, 2)
"""}, ["test-head"]),
    ("fingerprint: the median of a block", {"fingerprint": """
def fingerprint(picture):
    h, w = picture.shape
    blocks = np.median(picture.reshape(8, h // 8, 8, w // 8), axis=(1, 3))
    return np.concatenate([(blocks[:, 1:] > blocks[:, :-1]).ravel(), (blocks[1:] > blocks[:-1]).ravel()])
"""}, ["test-fingerprint"]),
    ("copies: the mean difference from all training pictures", {"copies": """
prints = {name: np.array([fingerprint(gray(one)) for one in images[name]]) for name in ("more", "train")}
is_copy = (prints["more"][:, None] != prints["train"]).sum(axis=2).mean(axis=1) <= 18
"""}, ["test-copies"]),
    ("train_last: blocks without parameters are not counted", {"last": """
def train_last(model, count):
    model.eval().requires_grad_(False)
    blocks = [block for block in model if list(block.parameters())]
    for block in blocks[len(blocks) - count:]:
        block.train().requires_grad_(True)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
"""}, ["test-last"]),
    ("train_last: only BatchNorm of frozen blocks in eval mode", {"last": """
def train_last(model, count):
    model.train().requires_grad_(False)
    for number, block in enumerate(model):
        block.requires_grad_(number >= len(model) - count)
        for part in block.modules():
            if isinstance(part, nn.BatchNorm2d) and number < len(model) - count:
                part.eval()
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
"""}, ["test-last-modes"]),
    ("neighbours: votes are weighted with the cosine", {"neighbours": """
def neighbour_votes(queries, features, labels, classes, k):
    near = (F.normalize(queries) @ F.normalize(features).T).topk(min(k, len(features)))
    votes = (F.one_hot(labels[near.indices], classes) * near.values[..., None]).sum(dim=1)
    return votes / votes.sum(dim=1, keepdim=True)
"""}, ["test-neighbours"]),
    ("paired: exact below 25, and else an approximation", {"paired": """
def paired_p(first, second):
    b, c = int((first & ~second).sum()), int((~first & second).sum())
    if b + c >= 25:
        return math.erfc(math.sqrt((abs(b - c) - 1) ** 2 / (b + c) / 2))
    return min(1.0, 2 * sum(math.comb(b + c, i) for i in range(min(b, c) + 1)) / 2 ** (b + c))
"""}, ["test-paired"]),
    ("paired: 0 where floats do not reach", {"paired": """
def paired_p(first, second):
    b, c = int((first & ~second).sum()), int((~first & second).sum())
    if b + c > 1250:
        return 0.0
    return min(1.0, 2 * sum(math.comb(b + c, i) for i in range(min(b, c) + 1)) / 2 ** (b + c))
"""}, ["test-paired-limits"]),
    ("temperature: confidence as high as accuracy", {"temperature": """
def temperature(logits, labels):
    accuracy = float((logits.argmax(dim=1) == labels).double().mean())
    return float(min(np.geomspace(0.05, 20, 800),
                     key=lambda t: abs(float((logits / t).softmax(dim=1).amax(dim=1).mean()) - accuracy)))
"""}, ["test-temperature", "test-confidences"]),
]
