"""The test case that all whole-server tests share."""

import os
import pathlib
import re
import shutil
import socket
import tempfile
import unittest

from .certificates import Authority
from .client import Client
from .server import Server, merged
from .sink import Sink
from .tools import can_bind
from .waiting import until

STRANGER = "127.0.0.2"


def discard_routes():
    return {"delivery": {"routes": [{"domain": "*", "deliver": "discard"}]}}


def routes_to(sink):
    """Every domain goes to the sink."""
    return {"delivery": {"routes": [{"domain": "*", "deliver": sink.route}]}}


def with_tls(pair):
    return {"tls": {"enabled": True, **pair.settings}}


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.evidence = []

    def directory(self):
        path = tempfile.mkdtemp(prefix="elemta-")
        self.addCleanup(shutil.rmtree, path, ignore_errors=True)
        return pathlib.Path(path)

    def server(self, configuration=None, **options):
        """A server of this test's own, started; stopped with SIGTERM at its end."""
        server = self.unstarted_server(configuration, **options)
        server.start()
        return server

    def unstarted_server(self, configuration=None, directory=None, **options):
        server = Server(directory or self.directory(), configuration, **options)
        self.addCleanup(lambda: server.process and server.stop())
        self.evidence.append(server)
        return server

    def sink(self, *arguments, **options):
        sink = Sink(*arguments, **options)
        self.addCleanup(sink.close)
        return sink

    def client(self, server, source=None, hello="client.example.org", **options):
        """A client that has said EHLO, unless `hello` is None."""
        client = Client(server.address, source, **options)
        self.addCleanup(client.close)
        if hello:
            self.assertReply(client.ehlo(hello), "250")
        return client

    def needs_ipv6(self):
        if not can_bind("::1", 0, socket.AF_INET6):
            self.skipTest("this machine has no ::1")

    def assertReply(self, reply, beginning):
        """The last line begins with that, and it is an enhanced status where there must be one."""
        if not reply.lines[-1].startswith(beginning):
            self.fail(f"{reply.lines[-1]!r} doesn't begin with {beginning!r}")

    def assertDialogue(self, client, *exchanges):
        """Pairs of a command and the beginning of its reply, one after the other."""
        for command, beginning in exchanges:
            reply = client.command(command)
            if not reply.lines[-1].startswith(beginning):
                self.fail(f"{command!r}: {reply.lines[-1]!r}, not {beginning!r}")

    def assertLogged(self, server, what):
        """The log has these words, or what matches the pattern, or will have: lines wait 10 ms for each other."""
        found = what.search if isinstance(what, re.Pattern) else lambda log: what in log
        until(lambda: found(server.log), f"{what!r} in the log")

    def log_tails(self):
        """What the servers of this test logged last, for a failure's report."""
        tails = []
        for server in self.evidence:
            if server.process and server.log_file.exists():
                tails.append(f"--- end of {server.log_file}\n{server.log[-3000:]}")
        return "\n".join(tails)


class WithCertificates:
    """Before Case in a class's bases: `authority`, its `pair` for the server and who trusts it.

    A shared server of the class has TLS by them.
    """

    @classmethod
    def setUpClass(cls):
        folder = tempfile.mkdtemp(prefix="elemta-certificates-")
        cls.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
        cls.authority = Authority(folder)
        cls.pair = cls.authority.pair()
        cls.trusting = cls.authority.client_context()
        super().setUpClass()

    def secured(self, client, hello="client.example.org", context=None):
        """STARTTLS on a client, and EHLO again unless `hello` is None."""
        client.starttls(context or self.trusting)
        if hello:
            self.assertReply(client.ehlo(hello), "250")
        return client


class SharedServerCase(Case):
    """One server and one sink for all tests of the class; every domain is delivered to the sink.

    `settle` runs before the server starts and may write files in `shared_directory` and set
    `configuration`.
    """

    configuration = {}
    extensions = None

    @classmethod
    def settle(cls):
        pass

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.shared_directory = pathlib.Path(tempfile.mkdtemp(prefix="elemta-"))
        cls.addClassCleanup(shutil.rmtree, cls.shared_directory, ignore_errors=True)
        cls.settle()
        cls.next_hop = Sink() if cls.extensions is None else Sink(cls.extensions)
        cls.addClassCleanup(cls.next_hop.close)
        configuration = routes_to(cls.next_hop) | cls.configuration
        if issubclass(cls, WithCertificates):
            configuration = merged(with_tls(cls.pair), configuration)
        cls.shared = Server(cls.shared_directory, configuration)
        cls.shared.start()
        cls.addClassCleanup(cls.shared.stop)

    def setUp(self):
        super().setUp()
        self.evidence.append(self.shared)

    def connect(self, source=None, hello="client.example.org", **options):
        return self.client(self.shared, source, hello, **options)

    def arrived(self, subject):
        """The message whose content holds `subject`, once it is at the sink."""
        return until(
            lambda: next((m for m in self.next_hop.messages if subject in m.content), None),
            f"{subject!r} at the sink",
            20,
        )


def unique():
    """A token that no other message has."""
    return os.urandom(8).hex().encode()
