"""Dask clusters of real processes, and a metric that tells what its process did."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time

COUNTING = '''
"""A metric; where its module is imported by another process than the parent, that process writes a log."""

import os
import pathlib
import sys

from bitplan.analyzer.measures.sweep import Sweep


def metric(output, reference, label):
    return float(output.argmax() == reference.argmax())


def logged(name):
    original = getattr(Sweep, name)

    def call(self, *arguments):
        with pathlib.Path(os.environ["COUNTING_LOG"]).open("a") as log:
            log.write(f"{os.getpid()} {name} {'tensorflow' in sys.modules}\\n")
        return original(self, *arguments)

    setattr(Sweep, name, call)


if os.environ["COUNTING_PARENT"] != str(os.getpid()):
    for name in ("__init__", "load", "measure"):
        logged(name)


def deadly(output, reference, label):
    os._exit(1)
'''


class Counting:
    """The module `counting` in a folder of its own, and its log."""

    def __init__(self, folder):
        (folder / "counting.py").write_text(COUNTING)
        self.folder, self._log = folder, folder / "log"
        self.environment = {"COUNTING_LOG": str(self._log), "COUNTING_PARENT": str(os.getpid())}

    def lines(self):
        """(process, what it did, whether it had loaded TensorFlow), in order."""
        text = self._log.read_text() if self._log.exists() else ""
        return [(int(pid), name, loaded == "True") for pid, name, loaded in map(str.split, text.splitlines())]

    def count(self, name):
        """How often each process did something."""
        found = {}
        for pid, done, _ in self.lines():
            found.setdefault(pid, 0)
            found[pid] += done == name
        return found


class Cluster:
    """A scheduler and workers, each a process; stopped on leaving the context."""

    def __init__(self, folder, *, workers=2, **environment):
        self._folder, self._count = folder, workers
        self._environment = {**os.environ, **environment}
        self._processes = []

    def __enter__(self):
        file = self._folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--port", "0", "--host", "127.0.0.1", "--scheduler-file", str(file))
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError):
                self.address = json.loads(file.read_text())["address"]
                break
            time.sleep(0.05)
        self.workers = [
            self._start("worker", self.address, "--nthreads", "1", "--no-nanny", "--local-directory", str(self._folder))
            for _ in range(self._count)
        ]
        if self._count:
            from distributed import Client

            with Client(self.address, set_as_default=False) as client:
                client.wait_for_workers(self._count, timeout=60)
        return self

    def __exit__(self, *error):
        for process in self._processes[::-1]:
            process.kill()
            process.wait()

    def _start(self, kind, *arguments):
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--no-dashboard", *arguments]
        with (self._folder / f"{kind}-{len(self._processes)}.log").open("w") as log:
            self._processes.append(subprocess.Popen(command, env=self._environment, stdout=log, stderr=log))
        return self._processes[-1]
