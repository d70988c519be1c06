from __future__ import annotations

import itertools
import warnings

import matplotlib as mpl
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import chelsea

from seglab import viz
from seglab.errors import ArgumentError
from seglab.labels import CAMVID, DRONE, PETS, VOC, LabelSet, known_label_set, voc_palette
from seglab.metrics import BandMatrix, SizedIoU, calibration
from seglab.training import History, Monitor
from seglab.viz import live
from seglab.viz.palettes import as_drawn, safe_label_set
from tools.palette import least_difference, seen_by_all

mpl.use("agg")
from matplotlib import pyplot as plt

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (3, 20, 30), dtype=np.uint8)
MASK = RNG.choice(np.array([0, 1, 2, 255], dtype=np.uint8), (20, 30))


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_overlay_blends_and_leaves_ignored_pixels_and_the_background():
    picture = IMAGE.transpose(1, 2, 0)
    blended = viz.overlay(torch.from_numpy(IMAGE), torch.from_numpy(MASK), PETS)
    wanted = (picture.astype(float) + np.array([(0, 0, 0), (86, 180, 233), (213, 94, 0)])[MASK % 255]) / 2
    animal = (MASK == 1) | (MASK == 2)
    assert np.abs(blended[animal] - wanted[animal]).max() <= 0.5
    assert np.array_equal(blended[~animal], picture[~animal])
    assert np.array_equal(viz.overlay(picture, MASK, PETS, alpha=0), picture)
    no_dog = viz.overlay(picture, MASK, PETS, hidden=[2])
    for class_id in (1, 0):
        assert np.abs(no_dog[class_id == MASK] - wanted[class_id == MASK]).max() <= 0.5, "what is not hidden is painted"
    assert np.array_equal(no_dog[MASK >= 2], picture[MASK >= 2])


@pytest.mark.parametrize("label_set", [DRONE, CAMVID, known_label_set(["soil", "leaf", "water"])])
def test_without_a_background_everything_is_painted(label_set):
    picture, scored = np.full((20, 30, 3), 255, np.uint8), MASK != 255
    blended = viz.overlay(picture, MASK, label_set, alpha=1)
    assert np.array_equal(blended[scored], as_drawn(label_set).palette[MASK][scored])
    assert (blended[~scored] == 255).all()


def test_what_has_vocs_colours_is_drawn_in_others():
    black, *animals = as_drawn(PETS).colours
    assert (black, animals) == ((0, 0, 0), [(86, 180, 233), (213, 94, 0)])
    foreground = LabelSet("pets-foreground", ("background", "pet"), PETS.colours[:2])
    gaps = LabelSet("gaps", ("a", "b"), tuple(map(tuple, voc_palette(9)[[3, 8]].tolist())))
    for label_set in (VOC, PETS, foreground, gaps, known_label_set(["cat", "dog"])):
        drawn = as_drawn(label_set)
        assert not set(drawn.colours) & {*VOC.colours[1:]} and drawn.classes == label_set.classes
        assert as_drawn(drawn) == safe_label_set(drawn) == drawn
    assert as_drawn(known_label_set(["cat", "dog"])).colours == tuple(animals), "no background, no black"
    own = LabelSet("own", ("background", "leaf"), ((0, 0, 0), (0, 200, 0)))
    turned = LabelSet("turned", ("x", "y"), VOC.colours[2:0:-1])
    for label_set in (DRONE, CAMVID, own, turned):
        assert as_drawn(label_set) is label_set


