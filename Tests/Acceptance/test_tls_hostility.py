"""Handshakes and records as they shouldn't be: each ends its own connection and nothing else."""

import random
import socket
import ssl
import subprocess
import time

from harness.case import Case, SharedServerCase, WithCertificates, discard_routes, unique, with_tls
from harness.client import Client
from harness.records import (ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, CLOSE_NOTIFY, FATAL, HANDSHAKE,
                             HANDSHAKE_FAILURE, HEARTBEAT, NO_RENEGOTIATION, WARNING, RecordClient, alert, record)
from harness.server import SANITIZER, environment
from harness.waiting import PATIENCE

MEBI = 1024 * 1024
# Seconds that a handshake may take.
HANDSHAKE_DEADLINE = 30


def bad_beginnings(hello):
    """Names and octets that are no ClientHello, or one and then something wrong."""
    body = hello[5:]
    return {
        "nothing": b"",
        "commands in clear text": b"EHLO client.example.org\r\nMAIL FROM:<a@example.org>\r\n" * 10,
        "HTTP": b"GET / HTTP/1.1\r\nHost: mail.example.com\r\n\r\n",
        "zeroes": bytes(5000),
        "ones": b"\xff" * 5000,
        "a hello of SSL 2.0": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80" + bytes(34),
        "a hello of SSL 3.0": record(HANDSHAKE, body[:4] + b"\x03\x00" + body[6:], b"\x03\x00"),
        "a version of zero": record(HANDSHAKE, body, b"\x00\x00"),
        "a version of all ones": record(HANDSHAKE, body, b"\xff\xff"),
        "an empty record": record(HANDSHAKE, b""),
        "a thousand empty records": record(HANDSHAKE, b"") * 1000,
        "a record that is too long": b"\x16\x03\x01\xff\xff" + bytes(65535),
        "an unknown kind of record": record(99, body),
        "application data": record(APPLICATION_DATA, bytes(100)),
        "a change of cipher": record(CHANGE_CIPHER_SPEC, b"\1"),
        "a thousand changes of cipher": record(CHANGE_CIPHER_SPEC, b"\1") * 1000,
        "a fatal alert": alert(FATAL, HANDSHAKE_FAILURE),
        "close_notify": alert(WARNING, CLOSE_NOTIFY),
        "a thousand warnings": alert(WARNING, NO_RENEGOTIATION) * 1000,
        "half an alert": record(ALERT, b"\2"),
        "a heartbeat that lies about its length": record(HEARTBEAT, b"\x01\x40\x00"),
        "a message of 16 MiB": record(HANDSHAKE, b"\x01\xff\xff\xff" + bytes(16000)) * 3,
        "a hello of 128 KiB": record(HANDSHAKE, b"\x01\x02\x00\x00") * 2,
        "an empty hello": record(HANDSHAKE, b"\x01\x00\x00\x00"),
        "a ServerHello": record(HANDSHAKE, b"\x02" + body[1:]),
        "a Finished": record(HANDSHAKE, b"\x14\x00\x00\x0c" + bytes(12)),
        "a HelloRequest": record(HANDSHAKE, b"\x00\x00\x00\x00"),
        "two hellos": hello + hello,
        "a hello and garbage": hello + b"\xa5" * 3000,
        "a hello and clear text": hello + b"NOOP\r\n" * 100,
        "a hello and a fatal alert": hello + alert(FATAL, HANDSHAKE_FAILURE),
        "a hello and close_notify": hello + alert(WARNING, CLOSE_NOTIFY),
        "a hello and application data": hello + record(APPLICATION_DATA, bytes(64), b"\x03\x03"),
        "a hello and a bad change of cipher": hello + record(CHANGE_CIPHER_SPEC, b"\2", b"\x03\x03"),
        "a PROXY header": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + hello,
    }


