"""kill -9 under load, again and again: every message answered 250 reaches the sink."""

import os
import random

from harness.case import Case, routes_to
from harness.load import Sender, id_of, name_of
from harness.waiting import until

ROUNDS = int(os.environ.get("KILL_ROUNDS", "5"))
SENDERS = 6


class KillNine(Case):
    """What was answered 250 reaches the sink; what reaches it twice was on its way when the server died."""

    def test_every_message_answered_250_reaches_the_sink(self):
        sink = self.sink()
        server = self.server({"queue": {"retry_schedule": [1]}, **routes_to(sink)})
        generator = random.Random(9)
        accepted = {}
        # The ids that each life of the server brought to the sink, and those of them that its end left in the queue.
        lives, doubtful, seen = [], [], 0
        for number in range(ROUNDS):
            senders = [Sender(server.address, f"r{number}s{n}") for n in range(SENDERS)]
            for sender in senders:
                sender.start()
            enough = generator.randrange(20, 400)
            until(lambda: sum(len(s.accepted) for s in senders) >= enough, f"{enough} messages accepted", 60)
            server.kill()
            for sender in senders:
                sender.join(30)
                self.assertFalse(sender.is_alive())
                accepted.update({name: size for name, size, _ in sender.accepted})
            # Conversations with the sink end with the server; what they still keep is this life's.
            until(lambda: not sink.open_sockets, "the sink's connections closed")
            lives.append([id_of(message) for message in sink.messages[seen:]])
            seen = len(sink.messages)
            doubtful.append({message["id"] for message in server.queue()} & {id for life in lives for id in life})
            server.start()
        until(lambda: accepted.keys() <= {name_of(m) for m in list(sink.messages)}, "every accepted message at the sink", 120)
        server.until_nothing_waits(60)
        lives.append([id_of(message) for message in sink.messages[seen:]])
        self.assertLessEqual(accepted.items(), self.sizes(sink).items())
        duplicates = self.duplicates(lives, doubtful)
        extra = len(self.sizes(sink).keys() - accepted.keys())
        print(
            f"kill -9: {ROUNDS} rounds, {len(accepted)} messages answered 250, all at the sink; "
            f"{duplicates} came twice, all of them on their way at the kill; {extra} came whose 250 was cut off",
            flush=True,
        )

    def sizes(self, sink):
        return {name_of(message): len(message.without_trace()) for message in list(sink.messages)}

    def duplicates(self, lives, doubtful):
        """Counts what came again. It must have come before the kill after which the queue still had it."""
        count = 0
        came = set()
        for number, life in enumerate(lives):
            self.assertEqual(len(life), len(set(life)), "twice within one life of the server")
            again = came & set(life)
            if again:
                self.assertLessEqual(again, doubtful[number - 1])
            count += len(again)
            came |= set(life)
        return count
