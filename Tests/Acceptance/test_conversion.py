"""Content for next hops without 8BITMIME: encoded part by part, read back with Python's email module."""

import email
import os
import random
from email.message import EmailMessage
from email.policy import SMTP

from harness.case import Case, SharedServerCase, routes_to, unique

SEED = 20
EIGHT_BIT = SMTP.clone(cte_type="8bit")


def leaves(content):
    """Type and octets of every part that holds no parts."""
    found = []

    def walk(part):
        if part.is_multipart():
            for inner in part.get_payload():
                walk(inner)
        else:
            found.append((part.get_content_type(), part.get_payload(decode=True)))

    walk(email.message_from_bytes(content))
    return found


def text(chance):
    words = "über Zeilen die Größe = naïve. .. abc  \t äöü 用户 ".split(" ")
    return "".join(
        " ".join(chance.choice(words) for _ in range(chance.randrange(30))) + "\n" for _ in range(chance.randrange(1, 9))
    )


def message(chance, depth=0):
    """Anything that a mail program may make: texts, attachments, messages inside messages."""
    made = EmailMessage(policy=EIGHT_BIT)
    made["Subject"] = unique().decode()
    made["From"], made["To"] = "a@example.org", "b@example.com"
    made.set_content(text(chance), cte=chance.choice(["8bit", "quoted-printable", "base64"]))
    if chance.random() < 0.5:
        made.add_alternative(f"<p>{text(chance)}</p>", subtype="html", cte="8bit")
    for _ in range(chance.randrange(3)):
        octets = chance.randbytes(chance.choice([0, 1, 56, 57, 58, 3000]))
        made.add_attachment(octets, "application", "octet-stream", cte="base64", filename="x")
    if depth < 3 and chance.random() < 0.5:
        made.add_attachment(message(chance, depth + 1))
    return made


class SevenBits(SharedServerCase):
    extensions = ("PIPELINING", "SIZE 100000000")

    def sent(self, content, subject):
        """What arrives of it, without our Received field."""
        with self.connect() as client:
            reply = client.message("a@example.org", ["b@example.com"], content, " BODY=8BITMIME")
            self.assertReply(reply, "250 2.0.0")
        arrived = self.arrived(subject)
        self.assertEqual(arrived.sender_parameters, [b"SIZE=%d" % len(arrived.content)])
        self.assertTrue(arrived.content.isascii())
        return arrived.without_trace()

    def test_every_part_decodes_to_what_it_was(self):
        chance = random.Random(SEED)
        for _ in range(60):
            made = message(chance)
            content = made.as_bytes(policy=EIGHT_BIT)
            self.assertEqual(leaves(self.sent(content, made["Subject"].encode())), leaves(content))

    def test_a_message_without_mime_keeps_its_octets(self):
        subject = unique()
        body = b"Gr\xfc\xdfe\r\n.\r\n" + bytes(range(128, 256)) + b"\r\n"
        arrived = self.sent(b"Subject: " + subject + b"\r\n\r\n" + body, subject)
        self.assertEqual(leaves(arrived), [("text/plain", body)])

    def test_what_is_too_large_for_memory_goes_by_the_disk(self):
        subject = unique()
        body = os.urandom(3 << 20).replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"")
        lines = b"\r\n".join(body[start : start + 900] for start in range(0, len(body), 900)) + b"\r\n"
        head = (
            b"Subject: " + subject + b"\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n"
            b"Content-Transfer-Encoding: 8bit\r\n\r\n"
        )
        self.assertEqual(leaves(self.sent(head + lines, subject))[0][1], lines)
        # The copy had no name.
        names = {path.name for path in (self.shared_directory / "queue").iterdir()}
        self.assertEqual({name for name in names if name.startswith("converting")}, set())

    def test_header_fields_that_are_not_ascii_come_back(self):
        subject = unique()
        with self.connect() as client:
            content = b"Subject: " + subject + b" \xe4\r\n\r\nx\r\n"
            client.message("a@example.org", ["b@example.com"], content, " BODY=8BITMIME")
        bounce = self.arrived(subject)
        self.assertEqual(bounce.sender, b"")
        self.assertIn(b"Status: 5.6.3", bounce.content)


class Others(Case):
    def test_smtputf8_that_is_not_needed_is_no_obstacle(self):
        sink = self.sink(("PIPELINING",))
        server = self.server(routes_to(sink))
        content = b"Subject: x\r\n\r\n" + "用户\r\n".encode()
        with self.client(server) as client:
            client.message("a@example.org", ["b@example.com"], content, " SMTPUTF8 BODY=8BITMIME")
        arrived = sink.wait_for(1)[0]
        self.assertEqual(arrived.addresses, ["b@example.com"])
        self.assertEqual(leaves(arrived.content)[0][1].decode(), "用户\r\n")

    def test_the_source_address_can_be_chosen_for_each_family(self):
        self.needs_ipv6()
        four, six = self.sink(), self.sink(address=("::1", 0))
        peers = []
        for sink in (four, six):
            sink.faults["connect"] = lambda _, sink=sink: peers.extend(
                s.getpeername()[0] for s in sink.open_sockets
            )
        server = self.server(
            {
                "delivery": {
                    "bind": ["127.0.0.77", "::1"],
                    "routes": [
                        {"domain": "four.example", "deliver": four.route},
                        {"domain": "six.example", "deliver": six.route},
                        {"domain": "*", "deliver": "discard"},
                    ],
                }
            }
        )
        with self.client(server) as client:
            client.message("a@example.org", ["b@four.example", "b@six.example"], b"Subject: x\r\n\r\nx\r\n")
        four.wait_for(1)
        six.wait_for(1)
        self.assertEqual(set(peers), {"127.0.0.77", "::1"})

    def test_a_domain_gets_no_more_than_its_rate(self):
        sink = self.sink()
        settings = {"rate": [{"domain": ".slow.example", "limit": "3/3600s"}]}
        server = self.server({"delivery": {**settings, **routes_to(sink)["delivery"]}})
        recipients = ["b@one.slow.example"] * 5 + ["b@two.slow.example"] * 5 + ["b@fast.example"] * 20
        with self.client(server) as client:
            for recipient in recipients:
                reply = client.message("a@example.org", [recipient], b"Subject: x\r\n\r\nx\r\n")
                self.assertReply(reply, "250")
        arrived = sink.wait_for(26)
        counts = {name: sum(name in m.addresses[0] for m in arrived) for name in ("one.slow", "two.slow", "fast")}
        self.assertEqual(counts, {"one.slow": 3, "two.slow": 3, "fast": 20})
