"""The package as a whole: imports, dependencies, commands, words."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import seglab

ROOT = Path(__file__).parents[1]
#: The design's chain: a room may import from itself and from those to its left.
CHAIN = ("errors", "files", "memory", "progress", "recorded", "checkpoint", "labels", "metrics", "history", "datasets",
         "samples", "models", "viz", "inference", "training", "widgets", "recipes", "doctor", "check", "lessons",
         "editions", "checks", "classroom", "command_line", "cli")
CONDA_NAMES = {"torch": "pytorch", "opencv-python": "py-opencv", "matplotlib": "matplotlib-base"}


def test_import_is_quick_since_it_loads_no_library():
    """Within hundredths of a second on an idle machine. What takes seconds is what it must not import."""
    code = "import sys; before = set(sys.modules); import seglab; print(*sorted(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    others = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names
    assert others == {"seglab"}


def test_checks_are_imported_when_they_are_used():
    code = "import sys; from seglab import checks as check; print(*sys.modules); check.iou, check.gcn; dir(check)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in found
    assert not {"timm", "torchvision", "cv2"} & set(found)


def test_public_names_exist():
    for name in seglab.__all__:
        assert getattr(seglab, name) is not None, name
    with pytest.raises(AttributeError, match="nonsense"):
        _ = seglab.nonsense


@pytest.mark.slow
def test_the_types_are_right():
    """mypy over the package, strict; `[tool.mypy]` in pyproject.toml says how. By hand: `.venv/bin/mypy`."""
    found = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_type_checkers_see_the_public_names():
    tree = ast.parse(Path(seglab.__file__).read_text(encoding="utf-8"))
    (shown,) = (node for node in tree.body if isinstance(node, ast.If))
    assert {(line.module, line.names[0].name) for line in shown.body} == {
        *((module, name) for name, module in seglab._WHERE.items()), *(("seglab", room) for room in seglab._ROOMS)}
    assert all(line.names[0].name == line.names[0].asname for line in shown.body), "without `as`, names are private"


def test_modules_import_only_leftwards():
    for path in (ROOT / "seglab").rglob("*.py"):
        room = path.relative_to(ROOT / "seglab").parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("seglab."):
                other = node.module.split(".")[1]
                assert other != "samples" or room in {"samples", "recipes", "cli"}, path
                assert CHAIN.index(other) <= CHAIN.index(room), f"{path.name} imports {node.module}"


def requirements(text: str) -> dict[str, str]:
    return dict(re.findall(r"^\s*-?\s*[\"']?([a-z][\w-]*)>=([\d.]+)", text, re.MULTILINE))


def test_pyproject_and_environment_list_the_same():
    pyproject, environment = ((ROOT / name).read_text(encoding="utf-8")
                              for name in ("pyproject.toml", "environment.yml"))
    body = pyproject[pyproject.index("dependencies = ["):pyproject.index("[project.scripts]")]
    listed = requirements(body)
    assert len(listed) > 20
    conda = requirements(environment)
    python = re.search(r'requires-python = ">=([\d.]+)"', pyproject)[1]
    assert conda.pop("python") == python
    assert {CONDA_NAMES.get(name, name): version for name, version in listed.items()} == conda


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no make; README gives the plain lines")
def test_make_help_lists_the_targets():
    text = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("setup", "run", "test", "quick", "test-oldest", "coverage", "lab", "store"):
        assert re.search(rf"make {target} +\S", text), target


def test_workflows_call_what_is_there():
    text, makefile = ((ROOT / name).read_text(encoding="utf-8") for name in (".github/workflows/ci.yml", "Makefile"))
    called = set(re.findall(r"run: make ([\w-]+)", text))
    assert called == {"run", "test", "test-oldest"} <= set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    oldest = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))[1]
    assert all(f'python: ["{oldest}", ' in line for line in text.splitlines() if "python: [" in line)
    for action in re.findall(r"uses: (\S+)", text):
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", action), f"{action} is not pinned by a hash"


@pytest.mark.filterwarnings("ignore:.*classes never occur")
def test_the_reader_and_the_test_in_contributing_work(tmp_path, monkeypatch):
    """As files: a cache's name depends on the reader's source."""
    from seglab.datasets import Reader

    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    monkeypatch.setattr(Reader, "kinds", dict(Reader.kinds))
    monkeypatch.syspath_prepend(tmp_path)
    for name, code in zip(("leaves", "a_test_of_leaves"), re.findall(r"```python\n(.*?)```", text, re.DOTALL)[:2],
                          strict=True):
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
        module = importlib.import_module(name)
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "data").mkdir()
    module.test_leaves_are_read_and_9_is_ignored(tmp_path / "data")


def test_no_path_of_any_machine_in_the_tree():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".yml", ""} and path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"(?<![\w|])/(home|Users)/\w+/", text), name
