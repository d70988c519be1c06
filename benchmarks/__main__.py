"""seglab beside its peers: each part in a process of its own, one after the other, then a report.

    python -m benchmarks                        # all parts, half an hour on two quiet cores: build/bench/report.md
    python -m benchmarks metrics masks          # some parts; the others are taken from what build/bench has of them
    python -m benchmarks --quick --out build/x  # a dry run, whose numbers mean nothing
    python -m benchmarks --store                # measures nothing: writes the tables of README.md and docs/speed.md
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.compare import ROOT, known, machine
from benchmarks.report import markdown, plot, report, short_table, store

PARTS = ("masks", "metrics", "overlay", "pipeline", "training", "inference", "growth")


def main() -> None:
    """Run the parts, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="little work: a dry run, whose numbers mean nothing")
    parser.add_argument("--data", type=Path, help="a folder with coco/, pets/, camvid/ …, to measure on them too")
    parser.add_argument("--store", action="store_true", help="write the tables of the documentation from the results")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if options.store:
        store_tables(json.loads((options.out / "results.json").read_text(encoding="utf-8")))
        return
    options.out.mkdir(parents=True, exist_ok=True)
    about, start, left_out = machine(), time.perf_counter(), []
    for name in options.parts or PARTS:
        print(f"==> {name}", flush=True)
        path = options.out / f"{name}.json"
        path.unlink(missing_ok=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", "--out", str(path.resolve())]
        command += ["--quick"] * options.quick + (["--data", str(options.data.resolve())] if options.data else [])
        done = subprocess.run(command, cwd=ROOT, check=False)
        if done.returncode:
            left_out.append(f"{name} failed")
    results = {name: json.loads(path.read_text(encoding="utf-8")) for name in PARTS
               if (path := options.out / f"{name}.json").exists()}
    left_out += [f"{name} was not run" for name in PARTS if name not in results and f"{name} failed" not in left_out]
    parts = [known(result) for result in results.values()]
    seconds = time.perf_counter() - start
    (options.out / "results.json").write_text(json.dumps(
        {"machine": about, "seconds": seconds, "left_out": left_out, "parts": results}, indent=1), encoding="utf-8")
    text = report(parts, about, sum(result["seconds"] for result in results.values()), left_out)
    (options.out / "report.md").write_text(text + "\n", encoding="utf-8")
    plot(parts, options.out)
    print(f"\n{text}\n\nwritten to {options.out}")
    sys.exit(any(one.endswith("failed") for one in left_out))


def store_tables(results: dict[str, Any]) -> None:
    """The tables of README.md and docs/speed.md, with the machine that they are from."""
    parts, about = [known(result) for result in results["parts"].values()], results["machine"]
    where = f"{about['cpu']}, {about['cores']} cores, torch {about['torch']}"
    store(ROOT / "README.md", f"{short_table(parts)}\n\n*{where}; `make bench`.*")
    rows = "\n\n".join(markdown(part).replace("## ", "### ", 1) for part in parts)
    store(ROOT / "docs" / "speed.md", f"{where}.\n\n{rows}")


if __name__ == "__main__":
    main()
