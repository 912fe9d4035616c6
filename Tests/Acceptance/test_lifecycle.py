"""Starting, listening, stopping."""

import os
import pathlib
import signal
import stat

from harness.case import Case, routes_to, unique
from harness.client import Client
from harness.sink import SILENCE, Always
from harness.waiting import until


class Listening(Case):
    def test_several_listeners_on_v4_and_v6(self):
        self.needs_ipv6()
        server = self.server(
            {
                "listen_addr": None,
                "listeners": [{"address": "127.0.0.1:0"}, {"address": "[::1]:0"}, {"address": "127.0.0.2:0"}],
                "allowed_relays": ["::1"],
            }
        )
        self.assertEqual([host for host, _ in server.addresses], ["127.0.0.1", "::1", "127.0.0.2"])
        for address in server.addresses:
            with Client(address) as client:
                client.ehlo()
                client.command("MAIL FROM:<a@example.org>")
                expected = "250" if address[0] == "::1" else "554 5.7.1"
                self.assertReply(client.command("RCPT TO:<b@example.net>"), expected)

    def test_a_port_alone_is_all_addresses(self):
        self.needs_ipv6()
        server = self.server({"listen_addr": ":0"})
        families = {":" in host: port for host, port in server.addresses}
        self.assertEqual(set(families), {True, False})
        with Client(("127.0.0.5", families[False])) as client:
            self.assertReply(client.greeting, "220")
        with Client(("::1", families[True])) as client:
            self.assertReply(client.greeting, "220")

    def test_the_received_field_of_a_v6_client(self):
        self.needs_ipv6()
        sink = self.sink()
        server = self.server({"listen_addr": "[::1]:0", "allowed_relays": ["::1"], **routes_to(sink)})
        client = self.client(server)
        self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")
        self.assertIn(b"[IPv6:::1]", sink.wait_for(1)[0].trace)

    def test_an_address_in_use_ends_the_start_with_a_message(self):
        first = self.server()
        second = self.unstarted_server({"listen_addr": f"127.0.0.1:{first.port}"})
        second.launch()
        self.assertNotEqual(second.wait(), 0)
        self.assertLogged(second, f"127.0.0.1:{first.port}")
        second.process = None

    def test_the_option_listen_wins(self):
        server = self.server({"listen_addr": "127.0.0.1:1"}, arguments=["--listen", "127.0.0.9:0"])
        self.assertEqual(server.addresses[0][0], "127.0.0.9")


class TheQueueFolder(Case):
    def test_it_is_for_its_owner_only(self):
        server = self.server()
        queue = server.directory / "queue"
        self.assertEqual(stat.S_IMODE(queue.stat().st_mode), 0o700)
        with self.client(server) as client:
            client.message("a@example.org", ["b@example.com"], b"y" * 998 + b"\r\n")
        for path in queue.rglob("*"):
            self.assertFalse(path.stat().st_mode & 0o077, f"{path}: {oct(path.stat().st_mode)}")

    def test_a_second_server_on_it_is_refused(self):
        first = self.server()
        second = self.unstarted_server({"queue_dir": str(first.directory / "queue")})
        second.launch()
        self.assertEqual(second.wait(), os.EX_TEMPFAIL)
        self.assertLogged(second, str(first.process.pid))
        second.process = None
        with self.client(first) as client:
            self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")

    def test_what_a_killed_server_left_is_taken_over(self):
        server = self.server()
        server.kill()
        server.start()


