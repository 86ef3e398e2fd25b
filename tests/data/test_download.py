"""Downloads, from a server on this machine that offers tiny archives made here. No test reaches the network."""

import functools
import hashlib
import http.server
import io
import re
import sys
import threading
import zipfile

import pytest

from minibert.data import load_task
from minibert.data.download import DOWNLOAD_NAMES, SOURCES, Source, download
from minibert.data.mrpc import DEV_PAIRS, split_mrpc
from minibert.data.unpack import unpack_zip
from minibert.errors import InputError

pytest.importorskip("pooch")

COLA = {"train.tsv": "a\t1\t\tGood .\nb\t0\t*\tGood not .\n", "dev.tsv": "a\t1\t\tFine .\n"}


def complains(*parts):
    """pytest.raises for an InputError whose message holds all parts, in that order."""
    return pytest.raises(InputError, match="(?s)" + ".*".join(re.escape(part) for part in parts))


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def cola_zip(top="CoLA"):
    return zipped({f"{top}/{file}": content for file, content in COLA.items()})


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder. What lies below cut/ is announced whole and sent in half."""

    def log_message(self, *_):
        pass

    def copyfile(self, source, outputfile):
        content = source.read()
        outputfile.write(content[: len(content) // 2] if "/cut/" in self.path else content)


@pytest.fixture
def host(tmp_path, monkeypatch):
    """The folder that is served, and its address."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "host"
    (folder / "cut").mkdir(parents=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def offer(monkeypatch, folder, name, files, sums=None):
    """Put files on the host, and make them the sources of task `name` with their true checksums, or those given."""
    sources = []
    for file, content in files.items():
        (folder / file).write_bytes(content)
        true = hashlib.sha256(content).hexdigest()
        sources.append(Source(f"https://example.invalid/{file}", (sums or {}).get(file, true)))
    monkeypatch.setitem(SOURCES, name, tuple(sources))


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_nothing_left(out):
    assert not out.exists() or list(out.iterdir()) == []


def test_the_table_of_sources_is_whole():
    assert set(DOWNLOAD_NAMES) == {"cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli", "squad"}
    sources = [source for each in SOURCES.values() for source in each]
    assert all(source.url.startswith("https://") for source in sources)
    assert [source.file for source in sources if source.sha256 is None] == ["mrpc_dev_ids.tsv"]
    assert all(re.fullmatch("[0-9a-f]{64}", source.sha256) for source in sources if source.sha256)
    assert SOURCES["qqp"][0].address("http://here/") == "http://here/QQP-clean.zip"
    assert SOURCES["qqp"][0].address(None) == "https://dl.fbaipublicfiles.com/glue/data/QQP-clean.zip"


def test_a_download_can_be_read_at_once(tmp_path, monkeypatch, host):
    folder, address = host
    offer(monkeypatch, folder, "cola", {"CoLA.zip": cola_zip()})
    said = []
    out = tmp_path / "new" / "out"
    assert download("cola", out, address, say=said.append) == out / "CoLA"
    assert [path.name for path in out.iterdir()] == ["CoLA"]
    assert load_task("cola", out).train.texts == ["Good .", "Good not ."]
    assert len(said) == 1 and "is ready" in said[0]


@pytest.mark.parametrize(("name", "file", "top"), [("qqp", "QQP-clean.zip", "QQP-clean"), ("qnli", "QNLIv2.zip", None)])
def test_the_folder_has_the_name_of_glue_whatever_the_archive_is_called(tmp_path, monkeypatch, host, name, file, top):
    members = {f"{top}/{tsv}" if top else tsv: "x" for tsv in COLA} | {"__MACOSX/._x": "x"}
    offer(monkeypatch, host[0], name, {file: zipped(members)})
    target = download(name, tmp_path / "out", host[1], say=str)
    assert target.name == name.upper() and sorted(tree(target)) == ["dev.tsv", "train.tsv"]


def test_squad_is_two_plain_files(tmp_path, monkeypatch, host):
    files = {"train-v1.1.json": b"{}", "dev-v1.1.json": b"[]"}
    offer(monkeypatch, host[0], "squad", files)
    target = download("squad", tmp_path / "out", host[1], say=str)
    assert target == tmp_path / "out" / "squad" and tree(target) == files
    assert {path.stat().st_mode & 0o044 for path in target.iterdir()} == {(tmp_path / "host").stat().st_mode & 0o044}


def test_a_mirror_may_be_a_folder_and_is_checked_as_well(tmp_path, monkeypatch, host):
    offer(monkeypatch, host[0], "cola", {"CoLA.zip": cola_zip()})
    download("cola", tmp_path / "one", host[0], say=str)
    assert len(tree(tmp_path / "one")) == 2
    (host[0] / "CoLA.zip").write_bytes(b"other")
    with complains("CoLA.zip is not the file it should be"):
        download("cola", tmp_path / "two", str(host[0]), say=str)
    with complains("--mirror must be an http address or a folder that is there"):
        download("cola", tmp_path / "two", tmp_path / "nowhere", say=str)
    assert_nothing_left(tmp_path / "two")


def test_wrong_checksum_keeps_nothing(tmp_path, monkeypatch, host):
    offer(monkeypatch, host[0], "cola", {"CoLA.zip": cola_zip()}, sums={"CoLA.zip": "0" * 64})
    with complains("CoLA.zip is not the file it should be", "expected " + "0" * 64):
        download("cola", tmp_path / "out", host[1])
    assert_nothing_left(tmp_path / "out")


def test_an_archive_is_checked_before_it_is_opened(tmp_path, monkeypatch, host):
    offer(monkeypatch, host[0], "cola", {"CoLA.zip": b"no zip at all"}, sums={"CoLA.zip": "0" * 64})
    with complains("is not the file it should be"):
        download("cola", tmp_path / "out", host[1])


def test_a_transfer_that_is_cut_short_keeps_nothing(tmp_path, monkeypatch, host):
    folder, address = host
    offer(monkeypatch, folder, "cola", {"CoLA.zip": cola_zip()})
    (folder / "CoLA.zip").rename(folder / "cut" / "CoLA.zip")
    with complains(f"{address}/cut/CoLA.zip"):
        download("cola", tmp_path / "out", f"{address}/cut")
    assert_nothing_left(tmp_path / "out")


def test_a_truncated_file_keeps_nothing(tmp_path, monkeypatch, host):
    folder, address = host
    offer(monkeypatch, folder, "cola", {"CoLA.zip": cola_zip()})
    (folder / "CoLA.zip").write_bytes(cola_zip()[:-20])
    with complains("is not the file it should be", "cut short"):
        download("cola", tmp_path / "out", address)
    assert_nothing_left(tmp_path / "out")


@pytest.mark.parametrize("name", ["../escaped.tsv", "CoLA/../../escaped.tsv", "/escaped.tsv", "CoLA\\..\\x", "C:x"])
def test_an_archive_that_leads_out_of_its_folder_is_refused(tmp_path, monkeypatch, host, name):
    content = zipped({f"CoLA/{file}": text for file, text in COLA.items()} | {name: "escaped"})
    offer(monkeypatch, host[0], "cola", {"CoLA.zip": content})
    before = tree(tmp_path)
    with complains("CoLA.zip holds a file named", "would leave its folder"):
        download("cola", tmp_path / "out", host[1])
    assert_nothing_left(tmp_path / "out")
    assert tree(tmp_path) == before


def test_a_damaged_archive_is_refused(tmp_path, monkeypatch, host):
    offer(monkeypatch, host[0], "cola", {"CoLA.zip": b"PK but no zip"})
    with complains("CoLA.zip is not an intact zip archive"):
        download("cola", tmp_path / "out", host[1])
    damaged = bytearray(cola_zip())
    damaged[45] ^= 0xFF  # inside the first member's compressed bytes
    offer(monkeypatch, host[0], "cola", {"CoLA.zip": bytes(damaged)})
    with complains("CoLA.zip is not an intact zip archive"):
        download("cola", tmp_path / "out", host[1])
    assert_nothing_left(tmp_path / "out")


def test_an_archive_without_the_task_is_refused(tmp_path, monkeypatch, host):
    offer(monkeypatch, host[0], "cola", {"CoLA.zip": zipped({"CoLA/train.tsv": "x"})})
    with complains("does not hold dev.tsv"):
        download("cola", tmp_path / "out", host[1])
    assert_nothing_left(tmp_path / "out")


def test_no_server_names_the_addresses_and_the_way_by_hand(tmp_path, monkeypatch, host):
    folder, address = host
    offer(monkeypatch, folder, "cola", {"CoLA.zip": cola_zip()})
    with complains("404", "https://example.invalid/nothing.zip", "--mirror FOLDER", str(tmp_path / "out" / "CoLA")):
        monkeypatch.setitem(SOURCES, "cola", (Source("https://example.invalid/nothing.zip", None),))
        download("cola", tmp_path / "out", address)  # the server answers 404
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as closed:
        port = closed.server_address[1]
    with complains(f"http://127.0.0.1:{port}/nothing.zip cannot be downloaded (ConnectionError)", "--mirror FOLDER"):
        download("cola", tmp_path / "out", f"http://127.0.0.1:{port}")
    assert_nothing_left(tmp_path / "out")


def test_a_complete_folder_is_left_alone_and_said_so(tmp_path):
    target = tmp_path / "CoLA"
    target.mkdir()
    for file in COLA:
        (target / file).write_text("mine")
    before, said = tree(tmp_path), []
    assert download("cola", tmp_path, "http://127.0.0.1:9", say=said.append) == target
    assert tree(tmp_path) == before and "already there" in said[0]


def test_an_incomplete_folder_is_not_touched(tmp_path, monkeypatch, host):
    offer(monkeypatch, host[0], "cola", {"CoLA.zip": cola_zip()})
    out = tmp_path / "out"
    (out / "CoLA").mkdir(parents=True)
    download("cola", out, host[1], say=str)  # an empty folder is as good as none
    (out / "CoLA/dev.tsv").unlink()
    (out / "CoLA/train.tsv").write_text("mine")
    before = tree(out)
    with complains("CoLA is there but is not complete", "train.tsv, dev.tsv", "not touched"):
        download("cola", out, host[1])
    assert tree(out) == before


def test_names_places_and_pooch_are_checked_at_the_door(tmp_path, monkeypatch):
    with complains("nothing to download for 'imdb'", "cola"):
        download("imdb", tmp_path)
    (tmp_path / "file").write_text("x")
    with complains("cannot be written"):
        download("cola", tmp_path / "file", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "pooch", None)
    with complains("pip install pooch"):
        download("cola", tmp_path / "out")
    assert_nothing_left(tmp_path / "out")


# --- MRPC ---

HEADER = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"


def mrpc_files(n=4076, dev=None):
    """The three files of MRPC with n training rows; dev: the row numbers that the list of pairs names."""
    dev = range(0, 9 * DEV_PAIRS, 9) if dev is None else dev
    train = [HEADER] + [f'{i % 2}\t{i}\t{i + 50000}\tfirst "{i}\tsecond {i}' for i in range(n)]
    ids = [f"{i}\t{i + 50000}" for i in dev]
    return {
        "msr_paraphrase_train.txt": b"\xef\xbb\xbf" + "\r\n".join(train).encode() + b"\r\n",
        "msr_paraphrase_test.txt": b"\xef\xbb\xbf" + f"{HEADER}\n1\t1\t2\tx\ty\n".encode(),
        "mrpc_dev_ids.tsv": "\n".join(ids).encode(),
    }


def offer_mrpc(monkeypatch, folder, files):
    offer(monkeypatch, folder, "mrpc", files, sums={"mrpc_dev_ids.tsv": None})


def test_mrpc_is_cut_as_glue_publishes_it(tmp_path, monkeypatch, host):
    files = mrpc_files()
    offer_mrpc(monkeypatch, host[0], files)
    target = download("mrpc", tmp_path / "out", host[1], say=str)
    assert sorted(tree(target)) == ["dev.tsv", "msr_paraphrase_test.txt", "train.tsv"]
    assert (target / "msr_paraphrase_test.txt").read_bytes() == files["msr_paraphrase_test.txt"]
    assert (target / "dev.tsv").read_bytes().startswith(HEADER.encode() + b'\n0\t0\t50000\tfirst "0\tsecond 0\n1\t9\t')
    task = load_task("mrpc", tmp_path / "out")
    assert (len(task.train), len(task.dev["dev"]), len(task.test)) == (3668, 408, 1)
    assert not set(task.train.texts) & set(task.dev["dev"].texts)


@pytest.mark.parametrize(
    ("dev", "parts"),
    [
        (range(407), ("mrpc_dev_ids.tsv must hold 408 different pairs; it holds 407",)),
        ([*range(407), 0], ("it holds 408 (407 different)",)),
        ([*range(408), 0], ("it holds 409 (408 different)",)),
        ([*range(407), 9999], ("mrpc_dev_ids.tsv does not belong", "of its 408 pairs 407 are there")),
    ],
)
def test_a_list_of_pairs_that_does_not_fit_is_refused(tmp_path, monkeypatch, host, dev, parts):
    offer_mrpc(monkeypatch, host[0], mrpc_files(dev=dev))
    with complains(*parts):
        download("mrpc", tmp_path / "out", host[1])
    assert_nothing_left(tmp_path / "out")


def test_a_training_row_that_stands_twice_does_not_make_up_for_a_missing_one(tmp_path, monkeypatch, host):
    files = mrpc_files(dev=[*range(407), 9999])
    files["msr_paraphrase_train.txt"] += b"0\t0\t50000\tagain\tagain\n"
    offer_mrpc(monkeypatch, host[0], files)
    with complains("of its 408 pairs 407 are there, in 408 rows"):
        download("mrpc", tmp_path / "out", host[1])


def test_split_mrpc_names_the_damaged_line(tmp_path):
    files = mrpc_files()
    files["mrpc_dev_ids.tsv"] = files["mrpc_dev_ids.tsv"].replace(b"9\t50009", b"<html>")
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
    with complains("mrpc_dev_ids.tsv, line 2", "two numbers"):
        split_mrpc(tmp_path / "msr_paraphrase_train.txt", tmp_path / "mrpc_dev_ids.tsv", tmp_path)
    (tmp_path / "mrpc_dev_ids.tsv").write_bytes(mrpc_files()["mrpc_dev_ids.tsv"])
    (tmp_path / "msr_paraphrase_train.txt").write_text(f"{HEADER}\n1\t0\t50000\tonly one\n")
    with complains("msr_paraphrase_train.txt, line 2", "found 4"):
        split_mrpc(tmp_path / "msr_paraphrase_train.txt", tmp_path / "mrpc_dev_ids.tsv", tmp_path)


def test_unpack_keeps_folders_inside_and_drops_litter(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(zipped({"T/train.tsv": "x", "T/original/raw.txt": "y", "T/Icon\r": "", "T/.DS_Store": "z"}))
    assert tree(unpack_zip(path, tmp_path / "new")) == {"train.tsv": b"x", "original/raw.txt": b"y"}
