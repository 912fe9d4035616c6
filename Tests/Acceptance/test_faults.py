"""Calls to the disk that fail, each in turn: no 250 for what isn't on disk, no crash, and service afterwards.

One run is scripted: a server takes mail that it can't deliver yet, is killed, is started again and delivers. In
that run the n-th call of a class fails, once (EIO) or until the fault is over (ENOSPC). Then a server without faults
delivers what is left, and everything that was answered 250 has come, as it was sent.

FAULTS=all runs every n, as `make faults` does; else some of them.
"""

import errno
import os
import re
import unittest

from harness.case import Case, routes_to
from harness.client import Client, Closed
from harness.disk import FOR_EVER, Disk
from harness.load import content, name_of
from harness.server import SANITIZER
from harness.waiting import until

EVERY = os.environ.get("FAULTS") == "all"
# Numbers of calls of a class that are tried unless all are.
SAMPLE = 3

# What a start that a fault has prevented ends with.
REFUSALS = (os.EX_UNAVAILABLE, os.EX_OSERR, os.EX_CANTCREAT, os.EX_IOERR, os.EX_TEMPFAIL)

# Below and above a page, and beyond the spill threshold.
SIZES = (200, 20_000, 9_000, 40_000, 300)
SPILLED_FROM = 16_384


class Run:
    """One scripted run on a disk that fails as it is told."""

    def __init__(self, case, arm=lambda disk: None, is_damaged=False):
        self.case = case
        self.arm = arm
        self.is_damaged = is_damaged
        self.sink = case.sink(listening=False, faults={"rcpt": self.refusal})
        directory = case.directory()
        self.disk = Disk(directory)
        self.server = case.unstarted_server(
            {
                "queue": {"retry_schedule": [1]},
                "limits": {"spill_threshold": SPILLED_FROM},
                **routes_to(self.sink),
            },
            directory=directory,
            variables=self.disk.variables,
        )
        self.accepted = {}
        self.refused = set()
        self.sent = 0
        self.logs = ""
        # Calls before the faults begin.
        self.before = dict.fromkeys(self.disk.calls, 0)
        if not is_damaged:
            arm(self.disk)

    @staticmethod
    def refusal(argument):
        return b"550 5.1.1 nobody\r\n" if b"nobody@" in argument else None

    def play(self, is_lasting):
        """The script. What a fault may do is refuse mail, or a start."""
        self.start()
        for size in SIZES:
            self.send(size)
        self.send(500, "nobody@example.com")
        self.leave_debris()
        self.logs += self.server.log
        self.between()
        self.start()
        self.sink.listen()
        for size in SIZES:
            self.send(size)
        if is_lasting:
            self.disk.heal()
        until(lambda: self.send(700), "mail taken again")
        self.until_everything_came()
        self.logs += self.server.log
        # Faults that come while it stops must not make it crash either.
        self.server.process.terminate()
        self.assert_ended(self.server.wait())

    def leave_debris(self):
        """What the next start sweeps up: content whose client is still sending, and a file that doesn't belong."""
        with Client(self.server.address) as client:
            client.ehlo()
            client.command("MAIL FROM:<a@example.org>")
            client.command("RCPT TO:<b@example.com>")
            client.command("DATA")
            client.send(content("unfinished", 60_000))
            self.send(200)
            self.server.process.kill()
            self.server.wait()
        folder = self.disk.root / "content/zz"
        folder.mkdir(exist_ok=True)
        (folder / "strange").write_bytes(b"strange")

    def between(self):
        """Where the spool is to be damaged: its meta pages are gone, and faults begin."""
        if not self.is_damaged:
            return
        with open(self.disk.root / "spool.mdb", "r+b") as file:
            file.write(bytes(2 * 4096))
        self.before = self.disk.calls
        self.arm(self.disk)

    def start(self):
        """A server that a fault keeps from starting says so, and the next start is as good as any."""
        while True:
            self.server.launch()
            until(self.server._is_ready_or_gone, "the log line `ready`", 30)
            if self.server.is_running:
                return
            self.assert_ended(self.server.process.returncode, is_refusal=True)
            self.logs += self.server.log
            self.case.assertGreater(self.disk.failed, 0, self.server.log)
            self.disk.heal()

    def assert_ended(self, status, is_refusal=False):
        log = self.server.log
        self.case.assertNotIn("Fatal error", log)
        self.case.assertNotIn("*** ", log)
        if is_refusal:
            self.case.assertIn(status, REFUSALS, log)
        else:
            self.case.assertEqual(status, 0, log)

    def send(self, size, recipient="b@example.com"):
        """Sends one message; whether it was accepted. Refused is 452 4.3.1 and nothing else."""
        name = f"m{self.sent}"
        self.sent += 1
        try:
            with Client(self.server.address) as client:
                client.ehlo()
                for command in ("MAIL FROM:<a@example.org>", f"RCPT TO:<{recipient}>"):
                    reply = client.command(command)
                    if reply.code != 250:
                        break
                else:
                    reply = client.data(content(name, size))
        except (Closed, OSError) as error:
            raise AssertionError(f"{name}: {error!r}\n{self.server.log[-3000:]}") from error
        if reply.code == 250:
            self.accepted[name] = recipient
            return True
        self.case.assertReply(reply, "452 4.3.1")
        self.refused.add(name)
        return False

    def arrived(self):
        """The names at the sink; of what went to nobody, the name in the report about it."""
        names = []
        for message in list(self.sink.messages):
            if message.sender:
                names.append(name_of(message))
            else:
                names.append(re.search(rb"^Subject: (m\d+)\r?$", message.content, re.M)[1].decode())
        return names

    def until_everything_came(self):
        until(lambda: self.accepted.keys() <= set(self.arrived()), f"{sorted(self.accepted)} at the sink", 20)

    def check(self):
        """A server without faults: what was accepted comes, and nothing is left."""
        self.server.variables = {}
        self.server.start()
        until(lambda: "queue_recovered" in self.server.log, "the queue back")
        self.until_everything_came()
        self.server.until_nothing_waits()
        is_salvaged = "quarantine/spool.mdb" in self.logs + self.server.log
        self.case.assertEqual(is_salvaged, self.is_damaged)
        self.case.assertEqual(self.disk.repeated, 0, "a descriptor was synced again after that had failed")
        self.server.stop()
        self.case.assertEqual([path for path in (self.disk.root / "content").rglob("*") if path.is_file()], [])
        self.sink.close()
        arrived = self.arrived()
        return len(self.refused & set(arrived)), len(arrived) - len(set(arrived))


