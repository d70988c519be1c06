"""The mistakes that the graders know, by exercise: `python -m tools.mistakes` writes assignments/MISTAKES.md."""

from __future__ import annotations

from pathlib import Path

import nbformat

from seglab.classroom.grading import hidden_tests, questions_of

ASSIGNMENTS = Path(__file__).parents[1] / "assignments"
PAGE = ASSIGNMENTS / "MISTAKES.md"
_START = """# Common mistakes, by exercise

These are the mistakes that the hidden tests tell apart. Who makes one of them reads its sentence in the feedback.
`python -m tools.mistakes` writes this page from the graders.
"""


def page() -> str:
    """What `PAGE` should hold."""
    blocks = [_START]
    for folder in sorted(path for path in (ASSIGNMENTS / "source").iterdir() if path.is_dir()):
        cells = nbformat.read(folder / f"{folder.name}.ipynb", as_version=4).cells
        questions, exercise = questions_of(ASSIGNMENTS, folder.name), ""
        known: dict[str, list[str]] = {}
        for cell in cells:
            if cell.cell_type == "markdown":
                exercise = next((line[3:] for line in cell.source.splitlines() if line.startswith("## ")), exercise)
            else:
                known.setdefault(exercise, []).extend(
                    sentence for name, _ in hidden_tests(cell.source)[1]
                    for sentence in getattr(questions[name], "mistakes", {}))
        blocks.append(f"## {cells[0].source.splitlines()[0].removeprefix('# ')}\n")
        blocks += [f"### {exercise}\n\n" + "".join(f"- {one}\n" for one in dict.fromkeys(sentences))
                   for exercise, sentences in known.items() if sentences]
    return "\n".join(blocks)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
