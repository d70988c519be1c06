"""Assignment 1: answers that are right in another way, and wrong ones with the graded cells that they cost."""

RIGHT = [
    {  # loops over classes and masked sums, as beginners write it
        "to-groups": """
def to_groups(mask, group_of):
    made = np.full(mask.shape, 255, dtype=np.uint8)
    for number in range(len(group_of)):
        made[mask == number] = group_of[number]
    return made
""",
        "mean-colours": """
def mean_colours(images, masks, count):
    pixels = np.concatenate([image.reshape(-1, 3) for image in images])
    groups = np.concatenate([mask.ravel() for mask in masks])
    rows = []
    for number in range(count):
        chosen = pixels[groups == number]
        rows.append(chosen.mean(axis=0) if len(chosen) else np.full(3, np.nan))
    return np.array(rows)
""",
        "nearest-colour": """
def nearest_colour(image, colours):
    best = np.full(image.shape[:2], np.inf)
    made = np.zeros(image.shape[:2], dtype=np.uint8)
    for number, colour in enumerate(colours):
        distance = ((image - colour) ** 2).sum(axis=2)
        closer = distance < best  # never with NaN
        best[closer], made[closer] = distance[closer], number
    return made
""",
        "balanced": """
def balanced_accuracy(matrix):
    found = []
    for number in range(len(matrix)):
        if matrix[number].sum():
            found.append(matrix[number, number] / matrix[number].sum())
    return sum(found) / len(found)
""",
        "focal": """
def focal_loss(logits, masks, gamma):
    p = torch.softmax(logits, dim=1)
    losses = []
    for number in range(logits.shape[1]):
        q = p[:, number][masks == number]
        losses.append(-(1 - q) ** gamma * torch.log(q))
    return torch.cat(losses).mean()
""",
    },
    {  # in PyTorch
        "to-groups": """
def to_groups(mask, group_of):
    table = torch.full((256,), 255, dtype=torch.uint8)
    table[:len(group_of)] = torch.as_tensor(group_of)
    return table[torch.as_tensor(mask).long()].numpy()
""",
        "mean-colours": """
def mean_colours(images, masks, count):
    sums, pixels = torch.zeros(256, 3, dtype=torch.float64), torch.zeros(256, dtype=torch.float64)
    for image, mask in zip(images, masks):
        chosen = torch.as_tensor(mask).long().flatten()
        sums.index_add_(0, chosen, torch.as_tensor(image).double().reshape(-1, 3))
        pixels += torch.bincount(chosen, minlength=256)
    return sums[:count] / pixels[:count, None]
""",
        "nearest-colour": """
def nearest_colour(image, colours):
    flat = torch.as_tensor(image).double().reshape(-1, 3)
    distance = torch.cdist(flat, torch.as_tensor(np.nan_to_num(colours, nan=1e6)).double())
    return distance.argmin(dim=1).reshape(image.shape[:2]).to(torch.uint8).numpy()
""",
        "focal": """
def focal_loss(logits, masks, gamma):
    flat = logits.permute(0, 2, 3, 1)[masks != 255]
    log_p = flat.log_softmax(dim=1)[torch.arange(len(flat)), masks[masks != 255].long()]
    return torch.mean(-torch.pow(1 - log_p.exp(), gamma) * log_p)
""",
    },
    {  # short, and with vectorised sums; the network has other layers and another optimizer
        "mean-colours": """
def mean_colours(images, masks, count):
    sums = np.zeros((256, 3))
    pixels = np.zeros(256)
    for image, mask in zip(images, masks):
        np.add.at(sums, mask.ravel(), image.reshape(-1, 3))
        pixels += np.bincount(mask.ravel(), minlength=256)
    with np.errstate(invalid="ignore"):
        return (sums / pixels[:, None])[:count]
""",
        "balanced": """
def balanced_accuracy(matrix):
    with np.errstate(invalid="ignore"):
        return np.nanmean(np.diag(matrix) / matrix.sum(1))
""",
        "network": """
torch.manual_seed(1)
x = torch.tensor(np.array(images["train"])).permute(0, 3, 1, 2).float() / 255
y = torch.tensor(np.array(masks["train"])).long()
network = nn.Sequential(nn.Conv2d(3, 24, 7, padding=3), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 6, 3, padding=1))
optimizer = torch.optim.AdamW(network.parameters(), lr=0.02)
for step in range(60):
    i = torch.randperm(16)[:4]
    optimizer.zero_grad()
    F.cross_entropy(network(x[i]), y[i], ignore_index=255).backward()
    optimizer.step()
""",
    },
    {  # an expert's one-liners: lists of lists, SciPy's distances, Python's statistics
        "to-groups": """
def to_groups(mask, group_of):
    return np.pad(group_of, (0, 256 - len(group_of)), constant_values=255)[mask]
""",
        "mean-colours": """
def mean_colours(images, masks, count):
    x = np.concatenate([i.reshape(-1, 3) for i in images]).astype(float)
    m = np.concatenate([m.ravel() for m in masks])
    return [list(x[m == g].mean(0)) if (m == g).any() else [np.nan] * 3 for g in range(count)]
""",
        "nearest-colour": """
from scipy.spatial.distance import cdist
def nearest_colour(image, colours):
    d = cdist(image.reshape(-1, 3), np.nan_to_num(colours, nan=1e9))
    return d.argmin(1).reshape(image.shape[:2]).astype("uint8")
""",
        "own": """
gt = np.concatenate([to_groups(m, GROUP_OF).ravel() for _, m in train])
frequent = np.bincount(gt[gt < 255]).argmax()
c = mean_colours([i for i, _ in train], [to_groups(m, GROUP_OF) for _, m in train], 6)
t = np.stack([to_groups(m, GROUP_OF) for _, m in test])
ok = t != 255
constant_accuracy = (t[ok] == frequent).mean()
colour_accuracy = torch.tensor((np.stack([nearest_colour(i, c) for i, _ in test])[ok] == t[ok]).mean())
""",
        "balanced": """
import statistics
def balanced_accuracy(matrix):
    return statistics.fmean(int(row[i]) / int(sum(row)) for i, row in enumerate(matrix) if any(row))
""",
        "own-balanced": """
said = np.stack([nearest_colour(i, c) for i, _ in test])
conf = np.zeros((6, 6), int)
np.add.at(conf, (t[ok], said[ok]), 1)
colour_balanced = balanced_accuracy(conf)
""",
        "focal": """
def focal_loss(logits, masks, gamma):
    ce = F.cross_entropy(logits, masks.long(), reduction="none", ignore_index=255)
    return ((1 - torch.exp(-ce)) ** gamma * ce)[masks != 255].mean()
""",
    },
    {  # classes, KD trees, one-hot sums in float64, a module as a loss
        "to-groups": """
def to_groups(mask, group_of):
    out = np.full_like(mask, 255)
    known = mask < len(group_of)
    out[known] = np.take(group_of, mask[known])
    return out
""",
        "mean-colours": """
def mean_colours(images, masks, count):
    total, number = torch.zeros(count, 3, dtype=torch.float64), torch.zeros(count, 1, dtype=torch.float64)
    for image, mask in zip(images, masks):
        hot = F.one_hot(torch.as_tensor(mask).long().flatten().clamp(max=count), count + 1)[:, :count].double()
        total += hot.T @ torch.as_tensor(image).reshape(-1, 3).double()
        number += hot.sum(0)[:, None]
    return total / number
""",
        "nearest-colour": """
from scipy.spatial import KDTree
def nearest_colour(image, colours):
    colours = np.asarray(colours)
    there = np.flatnonzero(~np.isnan(colours).any(axis=1))
    return there[KDTree(colours[there]).query(image)[1]].astype(np.uint8)
""",
        "own": """
class Rule:
    def __init__(self, pairs):
        self.images, self.masks = [p[0] for p in pairs], [to_groups(p[1], GROUP_OF) for p in pairs]
    def accuracy(self, guess):
        right = all_ = 0
        for image, mask in zip(self.images, self.masks):
            right += int(((guess(image) == mask) & (mask != 255)).sum())
            all_ += int((mask != 255).sum())
        return right / all_
a, b = Rule(train), Rule(test)
most = max(range(6), key=lambda g: sum((m == g).sum() for m in a.masks))
colours_ = mean_colours(a.images, a.masks, 6)
constant_accuracy = b.accuracy(lambda image: most)
colour_accuracy = b.accuracy(lambda image: nearest_colour(image, colours_))
""",
        "balanced": """
def balanced_accuracy(matrix):
    import warnings
    with np.errstate(invalid="ignore"):
        return np.nanmean(np.diag(matrix) / np.sum(matrix, axis=1))
""",
        "own-balanced": """
from collections import Counter
n = Counter()
for image, mask in zip(b.images, b.masks):
    n.update(zip(mask[mask != 255].tolist(), nearest_colour(image, colours_)[mask != 255].tolist()))
colour_balanced = balanced_accuracy(np.array([[n[i, j] for j in range(6)] for i in range(6)]))
""",
        "focal": """
class Focal(nn.Module):
    def forward(self, logits, masks, gamma):
        keep = (masks < 255).flatten()
        z = logits.double().permute(0, 2, 3, 1).flatten(0, 2)[keep]
        p = z.softmax(1)[torch.arange(len(z)), masks.flatten()[keep].long()]
        return -((1 - p).pow(gamma) * p.log()).sum() / keep.sum()
focal_loss = Focal()
""",
    },
]

