"""eipdns alone: what polling EC2 costs while nothing changes, and while addresses change.

Beside it, what it costs to read the same answers and to throw them away: this file as a program.
"""

import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bench import Bench
from material import ORIGIN, SEED, elastic_ip, host, private_ip
from servers import ADDRESS, BenchError, Kind, Server, Site, cpu_clock, started

SOURCES = 4
ADDRESSES = 5_000  # of all sources together
ORDERS = 8  # in which the items of an answer come, in turns
SECONDS = 20.0  # measured
SETTLES = 5.0  # after the start, and after a change of what is measured
# As EC2 writes it, with a stand-in for the id that each answer has.
HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<DescribeAddressesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">\n'
    "    <requestId>{id}</requestId>\n    <addressesSet>\n"
)
FLOOR = "/floor"  # the path that is asked for by who throws answers away
TAIL = b"    </addressesSet>\n</DescribeAddressesResponse>"


class Region:
    """What one source is answered."""

    def __init__(self, numbers: range) -> None:
        self.numbers = numbers
        self.draw = random.Random(SEED + numbers.start)
        self.items = {i: self._item(i, i) for i in numbers}
        self.shuffles = False
        self.calls = 0
        self.sets: list[bytes] = []
        self._render()

    def _item(self, i: int, holder: int) -> bytes:
        """Number `i`, held by the instance number `holder`."""
        fields = {
            "publicIp": elastic_ip(i),
            "allocationId": f"eipalloc-{i:017x}",
            "domain": "vpc",
            "instanceId": f"i-{holder:017x}",
            "associationId": f"eipassoc-{holder << 20 | i:017x}",
            "networkInterfaceId": f"eni-{holder:017x}",
            "networkInterfaceOwnerId": "123456789012",
            "privateIpAddress": private_ip(holder),
            "publicIpv4Pool": "amazon",
            "networkBorderGroup": "us-east-1",
        }
        tags = {"Name": host(i), "Role": f"role-{i % 50}"}
        lines = [f"<{key}>{value}</{key}>" for key, value in fields.items()]
        lines.append("<tagSet>")
        for key, value in tags.items():
            tag = ("<item>", f"    <key>{key}</key>", f"    <value>{value}</value>", "</item>")
            lines += [f"    {line}" for line in tag]
        lines.append("</tagSet>")
        inner = "".join(f"            {line}\n" for line in lines)
        return f"        <item>\n{inner}        </item>\n".encode()

    def _render(self) -> None:
        order = list(self.numbers)
        made = []
        for _ in range(ORDERS if self.shuffles else 1):
            made.append(b"".join(self.items[i] for i in order) + TAIL)
            self.draw.shuffle(order)
        self.sets = made

    def shuffle(self) -> None:
        """From now on the items of each answer come in another order."""
        self.shuffles = True
        self._render()

    def move(self) -> None:
        """One address goes to another instance."""
        i = self.draw.choice(self.numbers)
        self.items[i] = self._item(i, self.draw.randrange(1 << 16, 1 << 20))
        self._render()

    def answer(self, path: str) -> bytes:
        if path != FLOOR:
            self.calls += 1
        id = f"{self.draw.getrandbits(128):032x}"
        return HEAD.format(id=id).encode() + self.sets[self.calls % len(self.sets)]