def test_cat_and_dog_are_told_apart_by_all_eyes_on_a_photograph():
    photo = chelsea()[::10, ::10]

    def apart(label_set):
        """The least difference of cat, dog and background, for the eyes that see it least, at the median pixel."""
        seen = [seen_by_all(viz.overlay(photo, np.full(photo.shape[:2], i, np.uint8), label_set).reshape(-1, 3))
                for i in range(3)]
        return min(np.median(np.linalg.norm(a - b, axis=-1), axis=1).min() for a, b in itertools.combinations(seen, 2))

    assert apart(PETS) > 20
    darker = LabelSet("as published", ("rest", *PETS.classes[1:]), ((1, 0, 0), *PETS.colours[1:]))  # drawn as they are
    assert apart(darker) < 10
    errors = [viz.RIGHT, viz.WRONG]
    assert least_difference(np.array([*as_drawn(PETS).colours, *errors], np.uint8)) > 15, "no class looks like an error"


def test_overlay_equals_the_usual_loop_at_any_share():
    picture = IMAGE.transpose(1, 2, 0)
    mask = np.where(MASK == 255, np.uint8(0), MASK)
    for alpha in (0.0, 0.3, 0.5, 1.0):
        wanted = picture * (1 - alpha) + as_drawn(PETS).palette[mask] * alpha
        assert np.abs(viz.overlay(picture, mask, PETS, alpha, hidden=()) - wanted).max() <= 0.5 + 1e-6
        turned = viz.overlay(picture, mask.T.copy().T, PETS, alpha)  # not contiguous
        assert np.array_equal(turned, viz.overlay(picture, mask, PETS, alpha))
    assert viz.overlay(np.zeros((0, 4, 3), np.uint8), np.zeros((0, 4), np.uint8), PETS).shape == (0, 4, 3)


def test_legend_is_below_and_shows_each_class_in_its_colour():
    painted = viz.overlay(IMAGE, MASK, PETS, alpha=1)
    picture = np.full((30, 200, 3), 17, np.uint8)
    whole = viz.add_legend(picture, PETS, [1, 2, 255])
    assert np.array_equal(whole[:30], picture)
    strip = whole[30:].reshape(-1, 3)
    for class_id, colour in ((1, painted[MASK == 1][0]), (2, painted[MASK == 2][0]), (255, (235, 235, 235))):
        assert (strip == colour).all(1).sum() > 20
        assert viz.class_patches(PETS, [class_id])[0].get_facecolor()[:3] == pytest.approx(np.array(colour) / 255)
    assert viz.add_legend(picture[:, :60], PETS, [0, 1, 2, 255]).shape[0] > whole.shape[0]  # wraps


def test_error_map():
    truth, guess = np.array([[0, 1, 255]], np.uint8), np.array([[0, 2, 1]], np.uint8)
    assert viz.error_map(guess, truth)[0].tolist() == [list(viz.RIGHT), list(viz.WRONG), list(viz.IGNORED)]


def test_arguments():
    with pytest.raises(ArgumentError, match=r"\(20, 29\)"):
        viz.overlay(IMAGE, MASK[:, :29], PETS)
    with pytest.raises(ArgumentError, match="alpha"):
        viz.overlay(IMAGE, MASK, PETS, alpha=2)
    with pytest.raises(ArgumentError, match="float32"):
        viz.overlay(IMAGE.astype(np.float32), MASK, PETS)
    with pytest.raises(ArgumentError, match="prediction"):
        viz.error_map(MASK, MASK[:2])


