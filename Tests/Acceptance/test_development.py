"""Dev mode: what a developer sees, and that nothing leaves the machine or reaches the disk.

`test_xdebug.py` is about what it adds to the dialogue.
"""

import hashlib
import json
import os
import pathlib
import smtplib
import subprocess
from email.message import EmailMessage

from harness.case import STRANGER, routes_to, unique
from harness.development import LETTER, UUID, DevelopmentCase
from harness.server import BINARY, SANITIZER, environment
from harness.tools import swaks
from harness.waiting import until

MEBIBYTE = 1024 * 1024


class Capture(DevelopmentCase):
    """What becomes of an accepted message."""

    def test_other_peoples_programs_send_and_the_log_tells(self):
        server = self.developer()
        message = EmailMessage()
        message["From"], message["To"] = "app@example.org", "kim@far.example"
        message["Subject"] = "Grüße an alle, die hier lesen, was wir schreiben, und an Kim ganz besonders"
        message.set_content("Hallo\n")
        with smtplib.SMTP(*server.address) as client:
            client.send_message(message)
        swaks(server.address, "--from", "a@example.org", "--to", "b@one.example,c@two.example",
              "--header", "Subject: from swaks", "--body", "x")
        first, second = self.until_captured(server, 2)
        self.assertEqual(
            (first["from"], first["to"], first["recipients"], first["client"], first["subject"]),
            ("<app@example.org>", "<kim@far.example>", "1", "127.0.0.1", message["Subject"]))
        self.assertEqual(
            (second["to"], second["recipients"], second["subject"]),
            ("<b@one.example>, <c@two.example>", "2", "from swaks"))
        self.assertRegex(first["session"], rf"\A{UUID}\Z")
        listed = server.queue()
        self.assertEqual([line["id"] for line in listed], [first["id"], second["id"]])
        self.assertEqual([line["subject"] for line in listed], [message["Subject"], "from swaks"])

    def test_the_reply_names_the_message_and_show_gives_it_back_octet_by_octet(self):
        server = self.developer()
        client = self.client(server)
        for via, content in (
            ("DATA", LETTER + b"..\r\n" + bytes(range(0x80, 0x100)) + b"\r\n"),
            ("BDAT", LETTER + bytes(range(0x20)) * 40_000 + b"no line end"),
        ):
            reply = client.message("a@example.org", ["b@one.example"], content, " BODY=8BITMIME", via)
            self.assertReply(reply, "250 2.0.0 Message accepted for delivery ")
            raw = self.raw(server, reply.message_id)
            self.assertTrue(raw.startswith(b"Received: from client.example.org "), raw[:80])
            header, end, kept = raw.partition(b" +0000\r\n")
            self.assertEqual(kept, content)
            shown = server.run("queue", "show", reply.message_id)
            for word in (reply.message_id, "<a@example.org>", "<b@one.example>", "127.0.0.1",
                         "client.example.org", "never delivered", "Subject: a letter"):
                self.assertIn(word, shown)
            shown = json.loads(server.run("queue", "show", reply.message_id, "--json"))
            self.assertEqual((shown["octets"], shown["held"]), (len(raw), True))
        missing = server.run("queue", "show", "0000000000001", status=os.EX_NOINPUT)
        self.assertIn("0000000000001", missing)

    def raw(self, server, identifier):
        # Not through `server.run`, which decodes.
        return subprocess.run(
            [BINARY, "queue", "show", identifier, "--raw", "--config", server.file],
            cwd=server.directory, env=environment(), stdout=subprocess.PIPE, check=True).stdout

    def test_the_list_is_the_queues(self):
        server = self.developer()
        client = self.client(server)
        ids = [client.message(f"s{number}@example.org", [f"u@d{number}.example", "x@all.example"],
                              b"Subject: number %d\r\n\r\n" % number).message_id for number in range(3)]
        said = server.run("queue", "list")
        self.assertRegex(said.splitlines()[0], r"\AID +STATE .* SUBJECT\s*\Z")
        for number, (line, identifier) in enumerate(zip(said.splitlines()[1:], ids, strict=True)):
            for word in (identifier, " hold ", " 2/2 ", f"<s{number}@example.org>", f"number {number}"):
                self.assertIn(word, line)

        def listed(*arguments):
            lines = server.run("queue", "list", "--json", *arguments).splitlines()
            return [json.loads(line)["id"] for line in lines]

        self.assertEqual(listed("--domain", "d1.example"), [ids[1]])
        self.assertEqual(listed("--domain", "all.example"), ids)
        self.assertEqual(listed("--sender", "s2@example.org"), [ids[2]])
        self.assertEqual(listed("--state", "active"), [])
        statistics = json.loads(server.run("queue", "stats", "--json"))
        self.assertEqual((statistics["messages"], statistics["file_octets"]), (3, 0))

    def test_messages_can_be_deleted_and_nothing_else(self):
        server = self.developer()
        client = self.client(server)
        ids = [client.message("a@example.org", ["b@one.example"], LETTER).message_id for _ in range(3)]
        for command in ("retry", "hold", "release"):
            self.assertIn("dev mode", server.run("queue", command, "--all", status=1))
        server.run("queue", "delete", ids[1])
        self.assertEqual([line["id"] for line in server.queue()], [ids[0], ids[2]])
        server.run("queue", "delete", "--all")
        self.assertEqual(server.queue(), [])

    def test_nothing_a_client_sent_acts_on_the_log_or_the_terminal(self):
        server = self.developer()
        client = self.client(server)
        token = unique()
        subject = b"=?utf-8?Q?a=0D=0Ab=1B[2J=22_id=3Dx?= \x1b[31m " + token
        client.message("a@example.org", ["b@one.example"], b"Subject: " + subject + b"\r\n\r\n", via="BDAT")
        self.until_captured(server, 1)
        line = next(line for line in server.log.splitlines() if token.decode() in line)
        self.assertIn(r'subject="a\x0d\x0ab\x1b[2J\" id=x \x1b[31m ' + token.decode() + '"', line)
        self.assertNotIn("\x1b", server.run("queue", "list"))
        self.assertEqual(len(server.run("queue", "list").splitlines()), 2)

    def test_a_line_of_the_log_is_bounded(self):
        server = self.developer()
        client = self.client(server)
        recipients = [f"{'x' * 50}{number}@one.example" for number in range(500)]
        client.message("a@example.org", recipients, b"Subject: " + b"y" * 900 + b"\r\n\r\n")
        fields = self.until_captured(server, 1)[0]
        self.assertEqual(fields["recipients"], "500")
        self.assertRegex(fields["to"], r"\A<x+0@one\.example>, .* and \d+ more\Z")
        self.assertLess(len(fields["to"]), 513)
        self.assertLess(len(fields["subject"]), 250)

    def test_strangers_may_send_to_local_domains_only_as_in_production(self):
        client = self.client(self.developer(), STRANGER)
        self.assertDialogue(
            client, ("MAIL FROM:<a@example.org>", "250"), ("RCPT TO:<b@far.example>", "554 5.7.1"),
            ("RCPT TO:<b@example.com>", "250"))

    def test_a_restart_forgets_all(self):
        server = self.developer()
        self.client(server).message("a@example.org", ["b@one.example"], LETTER)
        self.assertEqual(len(server.queue()), 1)
        server.stop()
        server.start()
        self.assertEqual(server.queue(), [])


    def test_a_killed_server_leaves_nothing_in_the_way_of_a_real_one(self):
        server = self.developer()
        self.client(server).message("a@example.org", ["b@one.example"], LETTER)
        server.kill()
        server.configuration["dev_mode"] = False
        server.start()
        self.assertEqual(server.queue(), [])
        self.assertReply(
            self.client(server).message("a@example.org", ["b@one.example"], LETTER), "250")


