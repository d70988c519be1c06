from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from seglab.errors import ArgumentError, DataError
from seglab.labels import CAMVID, DRONE, PETS, VOC, ClassTable, LabelSet, known_label_set, voc_palette


def test_voc_palette_is_the_published_one():
    assert len(VOC) == 21
    assert VOC.colours[VOC.id("cat")] == (64, 0, 0)
    assert VOC.colours[VOC.id("person")] == (192, 128, 128)
    assert VOC.colours[VOC.id("tvmonitor")] == (0, 64, 128)
    assert voc_palette()[255].tolist() == [224, 224, 192]


def test_drone_classes():
    assert len(DRONE) == 23
    assert DRONE.colours[DRONE.id("person")] == (255, 22, 96)
    assert DRONE.id("obstacle") == 22
    assert len(set(DRONE.colours)) == 23


def test_classes_of_voc_keep_their_colours():
    assert PETS.colours == ((0, 0, 0), (64, 0, 0), (64, 0, 128))  # background, cat, dog, as published
    for label_set in (VOC, PETS):
        assert label_set.colours[label_set.id("cat")] == (64, 0, 0)
        assert label_set.colours[label_set.id("dog")] == (64, 0, 128)


def test_other_sets():
    assert len(CAMVID) == 11
    assert CAMVID.classes[8] == "car"
    assert PETS.classes == ("background", "cat", "dog")
    assert known_label_set(["background", "cat", "dog"]) is PETS


@pytest.mark.parametrize(("classes", "found"), [
    (("background", "cat"), 0), (("cat", "_Background_"), 1), (("__background__", "x"), 0),
    (("sky", "foreground"), None), (DRONE.classes, None), (VOC.classes, 0)])
def test_the_background_is_found_by_its_name(classes, found):
    assert known_label_set(classes).background == found


@pytest.mark.parametrize("label_set", [VOC, DRONE, PETS, CAMVID])
def test_colourise_equals_a_look_up_in_the_palette(label_set):
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 256, (37, 53), dtype=np.uint8)
    assert np.array_equal(label_set.colourise(mask), label_set.palette[mask])
    assert np.array_equal(label_set.colourise(mask.T), label_set.palette[mask.T])


@pytest.mark.parametrize("mask", [np.zeros((2, 2), np.int64), np.zeros((2, 2, 3), np.uint8)])
def test_colourise_refuses_what_is_no_mask(mask):
    with pytest.raises(ArgumentError, match="uint8"):
        PETS.colourise(mask)


def test_empty_mask():
    assert PETS.colourise(np.zeros((0, 4), np.uint8)).shape == (0, 4, 3)


def test_bad_label_sets():
    with pytest.raises(ArgumentError, match="more than once"):
        LabelSet("x", ("a", "a"), ((0, 0, 0), (1, 1, 1)))
    with pytest.raises(ArgumentError, match="1 colours"):
        LabelSet("x", ("a", "b"), ((0, 0, 0),))
    with pytest.raises(ArgumentError, match="0 classes"):
        LabelSet("x", (), ())
    with pytest.raises(ArgumentError, match="300"):
        LabelSet("x", ("a",), ((0, 300, 0),))
    with pytest.raises(ArgumentError, match="'lion'"):
        PETS.id("lion")
    for count in (0, 255, 256, 257, 1000):
        with pytest.raises(ArgumentError, match=f"{count} classes"):
            known_label_set([f"{i}" for i in range(count)])
    assert known_label_set([f"{i}" for i in range(254)]).colours == tuple(map(tuple, voc_palette(254).tolist()))


def test_of_two_with_one_colour_the_first_class_wins_and_any_class_wins_over_ignore():
    labels = LabelSet("shared", ("road", "kerb", "void"), ((9, 9, 9), (9, 9, 9), (0, 0, 0)), ignore_colour=(0, 0, 0))
    assert ClassTable.of(labels).colours == {(9, 9, 9): 0, (0, 0, 0): 2}


# ------------------------------------------------------------------------------------------------------- class tables

COMMON = "name,r,g,b\nroad,1,2,3\nsky,4,5,6\n"


@pytest.mark.parametrize("text", [
    COMMON, COMMON.replace(",", ";"), COMMON.replace(",", "\t"), COMMON.replace("\n", "\r\n"), COMMON.replace(",",
    " , "),
    COMMON.removeprefix("name,r,g,b\n"), COMMON.replace("name", "Class"), COMMON.replace("name", "class_name"),
    COMMON.replace("name", "Class Name"), COMMON.replace("name", "label"), COMMON.replace("r,g,b", "Red,Green,Blue"),
    "b,g,r,name\n3,2,1,road\n6,5,4,sky\n", "name,color\nroad,#010203\nsky,#040506\n",
    'Label,RGB\nroad,"1,2,3"\nsky,"(4, 5, 6)"\n',
    "name;colour;note\nroad;1 2 3;x\n\nsky;4 5 6\n;;\n", "id,name,r,g,b\n1,sky,4,5,6\n0,road,1,2,3\n",
    "Pixel Value,Class,hex\n0,road,010203\n1.0,sky,0x040506\n", "name,r,g,b\n,,,\nroad,1.0,2,3\nsky,4,5,6,,\n"])
def test_forms_of_class_tables(tmp_path, text):
    path = tmp_path / "a.csv"
    path.write_text(text)
    table = ClassTable.read(path)
    assert table.label_set == LabelSet("a", ("road", "sky"), ((1, 2, 3), (4, 5, 6)))
    assert table.codes == {0: 0, 1: 1, 255: 255} and table.coloured
    assert table.colours == {(1, 2, 3): 0, (4, 5, 6): 1, (224, 224, 192): 255}