class Hostile(WithCertificates, SharedServerCase):
    """A listener with implicit TLS and one with STARTTLS."""

    configuration = {
        "listen_addr": None,
        "listeners": [{"address": "127.0.0.1:0", "tls": "implicit"}, {"address": "127.0.0.1:0"}],
    }

    def unshaken(self, implicit=True):
        """A client of which the server expects a handshake."""
        client = Client(self.shared.addresses[0 if implicit else 1], greeted=not implicit)
        self.addCleanup(client.close)
        if not implicit:
            self.assertReply(client.command("STARTTLS"), "220")
        return client

    def hello(self):
        return RecordClient(self.unshaken(), self.trusting).flight()

    def inside(self, version=None):
        """A client inside, with the greeting read and EHLO said."""
        context = self.authority.client_context(version, version)
        records = RecordClient(self.unshaken(), context).handshake()
        self.assertEqual(records.reply()[:4], b"220 ")
        self.assertEqual(records.command(b"EHLO client.example.org")[:4], b"250 ")
        return records

    def end_of(self, client):
        """What the server says to a client that sends no more, until it closes."""
        try:
            client.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # closed already
        return client.until_closed()

    def assertStillServing(self):
        for address, tls in zip(self.shared.addresses, (self.trusting, None)):
            with Client(address, tls=tls) as client:
                client.ehlo()
                self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")


class Beginnings(Hostile):
    def send(self, client, octets):
        try:
            client.send(octets)
        except OSError:
            pass  # closed before all of it was sent

    def test_what_is_no_handshake_ends_the_connection(self):
        for implicit in (True, False):
            for name, octets in bad_beginnings(self.hello()).items():
                with self.subTest(name, implicit=implicit):
                    client = self.unshaken(implicit)
                    self.send(client, octets)
                    # Alerts and the server's flight are TLS; a reply in clear text would not be.
                    self.assertRegex(self.end_of(client), rb"\A(\Z|[\x14-\x17]\x03)")
        self.assertStillServing()

    def test_a_hello_may_end_anywhere(self):
        hello = self.hello()
        for end in range(len(hello)):
            client = self.unshaken()
            client.send(hello[:end])
            self.assertRegex(self.end_of(client), rb"\A(\Z|\x15\x03)")
        self.assertStillServing()

    def test_a_hello_may_come_an_octet_at_a_time(self):
        for implicit in (True, False):
            client = self.unshaken(implicit)
            records = RecordClient(client, self.trusting)
            client.send_each(records.flight())
            while not (answer := records.flight()):
                records.receive()
            client.send_each(answer)
            records.send(b"EHLO client.example.org\r\n")
            self.assertEqual(records.reply()[:4], b"220 " if implicit else b"250 ")

    def test_a_hello_in_records_of_one_octet_harms_nobody(self):
        body = self.hello()[5:]
        client = self.unshaken()
        self.send(client, b"".join(record(HANDSHAKE, bytes((octet,))) for octet in body))
        self.assertRegex(self.end_of(client), rb"\A(\Z|[\x14-\x17]\x03)")
        self.assertStillServing()

    def test_a_hello_that_is_to_be_huge_is_not_waited_for(self):
        # OpenSSL would take 128 KiB for it at once, and keep them for the time a handshake has.
        announced = b"\x01\x01\xff\x00"
        began = time.monotonic()
        in_pieces = b"".join(record(HANDSHAKE, bytes((octet,))) for octet in announced)
        for octets in (record(HANDSHAKE, announced), in_pieces):
            for implicit in (True, False):
                with self.subTest(octets, implicit=implicit):
                    client = self.unshaken(implicit)
                    client.send(octets)
                    self.assertEqual(client.until_closed(), b"")
        self.assertLess(time.monotonic() - began, HANDSHAKE_DEADLINE / 2 * PATIENCE)

    def test_changed_octets_of_a_hello_harm_nobody(self):
        generator = random.Random(3207)
        for _ in range(300):
            octets = bytearray(self.hello())
            for _ in range(generator.choice((1, 1, 2, 10))):
                octets[generator.randrange(len(octets))] = generator.randrange(256)
            client = self.unshaken(generator.random() < 0.8)
            self.send(client, bytes(octets))
            self.assertNotRegex(self.end_of(client), rb"\A[2-5][0-9][0-9] ")
        self.assertStillServing()

    def test_changed_octets_of_the_second_flight_harm_nobody(self):
        generator = random.Random(8446)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for _ in range(60):
                client = self.unshaken()
                records = RecordClient(client, self.authority.client_context(version, version))
                octets = bytearray(records.second_flight())
                at = generator.randrange(len(octets))
                octets[at] ^= 1 << generator.randrange(8)
                if generator.random() < 0.3:
                    del octets[at:]
                self.send(client, bytes(octets))
                self.assertNotIn(b"220 ", self.end_of(client))
        self.assertStillServing()

    def test_resets_within_the_handshake_harm_nobody(self):
        linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
        for stage in range(60):
            client = self.unshaken(stage % 2 == 0)
            records = RecordClient(client, self.trusting)
            if stage % 3:
                client.send(records.flight()[: 100 if stage % 3 == 1 else None])
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            client.close()
        self.assertStillServing()


