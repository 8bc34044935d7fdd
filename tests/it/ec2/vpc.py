"""What an instance meets in a VPC: its metadata service at 169.254.169.254, and
EC2 and STS over TLS, behind which is moto.

    vpc.py DIRECTORY EC2 STS

Files in DIRECTORY decide, read at each request: `life` is for how many seconds
keys are given to eipdns, and without it the instance has no role; `certificate.pem` is what
EC2 and STS show, with its key. `moto.sock` leads to moto. What EC2 and STS are
asked is written to `asked`, a line each: service, access key, action.
"""

import http.client
import http.server
import json
import os
import re
import socket
import ssl
import sys
import threading
import time

directory, ec2, sts = sys.argv[1:]
os.chdir(directory)

TOKEN = "a-session"
ROLE = "/latest/meta-data/iam/security-credentials/"
TTL = "X-aws-ec2-metadata-token-ttl-seconds"
lock = threading.Lock()
ends = {}  # of each access key


def utc(at):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def say(self, status, body=b"", kind="text/plain", **headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


class Metadata(Handler):
    """EC2 user guide, "Use IMDSv2": nothing without a session."""

    def do_PUT(self):
        if self.path == "/latest/api/token" and self.headers[TTL]:
            self.say(200, TOKEN.encode(), **{TTL.replace("-", "_"): self.headers[TTL]})
        else:
            self.say(400)

    def do_GET(self):
        try:
            life = int(open("life").read())
            if "aws-sdk-rust" not in self.headers.get("User-Agent", ""):
                life = 3600
        except FileNotFoundError:
            life = None
        if self.headers["X-aws-ec2-metadata-token"] != TOKEN:
            self.say(401)
        elif self.path == "/latest/meta-data/placement/region":
            self.say(200, b"us-east-1")
        elif self.path == "/latest/meta-data/placement/availability-zone":
            self.say(200, b"us-east-1a")
        elif self.path == ROLE and life is not None:
            self.say(200, b"dns")
        elif self.path == ROLE + "dns" and life is not None:
            self.say(200, self.keys(life), "application/json")
        else:
            self.say(404)

    def keys(self, life):
        # Whole seconds are written: so is the end that holds.
        now = int(time.time())
        with lock:
            key = f"ASIAROLE{len(ends) + 1:08}"
            ends[key] = now + life
        return json.dumps({
            "Code": "Success",
            "LastUpdated": utc(now),
            "Type": "AWS-HMAC",
            "AccessKeyId": key,
            "SecretAccessKey": "secret",
            "Token": "token",
            "Expiration": utc(now + life),
        }).encode()


class Moto(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("moto.sock")


class Service(Handler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        signed = self.headers["Authorization"] or ""
        key = re.search("Credential=([^/]*)", signed)
        key = key.group(1) if key else "-"
        action = re.search(b"Action=([A-Za-z]*)", body).group(1).decode()
        with lock, open("asked", "a") as asked:
            asked.write(f"{self.server.service} {key} {action}\n")
        if ends.get(key, time.time() + 1) <= time.time():
            self.say(400, self.server.ended, "text/xml")
            return
        moto = Moto("moto", timeout=20)
        # The host is signed; moto finds the service by it.
        moto.request("POST", "/", body, dict(self.headers))
        answer = moto.getresponse()
        self.say(answer.status, answer.read(), answer.headers["Content-Type"] or "text/xml")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


class Ec2(Server):
    service = "ec2"
    ended = (
        b"<Response><Errors><Error><Code>RequestExpired</Code><Message>Request has expired."
        b"</Message></Error></Errors><RequestID>1</RequestID></Response>"
    )

    def finish_request(self, request, address):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain("certificate.pem")
        request.settimeout(20)
        try:
            tls = context.wrap_socket(request, server_side=True)
        except OSError:
            return  # the client does not trust us
        with tls:
            self.RequestHandlerClass(tls, address, self)

    def handle_error(self, *_):
        pass  # the client has gone


class Sts(Ec2):
    service = "sts"
    ended = (
        b"<ErrorResponse><Error><Type>Sender</Type><Code>ExpiredToken</Code><Message>The security "
        b"token included in the request is expired</Message></Error></ErrorResponse>"
    )


servers = [
    Server(("169.254.169.254", 80), Metadata),
    Ec2((ec2, 443), Service),
    Sts((sts, 443), Service),
]
for server in servers:
    threading.Thread(target=server.serve_forever, daemon=True).start()
print("the VPC is there", flush=True)
threading.Event().wait()
