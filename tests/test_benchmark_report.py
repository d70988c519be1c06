"""The comparisons with peers: they take turns, the report says what was missed, and one part runs as a dry run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.compare import OURS, Growth, Part, Row, in_turns, known
from benchmarks.report import markdown, plot, report, short_table, store

ROOT = Path(__file__).parents[1]
MACHINE = {"cpu": "a CPU", "cores": 2, "system": "Linux", "python": "3.11", "torch": "2.14", "torchvision": "0.29",
           "load": 0.1}


def part() -> Part:
    rows = [Row("counting, small", "a loop", 10, "pictures", [1.0, 1.0, 2.0], [4.0, 6.0, 10.0], "the same counts", 4.0),
            Row("counting, large", "a loop", 10, "pictures", [1.0], [3.0], goal=4.0, reason="The sum takes 80 %."),
            Row("opening", "another", 1, "openings", [2.0], [1.0], memory={OURS: 10.0, "peer": 20.0})]
    return Part("Counting", rows, [Growth("Memory", "pictures", "MB", [1, 10], {OURS: [5.0, 6.0]}, "flat", True)],
                ["Note."])


def test_all_take_turns_and_everybody_is_first_once():
    calls: list[str] = []
    ways = {name: lambda name=name: calls.append(name) for name in "abc"}
    times = in_turns(ways, repeats=3)
    assert [len(seconds) for seconds in times.values()] == [3, 3, 3]
    assert ["".join(calls[i:i + 3]) for i in range(0, 12, 3)] == ["abc", "bca", "cab", "abc"]


def test_ratios_are_taken_repeat_by_repeat_and_a_missed_goal_has_its_reason():
    text = markdown(part())
    assert ("| counting, small | a loop | 10.0 pictures/s | 1.7 pictures/s | **5.00×** (4.50× to 5.50×) | – | 4×: met |"
            in text)
    assert "- **Missed**: counting, large: 3.00× instead of 4× beside a loop. The sum takes 80 %." in text
    assert "| opening | another | 2.00 s | 1.0 openings/s | **0.500×** (0.500× to 0.500×) | 10, 20 MB | – |" in text
    assert "- counting, small: the same counts." in text and "| seglab | 5 | 6 |" in text


def test_the_whole_report_counts_goals_and_names_what_is_missing(tmp_path):
    text = report([part()], MACHINE, 120.0, ["training failed"])
    assert "2 of 3 goals are met. **Left out: training failed.**" in text and "load 0.1 at the start" in text
    plot([part()], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"ratios.png", "growth_0.png"}
    assert short_table([part()]).splitlines()[2:] == ["| counting | a loop | 3.00× to 5.00× | 4× |"]


def test_a_table_replaces_what_stands_between_its_marks_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench -->\nold\n<!-- end of bench -->\nafter\n", encoding="utf-8")
    store(page, "new")
    assert page.read_text(encoding="utf-8") == "before\n<!-- bench -->\nnew\n<!-- end of bench -->\nafter\n"
    page.write_text("no marks", encoding="utf-8")
    with pytest.raises(ValueError, match="no <!-- bench -->"):
        store(page, "new")


@pytest.mark.slow
def test_a_dry_run_measures_what_was_asserted_to_be_the_same(tmp_path):
    done = subprocess.run([sys.executable, "-m", "benchmarks", "metrics", "overlay", "--quick", "--out", str(tmp_path)],
                          cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert [*results["parts"]] == ["metrics", "overlay"] and "masks was not run" in results["left_out"]
    rows = [row for result in results["parts"].values() for row in known(result).rows]
    assert len(rows) == 11 and all(row.same and row.ratio > 0 for row in rows)
    assert "# seglab beside its peers" in (tmp_path / "report.md").read_text(encoding="utf-8")
