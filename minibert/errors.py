"""What is said of bad input: the error, and how a message quotes what stands in a file, which may be anything."""

from __future__ import annotations

import difflib
import importlib
import reprlib
from types import ModuleType

LONGEST_SHOWN = 60  # characters of one text
LONGEST_VALUE = 200  # of a list or an object; of what another library says
MOST_LISTED = 10  # names


class InputError(ValueError):
    """Something the user gave cannot be used. The message says what it was, what was expected, and what to do.

    The command line prints it as one line and ends with exit code 2.
    """


def need(condition: bool, message: str) -> None:
    """Raise InputError with this message unless the condition holds."""
    if not condition:
        raise InputError(message)


def missing(who: str, package: str, extra: str) -> InputError:
    """The error that a package of an extra is not installed. who: what needs it. (`minibert` on PyPI is another
    project, so no message may advise to install extras by that name.)"""
    return InputError(f"{who} needs the package {package}: pip install {package} (it belongs to the extra {extra})")


def require(who: str, module: str, extra: str, package: str = "") -> ModuleType:
    """Import a module of an extra. package: that it comes with, if it has another name. Raises InputError that says
    what to install."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise missing(who, package or module, extra) from None


_CONTROL = dict.fromkeys([*range(32), *range(127, 160), 0x2028, 0x2029], " ")


def printable(text: str) -> str:
    """The text with a space for every character that would break a line, or steer the terminal."""
    return text.translate(_CONTROL)


def cut(text: str, most: int = LONGEST_SHOWN) -> str:
    """The beginning of a text that is too long for a message."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def quoted(text: str, written=repr) -> str:
    """A text in quotes, cut short before it is written with escapes, and after that."""
    return cut(written(cut(text)), LONGEST_SHOWN + 20)


class _Short(reprlib.Repr):
    def repr_str(self, text: str, level: int) -> str:
        return quoted(text)

    def repr_int(self, number: int, level: int) -> str:  # Python writes no number of over 4,300 digits
        bits = number.bit_length()
        return repr(number) if bits < 4 * LONGEST_SHOWN else f"a whole number of {bits:,} bits"


_SHORT = _Short()
_SHORT.maxother = LONGEST_SHOWN


def shown(value) -> str:
    """A value from a file, for a message: as Python writes it, on one line, cut short, whatever its size and depth."""
    return cut(_SHORT.repr(value), LONGEST_VALUE)


def counted(n: int, what: str) -> str:
    """A number with its noun: 1 row, 1,234 rows."""
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def flag(name: str) -> str:
    """The option of the command line for a setting: --train-rows for train_rows."""
    return f"--{name.replace('_', '-')}"


def readable(text: str, most: int = LONGEST_SHOWN) -> str:
    """A name from a file, for a message: cut short; without quotes and escapes if it can be read without."""
    return cut(text, most) if text.isprintable() else quoted(text)


def one_line(error: BaseException) -> str:
    """What another library says, for a message: on one line, cut short; the kind of error if it says nothing."""
    return readable(" ".join(str(error).split()), LONGEST_VALUE) or type(error).__name__


def list_some(names, most: int = MOST_LISTED) -> str:
    """The first of the names, and how many more there are."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def did_you_mean(given: str, names) -> str:
    """A question to put after a message, with a space before it, if one of the names is much like what was given."""
    names = {name.casefold(): name for name in names}
    found = difflib.get_close_matches(given.casefold(), names, 1)
    return f" Did you mean {shown(names[found[0]])}?" if found else ""
