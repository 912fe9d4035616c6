"""What waits, what it waits for, and what an operator is told about it."""

from harness.case import Case, routes_to
from harness.sink import CLOSE, Always
from harness.waiting import until


class Unreachable(Case):
    """A destination that is down, and many messages for it."""

    COUNT = 200

    def filled(self, sink, count=COUNT, configuration=None):
        server = self.server({"queue": {"retry_schedule": [3600]}, **routes_to(sink), **(configuration or {})})
        self.send(server, count)
        return server

    def send(self, server, count, domain="example.com"):
        with self.client(server) as client:
            for _ in range(count):
                self.assertReply(client.message("a@example.org", [f"b@{domain}"], b"Subject: x\r\n\r\n"), "250")

    def test_one_message_finds_out_and_the_others_wait_for_free(self):
        sink = self.sink(faults={"connect": Always(CLOSE)})
        server = self.filled(sink)
        until(lambda: "destination_unreachable" in server.log, "the destination found to be down")
        # Whoever came before that was known may have met a closed connection of its own.
        tried = len(sink.transcripts)
        self.assertLess(tried, 20)
        self.send(server, self.COUNT)
        waiting = server.waiting()
        self.assertEqual(len(waiting), 2 * self.COUNT)
        self.assertEqual({message["state"] for message in waiting}, {"deferred"})
        self.assertTrue(all("took" in m["reason"] or "lost" in m["reason"] for m in waiting), waiting[-1])
        self.assertTrue(all(message["next_attempt"] for message in waiting))
        self.assertEqual(len(sink.transcripts), tried)
        shown = server.run("queue", "show", waiting[-1]["id"])
        self.assertIn("attempts 0", shown)

    def test_one_that_comes_back_drains_at_once(self):
        sink = self.sink(listening=False)
        server = self.filled(sink)
        until(lambda: "destination_unreachable" in server.log, "the destination found to be down")
        sink.listen()
        server.run("queue", "retry", server.queue()[5]["id"])
        sink.wait_for(self.COUNT)
        server.until_nothing_waits()

    def test_probing_goes_on_by_itself(self):
        sink = self.sink(listening=False)
        server = self.filled(sink, configuration={"queue": {"retry_schedule": [1]}})
        until(lambda: server.log.count("destination_unreachable") >= 3, "three probes")
        self.assertLess(server.log.count(" message_deferred "), 20)
        sink.listen()
        sink.wait_for(self.COUNT)
        server.until_nothing_waits()

    def test_after_a_restart_one_probe_comes_first(self):
        sink = self.sink(faults={"connect": Always(CLOSE)})
        server = self.filled(sink)
        until(lambda: "destination_unreachable" in server.log, "the destination found to be down")
        server.stop()
        tried = len(sink.transcripts)
        server.start()
        until(lambda: "destination_unreachable" in server.log, "the destination found to be down again")
        self.assertEqual(len(sink.transcripts), tried + 1)
        sink.faults = {}
        server.run("queue", "retry", "--all")
        sink.wait_for(self.COUNT)
        server.until_nothing_waits()

    def test_others_are_delivered_meanwhile(self):
        down, up = self.sink(listening=False), self.sink()
        server = self.server(
            {
                "delivery": {
                    "routes": [
                        {"domain": "down.example", "deliver": down.route},
                        {"domain": "*", "deliver": up.route},
                    ]
                }
            }
        )
        self.send(server, 50, "down.example")
        self.send(server, 50, "up.example")
        up.wait_for(50)

    def test_a_message_whose_time_ends_while_it_waits_comes_back(self):
        down, up = self.sink(listening=False), self.sink()
        server = self.server(
            {
                "queue": {"retry_schedule": [3600], "max_queue_time": 3},
                "delivery": {
                    "routes": [
                        {"domain": "down.example", "deliver": down.route},
                        {"domain": "*", "deliver": up.route},
                    ]
                },
            }
        )
        self.send(server, 20, "down.example")
        for message in up.wait_for(20):
            self.assertEqual(message.addresses, ["a@example.org"])
            self.assertIn(b"Connection refused", message.content)
        server.until_nothing_waits()
