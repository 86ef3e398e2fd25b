"""Unpacking an archive so that nothing can be written outside the folder it is unpacked into."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from minibert.config import InputError


def unpack_zip(archive: Path, folder: Path) -> Path:
    """Unpack a zip file into the new folder, without the one folder that all its members lie in. Returns the folder.

    QQP-clean.zip holds QQP/train.tsv and so on: folder/train.tsv is written, whatever archive and top folder are
    called. All names are checked before the first byte is written. Links are written as plain files.
    Raises InputError if a name leads out of the folder, or the file is not an intact zip archive.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            paths = {member: _inside(member.filename, archive) for member in members}
            paths = {member: path for member, path in paths.items() if not _is_litter(path)}
            tops = {path.parts[0] for path in paths.values()}
            skip = 1 if len(tops) == 1 and all(len(path.parts) > 1 for path in paths.values()) else 0
            folder.mkdir()
            for member, path in paths.items():
                target = folder.joinpath(*path.parts[skip:])
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as packed, target.open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{archive.name} is not an intact zip archive: {error}") from None
    return folder


def _is_litter(path: PurePosixPath) -> bool:
    """What a Mac's file manager leaves in archives; "Icon\\r" cannot even be created on Windows."""
    return path.parts[0] == "__MACOSX" or path.name in (".DS_Store", "Icon\r")


def _inside(name: str, archive: Path) -> PurePosixPath:
    """The member's path, if it stays inside the folder on every system (Windows also splits at a backslash and :)."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        raise InputError(
            f"{archive.name} holds a file named {name!r}, which would leave its folder; it was not unpacked"
        )
    return path
