"""Getting the public releases: fetch, check, unpack beside the place, and only then move into place.

At no moment does the final folder hold a part of a data set: it is there whole, or not at all.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from minibert.data.glue import GLUE
from minibert.data.mrpc import TEST_FILE, split_mrpc
from minibert.data.releases import FURTHER
from minibert.data.unpack import unpack_zip
from minibert.errors import InputError, require
from minibert.scratch import FULL, temporary_folder

_GLUE = "https://dl.fbaipublicfiles.com/glue/data"
_SENTEVAL = "https://dl.fbaipublicfiles.com/senteval/senteval_data"
_SQUAD = "https://rajpurkar.github.io/SQuAD-explorer/dataset"


@dataclass(frozen=True)
class Source:
    """One file of a release. sha256 is None where none is known; what the file holds is then checked instead."""

    url: str
    sha256: str | None

    @property
    def file(self) -> str:
        """The file's own name: the last part of its address."""
        return self.url.rpartition("/")[2]

    def address(self, mirror: str | None) -> str:
        """Where to get the file: its public address, or the mirror's address (or folder) with the file's name."""
        return self.url if mirror is None else f"{str(mirror).rstrip('/')}/{self.file}"


def _glue_zip(file: str, sha256: str) -> tuple[Source, ...]:
    return (Source(f"{_GLUE}/{file}", sha256),)


SOURCES: dict[str, tuple[Source, ...]] = {
    "cola": _glue_zip("CoLA.zip", "f212fcd832b8f7b435fb991f101abf89f96b933ab400603bf198960dfc32cbff"),
    "sst2": _glue_zip("SST-2.zip", "d67e16fb55739c1b32cdce9877596db1c127dc322d93c082281f64057c16deaa"),
    "mrpc": (
        Source(
            f"{_SENTEVAL}/msr_paraphrase_train.txt",
            "60a9b09084528f0673eedee2b69cb941920f0b8cd0eeccefc464a98768457f89",
        ),
        Source(f"{_SENTEVAL}/{TEST_FILE}", "a04e271090879aaba6423d65b94950c089298587d9c084bf9cd7439bd785f784"),
        Source(f"{_GLUE}/mrpc_dev_ids.tsv", None),
    ),
    "stsb": _glue_zip("STS-B.zip", "e60a6393de5a8b5b9bac5020a1554b54e3691f9d600b775bd131e613ac179c85"),
    "qqp": _glue_zip("QQP-clean.zip", "40e7c862c04eb26ee04b67fd900e76c45c6ba8e6d8fab4f8f1f8072a1a3fbae0"),
    "mnli": _glue_zip("MNLI.zip", "e7c1d896d26ed6caf700110645df426cc2d8ebf02a5ab743d5a5c68ac1c83633"),
    "qnli": _glue_zip("QNLIv2.zip", "e634e78627a29adaecd4f955359b22bf5e70f2cbd93b493f2d624138a0c0e5f5"),
    "rte": _glue_zip("RTE.zip", "6bf86de103ecd335f3441bd43574d23fef87ecc695977a63b82d5efb206556ee"),
    "wnli": _glue_zip("WNLI.zip", "ae0e8e4d16f4d46d4a0a566ec7ecceccfd3fbfaa4a7a4b4e02848c0f2561ac46"),
    "squad": (
        Source(f"{_SQUAD}/train-v1.1.json", "3527663986b8295af4f7fcdff1ba1ff3f72d07d61a20f487cb238a6ef92fd955"),
        Source(f"{_SQUAD}/dev-v1.1.json", "95aa6a52d5d6a735563366753ca50492a658031da74f301ac5238b03966972c9"),
    ),
}

DOWNLOAD_NAMES = tuple(SOURCES)


