"""The commands of RFC 5321 on the wire, and what each wrong one is answered."""

from harness.case import STRANGER, Case, SharedServerCase, unique

EHLO_REPLY = (
    b"250-mail.example.com Hello example.com\r\n"
    b"250-SIZE 26214400\r\n"
    b"250-8BITMIME\r\n"
    b"250-SMTPUTF8\r\n"
    b"250-ENHANCEDSTATUSCODES\r\n"
    b"250-CHUNKING\r\n"
    b"250-DSN\r\n"
    b"250-PIPELINING\r\n"
    b"250 HELP\r\n"
)


class Greetings(SharedServerCase):
    def test_the_greeting_names_host_and_server(self):
        client = self.connect(hello=None)
        self.assertEqual(client.greeting.octets, b"220 mail.example.com ESMTP elemta ready\r\n")

    def test_the_ehlo_reply_is_what_was_agreed(self):
        client = self.connect(hello=None)
        self.assertEqual(client.ehlo("example.com").octets, EHLO_REPLY)

    def test_helo_gets_one_line(self):
        client = self.connect(hello=None)
        reply = client.command("HELO example.com")
        self.assertEqual(len(reply.lines), 1)
        self.assertReply(reply, "250 mail.example.com")

    def test_verbs_and_keywords_are_taken_in_any_case(self):
        client = self.connect(hello=None)
        self.assertDialogue(
            client,
            ("eHlO example.com", "250 HELP"),
            ("mail from:<a@example.org> size=10 body=8bitmime", "250 2.1.0 OK"),
            ("Rcpt tO:<b@example.com> notify=never", "250 2.1.5 OK"),
            ("rset", "250 2.0.0"),
            ("quit", "221 2.0.0 Bye"),
        )

    def test_address_literals_and_underscores_are_fine_names(self):
        for name in ("[192.0.2.1]", "[IPv6:2001:db8::1]", "my_host", "[127.0.0.1]"):
            with self.subTest(name):
                self.assertReply(self.connect(hello=None).ehlo(name), "250 HELP")

    def test_ehlo_without_a_name_or_with_nonsense_is_501(self):
        client = self.connect(hello=None)
        self.assertDialogue(
            client,
            ("EHLO", "501 5.5.4"),
            ("EHLO ", "501 5.5.4"),
            ("HELO", "501 5.5.4"),
            ("EHLO a b", "501 5.5.4"),
            ("EHLO ex(ample", "501 5.5.4"),
            ("EHLO example.org", "250 HELP"),
        )

    def test_a_second_ehlo_is_fine_and_resets(self):
        client = self.connect()
        client.envelope("a@example.org", ["b@example.com"])
        self.assertReply(client.ehlo(), "250 HELP")
        self.assertDialogue(
            client,
            ("RCPT TO:<b@example.com>", "503 5.5.1"),
            ("DATA", "503 5.5.1"),
            ("MAIL FROM:<a@example.org>", "250 2.1.0 OK"),
        )

    def test_nothing_of_what_the_client_calls_itself_splits_a_reply(self):
        client = self.connect(hello=None)
        reply = client.command(b"EHLO a\rb")
        self.assertReply(reply, "500 5.5.2")
        self.assertEqual(len(reply.lines), 1)
        self.assertReply(client.ehlo(), "250 HELP")

    def test_quit_says_bye_and_closes(self):
        client = self.connect()
        self.assertEqual(client.command("QUIT").octets, b"221 2.0.0 Bye\r\n")
        self.assertTrue(client.is_closed())


