"""The command `seglab classroom`."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Hand out assignments, collect and grade them, with nbgrader.")
Folder = Annotated[Path, typer.Argument(help="The course's folder.", metavar="COURSE")]
Name = Annotated[str, typer.Argument(help="Of an assignment, such as a1.", metavar="ASSIGNMENT")]


@app.command()
def new(course: Folder) -> None:
    """Make a course's folder with all assignments, their solutions and their graders."""
    from seglab.classroom.course import Course

    made = Course.new(course)
    typer.echo(f"{course}: {', '.join(made.assignments)}. README.md is the guide for teachers; keep the folder to "
               f"yourself.\nNext: seglab classroom release {course} {made.assignments[0]}")


@app.command()
def release(course: Folder, assignments: Annotated[list[str], typer.Argument(metavar="ASSIGNMENT…")]) -> None:
    """Write what students get: notebooks without solutions and hidden tests."""
    from seglab.classroom.course import Course

    for assignment in assignments:
        folder = Course(course).release(assignment)
        typer.echo(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")


@app.command()
def collect(course: Folder, assignment: Name, place: Annotated[Path, typer.Argument(
        help="A folder of submissions, a learning platform's zip, or a notebook.")],
        pattern: Annotated[str | None, typer.Option(help="Regular expression for their paths, with a group "
                                                    "(?P<student>…), where names are unusual.")] = None) -> None:
    """Put submissions into the course's folder, the newest of each student."""
    from seglab.classroom.collect import collect as take
    from seglab.classroom.course import Course

    made = Course(course)
    made.check(assignment)
    report = take(made.root, assignment, place, pattern)
    for one in report:
        if one.left:
            typer.echo(f"left: {one.source}: {one.left}", err=True)
    students = [one.student for one in report if not one.left]
    typer.echo(f"{len(students)} collected: {', '.join(students)}")


@app.command()
def grade(course: Folder, assignment: Name, student: Annotated[list[str] | None, typer.Option(
        help="Of these students only.")] = None) -> None:
    """Run each submission, confined as far as this system can, and give it its points."""
    from seglab.classroom.confine import available
    from seglab.classroom.course import Course

    can = available()
    missing = [text for name, text in (("files", "read and write your files"), ("network", "use the network"))
               if not can[name]]
    typer.echo("confined: own files, no network, limited memory and time" if not missing else
               f"WARNING: on this system, submissions can {' and '.join(missing)}. Grade in a container, or on Linux.",
               err=bool(missing))
    done = []
    for one in Course(course).grade(assignment, student):
        done.append(one)
        typer.echo(f"{one.student:<24}{one.points:6.1f} of {one.most:g}{one.seconds:8.1f} s"
                   + (f"   {one.problem}" if one.problem else ""))
    typer.echo(f"{len(done)} graded, median {statistics.median(one.points for one in done):g} points, "
               f"{sum(one.seconds for one in done) / len(done):.1f} s each. The written question is graded by hand: "
               f"see README.md.")


@app.command()
def feedback(course: Folder, assignment: Name) -> None:
    """Write a page for each graded submission."""
    from seglab.classroom.course import Course

    pages = Course(course).feedback(assignment)
    typer.echo(f"{len(pages)} pages in {Course(course).root / 'feedback'}")


@app.command()
def export(course: Folder, to: Annotated[Path, typer.Option(help="The table to write.")] = Path("grades.csv"),
           overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace it if it is there.")] = False) -> None:
    """Write all points as a table (CSV)."""
    from seglab.classroom.course import Course

    typer.echo(Course(course).export(to, overwrite=overwrite))


@app.command()
def similar(course: Folder, assignment: Name,
            most: Annotated[int, typer.Option(min=1, help="Pairs to list.")] = 20) -> None:
    """List pairs of submissions whose code is alike, for a person to look at."""
    from seglab.classroom.course import Course
    from seglab.classroom.similar import similar as compare

    made = Course(course)
    made.check(assignment)
    for pair in compare(made.root, assignment, most):
        typer.echo(f"{pair.share:5.0%}{' !' if pair.unusual else '  '} {pair.first:<24}{pair.second:<24}"
                   f"{', '.join(pair.cells)}")
    typer.echo("Shares of unusual code; ! marks pairs far above the others. Look at both before you say anything.")
