"""Clients that cost more than they bring: what they hold is counted, bounded and given back."""

import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time

from harness.case import STRANGER, Case, routes_to
from harness.client import Client, Closed
from harness.server import BINARY, SANITIZER, environment
from harness.sink import STALL, Always
from harness.waiting import until


def reset(client):
    """Closes with RST: what was sent may or may not be read."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.close()


class Disk(Case):
    def test_a_client_that_goes_right_after_the_final_dot_leaves_no_file(self):
        server = self.server({"limits": {"spill_threshold": 1000}})
        for _ in range(60):
            with Client(server.address) as client:
                client.ehlo()
                client.envelope("", ["a@example.com"])
                client.command(b"DATA")
                client.send(b"x" * 70 + b"\r\n" + (b"k" * 98 + b"\r\n") * 400 + b".\r\n")
                reset(client)
        # What was answered before the reset was seen is delivered; nothing else may stay.
        server.until_nothing_waits()

        def files():
            content = server.directory / "queue" / "content"
            return [path for path in content.rglob("*") if path.is_file()]

        until(lambda: not files(), "an empty content folder")
        server.stop()
        server.start()
        until(lambda: "queue_recovered" in server.log, "the line queue_recovered")
        self.assertLogged(server, "quarantined=0")


class Memory(Case):
    def test_slow_senders_do_not_keep_the_mail_of_others_out(self):
        server = self.server({"limits": {"memory": 2**20, "max_connections_per_ip": 1000}})
        slow = []
        for _ in range(40):
            client = Client(server.address, source=STRANGER)
            self.addCleanup(client.close)
            client.ehlo()
            if client.command("MAIL FROM:<>").code != 250:
                break
            client.command("RCPT TO:<a@example.com>")
            client.command("DATA")
            client.send((b"k" * 98 + b"\r\n") * 400)
            slow.append(client)
        with Client(server.address) as other:
            other.ehlo()

            def is_accepted():
                other.command(b"RSET")
                return other.command(b"MAIL FROM:<>").code == 250

            until(is_accepted, "room for somebody else's mail", 30)
        self.assertEqual(slow[0].command(".").code, 250)

    def test_clients_that_never_read_are_cut_off_when_memory_is_short(self):
        server = self.server({"limits": {"memory": 2**20, "max_connections_per_ip": 1000}})
        before = server.resident_octets()
        silent = []
        for _ in range(200):
            client = Client(server.address, source=STRANGER)
            self.addCleanup(client.close)
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            client.socket.setblocking(False)
            silent.append(client)
        flood = b"HELP\r\n" * 20_000

        def push():
            for client in silent:
                try:
                    client.socket.send(flood)
                except (BlockingIOError, ConnectionError):
                    pass
            with Client(server.address) as other:
                other.ehlo()
                return other.command(b"MAIL FROM:<>").code == 250

        until(push, "room for somebody else's mail", 60)
        if not SANITIZER:
            # 200 sessions of 32 KiB and what the allocator keeps of it.
            self.assertLess(server.peak_octets() - before, 16 * 2**20)


class SlowNextHops(Case):
    def test_next_hops_that_stop_reading_hold_little_of_a_long_message(self):
        # By DATA and by BDAT: what has to be said before the content comes, and what was said by then.
        for extensions, stage, last in (("PIPELINING",), "data", b"DATA"), (("PIPELINING", "CHUNKING"), "rcpt", b"RCPT"):
            with self.subTest(stage):
                self.check(self.sink(extensions, {stage: Always(STALL)}, ("0.0.0.0", 0), listening=False), last)

    def check(self, sink, last):
        count = 40
        server = self.server(
            {
                "local_domains": [],
                # All of it in the database.
                "limits": {"spill_threshold": 8 * 2**20},
                "queue": {"retry_schedule": [3600]},
                "delivery": {
                    "routes": [
                        {"domain": f"d{number}.example", "deliver": f"smtp://127.0.1.{number + 1}:{sink.port}"}
                        for number in range(count)
                    ]
                },
            }
        )
        with self.client(server) as client:
            content = b"Subject: x\r\n\r\n" + (b"k" * 98 + b"\r\n") * 40_000
            reply = client.message("", [f"b@d{number}.example" for number in range(count)], content)
            self.assertReply(reply, "250")
        until(lambda: server.log.count("delivery_deferred") >= count, "nobody reached")
        before = server.peak_octets()
        sink.listen()
        server.run("queue", "retry", "--all")
        until(lambda: sum(line.startswith(last) for line in sink.commands) == count, "all of them asked for content")

        def unread():
            with sink.lock:
                sockets = list(sink.open_sockets)
            return [int.from_bytes(fcntl.ioctl(each, termios.FIONREAD, bytes(4)), sys.byteorder) for each in sockets]

        until(lambda: min(unread()) > 16 * 1024, "content on its way to all of them")
        if not SANITIZER:
            # 128 KiB each, what the allocator keeps of it, and the pages of the database.
            self.assertLess(server.peak_octets() - before, count * 2**18 + 8 * 2**20)
        self.assertTrue(server.is_running)
        # Else it would wait for them when it is stopped.
        sink.close()


class Counting(Case):
    def test_connections_count_until_they_are_closed(self):
        server = self.server({"limits": {"max_connections": 10}})
        leaving = []
        for _ in range(10):
            client = Client(server.address)
            self.addCleanup(client.close)
            self.assertEqual(client.command(b"QUIT").code, 221)
            leaving.append(client)
        with Client(server.address, greeted=False) as late:
            self.assertEqual(str(late.reply())[:9], "421 4.3.2")
        for client in leaving:
            client.close()

        def is_served():
            with Client(server.address, greeted=False) as client:
                return client.reply().code == 220

        until(is_served, "room for another client")


class Time(Case):
    def test_a_refused_chunk_ends_with_the_time_of_a_message(self):
        server = self.server(
            {"limits": {"command_timeout": 2, "data_timeout": 2, "transaction_timeout": 4}}
        )
        with Client(server.address) as client:
            client.ehlo()
            self.assertEqual(client.command(b"BDAT 9223372036854775807").code, 503)
            begun = time.monotonic()
            client.socket.settimeout(0.5)
            while True:
                try:
                    client.socket.sendall(b"x")
                    if not client.socket.recv(1000):
                        break
                except TimeoutError:
                    self.assertLess(time.monotonic() - begun, 12, "it is still read")
                except ConnectionError:
                    break


class Ending(Case):
    def test_the_shutdown_timeout_holds_for_clients_that_do_not_read(self):
        server = self.server({"limits": {"shutdown_timeout": 1}})
        clients = []
        for _ in range(10):
            client = Client(server.address)
            self.addCleanup(client.close)
            client.ehlo()
            client.envelope("", ["a@example.com"])
            client.command(b"DATA")
            clients.append(client)
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        # RFC 5321 3.8: whoever is cut off is told.
        self.assertEqual(str(clients[0].reply())[:9], "421 4.3.2")
        self.assertEqual(server.wait(), 0)
        self.assertLess(time.monotonic() - begun, 6)

    def test_it_ends_although_nobody_reads_its_log(self):
        server = self.server()
        server.stop()
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        server.configuration["logging"] = {"level": "debug"}
        server.configuration["listen_addr"] = f"127.0.0.1:{server.port}"
        server.write_configuration()
        server.process = subprocess.Popen(
            [BINARY, "server", "--config", server.file],
            cwd=server.directory,
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=subprocess.DEVNULL,
            env=environment(),
        )
        os.close(writing)
        server.starts += 1

        def greeting():
            try:
                return Client(server.address)
            except (OSError, Closed):
                return None

        until(lambda: greeting() is not None, "a server that greets")

        def talk():
            with Client(server.address) as client:
                client.ehlo()
                for _ in range(15):
                    client.command(b"RCPT TO:<a@b.example>")

        threads = [threading.Thread(target=talk) for _ in range(80)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(15), 0)


class Backscatter(Case):
    def test_mail_of_a_stranger_to_an_unrouted_postmaster_is_reported_to_nobody(self):
        sink = self.sink(faults={"rcpt": Always(b"550 5.1.1 nobody\r\n")})
        server = self.server({"local_domains": [], **routes_to(sink)})
        with Client(server.address, source=STRANGER) as client:
            client.ehlo()
            reply = client.message("victim@example.net", ["Postmaster"], b"Subject: x\r\n\r\nx\r\n")
            self.assertEqual(reply.code, 250)
        server.until_nothing_waits()
        self.assertNotIn("report=", server.log)
