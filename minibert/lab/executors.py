"""Where trials run: in this process, in processes of this machine, or on a Dask cluster.

All are `concurrent.futures.Executor`s, with three attributes more that a sweep reads:

    at_once   how many trials to hand over at a time: as many as run, so that the death of a worker concerns but those
    deaths    the exceptions of a future that mean that its worker died
    threads   how many threads a trial's kernels use; None: not known

Kernels take the threads of the machine by themselves; here they get their share.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from queue import SimpleQueue

from minibert.errors import InputError, require
from minibert.scratch import temporary_folder


def with_threads(threads: int | None, function, *arguments):
    """Call a function whose kernels use that many threads at most; None: as many as set."""
    import numba

    import kernels

    before = kernels.threads()
    kernels.use_threads(min(threads or before, numba.config.NUMBA_NUM_THREADS))
    try:
        return function(*arguments)
    finally:
        kernels.use_threads(before)


class InProcess(Executor):
    """Runs what is submitted immediately, in this thread; Ctrl-C comes out of `submit`."""

    at_once = 1
    deaths = (BrokenExecutor,)

    @property
    def threads(self) -> int:
        """What this thread's kernels use."""
        import kernels

        return kernels.threads()

    def submit(self, function, /, *arguments) -> Future:
        """Run it; the future is done."""
        future: Future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


# --------------------------------------------------------------------------------------------------------- processes


class Processes(Executor):
    """A pool of processes on this machine, each with an equal share of the cores, or `threads` threads.

    Every process is a pool of one. When it dies, exactly the trial that it ran is lost, and its place gets a new one.
    """

    deaths = (BrokenExecutor,)

    def __init__(self, count: int, threads: int | None = None):
        if not isinstance(count, int) or count < 1:
            raise InputError(f"--processes must be a whole number above 0, got {count!r}")
        import numba

        self.at_once = count
        self.threads = threads or max(1, numba.config.NUMBA_NUM_THREADS // count)
        self._scratch = ExitStack()  # a process that dies leaves its files in the folder
        folder = str(self._scratch.enter_context(temporary_folder("minibert-sweep-")))
        self._workers = [_Worker(folder) for _ in range(count)]
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)

    def submit(self, function, /, *arguments) -> Future:
        """Run it in an idle process; waits until there is one."""
        worker = self._idle.get()
        future = worker.submit(with_threads, self.threads, function, *arguments)
        future.add_done_callback(lambda _: self._idle.put(worker))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes, after what they run."""
        for worker in self._workers:
            worker.pool.shutdown(wait, cancel_futures=cancel_futures)
        if wait:
            self._scratch.close()

    def __exit__(self, kind, *_) -> None:
        if kind is not None:  # after an error or Ctrl-C nobody waits for what still runs
            for worker in self._workers:
                worker.terminate()
        self.shutdown(wait=True)


class _Worker:
    """One process, and the next one after its death. It starts with the first submit."""

    def __init__(self, scratch: str):
        self._scratch, self._processes = scratch, []
        self._renew()

    def _renew(self) -> None:
        spawn = multiprocessing.get_context("spawn")  # a fork would inherit the kernels' threads, which do not survive
        self.pool = ProcessPoolExecutor(1, mp_context=spawn, initializer=_begin, initargs=(self._scratch,))

    def submit(self, function, *arguments) -> Future:
        """Run it in the process, or in a new one if it died."""
        others = multiprocessing.active_children()
        try:
            return self.pool.submit(function, *arguments)
        except BrokenProcessPool:
            self.pool.shutdown()
            self._renew()
            return self.pool.submit(function, *arguments)
        finally:  # the pool starts its process here if it has none, and has no public way to end it early
            self._processes += [process for process in multiprocessing.active_children() if process not in others]

    def terminate(self) -> None:
        for process in self._processes:
            process.terminate()


def _begin(scratch: str) -> None:
    """The first thing that a process does."""
    tempfile.tempdir = scratch
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the first one decides
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


# -------------------------------------------------------------------------------------------------------------- Dask


class Dask(Executor):
    """The workers of a Dask cluster, one trial a worker at a time.

    A trial's kernels use as many threads as its worker was started with (`dask worker --nthreads N`), or `threads`.
    Workers need minibert, and the backbone and the data at the same paths. When a worker dies Dask itself gives the
    trial to another one, until `distributed.scheduler.allowed-failures` (3) have been in vain.
    Raises InputError if there is no `distributed`, or no scheduler at the address.
    """

    def __init__(self, address: str, threads: int | None = None, timeout: float = 10):
        distributed = require("--dask", "distributed", "sweep")
        from distributed.scheduler import KilledWorker

        try:
            self._client = distributed.Client(address, timeout=timeout, set_as_default=False)
        except (OSError, ValueError) as error:
            raise InputError(
                f"--dask {address}: no scheduler answers there ({error}); give its address, such as tcp://HOST:8786"
            ) from None
        if not self._client.nthreads():
            print(f"note: the cluster at {address} has no workers yet; trials wait for the first", file=sys.stderr)
        self.threads, self.deaths = threads, (BrokenExecutor, KilledWorker)
        # A trial is never pure: two submits of the same function and arguments would else be one, and one that was
        # run be taken from the cluster's memory. retries are for exceptions, which a second run would raise again.
        self._executor = self._client.get_executor(pure=False, retries=0)

    @property
    def at_once(self) -> int:
        """The number of workers there are now; 1 if none, to wait for the first. Raises OSError if the scheduler is
        gone."""
        try:
            return max(1, len(self._client.nthreads()))
        except Exception as error:  # a client without its scheduler raises this and that, AttributeError among them
            raise ConnectionError(f"the scheduler does not answer: {error!r}") from error

    def submit(self, function, /, *arguments) -> Future:
        """Run it on a worker."""
        return self._executor.submit(_on_worker, self.threads, function, *arguments)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster. What still runs there runs on to its end, in vain."""
        self._client.close()


def _on_worker(threads: int | None, function, *arguments):
    from distributed import get_worker

    return with_threads(threads or get_worker().state.nthreads, function, *arguments)


def make_executor(args) -> Executor:
    """The executor that --processes, --dask and --threads ask for."""
    if args.dask is not None:
        return Dask(args.dask, args.threads)
    return InProcess() if args.processes is None else Processes(args.processes, args.threads)
