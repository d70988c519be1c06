"""What setuptools does beyond copying `seglab/`: the lessons travel in the wheel, for `seglab start`."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools.command.build_py import build_py


class WithLessons(build_py):
    """Copies the lessons and the glossary into the wheel's `seglab/notebooks`; an editable install finds them here."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "seglab" / "notebooks"
            target.mkdir(parents=True, exist_ok=True)
            for path in (*Path("notebooks").glob("*.ipynb"), *Path("notebooks").glob("*.md")):
                shutil.copyfile(path, target / path.name)