@pytest.mark.slow
def test_figures_hold_what_they_should():
    figure = viz.show_samples([(IMAGE, MASK)] * 2, PETS, predict=lambda image: np.zeros((20, 30), np.uint8))
    assert len(figure.axes) == 8
    assert np.array_equal(figure.axes[1].images[0].get_array(), as_drawn(PETS).colourise(MASK))
    panels = viz.show_samples([(IMAGE, MASK)], PETS).axes
    truth, blended = (axis.images[0].get_array() for axis in panels[1:3])
    assert np.array_equal(blended, viz.overlay(IMAGE, MASK, safe_label_set(PETS)))
    assert np.array_equal(truth[MASK == 1][0], viz.overlay(IMAGE, MASK, PETS, alpha=1)[MASK == 1][0])
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["background", "cat", "dog", "ignored"]

    bars = viz.plot_shares({"train": [0.7, 0.2, 0.1], "test": [0.6, 0.3, 0.1]}, PETS).axes[0]
    assert [t.get_text() for t in bars.get_yticklabels()] == ["dog", "cat", "background"]
    assert [p.get_width() for p in bars.patches] == [0.1, 0.2, 0.7]

    iou = viz.plot_iou({"a": [0.5, np.nan, 0.7], "b": [0.1, np.nan, 0.2]}, PETS).axes[0]
    assert [t.get_text() for t in iou.get_xticklabels()] == ["dog", "background"]

    history = History()
    for epoch in (1, 2):
        history.add({"epoch": epoch, "loss": 1 / epoch, "pixel_accuracy": 0.5, "miou": 0.1}, {})
    curves = viz.plot_history({"one": history})
    assert curves.axes[0].lines[0].get_ydata().tolist() == [1.0, 0.5]


def test_a_grid_of_pictures_marks_what_is_wrong():
    figure = viz.show_pictures([IMAGE] * 5, [f"p{i}" for i in range(5)], columns=3, wrong=[False] * 4 + [True])
    texts = [axis.texts[0] for axis in figure.axes[:5]]
    assert len(figure.axes) == 6 and [text.get_text() for text in texts] == ["p0", "p1", "p2", "p3", "p4"]
    assert texts[4].get_color() == pytest.approx(np.array(viz.WRONG) / 255)
    assert texts[0].get_color() != pytest.approx(np.array(viz.WRONG) / 255)


@pytest.mark.slow
def test_captions_lie_below_their_pictures_and_above_the_next():
    figure = viz.show_pictures([IMAGE] * 4, ["one\ntwo\nthree"] * 4, columns=2)
    figure.canvas.draw()
    above, below = (figure.axes[i].get_window_extent() for i in (0, 2))
    caption = figure.axes[0].texts[0].get_window_extent()
    assert below.y1 < caption.y0 < caption.y1 < above.y0
    assert figure.axes[2].texts[0].get_window_extent().y0 > 0


def test_heat_is_laid_over_the_picture():
    picture = IMAGE.transpose(1, 2, 0)
    heat = np.zeros((20, 30))
    heat[5:10, 5:10] = 1
    painted = viz.heat_overlay(IMAGE, heat, alpha=1.0)
    assert painted[7, 7].sum() > painted[0, 0].sum() + 300
    assert np.array_equal(viz.heat_overlay(picture, heat, alpha=0.0), picture)
    with pytest.raises(ArgumentError, match="heat"):
        viz.heat_overlay(IMAGE, heat.T)


def test_confusion_and_calibration_show_their_numbers():
    figure = viz.plot_confusion(torch.tensor([[3, 1, 0], [0, 5, 0], [0, 0, 0]]), PETS)
    assert [text.get_text() for text in figure.axes[0].texts] == list("310050000")
    found = calibration(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1]))
    figure = viz.plot_calibration({"one": found, "two": found})
    assert len(figure.axes) == 2 and "error 0.350" in figure.axes[0].get_title()
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == "accuracy"]
    assert line.get_xydata().tolist() == [[0.6, 0.0], [0.9, 1.0]]


def test_confusion_in_shares_leaves_out_what_says_nothing():
    figure = viz.plot_confusion(torch.tensor([[3 * 10**9, 10**9, 0], [0, 5, 0], [0, 0, 0]]), PETS, shares=True)
    assert [text.get_text() for text in figure.axes[0].texts] == ["75%", "25%", "0%", "0%", "100%", "0%", "", "", ""]
    counts = np.diag(np.arange(23)) * 10**6
    counts[1, 2] = 1
    figure = viz.plot_confusion(counts, DRONE, shares=True)
    assert [text.get_text() for text in figure.axes[0].texts if text.get_text()] == ["100%"] * 22