class Faults:
    """All calls of one class."""

    name = ""

    def tidy(self):
        """Of what a run leaves nothing stays till the end."""
        self.doCleanups()
        self.evidence.clear()

    def test_a_call_that_fails_once(self):
        self.each("EIO once", 1, errno.EIO)

    def test_calls_that_fail_until_the_fault_is_over(self):
        self.each("ENOSPC until it is over", FOR_EVER, errno.ENOSPC)

    def test_a_call_that_fails_while_a_damaged_spool_is_salvaged(self):
        self.each("EIO once, spool damaged", 1, errno.EIO, is_damaged=True)

    def each(self, what, count, error, is_damaged=False):
        unhurt = Run(self, is_damaged=is_damaged)
        unhurt.play(False)
        calls = unhurt.disk.calls[self.name] - unhurt.before[self.name]
        unhurt.check()
        self.tidy()
        numbers = range(1, calls + 1)
        if not EVERY:
            numbers = sorted({1 + (calls - 1) * place // SAMPLE for place in range(1, SAMPLE + 1)})
        hit = refused = late = twice = 0
        for number in numbers:
            with self.subTest(call=number, of=calls):
                run = Run(self, lambda disk, n=number: disk.fail([self.name], n, count, error), is_damaged)
                run.play(count > 1)
                run_late, run_twice = run.check()
                # How batches form is chance: a run may make fewer calls than the one without faults.
                if 2 * number <= calls:
                    self.assertGreater(run.disk.failed, 0, "the fault was never met: nothing was tested")
                hit += run.disk.failed > 0
                refused += len(run.refused)
                late += run_late
                twice += run_twice
                self.tidy()
        self.assertGreater(calls, 0, "the run makes no such call: nothing was tested")
        print(
            f"faults: {self.name}, {what}: {len(numbers)} of {calls} calls, {hit} met; {refused} messages refused "
            f"({late} of them came all the same), {twice} came twice, 0 lost",
            flush=True,
        )


@unittest.skipIf(SANITIZER, "the preloaded disk and a sanitizer replace the same functions")
class Writes(Faults, Case):
    name = "write"


@unittest.skipIf(SANITIZER, "the preloaded disk and a sanitizer replace the same functions")
class Syncs(Faults, Case):
    name = "sync"


@unittest.skipIf(SANITIZER, "the preloaded disk and a sanitizer replace the same functions")
class Allocations(Faults, Case):
    name = "allocate"


@unittest.skipIf(SANITIZER, "the preloaded disk and a sanitizer replace the same functions")
class Renames(Faults, Case):
    name = "rename"


@unittest.skipIf(SANITIZER, "the preloaded disk and a sanitizer replace the same functions")
class Unlinks(Faults, Case):
    name = "unlink"


@unittest.skipIf(SANITIZER, "the preloaded disk and a sanitizer replace the same functions")
class Creations(Faults, Case):
    name = "create"
