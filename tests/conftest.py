"""What holds for all tests."""

import signal


def pytest_configure():
    """Ctrl-C is heeded, also where the tests run in the background, as in `make test &`: there a shell has it ignored,
    by every process that a test starts, too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
