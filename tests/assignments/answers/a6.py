"""Assignment 6: answers that are right in another way, and wrong ones with the graded cells that they cost."""

RIGHT = [
    {  # loops, as beginners write it
        "ids": """
def ids_of(picture, colours):
    height, width, _ = picture.shape
    mask = np.zeros((height, width), dtype=np.uint8)
    for row in range(height):
        for column in range(width):
            mask[row, column] = 255
            for class_id in range(len(colours)):
                if list(picture[row, column]) == list(colours[class_id]):
                    mask[row, column] = class_id
    return mask
""",
        "kappa": """
def kappa(first, second):
    n = same = 0
    count_a, count_b = {}, {}
    for a, b in zip(first.flatten().tolist(), second.flatten().tolist()):
        if a != 255 and b != 255:
            n = n + 1
            if a == b:
                same = same + 1
            count_a[a] = count_a.get(a, 0) + 1
            count_b[b] = count_b.get(b, 0) + 1
    if n == 0:
        return float("nan")
    p_e = 0
    for c in count_a:
        p_e = p_e + (count_a[c] / n) * (count_b.get(c, 0) / n)
    if p_e == 1:
        return float("nan")
    return (same / n - p_e) / (1 - p_e)
""",
        "folds": """
def folds(places, pixels, count):
    names = []
    for place in places:
        if place not in names:
            names.append(place)
    sums = []
    for name in names:
        total = 0
        for i in range(len(places)):
            if places[i] == name:
                total += pixels[i]
        sums.append(total)
    left = list(range(len(names)))
    loads = [0] * count
    fold = {}
    while left:
        best = left[0]
        for i in left:
            if sums[i] > sums[best]:
                best = i
        smallest = 0
        for k in range(count):
            if loads[k] < loads[smallest]:
                smallest = k
        fold[names[best]] = smallest
        loads[smallest] += sums[best]
        left.remove(best)
    return [fold[place] for place in places]
""",
        "bootstrap": """
def resampled_miou(matrices, picks):
    result = []
    for row in picks:
        total = np.zeros(matrices[0].shape)
        for i in row:
            total += matrices[i]
        ious = []
        for c in range(len(total)):
            union = total[c].sum() + total[:, c].sum() - total[c, c]
            if union > 0:
                ious.append(total[c, c] / union)
        result.append(sum(ious) / len(ious))
    return result
""",
        "interval": """
a = np.array(resampled_miou(old, picks))
b = np.array(resampled_miou(new, picks))
interval = [np.quantile(b - a, 0.025), np.quantile(b - a, 0.975)]
""",
        "card": """
def card_of(picture, inputs):
    h, w, _ = picture.shape
    order, mean, std = [], [], []
    for c in range(3):
        x = inputs[0, c, :h, :w].astype(np.float64)
        for k in range(3):
            p = picture[:, :, k] / 255
            s = p.std() / x.std()
            m = p.mean() - s * x.mean()
            if np.allclose((p - m) / s, x, atol=1e-3):
                order.append(k)
                mean.append(m)
                std.append(s)
    return order, mean, std
""",
        "raw": """
def raw_weights(weight, bias, order, mean, std):
    D, _, k, _ = weight.shape
    new = torch.zeros(D, 3, k, k)
    b = torch.zeros(D)
    pad = torch.zeros(3)
    for c in range(3):
        pad[order[c]] = mean[c] * 255
    for d in range(D):
        if bias is not None:
            b[d] = bias[d]
        for c in range(3):
            new[d, order[c]] = weight[d, c] / std[c] / 255
            b[d] = b[d] - weight[d, c].sum() * mean[c] / std[c]
    return new, b, pad
""",
        "suspects": """
def suspects(maps, masks, count):
    torch.manual_seed(0)
    conv = nn.Conv2d(maps.shape[1], 3, 1)
    optimizer = torch.optim.Adam(conv.parameters(), lr=0.02)
    for step in range(150):
        loss = F.cross_entropy(conv(maps), masks.long(), ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        each = F.cross_entropy(conv(maps), masks.long(), ignore_index=255, reduction="none")
    scores = []
    for i in range(len(maps)):
        scores.append((float(each[i][masks[i] != 255].mean()), i))
    scores.sort(reverse=True)
    return [i for _, i in scores[:count]]
""",
    },
    {  # PyTorch and tables
        "ids": """
def ids_of(picture, colours):
    codes = picture.astype(np.int64) @ np.array([65536, 256, 1])
    table = np.full(2 ** 24, 255, dtype=np.uint8)
    table[colours.astype(np.int64) @ np.array([65536, 256, 1])] = np.arange(len(colours))
    return table[codes]
""",
        "kappa": """
def kappa(first, second):
    first, second = torch.from_numpy(first).long(), torch.from_numpy(second).long()
    known = (first < 255) & (second < 255)
    matrix = torch.bincount(first[known] * 256 + second[known], minlength=65536).reshape(256, 256).double()
    matrix = matrix / matrix.sum()
    chance = matrix.sum(0) @ matrix.sum(1)
    return float((matrix.trace() - chance) / (1 - chance))
""",
        "folds": """
def folds(places, pixels, count):
    import heapq
    names = list(dict.fromkeys(places))
    sums = np.bincount([names.index(place) for place in places], weights=pixels)
    heap = [(0, number) for number in range(count)]
    fold = np.zeros(len(names), dtype=int)
    for place in np.argsort(-sums, kind="stable"):
        load, number = heapq.heappop(heap)
        fold[place] = number
        heapq.heappush(heap, (load + sums[place], number))
    return np.array([fold[names.index(place)] for place in places])
""",
        "bootstrap": """
def resampled_miou(matrices, picks):
    times = np.stack([np.bincount(row, minlength=len(matrices)) for row in picks])
    summed = torch.from_numpy(np.tensordot(times, matrices, 1)).double()
    right = summed.diagonal(dim1=1, dim2=2)
    return (right / (summed.sum(1) + summed.sum(2) - right)).nanmean(1)
""",
        "interval": """
interval = np.quantile((resampled_miou(new, picks) - resampled_miou(old, picks)).numpy(), (0.025, 0.975))
""",
        "card": """
def card_of(picture, inputs):
    h, w = picture.shape[:2]
    p = picture.reshape(-1, 3).astype(np.float64)
    x = inputs[0][:, :h, :w].reshape(3, -1).astype(np.float64)
    weights, *_ = np.linalg.lstsq(np.c_[p / 255, np.ones(len(p))], x.T, rcond=None)  # (4, 3): colours and 1, channels
    order = weights[:3].argmax(axis=0)
    slope = weights[order, range(3)]
    return order, -weights[3] / slope, 1 / slope
""",
        "raw": """
def raw_weights(weight, bias, order, mean, std):
    with torch.no_grad():
        take = torch.eye(3)[list(order)] / (255 * std)[:, None]  # (channels, colours)
        new = torch.einsum("dcij,ck->dkij", weight, take)
        gone = torch.einsum("dcij,c->d", weight, mean / std)
        pad = torch.zeros(3)
        pad[torch.tensor(order)] = mean
        return new, -gone if bias is None else bias - gone, pad * 255.0
""",
        "suspects": """
def suspects(maps, masks, count):
    shares = np.zeros(len(maps))
    for i in range(len(maps)):  # each by a network that was trained on all others
        others = [j for j in range(len(maps)) if j != i]
        x = maps[others].permute(0, 2, 3, 1).reshape(-1, maps.shape[1]).numpy()
        y = masks[others].numpy().ravel()
        x = np.c_[x, np.ones(len(x))][y != 255]
        weights = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ np.eye(3)[y[y != 255]])
        own = maps[i].permute(1, 2, 0).reshape(-1, maps.shape[1]).numpy()
        said, truth = (np.c_[own, np.ones(len(own))] @ weights).argmax(1), masks[i].numpy().ravel()
        shares[i] = (said != truth)[truth != 255].mean()
    return np.argsort(shares)[::-1][:count]
""",
    },
    {  # short
        "ids": """
def ids_of(picture, colours):
    same = (picture[:, :, None] == np.asarray(colours)).all(-1)
    return np.where(same.any(-1), same.argmax(-1), 255).astype("uint8")
""",
        "kappa": """
def kappa(first, second):
    ok = np.logical_and(first < 255, second < 255)
    a, b = first[ok], second[ok]
    n = len(a)
    expected = sum(int((a == c).sum()) * int((b == c).sum()) for c in set(a.tolist()))
    return np.nan if n == 0 or expected == n * n else (n * int((a == b).sum()) - expected) / (n * n - expected)
""",
        "folds": """
def folds(places, pixels, count):
    from collections import Counter
    sums = Counter()
    for place, number in zip(places, pixels):
        sums[place] += number
    loads, fold = np.zeros(count), {}
    for place, total in sums.most_common():
        fold[place] = int(loads.argmin())
        loads[fold[place]] += total
    return [fold[place] for place in places]
""",
        "bootstrap": """
def resampled_miou(matrices, picks):
    def miou(m):
        d = m.diagonal()
        with np.errstate(invalid="ignore"):
            return np.nanmean(d / (m.sum(0) + m.sum(1) - d))
    return np.array([miou(matrices[row].sum(0)) for row in picks])
""",
        "interval": """
interval = tuple(np.percentile(resampled_miou(new, picks) - resampled_miou(old, picks), [2.5, 97.5]))
""",
        "card": """
def card_of(picture, inputs):
    x = inputs[0, :, :picture.shape[0], :picture.shape[1]]
    order = [int(np.argmax([np.corrcoef(x[c].ravel(), picture[..., k].ravel())[0, 1] for k in range(3)]))
             for c in range(3)]
    p = picture[..., order].transpose(2, 0, 1).reshape(3, -1) / 255
    x = x.reshape(3, -1)
    low, high = p.argmin(1), p.argmax(1)
    i = np.arange(3)
    std = (p[i, high] - p[i, low]) / (x[i, high] - x[i, low])
    return order, p[i, low] - x[i, low] * std, std
""",
        "raw": """
def raw_weights(weight, bias, order, mean, std):
    conv = nn.Conv2d(3, len(weight), weight.shape[-1], bias=False)
    conv.weight.data = weight
    black = -(mean / std)[None, :, None, None].expand(1, 3, *weight.shape[2:])  # what a black picture becomes
    b = conv(black).flatten().detach() + (bias if bias is not None else 0)
    w = (weight / (std * 255).view(1, 3, 1, 1))
    inverse = np.argsort(order).tolist()
    return w[:, inverse], b, [255 * float(mean[c]) for c in inverse]
""",
        "suspects": """
def suspects(maps, masks, count):
    loss = torch.zeros(len(maps))
    for fold in range(3):
        torch.manual_seed(fold)
        train = torch.arange(len(maps)) % 3 != fold
        net = nn.Sequential(nn.BatchNorm2d(maps.shape[1]), nn.Conv2d(maps.shape[1], 3, 1))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.3, momentum=0.9, weight_decay=1e-3)
        for _ in range(60):
            optimizer.zero_grad()
            F.cross_entropy(net(maps[train]), masks[train].long(), ignore_index=255).backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            for i in torch.where(~train)[0]:
                loss[i] = F.cross_entropy(net(maps[i:i + 1]), masks[i:i + 1].long(), ignore_index=255)
    return loss.topk(count).indices
""",
    },
    {  # other ways again
        "ids": """
def ids_of(picture, colours):
    number = {bytes(colour): i for i, colour in enumerate(np.ascontiguousarray(colours))}
    rows = [[number.get(bytes(pixel), 255) for pixel in row] for row in picture]
    return np.array(rows, dtype=np.uint8)
""",
        "kappa": """
def kappa(first, second):
    table = np.zeros((256, 256))
    np.add.at(table, (first.ravel(), second.ravel()), 1)
    table[255], table[:, 255] = 0, 0
    n = table.sum()
    if n == 0 or (table.sum(1) == n).any() and (table.sum(0) == n).any() and table.max() == n:
        return np.nan
    same, a, b = np.trace(table) / n, table.sum(1) / n, table.sum(0) / n
    return 1 - (1 - same) / (1 - a @ b)
""",
        "folds": """
def folds(places, pixels, count):
    table = {}
    for i, place in enumerate(places):
        table.setdefault(place, []).append(i)
    order = sorted(table.values(), key=lambda own: (-sum(pixels[i] for i in own), own[0]))
    result, bins = np.zeros(len(places), int), [[] for _ in range(count)]
    for own in order:
        k = min(range(count), key=lambda k: (sum(bins[k]), k))
        bins[k] += [pixels[i] for i in own]
        result[own] = k
    return result
""",
        "kappas": """
from itertools import combinations
kappas = np.array([kappa(a.copy(), b.copy()) for a, b in combinations(masks_of.values(), 2)])
""",
        "bootstrap": """
def resampled_miou(matrices, picks):
    weights = torch.zeros(len(picks), len(matrices), dtype=torch.float64)
    weights.scatter_add_(1, torch.from_numpy(picks), torch.ones(picks.shape, dtype=torch.float64))
    m = torch.einsum("sp,pij->sij", weights, torch.from_numpy(matrices).double())
    right = torch.einsum("sii->si", m)
    union = m.sum(1) + m.sum(2) - right
    there = union > 0
    return (right / union.clamp(min=1) * there).sum(1) / there.sum(1)
""",
        "card": """
def card_of(picture, inputs):
    from itertools import permutations
    h, w, _ = picture.shape
    p = torch.from_numpy(picture).permute(2, 0, 1).flatten(1).double() / 255
    x = torch.from_numpy(inputs)[0, :, :h, :w].flatten(1).double()
    best = None
    for order in permutations([0, 1, 2]):
        q = p[list(order)]
        std = q.std(1) / x.std(1)
        mean = q.mean(1) - std * x.mean(1)
        away = (std[:, None] * x + mean[:, None] - q).abs().sum()
        if best is None or away < best[0]:
            best = away, order, mean, std
    return best[1:]
""",
        "raw": """
def raw_weights(weight, bias, order, mean, std):
    size = weight.shape[-1]
    def prepared(picture):
        return torch.stack([(picture[:, k] / 255 - mean[c]) / std[c] for c, k in enumerate(order)], dim=1)
    dots = torch.zeros(3 * size * size + 1, 3, size, size)  # one for each weight, and a black picture
    for place in range(3 * size * size):
        dots[place].view(-1)[place] = 255.0
    found = F.conv2d(prepared(dots), weight, bias)[..., 0, 0]  # (dots, D)
    pad = torch.empty(3)
    for c, k in enumerate(order):
        pad[k] = mean[c] * 255
    return ((found[:-1] - found[-1]) / 255).T.reshape(weight.shape), found[-1], pad
""",
        "suspects": """
def suspects(maps, masks, count):
    # A Gaussian with one common covariance for each class, without the pictures of the own fold.
    score = torch.zeros(len(maps))
    for fold in range(6):
        own = torch.arange(len(maps)) % 6 == fold
        x, y = maps[~own].permute(0, 2, 3, 1).reshape(-1, maps.shape[1]).double(), masks[~own].flatten()
        centres = torch.stack([x[y == c].mean(0) for c in range(3)])
        known = y < 255
        away = x[known] - centres[y[known].long()]
        inverse = torch.linalg.inv(away.T @ away / len(away) + 0.01 * torch.eye(x.shape[1]))
        for i in torch.where(own)[0].tolist():
            d = maps[i].permute(1, 2, 0).double()[..., None, :] - centres
            wrong = torch.einsum("hwci,ij,hwcj->hwc", d, inverse, d).argmin(-1) != masks[i]
            score[i] = wrong[masks[i] < 255].float().mean()
    return set(score.topk(count).indices.tolist())
""",
    },
    {  # a table of all colours, masked arrays, SciPy's regression, least squares in five lines
        "ids": """
def ids_of(picture, colours):
    code = lambda a: a.astype(np.int64) @ [65536, 256, 1]
    table = np.full(1 << 24, 255, np.uint8)
    table[code(colours)] = np.arange(len(colours))
    return table[code(picture)]
""",
        "kappa": """
def kappa(first, second):
    both = (first != 255) & (second != 255)
    a, b = first[both].astype(int), second[both].astype(int)
    if not len(a) or len(set(a) | set(b)) == 1: return float("nan")
    m = np.zeros((255, 255)); np.add.at(m, (a, b), 1); m /= m.sum()
    pe = m.sum(0) @ m.sum(1)
    return (np.trace(m) - pe) / (1 - pe)
""",
        "kappas": """
from itertools import combinations
kappas = [kappa(masks_of[a], masks_of[b]) for a, b in combinations(("Anna", "Ben", "Cleo"), 2)]
""",
        "folds": """
def folds(places, pixels, count):
    sums, load, fold = {}, [0] * count, {}
    for p, n in zip(places, pixels): sums[p] = sums.get(p, 0) + n
    for p in sorted(sums, key=sums.get, reverse=True):
        fold[p] = load.index(min(load)); load[fold[p]] += sums[p]
    return [*map(fold.get, places)]
""",
        "bootstrap": """
def resampled_miou(matrices, picks):
    m = np.asarray(matrices)[picks].sum(1)
    d = np.diagonal(m, axis1=1, axis2=2)
    u = m.sum(1) + m.sum(2) - d
    return np.ma.divide(d, u).mean(axis=1).filled(np.nan)
""",
        "interval": """
interval = np.quantile(resampled_miou(new, picks) - resampled_miou(old, picks), [.025, .975])
""",
        "card": """
from scipy.stats import linregress
def card_of(picture, inputs):
    H, W, _ = picture.shape
    out = []
    for c in range(3):
        fits = [linregress(picture[..., k].ravel() / 255, inputs[0, c, :H, :W].ravel().astype(float)) for k in range(3)]
        k = max(range(3), key=lambda k: fits[k].rvalue)
        s = 1 / fits[k].slope
        out.append((k, -fits[k].intercept * s, s))
    return [list(v) for v in zip(*out)]
""",
        "raw": """
def raw_weights(weight, bias, order, mean, std):
    w = weight / std[:, None, None]
    b = -(w * mean[:, None, None]).sum((1, 2, 3)) + (0 if bias is None else bias)
    back = np.argsort(order)
    return w[:, back] / 255, b, 255 * mean[back]
""",
        "suspects": """
def suspects(maps, masks, count):
    from scipy.special import log_softmax
    N, C, h, w = maps.shape
    X = maps.permute(0, 2, 3, 1).numpy().astype(float); X = np.concatenate([X, np.ones((N, h, w, 1))], -1)
    Y = masks.numpy(); score = np.zeros(N)
    for f in range(6):
        tr = np.arange(N) % 6 != f
        ok = Y[tr] != 255
        A, B = X[tr][ok], np.eye(3)[Y[tr][ok]]
        Wt = np.linalg.solve(A.T @ A + 10 * np.eye(C + 1), A.T @ B)
        for i in np.flatnonzero(~tr):
            k = Y[i] != 255
            score[i] = (((X[i][k] @ Wt) - np.eye(3)[Y[i][k]]) ** 2).sum(-1).mean()
    return np.argsort(-score)[:count].tolist()
""",
    },
    {  # counters and dictionaries, a heap, all orders of the colours, folds at random
        "ids": """
def ids_of(picture, colours):
    number = {tuple(c): i for i, c in enumerate(colours.tolist())}
    return np.array([[number.get(tuple(p), 255) for p in row] for row in picture.tolist()], dtype=np.uint8)
""",
        "kappa": """
from collections import Counter
def kappa(first, second):
    pairs = [(a, b) for a, b in zip(first.ravel().tolist(), second.ravel().tolist()) if a != 255 and b != 255]
    if not pairs: return float("nan")
    n = len(pairs)
    A, B = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    chance = sum(A[c] * B[c] for c in A)
    if chance == n * n: return float("nan")
    return (sum(a == b for a, b in pairs) * n - chance) / (n * n - chance)
""",
        "kappas": """
anna, ben, cleo = (masks_of[name] for name in ("Anna", "Ben", "Cleo"))
kappas = kappa(anna, ben), kappa(cleo, anna), kappa(ben, cleo)
""",
        "folds": """
def folds(places, pixels, count):
    import heapq
    distinct = list(dict.fromkeys(places))
    total = [sum(n for q, n in zip(places, pixels) if q == p) for p in distinct]
    heap = [(0, f) for f in range(count)]
    where = {}
    for i in sorted(range(len(distinct)), key=lambda i: (-total[i], i)):
        s, f = heapq.heappop(heap)
        where[distinct[i]] = f
        heapq.heappush(heap, (s + total[i], f))
    return np.array([where[p] for p in places])
""",
        "bootstrap": """
def resampled_miou(matrices, picks):
    out = []
    for row in picks:
        m = sum(matrices[int(i)].astype(float) for i in row)
        below = [m[c].sum() + m[:, c].sum() - m[c, c] for c in range(len(m))]
        ious = [m[c, c] / n for c, n in enumerate(below) if n > 0]
        out.append(sum(ious) / len(ious))
    return torch.tensor(out, dtype=torch.float64)
""",
        "interval": """
d = sorted(float(a - b) for a, b in zip(resampled_miou(new, picks), resampled_miou(old, picks)))
def q(p):
    i = p * (len(d) - 1); k = int(i)
    return d[k] + (i - k) * (d[k + 1] - d[k])
interval = q(0.025), q(0.975)
""",
        "card": """
from itertools import permutations
def card_of(picture, inputs):
    H, W = picture.shape[:2]
    x = torch.as_tensor(inputs)[0, :, :H, :W].reshape(3, -1).double()
    p = torch.as_tensor(picture).reshape(-1, 3).double().T
    def fit(order):
        err, means, stds = 0, [], []
        for c, k in enumerate(order):
            A = torch.stack([p[k], torch.ones_like(p[k])], 1)
            sol = torch.linalg.lstsq(A, x[c]).solution
            err += float(((A @ sol - x[c]) ** 2).sum())
            stds.append(float(1 / (255 * sol[0]))); means.append(float(-sol[1] * stds[-1]))
        return err, order, means, stds
    return min(map(fit, permutations(range(3))))[1:]
""",
        "raw": """
def raw_weights(weight, bias, order, mean, std):
    D, _, k, _ = weight.shape
    new, b, pad = torch.zeros(D, 3, k, k), torch.zeros(D) if bias is None else bias.clone(), torch.zeros(3)
    for c in range(3):
        new[:, order[c]] = weight[:, c] / (255 * std[c])
        b = b - weight[:, c].sum((1, 2)) * mean[c] / std[c]
        pad[order[c]] = mean[c] * 255
    return new, b, pad.tolist()
""",
        "suspects": """
def suspects(maps, masks, count):
    N = len(maps)
    x = (maps - maps.mean((0, 2, 3), keepdim=True)) / (maps.std((0, 2, 3), keepdim=True) + 1e-6)
    y = masks.long()
    loss = torch.zeros(N)
    torch.manual_seed(1)
    fold = torch.randperm(N) % 4
    for f in range(4):
        net = nn.Conv2d(maps.shape[1], 3, 1)
        opt = torch.optim.AdamW(net.parameters(), lr=0.02, weight_decay=0.1)
        for _ in range(120):
            opt.zero_grad(); F.cross_entropy(net(x[fold != f]), y[fold != f], ignore_index=255).backward(); opt.step()
        with torch.no_grad():
            for i in torch.where(fold == f)[0]:
                loss[i] = F.cross_entropy(net(x[i:i+1]), y[i:i+1], ignore_index=255)
    return loss.argsort(descending=True)[:count]
""",
    },
]

