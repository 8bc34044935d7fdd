"""All servers in turns: CPU per answer, throughput, latency, and the ratios between them."""

import sys
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, replace
from statistics import median

from bench import PARTS, Bench
from material import host
from servers import UPSTREAM, BenchError, Kind, Server, find, started

WARM_UP = 20_000  # queries to each server before a round's turns: caches, page faults, branch predictors
HELD = 0.95  # of the rate, or the latencies say nothing


@dataclass
class Sample:
    """One server's share of one round."""

    cpu_us: float
    qps: float
    p50_us: float
    p99_us: float
    p99_quiet_us: float
    p999_us: float
    paced_qps: float
    lost: float


# A line of the result; None: there was no such server to compare with.
Row = dict[str, float | None]


class Turns:
    """What one server did in its turns of a round."""

    def __init__(self, port: int, server: Server) -> None:
        self.port = port
        self.server = server
        self.cpu = 0.0
        self.full: list[dict[str, float]] = []
        self.paced: list[dict[str, float]] = []

    def at_full_load(self, bench: Bench, part: int) -> None:
        before = self.server.cpu_seconds()
        self.full.append(bench.dnsperf(self.port, part))
        self.cpu += self.server.cpu_seconds() - before

    def at_rate(self, bench: Bench, part: int) -> None:
        o = bench.options
        self.paced.append(bench.load(self.port, o.paced_queries // PARTS + 1, o.rate, part))

    def sample(self) -> Sample:
        def typical(key: str) -> float:
            return median(p[key] for p in self.paced)

        return Sample(
            cpu_us=1e6 * self.cpu / sum(f["completed"] for f in self.full),
            qps=median(f["qps"] for f in self.full),
            p50_us=typical("p50_us"),
            p99_us=typical("p99_us"),
            p99_quiet_us=typical("p99_quiet_us"),
            p999_us=typical("p999_us"),
            paced_qps=typical("qps"),
            lost=sum(f["lost"] for f in self.full + self.paced),
        )


def one_round(bench: Bench, kinds: dict[str, Kind], upstream: int, shift: int) -> dict[str, Sample]:
    """Starts all servers afresh. Turns are short, so that what disturbs the machine disturbs all."""
    o = bench.options
    order = list(kinds)
    with ExitStack() as stack:
        turns = {}
        for name in order:
            site = bench.site(upstream=upstream)
            server = stack.enter_context(started(kinds[name], site, bench.server_cores))
            turns[name] = Turns(site.port, server)
            bench.load(site.port, WARM_UP, 0)
        # At a rate neither core sleeps, and hosts make guests pay for that later.
        for turn, state in ((Turns.at_full_load, nullcontext), (Turns.at_rate, bench.awake)):
            with state():
                for part in range(PARTS):
                    first = (shift + part) % len(order)  # nobody is always first
                    for name in order[first:] + order[:first]:
                        turn(turns[name], bench, part)
    for name, kind in kinds.items():
        full = turns[name].full
        absent, lost = sum(f["nxdomain"] for f in full), sum(f["lost"] for f in full)
        if kind.answers and abs(absent - o.queries * o.nx // 100) > lost:
            raise BenchError(f"{kind.program}: {o.nx} % of {o.queries} should be NXDOMAIN: {absent}")
    return {name: turn.sample() for name, turn in turns.items()}


def compare(bench: Bench, kinds: dict[str, Kind]) -> dict[str, object]:
    """Rounds in which every server has its turn; prints and returns medians and ratios."""
    if not bench.options.cached:
        return rounds_of(bench, kinds, 0)
    site = bench.site()
    program = find(UPSTREAM.program)
    if program is None:
        raise BenchError(f"{UPSTREAM.program} is not there: --install brings it")
    # It is asked during the warm-up only, and then sleeps.
    with started(replace(UPSTREAM, program=program), site, {int(bench.load_core)}):
        return rounds_of(bench, kinds, site.port)


def rounds_of(bench: Bench, kinds: dict[str, Kind], upstream: int) -> dict[str, object]:
    o = bench.options
    bench.write_questions([host(i) for i in range(o.names)], o.nx)
    order = list(kinds)
    rounds: list[dict[str, Sample]] = []
    for number in range(o.rounds):
        rounds.append(one_round(bench, kinds, upstream, number))
        costs = ", ".join(f"{name} {s.cpu_us:.2f}" for name, s in rounds[-1].items())
        print(f"round {number + 1}: {costs} us", file=sys.stderr)
    summary = {name: summarise(name, rounds) for name in order}
    show(summary, o.rounds)
    if min(s.paced_qps for r in rounds for s in r.values()) < HELD * o.rate:
        print(f"The load fell behind {o.rate} q/s: latencies here compare nothing.")
    return {"summary": summary, "rounds": [{n: asdict(s) for n, s in r.items()} for r in rounds]}


def summarise(name: str, rounds: list[dict[str, Sample]]) -> Row:
    mine = [r[name] for r in rounds]

    def with_other(other: str, relate: Callable[[Sample, Sample], float]) -> float | None:
        """Of each round, not of the medians: a round's noise is in both."""
        if other not in rounds[0]:
            return None
        return median(relate(r[name], r[other]) for r in rounds)

    return {
        **{key: median(getattr(s, key) for s in mine) for key in COLUMNS if hasattr(mine[0], key)},
        "cpu_us_min": min(s.cpu_us for s in mine),
        "cpu_us_max": max(s.cpu_us for s in mine),
        "lost": sum(s.lost for s in mine),
        "cpu_to_floor": with_other("floor", lambda s, floor: s.cpu_us / floor.cpu_us),
        "quiet_over_floor_us": with_other("floor", lambda s, f: s.p99_quiet_us - f.p99_quiet_us),
        "p99_over_floor_us": with_other("floor", lambda s, f: s.p99_us - f.p99_us),
        "eipdns_cpu_to_it": with_other("eipdns", lambda s, eipdns: eipdns.cpu_us / s.cpu_us),
    }


# Key, heading, decimals.
COLUMNS = {
    "cpu_us": ("CPU us", 2),
    "cpu_us_min": ("min", 2),
    "cpu_us_max": ("max", 2),
    "cpu_to_floor": ("/ floor", 2),
    "eipdns_cpu_to_it": ("eipdns / it", 2),
    "qps": ("q/s", 0),
    "p50_us": ("p50 us", 1),
    "p99_quiet_us": ("p99 quiet", 1),
    "quiet_over_floor_us": ("- floor", 1),
    "p99_us": ("p99 us", 1),
    "p99_over_floor_us": ("- floor", 1),
    "p999_us": ("p99.9 us", 1),
    "lost": ("lost", 0),
}


def width(heading: str) -> int:
    return max(len(heading) + 2, 9)


def show(summary: dict[str, Row], rounds: int) -> None:
    print(f"\nMedians of {rounds} rounds; ratios and differences: medians of those of each round.")
    print(f"{'':8}" + "".join(f"{heading:>{width(heading)}}" for heading, _ in COLUMNS.values()))
    for name, row in summary.items():
        cells = ""
        for key, (heading, decimals) in COLUMNS.items():
            value = row[key]
            cell = "-" if value is None else f"{value:.{decimals}f}"
            cells += f"{cell:>{width(heading)}}"
        print(f"{name:8}{cells}")