@contextmanager
def serving(region: Region) -> Iterator[int]:
    """An EC2 that answers DescribeAddresses; gives its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            body = region.answer(self.path)
            self.send_response(200)
            self.send_header("content-type", "text/xml;charset=UTF-8")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((ADDRESS, 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def configured(kind: Kind, ports: list[int]) -> Kind:
    """eipdns with these sources, and a name for each address of the first one."""

    def configure(site: Site) -> list[str]:
        text = site.fill("eipdns.toml", "etc/server.toml").read_text()
        before, _, after = text.partition("[[source]]")
        sources = "".join(
            f'[[source]]\nname = "s{n}"\ntype = "ec2"\nregion = "us-east-1"\n'
            f'endpoint_url = "http://{ADDRESS}:{port}"\npoll = "1s"\n\n'
            for n, port in enumerate(ports)
        )
        site.write("etc/server.toml", before + sources + after[after.index("# The load") :])
        names = "".join(f'{host(i)} = "{elastic_ip(i)}"\n' for i in range(ADDRESSES))
        site.write(f"etc/{ORIGIN}.toml", f"ttl = 5\nnegative_ttl = 5\n[names]\n{names}")
        return ["serve", "--config", f"{site.directory}/etc"]

    return replace(kind, configure=configure)


def polls(bench: Bench, kind: Kind) -> dict[str, object]:
    """CPU of SOURCES sources that are polled each second, in percent of a core."""
    each = ADDRESSES // SOURCES
    regions = [Region(range(n * each, (n + 1) * each)) for n in range(SOURCES)]
    os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
    octets = sum(len(region.answer(FLOOR)) for region in regions)
    print(f"\n{ADDRESSES} addresses, {SOURCES} sources, {octets / 1e6:.1f} MB in all, each second")
    columns = ("% of a core", "calls", "ms of CPU a call", "% to read alone", "ratio")
    print(f"{'':40}{columns[0]:>12}{columns[1]:>8}{columns[2]:>18}{columns[3]:>17}{columns[4]:>7}")
    result: dict[str, object] = {}
    with ExitStack() as stack:
        ports = [stack.enter_context(serving(region)) for region in regions]
        site = bench.site(names=1)
        server = stack.enter_context(started(configured(kind, ports), site, bench.server_cores))
        floor = stack.enter_context(thrown_away(ports, bench.server_cores))
        both = (server, floor)
        result["nothing changes"] = measured("nothing changes", both, regions, moves=False)
        for region in regions:
            region.shuffle()
        title = "the same, items in another order"
        result[title] = measured(title, both, regions, moves=False)
        title = "the same, and one address moves a second"
        result[title] = measured(title, both, regions, moves=True)
    return result


@contextmanager
def thrown_away(ports: list[int], cores: set[int]) -> Iterator[int]:
    """A process that reads the same answers as often; gives its pid."""
    command = [sys.executable, "-B", __file__, *map(str, ports)]
    process = subprocess.Popen(command)
    os.sched_setaffinity(process.pid, cores)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def throw_away(ports: list[int]) -> None:
    """Asks each port each second and keeps nothing of the answer, until it is killed."""
    request = f"POST {FLOOR} HTTP/1.1\r\nhost: {ADDRESS}\r\ncontent-length: 0\r\n\r\n".encode()
    connections = [socket.create_connection((ADDRESS, port)) for port in ports]
    chunk = bytearray(64 << 10)
    while True:
        began = time.monotonic()
        for connection in connections:
            connection.sendall(request)
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(4096)
            fields, _, body = head.partition(b"\r\n\r\n")
            length = next(line for line in fields.split(b"\r\n") if b"content-length:" in line)
            left = int(length.partition(b":")[2]) - len(body)
            while left > 0:
                left -= connection.recv_into(chunk, min(left, len(chunk)))
        time.sleep(max(0.0, began + 1 - time.monotonic()))


def measured(
    title: str, both: tuple[Server, int], regions: list[Region], *, moves: bool
) -> dict[str, float]:
    """One line of the table; `moves`: an address moves each second."""
    time.sleep(SETTLES)
    calls, began = sum(region.calls for region in regions), time.monotonic()
    (server, floor), moved = both, 0
    cpu, alone = server.cpu_seconds(), cpu_clock(floor)
    while (passed := time.monotonic() - began) < SECONDS:
        if moves and moved < passed:
            regions[moved % len(regions)].move()
            moved += 1
        time.sleep(0.05)
    cpu, alone = server.cpu_seconds() - cpu, cpu_clock(floor) - alone
    calls = sum(region.calls for region in regions) - calls
    if calls == 0:
        raise BenchError("eipdns has not called: see its log")
    row = {
        "percent": 100 * cpu / passed,
        "calls": calls,
        "ms_a_call": 1000 * cpu / calls,
        "percent_to_read_alone": 100 * alone / passed,
        "ratio": cpu / alone,
    }
    numbers = f"{row['percent']:12.2f}{calls:8}{row['ms_a_call']:18.2f}"
    print(f"{title:40}{numbers}{row['percent_to_read_alone']:17.2f}{row['ratio']:7.2f}")
    return row


if __name__ == "__main__":
    throw_away([int(port) for port in sys.argv[1:]])
