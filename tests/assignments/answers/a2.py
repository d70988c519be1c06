"""Assignment 2: answers that are right in another way, and wrong ones with the graded cells that they cost."""

RIGHT = [
    {  # loops and masks, as beginners write it; a decoder on features that are computed once
        "map-size": """
def map_size(length, layers):
    for k, s, p, d in layers:
        length = length + 2 * p
        begin, places = 0, 0
        while begin + d * (k - 1) < length:
            places = places + 1
            begin = begin + s
        length = places
        if length == 0:
            break
    return length
""",
        "bilinear-kernel": """
def bilinear_kernel(factor):
    kernel = torch.zeros(2 * factor, 2 * factor)
    for i in range(2 * factor):
        for j in range(2 * factor):
            kernel[i, j] = (1 - abs(i + 0.5 - factor) / factor) * (1 - abs(j + 0.5 - factor) / factor)
    return kernel
""",
        "upsampler": """
def upsampler(kernel, channels):
    f = kernel.shape[0] // 2
    layer = nn.ConvTranspose2d(channels, channels, 2 * f, stride=f, padding=f // 2, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        for c in range(channels):
            layer.weight[c, c] = kernel
    return layer
""",
        "mirrored-mean": """
def mirrored_mean(network, images, partner):
    first = F.softmax(network(images), dim=1)
    second = F.softmax(network(torch.flip(images, dims=[3])), dim=1)
    second = torch.flip(second, dims=[3])
    made = torch.zeros_like(first)
    for c in range(first.shape[1]):
        made[:, c] = 0.5 * first[:, c] + 0.5 * second[:, partner[c]]
    return made
""",
        "sure-only": """
def sure_only(probabilities, threshold):
    made = np.full((probabilities.shape[0], *probabilities.shape[2:]), 255, dtype=np.uint8)
    best = np.max(probabilities, axis=1)
    for c in reversed(range(probabilities.shape[1])):
        made[(probabilities[:, c] == best) & (best >= threshold)] = c
    return made
""",
        "own-sure": """
right = sure = total = 0
for p, truth in zip(probabilities, truths):
    said = sure_only(p[None], 0.9)[0]
    total += said.size
    sure += np.sum(said != 255)
    right += np.sum(said == truth)
sure_share, sure_accuracy = sure / total, right / sure
""",
        "drop-islands": """
def drop_islands(mask, least):
    made, seen = mask.copy(), np.zeros(mask.shape, dtype=bool)
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            if seen[y, x] or mask[y, x] == 0 or mask[y, x] == 255:
                continue
            region, waiting = [], [(y, x)]
            seen[y, x] = True
            while waiting:
                b, a = waiting.pop()
                region.append((b, a))
                for d, c in ((b - 1, a), (b + 1, a), (b, a - 1), (b, a + 1)):
                    if 0 <= d < mask.shape[0] and 0 <= c < mask.shape[1]:
                        if not seen[d, c] and mask[d, c] == mask[y, x]:
                            seen[d, c] = True
                            waiting.append((d, c))
            if len(region) < least:
                for place in region:
                    made[place] = 0
    return made
""",
        "vote": """
def vote(masks, reach):
    made = np.full(masks.shape, 255, dtype=np.uint8)
    for t in range(len(masks)):
        most = np.zeros(masks.shape[1:], dtype=int)
        for c in range(255):
            if not (masks == c).any():
                continue
            votes = np.zeros(masks.shape[1:], dtype=int)
            for other in range(t - reach, t + reach + 1):
                if 0 <= other < len(masks):
                    votes += masks[other] == c
            more = votes > most
            made[t][more], most[more] = c, votes[more]
    return made
""",
        "own-vote": """
masks = probabilities.argmax(1).astype(np.uint8)
false_changes = []
for one in (masks, vote(masks, 2)):
    false = cases = 0
    for t in range(1, len(one)):
        for_sure = truths[t] == truths[t - 1]
        cases += for_sure.sum()
        false += ((one[t] != one[t - 1]) & for_sure).sum()
    false_changes.append(false / cases)
""",
        "decoder": """
class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(24 + 40 + 112 + 320, 48, 1), nn.BatchNorm2d(48), nn.ReLU(),
                                    nn.Conv2d(48, 3, 3, padding=1))
    def forward(self, x):
        return F.interpolate(self.layers(x), size=(128, 224), mode="bilinear")
class Whole(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = Head()
    def features(self, x):
        with torch.no_grad():
            maps = network.backbone(x)
        return torch.cat([F.interpolate(maps[k], size=(32, 56)) for k in ("c2", "c3", "c4", "c5")], dim=1)
    def forward(self, x):
        return self.head(self.features(x))
decoder = Whole()
x = decoder.features(inputs[list(LABELLED)])
y = torch.tensor(truths[list(LABELLED)]).long()
optimizer = torch.optim.AdamW(decoder.parameters(), lr=0.01)
for epoch in range(30):
    optimizer.zero_grad()
    F.cross_entropy(decoder.head(x), y).backward()
    optimizer.step()
""",
    },
    {  # in PyTorch; the whole pretrained network is trained on
        "map-size": """
def map_size(length, layers):
    row = torch.zeros(1, 1, length)
    for kernel, stride, padding, dilation in layers:
        if row.shape[2] + 2 * padding < dilation * (kernel - 1) + 1:
            return 0
        row = F.conv1d(row, torch.zeros(1, 1, kernel), stride=stride, padding=padding, dilation=dilation)
    return row.shape[2]
""",
        "bilinear-kernel": """
def bilinear_kernel(factor):
    one = torch.zeros(1, 1, 3, 3)
    one[..., 1, 1] = 1
    large = F.interpolate(one, scale_factor=factor, mode="bilinear")[0, 0]
    return large[factor // 2:factor // 2 + 2 * factor, factor // 2:factor // 2 + 2 * factor]
""",
        "upsampler": """
class Enlarge(nn.Module):
    def __init__(self, kernel, channels):
        super().__init__()
        self.f, self.channels = len(kernel) // 2, channels
        self.register_buffer("kernel", kernel[None, None].repeat(channels, 1, 1, 1))
    def forward(self, x):
        large = F.conv_transpose2d(x, self.kernel, stride=self.f, groups=self.channels)
        cut = self.f // 2
        return large[..., cut:cut + self.f * x.shape[2], cut:cut + self.f * x.shape[3]]
def upsampler(kernel, channels):
    return Enlarge(kernel, channels)
""",
        "mirrored-mean": """
def mirrored_mean(network, images, partner):
    with torch.no_grad():
        both = torch.softmax(torch.stack([network(images), network(images.flip(3)).flip(3)[:, partner]]), dim=2)
    return both.mean(dim=0)
""",
        "sure-only": """
def sure_only(probabilities, threshold):
    best, ids = torch.as_tensor(probabilities).max(dim=1)
    return ids.masked_fill(best < threshold, 255).to(torch.uint8).numpy()
""",
        "vote": """
def vote(masks, reach):
    votes = F.one_hot(torch.as_tensor(masks).long().clamp(max=20), 21)[..., :20].numpy()  # (T, H, W, 20)
    made = masks.copy()
    for t in range(len(masks)):
        total = votes[max(0, t - reach):t + reach + 1].sum(0)
        made[t] = np.where(total.sum(-1) == 0, 255, total.argmax(-1))
    return made
""",
        "own-vote": """
said = torch.tensor(probabilities).argmax(1)
true = torch.tensor(truths)
counts = torch.stack([(said == c).float() for c in range(3)])
summed = torch.stack([counts[:, max(0, t - 2):t + 3].sum(1) for t in range(24)], dim=1)
steady = summed.argmax(0)
keeps = true[1:] == true[:-1]
false_changes = torch.stack([(m[1:] != m[:-1])[keeps].float().mean() for m in (said, steady)])
""",
        "decoder": """
import copy
whole = copy.deepcopy(network)
for parameter in whole.backbone.parameters():
    parameter.requires_grad = False
class Logits(nn.Module):
    def __init__(self):
        super().__init__()
        self.whole = whole
    def forward(self, x):
        return self.whole(x)["out"]
decoder = Logits().eval()
optimizer = torch.optim.Adam([p for p in decoder.parameters() if p.requires_grad], lr=0.002)
x, y = inputs[list(LABELLED)], torch.from_numpy(truths[list(LABELLED)]).long()
for step in range(25):
    loss = F.cross_entropy(decoder(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
""",
    },
    {  # short, and with other libraries
        "map-size": """
def map_size(length, layers):
    for k, s, p, d in layers:
        length = max(0, (length + 2 * p - d * (k - 1) - 1) // s + 1)
        if not length:
            return 0
    return length
""",
        "bilinear-kernel": """
def bilinear_kernel(factor):
    row = np.minimum(np.arange(1, 4 * factor, 2), np.arange(4 * factor - 1, 0, -2)) / (2 * factor)
    return np.outer(row, row)
""",
        "upsampler": """
def upsampler(kernel, channels):
    factor = kernel.shape[0] // 2
    layer = nn.ConvTranspose2d(channels, channels, kernel.shape, (factor, factor), factor // 2, bias=False)
    layer.weight = nn.Parameter(torch.eye(channels)[:, :, None, None] * kernel, requires_grad=False)
    return layer
""",
        "sure-only": """
def sure_only(probabilities, threshold):
    return np.uint8(np.where(np.max(probabilities, 1) < threshold, 255, np.argmax(probabilities, 1)))
""",
        "drop-islands": """
def drop_islands(mask, least):
    from scipy import ndimage
    made = mask.copy()
    for number in range(1, 255):
        regions, count = ndimage.label(mask == number)
        for region in range(1, count + 1):
            if np.sum(regions == region) < least:
                made[regions == region] = 0
    return made
""",
        "vote": """
def vote(masks, reach):
    padded = np.pad(masks, ((reach, reach), (0, 0), (0, 0)), constant_values=255)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0)  # (T, H, W, 2 r + 1)
    ids = [c for c in np.unique(masks) if c != 255]
    made, most = np.full(masks.shape, 255, np.uint8), np.zeros(masks.shape, int)
    for c in ids:
        votes = (windows == c).sum(axis=-1)
        made = np.where(votes > most, c, made).astype(np.uint8)
        most = np.maximum(votes, most)
    return made
""",
        "own-vote": """
masks = np.uint8(np.argmax(probabilities, axis=1))
same = np.diff(truths.astype(int), axis=0) == 0
false_changes = tuple(np.mean(np.diff(m.astype(int), axis=0)[same] != 0) for m in (masks, vote(masks, 2)))
""",
    },
    {  # with scikit-image; one batch for both pictures; a function in place of a layer; numbers with four digits
        "upsampler": """
def upsampler(kernel, channels):
    f = len(kernel) // 2
    weight = torch.stack([kernel] * channels)[:, None]
    return lambda maps: F.conv_transpose2d(maps, weight, stride=f, padding=f // 2, groups=channels)
""",
        "mirrored-mean": """
def mirrored_mean(network, images, partner):
    both = network(torch.cat([images, torch.flip(images, [-1])]))
    plain, mirrored = both.softmax(1).chunk(2)
    return torch.lerp(plain, torch.flip(mirrored, [-1])[:, torch.tensor(partner)], 0.5)
""",
        "own-sure": """
confidence = probabilities.max(1)
sure_share = round(np.mean(confidence >= 0.9), 4)
sure_accuracy = round(np.mean((probabilities.argmax(1) == truths)[confidence >= 0.9]), 4)
""",
        "drop-islands": """
def drop_islands(mask, least):
    from skimage.measure import label, regionprops
    kept = np.where(mask == 255, 0, mask)
    made = mask.copy()
    for region in regionprops(label(kept, connectivity=1)):  # neighbours of the same value
        if region.area < least:
            made[tuple(region.coords.T)] = 0
    return made
""",
    },
    {  # recursion, masked arrays, SciPy's labels, a module in place of a function
        "map-size": """
def map_size(length, layers):
    if not layers or length < 1:
        return max(length, 0)
    (k, s, p, d), *rest = layers
    return map_size(len(range(0, length + 2 * p - d * (k - 1), s)), rest)
""",
        "bilinear-kernel": """
def bilinear_kernel(factor):
    w = 1 - abs(np.arange(2 * factor) + .5 - factor) / factor
    return torch.tensor(np.outer(w, w))
""",
        "upsampler": """
class Up(nn.Module):
    def __init__(self, kernel, channels):
        super().__init__()
        self.k, self.c = kernel, channels
    def forward(self, x):
        f = len(self.k) // 2
        return F.conv_transpose2d(x, self.k.repeat(self.c, 1, 1, 1), stride=f, padding=f // 2, groups=self.c)
upsampler = Up
""",
        "mirrored-mean": """
def mirrored_mean(network, images, partner):
    p = lambda x: network(x).softmax(1)
    return (p(images) + p(images.flip(-1)).flip(-1)[:, partner]) / 2
""",
        "sure-only": """
def sure_only(probabilities, threshold):
    return np.ma.masked_array(probabilities.argmax(1).astype("u1"), probabilities.max(1) < threshold).filled(255)
""",
        "own-sure": """
s = sure_only(probabilities, 0.9)
keep = s != 255
sure_share, sure_accuracy = keep.mean(), (s == truths)[keep].mean()
""",
        "drop-islands": """
from scipy import ndimage
def drop_islands(mask, least):
    out = mask.copy()
    for c in set(np.unique(mask)) - {0, 255}:
        lab, n = ndimage.label(mask == c)
        sizes = ndimage.sum_labels(mask == c, lab, range(n + 1))
        out[(lab > 0) & (sizes[lab] < least)] = 0
    return out
""",
        "vote": """
def vote(masks, reach):
    T = len(masks)
    classes = [c for c in range(255)]
    out = []
    for t in range(T):
        part = masks[max(0, t - reach):t + reach + 1]
        ids = np.unique(part[part < 255])
        if len(ids) == 0:
            out.append(np.full(masks.shape[1:], 255, np.uint8)); continue
        n = np.stack([(part == c).sum(0) for c in ids])
        out.append(np.where(n.max(0) > 0, ids[n.argmax(0)], 255).astype(np.uint8))
    return np.stack(out)
""",
        "own-vote": """
still = np.diff(truths.astype(int), axis=0) == 0
false_changes = [(np.diff(m.astype(int), axis=0)[still] != 0).mean()
                 for m in (probabilities.argmax(1), vote(probabilities.argmax(1).astype("u1"), 2))]
""",
    },
    {  # loops over windows and pixels, a queue, a counter of votes
        "map-size": """
def map_size(length, layers):
    for kernel, stride, padding, dilation in layers:
        window, length, begin, places = dilation * (kernel - 1) + 1, length + 2 * padding, 0, 0
        while begin + window <= length:
            begin, places = begin + stride, places + 1
        if places == 0:
            return 0
        length = places
    return length
""",
        "bilinear-kernel": """
def bilinear_kernel(factor):
    w = [1 - abs(i + 1 / 2 - factor) / factor for i in range(2 * factor)]
    return torch.tensor([[a * b for b in w] for a in w])
""",
        "upsampler": """
def upsampler(kernel, channels):
    f = kernel.shape[0] // 2
    layer = nn.ConvTranspose2d(channels, channels, 2 * f, stride=f, padding=f // 2, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        for c in range(channels):
            layer.weight[c, c] = kernel
    return layer
""",
        "mirrored-mean": """
def mirrored_mean(network, images, partner):
    W = images.shape[-1]
    turned = list(range(W))[::-1]
    both = torch.cat([network(images), network(images[..., turned])])
    first, second = torch.softmax(both.double(), dim=1).chunk(2)
    out = torch.empty_like(first)
    for c, other in enumerate(partner):
        for col in range(W):
            out[:, c, :, col] = (first[:, c, :, col] + second[:, other, :, W - 1 - col]) / 2
    return out
""",
        "sure-only": """
def sure_only(probabilities, threshold):
    best = np.zeros(probabilities.shape[:1] + probabilities.shape[2:], np.uint8)
    confidence = probabilities[:, 0].copy()
    for c in range(1, probabilities.shape[1]):
        better = probabilities[:, c] > confidence
        best[better] = c
        confidence[better] = probabilities[:, c][better]
    best[~(confidence >= threshold)] = 255
    return best
""",
        "own-sure": """
kept = right = 0
for p, truth in zip(probabilities, truths):
    m = sure_only(p[None], 0.9)[0]
    kept += np.count_nonzero(m < 255)
    right += np.count_nonzero(m[m < 255] == truth[m < 255])
sure_share = kept / truths.size
sure_accuracy = right / kept
""",
        "drop-islands": """
def drop_islands(mask, least):
    H, W = mask.shape
    out, seen = mask.copy(), np.zeros((H, W), bool)
    for i in range(H):
        for j in range(W):
            if seen[i, j] or mask[i, j] in (0, 255):
                continue
            queue = [(i, j)]; seen[i, j] = True
            for y, x in queue:
                for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    if 0 <= v < H and 0 <= u < W and not seen[v, u] and mask[v, u] == mask[i, j]:
                        seen[v, u] = True; queue.append((v, u))
            if len(queue) < least:
                for y, x in queue:
                    out[y, x] = 0
    return out
""",
        "vote": """
from collections import Counter
def vote(masks, reach):
    out = np.full_like(masks, 255)
    for t, y, x in np.ndindex(masks.shape):
        n = Counter(int(v) for v in masks[max(t - reach, 0):t + reach + 1, y, x] if v != 255)
        if n:
            out[t, y, x] = min(n, key=lambda c: (-n[c], c))
    return out
""",
        "own-vote": """
def one(m):
    a = sum(int(((m[t] != m[t + 1]) & (truths[t] == truths[t + 1])).sum()) for t in range(23))
    return a / sum(int((truths[t] == truths[t + 1]).sum()) for t in range(23))
def quick(masks, reach):
    n = np.stack([(masks == c) for c in range(3)]).astype(int)
    return np.stack([n[:, max(0, t - reach):t + reach + 1].sum(1).argmax(0) for t in range(len(masks))])
before = np.argmax(probabilities, 1)
false_changes = torch.tensor([one(before), one(quick(before, 2))])
""",
    },
]

