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
"""}, ["test-to-groups", "test-to-groups-255"]),
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
"""}, ["test-mean-colours", "test-mean-colours-absent", *_OWN]),
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
"""}, ["test-nearest-colour", "test-nearest-colour-nan"]),
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
"""}, ["test-focal", "test-focal-ignored"]),
    ("focal loss: the mean over ignored pixels, too", {"focal": """
def focal_loss(logits, masks, gamma):
    losses = F.cross_entropy(logits, masks.long(), ignore_index=255, reduction="none")
    return ((1 - torch.exp(-losses)) ** gamma * losses).mean()
"""}, ["test-focal-ignored"]),
    ("focal loss: the cross-entropy", {"focal": """
def focal_loss(logits, masks, gamma):
    return F.cross_entropy(logits, masks.long(), ignore_index=255)
"""}, ["test-focal", "test-focal-ignored"]),
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
