"""All servers in turns: CPU per answer, throughput, latency, and the ratios between them."""

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from statistics import median

from bench import Bench
from material import host
from servers import UPSTREAM, BenchError, Kind, find, started

WARM_UP = 20_000  # queries before each measurement: caches, page faults, branch predictors
HELD = 0.95  # of the rate, or the latencies say nothing


@dataclass
class Sample:
    """One server's turn in one round."""

    cpu_us: float
    qps: float
    p50_us: float
    p99_us: float
    p999_us: float
    paced_qps: float
    lost: float


# A line of the result; None: there was no such server to compare with.
Row = dict[str, float | None]


def turn(bench: Bench, kind: Kind, upstream: int) -> Sample:
    """Starts the server afresh, so that nothing else runs on its core."""
    o = bench.options
    site = bench.site(upstream=upstream)
    with started(kind, site, bench.server_cores) as server:
        bench.load(site.port, WARM_UP, 0)
        before = server.cpu_seconds()
        full = bench.dnsperf(site.port)
        cpu = server.cpu_seconds() - before
        paced = bench.load(site.port, o.paced_queries, o.rate)
    if kind.answers and abs(full["nxdomain"] - o.queries * o.nx // 100) > full["lost"]:
        raise BenchError(f"{kind.program}: {o.nx} % of {o.queries} should be NXDOMAIN: {full}")
    return Sample(
        cpu_us=1e6 * cpu / full["completed"],
        qps=full["qps"],
        p50_us=paced["p50_us"],
        p99_us=paced["p99_us"],
        p999_us=paced["p999_us"],
        paced_qps=paced["qps"],
        lost=full["lost"] + paced["lost"],
    )


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
        shift = number % len(order)  # nobody is always first
        taken = {}
        for name in order[shift:] + order[:shift]:
            taken[name] = turn(bench, kinds[name], upstream)
            print(f"round {number + 1}: {name} {taken[name].cpu_us:.2f} us", file=sys.stderr)
        rounds.append(taken)
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
        "p99_over_floor_us": with_other("floor", lambda s, floor: s.p99_us - floor.p99_us),
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
    "p99_us": ("p99 us", 1),
    "p999_us": ("p99.9 us", 1),
    "p99_over_floor_us": ("p99 - floor", 1),
    "lost": ("lost", 0),
}


def show(summary: dict[str, Row], rounds: int) -> None:
    print(f"\nMedians of {rounds} rounds; ratios and differences: medians of those of each round.")
    print(f"{'':8}" + "".join(f"{heading:>{len(heading) + 3}}" for heading, _ in COLUMNS.values()))
    for name, row in summary.items():
        cells = ""
        for key, (heading, decimals) in COLUMNS.items():
            value = row[key]
            cell = "-" if value is None else f"{value:.{decimals}f}"
            cells += f"{cell:>{len(heading) + 3}}"
        print(f"{name:8}{cells}")
