"""Who exists in a local domain: address files and their aliases, directories, the next hop's word."""

import re
import socket
import unittest

from harness import directory
from harness.case import STRANGER, Case, WithCertificates, routes_to, unique
from harness.sink import SILENCE, Always
from harness.waiting import until

ADDRESSES = """\
# Who is here.
alice
bob@example.com
sales: alice, carol@example.net,
    dave@example.org
forward: erin@example.net
alice+list: bob
keep: keep, copy@example.net
one: two
two: one
"""
UNKNOWN = "550 5.1.1 No such user here"
LATER = "451 4.3.0"
SENDER = "sender@example.org"


def rules(**rule):
    return {"recipients": [{"domain": "example.com", **rule}]}


class RecipientCase(Case):
    def listed(self, text=ADDRESSES, configuration=None):
        """A server whose recipients are listed in `addresses.txt`."""
        folder = self.directory()
        (folder / "addresses.txt").write_text(text)
        sink = self.sink()
        configuration = routes_to(sink) | rules(file="addresses.txt") | (configuration or {})
        return self.server(configuration, directory=folder), sink

    def answer(self, server, address, source=STRANGER):
        """What RCPT for the address is answered."""
        with self.client(server, source) as client:
            self.assertReply(client.command("MAIL FROM:<sender@example.org>"), "250")
            return str(client.command(f"RCPT TO:<{address}>"))

    def delivered(self, server, sink, *recipients, parameters=""):
        """Sends a message to these; who got it where it went, with the parameters of RCPT."""
        token = unique()
        before = len(sink.messages)
        with self.client(server, STRANGER) as client:
            commands = [f"MAIL FROM:<{SENDER}>"] + [f"RCPT TO:<{to}>{parameters}" for to in recipients]
            for command in commands:
                self.assertReply(client.command(command), "250")
            self.assertReply(client.data(b"Subject: x\r\n\r\n" + token + b"\r\n"), "250")
        server.until_nothing_waits()
        found = [message for message in sink.messages[before:] if token in message.content]
        return {
            address.decode(): [word.decode() for word in words]
            for message in found
            for address, words in message.recipients
        }