class Commands(SharedServerCase):
    def test_small_commands_are_answered_as_agreed(self):
        client = self.connect()
        self.assertDialogue(
            client,
            ("NOOP", "250 2.0.0"),
            ("NOOP anything at all", "250 2.0.0"),
            ("RSET", "250 2.0.0"),
            ("VRFY postmaster", "252 2."),
            ("EXPN staff", "502 5."),
            ("HELP", "214"),
            ("HELP mail", "214"),
        )

    def test_every_2xx_4xx_5xx_after_the_greeting_has_an_enhanced_status(self):
        client = self.connect()
        for command in ("NOOP", "RSET", "VRFY x", "EXPN x", "WHAT", "MAIL", "RCPT", "DATA",
                        "BDAT 0 LAST", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>"):
            reply = client.command(command)
            self.assertRegex(reply.lines[-1], r"^([245])\d\d \1\.\d{1,3}\.\d{1,3} ", command)

    def test_unknown_verbs_are_500_and_known_ones_that_are_not_here_502(self):
        client = self.connect()
        self.assertDialogue(
            client,
            ("WHAT", "500 5.5.1"),
            ("", "500 5.5."),
            (" NOOP", "500 5.5."),
            ("GET / HTTP/1.1", "500 5.5.1"),
            ("EXPN list", "502 5.5.1"),
            ("STARTTLS", "502 5.5.1"),
            ("AUTH PLAIN AGEAYg==", "502 5.5.1"),
            ("ETRN example.com", "502 5.5.1"),
            ("TURN", "502 5.5.1"),
            ("NOOP", "250"),
        )

    def test_wrong_order_is_503(self):
        client = self.connect(hello=None)
        self.assertDialogue(
            client,
            ("MAIL FROM:<a@example.org>", "503 5.5.1"),
            ("RCPT TO:<b@example.com>", "503 5.5.1"),
            ("DATA", "503 5.5.1"),
            ("EHLO example.org", "250 HELP"),
            ("RCPT TO:<b@example.com>", "503 5.5.1"),
            ("DATA", "503 5.5.1"),
            ("MAIL FROM:<a@example.org>", "250 2.1.0"),
            ("MAIL FROM:<a@example.org>", "503 5.5.1"),
            ("DATA", "503 5.5.1"),
            ("RCPT TO:<b@example.com>", "250 2.1.5"),
            ("MAIL FROM:<c@example.org>", "503 5.5.1"),
            ("RSET", "250 2.0.0"),
            ("DATA", "503 5.5.1"),
        )

    def test_mail_after_rset_and_after_a_message_needs_no_new_ehlo(self):
        client = self.connect()
        for _ in range(2):
            client.envelope("a@example.org", ["b@example.com"])
            self.assertReply(client.command("RSET"), "250 2.0.0")
            reply = client.message("a@example.org", ["b@example.com"], b"Subject: x\r\n\r\nx\r\n")
            self.assertReply(reply, "250 2.0.0 Message accepted for delivery")

    def test_bad_syntax_is_501(self):
        client = self.connect()
        self.assertDialogue(
            client,
            ("MAIL", "501 5.5.4"),
            ("MAIL FROM", "501 5.5.4"),
            ("MAIL TO:<a@example.org>", "501 5.5.4"),
            ("NOOP", "250"),
            ("DATA now", "501 5.5.4"),
            ("RSET now", "501 5.5.4"),
            ("QUIT now", "501 5.5.4"),
        )

    def test_bad_addresses_are_501_with_their_own_status(self):
        senders = ("a", "a@", "@example.org", "a b@example.org", "a@exa mple.org", "a@-x-", "a..b@example.org",
                   ".a@example.org", "a@[300.1.1.1]", "a@[IPv6:zz]", '"a@example.org', "a@example..org")
        for address in senders:
            with self.subTest(address):
                client = self.connect()
                self.assertReply(client.command(f"MAIL FROM:<{address}>"), "501 5.1.7")
                self.assertReply(client.command("MAIL FROM:<ok@example.org>"), "250")
                self.assertReply(client.command(f"RCPT TO:<{address}>"), "501 5.1.3")
                self.assertReply(client.command("RCPT TO:<>"), "501 5.1.3")

    def test_unknown_parameters_are_555(self):
        client = self.connect()
        self.assertDialogue(
            client,
            ("MAIL FROM:<a@example.org> COLOUR=blue", "555 5.5.4"),
            ("MAIL FROM:<a@example.org> SIZE=10 X", "555 5.5.4"),
            ("MAIL FROM:<a@example.org>", "250"),
            ("RCPT TO:<b@example.com> COLOUR=blue", "555 5.5.4"),
            ("RCPT TO:<b@example.com>", "250"),
        )

    def test_bad_values_of_known_parameters_are_501(self):
        for parameter in ("SIZE=x", "SIZE=", "SIZE=-1", "BODY=9BIT", "BODY=", "RET=SOME", "SIZE=1 SIZE=2",
                          "ENVID=a+zz", "SMTPUTF8=yes"):
            with self.subTest(parameter):
                client = self.connect()
                self.assertReply(client.command(f"MAIL FROM:<a@example.org> {parameter}"), "501 5.5.4")
        for parameter in ("NOTIFY=SOMETIMES", "NOTIFY=NEVER,SUCCESS", "NOTIFY=", "ORCPT=rfc822", "ORCPT=rfc822;a+1"):
            with self.subTest(parameter):
                client = self.connect()
                client.command("MAIL FROM:<a@example.org>")
                self.assertReply(client.command(f"RCPT TO:<b@example.com> {parameter}"), "501 5.5.4")

    def test_all_mail_and_rcpt_parameters_are_taken(self):
        client = self.connect()
        self.assertDialogue(
            client,
            ("MAIL FROM:<a@example.org> SIZE=1000 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb", "250 2.1.0 OK"),
            ("RCPT TO:<b@example.com> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;b+2Bx@example.com",
             "250 2.1.5 OK"),
            ("RCPT TO:<c@example.com> NOTIFY=NEVER", "250 2.1.5 OK"),
        )

    def test_lenient_space_after_the_colon(self):
        client = self.connect()
        self.assertDialogue(
            client,
            ("MAIL FROM: <a@example.org>", "250 2.1.0 OK"),
            ("RCPT TO: <b@example.com>", "250 2.1.5 OK"),
        )

    def test_addresses_of_every_kind_are_taken(self):
        client = self.connect()
        self.assertDialogue(
            client,
            ("MAIL FROM:<>", "250 2.1.0 OK"),
            ("RCPT TO:<Postmaster>", "250 2.1.5 OK"),
            ("RCPT TO:<postmaster>", "250 2.1.5 OK"),
            ("RCPT TO:<@relay.example.net,@other.example.net:b@example.com>", "250 2.1.5 OK"),
            (r'RCPT TO:<"john \"q\" doe"@example.com>', "250 2.1.5 OK"),
            ('RCPT TO:<"a>b"@example.com>', "250 2.1.5 OK"),
            ("RCPT TO:<b@[192.0.2.9]>", "250 2.1.5 OK"),
            ("RCPT TO:<b@[IPv6:2001:db8::9]>", "250 2.1.5 OK"),
            ("RCPT TO:<a!#$%&'*+-/=?^_`{|}~b@example.com>", "250 2.1.5 OK"),
        )

    def test_utf8_needs_smtputf8(self):
        client = self.connect()
        self.assertDialogue(
            client,
            ("MAIL FROM:<jürgen@example.org>", "553 5.6.7"),
            ("MAIL FROM:<a@example.org>", "250"),
            ("RCPT TO:<jürgen@example.com>", "553 5.6.7"),
            ("RCPT TO:<b@bücher.example>", "553 5.6.7"),
            ("RSET", "250"),
            ("MAIL FROM:<jürgen@bücher.example> SMTPUTF8", "250 2.1.0 OK"),
            ("RCPT TO:<用户@example.com>", "250 2.1.5 OK"),
        )


class Relaying(SharedServerCase):
    def test_a_stranger_may_send_to_local_domains_only(self):
        client = self.connect(STRANGER)
        self.assertDialogue(
            client,
            ("MAIL FROM:<a@example.org>", "250 2.1.0 OK"),
            ("RCPT TO:<b@example.com>", "250 2.1.5 OK"),
            ("RCPT TO:<b@EXAMPLE.COM>", "250 2.1.5 OK"),
            ("RCPT TO:<b@example.net>", "554 5.7.1"),
            ("RCPT TO:<b@sub.example.com>", "554 5.7.1"),
            ("RCPT TO:<b@[127.0.0.1]>", "554 5.7.1"),
            ("RCPT TO:<@example.com:b@example.net>", "554 5.7.1"),
            ("RCPT TO:<b%example.net@example.org>", "554 5.7.1"),
            ('RCPT TO:<"b@example.com"@example.net>', "554 5.7.1"),
            ("RCPT TO:<Postmaster>", "250 2.1.5 OK"),
        )

    def test_an_allowed_relay_may_send_anywhere(self):
        client = self.connect()
        self.assertDialogue(
            client, ("MAIL FROM:<a@example.org>", "250"), ("RCPT TO:<b@example.net>", "250 2.1.5 OK")
        )

    def test_refused_recipients_leave_the_others(self):
        token = unique()
        client = self.connect(STRANGER)
        self.assertDialogue(
            client,
            ("MAIL FROM:<a@example.org>", "250"),
            ("RCPT TO:<b@example.net>", "554 5.7.1"),
            ("RCPT TO:<c@example.com>", "250"),
        )
        self.assertReply(client.data(b"Subject: %s\r\n\r\n" % token), "250 2.0.0")
        self.assertEqual(self.arrived(token).addresses, ["c@example.com"])


class RelayNetworks(Case):
    def test_networks_and_subdomains_are_understood(self):
        server = self.server(
            {"allowed_relays": ["127.0.4.0/24", "::ffff:127.0.5.1"], "local_domains": [".example.com"]}
        )
        expected = {"127.0.4.200": "250", "127.0.5.1": "250", "127.0.5.2": "554 5.7.1", "127.0.0.1": "554 5.7.1"}
        for source, beginning in expected.items():
            with self.subTest(source):
                self.assertDialogue(
                    self.client(server, source),
                    ("MAIL FROM:<a@example.org>", "250"),
                    ("RCPT TO:<b@example.net>", beginning),
                    ("RCPT TO:<b@mx.example.com>", "250"),
                )
