"""The command: `python -m tools.fuzz --help`."""

from __future__ import annotations

import argparse
import collections
import sys
import tempfile
import time
from pathlib import Path

from tools.fuzz.kinds import KINDS
from tools.fuzz.processes import FAILURES, FINE, Fuzzer, Outcome


def main() -> int:
    parser = argparse.ArgumentParser(description="Damage files of every kind that seglab reads, and see what it does.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mutants", type=int, default=1500)
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"of {', '.join(KINDS)}")
    parser.add_argument("--only", type=int, help="the number of one mutant")
    parser.add_argument("--out", type=Path, help="a folder for the inputs that failed")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0, help="that one may take")
    given = parser.parse_args()
    if unknown := set(chosen := given.kinds.split(",")) - set(KINDS):
        parser.error(f"no such kind: {', '.join(sorted(unknown))}")
    start, counts, failures = time.monotonic(), collections.Counter[tuple[str, str]](), []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        fuzzer = Fuzzer(KINDS, Path(folder), given.seed, given.seconds, keep=given.out)
        numbers = [given.only] if given.only is not None else fuzzer.numbers(given.mutants, chosen)
        for outcome in fuzzer.run(numbers, given.jobs):
            counts[outcome.kind, outcome.verdict] += 1
            if outcome.verdict in FAILURES:
                failures.append(outcome)
            if given.only is not None:
                print(outcome.verdict, outcome.what, outcome.message, sep="\n  ")
    report(counts, failures, given.seed)
    print(f"{sum(counts.values())} mutants in {time.monotonic() - start:.0f} s, {len(failures)} failures")
    return bool(failures)


def report(counts: collections.Counter[tuple[str, str]], failures: list[Outcome], seed: int) -> None:
    """A table of kinds and verdicts; then the failures, those from one place together."""
    verdicts = [one for one in (*FINE, *FAILURES) if any(verdict == one for _, verdict in counts)]
    kinds = list(dict.fromkeys(kind for kind, _ in counts))
    print(f"{'':20s}" + "".join(f"{one:>{len(one) + 2}s}" for one in verdicts))
    for kind in sorted(kinds):
        print(f"{kind:20s}" + "".join(f"{counts[kind, one] or '':>{len(one) + 2}}" for one in verdicts))
    groups = collections.defaultdict(list)
    for one in failures:
        error = "" if one.verdict == "changed" else one.message.partition(":")[0]
        groups[one.kind, one.verdict, one.place, error].append(one)
    for (kind, verdict, place, _), those in sorted(groups.items()):
        first = min(those, key=lambda one: one.number)
        print(f"\n{kind}: {verdict} {place} ({len(those)}×): --seed {seed} --only {first.number}"
              f"\n  {first.what}\n  {first.message}\n{first.details.rstrip()}")


if __name__ == "__main__":
    sys.exit(main())
