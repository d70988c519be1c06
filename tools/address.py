"""Where the course lies on the web, written everywhere from one place: `[project.urls]` in pyproject.toml.

After a change there, `python -m tools.address` rewrites README and the notebooks: the address to clone, and the links
that open a lesson in Colab and in Binder.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
_REPOSITORY = re.compile(r'^Repository = "https://github\.com/([\w.-]+/[\w.-]+)"$', re.MULTILINE)


def repository() -> str:
    """OWNER/NAME on GitHub, from pyproject.toml."""
    found = _REPOSITORY.search((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert found is not None, "pyproject.toml has no [project.urls] Repository"
    return found[1]


def links(stem: str) -> str:
    """The line that opens a lesson elsewhere."""
    colab = f"https://colab.research.google.com/github/{repository()}/blob/main/notebooks/{stem}.ipynb"
    return (f"Open in [Colab]({colab}) or "
            f"[Binder](https://mybinder.org/v2/gh/{repository()}/main?labpath=notebooks/{stem}.ipynb).")


def with_address(text: str) -> str:
    """A text in which addresses of the course are those of today."""
    return re.sub(r"https://github\.com/[\w.-]+/seglab\b", f"https://github.com/{repository()}", text)


def rewrite(path: Path) -> str:
    """What a README or notebook should hold."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return with_address(text)
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        cell["source"] = with_address("".join(cell["source"])).splitlines(keepends=True)
    first = "".join(notebook["cells"][0]["source"]).split("\n\n")
    first[1:1 + first[1].startswith("Open in [Colab]")] = [links(path.stem)]  # below the line of lessons
    notebook["cells"][0]["source"] = "\n\n".join(first).splitlines(keepends=True)
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def pages() -> list[Path]:
    """Every file with an address in it."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "notebooks").glob("*.ipynb"))]


if __name__ == "__main__":
    for page in pages():
        page.write_text(rewrite(page), encoding="utf-8")
