"""A full disk: 452 and nothing lost, and everything as before once there is room."""

import ctypes
import os
import subprocess
import threading
import unittest

from harness.case import Case, routes_to
from harness.client import Client
from harness.load import content, id_of, name_of
from harness.waiting import until

CLONE_NEWNS = 0x0002_0000


def enter_mount_namespace():
    """From here on what this thread and its processes mount is seen by nobody else, and goes with them."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise unittest.SkipTest(f"no mount namespace: {os.strerror(ctypes.get_errno())}")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


class SmallDisk(Case):
    """A queue on a tmpfs: enough for the spool to begin with, little enough to fill in a moment."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        enter_mount_namespace()

    def setUp(self):
        super().setUp()
        self.mount = self.directory()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=24m", "elemta-test", str(self.mount)],
            capture_output=True, check=False,
        )
        if mounted.returncode != 0:
            raise unittest.SkipTest(f"no tmpfs can be mounted: {mounted.stderr.decode().strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", str(self.mount)], check=True)

    def served(self, sink):
        return self.server(
            {
                "queue_dir": str(self.mount / "queue"),
                "queue": {"retry_schedule": [1], "min_free": 1_000_000},
                **routes_to(sink),
            }
        )

    def take_the_rest(self):
        """Somebody else takes the disk to the last octet."""
        try:
            with open(self.mount / "other", "ab") as other:
                while True:
                    other.write(b"\1" * 4096)
                    other.flush()
        except OSError:
            pass

    def is_accepted(self, server):
        with Client(server.address) as client:
            client.ehlo()
            if client.command("MAIL FROM:<a@example.org>").code != 250:
                return False
            client.command("RCPT TO:<b@example.com>")
            return client.data(content("roomagain", 200)).code == 250


class FullDisk(SmallDisk):
    def fill(self, server, size):
        """Sends messages of `size` octets until one isn't taken; how many were, and that reply."""
        taken = 0
        with Client(server.address) as client:
            client.ehlo()
            while taken < 100_000:
                reply = client.command("MAIL FROM:<a@example.org>")
                if reply.code == 250:
                    client.command("RCPT TO:<b@example.com>")
                    reply = client.data(content("x", size))
                if reply.code != 250:
                    return taken, reply
                taken += 1
        self.fail("a disk of 24 MiB never fills")

    def test_small_messages(self):
        self.check(2_000)

    def test_messages_of_many_pieces(self):
        self.check(150_000)

    def test_spilled_messages(self):
        self.check(300_000)

    def check(self, size):
        sink = self.sink(listening=False)
        server = self.served(sink)
        taken, reply = self.fill(server, size)
        self.assertGreater(taken, 10)
        self.assertReply(reply, "452 4.3.1")
        self.take_the_rest()
        _, reply = self.fill(server, size)
        self.assertReply(reply, "452 4.3.1")
        self.assertTrue(server.is_running)
        # Deliveries go on all the same: that is how a queue becomes small again.
        sink.listen()
        sink.wait_for(taken, 60)
        server.until_nothing_waits(60)
        (self.mount / "other").unlink(missing_ok=True)
        until(lambda: self.is_accepted(server), "mail accepted again")
        until(lambda: any(b"roomagain" in message.content for message in sink.messages), "that message too")


class Feeder(threading.Thread):
    """Sends on whatever it is answered, and never goes away."""

    def __init__(self, address, name):
        super().__init__(daemon=True)
        self.address, self.prefix = address, name
        self.accepted, self.wrong, self.refused = [], [], 0
        self.ending = threading.Event()

    def run(self):
        count = 0
        with Client(self.address) as client:
            client.ehlo()
            while not self.ending.is_set():
                name, size = f"{self.prefix}m{count}", (300, 3_000, 20_000, 150_000, 300_000)[count % 5]
                count += 1
                reply = client.command("MAIL FROM:<a@example.org>")
                if reply.code == 250:
                    client.command("RCPT TO:<b@example.com>")
                    reply = client.data(content(name, size))
                if reply.code == 250:
                    self.accepted.append(name)
                elif str(reply).startswith("452 4.3.1"):
                    self.refused += 1
                else:
                    self.wrong.append(str(reply))


class UnderLoad(SmallDisk):
    def test_nothing_is_lost_neither_mail_nor_what_became_of_it(self):
        sink = self.sink(faults={"rcpt": self.sometimes_later})
        server = self.served(sink)
        feeders = [Feeder(server.address, f"f{number}") for number in range(4)]
        for feeder in feeders:
            self.addCleanup(feeder.ending.set)
            feeder.start()
        until(lambda: sum(len(feeder.accepted) for feeder in feeders) > 100, "mail taken", 30)
        self.take_the_rest()
        refused = sum(feeder.refused for feeder in feeders)
        until(lambda: sum(feeder.refused for feeder in feeders) > refused + 50, "mail refused", 30)
        self.finish(feeders)
        # Everything that was taken is delivered, and written down as such: the disk is still full.
        accepted = [name for feeder in feeders for name in feeder.accepted]
        until(lambda: set(accepted) <= {name_of(m) for m in list(sink.messages)}, "all of it at the sink", 60)
        server.until_nothing_waits(60)
        server.kill()
        before = len(sink.messages)
        server.start()
        until(lambda: "queue_recovered" in server.log, "the queue back")
        server.until_nothing_waits()
        self.assertEqual(len(sink.messages), before)
        ids = [id_of(message) for message in sink.messages]
        self.assertEqual(len(ids), len(set(ids)), "delivered twice")
        (self.mount / "other").unlink()
        until(lambda: self.is_accepted(server), "mail accepted again", 20)

    def finish(self, feeders):
        for feeder in feeders:
            feeder.ending.set()
        for feeder in feeders:
            feeder.join(30)
            self.assertEqual(feeder.wrong, [])
            self.assertFalse(feeder.is_alive())

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.asked = 0

    def sometimes_later(self, _):
        """Every fifth recipient, so that results are also changes of what stays."""
        self.asked += 1
        return b"451 4.2.0 later\r\n" if self.asked % 5 == 0 else None
