"""Where mail goes when only the DNS says so: nsd answers, next hops stand on port 25 of loopback addresses."""

import socket
import time
import unittest

from harness.case import Case
from harness.nameserver import SERVFAIL, NameServer
from harness.nsd import AuthoritativeServer, is_there
from harness.server import merged
from harness.sink import Always
from harness.tools import can_bind
from harness.waiting import until

NOBODY = "127.0.77.9"
SENDER = {"sender.example": [("MX", 0, "mx.sender.example")]}

MAY_BIND = can_bind("127.0.77.1", 25)


@unittest.skipUnless(is_there(), "nsd isn't unpacked: scripts/dependencies test")
@unittest.skipUnless(MAY_BIND, "port 25 can't be bound: run as root")
class MXCase(Case):
    """Each class has addresses of its own, as classes run side by side."""

    def name_server(self, zone):
        names = AuthoritativeServer(self.directory(), zone)
        self.addCleanup(names.close)
        return names

    def deliver(self, zone, recipient="b@example.net", count=1, names=None, parameters="", **configuration):
        self.names = names or self.name_server(zone)
        settings = {
            "queue": {"retry_schedule": [1]},
            "local_domains": [],
            "delivery": {"routes": None, "dns_servers": [self.names.address], "connect_timeout": 5},
        }
        server = self.server(merged(settings, configuration))
        with self.client(server) as client:
            for _ in range(count):
                reply = client.message("a@sender.example", [recipient], b"Subject: x\r\n\r\nx\r\n", parameters)
                self.assertReply(reply, "250 2.0.0")
        return server

    def hop(self, host, **options):
        return self.sink(address=(host, 25), **options)

    def bounced(self, zone, status, recipient="b@example.net", at=None, seconds=10, **configuration):
        """The sender's own domain has a next hop; what comes there is the bounce, after one attempt."""
        address = at or self.first
        sender = self.hop(address)
        began = time.monotonic()
        server = self.deliver({**SENDER, "mx.sender.example": [("A", address)], **zone}, recipient, **configuration)
        bounce = sender.wait_for(1, seconds)[0]
        self.assertEqual((bounce.sender, bounce.addresses), (b"", ["a@sender.example"]))
        self.assertIn(b"Status: " + status, bounce.content)
        self.assertLess(time.monotonic() - began, seconds)
        sender.close()
        return server


class Preferences(MXCase):
    first, second = "127.0.77.1", "127.0.77.2"

    def test_the_lowest_preference_is_tried_first(self):
        first, second = self.hop(self.first), self.hop(self.second)
        self.deliver(
            {
                "example.net": [("MX", 20, "two.example.net"), ("MX", 10, "one.example.net")],
                "one.example.net": [("A", self.first)],
                "two.example.net": [("A", self.second)],
            }
        )
        first.wait_for(1)
        self.assertEqual(second.transcripts, [])

    def test_the_next_one_gets_it_when_the_first_refuses_connections(self):
        second = self.hop(self.second)
        self.deliver(
            {
                "example.net": [("MX", 10, "one.example.net"), ("MX", 20, "two.example.net")],
                "one.example.net": [("A", NOBODY)],
                "two.example.net": [("A", self.second)],
            }
        )
        second.wait_for(1)

    def test_the_next_one_gets_it_when_the_first_greets_with_4xx(self):
        first, second = self.hop(self.first, faults={"connect": Always(b"421 4.3.2 busy\r\n")}), self.hop(self.second)
        self.deliver(
            {
                "example.net": [("MX", 10, "one.example.net"), ("MX", 20, "two.example.net")],
                "one.example.net": [("A", self.first)],
                "two.example.net": [("A", self.second)],
            }
        )
        second.wait_for(1)
        self.assertEqual(first.messages, [])

    def test_equals_are_tried_in_any_order(self):
        first, second = self.hop(self.first), self.hop(self.second)
        self.deliver(
            {
                "example.net": [("MX", 10, "one.example.net"), ("MX", 10, "two.example.net"), ("MX", 20, "worse.example.net")],
                "one.example.net": [("A", self.first)],
                "two.example.net": [("A", self.second)],
                "worse.example.net": [("A", NOBODY)],
            },
            count=30,
            # Each message chooses anew; that one host has them all happens once in 500 million times.
            delivery={"messages_per_connection": 1},
        )
        until(lambda: len(first.messages) + len(second.messages) == 30, "30 messages at the sinks", 20)
        self.assertTrue(first.messages)
        self.assertTrue(second.messages)

    def test_every_address_of_one_name_is_tried(self):
        second = self.hop(self.second)
        self.deliver(
            {"example.net": [("MX", 10, "mx.example.net")], "mx.example.net": [("A", NOBODY), ("A", self.second)]}
        )
        second.wait_for(1)


