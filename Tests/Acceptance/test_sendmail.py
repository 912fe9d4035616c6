"""`elemta sendmail`: what programs call that expect sendmail(8)."""

import email
import os
import pathlib
import re
import signal
import subprocess

from harness.case import STRANGER, Case, routes_to
from harness.server import BINARY, Server, environment
from harness.tools import MAILX, mailx
from harness.waiting import PATIENCE, until

ADDRESSES = "alice\nbob\nsales: alice, bob\n"


class Sendmail(Case):
    """A server and the configuration by which the program finds it."""

    def setUp(self):
        super().setUp()
        self.folder = self.directory()
        self.next_hop = self.sink()
        (self.folder / "addresses.txt").write_text(ADDRESSES)

    def serving(self, **configuration):
        server = self.unstarted_server(
            routes_to(self.next_hop)
            | {"recipients": [{"domain": "example.com", "file": "addresses.txt"}]}
            | configuration,
            directory=self.folder,
        )
        server.start()
        # The kernel chose the port: what the program reads has to name it.
        server.configuration["listen_addr"] = f"127.0.0.1:{server.port}"
        server.write_configuration()
        return server

    def call(self, *words, input=b"", status=0, program=None, variables=None):
        """Runs it; what it says on standard error."""
        command = [program] if program else [BINARY, "sendmail"]
        finished = subprocess.run(
            [*command, *words],
            cwd=self.folder,
            env=environment({"ELEMTA_CONFIG": str(self.folder / "elemta.yaml")} | (variables or {})),
            input=input if isinstance(input, bytes) else input.encode(),
            capture_output=True,
            timeout=60 * PATIENCE,
            check=False,
        )
        said = finished.stderr.decode()
        self.assertEqual(finished.returncode, status, said)
        self.said = finished.stdout
        return said

    def arrived(self, count=1):
        """The latest message, once there are so many, and its content below the trace field."""
        message = self.next_hop.wait_for(count)[count - 1]
        return message, message.without_trace().replace(b"\r\n", b"\n").decode()

    def link(self, name="sendmail"):
        path = self.folder / name
        path.symlink_to(BINARY)
        return path


