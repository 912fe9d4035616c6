"""What goes in comes out, octet by octet, whatever program sends it."""

import random
import re
import smtplib

from harness import tools
from harness.case import Case, SharedServerCase, discard_routes, routes_to, unique
from harness.sink import EVERYTHING

MEBI = 1024 * 1024
WITHOUT_CHUNKING = tuple(word for word in EVERYTHING if word != "CHUNKING")


def text_of(size, seed):
    """Lines of printable octets, about `size` of them, many beginning with dots."""
    generator = random.Random(seed)
    lines = []
    left = size
    while left > 0:
        length = min(generator.choice((0, 1, 2, 40, 76, 300, 998)), max(left - 2, 0))
        dots = b"." * generator.choice((0, 0, 0, 1, 2, 3))
        line = (dots + bytes(generator.choices(range(0x20, 0x7F), k=length)))[:998]
        lines.append(line + b"\r\n")
        left -= len(line) + 2
    return b"".join(lines)


def bodies():
    """Names and contents that lines and dots could damage."""
    header = b"Subject: x\r\n\r\n"
    return {
        "lines of dots": header + b".\r\n..\r\n...\r\n.x\r\nx.\r\n\r\n.\r\n",
        "only dots": b".\r\n",
        "empty": b"",
        "no header": b"just text\r\n",
        "dots at the end": header + b"x\r\n..\r\n.\r\n",
        "eight bits": header + bytes(range(0x80, 0x100)) + b"\r\n",
        "NULs": header + b"a\0b\0\r\n\0\r\n",
        "ends with empty lines": header + b"x\r\n\r\n\r\n",
        "controls": header + bytes(c for c in range(1, 0x20) if c not in (10, 13)) + b"\x7f\r\n",
        "line of 998": header + b"l" * 998 + b"\r\n",
        "60 KiB": header + text_of(60 * 1024, 2),
        "64 KiB and one": header + text_of(64 * 1024 + 1, 1),
        "200 KiB, below the threshold": header + text_of(200 * 1024, 4),
        "256 KiB and one": header + text_of(256 * 1024 + 1, 10),
        "1 MiB": header + text_of(MEBI, 3),
        "a dot at each segment's end": (b"x" * 1021 + b"\r\n.\r\n")[:-3] * 1000,
    }


class Programs(SharedServerCase):
    def test_swaks_sends(self):
        token = unique().decode()
        said = tools.swaks(
            self.shared.address, "--from", "a@example.org", "--to", "b@example.com,c@example.com",
            "--h-Subject", token, "--body", "one\n.\n..two\n", "--pipeline",
        )
        self.assertIn("250 2.0.0 Message accepted for delivery", said)
        message = self.arrived(token.encode())
        self.assertEqual(message.addresses, ["b@example.com", "c@example.com"])
        self.assertIn(b"\r\none\r\n.\r\n..two\r\n", message.without_trace())

    def test_smtplib_sends(self):
        token = unique()
        content = b"Subject: %s\r\n\r\n.\r\n..\r\nbody\r\n" % token
        with smtplib.SMTP(*self.shared.address) as client:
            refused = client.sendmail(
                "a@example.org", ["b@example.com"], content, ["BODY=8BITMIME", "RET=HDRS"], ["NOTIFY=NEVER"]
            )
        self.assertEqual(refused, {})
        message = self.arrived(token)
        self.assertEqual(message.without_trace(), content)
        self.assertEqual(message.sender, b"a@example.org")

    def test_curl_sends(self):
        token = unique()
        content = b"From: a@example.org\r\nSubject: %s\r\n\r\n.\r\ncurl\r\n..\r\n" % token
        tools.curl(
            self.shared.address, "--mail-from", "a@example.org", "--mail-rcpt", "b@example.com",
            "--upload-file", "-", input=content,
        )
        self.assertEqual(self.arrived(token).without_trace(), content)

    def test_curl_sends_a_mebibyte(self):
        token = unique()
        content = b"Subject: %s\r\n\r\n" % token + text_of(MEBI, 9)
        tools.curl(
            self.shared.address, "--mail-from", "a@example.org", "--mail-rcpt", "b@example.com",
            "--upload-file", "-", input=content,
        )
        self.assertEqual(self.arrived(token).without_trace(), content)


