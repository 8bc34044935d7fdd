"""The servers under test: how each is configured and run, and what it costs the machine."""

import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from string import Template

from material import TAG, ORIGIN, TTL, Addresses, elastic_ip, host, master_file, private_ip

ADDRESS = "127.0.0.1"
TEMPLATES = Path(__file__).resolve().parent / "peers"
START_SECONDS = 120.0  # some take seconds for 100,000 names
STOP_SECONDS = 10.0
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


class BenchError(Exception):
    """Something that makes the numbers impossible or worthless."""


@dataclass(frozen=True)
class Site:
    """Where one start of one server lives, and what it serves."""

    directory: Path
    port: int
    workers: int
    names: int
    # How eipdns gets its names; the others always read a master file.
    bound: bool = False  # bound to Elastic IPs; else fixed addresses
    tags: bool = False  # from tags of Elastic IPs
    records: bool = False  # from the same master file
    pools: int = 0  # bound names with two addresses, besides
    more_views: bool = False  # three instead of one
    pointers: str = ""  # PTR records: "beside" what the upstream says, or in a "zone" of ours
    upstream: int = 0  # the port of a resolver that knows the zone: serve from its answers

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def fill(self, template: str, name: str) -> Path:
        """Writes peers/`template` as `name`, its variables replaced."""
        values = {
            "address": ADDRESS,
            "directory": self.directory,
            "origin": ORIGIN,
            "port": self.port,
            "upstream": self.upstream,
            "reuseport": "yes" if self.workers > 1 else "no",
            "workers": self.workers,
            "zone": self.directory / "zone",
        }
        return self.write(name, Template((TEMPLATES / template).read_text()).substitute(values))


# Each writes a configuration and returns the arguments to start with.


def echo(extra: int) -> Callable[[Site], list[str]]:
    return lambda site: [ADDRESS, str(site.port), str(extra), str(site.workers)]


def gdnsd(site: Site) -> list[str]:
    site.fill("gdnsd.config", "etc/config")
    site.write(f"etc/zones/{ORIGIN}", master_file(site.names))
    return ["-c", f"{site.directory}/etc", "start"]


def knot(site: Site) -> list[str]:
    site.write("zone", master_file(site.names))
    return ["-c", str(site.fill("knot.conf", "knot.conf"))]


def nsd(site: Site) -> list[str]:
    site.write("zone", master_file(site.names))
    return ["-d", "-c", str(site.fill("nsd.conf", "nsd.conf"))]


def bind(site: Site) -> list[str]:
    site.write("zone", master_file(site.names))
    config = site.fill("named.conf", "named.conf")
    return ["-g", "-n", str(site.workers), "-c", str(config)]


def pdns(site: Site) -> list[str]:
    zone = site.write("zone", master_file(site.names))
    site.write("named.conf", f'zone "{ORIGIN}" {{ type native; file "{zone}"; }};\n')
    site.fill("pdns.conf", "pdns.conf")
    return [f"--config-dir={site.directory}"]


def hickory(site: Site) -> list[str]:
    site.write("zone", master_file(site.names))
    config = site.fill("hickory.toml", "hickory.toml")
    return ["-q", "--workers", str(site.workers), "-c", str(config), "-z", str(site.directory)]


def upstream(site: Site) -> list[str]:
    """unbound with the zone as data of its own: a resolver, as upstreams are."""
    names = (f'local-data: "{host(i)}.{ORIGIN}. {TTL} IN A {private_ip(i)}"' for i in range(site.names))
    site.write("names", "\n".join(names) + "\n")
    return ["-d", "-c", str(site.fill("upstream.conf", "unbound.conf"))]


def unbound(site: Site) -> list[str]:
    return ["-d", "-c", str(site.fill("unbound.conf", "unbound.conf"))]


def dnsmasq(site: Site) -> list[str]:
    return [
        "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=",
        f"--port={site.port}", f"--listen-address={ADDRESS}", "--bind-interfaces", "--pid-file",
        f"--server={ADDRESS}#{site.upstream}", "--cache-size=10000", "--log-facility=-",
    ]


def eipdns_cached(site: Site) -> list[str]:
    site.fill("eipdns-cached.toml", "etc/server.toml")
    site.write("etc/own.test.toml", '[names]\ndb = "192.0.2.1"\n')
    Addresses(1).write(site.directory / "etc/addresses.json")
    return ["serve", "--config", f"{site.directory}/etc"]


def eipdns(site: Site) -> list[str]:
    config = site.fill("eipdns.toml", "etc/server.toml")
    if site.more_views:
        with config.open("a") as more:
            more.write((TEMPLATES / "eipdns-more-views.toml").read_text())
    if site.pointers:
        with config.open("a") as more:
            more.write('[[reverse]]\nnetworks = ["10.0.0.0/8"]\n')
    if site.pointers == "zone":
        site.write("etc/10.in-addr.arpa.toml", f"ttl = {TTL}\n")
    zone = f"ttl = {TTL}\nnegative_ttl = {TTL}\n"
    if site.records:
        site.write("etc/bench.zone", master_file(site.names))
        zone += 'records = "bench.zone"\n'
    if site.tags:
        zone += f'[discover]\ntag = "{TAG}"\n'
    names = 0 if site.records or site.tags else site.names
    if names + site.pools > 0:
        zone += "[names]\n"
    for i in range(names):
        target = f'"{elastic_ip(i)}"' if site.bound else f'{{ address = "{private_ip(i)}" }}'
        zone += f"{host(i)} = {target}\n"
    for i in range(site.pools):
        zone += f'pool{i} = {{ tag = {{ pool = "{i}" }} }}\n'
    site.write(f"etc/{ORIGIN}.toml", zone)
    addresses = Addresses(site.names if site.bound or site.tags else 0, site.pools, site.tags)
    addresses.write(site.directory / "etc/addresses.json")
    return ["serve", "--config", f"{site.directory}/etc"]


