"""What a client may not do, and what it costs when it does."""

import socket
import time

from harness.case import STRANGER, Case, SharedServerCase, discard_routes, routes_to, unique
from harness.client import Client, Closed
from harness.server import SANITIZER
from harness.waiting import until

MEBI = 1024 * 1024


class Sizes(Case):
    def test_an_announced_size_over_the_limit_is_552_at_mail(self):
        server = self.server()
        client = self.client(server)
        self.assertDialogue(
            client,
            ("MAIL FROM:<a@example.org> SIZE=26214401", "552 5.3.4"),
            ("MAIL FROM:<a@example.org> SIZE=99999999999999999999", "552 5.3.4"),
            ("MAIL FROM:<a@example.org> SIZE=26214400", "250"),
        )

    def test_too_much_is_read_to_the_end_then_552_and_the_session_goes_on(self):
        sink = self.sink()
        server = self.server({"max_message_size": 100_000, **routes_to(sink)})
        client = self.client(server, hello=None)
        self.assertIn("250-SIZE 100000", client.ehlo().lines)
        for via in ("DATA", "BDAT"):
            for size in (100_003, 300_000, 5_000_000):
                content = (b"y" * 98 + b"\r\n") * (size // 100) + b"y" * (size % 100 - 2) + b"\r\n"
                content = content if size % 100 else content[:-2]
                with self.subTest(via=via, size=size):
                    client.envelope("a@example.org", ["b@example.com"])
                    reply = client.data(content) if via == "DATA" else client.bdat(content, chunk=65536 * 8)
                    self.assertReply(reply, "552 5.3.4" if via == "DATA" else "5")
                    self.assertReply(client.command("RSET"), "250")
        exact = (b"y" * 998 + b"\r\n") * 100
        for via in ("DATA", "BDAT"):
            self.assertReply(client.message("a@example.org", ["b@example.com"], exact, via=via), "250 2.0.0")
        self.assertEqual([m.without_trace() == exact for m in sink.wait_for(2)], [True, True])

    def test_stuffed_dots_do_not_count(self):
        server = self.server({"max_message_size": 10_000})
        client = self.client(server)
        reply = client.message("a@example.org", ["b@example.com"], b".\r\n" * 3333)
        self.assertReply(reply, "250 2.0.0")


class Counts(Case):
    def test_surplus_recipients_are_452_and_those_accepted_stay(self):
        sink = self.sink()
        server = self.server({"limits": {"max_recipients": 3}, **routes_to(sink)})
        client = self.client(server)
        client.envelope("a@example.org", ["1@example.com", "2@example.com", "3@example.com"])
        self.assertReply(client.command("RCPT TO:<4@example.com>"), "452 4.5.3")
        self.assertReply(client.command("RCPT TO:<5@example.com>"), "452 4.5.3")
        self.assertReply(client.data(b"x\r\n"), "250")
        self.assertEqual(len(sink.wait_for(1)[0].recipients), 3)

    def test_a_thousand_recipients_are_fine(self):
        sink = self.sink()
        server = self.server(routes_to(sink))
        client = self.client(server)
        recipients = [f"user{number}@example.com" for number in range(1000)]
        client.send(b"MAIL FROM:<a@example.org>\r\n" + b"".join(b"RCPT TO:<%s>\r\n" % r.encode() for r in recipients))
        self.assertEqual({reply.code for reply in client.replies(1001)}, {250})
        self.assertReply(client.command("RCPT TO:<surplus@example.com>"), "452 4.5.3")
        self.assertReply(client.data(b"x\r\n"), "250")
        # RFC 5321 4.5.3.1.8: a next hop takes a hundred at least, so several transactions are fine.
        until(lambda: sum(len(m.recipients) for m in sink.messages) == 1000, "a thousand recipients")

    def test_too_many_errors_are_421(self):
        server = self.server({"limits": {"max_errors": 5}})
        client = self.client(server)
        for _ in range(5):
            self.assertReply(client.command("BOGUS"), "500 5.5.1")
        self.assertReply(client.command("BOGUS"), "421 4.7.0")
        self.assertTrue(client.is_closed())

    def test_an_accepted_message_forgives_errors(self):
        server = self.server({"limits": {"max_errors": 5}})
        client = self.client(server)
        for _ in range(5):
            for _ in range(4):
                self.assertReply(client.command("BOGUS"), "500 5.5.1")
            self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250 2.0.0")

    def test_temporary_refusals_are_no_errors(self):
        server = self.server({"limits": {"max_errors": 3, "max_recipients": 1}})
        client = self.client(server)
        client.envelope("a@example.org", ["b@example.com"])
        for _ in range(10):
            self.assertReply(client.command("RCPT TO:<c@example.com>"), "452 4.5.3")


class Connections(Case):
    def test_over_max_connections_is_421(self):
        server = self.server({"limits": {"max_connections": 5}})
        clients = [self.client(server) for _ in range(5)]
        surplus = Client(server.address, greeted=False)
        self.addCleanup(surplus.close)
        self.assertReply(surplus.reply(), "421 4.3.2")
        self.assertTrue(surplus.is_closed())
        clients[0].command("QUIT")
        clients[0].close()
        self.until_served(server)

    def test_over_max_connections_per_ip_is_421_for_that_address_only(self):
        server = self.server({"limits": {"max_connections_per_ip": 2}})
        strangers = [self.client(server, STRANGER) for _ in range(2)]
        surplus = Client(server.address, STRANGER, greeted=False)
        self.addCleanup(surplus.close)
        self.assertReply(surplus.reply(), "421 4.7.0")
        self.assertTrue(surplus.is_closed())
        self.client(server, "127.0.0.3")
        for _ in range(5):  # never applied to allowed_relays
            self.client(server, "127.0.0.1")
        strangers[0].close()
        self.until_served(server, STRANGER)

    def until_served(self, server, source=None):
        def served():
            with Client(server.address, source, greeted=False) as client:
                return client.reply().code == 220

        until(served, "a place for one more client")


class Deadlines(Case):
    def test_an_idle_client_gets_421_and_is_closed(self):
        server = self.server({"limits": {"command_timeout": 1}})
        for begin in (b"", b"NOO", b"MAIL FROM:<a@example.org>\r\n"):
            with self.subTest(begin):
                client = self.client(server)
                client.send(begin)
                if begin.endswith(b"\n"):
                    client.reply()
                self.assertReply(client.reply(), "421 4.4.2")
                self.assertTrue(client.is_closed())

    def test_trickling_octets_of_one_command_do_not_help(self):
        server = self.server({"limits": {"command_timeout": 2}})
        client = self.client(server)
        client.socket.settimeout(0.1)
        began = time.monotonic()
        said = b""
        while b"421" not in said:
            self.assertLess(time.monotonic() - began, 20)
            try:
                client.send(b"N")
                said += client.socket.recv(4096)
            except TimeoutError:
                pass
            except OSError:
                break
        self.assertIn(b"421 4.4.2", said)

    def test_mail_data_without_progress_gets_421(self):
        server = self.server({"limits": {"data_timeout": 1}})
        for begin in (b"DATA\r\n", b"BDAT 100\r\nabc"):
            with self.subTest(begin):
                client = self.client(server)
                client.envelope("a@example.org", ["b@example.com"])
                client.send(begin)
                if begin.startswith(b"DATA"):
                    self.assertReply(client.reply(), "354")
                    client.send(b"half a li")
                self.assertReply(client.reply(), "421 4.4.2")
                self.assertTrue(client.is_closed())

    def test_a_transaction_has_its_time(self):
        server = self.server({"limits": {"transaction_timeout": 2}})
        client = self.client(server)
        client.envelope("a@example.org", ["b@example.com"])
        self.assertReply(client.command("DATA"), "354")
        client.socket.settimeout(0.1)
        said = b""
        deadline = time.monotonic() + 30
        while b"421" not in said and time.monotonic() < deadline:
            try:
                client.send(b"a line of progress\r\n")
                said += client.socket.recv(4096)
            except TimeoutError:
                pass
            except OSError:
                break
        self.assertIn(b"421 4.4.2", said)


class Hostility(SharedServerCase):
    configuration = {**discard_routes(), "limits": {"memory": 64 * MEBI}}

    def assertStillServing(self):
        with Client(self.shared.address) as client:
            client.ehlo()
            self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")

    def test_clients_that_never_read_replies_cost_bounded_memory(self):
        before = self.shared.resident_octets()
        clients = []
        for _ in range(20):
            client = Client(self.shared.address)
            self.addCleanup(client.close)
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.socket.settimeout(0.3)
            clients.append(client)
        for client in clients:
            client.send(b"EHLO example.org\r\n")
            try:
                for _ in range(400):
                    client.send(b"HELP\r\n" * 10_000)
            except TimeoutError:
                pass  # as it should be: the server stopped reading
            else:
                self.fail("24 MB of commands were read by a server whose replies nobody reads")
        if not SANITIZER:
            self.assertLess(self.shared.resident_octets() - before, 20 * 256 * 1024)
        self.assertStillServing()

    def test_trickled_mail_data_costs_what_it_weighs(self):
        client = self.connect()
        client.envelope("a@example.org", ["b@example.com"])
        self.assertReply(client.command("DATA"), "354")
        before = self.shared.resident_octets()
        client.send_each((b"z" * 78 + b"\r\n") * 500)
        client.send(b".\r\n")
        self.assertReply(client.reply(), "250")
        if not SANITIZER:
            # 40,000 segments of one octet, were they kept as they came, would be 160 MB.
            self.assertLess(self.shared.peak_octets() - before, 8 * MEBI)

    def test_a_full_memory_budget_is_452_for_mail_and_nothing_else(self):
        server = self.server({"limits": {"memory": 2 * MEBI, "spill_threshold": MEBI}})
        holders = []
        line = b"w" * 998 + b"\r\n"
        for _ in range(40):
            client = self.client(server)
            if client.command("MAIL FROM:<a@example.org>").code != 250:
                break  # 452: checked by what follows
            client.command("RCPT TO:<b@example.com>")
            if client.command("DATA").code != 354:
                break
            client.send(line * 900)
            holders.append(client)
        before_end = server.peak_octets()
        codes = set()
        for client in holders:
            client.send(b".\r\n")
            codes.add(str(client.reply())[:9])
        # 421: whoever holds memory and is slower than ten seconds makes room.
        self.assertLessEqual(codes, {"250 2.0.0", "452 4.3.1", "421 4.4.2"})
        self.assertIn("250 2.0.0", codes)
        if not SANITIZER:
            self.assertLess(before_end, 100 * MEBI)
        self.assertReply(self.client(server).message("a@example.org", ["b@example.com"], b"x\r\n"), "250")

    def test_random_octets_never_end_the_server(self):
        import random

        generator = random.Random(20)
        words = [b"MAIL FROM:<a@example.org>", b"RCPT TO:<b@example.com>", b"DATA", b"BDAT 5 LAST", b"\r\n", b"\n", b"\r",
                 b".", b"\0", b"\xff", b"RSET", b"EHLO x", b" ", b"BDAT ", b"QUIT", b"<", b">", b"SIZE="]
        for _ in range(150):
            with Client(self.shared.address) as client:
                client.socket.settimeout(5)
                try:
                    for _ in range(generator.randrange(40)):
                        client.send(b"".join(generator.choices(words, k=generator.randrange(1, 12))))
                    client.socket.shutdown(socket.SHUT_WR)
                    client.until_closed()
                except (OSError, Closed):
                    pass
        self.assertStillServing()

    def test_a_client_that_resets_is_forgotten(self):
        token = unique()
        for _ in range(50):
            client = self.connect()
            client.envelope("a@example.org", ["b@example.com"])
            client.send(b"DATA\r\n" + token)
            linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            client.close()
        self.assertStillServing()