_OWN = ["test-colour", "test-own-balanced"]

WRONG = [
    ("to_groups: classes replaced one after the other", {"to-groups": """
def to_groups(mask, group_of):
    made = mask.copy()
    for number, group in enumerate(group_of):
        made[made == number] = group
    return made
"""}, ["test-to-groups"]),
    ("to_groups: 255 is cut off at the last class", {"to-groups": """
def to_groups(mask, group_of):
    return group_of[np.minimum(mask, len(group_of) - 1)]
"""}, ["test-to-groups-255"]),
    ("to_groups: int64", {"to-groups": """
def to_groups(mask, group_of):
    table = np.full(256, 255)
    table[:len(group_of)] = group_of
    return table[mask]
"""}, ["test-to-groups"]),
    ("to_groups: changes the mask that comes in", {"to-groups": """
def to_groups(mask, group_of):
    table = np.full(256, 255, np.uint8)
    table[:len(group_of)] = group_of
    mask[:] = table[mask]
    return mask
"""}, ["test-to-groups", "test-to-groups-255"]),
    ("mean_colours: the mean of the pictures' means", {"mean-colours": """
def mean_colours(images, masks, count):
    rows = [[image[mask == k].mean(axis=0) if (mask == k).any() else np.full(3, np.nan) for k in range(count)]
            for image, mask in zip(images, masks)]
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.nanmean(np.array(rows), axis=0)
"""}, ["test-mean-colours", *_OWN]),
    ("mean_colours: absent groups are black", {"mean-colours": """
def mean_colours(images, masks, count):
    pixels = np.concatenate([image.reshape(-1, 3) for image in images]).astype(float)
    groups = np.concatenate([mask.ravel() for mask in masks])
    return np.array([pixels[groups == k].sum(axis=0) / max(1, (groups == k).sum()) for k in range(count)])
"""}, ["test-mean-colours-absent"]),
    ("mean_colours: sums in uint8", {"mean-colours": """
def mean_colours(images, masks, count):
    sums, pixels = np.zeros((count, 3), np.uint8), np.zeros((count, 1))
    for image, mask in zip(images, masks):
        for k in range(count):
            sums[k] += image[mask == k].sum(axis=0, dtype=np.uint8)
            pixels[k] += (mask == k).sum()
    with np.errstate(invalid="ignore"):
        return sums / pixels
"""}, ["test-mean-colours", *_OWN]),
    ("mean_colours: sums in uint16", {"mean-colours": """
def mean_colours(images, masks, count):
    sums, pixels = np.zeros((count, 3), np.uint16), np.zeros((count, 1))
    for image, mask in zip(images, masks):
        for k in range(count):
            sums[k] += image[mask == k].sum(axis=0, dtype=np.uint16)
            pixels[k] += (mask == k).sum()
    with np.errstate(invalid="ignore"):
        return sums / pixels
"""}, ["test-mean-colours", *_OWN]),
    ("mean_colours: rows for those groups alone that occur", {"mean-colours": """
def mean_colours(images, masks, count):
    pixels = np.concatenate([image.reshape(-1, 3) for image in images]).astype(float)
    groups = np.concatenate([mask.ravel() for mask in masks])
    return np.array([pixels[groups == k].mean(axis=0) for k in np.unique(groups) if k != 255])
"""}, ["test-mean-colours-absent"]),
    ("nearest_colour: the colours are cut to whole numbers", {"nearest-colour": """
def nearest_colour(image, colours):
    whole = np.nan_to_num(colours, nan=9999).astype(int)
    return ((image[:, :, None].astype(int) - whole) ** 2).sum(axis=-1).argmin(axis=-1).astype(np.uint8)
"""}, ["test-nearest-colour", *_OWN]),
    ("nearest_colour: the sum of the differences' sizes", {"nearest-colour": """
def nearest_colour(image, colours):
    distance = np.abs(image[:, :, None].astype(float) - colours).sum(axis=-1)
    return np.nan_to_num(distance, nan=np.inf).argmin(axis=-1).astype(np.uint8)
"""}, ["test-nearest-colour", *_OWN]),
    ("nearest_colour: without the group that has no colour, numbers shift", {"nearest-colour": """
def nearest_colour(image, colours):
    colours = colours[~np.isnan(colours).any(axis=1)]
    return ((image[:, :, None].astype(float) - colours) ** 2).sum(axis=-1).argmin(axis=-1).astype(np.uint8)
"""}, ["test-nearest-colour-nan"]),
    ("nearest_colour: differences in uint8", {"nearest-colour": """
def nearest_colour(image, colours):
    distance = ((image[:, :, None] - np.nan_to_num(colours).astype(np.uint8)) ** 2).sum(axis=-1)
    return distance.argmin(axis=-1).astype(np.uint8)
"""}, ["test-nearest-colour", "test-nearest-colour-nan", *_OWN]),
    ("nearest_colour: NaN is the smallest for argmin", {"nearest-colour": """
def nearest_colour(image, colours):
    return ((image[:, :, None].astype(float) - colours) ** 2).sum(axis=-1).argmin(axis=-1).astype(np.uint8)
"""}, ["test-nearest-colour-nan"]),
    ("nearest_colour: int64", {"nearest-colour": """
def nearest_colour(image, colours):
    distance = ((image[:, :, None].astype(float) - colours) ** 2).sum(axis=-1)
    distance[np.isnan(distance)] = np.inf
    return distance.argmin(axis=-1)
"""}, ["test-nearest-colour"]),
    ("own scenes: the mean of the pictures' accuracies", {"own": """
images = {"train": [image for image, _ in train], "test": [image for image, _ in test]}
masks = {name: [to_groups(mask, GROUP_OF) for _, mask in one] for name, one in (("train", train), ("test", test))}
most = np.bincount(np.concatenate([mask[mask != 255] for mask in masks["train"]])).argmax()
predicted = [nearest_colour(image, mean_colours(images["train"], masks["train"], 6)) for image in images["test"]]
constant_accuracy = np.mean([(mask[mask != 255] == most).mean() for mask in masks["test"]])
colour_accuracy = np.mean([(one == mask)[mask != 255].mean() for one, mask in zip(predicted, masks["test"])])
"""}, ["test-constant", "test-colour"]),
    ("own scenes: somebody else's numbers", {"own": """
images = {"train": [image for image, _ in train], "test": [image for image, _ in test]}
masks = {name: [to_groups(mask, GROUP_OF) for _, mask in one] for name, one in (("train", train), ("test", test))}
predicted = [nearest_colour(image, mean_colours(images["train"], masks["train"], 6)) for image in images["test"]]
constant_accuracy, colour_accuracy = 0.4926, 0.6457
"""}, ["test-constant", "test-colour"]),
    ("own scenes: scored on the training scenes", {"own": """
images = {"train": [image for image, _ in train], "test": [image for image, _ in test]}
masks = {name: [to_groups(mask, GROUP_OF) for _, mask in one] for name, one in (("train", train), ("test", test))}
def share(found, true):
    return sum((a == b).sum() for a, b in zip(found, true)) / sum((b != 255).sum() for b in true)
counts = sum(np.bincount(mask[mask != 255], minlength=6) for mask in masks["train"])
constant_accuracy = counts.max() / counts.sum()
colours = mean_colours(images["train"], masks["train"], 6)
colour_accuracy = share([nearest_colour(image, colours) for image in images["train"]], masks["train"])
predicted = [nearest_colour(image, colours) for image in images["test"]]
"""}, ["test-constant", "test-colour"]),
    ("own scenes: ignored pixels count as wrong", {"own": """
images = {"train": [image for image, _ in train], "test": [image for image, _ in test]}
masks = {name: [to_groups(mask, GROUP_OF) for _, mask in one] for name, one in (("train", train), ("test", test))}
counts = sum(np.bincount(mask[mask != 255], minlength=6) for mask in masks["train"])
colours = mean_colours(images["train"], masks["train"], 6)
predicted = [nearest_colour(image, colours) for image in images["test"]]
constant_accuracy = np.mean(np.array(masks["test"]) == counts.argmax())
colour_accuracy = np.mean(np.array(masks["test"]) == np.array(predicted))
"""}, ["test-constant", "test-colour"]),
    ("balanced accuracy: the plain accuracy", {"balanced": """
def balanced_accuracy(matrix):
    return np.trace(matrix) / matrix.sum()
"""}, ["test-balanced", "test-balanced-absent", "test-own-balanced"]),
    ("balanced accuracy: columns in place of rows", {"balanced": """
def balanced_accuracy(matrix):
    total = matrix.sum(axis=0)
    return (np.diag(matrix)[total > 0] / total[total > 0]).mean()
"""}, ["test-balanced", "test-balanced-absent", "test-own-balanced"]),
    ("balanced accuracy: absent classes count 0", {"balanced": """
def balanced_accuracy(matrix):
    return (np.diag(matrix) / np.maximum(matrix.sum(axis=1), 1)).mean()
"""}, ["test-balanced-absent"]),
    ("focal loss: the weight is p to the power of gamma", {"focal": """
def focal_loss(logits, masks, gamma):
    losses = F.cross_entropy(logits, masks.long(), ignore_index=255, reduction="none")[masks != 255]
    return (torch.exp(-losses) ** gamma * losses).mean()
"""}, ["test-focal"]),
    ("focal loss: a number without a gradient", {"focal": """
def focal_loss(logits, masks, gamma):
    losses = F.cross_entropy(logits, masks.long(), ignore_index=255, reduction="none")[masks != 255]
    return ((1 - torch.exp(-losses)) ** gamma * losses).mean().item()
"""}, ["test-focal"]),
    ("focal loss: the weight has no gradient", {"focal": """
def focal_loss(logits, masks, gamma):
    losses = F.cross_entropy(logits, masks.long(), ignore_index=255, reduction="none")[masks != 255]
    return ((1 - torch.exp(-losses.detach())) ** gamma * losses).mean()
"""}, ["test-focal"]),
    ("focal loss: the mean of the pictures' means", {"focal": """
def focal_loss(logits, masks, gamma):
    losses = F.cross_entropy(logits, masks.long(), ignore_index=255, reduction="none")
    losses = (1 - torch.exp(-losses)) ** gamma * losses
    return torch.stack([one[mask != 255].mean() for one, mask in zip(losses, masks)]).mean()
"""}, ["test-focal-ignored"]),
    ("focal loss: the mean over ignored pixels, too", {"focal": """
def focal_loss(logits, masks, gamma):
    losses = F.cross_entropy(logits, masks.long(), ignore_index=255, reduction="none")
    return ((1 - torch.exp(-losses)) ** gamma * losses).mean()
"""}, ["test-focal-ignored"]),
    ("focal loss: the cross-entropy", {"focal": """
def focal_loss(logits, masks, gamma):
    return F.cross_entropy(logits, masks.long(), ignore_index=255)
"""}, ["test-focal"]),
    ("balanced accuracy: classes that are never found are left out", {"balanced": """
def balanced_accuracy(matrix):
    found = np.diag(matrix) / np.maximum(matrix.sum(axis=1), 1)
    return found[found > 0].mean()
"""}, ["test-balanced"]),
    ("network: never trained", {"network": """
torch.manual_seed(0)
network = nn.Conv2d(3, 6, 3, padding=1)
"""}, ["test-network"]),
    ("network: gives classes in place of logits", {"network": """
class Rule(nn.Module):
    def forward(self, x):
        return x.mean(1).long()
network = Rule()
"""}, ["test-network"]),
]
