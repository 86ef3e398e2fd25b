"""The command line: python -m weights_convert fetch | to-hdf5 | to-hf | verify."""

import sys

from weights_convert.cli import main

if __name__ == "__main__":
    sys.exit(main())
