"""SIGHUP: the whole configuration at once, or nothing of it."""

import json
import os
import re
import signal
import socket
import unittest

from harness.case import STRANGER, Case, WithCertificates, merged, routes_to, with_tls
from harness.certificates import replace
from harness.client import Client
from harness.server import yaml
from harness.sink import SILENCE, Always
from harness.waiting import until


class Reload(Case):
    def reload(self, server, changes, event="configuration_reloaded"):
        """Writes the configuration with these changes and has it read; what the log says of it."""
        server.configuration = merged(server.configuration, changes)
        server.write_configuration()
        return self.hang_up(server, event)

    def hang_up(self, server, event="configuration_reloaded"):
        begin = len(server.log)
        said = re.compile(rf"[ \"]{event}[ \"].*\n")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: said.search(server.log, begin), event, 20)
        return server.log[begin:]

    def keys(self, said, event="configuration_reloaded"):
        return re.search(rf" {event} keys=(\S+)", said)[1].strip('"').split(",")


class WhatHolds(Reload):
    def test_for_new_sessions(self):
        server = self.server()
        old = self.client(server, STRANGER)
        said = self.reload(
            server,
            {"hostname": "new.example.com", "max_message_size": 100_000, "local_domains": ["example.net"],
             "allowed_relays": [STRANGER], "limits": {"max_recipients": 100, "max_errors": 2}},
        )
        self.assertEqual(
            set(self.keys(said)),
            {"hostname", "max_message_size", "local_domains", "allowed_relays", "limits.max_recipients",
             "limits.max_errors"},
        )
        self.assertNotIn("restart_needed", said)
        with self.client(server, STRANGER, hello=None) as new:
            self.assertIn("new.example.com", new.greeting.lines[0])
            self.assertIn("SIZE 100000", new.ehlo().texts)
            self.assertDialogue(new, ("MAIL FROM:<a@example.org>", "250"), ("RCPT TO:<b@example.edu>", "250"))
        # Who is there goes on: by the limits it was told.
        for _ in range(3):
            self.assertReply(old.command("BOGUS"), "500")
        self.assertReply(old.command("NOOP"), "250")

    def test_nothing_changed(self):
        server = self.server()
        self.assertIn('keys=""', self.hang_up(server))
        with self.client(server) as client:
            self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")

    def test_what_overrides_the_file_still_does(self):
        server = self.server(
            {"max_message_size": 1000}, variables={"ELEMTA_MAX_MESSAGE_SIZE": "2000"},
            arguments=["--listen", "127.0.0.9:0"])
        self.assertEqual(self.keys(self.reload(server, {"max_message_size": 3000, "hostname": "new.example.com"})),
                         ["hostname"])
        with Client(server.address) as client:
            self.assertIn("SIZE 2000", client.ehlo().texts)

    def test_users_come_and_go(self):
        server = self.server()
        users = server.directory / "users.json"
        self.write_users(server, users)
        said = self.reload(
            server, {"auth": {"enabled": True, "file_path": str(users)}, "allowed_relays": []})
        self.assertIn("auth.enabled", self.keys(said))
        with self.client(server, STRANGER) as client:
            self.assertReply(client.command("AUTH PLAIN AGFsaWNlQGV4YW1wbGUuY29tAHNlY3JldA=="), "235")
            offered = self.client(server, STRANGER)
            self.reload(server, {"auth": {"enabled": False}})
            # It was offered to whom is there.
            self.assertReply(offered.command("AUTH PLAIN AGFsaWNlQGV4YW1wbGUuY29tAHNlY3JldA=="), "235")
            with Client(server.address) as new:
                self.assertNotIn("AUTH", str(new.ehlo()))

    def write_users(self, server, users):
        server.configuration = merged(server.configuration, {"auth": {"enabled": True, "file_path": str(users)}})
        server.write_configuration()
        server.run("user", "add", "alice@example.com", input=b"secret\n")

    def test_recipients_come_and_go(self):
        server = self.server()
        (server.directory / "addresses.txt").write_text("alice\n")
        answers = []
        for recipients in ([{"domain": "example.com", "file": "addresses.txt"}], []):
            self.reload(server, {"recipients": recipients})
            with self.client(server) as client:
                client.command("MAIL FROM:<a@example.org>")
                answers.append(client.command("RCPT TO:<bob@example.com>").code)
        self.assertEqual(answers, [550, 250])

    def test_the_log(self):
        server = self.server()
        self.reload(server, {"logging": {"level": "debug", "format": "json", "file": "logs/new.log"}})
        with self.client(server) as client:
            client.command("BOGUS")
        file = server.directory / "logs/new.log"
        until(lambda: file.exists() and "command_rejected" in file.read_text(), "the new file")
        for line in file.read_text().splitlines():
            json.loads(line)


