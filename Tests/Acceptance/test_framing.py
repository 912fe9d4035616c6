"""Where lines, mail data and chunks end, however the octets arrive."""

from harness.case import Case, SharedServerCase, unique
from harness.client import Closed
from harness.server import SANITIZER

MEBI = 1024 * 1024


class CommandLines(SharedServerCase):
    def test_a_pipelined_transaction_in_one_segment(self):
        token = unique()
        client = self.connect(hello=None)
        client.send(
            b"EHLO client.example.org\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\n"
            b"RCPT TO:<nobody>\r\nDATA\r\nSubject: %s\r\n\r\n..dot\r\n.\r\nMAIL FROM:<>\r\nQUIT\r\n" % token
        )
        beginnings = ("250 HELP", "250 2.1.0", "250 2.1.5", "501 5.1.3", "354", "250 2.0.0 Message",
                      "250 2.1.0", "221")
        for beginning in beginnings:
            self.assertReply(client.reply(), beginning)
        self.assertTrue(client.is_closed())
        self.assertEqual(self.arrived(token).without_trace(), b"Subject: %s\r\n\r\n.dot\r\n" % token)

    def test_a_dialogue_octet_by_octet(self):
        token = unique()
        client = self.connect(hello=None)
        client.send_each(
            b"EHLO c\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"
            b"Subject: %s\r\n\r\n.\r.x\r\nQUIT\r\n.\r\nRSET\r\nMAIL FROM:<a@example.org>\r\n"
            b"RCPT TO:<b@example.com>\r\nBDAT 7\r\nMAIL\r\n\rBDAT %d LAST\r\nSubject: %s\r\n\r\nQUIT\r\n"
            % (token, 13 + len(token), token)
        )
        # A bare CR stands in the first message; the second begins inside a chunk that looks like commands.
        beginnings = ("250 HELP", "250", "250", "354", "550 5.6.11", "250", "250", "250", "250 2.0.0 7 octets",
                      "250 2.0.0 Message", "221")
        for beginning in beginnings:
            self.assertReply(client.reply(), beginning)
        content = self.arrived(b"Subject: " + token).without_trace()
        self.assertEqual(content, b"MAIL\r\n\rSubject: %s\r\n\r\n" % token)

    def test_a_dialogue_cut_in_two_at_every_octet(self):
        wire = (
            b"EHLO c\r\nBOGUS\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"
            b"..\r\n\r\n.\r\nBDAT 4 LAST\r\nQUITMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\n"
            b"BDAT 2\r\n\r\nBDAT 3 LAST\r\n.\r\nQUIT\r\n"
        )
        codes = [250, 500, 250, 250, 354, 250, 503, 250, 250, 250, 250, 221]
        for at in range(1, len(wire)):
            client = self.connect(hello=None)
            client.send(wire[:at])
            client.send(wire[at:])
            said = [reply.code for reply in client.replies(len(codes))]
            self.assertEqual(said, codes, f"cut at {at}: {wire[:at]!r}")
            client.close()

    def test_a_long_line_is_500_once_and_skipped(self):
        client = self.connect()
        for length in (511, 5000, 70_000):
            client.send(b"NOOP " + b"x" * length + b"\r\nRSET\r\n")
            self.assertReply(client.reply(), "500 5.5.2")
            self.assertReply(client.reply(), "250 2.0.0")

    def test_a_line_of_512_octets_is_no_long_line(self):
        client = self.connect()
        client.send(b"NOOP " + b"x" * 505 + b"\r\n")
        self.assertReply(client.reply(), "250 2.0.0")

    def test_mail_and_rcpt_have_room_for_parameters(self):
        client = self.connect()
        self.assertReply(client.command("MAIL FROM:<a@example.org> ENVID=" + "e" * 90), "250")
        long_orcpt = "ORCPT=rfc822;" + "+2B" * 400 + "@example.com"
        reply = client.command(f"RCPT TO:<b@example.com> {long_orcpt}")
        self.assertNotEqual(reply.texts[-1][:5], "5.5.2", reply)
        client.send(b"RCPT TO:<b@example.com> ORCPT=rfc822;" + b"a" * 2100 + b"\r\n")
        self.assertReply(client.reply(), "500 5.5.2")
        self.assertReply(client.command("RCPT TO:<b@example.com>"), "250")

    def test_a_line_of_ten_megabytes_takes_no_memory(self):
        client = self.connect()
        before = self.shared.resident_octets()
        for _ in range(10):
            client.send(b"x" * MEBI)
        client.send(b"\r\nNOOP\r\n")
        self.assertReply(client.reply(), "500 5.5.2")
        self.assertReply(client.reply(), "250 2.0.0")
        if not SANITIZER:
            self.assertLess(self.shared.peak_octets() - before, 4 * MEBI)

    def test_control_characters_are_500_once(self):
        client = self.connect()
        for line in (b"NO\0OP", b"NOOP \r", b"NOOP a\rb", b"\x01", b"NOOP \x1b[2J", b"MAIL FROM:<a\0@example.org>",
                     b"NOOP \x7f"):
            client.send(line + b"\r\nNOOP\r\n")
            self.assertReply(client.reply(), "500 5.5.2")
            self.assertReply(client.reply(), "250")

    def test_a_plain_lf_client_is_answered_at_once(self):
        for line in (b"EHLO example.org\n", b"\n", b"EHLO x\nMAIL FROM:<a@example.org>\nQUIT\r\n", b"NOOP\nNOOP\r\n"):
            with self.subTest(line):
                client = self.connect(hello=None)
                client.send(line)
                reply = client.reply()
                self.assertReply(reply, "421 4.5.2")
                self.assertIn("Lines end with CRLF (nc -C)", str(reply))
                self.assertTrue(client.is_closed())