class Bounds(DevelopmentCase):
    def test_the_latest_1000_messages_are_kept(self):
        server = self.developer()
        ids = []
        with self.client(server) as client:
            transaction = (b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@one.example>\r\n"
                           b"BDAT 12 LAST\r\nSubject: %4d")
            for number in range(1001):
                client.send(transaction.replace(b"12", b"13") % number)
                ids.append(client.replies(3)[-1].message_id)
        self.assertEqual([line["id"] for line in server.queue()], ids[1:])
        server.run("queue", "show", ids[0], status=os.EX_NOINPUT)
        self.assertEqual(len(self.until_captured(server, 1001)), 1001)

    def test_the_latest_64_mebibytes_are_kept_and_memory_is_given_back(self):
        server = self.developer()
        client = self.client(server)
        before = server.resident_octets()
        content = LETTER + b"x" * (10 * MEBIBYTE)
        ids = []
        for _ in range(14):
            reply = client.message("a@example.org", ["b@one.example"], content, via="BDAT")
            ids.append(reply.message_id)
        self.assertEqual([line["id"] for line in server.queue()], ids[-6:])
        if SANITIZER:
            return  # it keeps what was freed
        # What is kept, one message that arrives and its copy, and what the allocator holds back.
        self.assertLess(server.peak_octets() - before, (64 + 3 * 10 + 24) * MEBIBYTE)
        server.run("queue", "delete", "--all")
        until(lambda: server.resident_octets() - before < 32 * MEBIBYTE, "memory given back")

    def test_a_message_larger_than_all_is_accepted_and_takes_no_others_place(self):
        server = self.developer({"max_message_size": 80 * MEBIBYTE})
        client = self.client(server)
        kept = client.message("a@example.org", ["b@one.example"], LETTER).message_id
        content = LETTER + b"x" * (65 * MEBIBYTE)
        reply = client.message("a@example.org", ["b@one.example"], content, via="BDAT")
        self.assertReply(reply, "250 2.0.0")
        fields = self.until_captured(server, 2)[1]
        self.assertEqual((fields["id"], fields["subject"]), (reply.message_id, "a letter"))
        self.assertIn("kept", fields)
        self.assertEqual([line["id"] for line in server.queue()], [kept])

    def test_addresses_count_too(self):
        server = self.developer({"limits": {"max_recipients": 1000}})
        domain = ".".join(["d" * 60] * 3) + ".example"
        wire = b"MAIL FROM:<a@example.org>\r\n" + b"".join(
            b"RCPT TO:<%s%d@%s>\r\n" % (b"u" * 50, number, domain.encode()) for number in range(1000)
        ) + b"BDAT 0 LAST\r\n"
        with self.client(server) as client:
            for _ in range(250):
                client.send(wire)
                self.assertReply(client.replies(1002)[-1], "250")
        octets = 1000 * (len(domain) + 50 + 96)
        kept = int(json.loads(server.run("queue", "stats", "--json"))["messages"])
        self.assertLess(kept, 64 * MEBIBYTE // octets + 1)
        self.assertGreater(kept, 150)

    def test_content_beyond_the_memory_limit_is_refused_and_the_session_goes_on(self):
        server = self.developer({"limits": {"memory": 8 * MEBIBYTE}})
        client = self.client(server)
        large, small = b"x\r\n" * (6 * MEBIBYTE), LETTER + b"x\r\n" * (MEBIBYTE // 3)
        for via in ("DATA", "BDAT"):
            reply = client.message("a@example.org", ["b@one.example"], large, via=via)
            self.assertReply(reply, "452 4.3.1")
            for _ in range(12):
                reply = client.message("a@example.org", ["b@one.example"], small, via=via)
                self.assertReply(reply, "250")
        self.assertEqual(len(server.queue()), 24)
        if not SANITIZER:
            self.assertLess(server.peak_octets(), 120 * MEBIBYTE)


class NothingLeaves(DevelopmentCase):
    """Neither to the disk nor to another machine."""

    def files(self, directory):
        """Every file's octets by its path, but for the lock, which names its holder."""
        return {
            str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(directory.rglob("*"))
            if path.is_file() and path.name != "lock"
        }

    def test_nothing_is_on_disk_while_content_comes_nor_afterwards(self):
        server = self.developer({"limits": {"spill_threshold": 1024}})
        token = unique()
        content = LETTER + token * 500_000 + b"\r\n"
        client = self.client(server)
        before = server.resident_octets()
        client.envelope("a@example.org", ["b@one.example"])
        client.send(b"BDAT %d LAST\r\n" % len(content) + content[:-1])
        until(lambda: server.resident_octets() - before > len(content) * 0.9, "content in memory")
        self.assertOnlyInMemory(server, token)
        client.send(content[-1:])
        self.assertReply(client.reply(), "250")
        self.assertReply(client.message("a@example.org", ["b@one.example"], content), "250")
        self.assertOnlyInMemory(server, token)
        self.assertEqual(len(server.queue()), 2)

    def assertOnlyInMemory(self, server, token):
        directory = pathlib.Path(server.directory)
        names = {path.name for path in (directory / "queue").rglob("*")}
        self.assertEqual(names, {"lock", "control.sock"})
        for path in directory.rglob("*"):
            if path.is_file():
                self.assertNotIn(token, path.read_bytes(), path)
        # Nor in a file that has no name any more.
        for link in pathlib.Path(f"/proc/{server.process.pid}/fd").iterdir():
            target = os.readlink(link)
            if target.startswith("/") and not target.startswith("/dev/"):
                self.assertIn(pathlib.Path(target).name, {"lock", server.log_file.name}, target)

    def test_the_queue_that_is_there_is_neither_delivered_nor_touched(self):
        sink = self.sink(listening=False)
        production = {"queue": {"retry_schedule": [1]}, **routes_to(sink)}
        server = self.server(production)
        with self.client(server) as client:
            for content in (LETTER, LETTER + b"large\r\n" * 50_000):
                client.message("a@example.org", ["queued@one.example"], content)
        until(lambda: server.log.count(" message_deferred ") >= 2, "two deferred messages")
        server.stop()
        before = self.files(server.directory / "queue")
        self.assertTrue(any(name.startswith("content/") for name in before), before)

        sink.listen()
        queue = {"queue_dir": str(server.directory / "queue")}
        developer = self.server({"dev_mode": True, **production, **queue})
        with self.client(developer) as client:
            for _ in range(3):
                client.message("a@example.org", ["b@one.example"], LETTER)
        self.assertEqual(len(developer.queue()), 3)
        # Longer than the retry schedule, as its own clock says.
        with self.client(developer) as client:
            client.command("MAIL FROM:<a@example.org>")
            self.assertReply(client.command("RCPT TO:<delay-3s@one.example>"), "250")
        developer.run("queue", "delete", "--all")
        developer.stop()
        self.assertEqual(sink.messages, [])
        self.assertEqual(self.files(server.directory / "queue"), before)

        again = self.server({**production, **queue})
        delivered = sink.wait_for(2)
        self.assertEqual({message.addresses[0] for message in delivered}, {"queued@one.example"})
        again.until_nothing_waits()

    def threads(self, server):
        tasks = pathlib.Path(f"/proc/{server.process.pid}/task").iterdir()
        return sorted((task / "comm").read_text().strip() for task in tasks)

    def test_nothing_is_there_that_could_deliver(self):
        names = self.threads(self.developer())
        ours = [name for name in names if name.startswith("elemta-")]
        self.assertEqual(ours, ["elemta-log"])

    def test_the_queue_has_one_user(self):
        production = self.server()
        queue = {"queue_dir": str(production.directory / "queue")}
        developer = self.unstarted_server({"dev_mode": True, **queue})
        developer.launch()
        self.assertEqual(developer.wait(), os.EX_TEMPFAIL)
        self.assertLogged(developer, str(production.process.pid))
        production.stop()

        developer.start()
        production.launch()
        self.assertEqual(production.wait(), os.EX_TEMPFAIL)
        self.assertLogged(production, str(developer.process.pid))
        production.process = None


class Announcement(DevelopmentCase):
    def line(self, server, event):
        return next((line for line in server.log.splitlines() if f" {event} " in line), "")

    def test_the_server_says_that_it_delivers_nothing(self):
        for options in ({"configuration": {"dev_mode": True}}, {"arguments": ["--dev"]},
                        {"variables": {"ELEMTA_DEV_MODE": "true"}}):
            with self.subTest(options):
                server = self.server(**options)
                self.assertIn(" dev_mode=yes ", self.line(server, "ready"))
                self.assertIn(" warning dev_mode ", self.line(server, "dev_mode"))
                self.assertEqual(self.line(server, "dev_mode_exposed"), "")

    def test_it_warns_where_other_machines_can_reach_it(self):
        server = self.developer({"listen_addr": "0.0.0.0:0"})
        self.assertIn(" warning dev_mode_exposed ", self.line(server, "dev_mode_exposed"))

    def test_outside_dev_mode_it_says_nothing_of_it(self):
        self.assertNotIn("dev_mode", self.server().log)

    def test_check_tells(self):
        server = self.unstarted_server({"dev_mode": True})
        server.write_configuration()
        self.assertRegex(server.run("check"), r"(?m)^delivery +none: dev mode")
