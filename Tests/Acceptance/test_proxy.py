"""The PROXY protocol: behind a load balancer the client is the one it names."""

import re
import socket

from harness import tools
from harness.case import STRANGER, Case, SharedServerCase, WithCertificates, discard_routes, unique
from harness.client import Client
from harness.users import auth_plain, bcrypt, user_list
from harness.waiting import until

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
TCP4, TCP6, UDP4, UNIX = 0x11, 0x21, 0x12, 0x31


def v1(source, destination="192.0.2.200", port=40000):
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {destination} {port} 25\r\n".encode()


def v2(source=None, destination=None, port=40000, command=PROXY, family=None, more=b""):
    """A binary header; without a source it carries no addresses."""
    octets = b""
    if source:
        kind = socket.AF_INET6 if ":" in source else socket.AF_INET
        family = family or (TCP6 if ":" in source else TCP4)
        destination = destination or ("2001:db8::200" if ":" in source else "192.0.2.200")
        octets = socket.inet_pton(kind, source) + socket.inet_pton(kind, destination)
        octets += port.to_bytes(2, "big") + (25).to_bytes(2, "big")
    octets += more
    return SIGNATURE + bytes((command, family or 0)) + len(octets).to_bytes(2, "big") + octets


class Proxied(WithCertificates, SharedServerCase):
    """The balancer is 127.0.0.1, which has the right to relay where it speaks for itself."""

    configuration = {
        "listen_addr": None,
        "listeners": [
            {"address": "127.0.0.1:0", "proxy_protocol": True, "trusted_proxies": ["127.0.0.1"]},
            {"address": "127.0.0.1:0", "proxy_protocol": True, "trusted_proxies": ["127.0.0.1"], "tls": "implicit"},
            {"address": "127.0.0.1:0"},
        ],
        "allowed_relays": ["127.0.0.1", "198.51.100.0/24", "2001:db8:77::/48"],
        "limits": {"max_connections_per_ip": 3, "xclient_hosts": ["198.51.100.50"]},
    }

    def through(self, header, hello="client.example.org", number=0, **options):
        client = Client(self.shared.addresses[number], first=header, **options)
        self.addCleanup(client.close)
        if hello:
            self.assertReply(client.ehlo(hello), "250")
        return client

    def assertIs(self, client, address, may_relay=False):
        """Received names the address, and the relay rules are its."""
        token = unique()
        self.assertDialogue(
            client,
            ("MAIL FROM:<a@example.org>", "250"),
            ("RCPT TO:<b@example.net>", "250" if may_relay else "554 5.7.1"),
            ("RCPT TO:<b@example.com>", "250"),
        )
        self.assertReply(client.data(token + b"\r\n"), "250")
        literal = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
        self.assertIn(f"from client.example.org ({literal})".encode(), self.arrived(token).trace)


