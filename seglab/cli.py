"""The `seglab` command."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from seglab import __version__
from seglab.classroom.commands import app as classroom
from seglab.command_line import Group, is_number
from seglab.errors import ArgumentError, DataError, SeglabError

app = typer.Typer(cls=Group, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="seglab: a course in semantic segmentation that runs.")

Ignored = Annotated[str | None, typer.Option(help="Your own folder: values in masks that do not count: 7,11.")]
Categories = Annotated[str | None, typer.Option(help="COCO: names or ids, with commas: cat,dog; or all.")]
Target = Annotated[str | None, typer.Option(help="Pets: species, foreground or breed.")]
Encoding = Annotated[str | None, typer.Option(help="Your own folder: how masks are stored, ids or colours.")]
_MOST = 1_000_000  # of anything that is counted: more is a slip of the hand
Data = Annotated[Path | None, typer.Option(help="A real dataset's folder; default $SEGLAB_DATA, else the sample.")]
Seed = Annotated[int, typer.Option(min=0, max=2**31 - 1)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is written if it is there.")]


@app.command()
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
def check(
    folder: Annotated[Path, typer.Argument(help="A dataset, in any layout that seglab reads.")],
    layout: Annotated[str | None, typer.Option(help="Its layout, if another one would be found first.")] = None,
    ignore_ids: Ignored = None,
    encoding: Encoding = None,
    categories: Categories = None,
    target: Target = None,
    sheet: Annotated[Path | None, typer.Option(help="PNG for the most suspicious pictures and their masks.")] = None,
    overwrite: Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Read every picture and mask of a dataset, and say what is wrong or doubtful; exit code 1 for what is wrong."""
    from seglab.check import check as run

    report = run(folder, layout=layout, sheet=sheet, overwrite=overwrite, progress=sys.stderr.isatty() and not as_json,
                 **_data_options(ignore_ids, categories, target, encoding))
    typer.echo(report.json() if as_json else str(report))
    raise typer.Exit(1 if report.errors else 0)