WRONG = [
    ("map_size: padding at one end", {"map-size": """
def map_size(length, layers):
    for k, s, p, d in layers:
        if length + p < d * (k - 1) + 1:
            return 0
        length = (length + p - d * (k - 1) - 1) // s + 1
    return length
"""}, ["test-map-size"]),
    ("map_size: the dilation is not used", {"map-size": """
def map_size(length, layers):
    for k, s, p, d in layers:
        if length + 2 * p < k:
            return 0
        length = (length + 2 * p - k) // s + 1
    return length
"""}, ["test-map-size"]),
    ("map_size: rounded up", {"map-size": """
def map_size(length, layers):
    for k, s, p, d in layers:
        if length + 2 * p < d * (k - 1) + 1:
            return 0
        length = int(np.ceil((length + 2 * p - d * (k - 1) - 1) / s)) + 1
    return length
"""}, ["test-map-size"]),
    ("map_size: sizes below 0", {"map-size": """
def map_size(length, layers):
    for k, s, p, d in layers:
        length = (length + 2 * p - d * (k - 1) - 1) // s + 1
    return length
"""}, ["test-map-size-none"]),
    ("map_size: cut off at 0 only at the end", {"map-size": """
def map_size(length, layers):
    for k, s, p, d in layers:
        length = (length + 2 * p - d * (k - 1) - 1) // s + 1
    return max(length, 0)
"""}, ["test-map-size-none"]),
    ("bilinear_kernel: the weights add up to 1", {"bilinear-kernel": """
def bilinear_kernel(factor):
    row = 1 - (torch.arange(2 * factor) + 0.5 - factor).abs() / factor
    kernel = torch.outer(row, row)
    return kernel / kernel.sum()
"""}, ["test-bilinear-kernel"]),
    ("bilinear_kernel: one row in place of a product", {"bilinear-kernel": """
def bilinear_kernel(factor):
    return 1 - (torch.arange(2 * factor) + 0.5 - factor).abs() / factor
"""}, ["test-bilinear-kernel"]),
    ("bilinear_kernel: without the half", {"bilinear-kernel": """
def bilinear_kernel(factor):
    row = 1 - (torch.arange(2 * factor) - factor).abs() / factor
    return torch.outer(row, row)
"""}, ["test-bilinear-kernel"]),
    ("upsampler: no padding", {"upsampler": """
def upsampler(kernel, channels):
    layer = nn.ConvTranspose2d(channels, channels, len(kernel), len(kernel) // 2, groups=channels, bias=False)
    layer.weight.data = kernel.repeat(channels, 1, 1, 1)
    return layer
"""}, ["test-upsampler"]),
    ("upsampler: with a bias", {"upsampler": """
def upsampler(kernel, channels):
    layer = nn.ConvTranspose2d(channels, channels, len(kernel), len(kernel) // 2, len(kernel) // 4, groups=channels)
    layer.weight.data = kernel.repeat(channels, 1, 1, 1)
    return layer
"""}, ["test-upsampler"]),
    ("upsampler: every channel gets something from all", {"upsampler": """
def upsampler(kernel, channels):
    layer = nn.ConvTranspose2d(channels, channels, len(kernel), len(kernel) // 2, len(kernel) // 4, bias=False)
    layer.weight.data[:] = kernel
    return layer
"""}, ["test-upsampler-channels"]),
    ("upsampler: interpolates, whatever the kernel", {"upsampler": """
def upsampler(kernel, channels):
    return nn.Upsample(scale_factor=len(kernel) // 2, mode="bilinear")
"""}, ["test-upsampler"]),
    ("mirrored_mean: not mirrored back", {"mirrored-mean": """
def mirrored_mean(network, images, partner):
    return (network(images).softmax(1) + network(images.flip(-1)).softmax(1)[:, partner]) / 2
"""}, ["test-mirrored-mean"]),
    ("mirrored_mean: the mean of the logits", {"mirrored-mean": """
def mirrored_mean(network, images, partner):
    return ((network(images) + network(images.flip(-1)).flip(-1)[:, partner]) / 2).softmax(1)
"""}, ["test-mirrored-mean"]),
    ("mirrored_mean: upside down", {"mirrored-mean": """
def mirrored_mean(network, images, partner):
    return (network(images).softmax(1) + network(images.flip(2)).softmax(1).flip(2)[:, partner]) / 2
"""}, ["test-mirrored-mean", "test-mirrored-mean-partner"]),
    ("mirrored_mean: partners are not used", {"mirrored-mean": """
def mirrored_mean(network, images, partner):
    return (network(images).softmax(1) + network(images.flip(-1)).softmax(1).flip(-1)) / 2
"""}, ["test-mirrored-mean-partner"]),
    ("mirrored_mean: partners exchanged in the mean", {"mirrored-mean": """
def mirrored_mean(network, images, partner):
    return ((network(images).softmax(1) + network(images.flip(-1)).softmax(1).flip(-1)) / 2)[:, partner]
"""}, ["test-mirrored-mean-partner"]),
    ("sure_only: 255 also where the threshold is reached", {"sure-only": """
def sure_only(probabilities, threshold):
    masks = probabilities.argmax(1).astype(np.uint8)
    masks[probabilities.max(1) <= threshold] = 255
    return masks
"""}, ["test-sure-only"]),
    ("sure_only: int64", {"sure-only": """
def sure_only(probabilities, threshold):
    return np.where(probabilities.max(1) < threshold, 255, probabilities.argmax(1))
"""}, ["test-sure-only"]),
    ("own film: the share of unsure pixels, and accuracy over all pixels", {"own-sure": """
sure_masks = sure_only(probabilities, 0.9)
sure_share = (sure_masks == 255).mean()
sure_accuracy = (sure_masks == truths).mean()
"""}, ["test-sure-share", "test-sure-accuracy"]),
    ("own film: somebody else's numbers", {"own-sure": "sure_share, sure_accuracy = 0.7490, 0.9098",
                                           "own-vote": "false_changes = [0.0567, 0.0252]"},
     ["test-sure-share", "test-sure-accuracy", "test-own-vote"]),
    ("drop_islands: a region with exactly `least` pixels goes", {"drop-islands": """
def drop_islands(mask, least):
    made = mask.copy()
    for number in np.setdiff1d(mask, [0, 255]):
        _, regions, stats, _ = cv2.connectedComponentsWithStats((mask == number).astype(np.uint8), connectivity=4)
        made[(stats[:, cv2.CC_STAT_AREA] <= least)[regions] & (mask == number)] = 0
    return made
"""}, ["test-drop-islands"]),
    ("drop_islands: OpenCV's default, eight neighbours", {"drop-islands": """
def drop_islands(mask, least):
    made = mask.copy()
    for number in np.setdiff1d(mask, [0, 255]):
        _, regions, stats, _ = cv2.connectedComponentsWithStats((mask == number).astype(np.uint8))
        made[(stats[:, cv2.CC_STAT_AREA] < least)[regions] & (mask == number)] = 0
    return made
"""}, ["test-drop-islands-corners"]),
    ("drop_islands: regions of all classes together", {"drop-islands": """
def drop_islands(mask, least):
    there = (mask != 0) & (mask != 255)
    _, regions, stats, _ = cv2.connectedComponentsWithStats(there.astype(np.uint8), connectivity=4)
    made = mask.copy()
    made[(stats[:, cv2.CC_STAT_AREA] < least)[regions] & there] = 0
    return made
"""}, ["test-drop-islands-classes"]),
    ("drop_islands: 255 is a class like others", {"drop-islands": """
def drop_islands(mask, least):
    made = mask.copy()
    for number in np.setdiff1d(mask, [0]):
        _, regions, stats, _ = cv2.connectedComponentsWithStats((mask == number).astype(np.uint8), connectivity=4)
        made[(stats[:, cv2.CC_STAT_AREA] < least)[regions] & (mask == number)] = 0
    return made
"""}, ["test-drop-islands-classes"]),
    ("drop_islands: changes the mask that comes in", {"drop-islands": """
def drop_islands(mask, least):
    for number in np.setdiff1d(mask, [0, 255]):
        _, regions, stats, _ = cv2.connectedComponentsWithStats((mask == number).astype(np.uint8), connectivity=4)
        mask[(stats[:, cv2.CC_STAT_AREA] < least)[regions] & (mask == number)] = 0
    return mask
"""}, ["test-drop-islands", "test-drop-islands-corners", "test-drop-islands-classes"]),
    ("drop_islands: only the largest region of a class stays", {"drop-islands": """
def drop_islands(mask, least):
    made = mask.copy()
    for number in np.setdiff1d(mask, [0, 255]):
        _, regions, stats, _ = cv2.connectedComponentsWithStats((mask == number).astype(np.uint8), connectivity=4)
        largest = 1 + stats[1:, cv2.CC_STAT_AREA].argmax()
        if stats[largest, cv2.CC_STAT_AREA] < least:
            largest = -1
        made[(regions != largest) & (mask == number)] = 0
    return made
"""}, ["test-drop-islands"]),
    ("vote: the film is a ring", {"vote": """
def vote(masks, reach):
    windows = np.stack([np.roll(masks, shift, axis=0) for shift in range(-reach, reach + 1)])
    votes = np.stack([(windows == c).sum(0) for c in range(255) if c <= masks[masks < 255].max()])
    return np.where(votes.any(0), votes.argmax(0), 255).astype(np.uint8)
"""}, ["test-vote", "test-own-vote"]),
    ("vote: earlier frames vote with their new classes", {"vote": """
def vote(masks, reach):
    made = masks.copy()
    for t in range(len(masks)):
        window = made[max(0, t - reach):t + reach + 1]
        votes = np.stack([(window == c).sum(0) for c in range(masks[masks < 255].max() + 1)])
        made[t] = np.where(votes.any(0), votes.argmax(0), 255)
    return made
"""}, ["test-vote", "test-vote-special", "test-own-vote"]),
    ("vote: 255 is a class like others", {"vote": """
def vote(masks, reach):
    made = np.empty_like(masks)
    for t in range(len(masks)):
        window = masks[max(0, t - reach):t + reach + 1]
        made[t] = np.stack([(window == c).sum(0) for c in range(256)]).argmax(0)
    return made
"""}, ["test-vote-special"]),
    ("vote: where nobody votes, background", {"vote": """
def vote(masks, reach):
    made = np.empty_like(masks)
    for t in range(len(masks)):
        window = masks[max(0, t - reach):t + reach + 1]
        made[t] = np.stack([(window == c).sum(0) for c in range(masks[masks < 255].max() + 1)]).argmax(0)
    return made
"""}, ["test-vote-special"]),
    ("vote: the median", {"vote": """
def vote(masks, reach):
    return np.stack([np.median(masks[max(0, t - reach):t + reach + 1], axis=0) for t in range(len(masks))]
                    ).astype(np.uint8)
"""}, ["test-vote", "test-vote-special", "test-own-vote"]),
    ("vote: int64", {"vote": """
def vote(masks, reach):
    made = np.zeros(masks.shape, int)
    for t in range(len(masks)):
        window = masks[max(0, t - reach):t + reach + 1]
        votes = np.stack([(window == c).sum(0) for c in range(masks[masks < 255].max() + 1)])
        made[t] = np.where(votes.any(0), votes.argmax(0), 255)
    return made
"""}, ["test-vote"]),
    ("own film: real changes count, too", {"own-vote": """
masks = probabilities.argmax(1).astype(np.uint8)
false_changes = [(one[1:] != one[:-1]).mean() for one in (masks, vote(masks, 2))]
"""}, ["test-own-vote"]),
    ("own film: divided by all pixels", {"own-vote": """
masks = probabilities.argmax(1).astype(np.uint8)
same = truths[1:] == truths[:-1]
false_changes = [((one[1:] != one[:-1]) & same).mean() for one in (masks, vote(masks, 2))]
"""}, ["test-own-vote"]),
    ("map_size: int() of a number below 0", {"map-size": """
def map_size(length, layers):
    for k, s, p, d in layers:
        length = int((length + 2 * p - d * (k - 1) - 1) / s) + 1
        if length <= 0:
            return 0
    return length
"""}, ["test-map-size-none"]),
    ("upsampler: the kernel is turned", {"upsampler": """
def upsampler(kernel, channels):
    layer = nn.ConvTranspose2d(channels, channels, len(kernel), len(kernel) // 2, len(kernel) // 4, groups=channels,
                               bias=False)
    layer.weight.data = kernel.flip(0, 1).repeat(channels, 1, 1, 1)
    return layer
"""}, ["test-upsampler"]),
    ("mirrored_mean: the softmax is over the width", {"mirrored-mean": """
def mirrored_mean(network, images, partner):
    return (network(images).softmax(-1) + network(images.flip(-1)).softmax(-1).flip(-1)[:, partner]) / 2
"""}, ["test-mirrored-mean", "test-mirrored-mean-partner"]),
    ("vote: only the first and the last frame of the window, and the frame", {"vote": """
def vote(masks, reach):
    made = np.empty_like(masks)
    for t in range(len(masks)):
        window = masks[[one for one in sorted({t - reach, t, t + reach}) if 0 <= one < len(masks)]]
        votes = np.stack([(window == c).sum(0) for c in range(masks[masks < 255].max() + 1)])
        made[t] = np.where(votes.any(0), votes.argmax(0), 255)
    return made
"""}, ["test-vote", "test-vote-special", "test-own-vote"]),
    ("vote: if undecided, the frame keeps its class", {"vote": """
def vote(masks, reach):
    made = masks.copy()
    for t in range(len(masks)):
        window = masks[max(0, t - reach):t + reach + 1]
        votes = np.stack([(window == c).sum(0) for c in range(255)])
        own = np.take_along_axis(votes, np.minimum(masks[t], 254)[None], 0)[0]
        better = votes.max(0) > np.where(masks[t] == 255, 0, own)
        made[t][better] = votes.argmax(0)[better]
    return made
"""}, ["test-vote-special", "test-own-vote"]),
    ("vote: 255 wherever one of the voters is 255", {"vote": """
def vote(masks, reach):
    made = masks.copy()
    for t in range(len(masks)):
        window = masks[max(0, t - reach):t + reach + 1]
        votes = np.stack([(window == c).sum(0) for c in range(masks[masks < 255].max() + 1)])
        made[t] = np.where((window == 255).any(0), 255, votes.argmax(0))
    return made
"""}, ["test-vote-special"]),
    ("own film: the flicker of the lesson", {"own-vote": """
masks = probabilities.argmax(1).astype(np.uint8)
false_changes = [((one[:-2] == one[2:]) & (one[:-2] != one[1:-1])).mean() for one in (masks, vote(masks, 2))]
"""}, ["test-own-vote"]),
    ("drop_islands, vote: only the classes 0, 1 and 2 of the film", {"drop-islands": """
def drop_islands(mask, least):
    made = mask.copy()
    for number in (1, 2):
        _, regions, stats, _ = cv2.connectedComponentsWithStats((mask == number).astype(np.uint8), connectivity=4)
        made[(stats[:, cv2.CC_STAT_AREA] < least)[regions] & (mask == number)] = 0
    return made
""", "vote": """
def vote(masks, reach):
    made = np.empty_like(masks)
    for t in range(len(masks)):
        votes = np.stack([(masks[max(0, t - reach):t + reach + 1] == c).sum(0) for c in (0, 1, 2)])
        made[t] = np.where(votes.any(0), votes.argmax(0), 255)
    return made
"""}, ["test-drop-islands", "test-vote"]),
    ("bilinear_kernel, upsampler: for factor 2 alone", {"bilinear-kernel": """
def bilinear_kernel(factor):
    row = torch.tensor([0.25, 0.75, 0.75, 0.25])
    return torch.outer(row, row)
""", "upsampler": """
def upsampler(kernel, channels):
    layer = nn.ConvTranspose2d(channels, channels, len(kernel), stride=2, padding=1, groups=channels, bias=False)
    layer.weight.data = kernel.repeat(channels, 1, 1, 1)
    return layer
"""}, ["test-bilinear-kernel", "test-upsampler"]),
    ("decoder: a single convolution on the colours", {"decoder": """
decoder = nn.Conv2d(3, 3, 3, padding=1)
optimizer = torch.optim.Adam(decoder.parameters(), lr=0.02)
for step in range(30):
    loss = F.cross_entropy(decoder(inputs[list(LABELLED)]), torch.from_numpy(truths[list(LABELLED)]).long())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""}, ["test-decoder"]),
    ("decoder: the pretrained network as it is", {"decoder": """
class Logits(nn.Module):
    def forward(self, x):
        return network(x)["out"]
decoder = Logits()
"""}, ["test-decoder"]),
    ("decoder: maps are not enlarged", {"decoder": """
class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(24, 3, 1)
    def forward(self, x):
        return self.head(network.backbone(x)["c2"])
decoder = Small()
"""}, ["test-decoder"]),
    ("map_size: a kernel that is larger than the map, whatever the padding", {"map-size": """
def map_size(length, layers):
    for k, s, p, d in layers:
        if k > length:
            return 0
        length = max((length + 2 * p - d * (k - 1) - 1) // s + 1, 0)
    return length
"""}, ["test-map-size"]),
    ("upsampler: only the first channel gets the kernel", {"upsampler": """
def upsampler(kernel, channels):
    f = len(kernel) // 2
    layer = nn.ConvTranspose2d(channels, channels, 2 * f, stride=f, padding=f // 2, groups=channels, bias=False)
    with torch.no_grad():
        layer.weight[0, 0] = kernel
    return layer
"""}, ["test-upsampler-channels"]),
    ("upsampler: divided by the number of channels", {"upsampler": """
def upsampler(kernel, channels):
    f = len(kernel) // 2
    layer = nn.ConvTranspose2d(channels, channels, 2 * f, stride=f, padding=f // 2, groups=channels, bias=False)
    layer.weight.data = kernel.repeat(channels, 1, 1, 1) / channels
    return layer
"""}, ["test-upsampler-channels"]),
    ("drop_islands: the box around a region", {"drop-islands": """
def drop_islands(mask, least):
    made = mask.copy()
    for c in set(np.unique(mask)) - {0, 255}:
        count, labels, stats, _ = cv2.connectedComponentsWithStats((mask == c).astype(np.uint8), connectivity=4)
        for i in range(1, count):
            if stats[i, cv2.CC_STAT_WIDTH] * stats[i, cv2.CC_STAT_HEIGHT] < least:
                made[labels == i] = 0
    return made
"""}, ["test-drop-islands"]),
    ("drop_islands: the first number is background, if there is any or not", {"drop-islands": """
def drop_islands(mask, least):
    made = mask.copy()
    for c in np.unique(mask)[1:]:
        count, labels, stats, _ = cv2.connectedComponentsWithStats((mask == c).astype(np.uint8), connectivity=4)
        for i in range(1, count):
            if c != 255 and stats[i, cv2.CC_STAT_AREA] < least:
                made[labels == i] = 0
    return made
"""}, ["test-drop-islands-classes"]),
    ("vote: the windows at the ends are moved inwards", {"vote": """
def vote(masks, reach):
    made = np.full_like(masks, 255)
    classes = masks[masks != 255].max(initial=0) + 1
    for t in range(len(masks)):
        first = min(max(0, t - reach), max(0, len(masks) - 2 * reach - 1))
        votes = np.stack([(masks[first:first + 2 * reach + 1] == c).sum(axis=0) for c in range(classes)])
        made[t] = np.where(votes.any(axis=0), votes.argmax(axis=0), 255)
    return made
"""}, ["test-own-vote"]),
]