class Headers(Proxied):
    def test_both_versions_name_the_client(self):
        for name, header, address, may_relay in (
            ("v1", v1("203.0.113.7"), "203.0.113.7", False),
            ("v1 of a relay", v1("198.51.100.7"), "198.51.100.7", True),
            ("v1 with IPv6", v1("2001:db8::7", "2001:db8::200"), "2001:db8::7", False),
            ("v1 with IPv6 of a relay", v1("2001:db8:77::7", "2001:db8::200"), "2001:db8:77::7", True),
            ("v2", v2("203.0.113.8"), "203.0.113.8", False),
            ("v2 of a relay", v2("198.51.100.8"), "198.51.100.8", True),
            ("v2 with IPv6", v2("2001:db8::8"), "2001:db8::8", False),
            ("v2 with a mapped address", v2("::ffff:203.0.113.9"), "203.0.113.9", False),
            ("v2 with TLVs", v2("203.0.113.10", more=b"\x04\x00\x05abcde" + b"\x01\x00\x02h2"), "203.0.113.10", False),
        ):
            with self.subTest(name):
                self.assertIs(self.through(header), address, may_relay)

    def test_the_balancers_own_address_gives_no_right(self):
        for name, header in (
            ("v1 UNKNOWN", b"PROXY UNKNOWN\r\n"),
            ("v1 UNKNOWN with addresses", b"PROXY UNKNOWN 203.0.113.1 192.0.2.1 1 2\r\n"),
            ("v2 LOCAL", v2(command=LOCAL)),
            ("v2 LOCAL with addresses", v2("198.51.100.1", command=LOCAL)),
            ("v2 UNSPEC", v2()),
            ("v2 UNIX", v2(family=UNIX, more=bytes(216))),
        ):
            with self.subTest(name):
                self.assertDialogue(
                    self.through(header),
                    ("MAIL FROM:<a@example.org>", "250"), ("RCPT TO:<b@example.net>", "554 5.7.1"),
                    ("RCPT TO:<b@example.com>", "250"),
                )

    def test_the_client_may_speak_in_the_same_segment(self):
        for header in (v1("203.0.113.7"), v2("203.0.113.7")):
            client = self.through(header + b"EHLO client.example.org\r\n", hello=None)
            self.assertReply(client.reply(), "250")
            self.assertIs(client, "203.0.113.7")

    def test_it_does_not_depend_on_where_tcp_cuts_the_octets(self):
        for header in (v1("203.0.113.7"), v2("2001:db8::8")):
            client = self.through(b"", hello=None, greeted=False)
            client.send_each(header)
            self.assertReply(client.reply(), "220")
            self.assertReply(client.ehlo(), "250")

    def test_the_greeting_waits_for_it(self):
        client = self.through(b"", hello=None, greeted=False)
        client.socket.settimeout(0.2)
        with self.assertRaises(TimeoutError):
            client.socket.recv(1)

    def test_a_second_one_is_a_command_like_any_other(self):
        client = self.through(v1("203.0.113.7") * 2, hello=None)
        self.assertReply(client.reply(), "500 5.5.1")

    def test_malformed_ones_close_the_connection_without_a_word(self):
        good = v2("203.0.113.7")
        for name, header in {
            "no header": b"EHLO client.example.org\r\n",
            "a handshake": b"\x16\x03\x01\x00\xf0" + bytes(240),
            "v1 with a bare LF": v1("203.0.113.7").replace(b"\r\n", b"\n"),
            "v1 without addresses": b"PROXY TCP4\r\n",
            "v1 with a wrong family": b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            "v1 with another wrong family": b"PROXY TCP6 203.0.113.1 203.0.113.2 1 2\r\n",
            "v1 with no family": b"PROXY UDP4 203.0.113.1 203.0.113.2 1 2\r\n",
            "v1 with a bad address": b"PROXY TCP4 203.0.113.256 203.0.113.2 1 2\r\n",
            "v1 with a bad port": b"PROXY TCP4 203.0.113.1 203.0.113.2 65536 2\r\n",
            "v1 with a signed port": b"PROXY TCP4 203.0.113.1 203.0.113.2 -1 2\r\n",
            "v1 with two spaces": b"PROXY TCP4  203.0.113.1 203.0.113.2 1 2\r\n",
            "v1 in lower case": v1("203.0.113.7").lower(),
            "v1 without an end": b"PROXY TCP4 " + b"1" * 200,
            "v1 that is too long": b"PROXY UNKNOWN " + b"x" * 100 + b"\r\n",
            "v2 of version 1": good[:12] + b"\x11" + good[13:],
            "v2 of version 3": good[:12] + b"\x31" + good[13:],
            "v2 with an unknown command": good[:12] + b"\x22" + good[13:],
            "v2 for datagrams": v2("203.0.113.7", family=UDP4),
            "v2 with an unknown family": v2("203.0.113.7", family=0x41),
            "v2 too short for its family": SIGNATURE + b"\x21\x11\x00\x04" + bytes(4),
            "v2 that is too long": SIGNATURE + b"\x21\x11\xff\xff" + bytes(100),
            "v2 with a damaged signature": b"\r\n\r\n\0\r\nQUIX\n" + good[12:],
        }.items():
            with self.subTest(name):
                client = self.through(b"", hello=None, greeted=False)
                client.send(header)
                self.assertEqual(client.until_closed(), b"")

    def test_one_that_ends_early_closes_the_connection_too(self):
        for header in (v1("203.0.113.7"), v2("203.0.113.7")):
            for end in range(len(header)):
                client = self.through(b"", hello=None, greeted=False)
                client.send(header[:end])
                client.socket.shutdown(socket.SHUT_WR)
                self.assertEqual(client.until_closed(), b"")

    def test_who_is_not_trusted_is_not_even_asked(self):
        for header in (v1("198.51.100.7"), v2("198.51.100.7"), b"", b"EHLO client.example.org\r\n"):
            with self.subTest(header):
                client = Client(self.shared.addresses[0], STRANGER, greeted=False)
                self.addCleanup(client.close)
                try:
                    client.send(header)
                except OSError:
                    pass
                self.assertEqual(client.until_closed(), b"")

    def test_where_it_is_not_expected_it_is_nonsense(self):
        client = Client(self.shared.addresses[2])
        self.addCleanup(client.close)
        self.assertReply(client.command(v1("198.51.100.7")[:-2]), "500 5.5.1")

    def test_swaks_speaks_both_versions(self):
        for version, family in ((1, "TCP4"), (2, "AF_INET")):
            token = unique()
            tools.swaks(
                self.shared.address, "--proxy-version", version, "--proxy-family", family, "--proxy-source",
                "203.0.113.77", "--proxy-source-port", "4711", "--proxy-dest", "192.0.2.1", "--proxy-dest-port", "25",
                *(["--proxy-protocol", "STREAM", "--proxy-command", "PROXY"] if version == 2 else []),
                "--from", "a@example.org", "--to", "b@example.com", "--h-Subject", token.decode(),
            )
            self.assertIn(b"([203.0.113.77])", self.arrived(token).trace)


