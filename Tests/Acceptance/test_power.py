"""Power loss: the queue on a disk that forgets what wasn't synced. Nothing answered 250 is lost.

A round writes down everything that a server under load does to its queue, kills it, and builds what a cut at some
of those moments would have left, with any part of what wasn't synced. A server on that must deliver all
that had been answered 250 and wasn't delivered. The next round goes on from one of the cuts.
"""

import os
import random
import re
import unittest

from harness import disk, powerloss
from harness.case import Case, routes_to
from harness.disk import Disk
from harness.load import Sender, name_of
from harness.server import SANITIZER
from harness.waiting import until

ROUNDS = int(os.environ.get("POWER_ROUNDS", "1"))
CUTS = int(os.environ.get("POWER_CUTS", "6"))
SENDERS = 4


class Noting(list):
    """The sink's messages, each with where the journal stood before the server was told that it's kept."""

    def __init__(self, disk):
        super().__init__()
        self.disk = disk

    def append(self, message):
        message.position = self.disk.position()
        super().append(message)


@unittest.skipIf(SANITIZER, "the preloaded disk and a sanitizer replace the same functions")
class PowerLoss(Case):
    def test_nothing_answered_250_is_lost(self):
        generator = random.Random(os.environ.get("POWER_SEED", "4"))
        owed, base = {}, None
        cuts = torn = checked = 0
        for number in range(ROUNDS):
            journal, names, delivered = self.load(number, generator, base, owed)
            last = None
            for replay in self.replays(journal, base, generator):
                now_owed = dict(owed)
                now_owed.update({id: names.get(id) for id in replay.answered})
                done = {name for name, position in delivered.items() if position <= replay.end}
                now_owed = {id: name for id, name in now_owed.items() if name not in done}
                survival = generator.choice((0, 0.5, 1, generator.random()))

                def survives():
                    return generator.random() < survival

                cuts += 1
                torn += replay.is_torn("spool.mdb")
                checked += len(now_owed)
                self.check(replay, survives, now_owed)
                folder = self.directory()
                replay.write(folder / "queue", survives)
                last = folder, now_owed
            base, owed = last
        print(
            f"power loss: {cuts} cuts, {torn} of them in the middle of a commit; {checked} messages had been answered 250 "
            "and weren't delivered yet: 0 lost",
            flush=True,
        )

    def load(self, number, generator, base, owed):
        """A server at work until it is killed: its journal, the names of what it accepted, by id, and where the
        journal stood when each was delivered."""
        directory = self.directory()
        if base:
            powerloss.copy(base / "queue", directory / "queue")
        recorder = Disk(directory, journal=True)
        sink = self.sink(faults={"rcpt": lambda _: b"451 4.2.0 later\r\n" if random.random() < 0.1 else None})
        sink.messages = Noting(recorder)
        server = self.server(
            {"queue": {"retry_schedule": [1]}, **routes_to(sink)}, directory=directory, variables=recorder.variables
        )
        senders = [Sender(server.address, f"r{number}s{n}") for n in range(SENDERS)]
        for sender in senders:
            sender.start()
        enough = generator.randrange(60, 200)
        until(lambda: sum(len(s.accepted) for s in senders) >= enough, f"{enough} messages accepted", 60)
        server.kill()
        for sender in senders:
            sender.join(30)
        names = dict(owed)
        names.update({id: name for sender in senders for name, _, id in sender.accepted})
        delivered = {}
        for message in list(sink.messages):
            delivered.setdefault(name_of(message), message.position)
        sink.close()
        return recorder.journal, names, delivered

    def replays(self, journal, base, generator):
        """The state at some moments, in their order: any of them, and those right before a 250 is sent."""
        records = list(disk.records(journal))
        answers = [number for number, record in enumerate(records) if record[0] == disk.ANSWERED]
        moments = set(generator.sample(answers, min(CUTS // 2, len(answers))))
        while len(moments) < min(CUTS, len(records)):
            moments.add(generator.randrange(len(records)))
        replay = powerloss.Replay(base / "queue" if base else None)
        for number, record in enumerate(records):
            replay.apply(*record)
            if number in moments:
                yield replay

    def check(self, replay, survives, owed):
        sink = self.sink()
        directory = self.directory()
        replay.write(directory / "queue", survives)
        server = self.server({"queue": {"retry_schedule": [1]}, **routes_to(sink)}, directory=directory)
        until(lambda: "queue_recovered" in server.log, "the queue back")
        server.until_nothing_waits()
        log = server.log
        delivered = set(re.findall(r"\bmessage_delivered\b.*? id=(\w+)", log))
        arrived = {name_of(message) for message in list(sink.messages)}
        self.assertLessEqual(owed.keys(), delivered)
        self.assertLessEqual({name for name in owed.values() if name}, arrived)
        # What was never answered 250 may go to quarantine; the spool is never found damaged.
        self.assertNotIn("quarantine/spool.mdb", log)
        server.stop()
        sink.close()