@pytest.mark.slow
@pytest.mark.parametrize("labels", [DRONE, VOC, PETS])
def test_names_of_a_confusion_matrix_do_not_overlap(labels):
    figure = viz.plot_confusion(np.full((len(labels), len(labels)), 7), labels, shares=True)
    figure.canvas.draw()
    axis = figure.axes[0]
    boxes = [text.get_window_extent() for text in axis.get_yticklabels()]
    assert all(below.y1 < above.y0 for above, below in itertools.pairwise(boxes))
    places = np.diff([text.get_window_extent().x1 for text in axis.get_xticklabels()])
    assert places.min() > 1.2 * axis.get_xticklabels()[0].get_fontsize() * figure.dpi / 72
    assert min(box.x0 for box in boxes) >= 0 and figure.get_size_inches().max() < 11


def test_bars_by_size_carry_the_number_of_objects():
    metric = SizedIoU(PETS)
    truth = np.zeros((120, 260), np.uint8)
    truth[:10, :10], truth[:100, 20:130], truth[:100, 140:250] = 1, 1, 2
    metric.update(np.where(np.arange(120)[:, None] < 50, truth, np.uint8(0)), truth)
    axis = viz.plot_sizes(metric.compute(), PETS).axes[0]
    cat, dog = axis.containers
    assert [cat.get_label(), dog.get_label()] == ["cat", "dog"]
    assert [bar.get_height() for bar in cat] == pytest.approx([1, 0, 0.5])
    assert [bar.get_height() for bar in dog] == pytest.approx([0, 0, 0.5])
    assert [text.get_text() for text in axis.texts] == ["1", "0", "1", "0", "0", "1"]
    assert [text.get_text() for text in axis.get_xticklabels()] == ["small objects", "medium objects", "large objects"]
    metric = SizedIoU(VOC)
    truth = np.arange(21, dtype=np.uint8).repeat(20)[None].repeat(20, 0)
    metric.update(truth, truth)
    axis = viz.plot_sizes(metric.compute(), VOC).axes[0]
    assert len(axis.containers) == 20 and not axis.texts
    assert axis.get_xticklabels()[0].get_text() == "small objects\n20"


def test_learning_curves_show_the_mean_and_the_range():
    rows = [{"way": way, "pictures": n, "seed": seed, "accuracy": base + 0.1 * seed}
            for way, base in (("frozen", 0.7), ("from scratch", 0.5)) for n in (20, 100) for seed in (0, 1)]
    figure = viz.plot_learning_curves({"a": rows, "b": rows[:4]})
    bars = figure.axes[0].containers
    assert [bar.get_label() for bar in bars] == ["frozen", "from scratch"]
    assert bars[0].lines[0].get_ydata() == pytest.approx([0.75, 0.75])
    low, high = bars[0].lines[1]
    assert low.get_ydata() == pytest.approx([0.7, 0.7]) and high.get_ydata() == pytest.approx([0.8, 0.8])


def test_bands_are_lines_that_end_beyond_the_widest():
    truth = np.zeros((20, 20), np.uint8)
    truth[:, 10:] = 1
    found = {}
    for name, late in (("coarse", 2), ("fine", 1)):
        metric = BandMatrix(PETS, widths=(1, 2, 4))
        metric.update(np.roll(truth, late, axis=1), truth)
        found[name] = metric.compute()
    axis = viz.plot_bands(found).axes[0]
    solid, dotted = axis.lines[2:]
    assert solid.get_label() == "fine" and solid.get_ydata() == pytest.approx(found["fine"].pixel_accuracy)
    assert dotted.get_ydata() == pytest.approx([found["fine"].pixel_accuracy[-1], found["fine"].beyond.pixel_accuracy])
    assert dotted.get_color() == solid.get_color()
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "2", "4", "beyond"]
    assert viz.plot_bands(found, "miou").axes[0].lines[0].get_ydata() == pytest.approx(found["coarse"].miou)
    with pytest.raises(ArgumentError, match="the same"):
        viz.plot_bands(found | {"other": BandMatrix(PETS).compute()})


