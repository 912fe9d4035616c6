"""A new server takes the place of a running one, and nobody is refused meanwhile."""

import os
import pathlib
import pwd
import re
import signal
import socket
import threading
import time
import unittest

from harness.case import Case, routes_to, unique
from harness.client import Client, Closed
from harness.sink import SILENCE, Always
from harness.waiting import PATIENCE, until

# Seconds of new connections around the takeover, and how many of them in each.
SECONDS = float(os.environ.get("TAKEOVER_SECONDS", "4"))
RATE = 200


class Takeover(Case):
    def successor(self, server, changes=None, **options):
        """A server on the same queue and address that hasn't been started."""
        configuration = server.configuration | {
            "listen_addr": f"{server.address[0]}:{server.port}",
            "queue_dir": str(server.directory / "queue"),
        }
        return self.unstarted_server(configuration | (changes or {}), arguments=["--takeover"], **options)

    def rename(self, server):
        server.configuration = server.configuration | {"hostname": "new.example.com"}
        server.write_configuration()
        server.process.send_signal(signal.SIGHUP)

    def asker(self, server):
        """Somebody who has been given the sockets."""
        asker = socket.socket(socket.AF_UNIX)
        asker.settimeout(20 * PATIENCE)

        def asked():
            asker.close()
            asker.__init__(socket.AF_UNIX)
            asker.settimeout(20 * PATIENCE)
            asker.connect(str(server.directory / "queue/control.sock"))
            asker.sendall(b"handover\x001\x00\n")
            octet, descriptors, _, _ = socket.recv_fds(asker, 1, 16)
            for descriptor in descriptors:
                os.close(descriptor)
            return octet == b"."

        until(asked, "the sockets")
        return asker

    def assertServes(self, address, greeting="220"):
        with Client(address) as client:
            self.assertReply(client.greeting, greeting)
            client.ehlo()
            self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250 2.0.0")


