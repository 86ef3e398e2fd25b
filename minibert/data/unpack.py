"""Unpacking an archive so that nothing can be written outside the folder it is unpacked into."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path, PurePosixPath

from minibert.errors import InputError, readable, shown
from minibert.scratch import FULL

LARGEST_RATIO, SLACK = 100, 1 << 20  # text is packed to a fifth or a tenth; bytes
LONGEST_END = 42 + (1 << 16)  # bytes: the end record, its comment, and what a long list has before it


def unpack_zip(archive: Path, folder: Path) -> Path:
    """Unpack a zip file into the new folder, without the one folder that all its members lie in. Returns the folder.

    QQP-clean.zip holds QQP/train.tsv and so on: folder/train.tsv is written, whatever archive and top folder are
    called. All names are checked before the first byte is written. Links are written as plain files.
    Raises InputError if a name leads out of the folder, is there twice (in whatever case) or is that of a folder, too,
    the contents are absurdly large for the archive, or the file is not an intact zip archive; OSError if the disk is
    full.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            _check_directory(opened, archive)
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
                if target.stat().st_size != member.file_size:
                    raise InputError(f"{archive.name} is not an intact zip archive: {shown(member.filename)} is cut")
    except InputError:
        raise
    except Exception as error:  # a damaged archive raises nearly everything: zlib.error, struct.error, EOFError, ...
        if getattr(error, "errno", None) in FULL:
            raise
        what = readable(str(error), 300) or type(error).__name__
        raise InputError(f"{archive.name} is not an intact zip archive: {what}") from None
    return folder


def _check_directory(opened: zipfile.ZipFile, archive: Path) -> None:
    """Raise InputError if the list of members is empty, or not as long as the end record says, which zipfile does not
    check; or if a folder has contents, or a name a NUL."""
    members = opened.infolist()
    with archive.open("rb") as file:
        file.seek(-min(archive.stat().st_size, LONGEST_END), 2)
        before, _, end = file.read().rpartition(b"PK\5\6")
    count, is_long = int.from_bytes(end[6:8], "little"), b"PK\6\7" in before
    if count != len(members) and not (is_long and count == 0xFFFF):  # a long list's length stands elsewhere
        raise InputError(f"{archive.name} is not an intact zip archive: it lists {len(members)} of {count} files")
    if not members:
        raise InputError(f"{archive.name} holds no files")
    for member in members:
        wrong = "a folder with contents" if member.is_dir() and member.file_size else ""
        if "\0" in member.orig_filename:  # where zipfile cuts the name
            wrong = "a name with a NUL"
        if wrong:
            name = shown(member.orig_filename)
            raise InputError(f"{archive.name} is not an intact zip archive: {name} is {wrong}")


def _check_contents(paths: dict[zipfile.ZipInfo, PurePosixPath], archive: Path) -> None:
    """Raise InputError if two members are one file (on a system that does not tell A from a, too), or one is a folder
    that others lie in; or if they would unpack to too much."""
    seen: set[str] = set()
    folders = {str(folder).casefold() for path in paths.values() for folder in path.parents}
    for path in paths.values():
        name = str(path).casefold()
        if name in seen or name in folders:
            also = "more than once" if name in seen else "as a file and as a folder"
            raise InputError(f"{archive.name} holds {readable(str(path))} {also}; it was not unpacked")
        seen.add(name)
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
            f"{archive.name} holds a file named {shown(name)}, which would leave its folder; it was not unpacked"
        )
    return path
