"""The report of `make bench`, from the results of its parts: Markdown, plots, and the table of the README."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.compare import OURS, Growth, Part, Row, quartiles


def markdown(part: Part) -> str:
    """A part of the report."""
    lines = [f"## {part.title}", ""]
    if part.rows:
        memory = any(row.memory for row in part.rows)
        lines += [f"| work | beside | {OURS} | the peer | {OURS} is faster by (quartiles) |"
                  f"{' peak memory of both |' if memory else ''} goal |",
                  f"| --- | --- | ---: | ---: | ---: |{' ---: |' if memory else ''} --- |"]
        lines += [_line(row, memory) for row in part.rows]
        lines += [""]
        if asserted := list(dict.fromkeys(f"{row.work}: {row.same}." for row in part.rows if row.same)):
            lines += ["Asserted in the same run:", "", *(f"- {one}" for one in asserted), ""]
        missed: dict[tuple[str, str], list[Row]] = {}
        for row in (row for row in part.rows if not row.met):
            missed.setdefault((row.work, row.reason), []).append(row)
        lines += [f"- **Missed**: {work}: {'; '.join(_against(row) for row in rows)}. {reason}"
                  for (work, reason), rows in missed.items()] + [""] * bool(missed)
    for growth in part.growth:
        lines += [*_table(growth), ""]
    lines += [f"- {note}" for note in part.notes] + [""] * bool(part.notes)
    return "\n".join(lines)


def _line(row: Row, memory: bool) -> str:
    low, middle, high = quartiles(row.ratios)
    goal = "–" if row.goal is None else f"{row.goal:g}×: {'met' if row.met else 'missed'}"
    peaks = f" {row.memory[OURS]:.0f}, {row.memory['peer']:.0f} MB |" if row.memory else " – |"
    return (f"| {row.work} | {row.peer} | {speed(row.items, row.ours, row.unit)} | "
            f"{speed(row.items, row.theirs, row.unit)} | **{factor(middle)}** ({factor(low)} to {factor(high)}) |"
            f"{peaks if memory else ''} {goal} |")


def _against(row: Row) -> str:
    return f"{factor(row.ratio)} instead of {row.goal:g}× beside {row.peer}"


def factor(ratio: float) -> str:
    """Three digits: 0.998×, 7.35×, 56.2×, 120×.

    Example:
        >>> factor(0.9984), factor(7.354), factor(120.3)
        ('0.998×', '7.35×', '120×')
    """
    return f"{ratio:.{3 if ratio < 1 else 2 if ratio < 10 else 1 if ratio < 100 else 0}f}×"


def speed(items: float, seconds: Sequence[float], unit: str) -> str:
    """The median as a rate, or a duration where one item takes longer than a second.

    Example:
        >>> speed(10, [0.1], "pictures"), speed(1, [2.5], "opening")
        ('100.0 pictures/s', '2.50 s')
    """
    each = statistics.median(seconds) / items
    return f"{each:.2f} s" if each > 1 else f"{1 / each:,.{0 if each < 0.01 else 1}f} {unit}/s"


def _table(growth: Growth) -> list[str]:
    met = {None: "", True: " (met)", False: " (**missed**)"}[growth.met]
    goal = f" Goal: {growth.goal}{met}." if growth.goal else ""
    return [f"{growth.work}, in {growth.unit}.{goal}", "",
            f"| {growth.over} | {' | '.join(f'{amount:,.0f}' for amount in growth.amounts)} |",
            f"| --- |{' ---: |' * len(growth.amounts)}",
            *(f"| {name} | {' | '.join(f'{value:,.4g}' for value in values)} |"
              for name, values in growth.lines.items())]


def report(parts: Sequence[Part], machine: dict, seconds: float, left_out: Sequence[str]) -> str:
    """All of it."""
    rows = [row for part in parts for row in part.rows if row.goal is not None]
    goals = [row.met for row in rows] + [one.met for part in parts for one in part.growth if one.met is not None]
    load = "" if machine["load"] is None else f", load {machine['load']:.1f} at the start"
    return "\n".join([
        "# seglab beside its peers", "",
        f"{machine['cpu']}, {machine['cores']} cores, no GPU used; {machine['system']}, Python {machine['python']}, "
        f"torch {machine['torch']}, torchvision {machine['torchvision']}{load}. {seconds / 60:.0f} minutes. "
        f"{sum(goals)} of {len(goals)} goals are met."
        + (f" **Left out: {'; '.join(left_out)}.**" if left_out else ""), "",
        "Each line compares two ways of doing the same work, in one process and in turns; what is called faster is the "
        "peer's time over seglab's, repeat by repeat, as median and quartiles. Speeds are medians. Peaks of memory are "
        "of a process of its own each, over what its imports take.", "",
        "![ratios](ratios.png)", "", *(f"{markdown(part)}\n" for part in parts)])


def short_table(parts: Sequence[Part]) -> str:
    """A line for each kind of work with a goal and each peer; medians, from the lowest to the highest of its works."""
    kinds: dict[tuple[str, str], list[Row]] = {}
    for row in (row for part in parts for row in part.rows if row.goal is not None):
        kinds.setdefault((re.split("[,:]", row.work)[0], row.peer), []).append(row)
    lines = ["| work | beside | seglab is faster by | goal |", "| --- | --- | ---: | ---: |"]
    for (work, peer), rows in kinds.items():
        low, high = (factor(pick(row.ratio for row in rows)) for pick in (min, max))
        lines.append(f"| {work} | {peer} | {low if low == high else f'{low} to {high}'} | {rows[0].goal:g}× |")
    return "\n".join(lines)


def store(path: Path, text: str) -> None:
    """Put a text between the two marks `<!-- bench -->` and `<!-- end of bench -->` of a page."""
    before, mark, rest = path.read_text(encoding="utf-8").partition("<!-- bench -->\n")
    _, end, after = rest.partition("<!-- end of bench -->")
    if not mark or not end:
        raise ValueError(f"{path}: no <!-- bench --> and <!-- end of bench -->")
    path.write_text(f"{before}{mark}{text}\n{end}{after}", encoding="utf-8")


def plot(parts: Sequence[Part], folder: Path) -> None:
    """`ratios.png`, a bar for each line with a goal; and a plot for each growth."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    rows = [row for part in parts for row in part.rows if row.goal is not None]
    figure, axis = plt.subplots(figsize=(9, 1 + 0.32 * len(rows)), layout="constrained")
    for place, row in enumerate(reversed(rows)):
        low, middle, high = quartiles(row.ratios)
        axis.barh(place, middle, xerr=[[middle - low], [high - middle]], color="#0072b2" if row.met else "#d55e00",
                  error_kw={"lw": 1})
        axis.plot([row.goal] * 2, [place - 0.4, place + 0.4], color="black", lw=1.5)
    axis.set(xscale="log", xlabel="times the peer's speed; black: the goal", ylim=(-0.7, len(rows) - 0.3),
             yticks=range(len(rows)), yticklabels=[f"{row.work} | {row.peer}" for row in reversed(rows)])
    axis.axvline(1, color="grey", lw=0.5)
    figure.savefig(folder / "ratios.png", dpi=110)
    plt.close(figure)
    for number, growth in enumerate(one for part in parts for one in part.growth):
        figure, axis = plt.subplots(figsize=(5, 3.2), layout="constrained")
        for name, values in growth.lines.items():
            axis.plot(growth.amounts, values, marker="o", label=name)
        axis.set(xscale="log", xlabel=growth.over, ylabel=growth.unit, ylim=(0, None), title=growth.work)
        axis.title.set_size(9)
        axis.legend(fontsize=8)
        figure.savefig(folder / f"growth_{number}.png", dpi=110)
        plt.close(figure)
