"""The `seglab` command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from seglab import __version__
from seglab.errors import SeglabError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="seglab: a course in semantic segmentation that runs.")


def _friendly(command: Callable[..., Any]) -> Callable[..., Any]:
    """Print our own errors as they are meant to be read; a traceback is for our mistakes, not the user's."""

    @wraps(command)
    def wrapped(*args: Any, **options: Any) -> None:
        try:
            command(*args, **options)
        except SeglabError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from None

    return wrapped


Data = Annotated[Path | None, typer.Option(help="A real dataset's folder; default $SEGLAB_DATA, else the sample.")]


@app.command()
@_friendly
def doctor() -> None:
    """Print versions, devices, data and disk, and what to do about each problem."""
    from seglab.doctor import examine

    findings = examine()
    typer.echo(f"seglab {__version__}")
    for finding in findings:
        typer.echo(str(finding))
    problems = sum(finding.fix is not None for finding in findings)
    typer.echo(f"{problems} problem{'s' * (problems != 1)} found" if problems else "everything is in place")
    raise typer.Exit(1 if problems else 0)


@app.command()
@_friendly
def train(
    recipe: Annotated[str, typer.Argument(help="A recipe; `seglab recipes` lists them.")],
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="Folder for checkpoints; default runs/RECIPE-seedN.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    seed: int = 0,
) -> None:
    """Train a recipe, going on where a run in the same folder ended, and score it on the test split."""
    from seglab.recipes import train as run

    folder = out or Path("runs") / f"{recipe}-seed{seed}"
    _, scores, splits = run(recipe, data=data, folder=folder, epochs=epochs, seed=seed)
    typer.echo(f"{splits}\n\n{scores.table(splits.label_set)}\n\ncheckpoints and history: {folder}")


@app.command()
@_friendly
def evaluate(
    checkpoint: Path,
    data: Data = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
) -> None:
    """Score a checkpoint on a split of a dataset, class by class."""
    from seglab.recipes import evaluate_checkpoint

    scores, splits = evaluate_checkpoint(checkpoint, data=data, split=split)
    typer.echo(f"{splits}\n\n{scores.table(splits.label_set)}")


@app.command()
@_friendly
def recipes() -> None:
    """List the training recipes."""
    from seglab.recipes import RECIPES

    for name, recipe in RECIPES.items():
        typer.echo(f"{name:<24}{recipe.summary}")


@app.command()
@_friendly
def sample(
    folder: Path,
    count: Annotated[int, typer.Option(min=3)] = 120,
    seed: int = 0,
    layout: Annotated[str, typer.Option(help="ids or colours: how the masks are stored.")] = "ids",
) -> None:
    """Write the built-in drone pictures into a new folder, in the published layout."""
    from seglab.datasets import write_drone_sample

    typer.echo(f"{count} pictures in {write_drone_sample(folder, count=count, seed=seed, layout=layout)}")


@app.command()
@_friendly
def run(
    notebooks: Annotated[list[Path], typer.Argument(help="Notebooks, or folders of them.")],
    html: Annotated[Path | None, typer.Option(help="Write a page for each into this folder.")] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Store the outputs in the notebooks.")] = False,
) -> None:
    """Execute lessons from top to bottom."""
    from seglab import lessons

    lessons.run(notebooks, html=html, in_place=in_place, progress=sys.stderr.isatty() or html is not None)


if __name__ == "__main__":
    app()