class Inside(Hostile):
    def in_data(self, version=None):
        """A client in the middle of its mail data, and what its message is known by."""
        records, token = self.inside(version), unique()
        for command, code in ((b"MAIL FROM:<a@example.org>", b"250"), (b"RCPT TO:<b@example.com>", b"250"),
                              (b"DATA", b"354")):
            self.assertEqual(records.command(command)[:3], code)
        records.send(b"Subject: %s\r\n\r\nbody\r\n" % token)
        return records, token

    def assertNeverArrives(self, tokens):
        """A message sent afterwards arrives, and none of those is there."""
        self.assertStillServing()
        token = unique()
        with Client(self.shared.addresses[0], tls=self.trusting) as client:
            client.ehlo()
            self.assertReply(client.message("a@example.org", ["b@example.com"], token + b"\r\n"), "250")
        self.arrived(token)
        for message in self.next_hop.messages:
            for token in tokens:
                self.assertNotIn(token, message.content)

    def rest(self, records):
        """What the server still sends until it closes, as it comes over the wire."""
        try:
            records.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        said = b""
        try:
            while more := records.socket.recv(65536):
                said += more
        except OSError:
            pass
        return said

    def test_broken_records_within_data_end_the_connection_and_the_message(self):
        tokens = []
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            end_of_data = {
                "cut in the middle": lambda sealed: sealed[: len(sealed) // 2],
                "one bit changed": lambda sealed: sealed[:-1] + bytes((sealed[-1] ^ 1,)),
                "sent twice": lambda sealed: sealed[:-20] + sealed,
                "in clear text": lambda sealed: b".\r\n",
                "another kind": lambda sealed: b"\x15" + sealed[1:],
                "a length that lies": lambda sealed: sealed[:3] + b"\x00\x05" + sealed[5:],
                "too long": lambda sealed: sealed[:3] + b"\xff\xff" + bytes(65535),
                "a fatal alert in clear text": lambda sealed: alert(FATAL, HANDSHAKE_FAILURE),
                "close_notify in clear text": lambda sealed: alert(WARNING, CLOSE_NOTIFY),
                "a hello": lambda sealed: self.hello(),
            }
            for name, change in end_of_data.items():
                with self.subTest(name, version=version.name):
                    records, token = self.in_data(version)
                    tokens.append(token)
                    try:
                        records.socket.sendall(change(records.sealed(b".\r\n")))
                    except OSError:
                        pass
                    self.rest(records)
        self.assertNeverArrives(tokens)

    def test_an_end_within_data_is_no_end_of_data(self):
        tokens = []
        for way in ("close_notify", "without close_notify", "reset"):
            with self.subTest(way):
                records, token = self.in_data()
                tokens.append(token)
                if way == "close_notify":
                    records.close()
                elif way == "reset":
                    linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
                    records.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    records.socket.close()
                    continue
                self.rest(records)
        self.assertNeverArrives(tokens)

    def test_empty_records_without_end_harm_nobody(self):
        records = self.inside()
        try:
            for _ in range(20):
                records.socket.sendall(record(APPLICATION_DATA, b"", b"\x03\x03") * 500)
        except OSError:
            pass
        self.rest(records)
        self.assertStillServing()

    def test_keys_are_updated_as_often_as_a_client_likes(self):
        host, port = self.shared.addresses[0]
        client = subprocess.Popen(
            ["openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_3", "-crlf", "-CAfile", self.authority.file],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment(),
        )
        try:
            def until_said(text):
                while text not in (line := client.stdout.readline()):
                    self.assertTrue(line, f"ended before {text!r}")

            until_said(b"220 mail.example.com")
            for line, answer in [(b"ehlo client.example.org\n", b"250 HELP"), *[(b"K\n", b"KEYUPDATE"), (b"noop\n", b"250 2.0.0")] * 5]:
                client.stdin.write(line)
                client.stdin.flush()
                until_said(answer)
        finally:
            client.kill()
            client.communicate()

    def test_clients_that_never_read_replies_cost_bounded_memory(self):
        before = self.shared.resident_octets()
        for _ in range(10):
            client = Client(self.shared.addresses[0], tls=self.trusting)
            self.addCleanup(client.close)
            client.ehlo()
            client.socket.settimeout(0.3)
            try:
                for _ in range(200):
                    client.send(b"HELP\r\n" * 10_000)
            except (TimeoutError, ssl.SSLError):
                pass  # as it should be: the server stopped reading
            else:
                self.fail("12 MB of commands were read by a server whose replies nobody reads")
        if not SANITIZER:
            self.assertLess(self.shared.resident_octets() - before, 10 * 512 * 1024)
        self.assertStillServing()


class Stalled(WithCertificates, Case):
    def stalls(self, server):
        """One client for each place where a handshake or a PROXY header can stop, with a name."""
        def begun(number):
            client = Client(server.addresses[number], greeted=number == 1)
            self.addCleanup(client.close)
            if number == 1:
                self.assertReply(client.command("STARTTLS"), "220")
            return client

        for number, kind in ((0, "implicit"), (1, "STARTTLS")):
            hello = RecordClient(begun(number), self.trusting).flight()
            for name, octets in (("silent", b""), ("in the middle of its hello", hello[:100]),
                                 ("after its hello", hello)):
                client = begun(number)
                client.send(octets)
                yield f"{kind}, {name}", client
        for name, octets in (("silent", b""), ("in the middle of a header", b"PROXY TCP4 192.0")):
            client = begun(2)
            client.send(octets)
            yield f"proxied, {name}", client

    def serving(self):
        listeners = [
            {"address": "127.0.0.1:0", "tls": "implicit"}, {"address": "127.0.0.1:0"},
            {"address": "127.0.0.1:0", "proxy_protocol": True, "trusted_proxies": ["127.0.0.1"]},
        ]
        return self.server(
            with_tls(self.pair) | discard_routes() | {"listen_addr": None, "listeners": listeners}
        )

    def test_everybody_else_is_served(self):
        server = self.serving()
        stalled = [client for _ in range(50) for _, client in self.stalls(server)]
        for number, tls in ((0, self.trusting), (1, None)):
            began = time.monotonic()
            for _ in range(20):
                with Client(server.addresses[number], tls=tls) as client:
                    client.ehlo()
                    self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")
            self.assertLess(time.monotonic() - began, HANDSHAKE_DEADLINE / 2 * PATIENCE)
        for client in stalled:
            client.socket.settimeout(0)
            with self.assertRaises(BlockingIOError, msg="a stalled client is still connected"):
                while client.socket.recv(65536):
                    pass

    def test_a_handshake_has_thirty_seconds_however_it_is_spent(self):
        server = self.serving()
        began = time.monotonic()
        clients = dict(self.stalls(server))
        slow = Client(server.addresses[0], greeted=False)
        self.addCleanup(slow.close)
        slow.socket.settimeout(0.5)
        for octet in RecordClient(slow, self.trusting).flight():
            try:
                slow.send(bytes((octet,)))
                if not slow.socket.recv(100):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            self.fail("the whole hello was trickled")
        self.assertGreater(time.monotonic() - began, HANDSHAKE_DEADLINE - 5)
        for name, client in clients.items():
            with self.subTest(name):
                client.socket.settimeout(20 * PATIENCE)
                self.assertRegex(client.until_closed(), rb"\A(\Z|[\x14-\x17]\x03)")
        self.assertLess(time.monotonic() - began, (HANDSHAKE_DEADLINE + 15) * PATIENCE)
