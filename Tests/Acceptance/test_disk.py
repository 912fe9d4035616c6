"""A full disk: 452 and nothing lost, and everything as before once there is room."""

import subprocess
import unittest

from harness.case import Case, routes_to
from harness.client import Client
from harness.waiting import until


class FullDisk(Case):
    def setUp(self):
        super().setUp()
        self.mount = self.directory()
        # 24 MiB: enough for the spool to begin with, little enough to fill in a moment.
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=24m", "elemta-test", str(self.mount)],
            capture_output=True, check=False,
        )
        if mounted.returncode != 0:
            raise unittest.SkipTest(f"no tmpfs can be mounted: {mounted.stderr.decode().strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", str(self.mount)], check=True)

    def fill(self, server, size):
        """Sends messages of `size` octets until one isn't taken; how many were, and that reply."""
        taken = 0
        content = b"Subject: x\r\n\r\n" + (b"q" * 98 + b"\r\n") * (size // 100)
        with Client(server.address) as client:
            client.ehlo()
            while taken < 100_000:
                reply = client.command("MAIL FROM:<a@example.org>")
                if reply.code == 250:
                    client.command("RCPT TO:<b@example.com>")
                    reply = client.data(content)
                if reply.code != 250:
                    return taken, reply
                taken += 1
        self.fail("a disk of 24 MiB never fills")

    def test_small_messages(self):
        self.check(2_000)

    def test_spilled_messages(self):
        self.check(300_000)

    def check(self, size):
        sink = self.sink(listening=False)
        queue_dir = str(self.mount / "queue")
        server = self.server(
            {"queue_dir": queue_dir, "queue": {"retry_schedule": [1], "min_free": 1_000_000}, **routes_to(sink)}
        )
        taken, reply = self.fill(server, size)
        self.assertGreater(taken, 10)
        self.assertReply(reply, "452 4.3.1")
        # And when the disk is full to the last octet, by somebody else.
        try:
            with open(self.mount / "other", "wb") as other:
                while True:
                    other.write(b"\1" * 4096)
                    other.flush()
        except OSError:
            pass
        _, reply = self.fill(server, size)
        self.assertReply(reply, "452 4.3.1")
        self.assertTrue(server.is_running)
        # Deliveries go on all the same: that is how a queue becomes small again.
        sink.listen()
        sink.wait_for(taken, 60)
        server.until_nothing_waits(60)
        (self.mount / "other").unlink(missing_ok=True)

        def accepted():
            with Client(server.address) as client:
                client.ehlo()
                if client.command("MAIL FROM:<a@example.org>").code != 250:
                    return False
                client.command("RCPT TO:<b@example.com>")
                return client.data(b"room again\r\n").code == 250

        until(accepted, "mail accepted again")
        until(lambda: any(b"room again" in message.content for message in sink.messages), "that message too")
