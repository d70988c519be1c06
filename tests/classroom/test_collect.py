"""Submissions are found by the names that learning platforms give them; what is hostile in a zip stays in it."""

import os
import sys
import zipfile

import pytest

from seglab.classroom.collect import collect
from seglab.errors import ArgumentError, DataError


def notebook(text="{}"):
    return text.encode()


def collected(course, *args):
    return {one.student: one.source for one in collect(course, "a1", *args) if not one.left}


def test_folders_and_files_of_students(tmp_path):
    place = tmp_path / "in"
    for name in ("ada/a1.ipynb", "grace/a1/a1.ipynb", "a1-alan.ipynb", "mary_a1.ipynb",
                 "ada/.ipynb_checkpoints/a1.ipynb", "ada/notes.txt"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(notebook(name))
    assert collected(tmp_path, place) == {"ada": "ada/a1.ipynb", "grace": "grace/a1/a1.ipynb", "alan": "a1-alan.ipynb",
                                          "mary": "mary_a1.ipynb"}
    assert (tmp_path / "submitted/mary/a1/a1.ipynb").read_text() == "mary_a1.ipynb"


@pytest.mark.parametrize(("member", "student"), [
    ("Ada Lovelace_1234567_assignsubmission_file_/a1.ipynb", "Ada_Lovelace"),  # Moodle
    ("Ada Lovelace_1234567_assignsubmission_file/my work.ipynb", "Ada_Lovelace"),
    ("lovelaceada_1234_98765_a1.ipynb", "lovelaceada"),  # Canvas
    ("lovelaceada_LATE_1234_98765_a1-2.ipynb", "lovelaceada"),
    ("class 3/ada/a1.ipynb", "ada"),
    ("a1/ada/a1.ipynb", "ada"),
])
def test_zips_of_learning_platforms(tmp_path, member, student):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr(member, notebook())
        archive.writestr("__MACOSX/" + member, b"")
    assert collected(tmp_path, tmp_path / "all.zip") == {student: member}


def test_of_several_the_newest_counts_and_what_was_there_is_kept(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name, year in (("ada/a1.ipynb", 2024), ("ada_a1.ipynb", 2025), ("a1-ada.ipynb", 2023)):
            archive.writestr(zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0)), notebook(str(year)))
    path = tmp_path / "submitted/ada/a1/a1.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text("before")
    report = collect(tmp_path, "a1", tmp_path / "all.zip")
    assert path.read_text() == "2025"
    assert [one.left for one in report] == ["a newer one is there", "a newer one is there", None]
    (kept,) = path.parent.glob("a1.*.ipynb.before")
    assert kept.read_text() == "before"
    assert (path.parent / "timestamp.txt").read_text().startswith("2025-01-01 ")


def test_a_zip_writes_nothing_outside_of_the_course(tmp_path):
    course = tmp_path / "course"
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in ("../../evil/a1.ipynb", "/abs/a1.ipynb", "..\\x/a1.ipynb", "../a1.ipynb", "-rf/a1.ipynb"):
            archive.writestr(name, notebook())
    collect(course, "a1", tmp_path / "all.zip")
    written = {path for path in tmp_path.rglob("*") if path.is_file()} - {tmp_path / "all.zip"}
    assert {path.parts[-4] for path in written} == {"submitted"}
    assert {path.parts[-3] for path in written} <= {"evil", "abs", "x", "rf"}


def test_nobody_hands_in_for_somebody_else(tmp_path):
    moodle = "Ada L_12_assignsubmission_file_"
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name, year in ((f"{moodle}/a1.ipynb", 2024), ("Ada L_13_assignsubmission_file_/a1.ipynb", 2025),
                           (f"{moodle}/Bob_14_assignsubmission_file_/a1.ipynb", 2025), ("C D/a1.ipynb", 2024),
                           ("C_D/a1.ipynb", 2025), ("c_d/a1.ipynb", 2025), ("x/.ipynb_checkpoints/a1.ipynb", 2025)):
            archive.writestr(zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0)), notebook(name))
    report = collect(tmp_path, "a1", tmp_path / "all.zip")
    assert {one.student: one.source for one in report if not one.left} == {
        "Ada_L": f"{moodle}/Bob_14_assignsubmission_file_/a1.ipynb", "C_D": "C D/a1.ipynb"}
    assert [one.source for one in report if "somebody else" in (one.left or "")] == [
        "Ada L_13_assignsubmission_file_/a1.ipynb", "C_D/a1.ipynb", "c_d/a1.ipynb"]


@pytest.mark.skipif(sys.platform == "win32", reason="links and such names")
def test_links_odd_names_and_odd_times_in_a_folder(tmp_path):
    place = tmp_path / "in"
    for name in ("bob/a1.ipynb", "@SUM(1)/a1.ipynb", "\U00010400" * 50 + "/a1.ipynb", "\x1b[2J/a1.ipynb"):
        (place / name).parent.mkdir(parents=True)
        (place / name).write_bytes(notebook(name))
    os.utime(place / "bob/a1.ipynb", (2**33, 2**33))
    (place / "ada").mkdir()
    (place / "ada/a1.ipynb").symlink_to("../bob/a1.ipynb")
    report = collect(tmp_path, "a1", place)
    assert {one.student[:5] for one in report if not one.left} == {"bob", "SUM_1", "2J", "\U00010400" * 5}
    assert [one.student for one in report if one.left and "a link" in one.left] == ["ada"]
    assert not [one for one in report if "\x1b" in one.source]


def test_what_is_damaged_in_a_zip_is_left(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in ("ada", "bob"):
            archive.writestr(f"{name}/a1.ipynb", notebook(name * 20))
    data = (tmp_path / "all.zip").read_bytes().replace(b"adaada", b"adaxda", 1)
    (tmp_path / "all.zip").write_bytes(data)
    report = {one.student: one.left for one in collect(tmp_path, "a1", tmp_path / "all.zip")}
    assert "cannot be read" in report["ada"]
    assert report["bob"] is None


def test_a_bomb_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ada/a1.ipynb", b"0" * 60_000_000)
        archive.writestr("grace/a1.ipynb", notebook())
    report = {one.student: one.left for one in collect(tmp_path, "a1", tmp_path / "all.zip")}
    assert report == {"ada": "larger than 50 MB", "grace": None}


def test_other_names_by_a_pattern(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "final (ada).ipynb").write_bytes(notebook())
    assert collected(tmp_path, tmp_path / "in", r".*\((?P<student>\w+)\)\.ipynb") == {"ada": "final (ada).ipynb"}
    with pytest.raises(ArgumentError, match="group"):
        collect(tmp_path, "a1", tmp_path / "in", ".*")
    with pytest.raises(ArgumentError, match="regular expression"):
        collect(tmp_path, "a1", tmp_path / "in", "(")
    with pytest.raises(DataError, match="no student can be told"):
        collect(tmp_path, "a1", tmp_path / "in")
    with pytest.raises(DataError, match="nothing"):
        collect(tmp_path, "a1", tmp_path / "missing")


def test_a_damaged_zip_is_said_to_be_one(tmp_path):
    place = tmp_path / "in.zip"
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("ada/a1.ipynb", notebook())
    data = bytearray(place.read_bytes())
    data[data.index(b"PK\x01\x02")] ^= 1
    place.write_bytes(data)
    with pytest.raises(DataError, match=r"in\.zip: zip file(.|\n)*Fetch it again"):
        collect(tmp_path, "a1", place)