class Stopping(Case):
    def test_a_stop_before_ready_leaves_the_queue_in_order(self):
        server = self.server()
        mark = server.directory / "queue/clean"
        for _ in range(10):
            server.stop()
            self.assertTrue(mark.exists())
            server.launch()
            # From here on the queue has to be closed. Looks often: the server is ready soon.
            until(lambda: any(not mark.exists() for _ in range(100_000)), "the queue opened")
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(server.wait(5), 0)
            self.assertTrue(mark.exists())
            server.start()
            self.assertNotIn(" queue_check ", server.log)

    def test_idle_clients_get_421_at_once_and_the_exit_status_is_0(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(number.name):
                server = self.server()
                clients = [self.client(server) for _ in range(20)] + [self.client(server, hello=None)]
                server.process.send_signal(number)
                for client in clients:
                    self.assertReply(client.reply(), "421 4.3.2")
                    self.assertTrue(client.is_closed())
                    client.close()
                self.assertEqual(server.wait(5), 0)

    def test_clients_that_do_not_hang_up_do_not_hold_it_up(self):
        server = self.server()
        clients = [self.client(server) for _ in range(5)]
        server.process.send_signal(signal.SIGTERM)
        for client in clients:
            self.assertReply(client.reply(), "421 4.3.2")
        self.assertEqual(server.wait(5), 0)

    def test_a_client_that_gives_its_transaction_up_gets_421_then(self):
        for name, last, answer in (("RSET", b"RSET\r\n", "250"), ("refused", b"bare\nLF\r\n.\r\n", "550 5.6.11")):
            with self.subTest(name):
                server = self.server()
                idle, client = self.client(server), self.client(server)
                client.envelope("a@example.org", ["b@example.com"])
                if name == "refused":
                    self.assertReply(client.command("DATA"), "354")
                server.process.send_signal(signal.SIGTERM)
                self.assertReply(idle.reply(), "421 4.3.2")
                idle.close()
                client.send(last)
                self.assertReply(client.reply(), answer)
                self.assertReply(client.reply(), "421 4.3.2")
                client.close()
                self.assertEqual(server.wait(5), 0)

    def test_a_running_transaction_finishes(self):
        for name in ("after MAIL", "within DATA", "within BDAT", "within spilled DATA"):
            with self.subTest(name):
                sink = self.sink()
                server = self.server(routes_to(sink))
                token = unique()
                idle, client = self.client(server), self.client(server)
                client.envelope("a@example.org", ["b@example.com"])
                content = b"Subject: %s\r\n\r\n" % token
                if name == "within DATA":
                    self.assertReply(client.command("DATA"), "354")
                    client.send(content)
                elif name == "within spilled DATA":
                    self.assertReply(client.command("DATA"), "354")
                    content += (b"v" * 98 + b"\r\n") * 5000
                    client.send(content)
                elif name == "within BDAT":
                    client.send(b"BDAT %d\r\n" % len(content) + content)
                    self.assertReply(client.reply(), "250")
                server.process.send_signal(signal.SIGTERM)
                self.assertReply(idle.reply(), "421 4.3.2")
                idle.close()
                self.assertRefused(server.address)
                if name == "after MAIL":
                    reply = client.data(content)
                elif name == "within BDAT":
                    reply = client.command("BDAT 0 LAST")
                else:
                    client.send(b".\r\n")
                    reply = client.reply()
                self.assertReply(reply, "250 2.0.0 Message accepted for delivery")
                # The transaction is over: now it is this client's turn.
                self.assertReply(client.reply(), "421 4.3.2")
                self.assertTrue(client.is_closed())
                client.close()
                self.assertEqual(server.wait(10), 0)
                server.start()
                self.assertEqual(sink.wait_for(1)[0].without_trace(), content)
                server.until_nothing_waits()
                self.assertEqual(len(sink.messages), 1)

    def assertRefused(self, address):
        def refused():
            try:
                with Client(address, greeted=False) as client:
                    return client.reply().code == 421
            except OSError:
                return True

        until(refused, "new connections refused")

    def test_a_transaction_that_does_not_end_is_given_its_time_and_no_more(self):
        server = self.server({"limits": {"shutdown_timeout": 1}})
        client = self.client(server)
        client.envelope("a@example.org", ["b@example.com"])
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(10), 0)
        self.assertIn(client.until_closed()[:9], (b"421 4.3.2", b""))

    def test_a_second_signal_stops_at_once(self):
        server = self.server({"limits": {"shutdown_timeout": 300}})
        client = self.client(server)
        client.envelope("a@example.org", ["b@example.com"])
        server.process.send_signal(signal.SIGTERM)
        until(lambda: "shutting_down" in server.log, "the first signal in the log")
        self.assertTrue(server.is_running)
        server.process.send_signal(signal.SIGTERM)
        server.wait(10)

    def test_hanging_deliveries_do_not_hold_it_up(self):
        sink = self.sink(faults={"content": Always(SILENCE)})
        server = self.server(routes_to(sink))
        with self.client(server) as client:
            for _ in range(10):
                client.message("a@example.org", ["b@example.com"], b"x\r\n")
        until(lambda: b"DATA" in sink.commands or any(c.startswith(b"BDAT") for c in sink.commands), "a delivery")
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(15), 0)
        sink.faults.clear()
        server.start()
        sink.wait_for(10)


class Logging(Case):
    def test_the_log_file_is_opened_anew_on_sighup(self):
        directory = self.directory()
        server = self.server({"logging": {"file": "elemta.log"}}, directory=directory)
        file = pathlib.Path(directory / "elemta.log")
        until(lambda: file.exists() and "ready" in file.read_text(), "the log file")
        file.rename(directory / "elemta.log.1")
        server.process.send_signal(signal.SIGHUP)
        until(file.exists, "a new log file")

    def test_nothing_a_client_says_forges_a_log_line(self):
        server = self.server({"logging": {"level": "debug"}})
        client = self.client(server, hello=None)
        client.send(b"EHLO \x1b[2J\rready listeners=127.0.0.1:1\r\n")
        client.reply()
        client.command(b"MAIL FROM:<\"a\\\x07b\"@example.org>")
        client.command("BOGUS \u202e evil".encode())
        client.command("QUIT")
        server.stop()
        for line in server.log.splitlines():
            self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\S+ (debug|info|notice|warning|error|critical) ")
            self.assertNotIn("\x1b", line)
            self.assertNotIn("\u202e", line)
