"""Execute lessons, store their outputs, and write them as pages that need no network."""

from __future__ import annotations

import base64
import copy
import re
import time
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook

from seglab.errors import DataError, SeglabError
from seglab.files import atomic_write
from seglab.progress import progress_bar

_LIVE = "application/vnd.jupyter.widget-view+json"
#: Code, which is left alone; a formula of its own line; one in a sentence.
_MATH = re.compile(r"(?P<code>```.*?```|`[^`\n]*`)|\$\$(?P<block>.+?)\$\$|"
                   r"(?<![\\$\w])\$(?P<inline>[^\s$](?:[^$\n]*[^\s$])?)\$", re.DOTALL)
#: A link to another lesson or to the glossary, which are pages, too.
_LINK = re.compile(r"(\]\(\w+)\.(?:ipynb|md)\b")


class LessonError(SeglabError):
    """A cell of a lesson failed."""


def find_notebooks(paths: list[Path]) -> list[Path]:
    """The notebooks among files and folders, sorted; raises DataError if there is none."""
    found = sorted({p for path in paths for p in (path.glob("*.ipynb") if path.is_dir() else [path])})
    if not found or not all(p.is_file() and p.suffix == ".ipynb" for p in found):
        raise DataError(", ".join(map(str, paths)), found="no notebook" if not found else "a path that is no notebook",
                        expected=".ipynb files, or a folder of them")
    return found


def execute(path: Path, timeout: int = 600, progress: bool = True) -> NotebookNode:
    """Run a notebook top to bottom in a fresh kernel, in its own folder; returns it with outputs.

    Raises:
        LessonError: a cell failed; the message names it and shows the end of its traceback.
    """
    notebook = nbformat.read(path, as_version=4)
    # The lesson's python is ours, whatever kernel its author used.
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    client = NotebookClient(notebook, timeout=timeout, kernel_name="python3", store_widget_state=False,
                            extra_arguments=["--log-level=ERROR"],  # its remarks on transport are not the lesson's
                            resources={"metadata": {"path": str(path.parent)}})
    cells = [(i, cell) for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    with client.setup_kernel():
        for i, cell in progress_bar(cells, desc=path.stem, unit="cell", shown=progress):
            try:
                client.execute_cell(cell, i)
            except CellExecutionError as error:
                raise LessonError(f"{path}, cell {i + 1}", found=str(error)[-1500:],
                                  expected="a lesson that runs top to bottom",
                                  fix="Open it in JupyterLab and run that cell; seglab doctor may tell why.") from error
    return without_live_outputs(notebook)


def without_live_outputs(notebook: NotebookNode) -> NotebookNode:
    """Remove what only lives in a running kernel (progress bars, widget ids), so that pages show no dead boxes."""
    for i, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            cell.metadata.pop("execution", None)  # times of the run: noise in every diff
            # How a kernel cuts its printing is a matter of timing.
            CoalesceStreamsPreprocessor().preprocess_cell(cell, {}, i)
            cell.outputs = [o for o in cell.outputs if o.output_type != "display_data" or set(o.data) != {
                _LIVE, "text/plain"}]
            for output in cell.outputs:
                output.get("data", {}).pop(_LIVE, None)
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def to_html(notebook: NotebookNode, title: str) -> str:
    """A page with everything in it: no script, style or font from the network, and pictures in place of widgets."""
    notebook = without_live_outputs(copy.deepcopy(notebook))  # saved widget state would ask a content network for code
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _LINK.sub(r"\1.html", with_mathml(cell.source))
    exporter = HTMLExporter(template_name="lab")
    # nbconvert's page loads these from a content network; no live widget is left, and browsers draw MathML themselves.
    exporter.mathjax_url = exporter.require_js_url = exporter.jquery_url = exporter.mermaid_js_url = ""
    html, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title}})
    return html


def with_mathml(text: str) -> str:
    """Markdown in which formulas are MathML, which browsers draw without a script."""
    return _MATH.sub(_as_mathml, text)


def _as_mathml(found: re.Match[str]) -> str:
    if found["code"] is not None:
        return found["code"]
    if found["block"] is not None:
        return convert(found["block"].strip(), display="block")
    return convert(found["inline"])


def readme_figures(notebook: NotebookNode) -> list[bytes]:
    """The PNG of the cell tagged "readme-figure", if there is one: README shows what the lesson really drew."""
    cells = [c for c in notebook.cells if "readme-figure" in c.metadata.get("tags", [])]
    return [base64.b64decode(o.data["image/png"]) for c in cells for o in c.outputs if "image/png" in o.get("data", {})]


def run(paths: list[Path], html: Path | None = None, in_place: bool = False, progress: bool = True) -> list[str]:
    """Execute lessons; write pages, or store the outputs in the notebooks. Returns a line for each."""
    lines = []
    for path in find_notebooks(paths):
        start = time.perf_counter()
        notebook = execute(path, progress=progress)
        line = f"{path.name}  {time.perf_counter() - start:.0f} s"
        if in_place:
            atomic_write(path, (nbformat.writes(notebook) + "\n").encode())
            for picture in readme_figures(notebook):
                (path.parent / "figures").mkdir(exist_ok=True)
                atomic_write(path.parent / "figures" / f"{path.stem}.png", picture)
        if html is not None:
            html.mkdir(parents=True, exist_ok=True)
            page = html / f"{path.stem}.html"
            atomic_write(page, to_html(notebook, path.stem).encode())
            line += f"  ->  {page}"
        lines.append(line)
        print(line)
    if html is not None:  # lessons link to the glossary
        for text in sorted({page for path in find_notebooks(paths) for page in path.parent.glob("glossary.md")}):
            cell = new_markdown_cell(text.read_text(encoding="utf-8"))
            atomic_write(html / f"{text.stem}.html", to_html(new_notebook(cells=[cell]), text.stem).encode())
    return lines