class PostfixTools(Case):
    def test_smtp_source_sends_and_smtp_sink_receives(self):
        sink = tools.SmtpSink(self.directory())
        self.addCleanup(sink.close)
        server = self.server({"delivery": {"routes": [{"domain": "*", "deliver": sink.route}]}})
        tools.smtp_source(
            server.address, "-s", "10", "-m", "300", "-l", "4096", "-f", "a@example.org", "-t", "b@example.com"
        )
        sink.wait_for(300)
        kept = sink.files[0].read_bytes()
        self.assertIn(b"by mail.example.com", kept)
        self.assertIn(b"XXXXXXXX", kept)

    def test_smtp_source_reuses_connections_and_sends_to_many(self):
        sink = self.sink()
        server = self.server(routes_to(sink))
        tools.smtp_source(
            server.address, "-d", "-s", "20", "-m", "400", "-r", "5", "-l", "70000", "-f", "a@example.org",
            "-t", "b@example.com",
        )
        messages = sink.wait_for(400, 60)
        self.assertEqual(len(messages), 400)
        self.assertEqual(sum(len(message.recipients) for message in messages), 2000)
        for message in messages:
            header, body = message.without_trace().split(b"\r\n\r\n", 1)
            self.assertRegex(body, rb"\A(\d*X+\r\n)+\Z")
            self.assertAlmostEqual(len(header) + len(body), 70_000, delta=2_000)


class RoundTrips:
    """Every body, in by DATA and by BDAT; how it goes out depends on the next hop."""

    def check(self, content, via, parameters=" BODY=8BITMIME"):
        known = len(self.next_hop.messages)
        client = self.connect()
        reply = client.message("a@example.org", ["b@example.com"], content, parameters, via)
        self.assertReply(reply, "250 2.0.0 Message accepted for delivery")
        client.close()
        message = self.next_hop.wait_for(known + 1)[known]
        if message.without_trace() != content:
            self.fail(difference(content, message.without_trace()))
        return message

    def test_in_by_data(self):
        for name, content in bodies().items():
            with self.subTest(name):
                self.check(content, "DATA")

    def test_in_by_bdat(self):
        for name, content in bodies().items():
            with self.subTest(name):
                self.check(content, "BDAT")

    def test_in_by_bdat_in_small_chunks(self):
        content = bodies()["lines of dots"] * 200
        known = len(self.next_hop.messages)
        client = self.connect()
        client.envelope("a@example.org", ["b@example.com"])
        self.assertReply(client.bdat(content, chunk=7), "250 2.0.0 Message")
        self.assertEqual(self.next_hop.wait_for(known + 1)[known].without_trace(), content)

    def test_twenty_mebibytes(self):
        self.check(text_of(MEBI, 5) * 20, "DATA")
        self.check(text_of(MEBI, 6) * 20, "BDAT")


class ToANextHopWithChunking(RoundTrips, SharedServerCase):
    def test_binary_goes_through_as_it_is(self):
        for name, content in {
            "bare CR, LF and NUL": b"Subject: x\r\n\r\na\rb\nc\0d\n.\n\r\n.\r\n",
            "no line end at the end": b"Subject: x\r\n\r\nend",
            "ends with CR": b"Subject: x\r\n\r\nend\r",
            "every octet": b"Subject: x\r\n\r\n" + bytes(range(256)) * 600,
        }.items():
            with self.subTest(name):
                self.assertEqual(self.check(content, "BDAT").via, "BDAT")


