"""How Elemta speaks to the next hop."""

import resource
import socket

from harness.case import Case, SharedServerCase, routes_to, unique
from harness.sink import EVERYTHING, Always
from harness.waiting import until

CONTENT = b"Subject: x\r\n\r\nbody\r\n"


def accept(case, server, recipients=("b@example.com",), content=CONTENT, parameters="", sender="a@example.org",
           via="DATA"):
    with case.client(server) as client:
        case.assertReply(client.message(sender, recipients, content, parameters, via), "250 2.0.0")


class Extensions(Case):
    def test_pipelining_is_used_only_where_it_is_offered(self):
        for extensions, pipelined in ((EVERYTHING, True), ((), False), (("8BITMIME", "CHUNKING"), False)):
            with self.subTest(extensions):
                sink = self.sink(extensions)
                server = self.server(routes_to(sink))
                accept(self, server, ["b@example.com", "c@example.com", "d@example.com"])
                message = sink.wait_for(1)[0]
                self.assertEqual(message.addresses, ["b@example.com", "c@example.com", "d@example.com"])
                self.assertEqual(any(t.pipelined for t in sink.transcripts), pipelined)

    def test_size_and_body_are_told_where_they_are_offered(self):
        sink = self.sink(("SIZE 1000000", "8BITMIME", "CHUNKING"))
        server = self.server(routes_to(sink))
        content = b"Subject: x\r\n\r\n\xe4\xf6\r\n"
        accept(self, server, content=content, parameters=" BODY=8BITMIME")
        message = sink.wait_for(1)[0]
        self.assertIn(b"BODY=8BITMIME", message.sender_parameters)
        self.assertIn(b"SIZE=%d" % len(message.content), message.sender_parameters)

    def test_parameters_are_not_told_where_nothing_is_offered(self):
        sink = self.sink(())
        server = self.server(routes_to(sink))
        accept(self, server, parameters=" SIZE=19 RET=FULL ENVID=abc")
        message = sink.wait_for(1)[0]
        self.assertEqual(message.sender_parameters, [])
        self.assertEqual(message.via, "DATA")

    def test_dsn_parameters_are_passed_on(self):
        sink = self.sink()
        server = self.server(routes_to(sink))
        with self.client(server) as client:
            self.assertDialogue(
                client,
                ("MAIL FROM:<a@example.org> RET=HDRS ENVID=QQ+2B314", "250"),
                ("RCPT TO:<b@example.com> NOTIFY=FAILURE,DELAY ORCPT=rfc822;old+2Bb@example.com", "250"),
                ("RCPT TO:<c@example.com> NOTIFY=NEVER", "250"),
            )
            self.assertReply(client.data(CONTENT), "250")
        message = sink.wait_for(1)[0]
        self.assertIn(b"RET=HDRS", message.sender_parameters)
        self.assertIn(b"ENVID=QQ+2B314", message.sender_parameters)
        by_address = {address: parameters for address, parameters in message.recipients}
        self.assertIn(b"ORCPT=rfc822;old+2Bb@example.com", by_address[b"b@example.com"])
        notify = next(p for p in by_address[b"b@example.com"] if p.startswith(b"NOTIFY="))
        self.assertEqual(set(notify[7:].split(b",")), {b"FAILURE", b"DELAY"})
        self.assertIn(b"NOTIFY=NEVER", by_address[b"c@example.com"])

    def test_smtputf8_is_told_where_it_is_offered_and_bounced_elsewhere(self):
        for extensions in (EVERYTHING, ("8BITMIME", "PIPELINING")):
            with self.subTest(extensions):
                sink = self.sink(extensions)
                server = self.server(routes_to(sink))
                accept(self, server, ["用户@example.com"], parameters=" SMTPUTF8")
                message = sink.wait_for(1)[0]
                if "SMTPUTF8" in extensions:
                    self.assertIn(b"SMTPUTF8", message.sender_parameters)
                    self.assertEqual(message.recipients[0][0], "用户@example.com".encode())
                else:
                    self.assertEqual((message.sender, message.addresses), (b"", ["a@example.org"]))

    def test_helo_is_tried_when_ehlo_is_refused(self):
        for refusal in (b"500 what\r\n", b"502 5.5.1 no\r\n", b"554 no\r\n"):
            with self.subTest(refusal):
                sink = self.sink(faults={"ehlo": Always(refusal)})
                server = self.server(routes_to(sink))
                accept(self, server)
                message = sink.wait_for(1)[0]
                self.assertFalse(message.extended)
                self.assertEqual(message.helo, b"mail.example.com")
                self.assertEqual(message.sender_parameters, [])

    def test_the_helo_name_can_be_chosen(self):
        sink = self.sink()
        server = self.server({"delivery": {"helo_name": "out.example.com", **routes_to(sink)["delivery"]}})
        accept(self, server)
        self.assertEqual(sink.wait_for(1)[0].helo, b"out.example.com")

    def test_quoted_local_parts_and_literals_arrive_as_they_were(self):
        sink = self.sink()
        server = self.server(routes_to(sink))
        addresses = ['"john doe"@example.com', r'"a\"b"@example.com', "b@[192.0.2.9]", "b@[IPv6:2001:db8::9]"]
        for address in addresses:
            accept(self, server, [address])
        arrived = sorted(message.addresses[0] for message in sink.wait_for(4))
        self.assertEqual(arrived, sorted(addresses))

    def test_source_routes_are_gone(self):
        sink = self.sink()
        server = self.server(routes_to(sink))
        accept(self, server, ["@relay.example.net:b@example.com"])
        self.assertEqual(sink.wait_for(1)[0].addresses, ["b@example.com"])

    def test_postmaster_goes_where_the_configuration_says(self):
        for configured, expected in (("", "postmaster@mail.example.com"), ("ops@example.com", "ops@example.com")):
            with self.subTest(configured):
                sink = self.sink()
                server = self.server({"postmaster": configured, **routes_to(sink)})
                accept(self, server, ["Postmaster"])
                self.assertEqual([a.lower() for a in sink.wait_for(1)[0].addresses], [expected])


