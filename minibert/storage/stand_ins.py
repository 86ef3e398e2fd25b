"""What lies in place of a file that was not really downloaded: the pointer of Git LFS, or a web page."""

from __future__ import annotations

from pathlib import Path

LFS = b"version https://git-lfs.github.com/spec/"
PAGES = (b"<!doctype html", b"<html", b"<head", b"<?xml", b"<!--")


def stand_in(path: Path) -> str:
    """What the file is instead, and what to do; "" if it is neither, or cannot be read."""
    try:
        with open(path, "rb") as file:
            start = file.read(512).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    except OSError:
        return ""
    if start.startswith(LFS):
        return "is a pointer of Git LFS, not the file itself; get that with: git lfs pull"
    if start.startswith(PAGES):
        return (
            "is a web page, not the file itself; download that again (of the Hugging Face hub from an address with "
            "/resolve/, not /blob/)"
        )
    return ""