def download(name: str, out, mirror: str | None = None, say: Callable[[str], object] = print) -> Path:
    """Get the release of task `name` into a folder of its own in `out`, and return that folder.

    A folder that is there and complete is left alone. mirror: an address (or a folder on disk) that holds the files
    under their own names; they are checked as if they came from the public hosts. say is called with what was done.

    Raises InputError, with nothing left behind and nothing that was there touched: unknown name, pooch not installed,
    no network, wrong checksum, an archive that does not hold the task, an incomplete folder in the way.
    """
    if name in FURTHER:
        raise InputError(f"minibert cannot download {name}. {FURTHER[name].how_to_get(Path(out) / name)}")
    if name not in SOURCES:
        raise InputError(f"nothing to download for {name!r}; there is {', '.join(DOWNLOAD_NAMES)}")
    target = Path(out) / (GLUE[name].folder if name in GLUE else name)
    required = _required(name)
    if _is_there(target, required):
        say(f"{target} is already there and complete; nothing was downloaded")
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # A sibling of the target, so that the last step is a rename within one file system.
        with temporary_folder(f".{target.name}-", target.parent) as work:
            fetched = _fetch_all(name, work, target, mirror)
            ready = _prepare(name, fetched, work / "ready")
            missing = [file for file in required if not (ready / file).is_file()]
            if missing:
                raise InputError(f"what was downloaded for {name} does not hold {', '.join(missing)}")
            if target.is_dir():
                target.rmdir()  # empty, as _is_there found
            ready.rename(target)
    except OSError as error:
        raise InputError(f"{target} cannot be written: {error.strerror or error}") from None
    say(f"{target} is ready: {', '.join(required)}")
    return target


def _required(name: str) -> tuple[str, ...]:
    if name == "mrpc":
        return (*GLUE[name].required(), TEST_FILE)
    return GLUE[name].required() if name in GLUE else tuple(source.file for source in SOURCES[name])


def _is_there(target: Path, required: tuple[str, ...]) -> bool:
    """Whether target is complete. Raises InputError if something else stands in its place."""
    if target.is_dir() and all((target / file).is_file() for file in required):
        return True
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise InputError(
            f"{target} is there but is not complete (it must hold {', '.join(required)}). It was not touched: "
            "move it away and download again, or choose another --out"
        )
    return False


def _fetch_all(name: str, work: Path, target: Path, mirror: str | None) -> dict[str, Path]:
    """Every file of the release by name, each checked as soon as it is there."""
    fetched = {}
    for source in SOURCES[name]:
        address = source.address(mirror)
        try:
            path = _fetch(address, source, work, mirror)
        except (OSError, ValueError) as error:
            if isinstance(error, InputError) or getattr(error, "errno", None) in FULL:
                raise
            addresses = ", ".join(each.url for each in SOURCES[name])
            raise InputError(
                f"{address} cannot be downloaded ({_cause(error)}). Try again later; or fetch {addresses} on another "
                f"computer, put it into a folder and give that with --mirror FOLDER: it is checked and goes to {target}"
            ) from None
        _check_sha256(path, source, address)
        fetched[source.file] = path
    return fetched


def _fetch(address: str, source: Source, work: Path, mirror: str | None) -> Path:
    if mirror is not None and not str(mirror).startswith(("http://", "https://")):
        if not Path(mirror).is_dir():
            raise InputError(f"--mirror must be an http address or a folder that is there, got {str(mirror)!r}")
        return Path(shutil.copyfile(Path(mirror) / source.file, work / source.file))
    pooch = require("downloading", "pooch", "download")
    pooch.get_logger().setLevel("WARNING")
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=30)
    # The checksum is checked by the caller, in one place for files from a host and from a folder.
    return Path(pooch.retrieve(address, None, fname=source.file, path=work, downloader=downloader))


def _cause(error: Exception) -> str:
    """What went wrong; the network layers' long tales of pools and retries are cut to their name (ConnectionError)."""
    return str(error) if 0 < len(str(error)) <= 150 else type(error).__name__


def _check_sha256(path: Path, source: Source, address: str) -> None:
    if source.sha256 is None:
        return
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != source.sha256:
        raise InputError(
            f"{address} is not the file it should be, and was thrown away: its SHA-256 is {digest.hexdigest()}, "
            f"expected {source.sha256}. The download may have been cut short; try again"
        )


def _prepare(name: str, fetched: dict[str, Path], ready: Path) -> Path:
    """Make the folder that will be moved into place."""
    if name in GLUE and name != "mrpc":
        (archive,) = fetched.values()
        return unpack_zip(archive, ready)
    ready.mkdir()
    if name == "mrpc":
        train, test, dev_ids = (fetched[source.file] for source in SOURCES[name])
        split_mrpc(train, dev_ids, ready)
        fetched = {TEST_FILE: test}
    for file, path in fetched.items():
        shutil.copyfile(path, ready / file)  # not rename: pooch makes files that only their owner can read
    return ready