def history_of(epochs: int, **options: object) -> History:
    history = History(**options)
    for epoch in range(1, epochs + 1):
        history.add({"epoch": epoch, "loss": 1 / epoch, "lr": 0.1 if epoch < 4 else 0.01,
                     "miou": 0.5 - 0.1 * abs(epoch - 3)}, {})
    return history


def test_a_diagram_has_its_boxes_and_arrows():
    maps = {"picture": viz.Map(0, 0, "3 × H × W"), "c5": viz.Map(1, 0, "K × H/32", 32), "logits": viz.Map(1, 1, "C")}
    figure = viz.draw_network(maps, [("picture", "c5", "backbone"), ("c5", "logits", "conv 1×1")])
    (axis,) = figure.axes
    assert [text.get_text() for text in axis.texts] == ["backbone", "conv 1×1", "picture\n3 × H × W", "c5\nK × H/32",
                                                        "logits\nC"]
    large, small = (patch.get_width() for patch in axis.patches[2:4])
    assert len(axis.patches) == 5 and large > small, "a coarser map has the smaller box"
    for wrong in ((maps, [("picture", "c4", "")]), ({}, [])):
        with pytest.raises(ArgumentError, match="c4|none"):
            viz.draw_network(*wrong)


def test_live_curves_mark_the_best_epoch_and_where_the_rate_fell():
    figure = live.draw_history(history_of(6))
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        "loss   0.3333 in the best epoch, 3", "mIoU   0.5 in the best epoch, 3"]
    for axis, values in zip(figure.axes, ([1 / n for n in range(1, 7)], [0.3, 0.4, 0.5, 0.4, 0.3, 0.2]), strict=True):
        fell, curve, best = axis.lines
        assert fell.get_xdata() == [3.5, 3.5]
        assert curve.get_ydata() == pytest.approx(values)
        assert (best.get_xdata(), best.get_ydata()) == ([3], [pytest.approx(values[2])])
    assert [text.get_text() for text in figure.axes[0].texts] == ["lr 0.01"]


def test_live_curves_take_what_a_history_has():
    only_loss = History(Monitor("loss"))
    only_loss.add({"epoch": 1, "loss": float("nan")}, {})  # no rate, nothing best
    assert len(live.draw_history(only_loss).axes) == 1
    classifier = History(Monitor("dog IoU"))
    classifier.add({"epoch": 1, "loss": 1.0, "accuracy": 0.5, "dog IoU": 0.2}, {})
    titles = [axis.get_title(loc="left").split("  ")[0] for axis in live.draw_history(classifier).axes]
    assert titles == ["loss", "dog IoU"]
    assert len(live.draw_history(classifier, ["accuracy"]).axes) == 1
    for history, columns in ((only_loss, ["loss", "miou"]), (classifier, []), (History(), None)):
        with pytest.raises(ArgumentError, match="columns"):
            live.draw_history(history, columns)


@pytest.mark.slow
def test_live_curves_are_a_file_that_changes_and_leave_no_figures(tmp_path):
    path, contents = tmp_path / "run" / "curves.png", set()
    curve = viz.LiveCurve(path, columns=("loss",))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for epochs in (1, 3, 25):
            curve(history_of(epochs))
            contents.add(path.read_bytes())
            with Image.open(path) as picture:
                assert picture.size == (420, 290)
    assert len(contents) == 3 and [file.name for file in path.parent.iterdir()] == ["curves.png"]
    assert plt.get_fignums() == []


def test_the_legend_names_what_is_predicted_only_too():
    truth = np.zeros((20, 30), np.uint8)
    figure = viz.show_samples([(IMAGE, truth)], PETS, predict=lambda image: np.full((20, 30), 2, np.uint8))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["background", "dog"]
