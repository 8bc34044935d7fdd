"""eipdns alone: what moves cost the queries under way, and how long large configurations take."""

import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median

from bench import Bench
from material import SEED, Addresses, host
from servers import BenchError, Kind, Server, started

POOLS = 100  # names with two addresses
INTERVAL = 0.1  # seconds between moves
MOVES = 20  # timed one by one
LOG_SECONDS = 10.0  # until the server has logged what it did
TIMED = "info,eipdns::writer=debug"  # with the time each snapshot took
BOUND_NAMES = 10_000
STATIC_NAMES = 100_000
VIEWS = 3


class Mover:
    """Exchanges the addresses of two random hosts, or two random pools, with each move."""

    def __init__(self, directory: Path, addresses: Addresses) -> None:
        self.path = directory / "etc/addresses.json"
        self.addresses = addresses
        self.draw = random.Random(SEED)
        self.moves = 0

    def move(self) -> None:
        a = self.addresses
        hosts, pools = range(a.singles), range(a.singles, a.singles + a.pools)
        a.exchange(*self.draw.sample(pools if a.pools and self.moves % 2 else hosts, 2))
        a.write(self.path)
        self.moves += 1

    @contextmanager
    def moving(self, core: int) -> Iterator[None]:
        """Moves every INTERVAL while the block runs, from a core that the server does not use."""
        done = threading.Event()

        def loop() -> None:
            os.sched_setaffinity(0, {core})  # of this thread alone
            due = time.monotonic()
            while not done.wait(max(0.0, due - time.monotonic())):
                self.move()
                due += INTERVAL

        thread = threading.Thread(target=loop)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def logged(server: Server, *messages: str) -> list[dict[str, object]]:
    """The fields of the server's log lines that say one of `messages`."""
    found = []
    for line in server.log.read_text().splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue  # half written
        fields = entry.get("fields", entry)
        if fields.get("message") in messages:
            found.append(fields)
    return found


def swaps_logged(server: Server) -> int:
    """How many snapshots with a move the server says it published."""
    return len({fields.get("generation") for fields in logged(server, "moved", "names moved")})


