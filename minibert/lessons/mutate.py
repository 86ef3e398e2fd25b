"""Mechanical mistakes: every solution with one operator, number, size or call changed. Is each of them caught?

    python -m minibert.lessons mutate

A mutant that gives the same as the solution on further inputs is no mistake. The others must be caught by the checker,
on the few inputs that it tries.
"""

from __future__ import annotations

import ast
import copy
import time
from collections.abc import Callable, Iterator

import numpy as np

from minibert.lessons.checker import check
from minibert.lessons.comparison import TOLERANCE, compare
from minibert.lessons.edits import function_with, source_of
from minibert.lessons.exercise import Exercise
from minibert.lessons.exercises import EXERCISES, arguments_of
from minibert.lessons.time_limit import DoesNotEnd, limited

FURTHER_SEEDS = range(1, 6)  # inputs that the checker does not try
SECONDS = 1.0  # a mutant that computes longer never ends

OPERATORS: dict[type, tuple[type, ...]] = {
    ast.Add: (ast.Sub, ast.Mult),
    ast.Sub: (ast.Add, ast.Mult),
    ast.Mult: (ast.Div, ast.Add),
    ast.Div: (ast.Mult, ast.Sub),
    ast.Pow: (ast.Mult, ast.Add),
    ast.MatMult: (ast.Mult,),
    ast.Lt: (ast.LtE, ast.Gt),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.In: (ast.NotIn,),
    ast.Is: (ast.IsNot,),
}
METHODS = {"sum": ("mean", "max"), "mean": ("sum", "max"), "max": ("min", "sum"), "exp": ("tanh",), "sqrt": ("exp",)}
METHODS |= {"zeros_like": ("ones_like",), "zeros": ("ones",), "min": ("max",)}
DIMENSIONS = frozenset("BCDFHKLMNTVn") | {"rows", "columns", "depth", "d_head", "n_heads", "n_layers", "top_k"}


def mutants(name: str) -> Iterator[tuple[str, Callable]]:
    """(what was changed, the changed function) of one solution."""
    source = source_of(name)
    tree = ast.parse(source)
    sizes = _sizes(tree)
    for i, node in enumerate(ast.walk(tree)):
        for change in (*_changes(node), *_other_sizes(node, sizes)):
            mutant = copy.deepcopy(tree)
            place = list(ast.walk(mutant))[i]
            before = ast.unparse(node)
            _apply(mutant, place, change)
            text = ast.unparse(ast.fix_missing_locations(mutant))
            if text != ast.unparse(tree):
                yield f"{_one_line(before)} -> {_one_line(_told(place, change))}", function_with(name, name, text)


def _changes(node: ast.AST) -> Iterator[tuple]:
    """What can be changed of a node of the tree: (what, …)."""
    if isinstance(node, ast.BinOp):
        yield from (("op", kind()) for kind in OPERATORS.get(type(node.op), ()))
        yield ("swap",)
        yield from (("replace", side) for side in ("left", "right"))
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield from (("ops", [kind()]) for kind in OPERATORS.get(type(node.ops[0]), ()))
    elif isinstance(node, ast.UnaryOp):
        yield ("replace", "operand")
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        yield from (("value", value) for value in (node.value + 1, -node.value, 2 * node.value, 0))
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ("value", not node.value)
    elif isinstance(node, ast.Attribute):
        yield from (("attr", name) for name in METHODS.get(node.attr, ()))
        if node.attr == "T":
            yield ("replace", "value")
    elif isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Load) and len(node.elts) > 1:
        yield ("elts", [node.elts[1], node.elts[0], *node.elts[2:]])
    elif isinstance(node, (ast.Assign, ast.AugAssign, ast.Expr, ast.If)):
        yield ("drop",)


def _sizes(tree: ast.AST) -> list[str]:
    """The sizes that a function computes with: D, x.shape[0], len(offsets) - 1, …; each once."""
    return list(dict.fromkeys(text for node in ast.walk(tree) if (text := _size(node, tree))))


