"""What /metrics says, read as Prometheus reads it, and HTTP by hand."""

import re
import shutil
import socket
import unittest

from .server import ROOT
from .tools import run
from .waiting import PATIENCE

PROMTOOL = ROOT / ".build-tools/prometheus/usr/bin/promtool"
SAMPLE = re.compile(r"([a-z_:][a-z0-9_:]*)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


class Metrics:
    """The samples of one scrape."""

    def __init__(self, text):
        self.text = text
        self.types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
        self.samples = {}
        for line in text.splitlines():
            if line.startswith("#"):
                continue
            name, labels, value = SAMPLE.fullmatch(line).groups()
            self.samples[name, frozenset(LABEL.findall(labels or ""))] = float(value)

    def value(self, name, **labels):
        return self.samples[name, frozenset(labels.items())]

    def sum(self, name, **labels):
        wanted = set(labels.items())
        return sum(value for (n, have), value in self.samples.items() if n == name and wanted <= have)

    def labels(self, family):
        """The names of the labels of a family, but `le`."""
        names = set()
        for name, labels in self.samples:
            if re.fullmatch(family + "(_bucket|_sum|_count)?", name):
                names |= {label for label, _ in labels}
        return names - {"le"}


def request(address, octets, timeout=20 * PATIENCE):
    """Sends that; everything that comes until the server closes."""
    with socket.create_connection(address, timeout) as connection:
        connection.sendall(octets)
        return received(connection)


def received(connection):
    said = b""
    try:
        while more := connection.recv(65536):
            said += more
    except ConnectionResetError:
        pass
    return said


def get(address, path, *fields, method="GET"):
    """Status code and body."""
    lines = [f"{method} {path} HTTP/1.1", "Host: elemta", *fields, "", ""]
    head, _, body = request(address, "\r\n".join(lines).encode()).partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


def scrape(server):
    status, body = get(server.http_address, "/metrics")
    if status != 200:
        raise AssertionError(f"/metrics: {status} {body}")
    return Metrics(body)


def promtool(*arguments, input=None):
    """The one that `scripts/dependencies test` unpacks, or one that is installed."""
    program = PROMTOOL if PROMTOOL.exists() else shutil.which("promtool")
    if not program:
        raise unittest.SkipTest("there is no promtool: scripts/dependencies test unpacks it")
    return run([program, *arguments], input=input)