@app.command()
def train(
    recipe: Annotated[str | None, typer.Argument(help="See `seglab recipes`; by default light, or transfer where "
                                                 "pictures have one class each.")] = None,
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="Folder for checkpoints; default runs/RECIPE-DATA-seedN.")] = None,
    seed: Seed = 0,
    model: Annotated[str | None, typer.Option(help="single_conv, fcn, fcn_skip, deeplabv3, gcn, classifier.")] = None,
    backbone: Annotated[str | None, typer.Option(help="efficientnet_lite0, resnet50 … or a network of timm.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="The model's own: NAME=VALUE, such as k=7.")] = None,
    size: Annotated[int | None, typer.Option(min=0, max=_MOST, help="Side of crops, or of whole pictures.")] = None,
    short_side: Annotated[int | None, typer.Option(min=0, max=_MOST, help="Scale larger ones down; 0: none.")] = None,
    crops: Annotated[bool | None, typer.Option("--crops/--whole", help="Random crops, or whole pictures.")] = None,
    zoom: Annotated[float | None, typer.Option(help="Scale pictures by it in validation and use.")] = None,
    jitter: Annotated[float | None, typer.Option(min=0, max=1, help="How much brightness and colour vary.")] = None,
    loss: Annotated[str | None, typer.Option(help="ce, dice, iou, lovasz, or a sum such as ce+dice.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="adamw, adam or sgd.")] = None,
    schedule: Annotated[str | None, typer.Option(help="one-cycle, poly, cosine, plateau or constant.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate of what is new in the network.")] = None,
    backbone_factor: Annotated[float | None, typer.Option(help="Of it, for the backbone.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of the optimizer.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, max=_MOST, help="Passes over the pictures.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, max=_MOST, help="Pictures a step of the optimizer.")] = None,
    at_once: Annotated[str | None, typer.Option(help="Pictures in memory at once: a number, or auto.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, max=999, help="Loader processes; by default the best.")] = None,
    monitor: Annotated[str | None, typer.Option(help="Decides which epoch is best: miou, loss …, epoch")] = None,
    skip_problems: Annotated[bool, typer.Option("--skip-problems", help="Leave out what cannot be used.")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Say where the time went, and write a trace.")] = False,
    ignore_ids: Ignored = None,
    categories: Categories = None,
    target: Target = None,
    encoding: Encoding = None,
) -> None:
    """Train any model on any dataset, going on where a run in the same folder ended; score it on the test split.

    What is not said follows from the recipe, and from the data: two lines say what.
    """
    from seglab.recipes import train as run
    from seglab.training.processes import processes
    from seglab.training.profiler import Profile

    settings: dict[str, Any] = {"model": model, "backbone": backbone, "size": size, "short_side": short_side,
                                "crops": crops, "zoom": zoom, "jitter": jitter, "loss": loss,
                                "optimizer": optimizer, "schedule": schedule, "lr": lr,
                                "backbone_factor": backbone_factor, "weight_decay": weight_decay,
                                "epochs": epochs, "batch": batch, "monitor": monitor,
                                "options": _model_options(option)}
    name = "-".join(part for part in (recipe or model, data and data.expanduser().resolve().name) if part) or "light"
    folder = out or Path("runs") / f"{name}-seed{seed}"
    if folder.exists() and not folder.is_dir():
        raise ArgumentError("--out", found=f"{folder}, a file", expected="a folder")
    profiled = Profile() if profile else None
    trained = run(recipe, data=data, folder=folder, seed=seed, problems="skip" if skip_problems else "error",
                  data_options=_data_options(ignore_ids, categories, target, encoding), num_workers=workers,
                  at_once=_at_once(at_once), profile=profiled,
                  **{key: value for key, value in settings.items() if value is not None})
    if processes().is_main_process:
        if profiled is not None:
            typer.echo(f"\n{profiled.text}")
        typer.echo(f"\n{trained.scores.table(trained.splits.label_set)}\n\ncheckpoints and history: {folder}")


def _data_options(ignore_ids: str | None, categories: str | None, target: str | None,
                  encoding: str | None) -> dict[str, Any]:
    """The options of a dataset that were given; it says itself if it does not have one."""
    ignored = _parts(ignore_ids)
    if not all(map(is_number, ignored)):
        raise ArgumentError("--ignore-ids", found=repr(ignore_ids), expected="whole numbers, with commas: 7,11")
    found = {"ignore_ids": [*map(int, ignored)], "target": target, "encoding": encoding,
             "categories": _categories(categories)}
    return {name: value for name, value in found.items() if value}


def _categories(text: str | None) -> list[int | str] | str:
    parts = _parts(text)
    return "all" if [part.lower() for part in parts] == ["all"] else [int(p) if is_number(p) else p for p in parts]


def _parts(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _model_options(given: list[str] | None) -> dict[str, Any] | None:
    """{name: value} of NAME=VALUE, numbers and true or false as such."""
    found = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not (name.isidentifier() and equals):
            raise ArgumentError("--option", found=text, expected="NAME=VALUE, for instance k=7")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found or None


def _at_once(text: str | None) -> Any:
    if text is None or text == "auto":
        return text
    if not (is_number(text) and int(text) > 0):
        raise ArgumentError("--at-once", found=text, expected='a number of pictures, or "auto"')
    return int(text)


@app.command()
def evaluate(
    checkpoint: Path,
    data: Data = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    by_size: Annotated[bool, typer.Option("--by-size", help="Small, medium and large objects apart.")] = False,
    ignore_ids: Ignored = None,
    categories: Categories = None,
    target: Target = None,
    encoding: Encoding = None,
) -> None:
    """Score a checkpoint on a split of a dataset, class by class; it is opened as it was for the training."""
    from seglab.recipes import evaluate_checkpoint

    scores, splits = evaluate_checkpoint(checkpoint, data=data, split=split, by_size=by_size,
                                         data_options=_data_options(ignore_ids, categories, target, encoding))
    typer.echo(f"{splits}\n\n{scores.table(splits.label_set)}")


@app.command()
def predict(
    source: Annotated[str, typer.Argument(help="A picture, a folder of pictures, a video, or a camera's number.")],
    out: Annotated[str | None, typer.Option("--out", "-o", help="By default NAME_overlay or, of a folder, "
                                            "NAME_segmented.")] = None,
    model: Annotated[str, typer.Option(help="auto, bundled, coco, a checkpoint, or an .onnx file.")] = "auto",
    alpha: Annotated[float, typer.Option(min=0, max=1, help="Share of the mask's colours.")] = 0.5,
    tile: Annotated[int | None, typer.Option(max=_MOST, help="Cut large pictures into tiles of this side.")] = None,
    flip: Annotated[bool, typer.Option("--flip", help="Pictures: average with the mirrored one.")] = False,
    size: Annotated[str, typer.Option(help="Videos: WIDTHxHEIGHT to scale down into.")] = "640x360",
    every: Annotated[int, typer.Option(min=1, max=_MOST, help="Videos: run the model on every n-th frame.")] = 1,
    smoothing: Annotated[float, typer.Option(help="Videos: 0 to below 1, quiets flicker.")] = 0.0,
    max_frames: Annotated[int | None, typer.Option(min=1, max=10**9, help="Videos: stop after so many frames.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Segment a picture, a folder, a video or a camera, and write the masks laid over it.

    With a classifier's checkpoint, say what a picture or the pictures of a folder show; -o writes a CSV file.
    """
    from seglab import inference
    from seglab.datasets.io import IMAGE_SUFFIXES
    from seglab.datasets.video import VIDEO_SUFFIXES
    from seglab.files import output_file
    from seglab.inference.video import video_file
    from seglab.models import Classifier, build, load_model

    box, path = _box(size), Path(source).expanduser()
    is_camera = is_number(source) and not path.exists()
    if not is_camera and not path.exists():
        raise DataError(f"{source}: picture, folder or video", found="nothing there", expected="a path that exists",
                        fix="Check the path.")
    is_video = is_camera or (path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir())
    network = None if model in {"auto", "bundled", "coco"} else load_model(model)  # those: after a look at the output
    if isinstance(network, Classifier):
        _classify(network, path, is_video, out, overwrite)
    elif is_video:
        film = int(source) if is_camera else path
        to = video_file(out or "", film, overwrite)
        result = inference.predict_video(network or build("fcn", weights=model), film, to, size=box, every=every,
                                         alpha=alpha, smoothing=smoothing, max_frames=max_frames, overwrite=overwrite)
        typer.echo(f"{result}; flicker {1000 * result.flicker:.1f} in 1,000 pixels")
    elif not path.is_dir():
        to = output_file(out or "", f"{path.stem}_overlay.png", IMAGE_SUFFIXES, overwrite, path)
        prediction = inference.predict(network or build("fcn", weights=model), path, tile=tile, flip=flip)
        prediction.save_overlay(to, alpha, overwrite)
        typer.echo(f"{to}: {_shares(prediction)}; {prediction.seconds:.2f} s")
    else:
        to = Path(out or f"{path.resolve().name}_segmented").expanduser()
        found = inference.predict_folder(network or build("fcn", weights=model), path, to, alpha=alpha,
                                         overwrite=overwrite, tile=tile, flip=flip)
        _list(found, _shares, f"masks and overlays: {to}")


def _classify(model: Any, path: Path, is_video: bool, out: str | None, overwrite: bool) -> None:
    """What a classifier says about a picture, or about each of a folder, a line each."""
    from seglab.inference import classify, classify_folder

    if is_video or (out is not None and not path.is_dir()):
        raise ArgumentError("video" if is_video else "--out", found=path if is_video else out,
                            expected="a picture or a folder of pictures" if is_video else "no file for one picture",
                            fix="A classifier gives one answer a picture; for a folder, -o answers.csv keeps them.")
    if not path.is_dir():
        typer.echo(f"{path}: {classify(model, path)}")
    else:
        _list(classify_folder(model, path, out, overwrite=overwrite), str, f"answers: {out}" if out else "")


def _list(answers: Generator[tuple[Path, Any], None, None], text: Callable[[Any], str], end: str) -> None:
    """A line for each picture of a folder, then what could not be decoded; exit code 1 if something could not."""
    failed, answered = [], False
    with closing(answers):  # also after Ctrl-C, so that the answers are written
        for path, answer in answers:
            if isinstance(answer, SeglabError):
                failed.append(answer)
                typer.echo(f"{path}: cannot be decoded")
            else:
                answered = True
                typer.echo(f"{path}: {text(answer)}")
    for error in failed:
        typer.echo(f"error: {error}", err=True)
    if end and answered:
        typer.echo(end)
    raise typer.Exit(1 if failed else 0)


def _shares(prediction: Any) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in prediction.shares().items())


def _box(size: str) -> tuple[int, int]:
    """WIDTHxHEIGHT, as ffmpeg writes it, as (height, width)."""
    width, _, height = size.lower().partition("x")
    if not (is_number(width) and is_number(height) and min(int(width), int(height)) > 1):
        raise ArgumentError("--size", found=size, expected="WIDTHxHEIGHT in pixels, for instance 640x360")
    return int(height), int(width)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="A .pth file: a state dict of torchvision's FCN or DeepLabV3.")],
    target: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    overwrite: Overwrite = False,
) -> None:
    """Turn torchvision weights into a safetensors checkpoint, after comparing the logits."""
    from seglab.models.convert import convert as run

    typer.echo(run(source, target, overwrite=overwrite))


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint of `seglab train` or `seglab convert`.")],
    format: Annotated[str | None, typer.Option(help="onnx (default) or torchscript.")] = None,
    cpp: Annotated[bool, typer.Option("--cpp", help="Write a folder with a C++ program for LibTorch.")] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="By default NAME.onnx or NAME.pt; of --cpp, "
                                             "the folder NAME_cpp.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a checkpoint as ONNX, TorchScript or a C++ program, which run without seglab, after comparing the answers.

    The file takes `images`, (N, 3, H, W) float32, normalised, and gives `logits`; its metadata say the rest.

    The C++ program reads a picture and writes the mask of `seglab predict`; its README.md says how to build it.
    """
    if cpp and format is not None:
        raise ArgumentError("--cpp", found=f"--format {format} too", expected="one of the two")
    if cpp:
        from seglab.inference.cpp import export_cpp

        typer.echo(export_cpp(checkpoint, out, overwrite=overwrite))
    else:
        from seglab.models.export import export as run

        typer.echo(run(checkpoint, out, format=format or "onnx", overwrite=overwrite))


@app.command()
def recipes() -> None:
    """List the training recipes."""
    from seglab.recipes import PRESETS

    for name, recipe in PRESETS.items():
        typer.echo(f"{name:<26}{recipe.summary}")


@app.command()
def sample(
    folder: Path,
    dataset: Annotated[str, typer.Option(help="drone, catdog, coco or pets.")] = "drone",
    count: Annotated[int, typer.Option(min=3, max=_MOST, help="Pictures; but for drone, of all splits.")] = 120,
    seed: Seed = 0,
    layout: Annotated[str, typer.Option(help="drone: ids or colours, how the masks are stored.")] = "ids",
) -> None:
    """Write built-in pictures into a new folder, in the layout of the real dataset."""
    from seglab.samples import write_catdog_sample, write_coco_sample, write_drone_sample, write_pets_sample

    if dataset == "catdog":
        test = max(1, count // 12)  # a class; a sixth of all
        train = max(1, count // 2 - test)
        count = 2 * (train + test)
        write_catdog_sample(folder, (train, test), seed=seed)
    elif dataset == "coco":
        val = max(1, count // 5)
        write_coco_sample(folder, (count - val, val), seed=seed)
    elif dataset == "pets":
        write_pets_sample(folder, count, seed=seed)
    elif dataset == "drone":
        write_drone_sample(folder, count=count, seed=seed, layout=layout)
    else:
        raise ArgumentError("--dataset", found=repr(dataset), expected="drone, catdog, coco or pets")
    typer.echo(f"{count} pictures in {folder}")


@app.command()
def download(
    dataset: Annotated[str, typer.Argument(help="pets (Oxford-IIIT, 810 MB, CC BY-SA 4.0), or coco (some of 2017).")],
    folder: Annotated[Path | None, typer.Argument(help="Where it goes; by default a folder of seglab's.")] = None,
    categories: Categories = None,
    pictures: Annotated[int | None, typer.Option(max=_MOST, help="coco: how many, 500; a fifth for val.")] = None,
) -> None:
    """Fetch a published dataset and check it; a download that was interrupted goes on when it is called again."""
    from seglab.datasets.download_coco import LICENCE, download_coco
    from seglab.datasets.download_pets import download_pets
    from seglab.files import data_home

    if dataset not in {"pets", "coco"}:
        raise ArgumentError("dataset", found=repr(dataset), expected="pets or coco, and then the folder",
                            fix="For instance: seglab download pets path/to/folder")
    folder = folder or data_home() / dataset
    if dataset == "pets":
        if categories is not None or pictures is not None:
            raise ArgumentError("--categories, --pictures", found="pets", expected="coco: the pets come whole")
        typer.echo(f"the Oxford-IIIT Pet dataset is in {download_pets(folder)}")
        return
    folder = download_coco(folder, _categories(categories or "cat,dog"), 500 if pictures is None else pictures)
    typer.echo(f"pictures of COCO 2017 and their annotations are in {folder}\n{LICENCE}")


@app.command()
def start(
    folder: Annotated[Path, typer.Argument(help="Of your own; it is made.")] = Path("lessons"),
    again: Annotated[list[str] | None, typer.Option(help="A lesson's number: begin it anew; yours is renamed.")] = None,
) -> None:
    """Write your own copies of the lessons: what you are to write is left out, and checked. Yours are kept."""
    from seglab import editions

    for line in editions.start(folder, again or ()):
        typer.echo(line)


@app.command()
def run(
    notebooks: Annotated[list[Path], typer.Argument(help="Notebooks, or folders of them.")],
    html: Annotated[Path | None, typer.Option(help="Write a page for each into this folder.")] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Store the outputs in the notebooks.")] = False,
) -> None:
    """Execute lessons from top to bottom."""
    from seglab import lessons

    lessons.run(notebooks, html=html, in_place=in_place, progress=sys.stderr.isatty() or html is not None)


app.add_typer(classroom, name="classroom")


if __name__ == "__main__":
    app()
