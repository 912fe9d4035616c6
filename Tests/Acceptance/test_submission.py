"""Listeners for mail programs: what these have left out of the header section is added (RFC 6409)."""

import email
import email.utils
import re

from harness.case import Case, routes_to, unique
from harness.client import Client

SENDER, RECIPIENT = "sender@example.org", "recipient@example.com"
DATE = b"Date: Thu, 1 Jan 2026 00:00:00 +0000\r\n"
MESSAGE_ID = b"Message-ID: <one@example.org>\r\n"
ADDED_DATE = rb"Date: \w{3}, \d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d \+0000\r\n"


class Submission(Case):
    def serving(self, **configuration):
        sink = self.sink()
        listeners = [
            {"address": "127.0.0.1:0", "submission": True},
            {"address": "127.0.0.1:0"},
        ]
        server = self.server(
            routes_to(sink) | {"listen_addr": None, "listeners": listeners} | configuration
        )
        return server, sink

    def sent(self, server, sink, content, via="DATA", listener=0, chunk=None):
        """What a message has become on its way: below the trace field, and its id."""
        before = len(sink.messages)
        client = self.client_of(server, listener)
        client.envelope(SENDER, [RECIPIENT])
        reply = client.data(content) if via == "DATA" else client.bdat(content, chunk)
        self.assertReply(reply, "250")
        client.close()
        message = sink.wait_for(before + 1)[before]
        self.assertIn(reply.message_id.encode(), message.trace)
        return message.without_trace(), reply.message_id.encode()

    def client_of(self, server, listener):
        client = Client(server.addresses[listener])
        self.addCleanup(client.close)
        self.assertReply(client.ehlo(), "250")
        return client

    def test_what_is_missing_is_added_below_the_trace_field(self):
        server, sink = self.serving()
        for header in (b"", DATE, MESSAGE_ID, DATE + MESSAGE_ID, b"date :x\r\nmessage-id\t:<y@z>\r\n"):
            for via in ("DATA", "BDAT"):
                with self.subTest(header=header, via=via):
                    content = header + b"Subject: x\r\n\r\n" + unique() + b"\r\n"
                    arrived, id = self.sent(server, sink, content, via)
                    expected = b""
                    if b"ate" not in header:
                        expected += ADDED_DATE
                    if b"essage" not in header:
                        expected += rb"Message-ID: <%s@mail\.example\.com>\r\n" % id
                    self.assertRegex(arrived, rb"\A%s%s\Z" % (expected, re.escape(content)))

    def test_content_in_files_chunks_and_odd_shapes_gets_it_too(self):
        server, sink = self.serving(limits={"spill_threshold": 4096})
        body = b"x" * 70 + b"\r\n"
        for name, content, chunk in (
            ("a file", b"Subject: x\r\n\r\n" + body * 5000, None),
            ("a header longer than the threshold", b"X-Long: y\r\n" * 2000 + b"\r\n" + body * 5000, None),
            ("no body", b"Subject: x\r\n", None),
            ("no header", b"\r\nDate: this is the body\r\n", None),
            ("nothing", b"", None),
            ("an empty line", b"\r\n", None),
            ("chunks in the middle of a name", b"Subject: x\r\nDate\r\n: y\r\n\r\nx\r\n", 3),
        ):
            for via in ("DATA", "BDAT"):
                with self.subTest(name, via=via):
                    arrived, id = self.sent(server, sink, content, via, chunk=chunk)
                    found = re.match(
                        ADDED_DATE + rb"Message-ID: <%s@mail\.example\.com>\r\n" % id, arrived
                    )
                    self.assertTrue(found, arrived[:200])
                    self.assertEqual(arrived[found.end() :], content)

    def test_a_header_that_never_ends_is_left_alone(self):
        server, sink = self.serving()
        content = b"X-Long: y\r\n" * 10000 + b"\r\nx\r\n"
        arrived, _ = self.sent(server, sink, content)
        self.assertEqual(arrived, content)

    def test_a_date_is_one_that_programs_read(self):
        server, sink = self.serving()
        arrived, _ = self.sent(server, sink, b"Subject: x\r\n\r\nx\r\n")
        message = email.message_from_bytes(arrived)
        self.assertIsNotNone(email.utils.parsedate_to_datetime(message["Date"]))
        self.assertEqual(message["Subject"], "x")

    def test_other_listeners_add_nothing(self):
        server, sink = self.serving()
        content = b"Subject: x\r\n\r\n" + unique() + b"\r\n"
        arrived, _ = self.sent(server, sink, content, listener=1)
        self.assertEqual(arrived, content)

    def test_addresses_without_a_domain_are_refused(self):
        server, _ = self.serving()
        client = self.client_of(server, 0)
        self.assertReply(client.command("MAIL FROM:<sender>"), "501 5.1.7")
        self.assertReply(client.command("MAIL FROM:<sender@example.org>"), "250")
        self.assertReply(client.command("RCPT TO:<recipient>"), "501 5.1.3")
