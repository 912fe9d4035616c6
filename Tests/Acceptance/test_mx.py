"""Where mail goes when only the DNS says so. Next hops stand on port 25 of loopback addresses."""

import unittest

from harness.case import Case
from harness.nameserver import SERVFAIL, NameServer
from harness.sink import Always
from harness.tools import can_bind
from harness.waiting import until

NOBODY = "127.0.77.9"

MAY_BIND = can_bind("127.0.77.1", 25)


@unittest.skipUnless(MAY_BIND, "port 25 can't be bound: run as root")
class MXCase(Case):
    """Each class has addresses of its own, as classes run side by side."""

    def deliver(self, zone, recipient="b@example.net", recipients=None):
        self.names = NameServer(zone)
        self.addCleanup(self.names.close)
        server = self.server(
            {
                "queue": {"retry_schedule": [1]},
                "local_domains": [],
                "delivery": {"routes": None, "dns_servers": [self.names.address], "connect_timeout": 5},
            }
        )
        with self.client(server) as client:
            reply = client.message("a@sender.example", recipients or [recipient], b"Subject: x\r\n\r\nx\r\n")
            self.assertReply(reply, "250 2.0.0")
        return server

    def hop(self, host, **options):
        return self.sink(address=(host, 25), **options)


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
        self.deliver({}, f"b@[{self.first}]")
        first.wait_for(1)
        self.assertEqual(self.names.questions, [])

    def test_the_domain_without_mx_on_ipv6_only(self):
        self.needs_ipv6()
        if not can_bind("::1", 25, 10):
            self.skipTest("port 25 of ::1 is taken")
        hop = self.sink(address=("::1", 25))
        self.deliver({"example.net": [("AAAA", "::1")]})
        hop.wait_for(1)


class Refusals(MXCase):
    first, second = "127.0.77.4", "127.0.77.5"

    def bounced(self, zone, status, recipient="b@example.net"):
        """The sender's own domain has a next hop; what comes there is the bounce."""
        sender = self.hop(self.first)
        zone = {"sender.example": [("MX", 0, "mx.sender.example")], "mx.sender.example": [("A", self.first)]} | zone
        self.deliver(zone, recipient)
        bounce = sender.wait_for(1)[0]
        self.assertEqual((bounce.sender, bounce.addresses), (b"", ["a@sender.example"]))
        self.assertIn(b"Status: " + status, bounce.content)

    def test_a_null_mx_is_bounced_at_once(self):
        self.bounced({"example.net": [("MX", 0, "."), ("A", self.second)]}, b"5.1.10")

    def test_a_domain_that_does_not_exist_is_bounced_at_once(self):
        self.bounced({}, b"5.1.2", "b@nowhere.example.net")

    def test_a_domain_without_any_address_is_bounced_at_once(self):
        self.bounced({"example.net": []}, b"5.")

    def test_trouble_of_the_name_server_is_tried_again(self):
        first = self.hop(self.first)
        zone = {"example.net": SERVFAIL, "mx.example.net": [("A", self.first)]}
        server = self.deliver(zone)
        until(lambda: "deferred" in server.log, "a deferred delivery in the log")
        self.assertEqual(first.messages, [])
        self.names.zone["example.net"] = [("MX", 10, "mx.example.net")]
        first.wait_for(1, 60)
