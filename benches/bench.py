"""The tools that all modes share: built, pinned to their core, their output read."""

import argparse
import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import material
import servers
from servers import BenchError, Kind, Site

HERE = Path(__file__).resolve().parent
LOAD_SECONDS = 120
PARTS = 10  # of the questions: each server's turns in a round
OUTSTANDING = 100  # as WINDOW in load.c


class Bench:
    """One run: its options, its temporary directory, its tools."""

    def __init__(self, options: argparse.Namespace, directory: Path) -> None:
        self.options = options
        self.directory = directory
        cores = sorted(os.sched_getaffinity(0))
        # The first core is the load's. With too few, the server shares it.
        workers = options.workers
        chosen = cores[1 : 1 + workers] if len(cores) > workers else cores[-workers:]
        self.server_cores: set[int] = options.server_cores or set(chosen)
        self.load_core = str(cores[0])
        self.questions = [directory / f"questions{part}" for part in range(PARTS)]
        self.sites = 0
        for tool in ("awake", "echo", "load"):
            source, made = str(HERE / f"{tool}.c"), str(directory / tool)
            build = ["cc", "-std=gnu11", "-O2", "-pthread", "-o", made, source]
            subprocess.run(build, check=True)
        extra = material.reply_extra(options.nx)
        self.floor = Kind(str(directory / "echo"), servers.echo(extra), None, answers=False)

    def write_questions(self, names: list[str], nx_percent: int) -> None:
        all = material.questions(names, self.options.queries, nx_percent).splitlines(keepends=True)
        for part, path in enumerate(self.questions):
            path.write_text("".join(all[len(all) * part // PARTS : len(all) * (part + 1) // PARTS]))

    def site(self, **differs: Any) -> Site:
        """A new directory and port, and what the options say to serve."""
        self.sites += 1
        o = self.options
        site = Site(self.directory / f"site{self.sites}", servers.free_port(), o.workers, o.names)
        return replace(site, **{"bound": o.bound, "records": o.records, **differs})

    def load(self, port: int, count: int, rate: int, part: int = 0) -> dict[str, float]:
        """load.c: counts and latencies; `rate` 0 is full load."""
        command = [self.directory / "load", servers.ADDRESS, port, self.questions[part], count, rate]
        said = self._pinned(*command, int(self.options.edns))
        result: dict[str, float] = json.loads(said)
        if result["answered"] == 0 or result["other"] > 0:
            raise BenchError(f"the server answers with errors or not at all: {said}")
        return result

    def dnsperf(self, port: int, part: int) -> dict[str, float]:
        """A part of the questions once at full load: completed, lost, nxdomain, qps."""
        sockets = 4 * self.options.workers  # the kernel shares them out by hash
        command = ["dnsperf", "-s", servers.ADDRESS, "-p", port, "-d", self.questions[part], "-n", 1]
        command += ["-l", LOAD_SECONDS, "-t", 2, "-c", sockets, "-q", OUTSTANDING]
        said = self._pinned(*command, *["-e"] * self.options.edns)
        patterns = {
            "completed": r"Queries completed:\s+(\d+)",
            "lost": r"Queries lost:\s+(\d+)",
            "nxdomain": r"NXDOMAIN (\d+)",
            "qps": r"Queries per second:\s+([\d.]+)",
        }
        found = {key: re.search(pattern, said) for key, pattern in patterns.items()}
        result = {key: float(match[1]) if match else 0.0 for key, match in found.items()}
        if result["completed"] == 0:
            raise BenchError(f"dnsperf got no answer:\n{said}")
        return result

    @contextmanager
    def awake(self) -> Iterator[None]:
        """The server's cores do not go idle while the block runs: latencies are the server's, not the host's."""
        spinning: list[subprocess.Popen[bytes]] = []
        try:
            for core in self.server_cores:
                command = ["taskset", "-c", str(core), self.directory / "awake"]
                spinning.append(subprocess.Popen(command, stdout=subprocess.PIPE))
            for process in spinning:
                if process.stdout is None or process.stdout.read(1) != b"\n":
                    raise BenchError("awake: see what it says above")
            yield
        finally:
            for process in spinning:
                process.kill()
                process.communicate()

    def _pinned(self, *command: object) -> str:
        done = subprocess.run(
            ["taskset", "-c", self.load_core, *map(str, command)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * LOAD_SECONDS,
        )
        if done.returncode != 0:
            raise BenchError(f"{command[0]} failed: {done.stderr}{done.stdout}")
        return done.stdout
