"""Files are read and written, and checkpoints converted, without the maths: nobody waits for Numba to do that."""

import subprocess
import sys

from tiny import environment

PROGRAM = """
import sys
import minibert.storage, weights_convert
import weights_convert.cli, weights_convert.fetch, weights_convert.huggingface, weights_convert.registry
print(*[name for name in ("numba", "kernels") if name in sys.modules])
"""


def test_storage_and_weights_convert_load_no_kernels():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
