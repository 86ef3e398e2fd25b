"""A packed course (pack.py) over HTTP, from the teacher's machine to the laptops of a room, and how they take it.

python -m minibert.lessons serve DIR                    the teacher; prints what the learners type
pip install --no-index --find-links URL/wheels/ …       the learners: the wheels
python -m minibert.lessons fetch --from URL             notebooks and weights, each by its SHA-256
"""

from __future__ import annotations

import functools
import hashlib
import http.client
import http.server
import re
import socket
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

from minibert.errors import InputError, one_line, shown
from minibert.lessons.pack import EXTRA, SUMS
from minibert.storage import cannot_be_written, sha256_of
from minibert.storage.atomic import replacing

PATIENCE = 30  # seconds without a byte
FETCHED = ("notebooks", "models")  # the folders of the course that pip does not install
LINE = re.compile(r"([0-9a-f]{64})  (.+)")


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args) -> None:
        """Nothing: thirty laptops would fill the screen."""


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address) -> None:
        """A laptop that breaks off is no error of ours."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def server(folder: Path, port: int, host: str = "") -> http.server.ThreadingHTTPServer:
    """A server of the folder, not yet running. host "": for the whole room. Raises InputError if that is no packed
    course, or if the port is taken."""
    if not (folder / SUMS).is_file():
        raise InputError(
            f"{folder} has no {SUMS}, so it is no packed course: python -m minibert.lessons pack --out DIR"
        )
    try:
        return _Server((host, port), functools.partial(_Handler, directory=str(folder)))
    except (OSError, OverflowError) as error:
        raise InputError(f"port {port} cannot be served ({one_line(error)}); give another --port") from None


def serve(folder: Path, port: int, say: Callable[[str], None] = print) -> None:
    """Serve the folder until Ctrl-C."""
    with server(folder, port) as running:
        say(instructions(own_address(), running.server_address[1]))
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            say("\nno longer served")


def instructions(host: str, port: int) -> str:
    """What the learners type."""
    url = f"http://{host}:{port}"
    return f"""Everyone who can reach this machine can read the folder, at {url} until Ctrl-C.
Each laptop, in a new folder (Windows: py -VERSION, one that was packed, for python3, and course\\Scripts for
course/bin):

    python3 -m venv course
    course/bin/pip install --no-index --trusted-host {host} --find-links {url}/wheels/ "minibert[{EXTRA}]"
    course/bin/python -m minibert.lessons fetch --from {url}
    course/bin/jupyter lab notebooks
"""


def own_address() -> str:
    """The address of this machine in its network, as far as it can tell; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address for documentation
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"


# ------------------------------------------------------------------------------------------------------------- fetch


def fetch(url: str, folder: Path, say: Callable[[str], None] = print) -> None:
    """Take notebooks and weights of a course that is served, into a folder. A file that is there stays as it is.

    Raises InputError if the server does not answer, or if what it sends is not what its SHA256SUMS says; a file of
    which not all came right is not written.
    """
    if not _is_address(url):
        raise InputError(f"--from is {shown(url)}; expected an address such as http://192.168.0.2:8000")
    url, found = url.rstrip("/"), False
    for name, digest in read_sums(_download(f"{url}/{SUMS}").decode("utf-8", "replace"), url).items():
        if PurePosixPath(name).parts[0] not in FETCHED:
            continue
        path = folder / name
        try:
            if path.exists() or path.is_symlink():
                same = path.is_file() and sha256_of(path) == digest
                say(f"{name}: there already" if same else f"{name}: kept as it is; it differs from the course's")
                found = True
                continue
            _fetch_file(f"{url}/{urllib.parse.quote(name)}", path, digest)
            say(f"{name}: {path.stat().st_size / 1e6:.1f} MB")
        except OSError as error:
            raise InputError(f"{path}: cannot be read or written ({one_line(error)})") from None
        found = True
    if not found:
        raise InputError(f"{url}: its {SUMS} lists neither notebooks nor weights, so it is no packed course")


def _is_address(url: str) -> bool:
    try:
        return urllib.parse.urlsplit(url).scheme in ("http", "https")
    except ValueError:
        return False


def read_sums(text: str, where: str) -> dict[str, str]:
    """{name: SHA-256} of a SHA256SUMS. Raises InputError for a line that is none, or leads out of the folder."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = LINE.fullmatch(line)
        name = match[2] if match else ""
        inside = PurePosixPath(name), PureWindowsPath(name)
        outside = any(path.is_absolute() or path.drive or ".." in path.parts or not path.parts for path in inside)
        if not match or outside or "\\" in name or not name.isprintable():
            raise InputError(f"{where}: line {number} of {SUMS} is {shown(line)}; expected a SHA-256 and a file's name")
        found[name] = match[1]
    if not found:
        raise InputError(f"{where}: {SUMS} is empty")
    return found


def _fetch_file(url: str, path: Path, digest: str) -> None:
    """Download a file that is not there. It appears under its name once its SHA-256 is right."""
    found = hashlib.sha256()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, open(temporary, "wb") as file:
            _download(url, lambda block: (found.update(block), file.write(block)))
            if found.hexdigest() != digest:
                raise InputError(
                    f"{url}: has the SHA-256 {found.hexdigest()[:12]}…, and {SUMS} says {digest[:12]}…; nothing was "
                    "written: tell the teacher, and try again"
                )
    except OSError as error:
        raise cannot_be_written(path, error) from None


def _download(url: str, take: Callable[[bytes], object] | None = None) -> bytes:
    """Read an address, block by block; without `take`, at most a megabyte of it. Raises InputError."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            if take is None:
                return answer.read(1 << 20)
            while block := answer.read(1 << 20):
                take(block)
            return b""
    except urllib.error.HTTPError as error:
        raise InputError(f"{url}: the server says {error.code} {error.reason}") from None
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ValueError) as error:
        raise InputError(f"{url}: cannot be reached ({one_line(getattr(error, 'reason', error))})") from None
