"""eipdns alone: what polling EC2 costs while nothing changes, and while addresses change."""

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bench import Bench
from material import ORIGIN, SEED, elastic_ip, host, private_ip
from servers import ADDRESS, BenchError, Kind, Server, Site, started

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

    def answer(self) -> bytes:
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
            body = region.answer()
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
    octets = sum(len(region.answer()) for region in regions)
    print(f"\n{ADDRESSES} addresses, {SOURCES} sources, {octets / 1e6:.1f} MB in all, each second")
    print(f"{'':40}{'% of a core':>12}{'calls':>8}{'ms of CPU a call':>18}")
    result: dict[str, object] = {}
    with ExitStack() as stack:
        ports = [stack.enter_context(serving(region)) for region in regions]
        site = bench.site(names=1)
        server = stack.enter_context(started(configured(kind, ports), site, bench.server_cores))
        result["nothing changes"] = measured("nothing changes", server, regions, moves=False)
        for region in regions:
            region.shuffle()
        title = "the same, items in another order"
        result[title] = measured(title, server, regions, moves=False)
        title = "the same, and one address moves a second"
        result[title] = measured(title, server, regions, moves=True)
    return result


def measured(title: str, server: Server, regions: list[Region], *, moves: bool) -> dict[str, float]:
    """One line of the table; `moves`: an address moves each second."""
    time.sleep(SETTLES)
    calls, began = sum(region.calls for region in regions), time.monotonic()
    cpu, moved = server.cpu_seconds(), 0
    while (passed := time.monotonic() - began) < SECONDS:
        if moves and moved < passed:
            regions[moved % len(regions)].move()
            moved += 1
        time.sleep(0.05)
    cpu = server.cpu_seconds() - cpu
    calls = sum(region.calls for region in regions) - calls
    if calls == 0:
        raise BenchError("eipdns has not called: see its log")
    row = {"percent": 100 * cpu / passed, "calls": calls, "ms_a_call": 1000 * cpu / calls}
    print(f"{title:40}{row['percent']:12.2f}{calls:8}{row['ms_a_call']:18.2f}")
    return row