class AddressFiles(RecipientCase):
    def test_whoever_is_not_listed_is_refused_at_rcpt(self):
        server, _ = self.listed()
        for address, expected in (
            ("alice@example.com", "250"),
            ("Alice@Example.COM", "250"),
            ("alice+any@example.com", "250"),
            ("sales@example.com", "250"),
            ("postmaster@example.com", "250"),
            ("PostMaster", "250"),
            ("nobody@example.com", UNKNOWN),
            ("carol@example.com", UNKNOWN),
            ("nobody+alice@example.com", UNKNOWN),
            ("nobody@example.net", "554 5.7.1"),
        ):
            with self.subTest(address):
                self.assertTrue(self.answer(server, address).startswith(expected))
        # Those who may relay are told at once, too; other domains aren't looked up.
        self.assertEqual(self.answer(server, "nobody@example.com", None), UNKNOWN)
        self.assertTrue(self.answer(server, "nobody@example.net", None).startswith("250"))

    def test_aliases_are_delivered_to_their_targets(self):
        server, sink = self.listed()
        for address, expected in (
            ("sales", {"alice@example.com", "carol@example.net", "dave@example.org"}),
            ("forward", {"erin@example.net"}),
            ("alice+list", {"bob@example.com"}),
            ("alice+other", {"alice+other@example.com"}),
            ("keep", {"keep@example.com", "copy@example.net"}),
        ):
            with self.subTest(address):
                self.assertEqual(set(self.delivered(server, sink, f"{address}@example.com")), expected)
        # The client's words stand in the trace field, not whom they stand for.
        self.assertIn(b"for <sales@example.com>", sink.messages[0].trace)
        self.assertNotIn(b"carol", sink.messages[0].content)

    def copies(self, server, sink, *recipients):
        """Sends a message to these; each copy's address and parameters of RCPT."""
        token = unique()
        with self.client(server, STRANGER) as client:
            self.assertReply(client.command(f"MAIL FROM:<{SENDER}>"), "250")
            for recipient in recipients:
                self.assertReply(client.command(f"RCPT TO:{recipient}"), "250")
            self.assertReply(client.data(b"Subject: x\r\n\r\n" + token + b"\r\n"), "250")
        server.until_nothing_waits()
        return sorted(
            (address.decode(), *(word.decode() for word in words))
            for message in sink.messages
            if token in message.content
            for address, words in message.recipients
        )

    def test_nobody_gets_a_message_twice(self):
        server, sink = self.listed()
        alice, sales = "<alice@example.com>", "<sales@example.com>"
        others = ["carol@example.net", "dave@example.org"]
        for recipients, expected in (
            ((alice, sales, sales), ["alice@example.com", *others]),
            ((sales, alice), ["alice@example.com", *others]),
            ((sales, sales, alice, alice), ["alice@example.com", *others]),
            ((alice, alice, alice), ["alice@example.com"]),
        ):
            with self.subTest(recipients):
                addresses = [address for address, *_ in self.copies(server, sink, *recipients)]
                self.assertEqual(addresses, expected)

    def test_nobody_gets_a_message_twice_where_nobody_is_listed(self):
        sink = self.sink()
        server = self.server(routes_to(sink))
        self.assertEqual(
            self.copies(
                server, sink, "<alice@example.com> NOTIFY=NEVER", "<bob@example.com>",
                "<alice@example.com> NOTIFY=DELAY",
            ),
            [("alice@example.com", "NOTIFY=NEVER"), ("bob@example.com",)],
        )

    def test_what_was_asked_for_somebody_holds_before_what_was_for_an_alias(self):
        server, sink = self.listed()
        bob, alias = "<bob@example.com> NOTIFY=NEVER", "<alice+list@example.com> NOTIFY=FAILURE"
        for recipients in ((alias, bob), (bob, alias)):
            with self.subTest(recipients):
                self.assertEqual(
                    self.copies(server, sink, *recipients), [("bob@example.com", "NOTIFY=NEVER")])

    def test_what_the_sender_asked_for_goes_along(self):
        server, sink = self.listed()
        self.assertEqual(
            self.delivered(server, sink, "forward@example.com", parameters=" NOTIFY=SUCCESS,FAILURE"),
            {"erin@example.net": ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;forward@example.com"]},
        )
        self.assertEqual(
            self.delivered(
                server, sink, "forward@example.com",
                parameters=" NOTIFY=NEVER ORCPT=rfc822;first@example.org",
            ),
            {"erin@example.net": ["NOTIFY=NEVER", "ORCPT=rfc822;first@example.org"]},
        )
        self.assertEqual(
            self.delivered(server, sink, "keep@example.com", parameters=" NOTIFY=FAILURE,DELAY"),
            {
                address: ["NOTIFY=FAILURE,DELAY", "ORCPT=rfc822;keep@example.com"]
                for address in ("keep@example.com", "copy@example.net")
            },
        )

    def test_an_alias_of_several_is_reported_as_expanded(self):
        server, sink = self.listed()
        self.assertEqual(
            self.delivered(server, sink, "keep@example.com", parameters=" NOTIFY=SUCCESS,FAILURE"),
            {
                address: ["NOTIFY=FAILURE", "ORCPT=rfc822;keep@example.com"]
                for address in ("keep@example.com", "copy@example.net")
            },
        )
        (report,) = [message for message in sink.messages if message.addresses == [SENDER]]
        self.assertEqual(report.sender, b"")
        for line in (b"Final-Recipient: rfc822; keep@example.com", b"Action: expanded", b"Status: 2.1.5"):
            self.assertIn(b"\r\n" + line + b"\r\n", report.content)

    def test_postmaster_may_be_an_alias(self):
        server, sink = self.listed(
            "alice\npostmaster: alice, admin@example.net\n", {"postmaster": "postmaster@example.com"}
        )
        for address in ("PostMaster", "Postmaster@example.com"):
            self.assertEqual(
                set(self.delivered(server, sink, address)), {"alice@example.com", "admin@example.net"}
            )

    def test_an_alias_in_a_circle_loses_nothing(self):
        server, _ = self.listed()
        self.assertTrue(self.answer(server, "one@example.com").startswith("451 4.3.5"))
        self.assertLogged(server, "leads back to <one@example.com>")

    def test_guessing_at_addresses_ends_the_session(self):
        server, _ = self.listed(configuration={"limits": {"max_errors": 3}})
        with self.client(server, STRANGER) as client:
            client.command("MAIL FROM:<sender@example.org>")
            for number in range(3):
                self.assertReply(client.command(f"RCPT TO:<guess{number}@example.com>"), UNKNOWN)
            self.assertReply(client.command("RCPT TO:<guess@example.com>"), "421 4.7.0")
            self.assertTrue(client.is_closed())

    def test_recipients_that_stand_for_too_many_go_in_another_transaction(self):
        lists = "".join(
            f"list{number}: " + ",".join(f"user{number}-{member}" for member in range(400)) + "\n"
            for number in range(3)
        )
        server, _ = self.listed(lists)
        with self.client(server, STRANGER) as client:
            self.assertDialogue(
                client,
                ("MAIL FROM:<sender@example.org>", "250"),
                ("RCPT TO:<list0@example.com>", "250"), ("RCPT TO:<list1@example.com>", "250"),
                ("RCPT TO:<list2@example.com>", "452 4.5.3"), ("RSET", "250"),
                ("MAIL FROM:<sender@example.org>", "250"), ("RCPT TO:<list2@example.com>", "250"),
            )

    def test_the_file_is_read_again_when_it_changes(self):
        server, _ = self.listed()
        file = server.directory / "addresses.txt"
        file.write_text("erin\n")
        server.process.send_signal(1)
        until(lambda: "configuration_reloaded" in server.log, "the file read at SIGHUP")
        self.assertEqual(self.answer(server, "alice@example.com"), UNKNOWN)
        self.assertTrue(self.answer(server, "erin@example.com").startswith("250"))
        file.write_text("erin\nhere: there\nthere: here\n")
        until(lambda: "leads back to <here@example.com>" in server.log, "a circle noticed by itself", 30)
        file.write_text("erin erin\n")
        until(lambda: "recipients_not_reloaded" in server.log, "the mistake noticed by itself", 30)
        self.assertTrue(self.answer(server, "erin@example.com").startswith("250"))

    def test_explain_says_what_the_files_say(self):
        server, sink = self.listed()
        for address, verdict, step in (
            ("alice+x", "accepted, and delivered to", "yes, by recipients[0] (addresses.txt), line 2"),
            ("nobody", UNKNOWN, "no, by recipients[0] (addresses.txt)"),
            ("one", "451 4.3.5", "the alias leads back to <one@example.com>"),
            ("forward", "accepted, and delivered to 1 mailbox", "an alias of <erin@example.net>, by"),
            ("sales", "accepted, and delivered to 3 mailboxes", "<dave@example.org>: smtp:[127.0.0.1]:"),
        ):
            with self.subTest(address):
                said = server.run(
                    "explain", "--from", SENDER, "--to", f"{address}@example.com", "--ip", "192.0.2.1"
                )
                self.assertIn(verdict, said.splitlines()[-1])
                self.assertIn(step, said)
        self.assertEqual(sink.transcripts, [])

    def test_explain_follows_the_alias_of_postmaster(self):
        server, _ = self.listed("postmaster: alice, bob@example.net\nalice\n", {"postmaster": "postmaster@example.com"})
        said = server.run("explain", "--from", SENDER, "--to", "postmaster", "--ip", "192.0.2.1")
        self.assertIn("an alias of <alice@example.com>, <bob@example.net>, by recipients[0]", said)
        self.assertIn("delivered to 2 mailboxes", said)

    def test_check_reads_the_files_and_tells_of_circles(self):
        server, _ = self.listed()
        said = server.run("check")
        self.assertIn("recipients     example.com: addresses.txt, 8 addresses and aliases", said)
        self.assertIn("line 9: the alias leads back to <one@example.com>", said)
        (server.directory / "addresses.txt").write_text("a b\n")
        self.assertIn('addresses.txt:1: found "a b"', server.run("check", status=78))
        self.assertIn('addresses.txt:1: found "a b"', server.run("server", status=78))


@unittest.skipUnless(directory.is_there(), "no slapd: scripts/dependencies test")
class Directories(WithCertificates, RecipientCase):
    def asking(self, slapd, **configuration):
        sink = self.sink()
        return self.server(routes_to(sink) | rules(ldap=slapd.settings()) | configuration)

    def directory_server(self):
        slapd = directory.Directory(self.directory(), self.pair)
        self.addCleanup(slapd.stop)
        return slapd

    def test_the_directory_says_who_exists(self):
        server = self.asking(self.directory_server())
        for address, expected in (
            ("alice@example.com", "250"),
            ("Alice@EXAMPLE.com", "250"),
            ("alice+tag@example.com", "250"),
            ("postmaster@example.com", "250"),
            ("nobody@example.com", UNKNOWN),
            ("*@example.com", UNKNOWN),
            ("ali*@example.com", UNKNOWN),
        ):
            with self.subTest(address):
                self.assertTrue(self.answer(server, address).startswith(expected))

    def test_explain_asks_the_directory(self):
        slapd = self.directory_server()
        server = self.asking(slapd)

        def explain(name):
            return server.run("explain", "--from", SENDER, "--to", f"{name}@example.com", "--ip", "192.0.2.1")

        self.assertIn("yes, says recipients[0]", explain("alice"))
        self.assertIn("refused: 550 5.1.1", explain("nobody"))
        slapd.stop()
        said = explain("alice")
        self.assertIn("no answer now from recipients[0]", said)
        self.assertIn("refused: 451 4.3.0", said)

    def test_answers_keep_their_order_under_pipelining(self):
        server = self.asking(self.directory_server())
        with self.client(server, STRANGER) as client:
            addresses = ["nobody", "alice", "no", "bob", "none", "postmaster"]
            commands = ["MAIL FROM:<sender@example.org>"]
            commands += [f"RCPT TO:<{name}@example.com>" for name in addresses] + ["NOOP", "DATA"]
            client.send("".join(f"{command}\r\n" for command in commands).encode())
            codes = [reply.code for reply in client.replies(len(commands))]
            self.assertEqual(codes, [250, 550, 250, 550, 250, 550, 250, 250, 354])
            client.send(b"Subject: x\r\n\r\nx\r\n.\r\nQUIT\r\n")
            self.assertEqual([reply.code for reply in client.replies(2)], [250, 221])

    def test_while_it_is_down_recipients_wait_and_nobody_else_does(self):
        slapd = self.directory_server()
        server = self.asking(slapd, local_domains=["example.com", "open.example"])
        slapd.stop()
        self.assertTrue(self.answer(server, "alice@example.com").startswith(LATER))
        self.assertTrue(self.answer(server, "alice@open.example").startswith("250"))
        slapd.start()
        until(lambda: self.answer(server, "alice@example.com").startswith("250"), "the directory asked", 30)
        self.assertEqual(self.answer(server, "nobody@example.com"), UNKNOWN)

    def test_one_that_hangs_holds_nobody_else(self):
        slapd = self.directory_server()
        with socket.create_server(("127.0.0.1", 0)) as silent:
            settings = slapd.settings(url=f"ldap://127.0.0.1:{silent.getsockname()[1]}", timeout=1)
            server = self.server(
                routes_to(self.sink()) | rules(ldap=settings)
                | {"local_domains": ["example.com", "open.example"]}
            )
            waiting = [self.client(server, STRANGER) for _ in range(30)]
            for client in waiting:
                client.send(b"MAIL FROM:<>\r\nRCPT TO:<alice@example.com>\r\nNOOP\r\n")
            self.assertTrue(self.answer(server, "alice@open.example").startswith("250"))
            for client in waiting:
                self.assertEqual([reply.code for reply in client.replies(3)], [250, 451, 250])

    def test_a_client_that_leaves_with_its_question_is_forgotten(self):
        server = self.asking(self.directory_server())
        for _ in range(20):
            client = self.client(server, STRANGER)
            client.send(b"MAIL FROM:<sender@example.org>\r\nRCPT TO:<alice@example.com>\r\n")
            client.close()
        self.assertTrue(self.answer(server, "alice@example.com").startswith("250"))


class Callouts(RecipientCase):
    def asking(self, sink, **configuration):
        return self.server(routes_to(sink) | rules(callout=True) | configuration)

    def knowing(self, *names):
        """A next hop where only these exist."""
        known = tuple(f"<{name}@example.com>".encode() for name in names)

        def refusal(argument):
            return None if any(name in argument for name in known) else b"550 5.1.1 unknown here\r\n"

        return self.sink(faults={"rcpt": refusal})

    def test_the_next_hop_says_who_exists_and_is_asked_once(self):
        sink = self.knowing("alice")
        server = self.asking(sink)
        for _ in range(3):
            self.assertTrue(self.answer(server, "alice@example.com").startswith("250"))
            self.assertEqual(self.answer(server, "nobody@example.com"), UNKNOWN)
            self.assertTrue(self.answer(server, "postmaster@example.com").startswith("250"))
        self.assertEqual(len(sink.transcripts), 2)
        self.assertEqual(
            [line for line in sink.transcripts[0].commands if line != b"QUIT"],
            [b"EHLO mail.example.com", b"MAIL FROM:<>", b"RCPT TO:<alice@example.com>"],
        )
        self.assertEqual(sink.messages, [])

    def test_explain_asks_the_next_hop(self):
        sink = self.knowing("alice")
        server = self.asking(sink)
        for name, expected in (("alice", "yes, says the domain's route"), ("nobody", "refused: 550 5.1.1")):
            said = server.run("explain", "--from", SENDER, "--to", f"{name}@example.com", "--ip", "192.0.2.1")
            self.assertIn(expected, said)
        self.assertEqual(sink.messages, [])
        sink.close()
        said = server.run("explain", "--from", SENDER, "--to", "alice@example.com", "--ip", "192.0.2.1")
        self.assertIn("no answer now from the domain's route", said)

    def test_a_policy_of_the_next_hop_is_not_taken_for_nobody_there(self):
        refusals = {b"alice": b"550 5.7.1 not from you\r\n", b"bob": b"554 no\r\n", b"carol": b"550 who?\r\n"}

        def refusal(argument):
            return next((reply for name, reply in refusals.items() if name in argument), None)

        server = self.asking(self.sink(faults={"rcpt": refusal}))
        for name in ("alice", "bob"):
            self.assertTrue(self.answer(server, f"{name}@example.com").startswith(LATER))
        self.assertEqual(self.answer(server, "carol@example.com"), UNKNOWN)
        self.assertTrue(self.answer(server, "dave@example.com").startswith("250"))
        until(lambda: "not from you" in server.log, "a word of it in the log")

    def test_a_message_follows_the_question(self):
        sink = self.knowing("alice")
        server = self.asking(sink)
        with self.client(server, STRANGER) as client:
            self.assertReply(client.message(SENDER, ["alice@example.com"], b"Subject: x\r\n\r\nx\r\n"), "250")
        self.assertEqual(sink.wait_for(1)[0].addresses, ["alice@example.com"])

    def test_while_the_route_is_down_it_is_451_and_others_are_served(self):
        sink = self.sink(listening=False)
        server = self.asking(sink, local_domains=["example.com", "open.example"])
        self.assertTrue(self.answer(server, "alice@example.com").startswith(LATER))
        self.assertTrue(self.answer(server, "alice@open.example").startswith("250"))
        session = until(lambda: re.search(r" callout_failed .* session=(\S+)", server.log), "a word of it in the log")[1]
        refusal = rf' command_rejected .*reply="451 .* session={session}\b'
        until(lambda: re.search(refusal, server.log), "the refusal of the session that asked")
        sink.listen()
        until(lambda: self.answer(server, "alice@example.com").startswith("250"), "the route asked again", 40)

    def test_a_route_that_says_nothing_holds_nobody_else(self):
        sink = self.sink(faults={"connect": Always(SILENCE)})
        server = self.asking(sink, local_domains=["example.com", "open.example"])
        waiting = [self.client(server, STRANGER) for _ in range(30)]
        for number, client in enumerate(waiting):
            client.send(b"MAIL FROM:<>\r\nRCPT TO:<user%d@example.com>\r\nNOOP\r\n" % number)
            self.assertReply(client.reply(), "250")
        self.assertTrue(self.answer(server, "alice@open.example").startswith("250"))
        # Ten probes wait for it, the others have their answer at once.
        answers = [self.replied(client) for client in waiting[10:]]
        self.assertEqual({answer[:9] for answer in answers}, {LATER})
        self.assertLessEqual(sink.most_open, 10)

    def replied(self, client):
        reply = client.reply()
        self.assertReply(client.reply(), "250")
        return str(reply)

    def test_a_route_back_to_itself_asks_nobody(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = self.server(
            rules(callout=True)
            | {
                "listen_addr": f"127.0.0.1:{port}",
                "delivery": {"routes": [{"domain": "*", "deliver": f"smtp://127.0.0.1:{port}"}]},
            }
        )
        self.assertTrue(self.answer(server, "alice@example.com").startswith(LATER))
        until(lambda: "leads back to this server" in server.log, "a word of it in the log")

    def test_answers_keep_their_order_under_pipelining(self):
        server = self.asking(self.knowing("alice", "bob"))
        with self.client(server, STRANGER) as client:
            commands = ["MAIL FROM:<sender@example.org>"]
            commands += [f"RCPT TO:<{name}@example.com>" for name in ("no", "alice", "none", "bob")]
            client.send("".join(f"{command}\r\n" for command in commands + ["DATA"]).encode())
            codes = [reply.code for reply in client.replies(6)]
            self.assertEqual(codes, [250, 550, 250, 550, 250, 354])

    def test_dev_mode_asks_nobody(self):
        sink = self.knowing("alice")
        server = self.asking(sink, dev_mode=True)
        self.assertTrue(self.answer(server, "nobody@example.com").startswith("250"))
        self.assertEqual(sink.transcripts, [])