class Routes(Reload):
    def test_what_is_queued_goes_by_the_new_ones(self):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            dead = probe.getsockname()[1]
        server = self.server(
            {"delivery": {"routes": [{"domain": "*", "deliver": f"smtp://127.0.0.1:{dead}"}]},
             "queue": {"retry_schedule": [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 300]}})
        with self.client(server) as client:
            for number in range(20):
                content = b"Subject: %d\r\n\r\n" % number
                self.assertReply(client.message("a@example.org", ["b@example.com"], content), "250")
        until(lambda: "message_deferred" in server.log or "unreachable" in server.log, "a failed attempt")
        sink = self.sink()
        said = self.reload(server, routes_to(sink))
        self.assertEqual(self.keys(said), ["delivery.routes"])
        sink.wait_for(20)
        server.until_nothing_waits()
        self.assertEqual(len(sink.messages), 20)

    def test_what_is_with_a_worker_goes_by_them_when_it_is_back(self):
        hanging = self.sink(faults={"content": Always(SILENCE)})
        server = self.server({**routes_to(hanging), "queue": {"retry_schedule": [1]}})
        with self.client(server) as client:
            for number in range(60):
                content = b"Subject: %d\r\n\r\n" % number
                self.assertReply(client.message("a@example.org", ["b@example.com"], content), "250")
        until(lambda: any(c.startswith((b"BDAT", b"DATA")) for c in hanging.commands), "a delivery under way")
        sink = self.sink()
        self.reload(server, routes_to(sink))
        # Another that has nothing to do with routes doesn't make it forget.
        self.reload(server, {"limits": {"max_errors": 30}})
        hanging.close()
        sink.wait_for(60)
        server.until_nothing_waits()
        self.assertEqual(len(sink.messages), 60)

    def test_a_maildir_where_there_was_none(self):
        server = self.server()
        (server.directory / "mail").mkdir()
        self.reload(
            server,
            {"delivery": {"routes": [{"domain": "*", "deliver": f"maildir://{server.directory}/mail/{{local}}"}]}})
        with self.client(server) as client:
            self.assertReply(client.message("a@example.org", ["b@example.com"], b"Subject: x\r\n\r\n"), "250")
        until(lambda: list(server.directory.glob("mail/b/new/*")), "the message in its maildir")
        # Its threads run already: they go by the new name, too.
        self.reload(server, {"hostname": "new.example.com"})
        with self.client(server) as client:
            self.assertReply(client.message("a@example.org", ["c@example.com"], b"x\r\n"), "250")
        until(lambda: list(server.directory.glob("mail/c/new/*.new.example.com")), "a file by the new name")


class Listeners(Reload):
    def test_they_come_go_and_change(self):
        server = self.server({"listen_addr": None, "listeners": [{"address": "127.0.0.1:0"}, {"address": "127.0.0.2:0"}]})
        kept, dropped = server.addresses
        inside = Client(dropped)
        self.addCleanup(inside.close)
        with socket.create_server(("127.0.0.3", 0)) as probe:
            port = probe.getsockname()[1]
        said = self.reload(
            server, {"listeners": [{"address": "127.0.0.1:0", "auth_required": True}, {"address": f"127.0.0.3:{port}"}],
                     "auth": {"enabled": True, "file_path": str(self.users(server))}})
        self.assertIn("listeners", self.keys(said))
        with Client(kept) as client:
            client.ehlo()
            self.assertReply(client.command("MAIL FROM:<a@example.org>"), "530")
        with Client(("127.0.0.3", port)) as client:
            client.ehlo()
            self.assertReply(client.command("MAIL FROM:<a@example.org>"), "250")
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(dropped)
        self.assertReply(inside.ehlo(), "250")

    def users(self, server):
        path = server.directory / "users.json"
        path.write_text('{"users": []}')
        path.chmod(0o600)
        return path

    def test_an_address_that_is_taken_is_refused(self):
        server = self.server()
        with socket.create_server(("127.0.0.1", 0)) as other:
            said = self.reload(
                server, {"listen_addr": f"127.0.0.1:{other.getsockname()[1]}", "hostname": "new.example.com"},
                "configuration_refused")
        self.assertIn("cannot listen on", said)
        with Client(server.address) as client:
            self.assertIn("mail.example.com", client.greeting.lines[0])


class WhatNeedsARestart(Reload):
    def test_it_is_named_and_the_rest_holds(self):
        server = self.server()
        said = self.reload(
            server, {"queue_dir": "elsewhere", "queue": {"max_workers": 2, "max_retries": 7},
                     "hostname": "new.example.com", "dev_mode": True})
        self.assertEqual(
            set(self.keys(said, "restart_needed")), {"queue_dir", "queue.max_workers", "dev_mode"})
        with self.client(server, hello=None) as client:
            self.assertIn("new.example.com", client.greeting.lines[0])
            client.ehlo()
            self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250 2.0.0")
        self.assertFalse((server.directory / "elsewhere").exists())
        # Still, and only, that.
        said = self.hang_up(server)
        self.assertEqual(
            set(self.keys(said, "restart_needed")), {"queue_dir", "queue.max_workers", "dev_mode"})


