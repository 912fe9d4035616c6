"""The log as an operator reads it: docs/logging.md has its events and fields."""

import os
import re
import shlex
import signal

from harness.case import STRANGER, Case, routes_to
from harness.client import Client
from harness.waiting import until

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
LEVELS = "debug|info|notice|warning|error|critical"


def events(log, name):
    """The fields of each line of an event, as text."""
    return [
        dict(field.split("=", 1) for field in shlex.split(line) if "=" in field)
        for line in log.splitlines()
        if re.match(rf"{TIME} ({LEVELS}) {name}( |$)", line)
    ]


class Steps(Case):
    def test_a_message_can_be_followed_from_its_client_to_its_next_hop(self):
        sink = self.sink()
        server = self.server({"logging": {"level": "debug"}, **routes_to(sink)})
        with self.client(server) as client:
            self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")
            self.assertReply(client.command("QUIT"), "221")
        sink.wait_for(1)
        until(lambda: events(server.log, "message_delivered"), "the delivery in the log")
        until(lambda: events(server.log, "connection_closed"), "the session's end in the log")
        (opened,) = events(server.log, "connection_opened")
        (accepted,) = events(server.log, "message_accepted")
        (delivered,) = events(server.log, "message_delivered")
        (closed,) = events(server.log, "connection_closed")
        self.assertEqual({opened["session"]}, {accepted["session"], closed["session"]})
        self.assertEqual(accepted["id"], delivered["id"])
        self.assertEqual((opened["client"], opened["listener"]), ("127.0.0.1", "127.0.0.1:0"))
        self.assertEqual((closed["reason"], closed["messages"]), ("quit", "1"))
        self.assertGreaterEqual(int(closed["duration_ms"]), 0)
        self.assertGreaterEqual(int(delivered["duration_ms"]), 0)
        self.assertEqual(accepted["octets"], "3")

    def test_how_a_session_ended(self):
        server = self.server()
        self.client(server).close()
        until(lambda: events(server.log, "connection_closed"), "the session's end in the log")
        server.stop()
        self.assertEqual([closed["reason"] for closed in events(server.log, "connection_closed")], ["client"])

    def test_a_refused_message_has_its_id_and_what_the_client_said_stays_out(self):
        server = self.server({"max_message_size": 1000})
        with self.client(server, STRANGER) as client:
            self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n" * 1000), "552")
            self.assertReply(client.command("secret-word"), "500")
        server.stop()
        (rejected,) = events(server.log, "message_rejected")
        self.assertRegex(rejected["reply"], "^552 ")
        self.assertRegex(rejected["id"], "^[0-9a-z]{13}$")
        (refused,) = events(server.log, "command_rejected")
        self.assertEqual((refused["client"], refused["session"]), (STRANGER, rejected["session"]))
        self.assertNotIn("secret-word", server.log)

    def test_a_message_that_takes_too_long_has_its_id(self):
        server = self.server({"limits": {"data_timeout": 1}})
        with self.client(server) as client:
            for command in ("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA"):
                client.command(command)
            client.send(b"x\r\n")
            self.assertReply(client.reply(), "421")
        server.stop()
        (rejected,) = events(server.log, "message_rejected")
        self.assertRegex(rejected["id"], "^[0-9a-z]{13}$")
        self.assertEqual(events(server.log, "command_rejected"), [])

    def test_every_line_is_of_the_same_form_whatever_a_client_says(self):
        server = self.server({"logging": {"level": "debug"}})
        with self.client(server, hello=None) as client:
            client.command(b"EHLO a\x1b[2J\rb info message_accepted id=forged")
            client.ehlo("client.example.org")
            client.command('MAIL FROM:<"a b=c info ready\\" x"@example.org>')
            client.command("RCPT TO:<b@example.com>")
            client.command("DATA")
            self.assertReply(client.command(b"x\r\n."), "250")
        server.stop()
        value = r'(?:[^\s"=\\]+|"(?:[^"\\\x00-\x1f]|\\["\\]|\\x[0-9a-f]{2})*")'
        for line in server.log.splitlines():
            self.assertRegex(line, rf"^{TIME} ({LEVELS}) [a-z_]+( [a-z_]+={value})*$")
        self.assertEqual(len(events(server.log, "message_accepted")), 1)
        self.assertNotIn("forged", server.log)


class Floods(Case):
    def test_a_flood_is_counted_and_hides_no_message(self):
        server = self.server({"limits": {"max_errors": 1000}})
        with self.client(server, STRANGER) as flood, self.client(server) as client:
            flood.send(b"NONSENSE\r\n" * 500)
            for _ in range(500):
                self.assertReply(flood.reply(), "500")
            for _ in range(30):
                self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")
        server.until_nothing_waits()
        server.stop()
        refused = events(server.log, "command_rejected")
        counted = sum(int(line.get("repeated", 1)) for line in refused)
        self.assertEqual(counted, 500)
        self.assertLess(len(refused), 60)
        self.assertEqual({line["client"] for line in refused}, {STRANGER})
        self.assertEqual(len(events(server.log, "message_accepted")), 30)
        self.assertEqual(len(events(server.log, "message_delivered")), 30)

    def test_refused_content_is_counted(self):
        server = self.server()
        with self.client(server, STRANGER) as client:
            for _ in range(50):
                self.assertReply(client.message("a@example.org", ["b@example.com"], b"a\nb\r\n"), "5")
        server.stop()
        lines = events(server.log, "message_rejected")
        self.assertEqual(sum(int(line.get("repeated", 1)) for line in lines), 50)
        self.assertLess(len(lines), 30)


class File(Case):
    def test_a_full_file_is_told_of_and_costs_no_mail(self):
        directory = self.directory()
        (directory / "elemta.log").symlink_to("/dev/full")
        server = self.server({"logging": {"file": "elemta.log"}}, directory=directory)
        with self.client(server) as client:
            for _ in range(3):
                self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")
        (failed,) = until(lambda: events(server.log, "log_file_failed"), "the file's failure in the log")
        self.assertEqual((failed["file"], failed["error"]), ("elemta.log", "No space left on device"))
        (directory / "elemta.log").unlink()
        server.process.send_signal(signal.SIGHUP)
        until(lambda: events(server.log, "log_file_restored"), "the file in use again")
        with self.client(server) as client:
            self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")
        server.stop()
        self.assertEqual(len(events(server.log, "log_file_failed")), 1)
        self.assertEqual(len(events(server.log, "message_accepted")), 4)
        self.assertEqual(len(events((directory / "elemta.log").read_text(), "message_accepted")), 1)

    def test_a_rotated_file_is_let_go_at_a_sighup(self):
        directory = self.directory()
        server = self.server({"logging": {"file": "logs/elemta.log"}}, directory=directory)
        file = directory / "logs/elemta.log"
        os.rename(file, directory / "logs/elemta.log.1")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: file.exists() and "log_reopened" in file.read_text(), "the file anew")
        with Client(server.address) as client:
            client.ehlo("client.example.org")
        server.stop()
        self.assertNotIn("connection_closed", (directory / "logs/elemta.log.1").read_text())
        self.assertIn("connection_closed", file.read_text())