class ToANextHopWithoutChunking(RoundTrips, SharedServerCase):
    extensions = WITHOUT_CHUNKING

    def test_what_data_cannot_carry_is_bounced_and_never_sent(self):
        for content in (b"Subject: x\r\n\r\nx\n.\nQUIT\r\n", b"Subject: x\r\n\r\nx\r.\r\n", b"Subject: x\r\n\r\n\n.\r\n"):
            with self.subTest(content):
                known = len(self.next_hop.messages)
                client = self.connect()
                reply = client.message("a@example.org", ["b@example.com"], content, via="BDAT")
                self.assertReply(reply, "250 2.0.0")
                bounce = self.next_hop.wait_for(known + 1)[known]
                self.assertEqual((bounce.sender, bounce.addresses), (b"", ["a@example.org"]))
                self.assertIn(b"multipart/report", bounce.content)
                self.assertNotIn(b"\nQUIT\r\n\nQUIT", bounce.content)

    def test_a_missing_line_end_at_the_end_is_all_that_data_adds(self):
        known = len(self.next_hop.messages)
        client = self.connect()
        content = b"Subject: x\r\n\r\nno line end"
        self.assertReply(client.message("a@example.org", ["b@example.com"], content, via="BDAT"), "250")
        message = self.next_hop.wait_for(known + 1)[known]
        if message.sender:  # delivered; a bounce would be as faithful
            self.assertEqual(message.without_trace(), content + b"\r\n")


class ReceivedField(SharedServerCase):
    def trace(self, client, recipients=("b@example.com",), sender="a@example.org", parameters=""):
        token = unique()
        reply = client.message(sender, recipients, token + b"\r\n", parameters)
        self.assertReply(reply, "250 2.0.0")
        trace = self.arrived(token).trace
        for line in trace.split(b"\r\n"):
            self.assertLessEqual(len(line), 998)
        return re.sub(r"\s+", " ", trace.decode()), reply

    def test_it_says_from_by_with_id_for_and_when(self):
        client = self.connect()
        trace, reply = self.trace(client)
        self.assertRegex(
            trace,
            r"^Received: from client\.example\.org \(\[127\.0\.0\.1\]\) by mail\.example\.com with ESMTP "
            rf"id {re.escape(reply.message_id)} for <b@example\.com>; "
            r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d \+0000 $",
        )

    def test_two_recipients_are_not_told_of_each_other(self):
        client = self.connect()
        trace, _ = self.trace(client, ["b@example.com", "c@example.com"])
        self.assertNotIn(" for ", trace)

    def test_helo_is_smtp_and_smtputf8_is_utf8smtp(self):
        client = self.connect(hello=None)
        client.command("HELO old.example.org")
        trace, _ = self.trace(client)
        self.assertIn(" with SMTP id ", trace)
        client.ehlo("new.example.org")
        trace, _ = self.trace(client, sender="jürgen@example.org", parameters=" SMTPUTF8")
        self.assertIn(" with UTF8SMTP id ", trace)

    def test_a_message_that_loops_is_refused(self):
        client = self.connect()
        field = b"Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\r\n"
        accepted = client.message("a@example.org", ["b@example.com"], field * 100 + b"\r\nx\r\n")
        self.assertReply(accepted, "250")
        for via in ("DATA", "BDAT"):
            refused = client.message("a@example.org", ["b@example.com"], field * 101 + b"\r\nx\r\n", via=via)
            self.assertReply(refused, "554 5.4.6")
        in_the_body = client.message("a@example.org", ["b@example.com"], b"X: y\r\n\r\n" + field * 200)
        self.assertReply(in_the_body, "250")


class Discarding(Case):
    def test_a_discard_route_accepts_and_keeps_nothing(self):
        server = self.server(discard_routes())
        client = self.client(server)
        for _ in range(5):
            self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250 2.0.0")
        server.until_nothing_waits()


def difference(expected, found):
    at = next((i for i, (a, b) in enumerate(zip(expected, found)) if a != b), min(len(expected), len(found)))
    around = slice(max(at - 30, 0), at + 30)
    return (
        f"{len(expected)} octets sent, {len(found)} arrived; they differ at {at}: "
        f"{expected[around]!r} became {found[around]!r}"
    )
