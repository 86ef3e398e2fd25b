"""The commands around training: params, gradcheck, download, env. Each takes the parsed arguments and returns an
exit code or None."""

from __future__ import annotations

import platform
from itertools import product
from pathlib import Path

import kernels
from minibert import gradcheck as checks
from minibert.adapter_variants import BY_OTHERS, VARIANTS
from minibert.cli.parser import version_of
from minibert.config import PRESETS, AdapterConfig
from minibert.errors import InputError, list_some
from minibert.interrupt import compile_kernels
from minibert.methods import format_table, parameter_table, trained_names


def params(args) -> None:
    """Print the table of what is trained for the shapes of known backbones."""
    if args.classes < 2:
        raise InputError(f"--classes must be at least 2, got {args.classes}")
    adapters = [AdapterConfig(size) for size in args.adapter_size] if args.method == "adapter" else [None]
    for name in args.config:
        config = PRESETS[name]
        head = {"head/W": (config.hidden_size, args.classes), "head/b": (args.classes,)}
        backbone = {n: s for n, s in config.shapes().items() if not n.startswith("pooler/")}
        for adapter in adapters:
            shapes = backbone | (adapter.shapes(config) if adapter else {}) | head
            trained = trained_names(shapes, args.method, config.n_layers, args.top_k)
            size = f", M = {adapter.size}" if adapter else ""
            print(f"{name}, method {args.method}{size}, {args.classes} classes")
            print(format_table(parameter_table(shapes, trained)), end="\n\n")


def gradcheck(args) -> int:
    """Check every gradient of every method, head and form of the adapter, dropout off and on; print the worst case of
    each tensor."""
    compile_kernels("gradcheck")
    found: dict[str, list[checks.Check]] = {}
    settings = list(product(args.method, args.head, (None, 0), ({},)))
    if "adapter" in args.method:
        forms = (*VARIANTS.values(), *BY_OTHERS.values(), {"layers": (0,)})
        variants = [{"size": 4} | form for form in forms if form]
        settings += product(("adapter",), args.head[:1], (None, 7), variants)  # step 7: no unit of ReLU near its kink
    for method, head, step, variant in settings:
        model = checks.tiny_model(method, head, variant=variant)
        for check in checks.check_gradients(model, *checks.tiny_batch(model.config, head), step):
            found.setdefault(check.name, []).append(check)
    print(f"{'tensor':<48}{'settings':>9}{'difference':>12}{'relative':>10}  result")
    failed = 0
    for name, cases in found.items():
        c = max(cases, key=lambda c: (not c.passed, c.relative_error))
        failed += not c.passed
        relative = "zero" if c.zero else f"{c.relative_error:.1e}"
        print(f"{name:<48}{len(cases):>9}{c.largest_difference:>12.1e}{relative:>10}  {'pass' if c.passed else 'FAIL'}")
    print(
        f"{len(found)} tensors in {len(settings)} settings (method x head x dropout, forms of the adapter), float64, ",
        end="",
    )
    print(f"tolerance {checks.TOLERANCE:g}: {'all pass' if not failed else f'{failed} FAIL'}")
    return 1 if failed else 0


def download(args) -> None:
    """Get the data of a task."""
    from minibert.data.download import download as get

    get(args.name, args.out, args.mirror)


def env(args) -> None:
    """Print what the program runs on, and what to do if something is amiss."""
    for package in ("minibert", "numpy", "numba", "tokenizers", "h5py"):
        print(f"{package:<18}{version_of(package)}")
    print(f"{'python':<18}{platform.python_version()} on {platform.system()} {platform.machine()}")
    compile_kernels("predict")  # with its message, and ended by Ctrl-C, as everywhere
    freed = kernels.clean_cache() if args.clean_cache else None
    found = kernels.environment()
    print(f"{'kernels':<18}{found['kernels']}")
    if found["kernels"] == "blas":
        print(f"{'matrix products':<18}{found['blas']} by NumPy, for comparison; unset MINIBERT_KERNELS for our own")
    if "threads" in found:
        to_do = _report_compiled(found)
        _report_old(found["old_cache"], freed)
    else:
        to_do = ["the NumPy reference runs: slow, for reading and debugging; unset MINIBERT_KERNELS for speed"]
    print("\n".join(f"to do: {advice}" for advice in to_do) or "OK")


def _report_old(folders: list[tuple[Path, int]], freed: int | None) -> None:
    """Print what other versions have left in the cache, or what was freed."""
    if freed is not None:
        print(f"{'old kernels':<18}{freed / 1e6:.1f} MB removed")
    elif folders:
        size, most = sum(size for _, size in folders) / 1e6, 3
        names = list_some([folder.name for folder, _ in folders], most)
        print(f"{'old kernels':<18}{size:.1f} MB of other versions: {names} (minibert env --clean-cache)")


def _report_compiled(found: dict) -> list[str]:
    """Print how the kernels are compiled and run. Returns what could be better."""
    print(f"{'threads':<18}{found['threads']} of {found['most_threads']}")
    print(f"{'threading layer':<18}{found['threading_layer']}")
    more = ", and products on AMX tiles" if found["amx"] else "" if found["fma"] else ", without multiply-add (FMA)"
    print(f"{'vectors':<18}{found['vector_bits'] or 'unknown'} bits{more}")
    print(f"{'kernel cache':<18}{found['cache']} ({found['cache_bytes'] / 1e6:.1f} MB)")
    to_do = []
    if not found["cache_is_kept"]:
        to_do.append("kernels are compiled anew in every run: set NUMBA_CACHE_DIR to a folder that can be written")
    if not found["fma"] and found["kernels"] in ("numba", "fma"):
        to_do.append(
            "this processor (or NUMBA_CPU_FEATURES) has no FMA, which the kernels' matrix products need: "
            "MINIBERT_KERNELS=blas may be faster here (minibert bench matmul compares them)"
        )
    if found["most_threads"] == 1:
        to_do.append("only one thread: unset NUMBA_NUM_THREADS, or give the program more cores")
    return to_do