def swaps(bench: Bench, kind: Kind) -> dict[str, object]:
    """Every query accounted for, with and without moves, in turns."""
    o = bench.options
    # Half of the questions go to names with two addresses: those can be mixed.
    pools = [f"pool{i % POOLS}" for i in range(o.names)]
    bench.write_questions([host(i) for i in range(o.names)] + pools, nx_percent=0)
    site = bench.site(bound=True, records=False, pools=POOLS)
    result: dict[str, object] = {}
    print(
        f"\n{'':20}{'moves':>7}{'swaps':>7}{'sent':>10}{'lost':>7}{'mixed':>7}{'empty':>7}"
        f"{'p50 us':>9}{'p99 us':>9}{'p99.9 us':>10}"
    )
    with started(kind, site, bench.server_cores, log="info") as server:
        mover = Mover(site.directory, Addresses(o.names, POOLS))
        bench.load(site.port, o.queries // 10 + 1, 0)
        for mode, count, rate in (
            ("full load", o.queries, 0),
            (f"{o.rate} q/s", o.paced_queries, o.rate),
        ):
            made, published = mover.moves, swaps_logged(server)
            still, moving = [], []
            with bench.awake() if rate else nullcontext():
                for _ in range(o.rounds):
                    still.append(bench.load(site.port, count, rate))
                    with mover.moving(int(bench.load_core)):
                        moving.append(bench.load(site.port, count, rate))
            made, published = mover.moves - made, swaps_logged(server) - published
            if published == 0:
                raise BenchError(f"{made} moves, but none in the server's log")
            result[f"{mode}, still"] = report(f"{mode}, still", still, 0, 0)
            result[f"{mode}, moving"] = report(f"{mode}, moving", moving, made, published)
            ratio = median(m["p999_us"] / s["p999_us"] for m, s in zip(moving, still))
            print(f"{'':20}p99.9 moving / still, median of rounds: {ratio:.2f}")
            result[f"{mode}, p99.9 ratio"] = ratio
    return result


def report(
    title: str, runs: list[dict[str, float]], moves: int, published: int
) -> dict[str, object]:
    total = {key: int(sum(r[key] for r in runs)) for key in ("sent", "lost", "mixed", "empty")}
    mid = {key: median(r[key] for r in runs) for key in ("p50_us", "p99_us", "p999_us")}
    print(
        f"{title:20}{moves:7}{published:7}{total['sent']:10}{total['lost']:7}{total['mixed']:7}"
        f"{total['empty']:7}{mid['p50_us']:9.1f}{mid['p99_us']:9.1f}{mid['p999_us']:10.1f}"
    )
    return {"moves": moves, "swaps": published, **total, **mid, "runs": runs}


def build_times(bench: Bench, kind: Kind) -> dict[str, object]:
    """First answer, whole build, swaps and memory of large configurations."""
    result: dict[str, object] = {}
    empty = 0  # what the program itself takes
    print(
        f"\n{VIEWS} views{'':17}{'first answer ms':>17}{'build ms':>10}{'move ms':>9}{'max':>7}"
        f"{'RSS MiB':>9}{'octets/name/view':>18}"
    )
    kinds = (
        (1, "static", ""),
        (BOUND_NAMES, "bound", ""),
        (BOUND_NAMES, "bound", "beside"),
        (BOUND_NAMES, "bound", "zone"),
        (BOUND_NAMES, "tagged", ""),
        (STATIC_NAMES, "static", ""),
    )
    for names, how, pointers in kinds:
        bound, tags = how == "bound", how == "tagged"
        records = bench.options.records and how == "static"
        made = {"bound": bound, "tags": tags, "records": records, "pointers": pointers}
        site = bench.site(names=names, more_views=True, **made)
        with started(kind, site, bench.server_cores, log=TIMED) as server:
            resident = server.resident_bytes()
            empty = empty or resident
            until(lambda: bool(logged(server, "serving")), "its start")
            # As the server timed them: at its start and when its source had delivered.
            lines = logged(server, "serving") + logged(server, "published")
            builds = [milliseconds(line) for line in lines if "took_us" in line]
            addresses = Addresses(names, tagged=tags)
            moves = timed_moves(site.directory, addresses, server) if bound or tags else []
            turns = timed_tags(site.directory, addresses, server) if tags else {}
        row: dict[str, float | None] = {
            "first_answer_ms": server.ready_ms,
            "build_ms": max(builds, default=None),
            "move_ms": median(moves) if moves else None,
            "move_max_ms": max(moves, default=None),
            "resident_mib": resident / 2**20,
            "octets_per_name_and_view": (resident - empty) / names / VIEWS,
        }
        title = f"{names} {how} names" + {"": "", "beside": ", PTR", "zone": ", zone"}[pointers]
        cells = ["-" if value is None else f"{value:.1f}" for value in row.values()]
        print("{:24}{:>17}{:>10}{:>9}{:>7}{:>9}{:>18}".format(title, *cells))
        for what, took in turns.items():
            row[f"{what}_ms"], row[f"{what}_max_ms"] = median(took), max(took)
            print(f"{'  a ' + what:24}{median(took):36.1f}{max(took):7.1f}")
        result[title] = row
    return result


def milliseconds(line: dict[str, object]) -> float:
    return float(str(line["took_us"])) / 1000


def timed_tags(directory: Path, addresses: Addresses, server: Server) -> dict[str, list[float]]:
    """Likewise, names that go and come with their tags, and go to another address."""
    path, draw = directory / "etc/addresses.json", random.Random(SEED)
    took: dict[str, list[float]] = {"name less": [], "name more": [], "name moved": []}

    def change(what: str, message: str, tags: dict[int, str]) -> None:
        before = len(logged(server, message))
        for i, name in tags.items():
            addresses.tag(i, name)
        addresses.write(path)
        until(lambda: len(logged(server, message)) > before, message)
        took[what].append(milliseconds(logged(server, message)[-1]))

    for _ in range(MOVES):
        one, other = draw.sample(range(addresses.singles), 2)
        change("name less", "no address", {one: ""})
        change("name more", "a tag gives a name", {one: host(one)})
        change("name moved", "moved", {one: "", other: f"{host(one)} {host(other)}"})
        change("name moved", "moved", {one: host(one), other: host(other)})
    return took


def timed_moves(directory: Path, addresses: Addresses, server: Server) -> list[float]:
    """What the server says each of MOVES swaps took, in milliseconds."""
    mover = Mover(directory, addresses)
    took = []
    for _ in range(MOVES):

        def published(before: int = swaps_logged(server)) -> bool:
            return swaps_logged(server) > before

        mover.move()
        until(published, "a move")
        took.append(milliseconds(logged(server, "moved", "names moved")[-1]))
    return took


def until(happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LOG_SECONDS
    while not happened():
        if time.monotonic() > deadline:
            raise BenchError(f"eipdns did not log {what} within {LOG_SECONDS:.0f} s")
        time.sleep(0.005)