_KAPPA = """
def kappa(first, second):
    known = {known}
    a, b = first[known], second[known]
    if a.size == 0:
        return {nothing}
    same = (a == b).mean()
    chance = {chance}
    if chance == 1:
        return {nothing}
    return {result}
"""


def _kappa(known="(first != 255) & (second != 255)", nothing="np.nan", result="(same - chance) / (1 - chance)",
           chance="sum((a == c).mean() * (b == c).mean() for c in range(256))"):
    return {"kappa": _KAPPA.format(known=known, nothing=nothing, result=result, chance=chance)}


def _folds(sums="sums[place] = sums.get(place, 0) + number", order="sorted(sums, key=sums.get, reverse=True)",
           pick="filled.index(min(filled))", more="sums[place]"):
    return {"folds": f"""
def folds(places, pixels, count):
    sums = dict()
    for place, number in zip(places, pixels):
        {sums}
    filled, fold_of = [0] * count, dict()
    for turn, place in enumerate({order}):
        fold_of[place] = {pick}
        filled[fold_of[place]] += {more}
    return [fold_of[place] for place in places]
"""}


def _bootstrap(chosen="row", union="m.sum(0) + m.sum(1) - np.diag(m)", mean="iou[union > 0].mean()"):
    return {"bootstrap": f"""
def resampled_miou(matrices, picks):
    values = []
    for row in picks:
        m = matrices[{chosen}].sum(axis=0)
        union = {union}
        iou = np.diag(m) / np.maximum(union, 1)
        values.append({mean})
    return np.array(values)
"""}