class WhatIsRefused(WithCertificates, Reload):
    def test_everything_that_is_wrong_is_said_and_nothing_holds(self):
        server = self.server(with_tls(self.pair))
        good = server.configuration
        for wrong, words in (
            ({"hostnam": "x", "queue": {"max_workers": "many"}}, ("hostnam", "queue.max_workers")),
            ({"auth": {"enabled": True, "file_path": "/nonexistent/users.json"},
              "recipients": [{"domain": "example.com", "file": "/nonexistent/addresses.txt"}],
              "tls": {"cert_file": "/nonexistent/cert.pem"},
              "logging": {"file": f"{server.file}/elemta.log"}},
             ("users.json", "addresses.txt", "cert.pem", "elemta.log")),
            ({"delivery": {"relay_host": "127.0.0.1:1", "relay_username": "u",
                           "relay_password_file": "/nonexistent/password"}}, ("password",)),
        ):
            with self.subTest(wrong):
                server.configuration = good
                said = self.reload(
                    server, merged({"hostname": "new.example.com"}, wrong), "configuration_refused")
                until(lambda: all(w in server.log for w in words), f"{words} in the log")
                self.assertNotIn("configuration_reloaded", said)
                with self.client(server, hello=None) as client:
                    self.assertIn("mail.example.com", client.greeting.lines[0])
                    client.ehlo()
                    self.secured(client)
        server.configuration = good
        self.assertIn('keys=""', self.reload(server, {}))

    def test_no_file_at_all(self):
        server = self.server()
        server.file.unlink()
        self.assertIn(str(server.file), self.hang_up(server, "configuration_refused"))

    def test_many_signals_end_in_what_the_file_says(self):
        server = self.server()
        for number in range(30):
            server.configuration = merged(server.configuration, {"hostname": f"n{number}.example.com"})
            # Never half of it.
            replace(server.file, yaml(server.configuration).encode())
            server.process.send_signal(signal.SIGHUP)

        def greeted():
            with Client(server.address) as client:
                return "n29." in client.greeting.lines[0]

        until(greeted, "the last name")

    @unittest.skipUnless(os.geteuid() == 0, "only root becomes somebody else")
    def test_what_the_user_cannot_read(self):
        directory = self.directory()
        directory.chmod(0o755)
        server = self.server({"user": "nobody"}, directory=directory)
        server.file.chmod(0o600)
        said = self.hang_up(server, "configuration_refused")
        self.assertIn("ermission denied", said)
        self.assertIn("read_by=nobody", said)
        server.file.chmod(0o644)
        self.assertEqual(self.keys(self.reload(server, {"hostname": "new.example.com"})), ["hostname"])


@unittest.skipUnless(os.geteuid() == 0, "only root becomes somebody else")
class APortThatTakesRoot(Reload):
    def test_it_is_refused_with_all_the_rest(self):
        directory = self.directory()
        directory.chmod(0o755)
        server = self.server({"user": "nobody"}, directory=directory)
        if int(open("/proc/sys/net/ipv4/ip_unprivileged_port_start").read()) <= 465:
            self.skipTest("no port takes root here")
        said = self.reload(
            server,
            {"listen_addr": None, "hostname": "new.example.com",
             "listeners": [{"address": server.configuration["listen_addr"]}, {"address": "127.0.0.1:465"}]},
            "configuration_refused")
        self.assertIn("cannot listen on 127.0.0.1:465", said)
        self.assertIn("a restart binds it", said)
        self.assertNotIn("configuration_reloaded", server.log)
        with Client(server.address) as client:
            self.assertIn("mail.example.com", client.greeting.lines[0])


class AtAnyTime(Reload):
    def test_at_the_start(self):
        server = self.unstarted_server().launch()
        until(lambda: " starting " in server.log, "its first line")
        while " ready " not in server.log and server.is_running:
            server.process.send_signal(signal.SIGHUP)
        until(lambda: "configuration_reloaded" in server.log, "the reload that was asked for")

    def test_at_the_end(self):
        hanging = self.sink(faults={"content": Always(SILENCE)})
        server = self.server(routes_to(hanging))
        with self.client(server) as client:
            self.assertReply(client.message("a@example.org", ["b@example.com"], b"Subject: x\r\n\r\n"), "250")
        until(lambda: any(c.startswith((b"BDAT", b"DATA")) for c in hanging.commands), "a delivery under way")
        server.process.send_signal(signal.SIGTERM)
        until(lambda: not (server.directory / "queue/control.sock").exists(), "the server leaving the queue")
        self.assertTrue(server.is_running)
        server.process.send_signal(signal.SIGHUP)
        self.assertEqual(server.wait(), 0)
        self.assertLogged(server, " stopped")


class UnderASupervisor(Reload):
    def test_it_is_told_of_the_reload(self):
        directory = self.directory()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(directory / "notify"))
            manager.settimeout(20)
            server = self.server(directory=directory, variables={"NOTIFY_SOCKET": str(directory / "notify")})
            self.assertIn(b"READY=1", manager.recv(4096))
            for event, changes in (("configuration_reloaded", {}), ("configuration_refused", {"bogus": 1})):
                self.reload(server, changes, event)
                self.assertRegex(manager.recv(4096), rb"^RELOADING=1\nMONOTONIC_USEC=\d+$")
                self.assertIn(b"READY=1", manager.recv(4096))