def test_codes_are_made_dense_and_ignored_rows_are_no_classes(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("code,name,color,Ignore\n7,sky,#040506,0\n200,void,#000000,yes\n3,road,#010203,\n"
                    "255,line,#090909,no\n9,x,#000000,x\n")
    table = ClassTable.read(path)
    assert table.label_set.classes == ("road", "sky", "line") and table.label_set.ignore_colour == (0, 0, 0)
    assert table.codes == {3: 0, 7: 1, 255: 2, 200: 255, 9: 255}
    assert table.colours == {(1, 2, 3): 0, (4, 5, 6): 1, (9, 9, 9): 2, (0, 0, 0): 255}
    # Without codes, the values count the lines, ignored ones too.
    path.write_text("name,r,g,b,ignore\nroad,1,2,3,\nvoid,0,0,0,x\nsky,4,5,6,\n")
    assert ClassTable.read(path).codes == {0: 0, 1: 255, 2: 1, 255: 255}


def test_tables_without_colours_get_those_of_voc(tmp_path):
    path = tmp_path / "_classes.csv"
    path.write_text("Pixel Value, Class\n0, background\n2, crack\n")
    table = ClassTable.read(path)
    assert table.label_set.classes == ("background", "crack") and table.codes == {0: 0, 2: 1, 255: 255}
    assert table.label_set.colours == ((0, 0, 0), (0, 128, 0)) and not table.coloured


def test_labelmap(tmp_path):
    path = tmp_path / "labelmap.txt"
    path.write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:128,64,128::\n\n")
    table = ClassTable.read(path)
    assert (table.label_set.classes, table.label_set.colours) == (("background", "road"), ((0, 0, 0), (128, 64, 128)))
    path.write_text("# label:color_rgb:parts:actions\nbackground:::\nroad:::\n")
    assert ClassTable.read(path).label_set.colours == ((0, 0, 0), (128, 0, 0))
    for text in ("road:1,2::\n", "road\nsky:1,2,3::\n", ":1,2,3::\n", "road:1,2,300::\n"):
        path.write_text(text)
        with pytest.raises(DataError, match=r"labelmap\.txt, line"):
            ClassTable.read(path)


def test_names_of_the_world(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("name,r,g,b\n배경,0,0,0\n균열,255,0,0\n".encode("cp949"))
    assert ClassTable.read(path).label_set.classes == ("배경", "균열")
    decomposed = unicodedata.normalize("NFD", "균열")
    path.write_text(f"name,r,g,b\n배경,0,0,0\n{decomposed},255,0,0\n", encoding="utf-8")
    assert ClassTable.read(path).label_set.classes == ("배경", "균열")
    path.write_text(f"name,r,g,b\n균열,0,0,0\n{decomposed},255,0,0\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 3\n.*name '균열', as in line 2"):
        ClassTable.read(path)


@pytest.mark.parametrize(("text", "message"), [
    ("name,r,g,b\nroad,1,2\n", "line 2\n.*road,1,2\n.*name,r,g,b"), ("name,r,g,b\nroad,1,2,256\n", "line 2"),
    ("name,r,g,b\nroad,1,2,-3\n", "line 2"), ("name,r,g,b\nroad,1,2,x\n", "line 2"), ("name,r,g,b\n ,1,2,3\n",
    "line 2"),
    ("foo,bar\nroad,1\n", "line 1\n.*foo,bar\n.*header"), ("name,color\nroad,#12345\n", "line 2"),
    ("name,color\nroad,1 2\n", "line 2"),
    ("name,id\nroad,0\nsky,x\n", "line 3"), ("name,id\nroad,70000\n", "line 2"), ("name,ignore\nroad,maybe\n",
    "line 2"),
    ("name,id\nroad,0\nsky,0\n", "line 3\n.*value 0, as in line 2"), (COMMON + "road,7,8,9\n",
    "line 4\n.*name 'road', as in line 2"),
    (COMMON + "kerb,1,2,3\n", r"line 4\n.*colour \(1, 2, 3\), as in line 2"), ("", "0 classes"), ("name,r,g,b\n",
    "0 classes"),
    ("name,ignore\nroad,1\n", "0 classes"), ("name\n" + "\n".join(f"c{i}" for i in range(255)),
    "255 classes\n.*1 to 254"),
    ('"' + "x" * 200_000, "line 1"), ("name,r,g,b\nroad,1,2,٣\n", "line 2")])
def test_what_is_no_class_table(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=rf"a\.csv(.|\n)*{message}") as caught:
        ClassTable.read(path)
    assert len(str(caught.value)) < 1000
    with pytest.raises(DataError, match=r"nothing\.csv"):
        ClassTable.read(tmp_path / "nothing.csv")


@pytest.mark.parametrize("number", ["9" * 400, "²", "٣", "1e5", "1." + "0" * 400, "-1", "nan"])
def test_numbers_that_are_none(tmp_path, number):
    path = tmp_path / "a.csv"
    for text in (f"name,r,g,b\nroad,1,2,{number}\n", f"id,name,r,g,b\n{number},road,1,2,3\n"):
        path.write_text(text)
        with pytest.raises(DataError, match=r"a\.csv, line 2"):
            ClassTable.read(path)


@pytest.mark.parametrize("name", [5, None, "\ud800", ["a"]])
def test_names_that_are_no_texts(name):
    with pytest.raises(ArgumentError, match="class names"):
        LabelSet("x", ("a", name), ((0, 0, 0), (1, 1, 1)))