def _card(part="inputs[0, :, :h, :w]", scale="255", order="order", mean="mean", std="std", away="np.abs(error).max()"):
    return {"card": f"""
def card_of(picture, inputs):
    h, w, _ = picture.shape
    order, mean, std = [], [], []
    for x in {part}.reshape(3, -1).astype(float):
        lines = []
        for k in range(3):
            p = picture[..., k].ravel() / {scale}
            u, v = np.polyfit(p, x[:p.size], 1)
            error = x[:p.size] - u * p - v
            lines.append(({away}, k, -v / u, 1 / u))
        _, k, m, s = min(lines)
        order.append(k)
        mean.append(m)
        std.append(s)
    order, mean, std = np.array(order), np.array(mean), np.array(std)
    return {order}, {mean}, {std}
"""}


def _raw(scaled="weight / (255 * std[:, None, None])", channels="[order.index(k) for k in range(3)]",
         shift="(weight.sum((2, 3)) * mean / std).sum(1)", bias="0 if bias is None else bias",
         pad="255 * mean[[order.index(k) for k in range(3)]]", before=""):
    return {"raw": f"""
def raw_weights(weight, bias, order, mean, std):
    {before}
    channels = {channels}
    return ({scaled})[:, channels], ({bias}) - {shift}, {pad}
"""}


