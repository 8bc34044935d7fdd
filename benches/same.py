#!/usr/bin/env python3
"""Are the answers of two builds the same, octet for octet, serials apart?

    benches/same.py OLD NEW [--count 1000000] [--seed 1]

Both programs serve the same generated zones: bound names of every kind, records of many types, wildcards, delegations,
DNAMEs, aliases. Each question, well formed or not, goes to both from the same client address; what differs is printed
with the question, and the command ends with 1. A seed gives the same questions again."""

import argparse
import json
import pathlib
import random
import socket
import struct
import subprocess
import sys
import tempfile

CLIENTS = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"]
TYPES = [1, 2, 5, 6, 12, 13, 15, 16, 28, 33, 35, 39, 43, 46, 47, 48, 52, 64, 65, 99, 251, 252, 255, 256, 257, 65280]
WINDOW = 64
# Where serials are asked for: a zone, and a public EC2 name.
ZONES = [b"\7example\3com\0", b"\x10ec2-198-51-100-2\x09compute-1\x09amazonaws\3com\0"]
# A question that is always answered, at least with REFUSED; no other has its ID.
LAST = struct.pack("!HHHHHH", 0xFFFF, 0, 1, 0, 0, 0) + b"\7example\3com\0" + struct.pack("!HH", 6, 1)

SERVER = """
[listen]
dns = ["127.0.0.1:0"]
workers = 1
version = "same"
id = "same"
trust_ecs_from = ["127.0.0.4"]

[[source]]
name = "sample"
type = "file"
path = "addresses.json"
region = "us-east-1"

[[view]]
name = "vpc"
clients = ["127.0.0.1/32", "10.0.0.0/8"]
answer = "private"
ec2_names = true

[[view]]
name = "peered"
clients = ["127.0.0.2/32"]
answer = "private"
reaches = ["10.0.0.0/16"]

[[view]]
name = "outside"
clients = ["127.0.0.3/32", "192.0.2.0/24"]
answer = "cname"
ec2_names = true
"""


def material(directory: pathlib.Path, dice: random.Random) -> list[str]:
    """Writes the configuration; returns names worth asking for."""
    (directory / "server.toml").write_text(SERVER)
    addresses, names, asked = [], [], []
    for n in range(400):
        public = f"198.51.{100 + n // 200}.{n % 200 + 1}"
        entry = {"PublicIp": public, "AllocationId": f"eipalloc-{n:08x}", "Tags": [{"Key": "Role", "Value": f"r{n % 40}"}]}
        if n % 7:
            entry |= {"AssociationId": f"eipassoc-{n:08x}", "PrivateIpAddress": f"10.{n % 3}.{n // 200}.{n % 200 + 1}"}
        addresses.append(entry)
        target = [f'"{public}"', f'"eipalloc-{n:08x}"', f'{{ tag = {{ Role = "r{n % 40}" }} }}',
                  f'{{ elastic_ip = "{public}", answer = {{ vpc = "private", outside = "none" }}, ttl = {n % 9 + 1} }}',
                  f'{{ address = ["10.8.0.{n % 250}", "fd00::{n:x}"] }}'][n % 5]
        name = ["h{}", "a.b.h{}", "*.w{}", "deep.er.x{}"][n % 4].format(n)
        names.append(f'"{name}" = {target}')
        asked += [f"{name}.example.com.", f"ec2-{public.replace('.', '-')}.compute-1.amazonaws.com."]
    (directory / "addresses.json").write_text(json.dumps({"Addresses": addresses}))
    (directory / "example.com.toml").write_text('records = "example.com.zone"\n[names]\n' + "\n".join(names) + "\n")
    records = ["$TTL 300", "@ NS ns.example.com.", "ns A 10.0.0.53", "@ MX 10 ns", "@ TXT \"apex\"", "@ AAAA fd00::1"]
    for n in range(200):
        owner = f"r{n}"
        records.append(f"{owner} " + dice.choice([
            f"A 192.0.2.{n}", f"AAAA 2001:db8::{n:x}", f"TXT \"text {n}\" \"{'x' * (n + 1)}\"", f"MX {n} h0",
            f"SRV 0 {n} 443 ns", f"CNAME r{n - 1 if n else 0}x", f"CNAME h{5 * n % 400}", "CNAME www.example.net.",
            f"NS ns.d{n}\nns.d{n} A 192.0.2.{n}", "DNAME example.org.", f"CAA 0 issue \"ca{n}\"", "HTTPS 1 . alpn=h2",
            f"NAPTR 1 2 \"s\" \"\" \"\" h{n}", f"TYPE65280 \\# 2 00{n:02x}"]))
        records += [f"x.w{n}.s TXT \"below\"", f"*.v{n}.s A 192.0.2.{n}"] if n % 3 else []
        asked += [f"{owner}.example.com.", f"a.{owner}.example.com.", f"q.v{n}.s.example.com.", f"w{n}.s.example.com."]
    (directory / "example.com.zone").write_text("\n".join(records) + "\n")
    return asked + ["example.com.", "com.", ".", "version.bind.", "id.server.", "localhost.", "resolver.arpa.", "example.net."]


