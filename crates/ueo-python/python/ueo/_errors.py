"""Errors and warnings of ueo."""

from __future__ import annotations

__all__ = ["Error", "UeoWarning"]


class Error(Exception):
    """Something that ueo cannot do, in the words of the command line: what was expected, what was found, what caused it.

    Attributes:
        hint: What can be done about it, or None. Names such as `--base` are options of the command line; the argument of
            the same name is meant.
    """

    hint: str | None

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        # Tracebacks show notes, from Python 3.11 on.
        if hint is not None and hasattr(self, "add_note"):
            self.add_note(f"hint: {hint}")


class UeoWarning(UserWarning):
    """Something that a user of ueo should know about, such as images that were skipped."""