@dataclass(frozen=True)
class Kind:
    """A server program: its name on PATH, how to configure it, how to ask its version."""

    program: str
    configure: Callable[[Site], list[str]]
    version_flag: str | None
    answers: bool = True  # with DNS; the floor does not


PEERS = {
    "gdnsd": Kind("gdnsd", gdnsd, "-h"),
    "knot": Kind("knotd", knot, "--version"),
    "nsd": Kind("nsd", nsd, "-v"),
    "bind": Kind("named", bind, "-v"),
    "pdns": Kind("pdns_server", pdns, "--version"),
}

UPSTREAM = Kind("unbound", upstream, "-V")

# Those that answer from a cache of what an upstream said.
CACHING_PEERS = {
    "unbound": Kind("unbound", unbound, "-V"),
    "dnsmasq": Kind("dnsmasq", dnsmasq, "--version"),
}


def find(program: str) -> str | None:
    """The program's path; daemons live where an ordinary user's PATH does not look."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{SBIN}")


def version_of(program: str, flag: str) -> str:
    asked = subprocess.run(
        [program, flag], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=10
    )
    pattern = r"\d+\.\d+[\w.]*"
    found = re.search(f"[Vv]ersion:? ({pattern})", asked.stdout)
    found = found or re.search(f"({pattern})", asked.stdout)
    return found[1] if found else "unknown"


def cpu_clock(pid: int) -> float:
    """CPU seconds of a process: the sum in /proc/PID/stat, which counts in ticks of 10 ms.

    To the nanosecond by the process's CPU clock (clock_getcpuclockid(3)).
    """
    return time.clock_gettime(~pid << 3 | 2)


class Server:
    """A running server: its process and all that it forked."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self.log = log
        self.began = time.monotonic()
        self.ready_ms = 0.0  # from its start to its first answer

    def pids(self) -> list[int]:
        """Every process of the session that the server was started in."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended meanwhile
            if int(fields[3]) == self.process.pid and fields[0] != "Z":
                found.append(int(stat.parent.name))
        return found

    def pin(self, cores: set[int]) -> None:
        """Again, when it runs: Knot pins its workers itself, and one to the load's core."""
        for pid in self.pids():
            for task in Path(f"/proc/{pid}/task").iterdir():
                with suppress(ProcessLookupError):
                    os.sched_setaffinity(int(task.name), cores)

    def cpu_seconds(self) -> float:
        """utime + stime of all threads, ended ones too, to the nanosecond."""
        return sum(cpu_clock(pid) for pid in self.pids())

    def resident_bytes(self) -> int:
        status = "".join(Path(f"/proc/{pid}/status").read_text() for pid in self.pids())
        return 1024 * sum(int(kib) for kib in re.findall(r"^VmRSS:\s+(\d+) kB", status, re.M))

    def wait_ready(self, port: int, name: str) -> None:
        """Returns once the server answers for `name` without an error."""
        header = struct.pack("!6H", 1, 0x0100, 1, 0, 0, 0)  # RD, as stubs ask
        labels = b"".join(bytes([len(x)]) + x.encode() for x in name.split("."))
        deadline = self.began + START_SECONDS
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect((ADDRESS, port))
            client.settimeout(0.25)
            while time.monotonic() < deadline and self.process.poll() is None:
                try:
                    client.send(header + labels + b"\0\0\1\0\1")
                    if client.recv(4096)[3] & 15 == 0:
                        self.ready_ms = 1000 * (time.monotonic() - self.began)
                        return
                except (ConnectionRefusedError, TimeoutError):
                    pass
                time.sleep(0.002)  # there is no event to wait for that all servers have
        state = "does not answer" if self.process.poll() is None else "ended"
        said = self.log.read_text(errors="replace")[-2000:]
        raise BenchError(f"{self.process.args!r}: {state}. It said:\n{said}")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def free_port() -> int:
    """Free for both UDP and TCP, below the range that clients get theirs from."""
    for port in random.sample(range(20000, 32000), 100):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            try:
                udp.bind((ADDRESS, port))
                tcp.bind((ADDRESS, port))
                return port
            except OSError:
                continue
    raise BenchError("no free port between 20000 and 32000")


@contextmanager
def started(kind: Kind, site: Site, cores: set[int], *, log: str | None = None) -> Iterator[Server]:
    """Configures the server, runs it on `cores`, and ends it however the block ends.

    `log`: what eipdns logs, as JSON; else only warnings.
    """
    for directory in ("run", "state"):
        (site.directory / directory).mkdir(parents=True, exist_ok=True)
    arguments = kind.configure(site) + ["--log-json"] * (log is not None)
    said = site.directory / "log"
    with said.open("w") as output:
        process = subprocess.Popen(
            ["taskset", "-c", ",".join(map(str, cores)), kind.program, *arguments],
            cwd=site.directory,
            env={**os.environ, "EIPDNS_LOG": log or "warn"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            text=True,
        )
    server = Server(process, said)
    try:
        server.wait_ready(site.port, f"{host(0)}.{ORIGIN}")
        server.pin(cores)
        yield server
    finally:
        server.stop()
        shutil.rmtree(site.directory)  # tens of megabytes with many names
