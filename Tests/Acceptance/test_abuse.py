"""Limits of a client and of its address, slow clients, and those who talk too early."""

import time

from harness import tools
from harness.case import STRANGER, Case, SharedServerCase, WithCertificates, discard_routes, routes_to, unique, with_tls
from harness.client import Client
from harness.server import SANITIZER
from harness.users import auth_plain, bcrypt, user_list
from harness.waiting import PATIENCE, until


class Messages(Case):
    def test_a_session_brings_so_many_messages(self):
        server = self.server({"limits": {"messages_per_connection": 3}})
        client = self.client(server)
        for _ in range(3):
            # What isn't accepted doesn't count.
            self.assertDialogue(client, ("MAIL FROM:<a@example.org>", "250"), ("RSET", "250"))
            self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")
        self.assertReply(client.command("MAIL FROM:<a@example.org>"), "421 4.7.0")
        self.assertTrue(client.is_closed())
        self.assertReply(self.client(server).message("a@example.org", ["b@example.com"], b"x\r\n"), "250")

    def test_an_address_brings_so_many_in_a_while(self):
        server = self.server({"limits": {"rate_per_ip": "3/2s"}})
        with self.client(server, STRANGER) as client:
            for _ in range(2):
                self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")
        client = self.client(server, STRANGER)
        self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")
        self.assertDialogue(client, ("MAIL FROM:<a@example.org>", "450 4.7.1"), ("NOOP", "250"))
        # Neither another address nor one that may relay waits for that.
        for source in ("127.0.0.3", "127.0.0.1"):
            other = self.client(server, source)
            for _ in range(3):
                self.assertReply(other.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")
        deadline = time.monotonic() + 20 * PATIENCE
        while (reply := client.command("MAIL FROM:<a@example.org>")).code == 450:
            self.assertLess(time.monotonic(), deadline, "the window never ends")
        self.assertReply(reply, "250")


class Errors(Case):
    def test_errors_of_one_address_do_not_end_the_sessions_of_others(self):
        server = self.server({"limits": {"max_errors": 2}})
        good, bad = self.client(server), self.client(server)
        self.assertDialogue(bad, ("BOGUS", "500"), ("BOGUS", "500"), ("BOGUS", "421 4.7.0"))
        self.assertTrue(bad.is_closed())
        self.assertReply(good.command("NOOP"), "250")

    def test_what_is_sent_behind_421_is_never_executed(self):
        sink = self.sink()
        server = self.server({"limits": {"max_errors": 1}, **routes_to(sink)})
        client = self.client(server)
        token = unique()
        client.send(b"BOGUS\r\nBOGUS\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n" + token + b"\r\n.\r\n")
        self.assertReply(client.reply(), "500")
        self.assertReply(client.reply(), "421 4.7.0")
        self.assertEqual(client.until_closed(), b"")
        last = unique()
        self.assertReply(self.client(server).message("a@example.org", ["b@example.com"], last + b"\r\n"), "250")
        self.assertIn(last, sink.wait_for(1)[0].content)


class TalkingFirst(WithCertificates, Case):
    def test_who_waits_for_the_greeting_is_served(self):
        server = self.server({"limits": {"greet_delay": 1}})
        began = time.monotonic()
        client = Client(server.address, STRANGER)
        self.addCleanup(client.close)
        self.assertGreater(time.monotonic() - began, 0.95)
        client.ehlo()
        self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")

    def test_who_does_not_is_refused(self):
        server = self.server({"limits": {"greet_delay": 30}})
        for said in (b"EHLO client.example.org\r\n", b"E", b"GET / HTTP/1.1\r\n\r\n"):
            with self.subTest(said):
                client = Client(server.address, STRANGER, greeted=False)
                self.addCleanup(client.close)
                client.send(said)
                self.assertReply(client.reply(), "554 5.5.1")
                self.assertTrue(client.is_closed())

    def test_inside_tls_the_greeting_is_waited_for_inside(self):
        listeners = {"listen_addr": None, "listeners": [{"address": "127.0.0.1:0", "tls": "implicit"}]}
        server = self.server(with_tls(self.pair) | listeners | {"limits": {"greet_delay": 1}})
        patient = Client(server.address, STRANGER, tls=self.trusting)
        self.addCleanup(patient.close)
        self.assertReply(patient.ehlo(), "250")
        hasty = Client(server.address, STRANGER, tls=self.trusting, greeted=False)
        self.addCleanup(hasty.close)
        hasty.send(b"EHLO client.example.org\r\n")
        self.assertReply(hasty.reply(), "554 5.5.1")
        self.assertTrue(hasty.is_closed())

    def test_without_a_delay_talking_first_is_fine(self):
        client = Client(self.server().address, STRANGER, greeted=False)
        self.addCleanup(client.close)
        client.send(b"EHLO client.example.org\r\nMAIL FROM:<a@example.org>\r\n")
        self.assertEqual([reply.code for reply in client.replies(3)], [220, 250, 250])

    def test_stopping_does_not_wait_for_it(self):
        server = self.server({"limits": {"greet_delay": 60}})
        client = Client(server.address, STRANGER, greeted=False)
        self.addCleanup(client.close)
        with self.client(server) as other:  # an allowed relay isn't kept waiting
            other.command("NOOP")
        server.process.terminate()
        self.assertEqual(server.wait(15), 0)
        self.assertRegex(client.until_closed(), rb"\A(421 4\.3\.2 [^\n]*\n)?\Z")


class Time(WithCertificates, Case):
    def test_a_session_has_its_time_however_busy_it_is(self):
        server = self.server(with_tls(self.pair) | {"limits": {"session_timeout": 2}})
        clients = [self.client(server), self.secured(self.client(server))]
        for client in clients:
            began = time.monotonic()
            reply = client.command("NOOP")
            while reply.code == 250:
                self.assertLess(time.monotonic() - began, 30 * PATIENCE)
                try:
                    reply = client.command("NOOP")
                except OSError:
                    reply = client.reply()  # said before it closed
            self.assertReply(reply, "421 4.4.2")

    def test_transactions_without_end_do_not_put_it_off(self):
        client = self.client(self.server({"limits": {"session_timeout": 2}}))
        began = time.monotonic()
        client.command("MAIL FROM:<>")
        while True:
            self.assertLess(time.monotonic() - began, 30 * PATIENCE)
            # In one segment: between the two the session is in no transaction, but nobody looks.
            client.send(b"RSET\r\nMAIL FROM:<>\r\n")
            self.assertReply(client.reply(), "250")
            reply = client.reply()
            if reply.code != 250:
                break
        self.assertReply(reply, "421 4.4.2")

    def test_a_transaction_that_has_begun_is_not_cut_off_by_it(self):
        server = self.server({"limits": {"session_timeout": 1}})
        client, idle = self.client(server), self.client(server)
        client.envelope("a@example.org", ["b@example.com"])
        # Once another session has been ended this one's time is over as well.
        self.assertReply(idle.reply(), "421 4.4.2")
        self.assertReply(client.data(b"x\r\n"), "250 2.0.0")

    def test_slow_clients_cost_others_nothing_and_end_at_their_timeout(self):
        server = self.server({"limits": {"command_timeout": 3, "max_connections_per_ip": 1000}, **discard_routes()})
        before = server.resident_octets()
        slow = [self.client(server, STRANGER) for _ in range(200)]
        for client in slow:
            client.socket.settimeout(0)
        ended = set()
        deadline = time.monotonic() + 60 * PATIENCE
        while len(ended) < len(slow):
            self.assertLess(time.monotonic(), deadline, f"{len(slow) - len(ended)} are still there")
            for client in slow:
                if client in ended:
                    continue
                try:
                    client.send(b"N")
                    if b"421 4.4.2" in client.socket.recv(1000):
                        ended.add(client)
                except BlockingIOError:
                    pass
                except OSError:
                    ended.add(client)
            with Client(server.address) as probe:
                probe.ehlo()
                began = time.monotonic()
                self.assertReply(probe.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")
                self.assertLess(time.monotonic() - began, 2 * PATIENCE)
        if not SANITIZER:
            self.assertLess(server.resident_octets() - before, len(slow) * 16 * 1024)


class Help(WithCertificates, Case):
    def server_with_everything(self):
        directory = self.directory()
        file = directory / "users.json"
        file.write_text(user_list({"alice": bcrypt("right")}))
        file.chmod(0o600)
        return self.server(
            with_tls(self.pair)
            | {"auth": {"enabled": True, "file_path": str(file)}, "limits": {"xclient_hosts": ["127.0.0.1"]}},
            directory=directory,
        )

    def verbs(self, client):
        reply = client.command("HELP")
        self.assertEqual(reply.code, 214)
        return set(" ".join(reply.texts).split())

    def test_help_lists_what_is_available_now(self):
        server = self.server_with_everything()
        client = self.client(server)
        always = {"HELO", "EHLO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "VRFY", "QUIT", "HELP"}
        self.assertLessEqual(always | {"STARTTLS", "AUTH", "XCLIENT"}, self.verbs(client))
        self.secured(client)
        self.assertLessEqual(always | {"AUTH"}, self.verbs(client))
        self.assertNotIn("STARTTLS", self.verbs(client))
        client.command(auth_plain("alice", "right"))
        self.assertNotIn("AUTH", self.verbs(client))
        self.assertNotIn("XCLIENT", self.verbs(self.client(server, STRANGER)))
        plain = self.verbs(self.client(self.server()))
        self.assertLessEqual(always, plain)
        self.assertFalse({"STARTTLS", "AUTH", "XCLIENT", "XDEBUG"} & plain)

    def test_help_with_a_command_shows_its_syntax(self):
        client = self.client(self.server_with_everything())
        for command, shown in (
            ("MAIL", "MAIL FROM:<address>"), ("RCPT", "RCPT TO:<address>"), ("AUTH", "AUTH PLAIN|LOGIN"),
            ("mail", "MAIL FROM:<address>"), ("BDAT", "BDAT size [LAST]"),
        ):
            with self.subTest(command):
                reply = client.command(f"HELP {command}")
                self.assertReply(reply, "214")
                self.assertIn(shown, str(reply))
        self.assertReply(client.command("HELP NONSENSE"), "504 5.5.4")
        self.assertNotIn("REQUIRETLS", str(client.command("HELP MAIL")))
        self.secured(client)
        self.assertIn("REQUIRETLS", str(client.command("HELP MAIL")))


class XClient(SharedServerCase):
    configuration = {
        "limits": {"xclient_hosts": ["127.0.0.1"], "max_connections_per_ip": 2},
        "allowed_relays": ["127.0.0.1", "192.0.2.0/24"],
    }

    def test_only_from_xclient_hosts(self):
        client = self.connect(STRANGER, hello=None)
        self.assertNotIn("XCLIENT", str(client.ehlo()))
        self.assertReply(client.command("XCLIENT ADDR=192.0.2.7"), "502 5.5.1")
        client = self.connect(hello=None)
        self.assertIn("XCLIENT NAME ADDR PORT PROTO HELO LOGIN", str(client.ehlo()))

    def test_the_session_is_the_named_clients_from_then_on(self):
        client = self.connect()
        self.assertDialogue(
            client,
            ("XCLIENT ADDR=198.51.100.7 PORT=4711", "220 mail.example.com ESMTP"),
            ("MAIL FROM:<a@example.org>", "503 5.5.1"),
            ("EHLO named.example.org", "250"),
            ("MAIL FROM:<a@example.org>", "250"),
            ("RCPT TO:<b@example.net>", "554 5.7.1"),
            ("RCPT TO:<b@example.com>", "250"),
        )
        token = unique()
        self.assertReply(client.data(token + b"\r\n"), "250")
        self.assertIn(b"from named.example.org ([198.51.100.7])", self.arrived(token).trace)
        until(lambda: "client=198.51.100.7" in self.shared.log, "the client in the log")

    def test_who_speaks_for_others_may_not_relay_itself(self):
        client = self.connect()
        self.assertDialogue(
            client,
            ("MAIL FROM:<a@example.org>", "250"), ("RCPT TO:<b@example.net>", "554 5.7.1"), ("RSET", "250"),
            ("XCLIENT NAME=named.example.org", "220"), ("EHLO named.example.org", "250"),
            ("MAIL FROM:<a@example.org>", "250"), ("RCPT TO:<b@example.net>", "554 5.7.1"),
        )

    def test_relay_rules_are_the_named_clients(self):
        client = self.connect()
        self.assertDialogue(
            client,
            ("XCLIENT ADDR=192.0.2.7", "220"), ("EHLO named.example.org", "250"),
            ("MAIL FROM:<a@example.org>", "250"), ("RCPT TO:<b@example.net>", "250"),
        )

    def test_a_login_may_come_along(self):
        client = self.connect()
        self.assertDialogue(
            client,
            ("XCLIENT ADDR=198.51.100.8 LOGIN=alice HELO=named.example.org PROTO=ESMTP", "220"),
            ("MAIL FROM:<a@example.org>", "250"), ("RCPT TO:<b@example.net>", "250"),
        )

    def test_limits_are_the_named_clients(self):
        for _ in range(2):
            self.assertReply(self.connect().command("XCLIENT ADDR=198.51.100.9"), "220")
        client = self.connect()
        self.assertReply(client.command("XCLIENT ADDR=198.51.100.9"), "421 4.7.0")
        self.assertTrue(client.is_closed())

    def test_nonsense_is_501_and_changes_nothing(self):
        client = self.connect()
        for attributes in ("", "ADDR", "ADDR=999.1.1.1", "PORT=70000", "COLOUR=red", "HELO=a+20b"):
            with self.subTest(attributes):
                self.assertReply(client.command(f"XCLIENT {attributes}".strip()), "501 5.5.4")
        self.assertDialogue(
            client, ("MAIL FROM:<a@example.org>", "250"), ("XCLIENT ADDR=192.0.2.7", "503 5.5.1"),
            ("RCPT TO:<b@example.com>", "250"),
        )

    def test_swaks_speaks_it(self):
        token = unique()
        tools.swaks(
            self.shared.address, "--xclient-addr", "198.51.100.11", "--from", "a@example.org", "--to", "b@example.com",
            "--h-Subject", token.decode(),
        )
        self.assertIn(b"([198.51.100.11])", self.arrived(token).trace)


class InHandshakes(WithCertificates, Case):
    def test_a_handshake_holds_a_place(self):
        server = self.server(
            with_tls(self.pair)
            | {
                "limits": {"max_connections": 4}, "listen_addr": None,
                "listeners": [{"address": "127.0.0.1:0"}, {"address": "127.0.0.1:0", "tls": "implicit"}],
            }
        )
        stalled = [Client(server.addresses[1], greeted=False) for _ in range(2)]
        stalled += [Client(server.addresses[0]) for _ in range(2)]
        for client in stalled:
            self.addCleanup(client.close)
        for client in stalled[2:]:
            self.assertReply(client.command("STARTTLS"), "220")
        surplus = Client(server.addresses[0], greeted=False)
        self.addCleanup(surplus.close)
        self.assertReply(surplus.reply(), "421 4.3.2")
        # To who waits for TLS a reply in clear text would be noise.
        surplus = Client(server.addresses[1], greeted=False)
        self.addCleanup(surplus.close)
        self.assertEqual(surplus.until_closed(), b"")
        for client in stalled:
            client.close()

        def served():
            with Client(server.addresses[0], greeted=False) as client:
                return client.reply().code == 220

        until(served, "the places of clients that have gone")
