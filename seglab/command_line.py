"""What all commands share: how errors and signals end them, and what no argument may be."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterable
from typing import Any

import typer
from typer.core import TyperGroup

from seglab.errors import ArgumentError, SeglabError


class Group(TyperGroup):
    """Prints our own errors as they are meant to be read; a traceback is for our mistakes, not the user's.

    SIGTERM ends a command as Ctrl-C does: what was done is kept, and no temporary file is left.
    """

    def invoke(self, ctx: Any) -> Any:
        ended = []

        def end(*_: Any) -> None:
            ended.append(True)
            raise KeyboardInterrupt

        def again(lost: Any) -> None:
            """Python drops what is raised in some calls of its own, as when a loader's processes are made."""
            if issubclass(lost.exc_type, KeyboardInterrupt):
                number = signal.SIGTERM if ended else signal.SIGINT
                threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
            else:
                hook(lost)

        before, hook, sys.unraisablehook = signal.signal(signal.SIGTERM, end), sys.unraisablehook, again
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("default", UserWarning)
                warnings.showwarning = lambda message, *_, **__: typer.echo(f"warning: {message}", err=True)
                _check_words(ctx.args)
                return super().invoke(ctx)
        except SeglabError as error:
            training = sys.modules.get("seglab.training.processes")  # of several processes one says it
            if training is None or training.is_first_to_fail():
                typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            typer.echo("stopped by hand", err=True)
            raise typer.Exit(128 + signal.SIGINT) from None
        except OSError as error:
            if error.errno == errno.EPIPE:  # nobody reads on, as after `| head`; click ends quietly
                raise
            typer.echo(f"error: {error.filename or 'input or output'}: {error.strerror or error}", err=True)
            raise typer.Exit(1) from None
        finally:
            signal.signal(signal.SIGTERM, before)
            sys.unraisablehook = hook
            if ended:  # also where what was done was kept, and all went on
                raise typer.Exit(128 + signal.SIGTERM)


def _check_words(words: Iterable[str]) -> None:
    """Refuse what no command can mean: an empty argument, the folder of an unknown user, a pipe or a device."""
    for word in words:
        value = word.partition("=")[2] if re.match(r"--[\w-]+=", word) else word
        if not value.strip():
            raise ArgumentError("argument", found=f"{word!r}, which is empty", expected="a path, a name or a number",
                                fix="Leave it out, or look whether a variable of your shell is empty.")
        if value.startswith("~") and os.path.expanduser(value) == value:
            raise ArgumentError("argument", found=f"{value}: no such user", expected="a path", fix=f"Write ./{value}.")
        if os.path.exists(value) and not (os.path.isfile(value) or os.path.isdir(value)):
            raise ArgumentError("argument", found=f"{value}, a pipe or a device", expected="a file or a folder")


def is_number(text: str) -> bool:
    """Whether it is a whole number that computers count with; other characters are digits, too, for Python."""
    return re.fullmatch("[0-9]{1,9}", text) is not None
