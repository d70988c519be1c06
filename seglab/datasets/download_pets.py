"""The Oxford-IIIT Pet Dataset, as published."""

from __future__ import annotations

from pathlib import Path

from torchvision.datasets import OxfordIIITPet

from seglab.datasets.download import fetch, unpack
from seglab.datasets.splits import existing_folder


def download_pets(root: str | Path, *, progress: bool = True) -> Path:
    """Fetch the published archives into a folder and unpack them there; what is there already is left as it is.

    Addresses and checksums are torchvision's. A download that was interrupted goes on where it ended. The archives
    (some 810 MB) stay, and may be deleted afterwards. Returns the folder, which holds `images/` and `annotations/`.

    Raises:
        DataError: no network or `SEGLAB_OFFLINE` is set, a wrong checksum, or no room; see `fetch` and `unpack`.
    """
    root = Path(root).expanduser()
    about = {"images.tar.gz": "about 790 MB", "annotations.tar.gz": "about 19 MB"}
    for url, md5 in OxfordIIITPet._RESOURCES:
        name = url.rpartition("/")[2]
        folder = root / name.removesuffix(".tar.gz")
        if not (folder.is_dir() and any(folder.iterdir())):
            archive = fetch(url, root / name, md5, about=about.get(name, ""), progress=progress,
                            instead='Without a network, use the sample: open_dataset("pets", source="sample").')
            unpack(archive, folder, top=folder.name, progress=progress)
    return existing_folder(root)
