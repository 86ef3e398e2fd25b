"""No function of a file that is meant to be read is longer than 40 lines: those directly in kernels/ and minibert/."""

import ast
import sys
from pathlib import Path

ROOT, LONGEST = Path(__file__).resolve().parent.parent, 40


def too_long(path: Path) -> list[str]:
    """A line for every function of a file that is too long."""
    functions = (node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.FunctionDef))
    lengths = {f"{path.relative_to(ROOT)}:{f.lineno} {f.name}": f.end_lineno - f.lineno + 1 for f in functions}
    return [f"{where} has {n} lines, at most {LONGEST}" for where, n in lengths.items() if n > LONGEST]


if __name__ == "__main__":
    found = [
        line for folder in ("kernels", "minibert") for path in (ROOT / folder).glob("*.py") for line in too_long(path)
    ]
    print("\n".join(found) or f"no function is longer than {LONGEST} lines")
    sys.exit(bool(found))