class Customers(threading.Thread):
    """So many connections a second, each with one message; what becomes of each is noted."""

    def __init__(self, address, seconds):
        super().__init__()
        self.address, self.seconds = address, seconds
        self.lock = threading.Lock()
        self.accepted, self.put_off, self.trouble = [], 0, []

    def run(self):
        begin = time.monotonic()
        workers = []
        for number in range(int(self.seconds * RATE)):
            pause = begin + number / RATE - time.monotonic()
            if pause > 0:
                threading.Event().wait(pause)
            worker = threading.Thread(target=self.visit, daemon=True)
            worker.start()
            workers.append(worker)
        for worker in workers:
            worker.join(60 * PATIENCE)

    def visit(self):
        token = unique()
        try:
            with Client(self.address, timeout=60 * PATIENCE) as client:
                outcome = self.converse(client, token)
        except (OSError, Closed, AssertionError) as error:
            outcome = repr(error)
        with self.lock:
            if outcome == 250:
                self.accepted.append(token)
            elif outcome == 421:
                self.put_off += 1
            else:
                self.trouble.append(outcome)

    def converse(self, client, token):
        """250 or 421, however far it went."""
        if client.greeting.code == 421:
            return 421
        try:
            for command in ("EHLO client.example.org", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA"):
                code = client.command(command).code
                if code == 421:
                    return 421
                if code not in (250, 354):
                    return f"{command}: {code}"
            client.send(b"Subject: %s\r\n\r\n.\r\n" % token)
            return client.reply().code
        except (OSError, Closed) as error:
            # 421 was on its way while the command was: what it said stays to be read.
            said = client.unread + client.until_closed()
            return 421 if b"421 4.3.2" in said or "421 4.3.2" in str(error) else repr(error)


class NobodyIsRefused(Takeover):
    def test_at_two_hundred_connections_a_second(self):
        sink = self.sink()
        limits = {"max_connections_per_ip": 5000}
        first = self.server({"allowed_relays": ["127.0.0.1"], "limits": limits, **routes_to(sink)})
        customers = Customers(first.address, SECONDS)
        customers.start()
        self.addCleanup(customers.join)
        until(lambda: len(customers.accepted) > RATE * SECONDS / 4, "a quarter of the messages", 60 + SECONDS)
        second = self.successor(first).start()
        self.assertEqual(first.wait(), 0)
        self.assertTrue(customers.is_alive(), "the takeover came too late to be seen")
        customers.join()
        self.assertEqual(customers.trouble, [])
        self.assertEqual(len(customers.accepted) + customers.put_off, int(SECONDS * RATE))
        self.assertGreater(len(customers.accepted), RATE * SECONDS / 2)
        second.until_nothing_waits(60)
        arrived = b"".join(message.content for message in sink.messages)
        lost = [token for token in customers.accepted if token not in arrived]
        self.assertEqual(lost, [])
        print(f"\n  {len(customers.accepted)} accepted, {customers.put_off} told to come again", end=" ")


class TheOldServer(Takeover):
    def test_it_tells_idle_clients_and_finishes_a_transaction(self):
        sink = self.sink()
        first = self.server(routes_to(sink))
        idle, busy = self.client(first), self.client(first)
        busy.envelope("a@example.org", ["b@example.com"])
        second = self.successor(first)
        second.launch()
        self.assertReply(idle.reply(), "421 4.3.2")
        self.assertTrue(idle.is_closed())
        # Waits in the backlog.
        newcomer = Client(first.address, greeted=False)
        self.addCleanup(newcomer.close)
        self.assertReply(busy.data(b"Subject: x\r\n\r\n"), "250 2.0.0")
        self.assertReply(busy.reply(), "421 4.3.2")
        busy.close()
        self.assertEqual(first.wait(), 0)
        self.assertReply(newcomer.reply(), "220")
        until(lambda: " ready " in second.log, "the new server")
        sink.wait_for(1)

    def test_it_gives_a_transaction_its_time_and_no_more(self):
        first = self.server({"limits": {"shutdown_timeout": 1}})
        busy = self.client(first)
        busy.envelope("a@example.org", ["b@example.com"])
        self.successor(first).start()
        self.assertEqual(first.wait(), 0)
        self.assertIn(b"421 4.3.2", busy.until_closed())

    def test_a_signal_stops_it_for_good(self):
        first = self.server({"limits": {"shutdown_timeout": 300}})
        busy = self.client(first)
        busy.envelope("a@example.org", ["b@example.com"])
        second = self.successor(first)
        second.launch()
        until(lambda: "handing_over" in first.log, "the old server handing over")
        first.process.send_signal(signal.SIGTERM)
        second.kill()
        busy.close()
        self.assertEqual(first.wait(), 0)


class TheNewServer(Takeover):
    def test_without_a_running_server_it_just_starts(self):
        server = self.server(arguments=["--takeover"])
        self.assertServes(server.address)
        self.assertNotIn("taking_over", server.log)

    def test_it_lets_go_what_it_does_not_want_and_binds_what_is_new(self):
        first = self.server({"listen_addr": None, "listeners": [{"address": "127.0.0.1:0"}, {"address": "127.0.0.1:0"}]})
        kept, dropped = first.addresses
        second = self.successor(
            first, {"listen_addr": None, "listeners": [{"address": f"127.0.0.1:{kept[1]}"}, {"address": "127.0.0.1:0"}]}
        ).start()
        self.assertEqual(first.wait(), 0)
        self.assertEqual(second.addresses[0], kept)
        for address in second.addresses:
            self.assertServes(address)
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(dropped)

    def test_one_after_the_other(self):
        servers = [self.server()]
        for _ in range(3):
            servers.append(self.successor(servers[-1], {"queue_dir": str(servers[0].directory / "queue")}).start())
            self.assertEqual(servers[-2].wait(), 0)
        self.assertServes(servers[-1].address)
        # It is the listener's owner that decides who is refused.
        servers[-1].stop()
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(servers[-1].address)

    def test_without_the_option_it_says_who_is_there(self):
        first = self.server()
        second = self.successor(first)
        second.arguments = []
        second.launch()
        self.assertEqual(second.wait(), os.EX_TEMPFAIL)
        self.assertLogged(second, str(first.process.pid))
        self.assertLogged(second, "--takeover")
        second.process = None
        self.assertServes(first.address)


class Accidents(Takeover):
    def being_replaced(self):
        """An old server that makes room for a new one, and waits for one transaction."""
        first = self.server({"limits": {"shutdown_timeout": 300}})
        busy = self.client(first)
        busy.envelope("a@example.org", ["b@example.com"])
        second = self.successor(first)
        second.launch()
        until(lambda: "handing_over" in first.log, "the old server handing over")
        return first, busy, second

    def test_an_old_server_that_is_killed_on_the_way(self):
        first, _, second = self.being_replaced()
        newcomer = Client(first.address, greeted=False)
        self.addCleanup(newcomer.close)
        first.kill()
        self.assertReply(newcomer.reply(), "220")
        self.assertServes(first.address)
        self.assertTrue(second.is_running)

    def test_both_say_what_they_wait_for(self):
        first, busy, second = self.being_replaced()
        until(lambda: "handover_waits" in second.log, "what the new server waits for")
        self.assertNotIn("handover_waits", first.log)
        busy.close()
        self.assertEqual(first.wait(), 0)
        self.assertEqual(first.log.count("handover_waits"), 1)

    def test_an_old_server_that_does_not_answer(self):
        first = self.server()
        first.process.send_signal(signal.SIGSTOP)
        second = self.successor(first)
        second.launch()
        try:
            self.assertEqual(second.wait(20), os.EX_TEMPFAIL)
        finally:
            first.process.send_signal(signal.SIGCONT)
        self.assertLogged(second, "it doesn't answer")
        second.process = None
        until(lambda: "handover_failed" in first.log, "the old server's answer that nobody wants")
        self.assertServes(first.address)

    def test_a_third_server_is_told_no(self):
        first, busy, second = self.being_replaced()
        third = self.successor(first)
        third.launch()
        self.assertEqual(third.wait(), os.EX_TEMPFAIL)
        self.assertLogged(third, "it is stopping")
        third.process = None
        self.assertReply(busy.data(b"Subject: x\r\n\r\n"), "250 2.0.0")
        busy.close()
        self.assertEqual(first.wait(), 0)
        until(lambda: " ready " in second.log, "the new server")
        self.assertServes(first.address)

    def test_a_reload_meanwhile_changes_nothing(self):
        first, busy, second = self.being_replaced()
        self.rename(first)
        until(lambda: "log_reopened" in first.log, "the signal")
        self.assertReply(busy.data(b"Subject: x\r\n\r\n"), "250 2.0.0")
        busy.close()
        self.assertEqual(first.wait(), 0)
        self.assertNotIn("configuration_reloaded", first.log)
        until(lambda: " ready " in second.log, "the new server")
        self.assertServes(first.address)


    def test_signals_to_the_one_that_waits(self):
        first, busy, second = self.being_replaced()
        for _ in range(3):
            second.process.send_signal(signal.SIGHUP)
        busy.close()
        self.assertEqual(first.wait(), 0)
        until(lambda: "configuration_reloaded" in second.log, "the reload that was asked for")
        self.assertServes(first.address)


class SignalsToTheOldServer(Takeover):
    def released(self, **options):
        """One that has left the queue, and whoever it waits for."""
        first = self.server(**options)
        asker = self.asker(first)
        self.addCleanup(asker.close)
        asker.sendall(b"t")
        self.assertEqual(asker.recv(1), b"f")
        return first, asker

    def test_one_that_waits_for_the_new_one_stops(self):
        first, asker = self.released()
        first.process.send_signal(signal.SIGTERM)
        self.assertEqual(first.wait(), 0)
        self.assertEqual(asker.recv(1), b"")
        self.assertNotIn("handed_over", first.log)
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(first.address)

    def leaving(self):
        """One that gives a delivery its last seconds before it lets go of the queue."""
        sink = self.sink(faults={"content": Always(SILENCE)})
        first = self.server(routes_to(sink))
        with self.client(first) as client:
            self.assertReply(client.message("a@example.org", ["b@example.com"], b"Subject: x\r\n\r\n"), "250")
        until(lambda: any(c.startswith((b"BDAT", b"DATA")) for c in sink.commands), "a delivery under way")
        asker = self.asker(first)
        self.addCleanup(asker.close)
        asker.sendall(b"t")
        until(lambda: "handing_over" in first.log, "the old server handing over")
        until(lambda: not (first.directory / "queue/control.sock").exists(), "the old server leaving the queue")
        return first, asker

    def test_one_that_leaves_the_queue_stops_for_good(self):
        first, asker = self.leaving()
        first.process.send_signal(signal.SIGTERM)
        first.process.send_signal(signal.SIGHUP)
        self.assertEqual(first.wait(), 0)
        self.assertLogged(first, " stopped")
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(first.address)

    def catches(self, server, number):
        status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
        return int(re.search(r"SigCgt:\s+(\w+)", status)[1], 16) >> (number - 1) & 1

    def test_a_second_signal_stops_it_at_once(self):
        first, asker = self.leaving()
        first.process.send_signal(signal.SIGTERM)
        # Two that are sent at once are one.
        until(lambda: not self.catches(first, signal.SIGTERM), "the first signal")
        first.process.send_signal(signal.SIGTERM)
        self.assertEqual(first.wait(2), -signal.SIGTERM)
        first.process = None

    def test_a_reload_is_made_up_for_when_the_new_one_fails(self):
        first = self.server({"limits": {"shutdown_timeout": 300}})
        busy = self.client(first)
        busy.envelope("a@example.org", ["b@example.com"])
        second = self.successor(first)
        second.launch()
        until(lambda: "handing_over" in first.log, "the old server handing over")
        self.rename(first)
        until(lambda: "log_reopened" in first.log, "the signal")
        second.kill()
        self.assertIsRenamed(first)

    def test_a_reload_is_made_up_for_when_it_had_left_the_queue(self):
        first, asker = self.released()
        self.rename(first)
        asker.close()
        self.assertIsRenamed(first)

    def assertIsRenamed(self, server):
        until(lambda: "configuration_reloaded keys=hostname" in server.log, "the reload that was asked for")
        with Client(server.address) as client:
            self.assertIn("new.example.com", client.greeting.lines[0])


class AFailure(Takeover):
    def assertGoesOn(self, first):
        self.assertTrue(first.is_running)
        self.assertServes(first.address)

    def test_a_wrong_configuration_changes_nothing(self):
        first = self.server()
        idle = self.client(first)
        for changes, status in (
            ({"queue": {"max_workers": "many"}}, 78),
            ({"auth": {"enabled": True, "file_path": "/nonexistent"}}, 78),
            ({"tls": {"enabled": True, "cert_file": "/nonexistent", "key_file": "/nonexistent"}}, 78),
            ({"recipients": [{"domain": "example.com", "file": "/nonexistent"}]}, 78),
            ({"delivery": {"relay_host": "127.0.0.1:1", "relay_username": "u",
                           "relay_password_file": "/nonexistent"}}, 78),
            ({"listen_addr": "192.0.2.1:2525"}, 71),
        ):
            with self.subTest(changes):
                second = self.successor(first, changes)
                second.launch()
                self.assertEqual(second.wait(), status, second.log)
                second.process = None
        self.assertReply(idle.command("NOOP"), "250")
        self.assertNotIn("handing_over", first.log)
        self.assertGoesOn(first)

    def test_a_new_server_that_dies_while_the_old_one_makes_room(self):
        sink = self.sink()
        first = self.server({"limits": {"shutdown_timeout": 300}, **routes_to(sink)})
        busy = self.client(first)
        busy.envelope("a@example.org", ["b@example.com"])
        second = self.successor(first)
        second.launch()
        until(lambda: "handing_over" in first.log, "the old server handing over")
        newcomer = Client(first.address, greeted=False)
        self.addCleanup(newcomer.close)
        second.kill()
        self.assertReply(newcomer.reply(), "220")
        self.assertReply(busy.data(b"Subject: x\r\n\r\n"), "250 2.0.0")
        self.assertReply(busy.command("NOOP"), "250")
        self.assertGoesOn(first)
        sink.wait_for(2)
        # And then it is replaced after all.
        busy.close()
        newcomer.close()
        self.successor(first).start()
        self.assertEqual(first.wait(), 0)

    def test_a_new_server_that_fails_once_the_queue_is_free(self):
        sink = self.sink()
        first = self.server({"limits": {"shutdown_timeout": 300}, **routes_to(sink)})
        with self.asker(first) as asker:
            asker.sendall(b"t")
            self.assertEqual(asker.recv(1), b"f")
            with Client(first.address, greeted=False) as newcomer:
                asker.close()
                self.assertReply(newcomer.reply(), "220")
        self.assertGoesOn(first)
        sink.wait_for(1)
        self.assertEqual(first.log.count(" ready "), 2)

    def test_who_asks_and_goes_or_talks_nonsense_is_forgotten(self):
        first = self.server()
        idle = self.client(first)
        for said in (b"", b"x" * 10_000, b"s", b"ss"):
            with self.subTest(said), self.asker(first) as asker:
                asker.sendall(said)
        with self.asker(first):
            # One at a time.
            with socket.socket(socket.AF_UNIX) as other:
                other.connect(str(first.directory / "queue/control.sock"))
                other.sendall(b"handover\x001\x00\n")
                self.assertTrue(other.makefile("rb").read().startswith(b"-another server"))
        until(lambda: first.log.count("handover_failed") == 5, "five failures in the log")
        self.assertReply(idle.command("NOOP"), "250")
        self.assertGoesOn(first)


@unittest.skipUnless(os.geteuid() == 0, "only root becomes somebody else")
class AsAnotherUser(Takeover):
    def test_the_sockets_are_handed_over(self):
        directory = self.directory()
        directory.chmod(0o755)
        first = self.server({"user": "nobody"}, directory=directory)
        other = self.directory()
        other.chmod(0o755)
        second = self.successor(first, directory=other).start()
        self.assertEqual(first.wait(), 0)
        status = pathlib.Path(f"/proc/{second.process.pid}/status").read_text()
        self.assertIn(f"Uid:\t{pwd.getpwnam('nobody').pw_uid}", status)
        self.assertServes(second.address)

    def test_the_queue_of_another_stays_its_own(self):
        directory = self.directory()
        directory.chmod(0o755)
        first = self.server({"user": "nobody"}, directory=directory)
        mine = pwd.getpwnam("nobody").pw_uid
        for arguments, words in (["--takeover"], "belongs to another user"), ([], "--takeover"):
            with self.subTest(arguments):
                other = self.directory()
                other.chmod(0o755)
                second = self.successor(first, {"user": "daemon"}, directory=other)
                second.arguments = arguments
                second.launch()
                self.assertEqual(second.wait(), os.EX_TEMPFAIL)
                self.assertLogged(second, words)
                second.process = None
                for path in directory.glob("queue/**/*"):
                    self.assertEqual(path.stat().st_uid, mine, path)
        self.assertServes(first.address)
