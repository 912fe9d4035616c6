"""What becomes of mail that the next hop doesn't take at once."""

import email
import email.policy

from harness.case import Case, routes_to, unique
from harness.client import Client
from harness.sink import CLOSE, GARBAGE, SILENCE, Always
from harness.waiting import until

# Attempts one second apart.
SOON = {"retry_schedule": [1]}


class FaultyHop:
    """What the tests of one message and one misbehaving next hop share."""

    def deliver(self, sink, token, configuration=None, recipients=("b@example.com",), sender="a@example.org",
                parameters=""):
        server = self.server({"queue": SOON, **routes_to(sink), **(configuration or {})})
        with self.client(server) as client:
            content = b"Subject: %s\r\n\r\nbody\r\n" % token
            self.assertReply(client.message(sender, recipients, content, parameters), "250 2.0.0")
        return server


class Retries(FaultyHop, Case):
    def test_a_next_hop_that_was_down_gets_it_later(self):
        sink = self.sink(listening=False)
        token = unique()
        server = self.deliver(sink, token)
        until(lambda: " message_deferred " in server.log, "a first attempt in the log")
        sink.listen()
        message = sink.wait_for(1)[0]
        self.assertIn(token, message.content)
        server.until_nothing_waits()

    def test_temporary_trouble_at_every_stage_is_tried_again(self):
        for stage in ("connect", "ehlo", "mail", "rcpt", "data", "content"):
            for fault in (b"451 4.3.0 Not now\r\n", CLOSE, GARBAGE):
                with self.subTest(stage=stage, fault=fault):
                    # No CHUNKING: every message passes the stage `data`.
                    sink = self.sink(("PIPELINING", "8BITMIME"), faults={stage: [fault]})
                    token = unique()
                    server = self.deliver(sink, token)
                    messages = sink.wait_for(1)
                    self.assertEqual([m.addresses for m in messages], [["b@example.com"]])
                    self.assertIn(token, messages[0].content)
                    server.until_nothing_waits()
                    self.assertEqual(len(sink.messages), 1)
                    server.stop()

    def test_421_at_the_end_of_a_kept_connection_loses_nothing(self):
        sink = self.sink(faults={"mail": [None, b"421 4.4.2 idle\r\n", None, CLOSE]})
        server = self.server({"queue": SOON, **routes_to(sink)})
        with self.client(server) as client:
            for number in range(4):
                self.assertReply(client.message("a@example.org", ["b@example.com"], b"%d\r\n" % number), "250")
                until(lambda: len(sink.messages) >= number, "the message before")
        messages = sink.wait_for(4)
        self.assertEqual(sorted(m.without_trace() for m in messages), [b"0\r\n", b"1\r\n", b"2\r\n", b"3\r\n"])

    def test_a_silent_next_hop_does_not_hold_up_another(self):
        silent, other = self.sink(faults={"connect": Always(SILENCE)}), self.sink()
        server = self.server(
            {
                "queue": {"max_workers": 1},
                "delivery": {
                    "routes": [
                        {"domain": "silent.example", "deliver": silent.route},
                        {"domain": "*", "deliver": other.route},
                    ]
                },
            }
        )
        with self.client(server) as client:
            for domain in ["silent.example"] * 20 + ["other.example"]:
                self.assertReply(client.message("a@example.org", [f"b@{domain}"], b"x\r\n"), "250")
        other.wait_for(1)