class Fallbacks(MXCase):
    first = "127.0.77.3"

    def test_without_mx_the_address_of_the_domain_counts(self):
        first = self.hop(self.first)
        self.deliver({"example.net": [("A", self.first)]})
        first.wait_for(1)

    def test_the_domain_may_be_an_alias(self):
        first = self.hop(self.first)
        self.deliver(
            {
                "example.net": [("CNAME", "real.example.org")],
                "real.example.org": [("MX", 5, "mx.example.org")],
                "mx.example.org": [("A", self.first)],
            }
        )
        self.assertEqual(first.wait_for(1)[0].addresses, ["b@example.net"])

    def test_an_address_literal_needs_no_name_server(self):
        first = self.hop(self.first)
        names = NameServer({})
        self.addCleanup(names.close)
        self.deliver({}, f"b@[{self.first}]", names=names)
        first.wait_for(1)
        self.assertEqual(names.questions, [])

    def test_an_address_literal_of_ipv6(self):
        self.needs_ipv6()
        if not can_bind("::1", 25, socket.AF_INET6):
            self.skipTest("port 25 of ::1 is taken")
        hop = self.sink(address=("::1", 25))
        self.deliver({}, "b@[IPv6:::1]")
        self.assertEqual(hop.wait_for(1)[0].addresses, ["b@[IPv6:::1]"])

    def test_the_exchanger_may_be_an_alias(self):
        # RFC 5321 5.1 forbids it; mail arrives all the same.
        first = self.hop(self.first)
        self.deliver(
            {
                "example.net": [("MX", 5, "mx.example.net")],
                "mx.example.net": [("CNAME", "real.example.org")],
                "real.example.org": [("A", self.first)],
            }
        )
        first.wait_for(1)

    def test_a_host_of_both_families_is_reached_by_the_one_that_answers(self):
        self.needs_ipv6()
        first = self.hop(self.first)
        # Nobody is at the address of IPv6: 100::/64 goes nowhere (RFC 6666).
        self.deliver({"example.net": [("AAAA", "100::25"), ("A", self.first)]})
        first.wait_for(1)

    def test_an_internationalized_domain_is_asked_for_by_its_a_labels(self):
        first = self.hop(self.first)
        self.deliver({"xn--bcher-kva.example": [("A", self.first)]}, "b@bücher.example", parameters=" SMTPUTF8")
        self.assertEqual(first.wait_for(1)[0].addresses, ["b@bücher.example"])

    def test_the_domain_without_mx_on_ipv6_only(self):
        self.needs_ipv6()
        if not can_bind("::1", 25, socket.AF_INET6):
            self.skipTest("port 25 of ::1 is taken")
        hop = self.sink(address=("::1", 25))
        self.deliver({"example.net": [("AAAA", "::1")]})
        hop.wait_for(1)


class Refusals(MXCase):
    first, second, third = "127.0.77.4", "127.0.77.5", "127.0.77.6"

    def test_a_null_mx_is_bounced_at_once(self):
        self.bounced({"example.net": [("MX", 0, "."), ("A", self.second)]}, b"5.1.10")

    def test_a_domain_that_does_not_exist_is_bounced_at_once(self):
        self.bounced({}, b"5.1.2", "b@nowhere.example.net")

    def test_a_domain_without_any_address_is_bounced_at_once(self):
        self.bounced({"example.net": []}, b"5.")

    def test_trouble_of_the_name_server_is_tried_again(self):
        first = self.hop(self.first)
        zone = {"example.net": SERVFAIL, "mx.example.org": [("A", self.first)]}
        server = self.deliver(zone)
        until(lambda: "deferred" in server.log, "a deferred delivery in the log")
        self.assertLogged(server, "DNS gave no answer")
        self.assertEqual(first.messages, [])
        self.names.mend("example.net", [("MX", 10, "mx.example.org")])
        first.wait_for(1, 60)

    def test_an_exchanger_that_is_no_host_is_bounced(self):
        second = self.hop(self.second)
        for target in ("nowhere.example.net", "127.0.77.5"):
            with self.subTest(target):
                self.bounced({"example.net": [("MX", 10, target)]}, b"5.4.4", at=self.third)
                self.assertEqual(second.transcripts, [])

    def test_a_domain_of_numbers_is_no_address(self):
        # What inet_aton would take for 127.0.77.5, and the same without the brackets of a literal.
        second = self.hop(self.second)
        for domain in ("127.0.77.5", "127.19717", "2130726149", "0x7f004d05"):
            with self.subTest(domain):
                self.bounced({}, b"5.1.2", f"b@{domain}", at=self.third)
                self.assertEqual(second.transcripts, [])


class Ourselves(MXCase):
    """An MX that leads back: RFC 5321 5.1."""

    own, first, nearer = "127.0.77.21", "127.0.77.22", "127.0.77.23"

    def setUp(self):
        super().setUp()
        self.listening = {"listen_addr": f"{self.own}:25", "allowed_relays": ["127.0.0.0/8"]}

    def test_by_our_name(self):
        # As behind a router that changes addresses: nothing of this machine is called 192.0.2.1.
        zone = {"example.net": [("MX", 10, "mail.example.com")], "mail.example.com": [("A", "192.0.2.1")]}
        self.bounced(zone, b"5.4.6", hostname="mail.example.com")

    def test_by_an_address_where_we_listen(self):
        zone = {"example.net": [("MX", 10, "mx.example.net")], "mx.example.net": [("A", self.own)]}
        server = self.bounced(zone, b"5.4.6", **self.listening)
        self.assertEqual(server.log.count("message_accepted"), 1)

    def test_by_the_address_of_the_domain(self):
        self.bounced({"example.net": [("A", self.own)]}, b"5.4.6", **self.listening)

    def test_by_an_address_literal(self):
        self.bounced({}, b"5.4.6", f"b@[{self.own}]", **self.listening)

    def test_hosts_at_our_preference_and_worse_ones_are_cut_off(self):
        nearer, worse = self.hop(self.nearer, listening=False), self.hop(self.first)
        zone = {
            "example.net": [("MX", 10, "near.example.net"), ("MX", 20, "us.example.net"), ("MX", 20, "equal.example.net"),
                            ("MX", 30, "far.example.net")],
            "near.example.net": [("A", self.nearer)],
            "us.example.net": [("A", self.own)],
            "equal.example.net": [("A", self.first)],
            "far.example.net": [("A", self.first)],
        }
        server = self.deliver(zone, **self.listening)
        until(lambda: "deferred" in server.log, "a deferred delivery in the log")
        self.assertEqual(worse.transcripts, [])
        nearer.listen()
        server.run("queue", "retry", "--all")
        nearer.wait_for(1)
        self.assertEqual(worse.transcripts, [])