def _suspects(score):
    return {"suspects": f"""
def suspects(maps, masks, count):
    score = {score}
    return score.argsort(descending=True)[:count].tolist()
"""}


WRONG = [
    ("ids: sums of the colours", {"ids": """
def ids_of(picture, colours):
    mask = np.full(picture.shape[:2], 255, dtype=np.uint8)
    for class_id, colour in enumerate(colours):
        mask[picture.sum(-1) == colour.sum()] = class_id
    return mask
"""}, ["test-ids", "test-ids-unknown"]),
    ("ids: only red", {"ids": """
def ids_of(picture, colours):
    mask = np.full(picture.shape[:2], 255, dtype=np.uint8)
    for class_id, colour in enumerate(colours):
        mask[picture[..., 0] == colour[0]] = class_id
    return mask
"""}, ["test-ids", "test-ids-unknown"]),
    ("ids: the nearest colour", {"ids": """
def ids_of(picture, colours):
    away = np.abs(picture[:, :, None].astype(int) - colours).sum(-1)
    return away.argmin(-1).astype(np.uint8)
"""}, ["test-ids-unknown"]),
    ("ids: unknown colours are 0", {"ids": """
def ids_of(picture, colours):
    return (picture[:, :, None] == colours).all(-1).argmax(-1).astype(np.uint8)
"""}, ["test-ids-unknown"]),
    ("ids: unknown is what is black", {"ids": """
def ids_of(picture, colours):
    mask = np.zeros(picture.shape[:2], dtype=np.uint8)
    for class_id, colour in enumerate(colours):
        mask[(picture == colour).all(-1)] = class_id
    mask[(picture == 0).all(-1)] = 255
    return mask
"""}, ["test-ids", "test-ids-unknown"]),
    ("ids: int64", {"ids": """
def ids_of(picture, colours):
    mask = np.full(picture.shape[:2], 255)
    for class_id, colour in enumerate(colours):
        mask[(picture == colour).all(-1)] = class_id
    return mask
"""}, ["test-ids"]),
    ("kappa: the share of equal pixels", _kappa(result="same"), ["test-kappa", "test-kappas"]),
    ("kappa: classes equally likely", _kappa(chance="1 / len(np.union1d(a, b))"),
     ["test-kappa", "test-kappas"]),
    ("kappa: shares of both together", _kappa(
        chance="sum((np.concatenate([a, b]) == c).mean() ** 2 for c in range(256))"),
     ["test-kappa"]),
    ("kappa: 255 is a class", _kappa("np.ones(first.shape, bool)"), ["test-kappa-255", "test-kappas"]),
    ("kappa: only those left out that nobody labelled", _kappa("(first != 255) | (second != 255)"),
     ["test-kappa-255", "test-kappas"]),
    ("kappa: shares of what each labelled", _kappa(
        chance="sum((first[first != 255] == c).mean() * (second[second != 255] == c).mean() for c in range(255))"),
     ["test-kappa-255", "test-kappas"]),
    ("kappa: nothing to measure is 1", _kappa(nothing="1.0"), ["test-kappa-nan"]),
    ("kappa: nothing to measure is 0", _kappa(nothing="0.0"), ["test-kappa-nan"]),
    ("kappa: divided by zero", {"kappa": _kappa()["kappa"].replace("if chance == 1:", "if False:").replace(
        "(a == b).mean()", "float((a == b).mean())").replace("chance = sum(", "chance = float(sum(").replace(
            "range(256))", "range(256)))")}, ["test-kappa-nan"]),
    ("kappa: three classes", _kappa(chance="sum((a == c).mean() * (b == c).mean() for c in range(3))"), ["test-kappa"]),
    ("kappas: the mean over the pictures", {"kappas": """
anna, ben, cleo = masks_of.values()
kappas = [np.nanmean([kappa(a[None], b[None]) for a, b in zip(*pair)]) for pair in
          ((anna, ben), (anna, cleo), (ben, cleo))]
"""}, ["test-kappas"]),
    ("kappas: another order", {"kappas": """
anna, ben, cleo = masks_of.values()
kappas = [kappa(anna, ben), kappa(ben, cleo), kappa(anna, cleo)]
"""}, ["test-kappas"]),
    ("kappas: somebody else's numbers", {"kappas": "kappas = [0.946, 0.815, 0.836]"}, ["test-kappas"]),
    ("folds: pictures are dealt, not places", {"folds": """
def folds(places, pixels, count):
    filled, found = [0] * count, [0] * len(places)
    for i in sorted(range(len(places)), key=lambda i: -pixels[i]):
        found[i] = filled.index(min(filled))
        filled[found[i]] += pixels[i]
    return found
"""}, ["test-folds", "test-folds-ties"]),
    ("folds: in the order of the list", _folds(order="sums"), ["test-folds"]),
    ("folds: the smallest first", _folds(order="sorted(sums, key=sums.get)"), ["test-folds"]),
    ("folds: in turn, the largest first", _folds(pick="turn % count"), ["test-folds"]),
    ("folds: counts pictures", _folds(sums="sums[place] = sums.get(place, 0) + 1"), ["test-folds"]),
    ("folds: pixels of the last picture of a place", _folds(sums="sums[place] = number"), ["test-folds"]),
    ("folds: the number of places is balanced", _folds(more="1"), ["test-folds"]),
    ("folds: equal places by the alphabet", _folds(order="sorted(sorted(sums), key=sums.get, reverse=True)"),
     ["test-folds-ties"]),
    ("folds: equal places from the end", _folds(order="sorted(sums, key=sums.get)[::-1]"), ["test-folds-ties"]),
    ("folds: the last of equal folds", _folds(pick="count - 1 - filled[::-1].index(min(filled))"), ["test-folds-ties"]),
    ("folds: as many folds as places at least", _folds(pick="filled.index(min(filled[:len(sums)])) + max(0, count - "
                                                            "len(sums))"), ["test-folds-ties"]),
    ("bootstrap: the mean of the pictures' mIoUs", {"bootstrap": """
def resampled_miou(matrices, picks):
    own = []
    for m in matrices:
        union = m.sum(0) + m.sum(1) - np.diag(m)
        own.append((np.diag(m)[union > 0] / union[union > 0]).mean())
    return np.array(own)[picks].mean(axis=1)
"""}, ["test-bootstrap", "test-bootstrap-absent", "test-interval"]),
    ("bootstrap: each picture once", _bootstrap(chosen="np.unique(row)"),
     ["test-bootstrap", "test-bootstrap-absent", "test-interval"]),
    ("bootstrap: recall", _bootstrap(union="m.sum(1)"), ["test-bootstrap", "test-bootstrap-absent", "test-interval"]),
    ("bootstrap: right pixels count twice in the union", _bootstrap(union="m.sum(0) + m.sum(1)"),
     ["test-bootstrap", "test-bootstrap-absent", "test-interval"]),
    ("bootstrap: absent classes are 0", _bootstrap(mean="iou.mean()"), ["test-bootstrap-absent"]),
    ("bootstrap: absent classes are NaN", _bootstrap(mean="np.where(union > 0, iou, np.nan).mean()"),
     ["test-bootstrap-absent"]),
    ("bootstrap: only classes of the truth", _bootstrap(mean="iou[m.sum(1) > 0].mean()"), ["test-bootstrap-absent"]),
    ("bootstrap: only classes that are in all pictures together", _bootstrap(
        mean="iou[matrices.sum((0, 1)) + matrices.sum((0, 2)) > 0].mean()"), ["test-bootstrap-absent"]),
    ("bootstrap: one number for all samples", _bootstrap(chosen="picks.ravel()"),
     ["test-bootstrap", "test-bootstrap-absent", "test-interval"]),
    ("interval: two intervals, subtracted", {"interval": """
a, b = (np.quantile(resampled_miou(one, picks), [0.025, 0.975]) for one in (old, new))
interval = b - a
"""}, ["test-interval"]),
    ("interval: unpaired", {"interval": """
differences = resampled_miou(new, picks) - resampled_miou(old, picks[::-1])
interval = np.quantile(differences, [0.025, 0.975])
"""}, ["test-interval"]),
    ("interval: 90 %", {"interval": """
interval = np.quantile(resampled_miou(new, picks) - resampled_miou(old, picks), [0.05, 0.95])
"""}, ["test-interval"]),
    ("interval: mean and two deviations", {"interval": """
d = resampled_miou(new, picks) - resampled_miou(old, picks)
interval = [d.mean() - 2 * d.std(), d.mean() + 2 * d.std()]
"""}, ["test-interval"]),
    ("interval: old minus new", {"interval": """
interval = np.quantile(resampled_miou(old, picks) - resampled_miou(new, picks), [0.025, 0.975])
"""}, ["test-interval"]),
    ("interval: samples of one's own", {"interval": """
mine = np.random.default_rng(0).integers(0, 40, (1000, 40))
interval = np.quantile(resampled_miou(new, mine) - resampled_miou(old, mine), [0.025, 0.975])
"""}, ["test-interval"]),
    ("card: the order the other way round", _card(order="np.argsort(order)"), ["test-card"]),
    ("card: means and deviations by colours", _card(mean="mean[np.argsort(order)]", std="std[np.argsort(order)]"),
     ["test-card"]),
    ("card: pixels not divided by 255", _card(scale="1"), ["test-card"]),
    ("card: the deviation inverse", _card(std="1 / std"), ["test-card"]),
    ("card: the mean has the wrong sign", _card(mean="-mean"), ["test-card"]),
    ("card: the colours in their order", _card(order="[0, 1, 2]"), ["test-card"]),
    ("card: the line with the steepest slope", _card(away="-abs(u)"), ["test-card"]),
    ("card: the first places of larger inputs", _card(part="inputs[0]"), ["test-card-larger"]),
    ("card: mean and deviation of all places", {"card": """
def card_of(picture, inputs):
    p, x = picture.reshape(-1, 3) / 255, inputs[0].reshape(3, -1)
    h, w, _ = picture.shape
    order = [int(np.argmax([np.corrcoef(p[:, k], inputs[0, c, :h, :w].ravel())[0, 1] for k in range(3)]))
             for c in range(3)]
    std = p.std(0)[order] / x.std(1)
    return order, p.mean(0)[order] - std * x.mean(1), std
"""}, ["test-card-larger"]),
    ("raw: not divided by 255", _raw(scaled="weight / std[:, None, None]"), ["test-raw"]),
    ("raw: the bias stays", _raw(shift="0 * weight.sum((1, 2, 3))"), ["test-raw"]),
    ("raw: the mean is added", _raw(shift="(-weight.sum((2, 3)) * mean / std).sum(1)"),
     ["test-raw"]),
    ("raw: one weight of a kernel meets the mean", _raw(shift="(weight.mean((2, 3)) * mean / std).sum(1)"),
     ["test-raw"]),
    ("raw: the order is not used", _raw(channels="[0, 1, 2]"), ["test-raw-order"]),
    ("raw: the order is used the other way round", _raw(channels="order"), ["test-raw-order"]),
    ("raw: mean and deviation by colours", _raw(before="mean, std = mean[order], std[order]"),
     ["test-raw-order", "test-raw-pad"]),
    ("raw: stops without biases", _raw(bias="bias"), ["test-raw-none"]),
    ("raw: no biases stay no biases", {"raw": _raw()["raw"].replace("(0 if bias is None else bias) -",
                                                                    "None if bias is None else bias -")},
     ["test-raw-none"]),
    ("raw: padded with black", _raw(pad="torch.zeros(3)"), ["test-raw-pad"]),
    ("raw: padded with 0 to 1", _raw(pad="mean[[order.index(k) for k in range(3)]]"), ["test-raw-pad"]),
    ("raw: padded with what black becomes", _raw(pad="(-mean / std)[order]"), ["test-raw-pad"]),
    ("raw: the colour in the order of the channels", _raw(pad="255 * mean"), ["test-raw-pad"]),
    ("raw: the weights that come in are changed", _raw(before="weight /= 1.0; mean *= 1.0; weight += 0.001"),
     ["test-raw", "test-raw-order", "test-raw-none", "test-raw-pad"]),
    ("suspects: the first six", _suspects("-torch.arange(len(masks))"), ["test-suspects"]),
    ("suspects: the most plants", _suspects("(masks == 1).sum((1, 2))"), ["test-suspects"]),
    ("suspects: the fewest labels", _suspects("(masks == 255).sum((1, 2))"), ["test-suspects"]),
    ("suspects: the masks that are wrong in the practice set", {"suspects": """
def suspects(maps, masks, count):
    return wrong
"""}, ["test-suspects"]),
    ("suspects: the lowest loss", {"suspects": """
def suspects(maps, masks, count):
    x = torch.cat([maps, torch.ones_like(maps[:, :1])], 1).permute(0, 2, 3, 1).double()
    known = masks != 255
    y = F.one_hot(masks[known].long(), 3).double()
    weights = torch.linalg.lstsq(x[known], y).solution
    wrong = ((x @ weights).argmax(-1) != masks) & known
    return (wrong.sum((1, 2)) / known.sum((1, 2))).argsort()[:count]
"""}, ["test-suspects"]),
    ("suspects: all of them", {"suspects": """
def suspects(maps, masks, count):
    return list(range(len(masks)))
"""}, ["test-suspects"]),
    ("ids: colours that are nearly equal", {"ids": """
def ids_of(picture, colours):
    mask = np.full(picture.shape[:2], 255, dtype=np.uint8)
    for class_id, colour in enumerate(colours):
        mask[np.isclose(picture.astype(int), colour.astype(int), atol=3).all(-1)] = class_id
    return mask
"""}, ["test-ids-unknown"]),
    ("kappa: writes 255 into the masks", {"kappa": _kappa()["kappa"].replace(
        "    known = ", "    first[second == 255] = 255\n    known = ")}, ["test-kappa-255", "test-kappas"]),
    ("folds: the largest picture of a place", _folds(sums="sums[place] = max(sums.get(place, 0), number)"),
     ["test-folds"]),
    ("folds: sorts the list of pixels", _folds(sums="sums[place] = sums.get(place, 0) + number; pixels.sort()"),
     ["test-folds"]),
    ("bootstrap: the mean of each class's IoUs", {"bootstrap": """
def resampled_miou(matrices, picks):
    right = np.diagonal(matrices, axis1=1, axis2=2)
    union = matrices.sum(1) + matrices.sum(2) - right
    iou = np.where(union > 0, right / np.maximum(union, 1), np.nan)  # (pictures, classes)
    values = []
    for row in picks:
        there = ~np.isnan(iou[row])
        own = np.where(there, iou[row], 0).sum(0)[there.any(0)] / there.sum(0)[there.any(0)]
        values.append(own.mean())
    return np.array(values)
"""}, ["test-bootstrap", "test-bootstrap-absent", "test-interval"]),
    ("interval: quantiles as percent", {"interval": """
interval = np.percentile(resampled_miou(new, picks) - resampled_miou(old, picks), [0.025, 0.975])
"""}, ["test-interval"]),
    ("card: the order by how bright the channels are", {"card": """
def card_of(picture, inputs):
    h, w, _ = picture.shape
    p, x = picture.reshape(-1, 3) / 255, inputs[0, :, :h, :w].reshape(3, -1).astype(float)
    order = np.argsort(p.mean(0))[np.argsort(np.argsort(x.mean(1)))]
    std = p.std(0)[order] / x.std(1)
    return order, p.mean(0)[order] - std * x.mean(1), std
"""}, ["test-card"]),
    ("raw: 255 times the mean in the bias", _raw(shift="(weight.sum((2, 3)) * 255 * mean / std).sum(1)"), ["test-raw"]),
    ("suspects: unusual shares of the classes", {"suspects": """
def suspects(maps, masks, count):
    shares = torch.stack([(masks == c).float().mean((1, 2)) for c in range(3)])  # (3, N)
    away = (shares - shares.median(dim=1, keepdim=True).values).abs().sum(0)
    return away.argsort(descending=True)[:count]
"""}, ["test-suspects"]),
    ("ids: red and green alone", {"ids": """
def ids_of(picture, colours):
    made = np.full(picture.shape[:2], 255, np.uint8)
    for number, colour in enumerate(colours):
        made[(picture[..., :2] == colour[:2]).all(axis=-1)] = number
    return made
"""}, ["test-ids-unknown"]),
    ("ids: blue, green, red", {"ids": """
def ids_of(picture, colours):
    made = np.full(picture.shape[:2], 255, np.uint8)
    for number, colour in enumerate(colours):
        made[(picture == colour[::-1]).all(axis=-1)] = number
    return made
"""}, ["test-ids", "test-ids-unknown"]),
    ("kappa: NaN if both agree everywhere", {"kappa": """
def kappa(first, second):
    both = (first != 255) & (second != 255)
    a, b = first[both], second[both]
    if (a == b).all():
        return float("nan")
    chance = sum((a == c).mean() * (b == c).mean() for c in np.unique(a))
    return ((a == b).mean() - chance) / (1 - chance)
"""}, ["test-kappa-nan"]),
    ("kappa: never below 0", {"kappa": """
def kappa(first, second):
    both = (first != 255) & (second != 255)
    a, b = first[both], second[both]
    chance = sum((a == c).mean() * (b == c).mean() for c in np.unique(a)) if a.size else 1.0
    return max(0.0, ((a == b).mean() - chance) / (1 - chance)) if chance < 1 else float("nan")
"""}, ["test-kappa"]),
    ("folds: places without the rare class go to fold 0", {"folds": """
def folds(places, pixels, count):
    total, load, fold = {}, [0] * count, {}
    for place, number in zip(places, pixels):
        total[place] = total.get(place, 0) + number
    for place in sorted(total, key=total.get, reverse=True):
        if total[place] > 0:
            fold[place] = load.index(min(load))
            load[fold[place]] += total[place]
    return [fold.get(place, 0) for place in places]
"""}, ["test-folds"]),
    ("folds: sorted upwards, and turned", {"folds": """
def folds(places, pixels, count):
    total, load, fold = {}, [0] * count, {}
    for place, number in zip(places, pixels):
        total[place] = total.get(place, 0) + number
    for place in sorted(total, key=total.get)[::-1]:
        fold[place] = load.index(min(load))
        load[fold[place]] += total[place]
    return [fold[place] for place in places]
"""}, ["test-folds-ties"]),
    ("bootstrap: all intersections by all unions", {"bootstrap": """
def resampled_miou(matrices, picks):
    summed = matrices[picks].sum(axis=1)
    right = summed.diagonal(axis1=1, axis2=2)
    return right.sum(axis=1) / (summed.sum(axis=1) + summed.sum(axis=2) - right).sum(axis=1)
"""}, ["test-bootstrap", "test-bootstrap-absent", "test-interval"]),
    ("card: rounded to two digits", {"card": """
def card_of(picture, inputs):
    height, width = picture.shape[:2]
    x, p = inputs[0, :, :height, :width].reshape(3, -1).astype(float), picture.reshape(-1, 3).T / 255
    order = [int(np.argmax([np.corrcoef(one, other)[0, 1] for other in p])) for one in x]
    lines = [np.polyfit(p[colour], one, 1) for colour, one in zip(order, x)]
    return order, [round(-v / u, 2) for u, v in lines], [round(1 / u, 2) for u, v in lines]
"""}, ["test-card"]),
    ("raw: a whole number for the colour around the picture", {"raw": """
def raw_weights(weight, bias, order, mean, std):
    back = [order.index(colour) for colour in range(3)]
    scaled = weight / std[:, None, None]
    moved = (0 if bias is None else bias) - (scaled * mean[:, None, None]).sum(dim=(1, 2, 3))
    return scaled[:, back] / 255, moved, (255 * mean)[back].round()
"""}, ["test-raw-pad"]),
]