class Bounces(FaultyHop, Case):
    REFUSAL = b"550 5.1.1 No such user here\r\n"

    def bounce_of(self, message):
        self.assertEqual(message.sender, b"")
        return email.message_from_bytes(message.content, policy=email.policy.default)

    def test_a_refused_recipient_is_reported_to_the_reverse_path(self):
        sink = self.sink(faults={"rcpt": [self.REFUSAL]})
        token = unique()
        server = self.deliver(sink, token, parameters=" ENVID=envelope+2B7")
        message = sink.wait_for(1)[0]
        self.assertEqual(message.addresses, ["a@example.org"])
        report = self.bounce_of(message)
        self.assertEqual(report.get_content_type(), "multipart/report")
        self.assertEqual(report.get_param("report-type"), "delivery-status")
        for field in ("From", "To", "Date", "Message-ID", "Subject", "MIME-Version"):
            self.assertIsNotNone(report[field], field)
        self.assertIn("a@example.org", report["To"])
        self.assertEqual(report["Auto-Submitted"], "auto-replied")
        text, status, original = report.iter_parts()
        self.assertEqual(text.get_content_type(), "text/plain")
        self.assertIn("b@example.com", text.get_content())
        self.assertEqual(status.get_content_type(), "message/delivery-status")
        of_message, of_recipient = status.get_payload()
        self.assertEqual(of_message["Reporting-MTA"].replace(" ", ""), "dns;mail.example.com")
        self.assertEqual(of_message["Original-Envelope-Id"], "envelope+7")
        self.assertEqual(of_recipient["Final-Recipient"].replace(" ", ""), "rfc822;b@example.com")
        self.assertEqual(of_recipient["Action"], "failed")
        self.assertEqual(of_recipient["Status"], "5.1.1")
        self.assertIn("550 5.1.1 No such user here", of_recipient["Diagnostic-Code"])
        self.assertIn(original.get_content_type(), ("message/rfc822", "text/rfc822-headers"))
        self.assertIn(token, original.as_bytes())
        server.until_nothing_waits()

    def test_headers_only_when_ret_says_so(self):
        for ret, whole in (("HDRS", False), ("FULL", True)):
            with self.subTest(ret):
                sink = self.sink(faults={"rcpt": [self.REFUSAL]})
                self.deliver(sink, unique(), parameters=f" RET={ret}")
                original = list(self.bounce_of(sink.wait_for(1)[0]).iter_parts())[2]
                self.assertEqual(b"body" in original.as_bytes(), whole)

    def test_5xx_at_every_stage_ends_in_one_bounce(self):
        for stage in ("mail", "data", "content"):
            with self.subTest(stage):
                sink = self.sink(("8BITMIME",), faults={stage: [b"554 5.6.0 No\r\n"]})
                server = self.deliver(sink, unique(), recipients=["b@example.com", "c@example.com"])
                self.assertEqual(sink.wait_for(1)[0].addresses, ["a@example.org"])
                server.until_nothing_waits()
                self.assertEqual(len(sink.messages), 1)

    def test_nothing_is_bounced_to_the_null_reverse_path(self):
        sink = self.sink(faults={"rcpt": Always(self.REFUSAL)})
        server = self.deliver(sink, unique(), sender="")
        server.until_nothing_waits()
        self.assertEqual(sink.messages, [])
        self.assertEqual(sum(c.startswith(b"RCPT") for c in sink.commands), 1)

    def test_a_bounce_that_is_refused_makes_no_further_bounce(self):
        sink = self.sink(faults={"rcpt": Always(self.REFUSAL)})
        server = self.deliver(sink, unique())
        server.until_nothing_waits()
        self.assertEqual(sink.messages, [])
        self.assertEqual(sum(c.startswith(b"RCPT") for c in sink.commands), 2)

    def test_notify_never_means_no_bounce(self):
        sink = self.sink(faults={"rcpt": [self.REFUSAL]})
        server = self.server({"queue": SOON, **routes_to(sink)})
        with self.client(server) as client:
            client.command("MAIL FROM:<a@example.org>")
            client.command("RCPT TO:<b@example.com> NOTIFY=NEVER")
            self.assertReply(client.data(b"x\r\n"), "250")
        server.until_nothing_waits()
        self.assertEqual(sink.messages, [])

    def test_success_is_reported_when_asked_for_and_the_next_hop_cannot(self):
        sink = self.sink(("8BITMIME",))
        server = self.server({"queue": SOON, **routes_to(sink)})
        with self.client(server) as client:
            client.command("MAIL FROM:<a@example.org>")
            client.command("RCPT TO:<b@example.com> NOTIFY=SUCCESS")
            self.assertReply(client.data(b"x\r\n"), "250")
        messages = sink.wait_for(2)
        report = self.bounce_of(next(m for m in messages if m.sender == b""))
        self.assertEqual(list(report.iter_parts())[1].get_payload()[1]["Action"], "relayed")

    def test_the_last_attempt_ends_in_a_bounce(self):
        sink = self.sink(faults={"rcpt": [b"450 4.2.1 Later\r\n"] * 3})
        self.deliver(sink, unique(), {"queue": {**SOON, "max_retries": 3}})
        message = sink.wait_for(1)[0]
        self.assertEqual(message.addresses, ["a@example.org"])
        status = list(self.bounce_of(message).iter_parts())[1].get_payload()[1]
        self.assertEqual(status["Action"], "failed")
        self.assertTrue(status["Status"].startswith("4."), status["Status"])

    def test_the_end_of_its_time_ends_in_a_bounce(self):
        sink = self.sink(faults={"rcpt": lambda a: b"450 4.2.1 Later\r\n" if b"b@example.com" in a else None})
        self.deliver(sink, unique(), {"queue": {**SOON, "max_queue_time": 2}})
        self.assertEqual(sink.wait_for(1)[0].addresses, ["a@example.org"])


class Restarts(Case):
    def test_what_waited_is_delivered_after_a_restart(self):
        sink = self.sink(listening=False)
        server = self.server({"queue": SOON, **routes_to(sink)})
        tokens = [unique() for _ in range(20)]
        with self.client(server) as client:
            for number, token in enumerate(tokens):
                # Of five, one is sent piece by piece and one is beyond the spill threshold.
                size = (300_000, 200_000, 100, 100, 100)[number % 5]
                content = b"Subject: %s\r\n\r\n" % token + b"z" * size + b"\r\n"
                self.assertReply(client.message("a@example.org", ["b@example.com"], content), "250")
        server.stop()
        sink.listen()
        server.start()
        messages = sink.wait_for(20)
        self.assertEqual(sorted(m.without_trace()[9:25] for m in messages), sorted(tokens))
        server.until_nothing_waits()

    def test_message_ids_are_never_given_twice(self):
        server = self.server()
        seen = []
        for _ in range(3):
            with Client(server.address) as client:
                client.ehlo()
                for _ in range(50):
                    seen.append(client.message("a@example.org", ["b@example.com"], b"x\r\n").message_id)
            server.stop()
            server.start()
        self.assertEqual(len(set(seen)), 150)
