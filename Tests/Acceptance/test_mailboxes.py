"""Mail into mailboxes: LMTP to a real Dovecot, and maildirs that Python's mailbox module reads."""

import email
import os
import random
import re
import shutil
import subprocess
import tempfile
import unittest
from email import policy

from harness.case import Case, WithCertificates, unique, with_tls
from harness.dovecot import Dovecot, is_there, messages_in
from harness.load import Sender
from harness.server import merged
from harness.waiting import until

SOON = {"retry_schedule": [1]}


def routed(deliver, **route):
    return {"queue": SOON, "delivery": {"routes": [{"domain": "example.com", "deliver": deliver, **route}]}}


def subjects(messages):
    return sorted(email.message_from_bytes(message)["Subject"] for message in messages)


class Mailboxes(Case):
    def accept(self, server, recipients, subject="x", parameters="", sender="a@example.org", octets=0, via="DATA",
               client=None):
        content = b"Subject: %s\r\n\r\n" % subject.encode() + (b"k" * 98 + b"\r\n") * (octets // 100)
        with client or self.client(server) as client:
            self.assertReply(client.message(sender, recipients, content, parameters, via), "250 2.0.0")

    def report(self, message):
        """The parts of a report: who it is about, and what is said of each."""
        parts = list(email.message_from_bytes(message.content, policy=policy.default).iter_parts())
        return {
            block["Final-Recipient"].split(";")[1].strip(): (block["Action"], block["Status"])
            for block in parts[1].get_payload()[1:]
        }


    def kill_and_find(self, server, found, rounds=3):
        """kill -9 in the middle of deliveries: what was answered 250 is found, and found whole."""
        generator = random.Random(4)
        accepted = {}
        for number in range(rounds):
            senders = [Sender(server.address, f"r{number}s{n}") for n in range(3)]
            for sender in senders:
                sender.start()
            enough = generator.randrange(20, 120)
            until(lambda: sum(len(s.accepted) for s in senders) >= enough, f"{enough} messages accepted", 60)
            server.kill()
            for sender in senders:
                sender.join(30)
                accepted.update({name: octets for name, octets, _ in sender.accepted})
            server.start()
        until(lambda: accepted.keys() <= set(subjects(found())), "every accepted message in the mailbox", 60)
        server.until_nothing_waits(60)
        for message in found():
            head, _, body = message.partition(b"\n\n")
            name = email.message_from_bytes(head)["Subject"]
            self.assertEqual(body.strip(b"k\n"), b"", name)
            if name in accepted:
                lines = (accepted[name] - len(name) - len("Subject: \r\n\r\n")) // 100
                self.assertEqual(body, (b"k" * 98 + b"\n") * lines, name)


@unittest.skipUnless(is_there(), "Dovecot isn't unpacked: scripts/dependencies test")
class DovecotLMTP(WithCertificates, Mailboxes):
    USERS = {"b@example.com": None, "bob@example.com": None, "carol@example.com": None, "full@example.com": 2}

    def dovecot(self, pair=None):
        # A path short enough for a socket, and open to the user that Dovecot runs as.
        folder = tempfile.mkdtemp(prefix="elemta-dovecot-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        dovecot = Dovecot(folder, self.USERS, pair)
        self.addCleanup(dovecot.stop)
        return dovecot.start()

    def arrived(self, dovecot, address, count=1):
        return until(
            lambda: found if len(found := dovecot.messages(address)) >= count else None,
            f"{count} messages for {address}; Dovecot's log:\n{dovecot.log}",
            20,
        )

    def test_a_message_is_in_the_mailbox_over_tcp_and_over_a_socket(self):
        dovecot = self.dovecot()
        for number, route in enumerate((dovecot.tcp_route, dovecot.socket_route)):
            with self.subTest(route):
                server = self.server(routed(route))
                subject = unique().decode()
                self.accept(server, ["bob@example.com", "carol@example.com"], subject)
                for address in ("bob@example.com", "carol@example.com"):
                    message = self.arrived(dovecot, address, number + 1)
                    found = [m for m in message if email.message_from_bytes(m)["Subject"] == subject]
                    self.assertEqual(len(found), 1)
                    self.assertIn(b"Return-Path: <a@example.org>", found[0])
                    self.assertIn(b"with LMTP", found[0])
                server.until_nothing_waits()
                self.assertLogged(server, re.compile(r"message_delivered .*to=<bob@example\.com>"))

    def test_each_recipient_has_a_fate_of_his_own(self):
        dovecot = self.dovecot()
        sink = self.sink()
        server = self.server(
            merged(
                routed(dovecot.socket_route),
                {
                    "queue": {"retry_schedule": [3600]},
                    "delivery": {
                        "routes": [
                            {"domain": "example.com", "deliver": dovecot.socket_route},
                            {"domain": "example.org", "deliver": sink.route},
                        ]
                    },
                },
            )
        )
        self.accept(server, ["bob@example.com", "nobody@example.com", "full@example.com"], octets=4000)
        bounce = sink.wait_for(1)[0]
        self.assertEqual(self.report(bounce), {"nobody@example.com": ("failed", "5.1.1")})
        self.assertEqual(len(self.arrived(dovecot, "bob@example.com")), 1)
        until(lambda: [m["state"] for m in server.waiting()] == ["deferred"], "one deferred message")
        self.assertLogged(server, "Quota exceeded")
        self.assertEqual(dovecot.messages("full@example.com"), [])
        self.assertEqual(len(dovecot.messages("bob@example.com")), 1)

    def test_chunks_are_answered_for_each_recipient(self):
        dovecot = self.dovecot()
        server = self.server(routed(dovecot.tcp_route))
        # Beyond 64 KiB Elemta sends BDAT, which this Dovecot offers: from the database or from a file.
        sizes = (200_000, 300_000)
        for octets in sizes:
            self.accept(server, ["bob@example.com", "carol@example.com", "full@example.com"], octets=octets)
        for address in ("bob@example.com", "carol@example.com"):
            lines = sorted(message.count(b"k" * 98) for message in self.arrived(dovecot, address, len(sizes)))
            self.assertEqual(lines, [octets // 100 for octets in sizes])
        until(lambda: server.log.count("Quota exceeded") >= len(sizes), "the full mailbox in the log")
        self.assertEqual(len(server.waiting()), len(sizes))

    def test_one_connection_takes_many_messages(self):
        dovecot = self.dovecot()
        configuration = merged(routed(dovecot.socket_route), {"delivery": {"max_connections_per_destination": 1}})
        server = self.server(configuration)
        with self.client(server) as client:
            for number in range(30):
                content = b"Subject: n%02d\r\n\r\nx\r\n" % number
                self.assertReply(client.message("a@example.org", ["bob@example.com"], content), "250")
        messages = self.arrived(dovecot, "bob@example.com", 30)
        self.assertEqual(subjects(messages), [f"n{number:02}" for number in range(30)])
        self.assertLess(dovecot.log.count("Connect from"), 30)

    def test_mail_waits_for_a_dovecot_that_is_away(self):
        dovecot = self.dovecot()
        dovecot.stop()
        server = self.server(routed(dovecot.socket_route))
        self.accept(server, ["bob@example.com"])
        until(lambda: "Can't connect" in server.log, "an attempt that failed")
        dovecot.start()
        server.run("queue", "retry", "--all")
        self.arrived(dovecot, "bob@example.com")

    def test_starttls_as_the_route_wants_it(self):
        dovecot = self.dovecot(self.pair)
        trusting = {"SSL_CERT_FILE": str(self.authority.file)}
        for variables, words in ((trusting, "verified=certificate"), ({}, None)):
            with self.subTest(words):
                server = self.server(routed(dovecot.tcp_route, tls="required"), variables=variables)
                self.accept(server, ["carol@example.com"])
                if words:
                    self.arrived(dovecot, "carol@example.com")
                    delivered = until(
                        lambda: re.search(r"message_delivered .*", server.log), "a delivery in the log"
                    )[0]
                    self.assertIn("tls=TLSv1.3", delivered)
                    self.assertIn(words, delivered)
                else:
                    until(lambda: "4.7.5" in server.log or "certificate" in server.log, "a refused certificate")
                    self.assertEqual(len(server.waiting()), 1)
                    self.assertEqual(len(dovecot.messages("carol@example.com")), 1)

    def test_what_requires_tls_has_arrived_when_it_is_on_this_machine(self):
        dovecot = self.dovecot()
        server = self.server(merged(with_tls(self.pair), routed(dovecot.tcp_route)))
        client = self.secured(self.client(server))
        self.accept(server, ["bob@example.com"], parameters=" REQUIRETLS", client=client)
        self.arrived(dovecot, "bob@example.com")

    def test_kill_nine_loses_nothing(self):
        dovecot = self.dovecot()
        server = self.server(routed(dovecot.socket_route))
        self.kill_and_find(server, lambda: dovecot.messages("b@example.com"))


class Maildirs(Mailboxes):
    def maildir(self, template="{domain}/{local}", **configuration):
        """A folder, and a server that delivers into maildirs below it."""
        folder = self.directory()
        server = self.server(merged(routed(f"maildir://{folder}/{template}"), configuration))
        return folder, server

    def arrived(self, path, count=1):
        return until(
            lambda: found if len(found := messages_in(path)) >= count else None, f"{count} messages in {path}", 20
        )

    def test_a_message_is_in_the_maildir_of_each_recipient(self):
        folder, server = self.maildir()
        subject = unique().decode()
        self.accept(server, ["bob@example.com", "Carol@EXAMPLE.com", "bob+tag@example.com"], subject, octets=200)
        message, = self.arrived(folder / "example.com/carol")
        self.assertTrue(message.startswith(b"Return-Path: <a@example.org>\nDelivered-To: Carol@"), message[:200])
        self.assertNotIn(b"\r", message)
        self.assertTrue(message.endswith(b"\n\n" + (b"k" * 98 + b"\n") * 2))
        self.assertEqual(subjects(self.arrived(folder / "example.com/bob", 2)), [subject, subject])
        server.until_nothing_waits()
        file, = (folder / "example.com/carol/new").iterdir()
        self.assertRegex(file.name, r"\A\d+\.M\d+P%d_\d+\.mail\.example\.com\Z" % server.process.pid)
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        for name in ("", "cur", "new", "tmp"):
            self.assertEqual((folder / "example.com/carol" / name).stat().st_mode & 0o777, 0o700)
        self.assertEqual(list((folder / "example.com/carol/tmp").iterdir()), [])

    def test_content_of_any_size_is_whole(self):
        folder, server = self.maildir()
        for octets in (0, 60_000, 200_000, 2_000_000):
            for via in ("DATA", "BDAT"):
                subject = unique().decode()
                self.accept(server, ["bob@example.com"], subject, octets=octets, via=via)
                message = until(
                    lambda: next((m for m in messages_in(folder / "example.com/bob") if subject.encode() in m), None),
                    subject, 20,
                )
                self.assertEqual(message.partition(b"\n\n")[2], (b"k" * 98 + b"\n") * (octets // 100))

    def test_no_name_leads_out_of_the_root(self):
        folder, server = self.maildir("mail/{local}")
        (folder / "mail").mkdir()
        names = {
            r'"../../outside"@example.com': "%2E.%2F..%2Foutside", "a/b@example.com": "a%2Fb", r'".."@example.com': "%2E.",
            r'"a b"@example.com': "a%20b",
        }
        self.accept(server, list(names))
        for name in names.values():
            self.arrived(folder / "mail" / name)
        self.assertEqual(sorted(path.name for path in (folder / "mail").iterdir()), sorted(names.values()))
        self.assertEqual([path.name for path in folder.iterdir()], ["mail"])

    def test_without_a_name_there_is_no_mailbox(self):
        sink = self.sink()
        folder = self.directory()
        server = self.server(
            {
                "delivery": {
                    "routes": [
                        {"domain": "example.com", "deliver": f"maildir://{folder}/{{local}}"},
                        {"domain": "example.org", "deliver": sink.route},
                    ]
                }
            }
        )
        self.accept(server, ['""@example.com', "bob@example.com"])
        self.assertEqual(self.report(sink.wait_for(1)[0]), {'""@example.com': ("failed", "5.1.1")})
        self.arrived(folder / "bob")

    def test_mail_waits_for_a_root_that_is_missing(self):
        folder, server = self.maildir("mount/{local}")
        self.assertLogged(server, "route_obstructed")
        self.assertIn(f"warning: delivery.routes[0].deliver: there is no directory {folder}/mount", server.run("check"))
        self.accept(server, ["bob@example.com"])
        until(lambda: "delivery_deferred" in server.log, "a deferred delivery")
        self.assertEqual(list(folder.iterdir()), [])
        (folder / "mount").mkdir()
        server.run("queue", "retry", "--all")
        self.arrived(folder / "mount/bob")
        self.assertNotIn("warning", server.run("check"))

    def test_nothing_is_written_or_removed_behind_what_others_may_exchange(self):
        folder, server = self.maildir()
        outside = self.directory()
        old = outside / "old"
        old.write_text("precious")
        os.utime(old, (1, 1))
        box = folder / "example.com/bob"
        box.mkdir(parents=True, mode=0o700)
        (box / "tmp").symlink_to(outside)
        shared = folder / "example.com/carol"
        shared.mkdir()
        shared.chmod(0o777)
        for recipient in ("bob", "carol"):
            self.accept(server, [f"{recipient}@example.com"])
            until(lambda: f"to=<{recipient}@example.com>" in server.log and "delivery_deferred" in server.log,
                  "a deferred delivery", 20)
        self.assertLogged(server, "isn't a folder of the server's own user alone")
        self.assertEqual(list(outside.iterdir()), [old])
        # Mended, it takes what has waited.
        (box / "tmp").unlink()
        shared.chmod(0o700)
        server.run("queue", "retry", "--all")
        self.arrived(box)
        self.arrived(shared)

    @unittest.skipUnless(os.geteuid() == 0, "mounting takes root")
    def test_mail_waits_while_the_disk_is_full(self):
        folder, server = self.maildir("small/{local}")
        small = folder / "small"
        small.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "elemta-test", str(small)], capture_output=True, check=False
        )
        if mounted.returncode != 0:
            raise unittest.SkipTest(f"no tmpfs can be mounted: {mounted.stderr.decode().strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", str(small)], check=True)
        self.accept(server, ["bob@example.com"], octets=400_000)
        until(lambda: "delivery_deferred" in server.log, "a deferred delivery", 20)
        self.assertLogged(server, "No space left on device")
        # Unless the next attempt is at it.
        until(lambda: not [path for path in small.rglob("*") if path.is_file()], "nothing left of it")
        # Others still fit.
        self.accept(server, ["carol@example.com"])
        self.arrived(small / "carol")

    def test_success_is_reported_as_delivered(self):
        sink = self.sink()
        folder = self.directory()
        server = self.server(
            {
                "delivery": {
                    "routes": [
                        {"domain": "example.com", "deliver": f"maildir://{folder}/{{local}}"},
                        {"domain": "example.org", "deliver": sink.route},
                    ]
                }
            }
        )
        with self.client(server) as client:
            self.assertDialogue(
                client, ("MAIL FROM:<a@example.org>", "250"), ("RCPT TO:<bob@example.com> NOTIFY=SUCCESS", "250")
            )
            self.assertReply(client.data(b"Subject: x\r\n\r\nx\r\n"), "250")
        self.assertEqual(self.report(sink.wait_for(1)[0]), {"bob@example.com": ("delivered", "2.0.0")})

    def test_kill_nine_loses_nothing(self):
        folder, server = self.maildir("{local}")
        self.kill_and_find(server, lambda: messages_in(folder / "b"))
