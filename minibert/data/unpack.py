"""Unpacking an archive so that nothing can be written outside the folder it is unpacked into."""

from __future__ import annotations

import shutil
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath

from minibert.config import InputError
from minibert.scratch import FULL

LARGEST_RATIO, SLACK = 100, 1 << 20  # text is packed to a fifth or a tenth; bytes


def unpack_zip(archive: Path, folder: Path) -> Path:
    """Unpack a zip file into the new folder, without the one folder that all its members lie in. Returns the folder.

    QQP-clean.zip holds QQP/train.tsv and so on: folder/train.tsv is written, whatever archive and top folder are
    called. All names are checked before the first byte is written. Links are written as plain files.
    Raises InputError if a name leads out of the folder or is there twice, the contents are absurdly large for the
    archive, or the file is not an intact zip archive; OSError if the disk is full.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            paths = {member: _inside(member.filename, archive) for member in members}
            paths = {member: path for member, path in paths.items() if not _is_litter(path)}
            _check_contents(paths, archive)
            tops = {path.parts[0] for path in paths.values()}
            skip = 1 if len(tops) == 1 and all(len(path.parts) > 1 for path in paths.values()) else 0
            folder.mkdir()
            for member, path in paths.items():
                target = folder.joinpath(*path.parts[skip:])
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as packed, target.open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
    except InputError:
        raise
    except Exception as error:  # a damaged archive raises nearly everything: zlib.error, struct.error, EOFError, ...
        if getattr(error, "errno", None) in FULL:
            raise
        raise InputError(f"{archive.name} is not an intact zip archive: {error or type(error).__name__}") from None
    return folder


def _check_contents(paths: dict[zipfile.ZipInfo, PurePosixPath], archive: Path) -> None:
    twice = [path for path, n in Counter(paths.values()).items() if n > 1]
    if twice:
        raise InputError(f"{archive.name} holds {twice[0]} more than once; it was not unpacked")
    size, most = sum(member.file_size for member in paths), SLACK + LARGEST_RATIO * archive.stat().st_size
    if size > most:
        raise InputError(f"{archive.name} would unpack to {size:,} bytes, over {LARGEST_RATIO} times its own size")


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