def _size(node: ast.AST, tree: ast.AST) -> str:
    """The text of a node that is a size, else "". A name that is given the result of a call, such as a slice, is none.

    Of a product or a quotient of sizes each factor is one.
    """
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in DIMENSIONS:
        given = [a for a in ast.walk(tree) if isinstance(a, ast.Assign) and isinstance(a.value, ast.Call)]
        return "" if any(ast.unparse(a.targets[0]) == node.id for a in given) else node.id
    is_shape = isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute) and node.value.attr == "shape"
    of_length = node.left if isinstance(node, ast.BinOp) and ast.unparse(node).endswith(") - 1") else node
    is_length = isinstance(of_length, ast.Call) and ast.unparse(of_length.func) == "len"
    return ast.unparse(node) if is_shape or is_length else ""


def _other_sizes(node: ast.AST, sizes: list[str]) -> Iterator[tuple]:
    """One size in the place of another, as the bound of a loop, the step of a range, or a factor."""
    own = ast.unparse(node) if isinstance(node, (ast.Name, ast.Subscript, ast.Call, ast.BinOp)) else ""
    if own in sizes and isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
        yield from (("size", ast.parse(other, mode="eval").body) for other in sizes if other != own)


def _apply(tree: ast.AST, node: ast.AST, change: tuple) -> None:
    what, *value = change
    if what == "swap":
        node.left, node.right = node.right, node.left
    elif what == "replace":
        _replace(tree, node, getattr(node, value[0]))
    elif what == "drop":
        _replace(tree, node, ast.Pass())
    elif what == "size":
        _replace(tree, node, value[0])
    else:
        setattr(node, what, value[0])


def _replace(tree: ast.AST, node: ast.AST, other: ast.AST) -> None:
    """Put another node where a node stands."""
    for parent in ast.walk(tree):
        for name, child in ast.iter_fields(parent):
            if child is node:
                setattr(parent, name, other)
            elif isinstance(child, list):
                child[:] = [other if one is node else one for one in child]


def _told(node: ast.AST, change: tuple) -> str:
    if change[0] == "drop":
        return "(dropped)"
    if change[0] == "size":
        return ast.unparse(change[1])
    return ast.unparse(getattr(node, change[1]) if change[0] == "replace" else node)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:70]


# -------------------------------------------------------------------------------------------------------- judgement


def is_a_mistake(exercise: Exercise, function: Callable) -> bool:
    """Whether the function gives something else than the solution on inputs that the checker may not have tried."""
    for seed in FURTHER_SEEDS:
        for arguments in arguments_of(exercise, np.random.default_rng(seed)):
            expected = exercise.solution(*copy.deepcopy(arguments))
            given = copy.deepcopy(arguments)
            try:
                with limited(SECONDS):
                    answer = function(*given)
                if compare(answer, expected, exercise).problem:
                    return True
            except (Exception, DoesNotEnd):  # a mutant may raise anything
                return True
    return False


def run(names=tuple(EXERCISES), say=print) -> float:
    """Print a line for each exercise, and what was not caught. Returns the share that was caught."""
    n_all = n_caught = 0
    say(f"{'exercise':<24}{'mutants':>9}{'mistakes':>10}{'caught':>8}{'named':>7}{'ms a check':>12}")
    for name in names:
        exercise, found, missed, named, seconds = EXERCISES[name], [], [], 0, 0.0
        total = 0
        for told, function in mutants(name):
            total += 1
            with np.errstate(all="ignore"):
                start = time.perf_counter()
                report = check(name, function, seconds=SECONDS)
                seconds += time.perf_counter() - start
                if not report:
                    found.append(told)
                    named += report.named
                elif is_a_mistake(exercise, function):
                    missed.append(told)
        mistakes = len(found) + len(missed)
        n_all, n_caught = n_all + mistakes, n_caught + len(found)
        ms = 1000 * seconds / max(total, 1)
        say(f"{name:<24}{total:>9}{mistakes:>10}{len(found):>8}{named:>7}{ms:>12.1f}")
        for told in missed:
            say(f"    not caught: {told}")
    share = n_caught / max(n_all, 1)
    say(f"{n_caught} of {n_all} caught ({100 * share:.2f} %), to a relative error of {TOLERANCE:g}")
    return share
