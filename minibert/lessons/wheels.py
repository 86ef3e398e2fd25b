"""For which systems wheels are packed, and what is missing in a folder of wheels."""

from __future__ import annotations

import email.parser
import platform
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from minibert.errors import InputError, one_line, require

# How pip calls a system, and what conditions on it say there. glibc 2.28 and macOS 12 are older than any laptop in use.
LINUX = (*(f"manylinux_2_{minor}_x86_64" for minor in range(28, 16, -1)), "manylinux2014_x86_64")
PLATFORMS = {"linux": LINUX, "windows": ("win_amd64",), "macos": ("macosx_12_0_arm64",)}
MARKERS = {
    "linux": {"os_name": "posix", "sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"},
    "windows": {"os_name": "nt", "sys_platform": "win32", "platform_system": "Windows", "platform_machine": "AMD64"},
    "macos": {"os_name": "posix", "sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
}
THIS = "this"  # the system that pack runs on


class Target(NamedTuple):
    """A system and a version of Python that wheels are for. system: a key of PLATFORMS, or THIS."""

    system: str
    python: str

    @property
    def name(self) -> str:
        """For a message, and for a folder."""
        return f"{self.system}-python{self.python}"

    @property
    def described(self) -> str:
        """For a README."""
        if self.system == THIS:
            return f"a system like this one, {platform.system()} on {platform.machine()}"
        return f"{self.system} on {MARKERS[self.system]['platform_machine']}"

    @property
    def options(self) -> list[str]:
        """What tells pip; nothing for the Python that it runs in."""
        if self.system == THIS:
            return []
        platforms = [option for name in PLATFORMS[self.system] for option in ("--platform", name)]
        return [*platforms, "--python-version", self.python, "--implementation", "cp"]

    @property
    def markers(self) -> dict[str, str]:
        """What conditions are judged by."""
        if self.system == THIS:
            return {}
        version = {"python_version": self.python, "python_full_version": f"{self.python}.0"}
        return {**MARKERS[self.system], **version, "implementation_name": "cpython"}


def targets(systems: str = "", pythons: str = "") -> tuple[Target, ...]:
    """Of the command line's lists, with commas between. Raises InputError for what is unknown."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    versions = [name.strip() for name in pythons.split(",") if name.strip()]
    names = [name.strip() for name in systems.split(",") if name.strip()]
    for version in versions:
        parts = version.split(".")
        if len(parts) != 2 or not all(part.isdecimal() for part in parts) or tuple(map(int, parts)) < (3, 10):
            raise InputError(f"--python is {version!r}; expected versions from 3.10 on, such as 3.11,3.12")
    for name in names:
        if name not in PLATFORMS:
            raise InputError(f"--systems has {name!r}; expected {', '.join(PLATFORMS)}, with commas between")
    if versions and not names:
        raise InputError("--python is given: give --systems, too; without it the wheels are for this Python")
    return tuple(Target(name, version) for name in dict.fromkeys(names or [THIS]) for version in versions or [here])


def missing(folder: Path, target: Target, wanted: list[str]) -> list[str]:
    """The requirements, of those wanted and of what they require in turn, of which the folder has no wheel."""
    packaging = require("pack", "packaging.requirements", "notebooks", "packaging")
    plain = require("pack", "packaging.utils", "notebooks", "packaging").canonicalize_name
    found, lacking, seen = _requirements(folder, plain), [], set()
    waiting = [packaging.Requirement(text) for text in wanted]
    while waiting:
        requirement = waiting.pop()
        key = (plain(requirement.name), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        if key[0] not in found:
            lacking.append(str(requirement).split(";")[0].strip())
            continue
        for text in found[key[0]]:
            inner = packaging.Requirement(text)
            conditions = [target.markers | {"extra": extra} for extra in ("", *requirement.extras)]
            if inner.marker is None or any(inner.marker.evaluate(condition) for condition in conditions):
                waiting.append(inner)
    return sorted(set(lacking))


def _requirements(folder: Path, plain: Callable[[str], str]) -> dict[str, list[str]]:
    """{name of a package, plain: what its wheel requires}, of all wheels in a folder."""
    found = {}
    for path in sorted(folder.glob("*.whl")):
        try:
            with zipfile.ZipFile(path) as wheel:
                name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
                metadata = email.parser.BytesParser().parsebytes(wheel.read(name))
        except (OSError, zipfile.BadZipFile, StopIteration) as error:
            raise InputError(f"{path.name}: is no wheel ({one_line(error)})") from None
        found[plain(path.name.split("-")[0])] = metadata.get_all("Requires-Dist", [])
    return found