class EndOfData(SharedServerCase):
    def begin(self):
        client = self.connect()
        client.envelope("a@example.org", ["b@example.com"])
        self.assertReply(client.command("DATA"), "354 Start mail input; end with <CRLF>.<CRLF>")
        return client

    def test_a_bare_lf_or_cr_is_refused_after_the_real_end(self):
        smuggled = b"MAIL FROM:<evil@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"
        for end in (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\n\n.\r\n", b"\r\r\n.\r\r\n"):
            with self.subTest(end):
                client = self.begin()
                token = unique()
                client.send(b"Subject: %s\r\n\r\nbody%s%s" % (token, end, smuggled))
                client.send(b"\r\n.\r\n")
                self.assertReply(client.reply(), "550 5.6.11")
                self.assertReply(client.command("NOOP"), "250")
                self.assertFalse([m for m in self.next_hop.messages if token in m.content])

    def test_it_is_found_wherever_tcp_cuts(self):
        wire = b"x\r\n.\ny\n.\r\nz\r.\r\n\r\n.\r\nNOOP\r\n"
        for at in range(1, len(wire)):
            client = self.begin()
            client.send(wire[:at])
            client.send(wire[at:])
            self.assertReply(client.reply(), "550 5.6.11")
            self.assertReply(client.reply(), "250 2.0.0")
            client.close()

    def test_an_empty_message_is_a_message(self):
        client = self.begin()
        client.send(b".\r\n")
        self.assertReply(client.reply(), "250 2.0.0 Message accepted for delivery")

    def test_long_text_lines_are_kept(self):
        for length in (998, 999, 5000, 200_000):
            with self.subTest(length):
                token = unique()
                content = b"Subject: %s\r\n\r\n" % token + b"y" * length + b"\r\n"
                client = self.begin()
                client.send(content + b".\r\n")
                self.assertReply(client.reply(), "250 2.0.0")
                self.assertEqual(self.arrived(token).without_trace(), content)


class NormalizedNewlines(SharedServerCase):
    configuration = {"limits": {"bare_newline": "normalize"}}

    def test_a_bare_lf_becomes_crlf_and_never_ends_the_data(self):
        token = unique()
        client = self.connect(hello=None)
        client.send(b"EHLO x\nMAIL FROM:<a@example.org>\nRCPT TO:<b@example.com>\nDATA\n")
        for beginning in ("250 HELP", "250", "250", "354"):
            self.assertReply(client.reply(), beginning)
        client.send(b"Subject: %s\n\n..dots\n.\nQUIT\r\n.\r\n" % token)
        self.assertReply(client.reply(), "250 2.0.0 Message")
        # Lines ended by LF are unstuffed like the others: the line with one dot becomes empty.
        expected = b"Subject: %s\r\n\r\n.dots\r\n\r\nQUIT\r\n" % token
        self.assertEqual(self.arrived(token).without_trace(), expected)

    def test_a_bare_cr_is_refused_all_the_same(self):
        client = self.connect()
        self.assertReply(client.message("a@example.org", ["b@example.com"], b"a\rb\r\n"), "550 5.6.11")


class ExemptFromBareNewlines(Case):
    def test_only_exempt_clients_are_normalized(self):
        server = self.server({"limits": {"bare_newline_exempt": ["127.0.3.0/24"]}})
        exempt = self.client(server, "127.0.3.9", hello=None)
        exempt.send(b"EHLO x\n")
        self.assertReply(exempt.reply(), "250 HELP")
        other = self.client(server, "127.0.0.1", hello=None)
        other.send(b"EHLO x\n")
        self.assertReply(other.reply(), "421 4.5.2")


class Chunks(SharedServerCase):
    def test_each_chunk_is_answered_with_its_count(self):
        client = self.connect()
        client.envelope("a@example.org", ["b@example.com"])
        client.send(b"BDAT 0\r\nBDAT 5\r\nabc\r\nBDAT 0 LAST\r\n")
        self.assertReply(client.reply(), "250 2.0.0 0 octets received")
        self.assertReply(client.reply(), "250 2.0.0 5 octets received")
        self.assertReply(client.reply(), "250 2.0.0 Message accepted for delivery")

    def test_refused_chunks_are_answered_at_once_and_swallowed(self):
        commands = b"QUIT\r\nMAIL FROM:<evil@example.org>\r\n"
        size = len(commands)
        for name, before, beginning in (
            ("no transaction", b"", "503 5.5.1"),
            ("no recipient", b"MAIL FROM:<a@example.org>\r\n", "503 5.5.1"),
            ("refused MAIL", b"MAIL FROM:<a b>\r\n", "503 5.5.1"),
            ("refused RCPT", b"MAIL FROM:<a@example.org>\r\nRCPT TO:<a b>\r\n", "503 5.5.1"),
        ):
            with self.subTest(name):
                client = self.connect()
                client.send(before + b"BDAT %d LAST\r\n" % size)
                # Answered before the octets are there.
                for reply in client.replies(before.count(b"\r\n") + 1):
                    pass
                self.assertReply(reply, beginning)
                client.send(commands + b"NOOP\r\n")
                self.assertReply(client.reply(), "250 2.0.0")

    def test_data_after_bdat_is_503(self):
        client = self.connect()
        client.envelope("a@example.org", ["b@example.com"])
        client.send(b"BDAT 3\r\nabcDATA\r\n")
        self.assertReply(client.reply(), "250 2.0.0 3 octets")
        self.assertReply(client.reply(), "503 5.5.1")
        self.assertReply(client.command("RSET"), "250")

    def test_a_chunk_over_the_limit_is_refused_at_once_and_swallowed(self):
        client = self.connect()
        client.envelope("a@example.org", ["b@example.com"])
        client.send(b"BDAT 30000000 LAST\r\n")
        self.assertReply(client.reply(), "552 5.3.4")
        for _ in range(30):
            client.send(b"QUIT\r\n" * 166_666 + b"abcd")
        self.assertReply(client.command("NOOP"), "250 2.0.0")

    def test_a_size_that_is_no_number_is_421(self):
        for argument in (b"", b"x", b"-1", b"1x LAST", b"9223372036854775809", b"99999999999999999999999 LAST",
                         b"5 FIRST", b"+5", b"0x10", b"5 LAST LAST"):
            with self.subTest(argument):
                client = self.connect()
                client.envelope("a@example.org", ["b@example.com"])
                client.send(b"BDAT " + argument + b"\r\n")
                if argument in (b"5 FIRST", b"5 LAST LAST"):
                    # The size is known, so the place in the stream isn't lost: either is right.
                    self.assertIn(client.reply().code, (421, 501))
                    continue
                self.assertReply(client.reply(), "421 4.5.1")
                self.assertTrue(client.is_closed())

    def test_rset_in_the_middle_forgets_the_chunks(self):
        token = unique()
        client = self.connect()
        client.envelope("a@example.org", ["b@example.com"])
        client.send(b"BDAT 6\r\nforgetRSET\r\n")
        self.assertReply(client.reply(), "250 2.0.0 6 octets")
        self.assertReply(client.reply(), "250 2.0.0")
        self.assertReply(client.message("a@example.org", ["b@example.com"], token + b"\r\n", via="BDAT"), "250")
        self.assertEqual(self.arrived(token).without_trace(), token + b"\r\n")

    def test_a_client_that_leaves_in_the_middle_leaves_nothing(self):
        token = unique()
        client = self.connect()
        client.envelope("a@example.org", ["b@example.com"])
        client.send(b"BDAT 1000\r\n" + token)
        client.close()
        follower = self.connect()
        self.assertReply(follower.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")
        with self.assertRaises((Closed, OSError)):
            client.command("NOOP")
        self.assertFalse([m for m in self.next_hop.messages if token in m.content])