class Messages(Sendmail):
    def test_a_message_is_completed_and_delivered(self):
        self.serving()
        self.call("alice@example.com", "carol@example.net", input="Subject: x\n\nhello\n..\nlast")
        message, content = self.arrived()
        self.assertEqual(message.addresses, ["alice@example.com", "carol@example.net"])
        self.assertRegex(message.sender.decode(), r"\A[^@]+@mail\.example\.com\Z")
        self.assertRegex(
            content,
            r"\ASubject: x\n"
            rf"From: (.* <)?{re.escape(message.sender.decode())}>?\n"
            r"Date: \w{3}, \d+ \w{3} \d{4} \d\d:\d\d:\d\d [+]0000\n"
            r"Message-ID: <\w+[.]\d+@mail\.example\.com>\n"
            r"\nhello\n..\nlast\n\Z",
        )

    def test_recipients_are_read_from_the_header_and_blind_copies_leave_it(self):
        self.serving()
        header = (
            "From: Sender <sender@example.org>\nDate: Thu, 1 Jan 2026 00:00:00 +0000\n"
            "Message-ID: <one@example.org>\n"
        )
        written = header + (
            'To: "Example, Alice" <alice@example.com>,\n\tFriends: carol@example.net, (x)\n dave@example.org;\n'
            "Bcc: secret@example.net\nCc: bob@example.com\nBCC: other@example.net\n\nBcc: in the body\n"
        )
        self.call("-t", "-i", "-f", "bounces@example.org", input=written)
        message, content = self.arrived()
        self.assertEqual(
            message.addresses,
            ["alice@example.com", "carol@example.net", "dave@example.org", "secret@example.net",
             "bob@example.com", "other@example.net"],
        )
        self.assertEqual(message.sender, b"bounces@example.org")
        self.assertEqual(content, re.sub(r"(?m)^(Bcc|BCC): \w+@.*\n", "", written))
        self.assertNotIn(b"secret", message.content)

    def test_a_lone_dot_ends_it_unless_told_otherwise(self):
        self.serving()
        text = "Subject: x\n\none\n.\ntwo\n"
        for count, (words, body) in enumerate(
            (([], "one\n"), (["-i"], "one\n.\ntwo\n"), (["-oi"], "one\n.\ntwo\n"), (["-ti"], "one\n.\ntwo\n")), 1
        ):
            with self.subTest(words=words):
                self.call(*words, "alice@example.com", input=("To: bob@example.com\n" if words == ["-ti"] else "") + text)
                self.assertEqual(self.arrived(count)[1].partition("\n\n")[2], body)

    def test_line_ends_of_any_kind_arrive_as_crlf(self):
        self.serving()
        self.call("-i", "alice@example.com", input=b"Subject: x\r\n\r\na\rb\nc\r\n\xc3\xa4\r\n\0d")
        message, _ = self.arrived()
        self.assertTrue(message.content.endswith(b"\r\n\r\na b\r\nc\r\n\xc3\xa4\r\n\0d\r\n"), message.content)
        self.assertIn(b"BODY=8BITMIME", message.sender_parameters)

    def test_a_long_message_arrives_whole(self):
        self.serving()
        body = b"".join(b"%07d %s\n" % (number, b"." * (number % 70)) for number in range(60000))
        self.call("-oi", "alice@example.com", input=b"Subject: x\n\n" + body)
        message, _ = self.arrived()
        self.assertEqual(message.content.partition(b"\r\n\r\n")[2], body.replace(b"\n", b"\r\n"))

    def test_addresses_without_a_domain_are_of_this_host(self):
        self.serving(local_domains=["example.com", "mail.example.com"])
        self.call("root", "-F", "Cron Daemon", "-fcron", input="Subject: x\n\nx\n")
        message, content = self.arrived()
        self.assertEqual((message.sender, message.addresses), (b"cron@mail.example.com", ["root@mail.example.com"]))
        self.assertIn("\nFrom: Cron Daemon <cron@mail.example.com>\n", content)

    def test_more_recipients_than_a_message_may_have_get_several(self):
        self.serving(limits={"max_recipients": 3})
        self.call(*(f"user{number}@example.net" for number in range(7)), input="Subject: x\n\nx\n")
        self.next_hop.wait_for(3)
        self.assertEqual(
            sorted(address for message in self.next_hop.messages for address in message.addresses),
            [f"user{number}@example.net" for number in range(7)],
        )

    def test_reports_are_asked_for(self):
        self.serving()
        self.call("-N", "success,failure", "-R", "hdrs", "-V", "id+1", "carol@example.net", input="\nx\n")
        message, _ = self.arrived()
        self.assertIn(b"RET=HDRS", message.sender_parameters)
        self.assertIn(b"ENVID=id+2B1", message.sender_parameters)
        self.assertEqual(message.recipients[0][1], [b"NOTIFY=SUCCESS,FAILURE"])


class Statuses(Sendmail):
    def test_whatever_is_wrong_has_its_status(self):
        self.serving()
        for words, input, status, words_said in (
            (["nobody@example.com"], "\nx\n", 67, "<nobody@example.com>: "),
            (["-k"], "", 64, "unknown option -k"),
            ([], "Subject: x\n\n", 64, "no recipient"),
            (["-t"], "Subject: x\n\n", 65, "names no recipient"),
            (["-t"], "To: a b c\n\n", 65, "the field to holds no address list"),
            (["a b"], "\n", 64, '"a b" is no address'),
            (["-f", "a b", "c"], "\n", 64, '-f: "a b" is no address'),
            (["-C", "none.yaml", "a"], "\n", 78, "none.yaml"),
            (["-bd"], "", 64, "run elemta server"),
        ):
            with self.subTest(words=words, input=input):
                self.assertIn(words_said, self.call(*words, input=input, status=status))
        self.assertEqual(self.next_hop.messages, [])

    def test_those_who_exist_get_it_when_others_do_not(self):
        self.serving()
        said = self.call("alice@example.com", "nobody@example.com", "bob@example.com", input="\nx\n", status=67)
        self.assertIn("<nobody@example.com>: ", said)
        self.assertIn("No such user here", said)
        self.assertNotIn("alice", said)
        self.assertEqual(self.arrived()[0].addresses, ["alice@example.com", "bob@example.com"])

    def test_without_a_server_it_can_be_tried_again(self):
        server = self.serving()
        server.stop()
        self.assertIn("no server at 127.0.0.1:", self.call("alice@example.com", input="\nx\n", status=75))
        server.start()
        server.configuration["listen_addr"] = f"127.0.0.1:{server.port}"
        server.write_configuration()
        self.call("alice@example.com", input="\nx\n")
        self.arrived()

    def test_a_message_that_is_too_large_is_refused_here(self):
        self.serving(max_message_size=20000)
        self.assertIn("too large", self.call("alice@example.com", input=b"\n" + b"x" * 20000, status=65))
        # The header section counts, too; the server says so.
        self.call("alice@example.com", input=b"\n" + b"x" * 19950, status=65)
        self.call("alice@example.com", input=b"\n" + b"x" * 19000)

    def test_a_server_that_wants_a_login_is_no_use(self):
        (self.folder / "users.json").write_text('{"alice": "{PLAIN}x"}')
        self.serving(auth={"enabled": True, "required": True, "file_path": "users.json"})
        self.assertIn("Authentication required", self.call("alice@example.com", input="\nx\n", status=77))

    def test_the_listener_that_asks_least_is_taken(self):
        (self.folder / "users.json").write_text('{"alice": "{PLAIN}x"}')
        listeners = [
            {"address": "127.0.0.1:0", "proxy_protocol": True, "trusted_proxies": ["127.0.0.1"]},
            {"address": "127.0.0.1:0", "auth_required": True},
            {"address": "127.0.0.1:0"},
        ]
        server = self.serving(
            listen_addr=None, listeners=listeners, auth={"enabled": True, "file_path": "users.json"}
        )
        for listener, (_, port) in zip(listeners, server.addresses):
            listener["address"] = f"127.0.0.1:{port}"
        server.configuration["listen_addr"] = None
        server.write_configuration()
        self.call("alice@example.com", input="\nx\n")
        self.arrived()
        server.configuration["listeners"] = listeners[:1]
        server.write_configuration()
        self.assertIn("every listener", self.call("alice@example.com", input="\nx\n", status=78))