class Routes(Case):
    def test_the_first_match_wins_and_the_relay_host_takes_the_rest(self):
        exact, below, rest = self.sink(), self.sink(), self.sink()
        server = self.server(
            {
                "delivery": {
                    "relay_host": f"[127.0.0.1]:{rest.port}",
                    "relay_tls": "off",
                    "routes": [
                        {"domain": "example.com", "deliver": exact.route},
                        {"domain": ".example.com", "deliver": below.route},
                        {"domain": "gone.example.net", "deliver": "discard"},
                    ],
                }
            }
        )
        recipients = ["a@example.com", "b@sub.example.com", "c@deep.sub.example.com", "d@example.org",
                      "e@gone.example.net"]
        accept(self, server, recipients)
        self.assertEqual(exact.wait_for(1)[0].addresses, ["a@example.com"])
        self.assertEqual(below.wait_for(1)[0].addresses, ["b@sub.example.com", "c@deep.sub.example.com"])
        self.assertEqual(rest.wait_for(1)[0].addresses, ["d@example.org"])
        server.until_nothing_waits()

    def test_recipients_of_one_destination_share_a_transaction(self):
        sink = self.sink()
        server = self.server(routes_to(sink))
        recipients = [f"user{number}@d{number % 7}.example.com" for number in range(50)]
        accept(self, server, recipients)
        self.assertEqual(sink.wait_for(1)[0].addresses, recipients)

    def test_a_next_hop_on_ipv6(self):
        self.needs_ipv6()
        sink = self.sink(address=("::1", 0))
        server = self.server(routes_to(sink))
        accept(self, server)
        sink.wait_for(1)


class Connections(SharedServerCase):
    def test_an_idle_connection_is_reused(self):
        for number in range(5):
            accept(self, self.shared)
            self.next_hop.wait_for(number + 1)
        self.assertLess(len(self.next_hop.transcripts), 5)
        self.assertGreater(max(t.commands.count(b"DATA") + sum(c.startswith(b"BDAT") for c in t.commands)
                               for t in self.next_hop.transcripts), 1)


