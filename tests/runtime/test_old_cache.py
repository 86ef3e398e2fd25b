"""The machine code of other versions is found and removed, and nothing else."""

import os

import pytest

cache = pytest.importorskip("kernels.runtime.cache")
from kernels.runtime import old_cache  # noqa: E402


def make(folder, file="f-1.py311.nbi", days=3.0, size=10):
    path = folder / "sub" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * size)
    for inner in (path, path.parent, folder):
        os.utime(inner, (0, inner.stat().st_mtime - days * 86400))
    return folder


def test_only_old_folders_of_kernels_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(old_cache, "CACHE_FOLDER", tmp_path)
    used = f"adam-{cache.version_of(cache.ROOT / 'adam.py')}"
    make(tmp_path / used)
    make(tmp_path / "adam-0123456789ac", days=0.5)
    make(tmp_path / "photos-2024")
    make(tmp_path / "photos-0123456789ab", file="holiday.jpg")
    (tmp_path / "mark-0123456789ab").write_text("a file")
    link = tmp_path / "elsewhere-0123456789ab"
    link.symlink_to(make(tmp_path.parent / f"{tmp_path.name}-else"))
    os.utime(link, (0, link.lstat().st_mtime - 3 * 86400), follow_symlinks=False)
    old = make(tmp_path / "adam-0123456789ab", size=70)
    before = set(tmp_path.iterdir())
    assert old_cache.old_folders([]) == [(old, 70)]
    assert old_cache.remove(old_cache.old_folders([])) == 70
    assert set(tmp_path.iterdir()) == before - {old}
    assert (tmp_path / "elsewhere-0123456789ab" / "sub").is_dir() and old_cache.old_folders([]) == []
