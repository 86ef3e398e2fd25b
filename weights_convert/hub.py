"""The Hugging Face hub, through huggingface_hub: with its cache, resumed downloads and tokens.

HF_ENDPOINT names another hub, HF_HUB_OFFLINE allows the cache alone.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from minibert.errors import InputError, list_some, one_line, require, shown
from minibert.storage import FULL
from weights_convert.tensors import LAYOUTS, shards_of
from weights_convert.tokenizer_files import ADDED, CASING, CONFIG, SPECIAL, VOCAB, WHOLE

CONNECT_SECONDS = 5  # until the hub answers
MAIN = "main"
MODEL = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?", re.ASCII)


def address() -> str:
    """Of the hub; HF_ENDPOINT names another one."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE allows the cache alone."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def get_file(repo: str, revision: str, name: str, again: bool = False) -> Path:
    """A file of a repository, in the cache of huggingface_hub; again: even if it is there.

    Raises ConnectionError if it cannot be had, OSError if the disk is full.
    """
    options = {"revision": revision, "endpoint": address(), "etag_timeout": CONNECT_SECONDS}
    options |= {"force_download": again, "local_files_only": is_offline()}
    try:
        return Path(_library().hf_hub_download(repo, name, **options))
    except Exception as error:  # of httpx or requests, of the hub's own kinds, OSError
        raise _no(f"{name} of {repo}", error) from error


def is_cached(repo: str, revision: str, name: str) -> bool:
    """Whether a file of a commit is in the cache, so that no hub is needed."""
    return isinstance(_library().try_to_load_from_cache(repo, name, revision=revision), str)


def get_model(repo: str, revision: str | None, say=print) -> tuple[Path, str]:
    """Get any model: the path of its weights, beside which lie config and tokenizer, and its name with the commit.

    Raises InputError if it cannot be had, or has no weights that can be read.
    """
    try:
        commit, names = list_files(repo, revision)
        say(f"fetching {repo}@{commit} from {'the cache' if is_offline() else address()}")
        layout = next((name for name in LAYOUTS if name in names), None)
        if layout is None:
            raise InputError(f"{repo}: has no weights; expected one of {', '.join(LAYOUTS)}; it has {list_some(names)}")
        get_file(repo, revision or MAIN, CONFIG)  # by that name the cache can be asked offline, too
        for name in (CASING, WHOLE, VOCAB, SPECIAL, ADDED):
            if name in names:
                get_file(repo, commit, name)
        weights = get_file(repo, commit, layout)
        for name in shards_of(weights) if layout.endswith(".json") else ():
            get_file(repo, commit, name)
    except ConnectionError as error:
        raise InputError(str(error)) from error
    return weights, f"{repo}@{commit}"


def list_files(repo: str, revision: str | None) -> tuple[str, list[str]]:
    """The commit that a revision (None: main) means, and the names of its files; offline those of the cache.

    Raises ConnectionError at once where there is no hub: huggingface_hub tries to download for half a minute.
    """
    try:
        if is_offline():
            folder = Path(_library().snapshot_download(repo, revision=revision, local_files_only=True))
            return folder.name, sorted(path.name for path in folder.iterdir())
        info = _library().HfApi(endpoint=address()).model_info(repo, revision=revision, timeout=6 * CONNECT_SECONDS)
    except Exception as error:
        raise _no(f"list of the files of {repo}{f'@{revision}' if revision else ''}", error) from error
    return info.sha, sorted(file.rfilename for file in info.siblings)


def _library():
    return require("the Hugging Face hub", "huggingface_hub", "convert")


def _no(what: str, error: Exception) -> Exception:
    """What to raise if something cannot be had."""
    if isinstance(error, InputError) or getattr(error, "errno", None) in FULL:
        return error
    if is_offline():
        return ConnectionError(f"the Hugging Face hub is switched off (HF_HUB_OFFLINE), and its cache has no {what}")
    return ConnectionError(f"{address()} gave no {what} ({_reason(error)})")


def _reason(error: BaseException) -> str:
    """What happened first: the libraries wrap "Connection refused" into four layers of their own words."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__
    return one_line(error)


def parse_name(name: str) -> tuple[str, str | None] | None:
    """(ORG/NAME, revision or None) of ORG/NAME[@REVISION]; None if it has no "/". Raises InputError if it is none."""
    if "/" not in name:
        return None
    found = MODEL.fullmatch(name)
    if not found or ".." in name:
        raise InputError(f"{shown(name)} is no model of the hub; expected ORG/NAME or ORG/NAME@REVISION")
    return found["repo"], found["revision"]