class Programs(Sendmail):
    def test_by_a_link_it_is_sendmail_and_its_relatives(self):
        self.serving(recipients=[])
        sendmail = self.link()
        self.call("-oi", "-t", input="To: alice@example.com\nSubject: x\n\nx\n", program=sendmail)
        self.arrived()
        self.call(program=self.link("newaliases"))
        self.call("-q", program=sendmail)
        self.next_hop.close()
        self.call("later@example.com", input="\nx\n", program=sendmail)
        for words, program in (([], self.link("mailq")), (["-bp"], sendmail)):
            self.call(*words, program=program)
            self.assertIn(b"<later@example.com>", self.said)

    def test_smtp_on_standard_input_and_output(self):
        self.serving()
        for ending in (b"QUIT\r\n", b""):
            with self.subTest(ending=ending):
                dialogue = (
                    b"EHLO localhost\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<alice@example.com>\r\n"
                    b"RCPT TO:<nobody@example.com>\r\n" + ending
                )
                self.call("-bs", input=dialogue)
                codes = re.findall(rb"(?m)^(\d{3}) ", self.said)
                self.assertEqual(codes, [b"220", b"250", b"250", b"250", b"550", b"221"])

    def test_anybody_may_use_it_who_may_read_the_configuration(self):
        if os.getuid() != 0:
            self.skipTest("only root can be somebody else")
        self.serving()
        self.folder.chmod(0o755)
        finished = subprocess.run(
            [BINARY, "sendmail", "-C", self.folder / "elemta.yaml", "alice@example.com"],
            input=b"Subject: x\n\nx\n", capture_output=True, cwd="/", env=environment(), user=65534,
            timeout=60 * PATIENCE, check=False,
        )
        if finished.returncode == 126 or b"ermission denied" in finished.stderr:
            self.skipTest("the program lies where nobody else may run it")
        self.assertEqual((finished.returncode, finished.stderr), (0, b""))
        self.assertEqual(self.arrived()[0].sender, b"nobody@mail.example.com")

    def test_mailx_sends_by_it(self):
        if not os.access(MAILX, os.X_OK):
            self.skipTest("no mailx: scripts/dependencies test")
        self.serving()
        mailx(self.link(), "-s", "by mailx", "-c", "carol@example.net", "-b", "dave@example.org",
              "alice@example.com", input=b"hello\n.\nworld\n", home=self.folder,
              variables={"ELEMTA_CONFIG": str(self.folder / "elemta.yaml")})
        message, content = self.arrived()
        self.assertEqual(sorted(message.addresses), ["alice@example.com", "carol@example.net", "dave@example.org"])
        parsed = email.message_from_string(content)
        self.assertEqual((parsed["Subject"], parsed["Bcc"]), ("by mailx", None))
        self.assertTrue(content.endswith("\n\nhello\n.\nworld\n"), content)
