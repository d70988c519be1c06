"""The lessons as files: executed, clean, self-contained; and the runner that makes them so."""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import nbformat
import numpy as np
import pytest
from jupyter_client.kernelspec import NoSuchKernel
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

import seglab
from seglab.errors import ArgumentError, DataError
from seglab.lessons import (
    LessonError,
    execute,
    find_notebooks,
    read_notebook,
    readme_figures,
    run,
    to_html,
    without_live_outputs,
)
from tools import address
from tools.check_notebooks import LIVE, problems

ROOT = Path(__file__).parents[1]
LESSONS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
NOTEBOOKS = [*LESSONS, *sorted((ROOT / "notebooks").glob("A*.ipynb"))]


@functools.cache
def lesson_page(path: Path) -> str:
    """The HTML page of a lesson with its stored outputs."""
    return to_html(nbformat.read(path, as_version=4), path.stem)


def code_cells(path: Path) -> list:
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


def street(root: Path, train: int, val: int) -> Path:
    """Made-up street scenes in CamVid's layout: sky, building, road, and a strip of void."""
    rng = np.random.default_rng(0)
    colours = np.zeros((12, 3)) + 128
    colours[[0, 1, 3]] = (150, 180, 230), (140, 90, 70), (90, 90, 95)
    for split, count in (("train", train), ("val", val)):
        for folder in (split, f"{split}annot"):
            (root / folder).mkdir(parents=True)
        for i in range(count):
            mask = np.full((36, 48), 1, np.uint8)
            mask[: rng.integers(5, 12)], mask[rng.integers(18, 24):], mask[-3:] = 0, 3, 11
            image = (colours[mask] + rng.normal(0, 12, (*mask.shape, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(image).save(root / split / f"{split}{i:03d}.png")
            Image.fromarray(mask).save(root / f"{split}annot" / f"{split}{i:03d}.png")
    return root


def test_there_are_lessons():
    assert [path.stem for path in LESSONS] == ["00_tour", "01_single_conv_baseline", "02_pretrained_fcn",
                                            "03_transfer_learning", "04a_coco_masks", "04b_deeplabv3",
                                            "05a_gcn", "05b_pets", "06a_your_own_data", "06b_to_a_program"]
    assert [path.stem for path in NOTEBOOKS[len(LESSONS):]] == ["A1_pytorch_primer"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_stored_lesson_is_whole_and_clean(path):
    assert problems(path) == []
    cells = code_cells(path)
    assert sum("nbval-check-output" in c.metadata.get("tags", []) for c in cells) >= 5
    assert any("image/png" in o.get("data", {}) for c in cells for o in c.outputs)
    assert sum("assert " in c.source for c in cells) >= 5, "a lesson asserts its claims"


HOME = "/" + "home"  # a test of this very tree looks for such paths
ROOT_HOME, TMP = "/" + "root", "/" + "tmp"


def stored(change: Callable[[NotebookNode], object]) -> NotebookNode:
    """A clean notebook, changed."""
    cells = [new_code_cell(f"print({n})", execution_count=n, outputs=[new_output("stream", text=f"{n}\n")],
                           metadata={"tags": ["nbval-check-output"]}) for n in (1, 2)]
    notebook = new_notebook(cells=cells)
    change(notebook)
    return notebook


@pytest.mark.parametrize(("change", "words"), [
    (lambda n: None, ""),
    (lambda n: n.cells[1].update(execution_count=None), "code cell 2 has the execution count None"),
    (lambda n: n.cells.reverse(), "code cell 1 has the execution count 2"),
    (lambda n: n.cells[0].update(source="# a cell\n" * 16), "16 lines"),
    (lambda n: n.cells[0].outputs.append(new_output("error", ename="NameError", evalue="x")), "NameError"),
    (lambda n: n.cells[0].outputs.append(new_output("stream", name="stderr", text="Warning")), "stderr"),
    (lambda n: n.cells[0].outputs.append(new_output("display_data", {LIVE: {}, "text/plain": "MaskViewer()"})), "live"),
    (lambda n: n.cells[1].update(outputs=[new_output("display_data", {"image/png": "aGVsbG8="})]), "no text"),
    (lambda n: n.metadata.update(widgets={}), r"metadata\.widgets"),
    (lambda n: n.cells[0].outputs.append(new_output("stream", text=f"in {HOME}/me/data\n")), "'/home/'"),
    (lambda n: n.cells.append(new_markdown_cell(r"see C:\Users\me\data")), "C:.*Users"),
    (lambda n: n.cells.append(new_markdown_cell("see c:/users/me")), "c:/users"),
    (lambda n: n.cells[0].outputs.append(new_output("stream", text=f"in {ROOT_HOME}/a\n")), f"'{ROOT_HOME}/'"),
    (lambda n: n.cells[0].outputs.append(new_output("stream", text=f"\x1b[32m{TMP}/a.py\x1b[39m\n")), f"{TMP}/"),
    (lambda n: n.cells.append(new_markdown_cell(f"file://{HOME}/me/a, /data{HOME}/me")), "file://"),
    (lambda n: n.cells.append(new_markdown_cell(f"[a page](https://example.org{HOME}/page), build{TMP}/a")), ""),
    (lambda n: n.metadata.update(path=f"{HOME}/me/a"), "metadata hold"),
    (lambda n: n.cells[0].outputs.append(new_output("display_data", {"image/svg+xml": f"<!-- {HOME}/me -->"})), "home"),
    (lambda n: n.cells[0].update(source="open('" + HOME.replace("home", "Users") + "/me/a.png')"), "'/Users/'"),
    (lambda n: n.cells[0].outputs.append(new_output("display_data", {"image/png": "A" * 3_100_000})), "3.1 MB")])
def test_what_is_wrong_with_a_stored_notebook_is_named(tmp_path, change, words):
    nbformat.write(stored(change), tmp_path / "a.ipynb")
    found = problems(tmp_path / "a.ipynb")
    assert bool(found) == bool(words) and re.search(words, "\n".join(found)), found
    assert subprocess.run([sys.executable, ROOT / "tools" / "check_notebooks.py", tmp_path / "a.ipynb"],
                          check=False, capture_output=True).returncode == bool(words)


def test_a_notebook_with_marks_of_a_conflict_is_named(tmp_path):
    (tmp_path / "a.ipynb").write_text("<<<<<<< ours\n{}")
    assert re.search(r"a\.ipynb: no JSON", problems(tmp_path / "a.ipynb")[0])


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_the_first_cell_installs_the_package_where_it_is_missing(path, monkeypatch, tmp_path):
    calls = []
    source = code_cells(path)[0].source
    monkeypatch.delenv("SEGLAB_SOURCE", raising=False)
    monkeypatch.chdir(path.parent)
    monkeypatch.setattr(subprocess, "check_call", calls.append)
    exec(source, {})
    assert calls == []
    # Missing, or a clone's folder of that name, which Python takes for a namespace package.
    for spec in (None, importlib.machinery.ModuleSpec("seglab", None)):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, spec=spec: spec)
        exec(source, {})
        assert calls.pop()[-1] == str(ROOT)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="git clone"):
        exec(source, {})
    (tmp_path / "seglab").mkdir()
    (tmp_path / "seglab" / "pyproject.toml").touch()
    exec(source, {})
    assert calls.pop()[-1] == str(tmp_path / "seglab")
    monkeypatch.setenv("SEGLAB_SOURCE", "git+https://example.org/fork")
    exec(source, {})
    assert calls.pop()[-1] == "git+https://example.org/fork"


def test_readme_shows_what_the_lesson_drew_and_names_every_lesson():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in LESSONS:
        assert f"notebooks/{path.name}" in readme
        for picture in readme_figures(nbformat.read(path, as_version=4)):
            assert (path.parent / "figures" / f"{path.stem}.png").read_bytes() == picture


PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "data/README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_between_pages_lead_somewhere(page):
    for link in re.findall(r"\]\((?!http)([^)]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            titles = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, link


def test_one_address_stands_everywhere():
    for page in address.pages():
        assert page.read_text(encoding="utf-8") == address.rewrite(page), "python -m tools.address mends it"
        assert address.repository() in page.read_text(encoding="utf-8") or page.name == "CONTRIBUTING.md"


def test_lessons_say_where_one_is_at_the_top_and_at_the_bottom():
    for place, path in enumerate(LESSONS):
        number = path.stem.partition("_")[0].lstrip("0") or "0"
        first, *_, last = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
        line = first.source.splitlines()[0]
        assert last.source.splitlines()[-1] == line and f"**{number} · " in line
        wanted = [LESSONS[at].name for at in (place - 1, place + 1) if 0 <= at < len(LESSONS)]
        assert re.findall(r"\]\((.+?)\)", line) == wanted


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_links_of_a_lesson_lead_somewhere(path):
    """To other lessons, and to terms of the glossary, whose headings JupyterLab and nbconvert name by their words."""
    text = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown")
    glossary = (ROOT / "notebooks" / "glossary.md").read_text(encoding="utf-8")
    terms = {term.replace(" ", "-") for term in re.findall(r"^### (.+)$", glossary, re.MULTILINE)}
    for name, anchor in re.findall(r"\]\(([^)#:]+)(?:#([^)]+))?\)", text):
        assert (ROOT / "notebooks" / name).is_file(), name
        assert not anchor or anchor in terms, anchor
    page = lesson_page(path)
    assert not re.search(r'href="[\w]+\.(ipynb|md)', page), "pages link to pages"


def test_every_page_of_docs_is_linked_from_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {f"docs/{page.name}" for page in ROOT.glob("docs/*.md")} <= {*re.findall(r"\]\(([^)#]+)\)", readme)}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_page_needs_no_network(path):
    html = lesson_page(path)
    loaded = re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=[\"'](https?:[^\"']+)", html)
    assert loaded == []
    assert not re.search(r"(@import|import |url\()\s*[\"']?https?:", html)
    assert html.count("data:image/png;base64") >= (5 if path in LESSONS else 1)


@pytest.mark.slow
def test_a_lesson_runs_unchanged_on_other_data(tmp_path):
    """The same notebook on made-up street scenes in CamVid's layout, through SEGLAB_DATA."""
    street(tmp_path / "camvid", train=40, val=8)
    environment = os.environ | {"SEGLAB_DATA": str(tmp_path / "camvid"), "SEGLAB_HOME": str(tmp_path / "home")}
    result = subprocess.run([sys.executable, "-m", "seglab.cli", "run", str(LESSONS[1]), "--html", str(tmp_path)],
                            env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    page = (tmp_path / "01_single_conv_baseline.html").read_text(encoding="utf-8")
    assert "camvid (real): 36 train, 4 val, 8 test pictures, 11 classes" in page
    assert "297 weights + 11 biases = 308 parameters" in page


# ------------------------------------------------------------------------------------------------------ the runner

def write(path: Path, *sources: str) -> Path:
    nbformat.write(new_notebook(cells=[new_code_cell(source) for source in sources]), path)
    return path


@pytest.mark.slow
def test_run_stores_outputs_and_pages(tmp_path):
    path = write(tmp_path / "a.ipynb", "print('one')", "from tqdm.auto import tqdm\nfor _ in tqdm(range(3)): pass", "2")
    run([tmp_path], html=tmp_path / "html", in_place=True, progress=False)
    cells = code_cells(path)
    assert [c.execution_count for c in cells] == [1, 2, 3]
    assert cells[0].outputs[0].text == "one\n"
    assert cells[2].outputs[0].data["text/plain"] == "2"
    assert "one" in (tmp_path / "html" / "a.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_failing_cell_is_named_and_nothing_is_stored(tmp_path):
    path = write(tmp_path / "a.ipynb", "1", "1 / 0")
    before = path.read_bytes()
    with pytest.raises(LessonError, match=r"a\.ipynb, cell 2(.|\n)*ZeroDivisionError"):
        run([path], in_place=True, progress=False)
    assert path.read_bytes() == before
    with pytest.raises(LessonError):
        execute(path, progress=False)


CELL = '{"cell_type": "code", "metadata": {}, "execution_count": null, "outputs": [], "source": %s}'
NOTEBOOK = '{"nbformat": %s, "nbformat_minor": 4, "metadata": {}, "cells": [%s]}'


@pytest.mark.parametrize(("text", "words"), [
    ("", "truncated"), ("[]", "Expected `object`, got `array`"), ("{}", "missing required field `nbformat`"),
    ("[" * 5000, "Expected `object`"), ("\x80", "encoding"), (NOTEBOOK % ('"4"', ""), r"\$\.nbformat"),
    (NOTEBOOK % (99, ""), "version 99"), (NOTEBOOK % (4, "3"), ""), (NOTEBOOK % (4, CELL % "3"), "'source'"),
    ('{"nbformat": 4, "nbformat_minor": 4, "metadata": {}}', "cells"),
    ('{"nbformat": 3, "metadata": {}}', "worksheets")])
def test_what_is_no_notebook(tmp_path, text, words):
    (tmp_path / "a.ipynb").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=f"a\\.ipynb: notebook(.|\n)*{words}"):
        read_notebook(tmp_path / "a.ipynb")


def test_notebooks_of_older_formats_are_read(tmp_path):
    cell = {"cell_type": "code", "input": ["1"], "language": "python", "metadata": {}, "outputs": []}
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"metadata": {}, "cells": [cell]}]}
    (tmp_path / "a.ipynb").write_text(json.dumps(old))
    assert [cell.source for cell in read_notebook(tmp_path / "a.ipynb").cells] == ["1"]


@pytest.mark.parametrize(("error", "words"), [
    (DeadKernelError("Kernel died"), "cell 1(.|\n)*Kernel died(.|\n)*lives on"),
    (CellTimeoutError("A cell timed out"), "cell 1(.|\n)*within 5 seconds"),
    (NoSuchKernel("python3"), "pip install ipykernel")])
def test_kernels_that_end_or_do_not(tmp_path, monkeypatch, error, words):
    def fail(*_):
        raise error

    monkeypatch.setattr(NotebookClient, "setup_kernel", lambda self: nullcontext())
    monkeypatch.setattr(NotebookClient, "execute_cell", fail)
    with pytest.raises(LessonError, match=words):
        execute(write(tmp_path / "a.ipynb", "1"), timeout=5, progress=False)


def test_pages_that_are_not_ours_are_not_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr("seglab.lessons.execute", lambda path, progress: read_notebook(path))
    write(tmp_path / "a.ipynb", "1")
    (tmp_path / "glossary.md").write_text("# Words")
    for _ in range(2):  # ours are
        run([tmp_path], html=tmp_path / "html", progress=False)
    for name in ("a.html", "glossary.html"):
        (tmp_path / "html" / name).write_text("mine")
        with pytest.raises(ArgumentError, match=f"{name}, which `seglab run` did not write"):
            run([tmp_path], html=tmp_path / "html", progress=False)
        assert (tmp_path / "html" / name).read_text() == "mine"
        (tmp_path / "html" / name).unlink()
    (tmp_path / "b").mkdir()
    write(tmp_path / "b" / "a.ipynb", "2")
    with pytest.raises(ArgumentError, match="two for .*a.html"):
        run([tmp_path, tmp_path / "b"], html=tmp_path / "html", progress=False)
    with pytest.raises(ArgumentError, match="can be made"):
        run([tmp_path], html=tmp_path / "a.ipynb", progress=False)


def test_live_outputs_are_removed_and_streams_joined():
    cell = new_code_cell("x", outputs=[
        new_output("display_data", data={LIVE: {"model_id": "1"}, "text/plain": "HBox()"}),
        new_output("stream", name="stdout", text="a"), new_output("stream", name="stdout", text="b"),
        new_output("display_data", data={LIVE: {"model_id": "1"}, "image/png": "AA==", "text/plain": "Viewer()"})])
    notebook = new_notebook(cells=[cell], metadata={"widgets": {}})
    outputs = without_live_outputs(notebook).cells[0].outputs
    assert [o.output_type for o in outputs] == ["stream", "display_data"]
    assert outputs[0].text == "ab"
    assert set(outputs[1].data) == {"image/png", "text/plain"}
    assert "widgets" not in notebook.metadata


def test_a_page_shows_the_picture_even_where_a_widget_was_saved_alive():
    state = {"application/vnd.jupyter.widget-state+json": {"version_major": 2, "version_minor": 0, "state": {"1": {
        "model_name": "AnyModel", "model_module": "anywidget", "model_module_version": "0", "state": {}}}}}
    cell = new_code_cell("x", outputs=[new_output("display_data", data={
        LIVE: {"model_id": "1", "version_major": 2, "version_minor": 0}, "image/png": "AA==", "text/plain": "V"})])
    notebook = new_notebook(cells=[cell], metadata={"widgets": state})
    page = to_html(notebook, "a")
    assert "data:image/png;base64,AA==" in page and "html-manager" not in page.split("</head>")[1]
    assert LIVE in cell.outputs[0].data and notebook.metadata.widgets == state, "the notebook itself is left alone"


def test_formulas_are_drawn_by_the_browser_itself_and_code_is_left_alone():
    cell = new_markdown_cell("With $z_c$ of `$HOME` and \\$5 to $6:\n\n$$p = \\frac{a}{b}$$\n\n```\n$x$ $y$\n```")
    body = to_html(new_notebook(cells=[cell]), "a").split("</head>")[1]
    assert len(re.findall(r"<math", body)) == 2 and "<mfrac>" in body and 'display="block"' in body
    assert "$HOME" in body and "$5 to $6" in body and "$x$ $y$" in body
    assert r"$$p" in cell.source, "the notebook itself is left alone"


def test_every_lesson_has_its_widgets():
    used = {path.stem: set(re.findall(r"widgets\.([A-Z]\w+)", "".join(c.source for c in code_cells(path))))
            for path in LESSONS}
    assert used["00_tour"] == set(seglab.widgets.__all__) - {"MaskPainter"}  # it wants pictures of the learner's own
    assert all(used.values()), used


def test_find_notebooks(tmp_path):
    with pytest.raises(DataError, match="no notebook"):
        find_notebooks([tmp_path])
    assert find_notebooks([ROOT / "notebooks"]) == NOTEBOOKS


def test_what_goes_to_stdout_and_to_stderr_is_not_joined():
    outputs = [new_output("stream", name=name, text=name[-1]) for name in ("stdout", "stderr", "stderr")]
    (cell,) = without_live_outputs(new_notebook(cells=[new_code_cell("1", outputs=outputs)])).cells
    assert [(one.name, one.text) for one in cell.outputs] == [("stdout", "t"), ("stderr", "rr")]