def wire(name: str, dice: random.Random) -> bytes:
    out = b""
    for label in name.rstrip(".").split(".") if name != "." else []:
        octets = label.encode()
        if dice.random() < 0.3:
            octets = bytes(c ^ 0x20 if chr(c).isalpha() and dice.random() < 0.5 else c for c in octets)
        out += bytes([len(octets)]) + octets
    return out + b"\0"


def question(asked: list[str], dice: random.Random) -> bytes:
    name = dice.choice(asked)
    if dice.random() < 0.3:
        name = dice.choice(["a.", "zz.", "*.", "x.y.", "ns."]) + name
    flags = dice.choice([0x0100, 0x0100, 0x0000, 0x0110, 0x0120]) if dice.random() < 0.97 else dice.randrange(65536)
    rtype = 1 if dice.random() < 0.5 else dice.choice(TYPES)
    rclass = 1 if dice.random() < 0.97 else dice.choice([3, 254, 255, 4])
    body = wire(name.replace("*.w", dice.choice(["*.w", "any.w", "a.b.w"])), dice) + struct.pack("!HH", rtype, rclass)
    counts, extra = [1, 0, 0, 0], b""
    if dice.random() < 0.6:
        options = b""
        for _ in range(dice.choice([0, 0, 0, 1, 2])):
            options += dice.choice([struct.pack("!HH", 3, 0), struct.pack("!HH", 10, 8) + b"cookie!!", struct.pack("!HH", 12, 4) + bytes(4),
                                    struct.pack("!HHHBB", 8, 7, 1, 24, 0) + bytes([10, dice.randrange(4), 3]),
                                    struct.pack("!HHHBB", 8, 7, 1, 24, 0) + bytes([192, 0, 2]), struct.pack("!HHHBB", 8, 4, 1, 40, 0)])
        size = dice.choice([0, 512, 1232, 4096, 65535])
        high = dice.choice([0, 0, 0, 0x8000, 0x8000, 0x00010000, 0x0001])
        extra = b"\0" + struct.pack("!HHIH", 41, size, high & 0xFFFFFFFF, len(options)) + options
        counts[3] = 1
    octets = struct.pack("!HHHHHH", dice.randrange(65535), flags, *counts) + body + extra
    if dice.random() < 0.03:
        broken = bytearray(octets)
        broken[dice.randrange(2, len(broken))] ^= 1 << dice.randrange(8)
        octets = bytes(broken[:dice.randrange(len(broken)) + 1] if dice.random() < 0.5 else broken)
    return octets


class Program:
    """One of the two, and a socket for each client."""

    def __init__(self, path: str, directory: pathlib.Path, state: str):
        command = [path, "serve", "--config", str(directory), "--state", str(directory / state), "--log-json"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            fields = json.loads(line)["fields"]
            if fields["message"] == "serving":
                host, port = fields["dns"].split()[0].rsplit(":", 1)
                break
        else:
            sys.exit(f"{path} does not serve")
        self.sockets = []
        for client in CLIENTS:
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.bind((client, 0))
            one.connect((host, int(port)))
            one.settimeout(20)
            self.sockets.append(one)
        # A second may pass between the file that is read and the zone that is made of it.
        self.serials = {self.serial(n, zone) for n in range(len(CLIENTS)) for zone in ZONES} - {None}

    def serial(self, client: int, zone: bytes):
        soa = struct.pack("!HHHHHH", 1, 0, 1, 0, 0, 0) + zone + struct.pack("!HH", 6, 1)
        [reply] = self.ask(client, [soa])
        # The five numbers of the SOA are the last 20 octets.
        return reply[-20:-16] if reply and reply[3] & 15 == 0 else None

    def ask(self, client: int, requests: list[bytes]) -> list:
        one = self.sockets[client]
        for request in requests:
            one.send(request)
        # One worker answers in order: what has come by then is all that comes.
        one.send(LAST)
        replies = {}
        while (reply := one.recv(65535))[:2] != LAST[:2]:
            replies.setdefault(reply[:2], []).append(reply)
        return [self.masked(replies.get(r[:2], [None]).pop(0)) if replies.get(r[:2]) else None for r in requests]

    def masked(self, reply):
        for serial in getattr(self, "serials", ()):
            reply = reply.replace(serial, b"SOA#") if reply else reply
        return reply

    def stop(self):
        self.process.terminate()
        self.process.stderr.close()
        self.process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    dice = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as place:
        directory = pathlib.Path(place) / "zones"
        directory.mkdir()
        asked = material(directory, dice)
        programs = []
        try:
            for nth, path in enumerate([arguments.old, arguments.new]):
                programs.append(Program(path, directory, f"state{nth}"))
            return compare(programs, asked, arguments.count, dice)
        finally:
            for program in programs:
                program.stop()


def compare(programs: list, asked: list[str], count: int, dice: random.Random) -> int:
    different = answered = done = 0
    while done < count:
        client = dice.randrange(len(CLIENTS))
        requests = {}
        while len(requests) < WINDOW:
            request = question(asked, dice)
            requests.setdefault(request[:2], request)
        requests = list(requests.values())
        done += len(requests)
        for request, old, new in zip(requests, *(program.ask(client, requests) for program in programs)):
            answered += old is not None
            if old != new:
                different += 1
                if different <= 10:
                    print(f"from {CLIENTS[client]}: {request.hex()}\n  old {old and old.hex()}\n  new {new and new.hex()}")
    print(f"{done} questions, {answered} answered, {different} differently")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
