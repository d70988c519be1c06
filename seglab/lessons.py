"""Execute lessons, store their outputs, and write them as pages that need no network."""

from __future__ import annotations

import base64
import copy
import re
import time
import warnings
from collections import Counter
from pathlib import Path

import msgspec
import nbformat
from jupyter_client.kernelspec import NoSuchKernel
from latex2mathml.converter import convert
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbconvert import HTMLExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook

from seglab.errors import ArgumentError, DataError, SeglabError
from seglab.files import atomic_write, check_free, output_folder, read_text
from seglab.progress import progress_bar

_MARK = '<meta name="generator" content="seglab run"/>'  # of pages that are ours to replace
_LIVE = "application/vnd.jupyter.widget-view+json"
#: Code, which is left alone; a formula of its own line; one in a sentence.
_MATH = re.compile(r"(?P<code>```.*?```|`[^`\n]*`)|\$\$(?P<block>.+?)\$\$|"
                   r"(?<![\\$\w])\$(?P<inline>[^\s$](?:[^$\n]*[^\s$])?)\$", re.DOTALL)
#: A link to another lesson or to the glossary, which are pages, too.
_LINK = re.compile(r"(\]\(\w+)\.(?:ipynb|md)\b")


class _Version(msgspec.Struct):
    """What a notebook says of its format."""

    nbformat: int
    nbformat_minor: int = 0


class LessonError(SeglabError):
    """A cell of a lesson failed."""


def find_notebooks(paths: list[Path]) -> list[Path]:
    """The notebooks among files and folders, sorted; raises DataError if there is none."""
    found = sorted({p for path in paths for p in (path.glob("*.ipynb") if path.is_dir() else [path])})
    if not found or not all(p.is_file() and p.suffix == ".ipynb" for p in found):
        raise DataError(", ".join(map(str, paths)), found="no notebook" if not found else "a path that is no notebook",
                        expected=".ipynb files, or a folder of them")
    return found


def read_notebook(path: Path) -> NotebookNode:
    """A notebook, those of older formats turned into version 4; DataError if it is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ids of cells that older ones lack are made
            text = read_text(path, "notebook")
            msgspec.json.decode(text, type=_Version)
            found = nbformat.reads(text, as_version=4)
            nbformat.validate(found)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, nbformat.ValidationError) as error:
        raise DataError(f"{path}: notebook", found=" ".join(str(error).split())[:200],
                        expected="a notebook as Jupyter saves it", fix="Open it in JupyterLab and save it.") from error
    return found


def execute(path: Path, timeout: int = 600, progress: bool = True) -> NotebookNode:
    """Run a notebook top to bottom in a fresh kernel, in its own folder; returns it with outputs.

    Raises:
        LessonError: a cell failed, or took longer than `timeout` seconds, or the kernel ended in it; the message names
            it, and shows the end of its traceback.
        DataError: no notebook, or no kernel.
    """
    notebook = read_notebook(path)
    # The lesson's python is ours, whatever kernel its author used.
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    client = NotebookClient(notebook, timeout=timeout, kernel_name="python3", store_widget_state=False,
                            extra_arguments=["--log-level=ERROR"],  # its remarks on transport are not the lesson's
                            resources={"metadata": {"path": str(path.parent)}})
    cells = [(i, cell) for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    place = f"{path}, start"
    try:
        with client.setup_kernel():
            for i, cell in progress_bar(cells, desc=path.stem, unit="cell", shown=progress):
                place = f"{path}, cell {i + 1}"
                client.execute_cell(cell, i)
    except CellTimeoutError as error:
        raise LessonError(place, found="no end", expected=f"one within {timeout} seconds",
                          fix="Open it in JupyterLab and run that cell: does it wait for input?") from error
    except CellExecutionError as error:
        raise LessonError(place, found=str(error)[-1500:], expected="a lesson that runs top to bottom",
                          fix="Open it in JupyterLab and run that cell; seglab doctor may tell why.") from error
    except NoSuchKernel as error:
        raise LessonError(place, found="no kernel for Python", expected="the package ipykernel",
                          fix="python -m pip install ipykernel") from error
    except RuntimeError as error:  # DeadKernelError is one, and what a kernel that does not start raises
        raise LessonError(place, found=f"{error} (the process that runs the cells)", expected="a kernel that lives on",
                          fix="It may have been killed for want of memory: run fewer programs at once.") from error
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
    return html.replace("<head>", f"<head>{_MARK}", 1)


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
    """Execute lessons; write pages, or store the outputs in the notebooks. Returns a line for each.

    Raises:
        DataError: no notebooks.
        ArgumentError: pages cannot be written, or there is one that is not of this function.
        LessonError: see `execute`.
    """
    lines, notebooks = [], find_notebooks(paths)
    texts = sorted({page for path in notebooks for page in path.parent.glob("glossary.md")})  # lessons link to it
    pages = _pages(html, [*notebooks, *texts]) if html is not None else {}
    for path in notebooks:
        if in_place:
            check_free(path, "notebook", overwrite=True)
        start = time.perf_counter()
        notebook = execute(path, progress=progress)
        line = f"{path.name}  {time.perf_counter() - start:.0f} s"
        if in_place:
            atomic_write(path, (nbformat.writes(notebook) + "\n").encode())
            for picture in readme_figures(notebook):
                (path.parent / "figures").mkdir(exist_ok=True)
                atomic_write(path.parent / "figures" / f"{path.stem}.png", picture)
        if html is not None:
            atomic_write(pages[path], to_html(notebook, path.stem).encode())
            line += f"  ->  {pages[path]}"
        lines.append(line)
        print(line)
    for text in texts if html is not None else ():
        cell = new_markdown_cell(read_text(text))
        atomic_write(pages[text], to_html(new_notebook(cells=[cell]), text.stem).encode())
    return lines


def _pages(folder: Path, sources: list[Path]) -> dict[Path, Path]:
    """Where the page of each source goes, checked before the work."""
    pages = {path: output_folder(folder, "html") / f"{path.stem}.html" for path in sources}
    if same := [path for path, count in Counter(pages.values()).items() if count > 1]:
        raise ArgumentError("notebooks", found=f"two for {same[0]}", expected="different names",
                            fix="Write them into different folders, one call each.")
    for page in pages.values():
        check_free(page, "html", overwrite=True)
        if page.exists() and _MARK.encode() not in page.read_bytes()[:1000]:
            raise ArgumentError("html", found=f"{page}, which `seglab run` did not write", expected="a new file",
                                fix="Choose another folder.")
    return pages