class ConnectionLimits(Case):
    def test_many_messages_use_several_connections_within_the_limit(self):
        sink = self.sink()
        server = self.server(
            {"delivery": {"max_connections_per_destination": 8, **routes_to(sink)["delivery"]}}
        )
        with self.client(server) as client:
            for _ in range(300):
                self.assertReply(client.message("a@example.org", ["b@example.com"], CONTENT), "250")
        sink.wait_for(300)
        self.assertLessEqual(sink.most_open, 8)

    def test_a_kept_connection_is_closed_with_quit_when_it_has_been_idle(self):
        sink = self.sink()
        server = self.server({"delivery": {"idle_connection": 1, **routes_to(sink)["delivery"]}})
        accept(self, server)
        sink.wait_for(1)
        until(lambda: sink.commands[-1] == b"QUIT", "QUIT after idle_connection")

    def test_a_connection_carries_no_more_messages_than_allowed(self):
        sink = self.sink()
        server = self.server({"delivery": {"messages_per_connection": 3, **routes_to(sink)["delivery"]}})
        with self.client(server) as client:
            for _ in range(30):
                client.message("a@example.org", ["b@example.com"], CONTENT)
        messages = sink.wait_for(30)
        per_connection = [message.connection for message in messages]
        self.assertLessEqual(max(per_connection.count(number) for number in set(per_connection)), 3)


class HangingDestinations(Case):
    def test_those_that_never_greet_hold_up_nobody(self):
        sink = self.sink()
        # The kernel takes connections, and nobody ever says anything.
        silent = socket.create_server(("0.0.0.0", 0), backlog=200)
        self.addCleanup(silent.close)
        routes = [
            {"domain": f"d{number}.example.net", "deliver": f"smtp://127.0.1.{number}:{silent.getsockname()[1]}"}
            for number in range(1, 61)
        ]
        server = self.server(
            {
                "queue": {"max_workers": 1},
                "delivery": {"max_connections": 6, "routes": [*routes, {"domain": "*", "deliver": sink.route}]},
            }
        )
        accept(self, server, [f"a@d{number}.example.net" for number in range(1, 61)])
        accept(self, server)
        self.assertEqual(sink.wait_for(1)[0].addresses, ["b@example.com"])
        # They are put off in their turn, as destinations that are down.
        until(lambda: "said nothing for" in server.log, "one that was silent is put off", 30)


class PartialResults(Case):
    def test_each_recipient_has_its_own_result(self):
        def refuse(argument):
            if b"gone" in argument:
                return b"550 5.1.1 No such user\r\n"
            if b"full" in argument:
                return b"452 4.2.2 Mailbox full\r\n"
            return None

        sink = self.sink(faults={"rcpt": refuse})
        server = self.server({"queue": {"retry_schedule": [1]}, **routes_to(sink)})
        token = unique()
        accept(self, server, ["ok@example.com", "gone@example.com", "full@example.com"], content=token + b"\r\n")
        bounces_and_message = sink.wait_for(2)
        by_sender = {message.sender: message for message in bounces_and_message}
        self.assertEqual(by_sender[b"a@example.org"].addresses, ["ok@example.com"])
        bounce = by_sender[b""].content
        self.assertIn(b"gone@example.com", bounce)
        self.assertNotIn(b"Final-Recipient: rfc822; full@example.com", bounce)
        # The one with 4xx is tried again once its mailbox has room, and nobody else is.
        sink.faults["rcpt"] = []
        messages = sink.wait_for(3)
        self.assertEqual(messages[2].addresses, ["full@example.com"])
        server.until_nothing_waits()


class Descriptors(Case):
    def test_a_lack_of_descriptors_uses_up_no_attempt(self):
        sink = self.sink()
        # Whatever is put off isn't seen again within this test.
        server = self.server({"queue": {"retry_schedule": [3600]}, **routes_to(sink)})
        client = self.client(server)
        until(lambda: "queue_recovered" in server.log, "the queue back, which takes files of its own")
        limits = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        # No number is free: whatever is open stays open.
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        for _ in range(20):
            self.assertReply(client.message("a@example.org", ["b@example.com"], CONTENT), "250 2.0.0")
        self.assertEqual(sink.transcripts, [])
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, limits)
        sink.wait_for(20)
        server.until_nothing_waits()
