"""What is served and asked: one zone, in every server's own format, and the query file."""

import json
import random
from pathlib import Path

ORIGIN = "bench.test"
TTL = 300
# Fixed, so that every run and every server gets the same questions.
SEED = 6

# What a reply adds to its query: a compressed A record; the zone's SOA.
A_OCTETS = 16
SOA_OCTETS = 51


def host(i: int) -> str:
    return f"h{i}"


def private_ip(i: int) -> str:
    return f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}"


def elastic_ip(i: int) -> str:
    return f"52.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}"


def master_file(names: int) -> str:
    """The zone in RFC 1035 form."""
    head = (
        f"$ORIGIN {ORIGIN}.\n$TTL {TTL}\n"
        f"@ IN SOA ns1 hostmaster 1 3600 600 1209600 {TTL}\n"
        "@ IN NS ns1\nns1 IN A 127.0.0.1\n"
    )
    return head + "".join(f"{host(i)} IN A {private_ip(i)}\n" for i in range(names))


def questions(names: list[str], count: int, nx_percent: int) -> str:
    """`count` questions in random order; exactly `nx_percent` of them for names that do not exist.

    Those differ all the time, as in a random-subdomain attack.
    """
    draw = random.Random(SEED)
    absent = count * nx_percent // 100
    asked = [f"x{draw.getrandbits(40):010x}" for _ in range(absent)]
    asked += [draw.choice(names) for _ in range(count - absent)]
    draw.shuffle(asked)
    return "".join(f"{name}.{ORIGIN} A\n" for name in asked)


def reply_extra(nx_percent: int) -> int:
    """Octets by which the mean reply is longer than its query."""
    return round((nx_percent * SOA_OCTETS + (100 - nx_percent) * A_OCTETS) / 100)


TAG = "dns-name"


class Addresses:
    """The `addresses.json` of a file source: what `aws ec2 describe-addresses` prints.

    The first `singles` addresses are one for each host. Then come `pools` pairs of addresses that
    share the tag `pool`; both of a pair are associated in one /24, and pairs move as one. So an
    answer whose addresses are not in one /24 mixes two states.
    """

    def __init__(self, singles: int, pools: int = 0, tagged: bool = False) -> None:
        self.singles = singles
        self.pools = pools
        self.names = [host(i) if tagged else "" for i in range(singles)]
        self.associations = 0
        self.holders = [[private_ip(i)] for i in range(singles)]
        self.holders += [[f"10.255.{p}.1", f"10.255.{p}.2"] for p in range(pools)]
        self.texts = [self._text(i) for i in range(singles + pools)]

    def _text(self, i: int) -> str:
        pool = i - self.singles
        numbers = [i] if pool < 0 else [self.singles + 2 * pool, self.singles + 2 * pool + 1]
        entries = []
        for number, holder in zip(numbers, self.holders[i]):
            self.associations += 1
            entry: dict[str, object] = {
                "PublicIp": elastic_ip(number),
                "AllocationId": f"eipalloc-{number:017x}",
                "AssociationId": f"eipassoc-{self.associations:017x}",
                "Domain": "vpc",
                "NetworkInterfaceId": f"eni-{number:017x}",
                "NetworkInterfaceOwnerId": "123456789012",
                "PrivateIpAddress": holder,
            }
            if pool < 0 and self.names[i]:
                entry["Tags"] = [{"Key": TAG, "Value": self.names[i]}]
            if pool >= 0:
                entry["Tags"] = [{"Key": "pool", "Value": str(pool)}]
            entries.append(json.dumps(entry))
        return ",\n".join(entries)

    def exchange(self, i: int, j: int) -> None:
        """Two hosts, or two pools, take over each other's addresses."""
        self.holders[i], self.holders[j] = self.holders[j], self.holders[i]
        self.texts[i], self.texts[j] = self._text(i), self._text(j)

    def tag(self, i: int, name: str) -> None:
        """A host's address has this name; none: it has none."""
        self.names[i] = name
        self.texts[i] = self._text(i)

    def write(self, path: Path) -> None:
        """In one step, by rename: no reader sees half a file."""
        aside = path.with_name(".addresses.new")
        aside.write_text('{"Addresses": [\n' + ",\n".join(self.texts) + "\n]}\n")
        aside.rename(path)
