"""kill -9 under load, again and again: every message answered 250 reaches the sink."""

import os
import random
import time

from harness.case import Case, routes_to
from harness.load import Sender, content, id_of, name_of
from harness.waiting import until

ROUNDS = int(os.environ.get("KILL_ROUNDS", "5"))
SENDERS = 6
# What was delivered longer before the kill is recorded, seconds; a busy disk takes its time.
RECORDED_AFTER = 1


class KillNine(Case):
    """What was answered 250 reaches the sink; what reaches it twice was on its way when the server died."""

    def test_every_message_answered_250_reaches_the_sink(self):
        sink = self.sink()
        server = self.server({"queue": {"retry_schedule": [1]}, **routes_to(sink)})
        generator = random.Random(9)
        accepted = {}
        # The ids that each life of the server brought to the sink, and those of them that its end left in the queue.
        lives, doubtful, kills, seen = [], [], [], 0
        for number in range(ROUNDS):
            senders = [Sender(server.address, f"r{number}s{n}") for n in range(SENDERS)]
            for sender in senders:
                sender.start()
            enough = generator.randrange(20, 400)
            until(lambda: sum(len(s.accepted) for s in senders) >= enough, f"{enough} messages accepted", 60)
            server.kill()
            kills.append(time.monotonic())
            for sender in senders:
                sender.join(30)
                self.assertFalse(sender.is_alive())
                accepted.update({name: size for name, size, _ in sender.accepted})
            # Conversations with the sink end with the server; what they still keep is this life's.
            until(lambda: not sink.open_sockets, "the sink's connections closed")
            lives.append({id_of(message): message.arrived for message in sink.messages[seen:]})
            self.assertEqual(len(lives[-1]), len(sink.messages) - seen, "twice within one life of the server")
            seen = len(sink.messages)
            doubtful.append({message["id"] for message in server.queue()} & {id for life in lives for id in life})
            server.start()
        until(lambda: accepted.keys() <= {name_of(m) for m in list(sink.messages)}, "every accepted message at the sink", 120)
        server.until_nothing_waits(60)
        lives.append({id_of(message): message.arrived for message in sink.messages[seen:]})
        self.assertEqual(len(lives[-1]), len(sink.messages) - seen, "twice within one life of the server")
        self.assertLessEqual(accepted.items(), self.sizes(sink).items())
        ages = self.duplicates(lives, doubtful, kills)
        extra = len(self.sizes(sink).keys() - accepted.keys())
        print(
            f"kill -9: {ROUNDS} rounds, {len(accepted)} messages answered 250, all at the sink; "
            f"{len(ages)} came twice, delivered at most {max(ages, default=0) * 1000:.0f} ms before the kill; "
            f"{extra} came whose 250 was cut off",
            flush=True,
        )

    def sizes(self, sink):
        return {name_of(message): len(message.without_trace()) for message in list(sink.messages)}

    def duplicates(self, lives, doubtful, kills):
        """How long before the kill what came again had come, seconds; the queue still had it then."""
        ages = []
        last = {}
        for number, life in enumerate(lives):
            again = last.keys() & life.keys()
            if again:
                self.assertLessEqual(again, doubtful[number - 1])
            for id in again:
                before, arrived = last[id]
                ages.append(max(0.0, kills[before] - arrived))
            last |= {id: (number, arrived) for id, arrived in life.items()}
        self.assertLess(max(ages, default=0), RECORDED_AFTER)
        return ages

    def test_what_is_recorded_as_delivered_never_comes_again(self):
        sink = self.sink()
        server = self.server(routes_to(sink))
        with self.client(server) as client:
            for number in range(100):
                self.assertReply(client.message("", ["b@example.com"], content(f"quiet{number}", 200)), "250")
        sink.wait_for(100)
        server.until_nothing_waits(RECORDED_AFTER)
        server.kill()
        server.start()
        with self.client(server) as client:
            self.assertReply(client.message("", ["b@example.com"], content("after", 200)), "250")
        until(lambda: "after" in {name_of(message) for message in list(sink.messages)}, "the message after the kill")
        server.until_nothing_waits()
        self.assertEqual(len(sink.messages), 101)
