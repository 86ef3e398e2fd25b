"""Damage the kernel cache, and see that a program computes the same bits as before, and that the cache is whole again:

    python -m tests.kernel_cache --times 60

Each time one or two files of a whole cache are damaged, one process computes, and a second one, which must find nothing
to compile. Prints what was damaged, and whether it went well; the exit code is 1 if anything went wrong.
"""

from __future__ import annotations

import argparse
import os
import pickle
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODEL = """
import hashlib, kernels, whole_program
kernels.compile_for("train")
found = whole_program.numbers("adapter", 1)
print(hashlib.sha256(b"".join(found[name].tobytes() for name in sorted(found))).hexdigest())
"""
KERNELS = """
import hashlib, numpy as np, kernels
x = np.random.default_rng(0).standard_normal((40, 64)).astype(np.float32)
normed = kernels.layernorm(x, x, x[0].copy(), x[1].copy(), 1e-12)
found = [kernels.matmul(x, x.T.copy()), *kernels.gelu(x.copy()), *normed]
print(hashlib.sha256(b"".join(a.tobytes() for a in found)).hexdigest())
"""


def flip(file: Path, rng: random.Random) -> None:
    """One bit."""
    content = bytearray(file.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)


def cut(file: Path, rng: random.Random) -> None:
    """The end is gone."""
    content = file.read_bytes()
    file.write_bytes(content[: rng.randrange(len(content))])


def extend(file: Path, rng: random.Random) -> None:
    """Bytes are added."""
    file.write_bytes(file.read_bytes() + rng.randbytes(rng.randrange(1, 99)))


def overwrite(file: Path, rng: random.Random) -> None:
    """Zeros in the middle, as after a crash of the system."""
    content = file.read_bytes()
    start = rng.randrange(len(content))
    file.write_bytes(content[:start] + bytes(min(4096, len(content) - start)) + content[start + 4096 :])


def empty(file: Path, rng: random.Random) -> None:
    """No bytes."""
    file.write_bytes(b"")


def remove(file: Path, rng: random.Random) -> None:
    """No file."""
    file.unlink()


def replace_by_another(file: Path, rng: random.Random) -> None:
    """A file of another kernel, whole in itself."""
    top = next(folder for folder in file.parents if folder.name == "kernels")
    others = [f for f in files_of(top) if f != file and f.suffix in (".nbi", ".nbc")]
    shutil.copyfile(rng.choice(others), file)


def replace_by_pickle(file: Path, rng: random.Random) -> None:
    """Something that can be unpickled, and is none of ours."""
    file.write_bytes(pickle.dumps(rng.choice([None, {}, (1, 2), ["x"] * 9, {"a": ("b", 3)}])))


def replace_by_folder(file: Path, rng: random.Random) -> None:
    """A folder of its name."""
    file.unlink()
    file.mkdir()


DAMAGES = (flip, cut, extend, overwrite, empty, remove, replace_by_another, replace_by_pickle, replace_by_folder)


def files_of(cache: Path) -> list[Path]:
    """Marks, indices and data files."""
    return sorted(f for kind in ("*.complete", "*.nbi", "*.nbc") for f in cache.rglob(kind) if f.is_file())


def damage(cache: Path, rng: random.Random) -> str:
    """Damage one or two files; says which."""
    told = []
    for file in rng.sample(files_of(cache), rng.choice((1, 1, 2))):
        how = rng.choice(DAMAGES)
        how(file, rng)
        told.append(f"{how.__name__} {file.name}")
    return ", ".join(told)


def compute(cache: Path, program: str, *options: str, **more: str) -> subprocess.CompletedProcess:
    """Run a program with that cache; what it prints on standard output are its results."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": path} | more
    command = [sys.executable, *options, "-c", program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


def what_is_wrong(cache: Path, program: str, expected: str, is_kept: bool) -> str:
    """Of a first run with a damaged cache, and of a second one; empty if nothing is. is_kept: all can be replaced."""
    for run in (1, 2):
        done = compute(cache, program)
        if done.returncode or "Traceback" in done.stderr:
            return f"exit code {done.returncode}: {done.stderr.strip()[-400:]}"
        if done.stdout != expected:
            return f"other bits in run {run}"
        if is_kept and ("warning" in done.stderr or (run == 2 and done.stderr)):
            return f"run {run} says: {done.stderr}"
    return ""


def main() -> int:
    """Damage copies of one whole cache."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as place:
        whole, damaged = Path(place, "whole"), Path(place, "damaged")
        expected = {program: compute(whole, program).stdout for program in (MODEL, KERNELS)}
        for number in range(args.times):
            rng = random.Random(f"{args.seed}/{number}")
            shutil.copytree(whole, damaged)
            said, program = damage(damaged, rng), rng.choice((MODEL, MODEL, KERNELS))
            is_kept = "replace_by_folder" not in said  # which is left: its kernel is compiled in every run
            why = what_is_wrong(damaged, program, expected[program], is_kept)
            wrong += bool(why)
            print(f"{number}: {said}: {why or 'right'}", flush=True)
            shutil.rmtree(damaged)
    print(f"{args.times} damaged caches: {args.times - wrong} right, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