class Log(Case):
    def test_who_is_refused_after_the_header_is_named_with_the_session(self):
        listener = {"address": "127.0.0.1:0", "proxy_protocol": True, "trusted_proxies": ["127.0.0.1"]}
        server = self.server(
            {"listen_addr": None, "listeners": [listener], "limits": {"max_connections_per_ip": 1}})
        held = Client(server.address, first=v1("203.0.113.20"))
        self.addCleanup(held.close)
        for header, address, reason in (
            (b"EHLO client.example.org\r\n", "127.0.0.1", "malformed PROXY header"),
            (v1("203.0.113.20"), "203.0.113.20", "too many connections from this address"),
        ):
            with self.subTest(reason), Client(server.address, first=header, greeted=False) as client:
                client.until_closed()
                line = rf' connection_refused client={address} reason="{reason}" session=(\S+)'
                session = until(lambda: re.search(line, server.log), "a line in the log")[1]
                until(lambda: re.search(rf" connection_closed .* session={session}\b", server.log), "its end")


class Limits(Proxied):
    def test_connections_are_counted_for_the_client(self):
        for _ in range(3):
            self.through(v1("203.0.113.20"))
        client = self.through(v1("203.0.113.20"), hello=None, greeted=False)
        self.assertReply(client.reply(), "421 4.7.0")
        self.assertTrue(client.is_closed())
        # The balancer itself has none of one client's limits, and other clients have their own.
        for number in range(21, 30):
            self.through(v2(f"203.0.113.{number}"))
        for _ in range(5):
            self.through(v1("198.51.100.20"))

    def test_a_64_of_ipv6_is_one_client(self):
        for number in range(3):
            self.through(v2(f"2001:db8:5:6::{number + 1}"))
        client = self.through(v2("2001:db8:5:6:ffff::9"), hello=None, greeted=False)
        self.assertReply(client.reply(), "421 4.7.0")
        self.through(v2("2001:db8:5:7::1"))

    def test_a_place_is_free_again_when_the_client_has_gone(self):
        for _ in range(10):
            client = self.through(v1("203.0.113.30"), hello=None)
            self.assertReply(client.command("QUIT"), "221")
            self.assertTrue(client.is_closed())
            client.close()

    def test_xclient_is_for_the_named_client(self):
        self.assertNotIn("XCLIENT", str(self.through(v1("203.0.113.40"), hello=None).ehlo()))
        self.assertIn("XCLIENT", str(self.through(v1("198.51.100.50"), hello=None).ehlo()))

    def test_the_log_names_the_client(self):
        client = self.through(v1("203.0.113.41"))
        self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")
        until(lambda: "client=203.0.113.41" in self.shared.log, "the client in the log")


class AndTLS(Proxied):
    def test_starttls_comes_after_it(self):
        for header in (v1("203.0.113.50"), v2("203.0.113.50")):
            client = self.secured(self.through(header))
            self.assertIs(client, "203.0.113.50")

    def test_implicit_tls_comes_after_it(self):
        for header in (v1("203.0.113.51"), v2("203.0.113.51")):
            self.assertIs(self.through(header, number=1, tls=self.trusting), "203.0.113.51")

    def test_implicit_tls_without_it_is_refused(self):
        client = Client(self.shared.addresses[1], greeted=False)
        self.addCleanup(client.close)
        client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(505))
        self.assertEqual(client.until_closed(), b"")


class Settings(Case):
    def test_without_trusted_proxies_it_is_an_error(self):
        server = self.unstarted_server(
            {"listen_addr": None, "listeners": [{"address": "127.0.0.1:0", "proxy_protocol": True}]}
        )
        server.launch()
        self.assertEqual(server.wait(), 78)
        server.process = None
        self.assertLogged(server, "trusted_proxies")

    def test_rates_and_guesses_are_the_clients(self):
        directory = self.directory()
        file = directory / "users.json"
        file.write_text(user_list({"alice": bcrypt("right")}))
        file.chmod(0o600)
        server = self.server(
            {
                "listen_addr": None,
                "listeners": [{"address": "127.0.0.1:0", "proxy_protocol": True, "trusted_proxies": ["127.0.0.0/8"]}],
                "limits": {"rate_per_ip": "1/600s"},
                "auth": {"enabled": True, "file_path": str(file), "max_failures": 1},
                **discard_routes(),
            },
            directory=directory,
        )

        def client(address):
            client = Client(server.address, first=v1(address))
            self.addCleanup(client.close)
            client.ehlo()
            return client

        first = client("203.0.113.1")
        self.assertReply(first.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")
        self.assertReply(client("203.0.113.1").command("MAIL FROM:<a@example.org>"), "450 4.7.1")
        self.assertReply(client("203.0.113.2").command("MAIL FROM:<a@example.org>"), "250")
        self.assertReply(client("203.0.113.3").command(auth_plain("nobody", "wrong")), "535")
        self.assertReply(client("203.0.113.3").command(auth_plain("alice", "right")), "454 4.7.0")
        self.assertReply(client("203.0.113.4").command(auth_plain("alice", "right")), "235")
