"""A damaged queue: what can't be read is put aside and named, everything else is delivered, nothing is served wrong."""

import os
import re

from harness.case import Case, routes_to
from harness.load import content, name_of
from harness.waiting import until

PAGE = 4096
# Beside its envelope, in pieces of a page (more than are read at a time), in a file of its own.
SIZES = (200, 3_000, 100_000, 300_000)
COUNT = 200


class Damage(Case):
    """A server with mail in its queue, which is damaged while it is dead."""

    def filled(self):
        """A running server whose queue holds COUNT messages; what it accepted, name by id."""
        sink = self.sink(listening=False)
        server = self.server({"queue": {"retry_schedule": [3600]}, **routes_to(sink)})
        accepted = {}
        with self.client(server) as client:
            for number in range(COUNT):
                name = f"number{number}x"
                reply = client.message("", ["b@example.com"], content(name, SIZES[number % len(SIZES)]))
                self.assertEqual(reply.code, 250)
                accepted[reply.message_id] = name
        return server, sink, accepted

    def restarted(self, damage, is_clean=False):
        """The same, killed or stopped, after `damage` got the octets of spool.mdb and started again."""
        server, sink, accepted = self.filled()
        if is_clean:
            server.stop()
        else:
            server.kill()
        file = server.directory / "queue/spool.mdb"
        file.write_bytes(damage(bytearray(file.read_bytes()), accepted))
        server.start()
        until(lambda: "queue_recovered" in server.log, "the queue back")
        return server, sink, accepted

    def delivered(self, server, sink):
        """Delivers what there is; the names that arrive, each as it was sent."""
        sink.listen()
        server.run("queue", "retry", "--all")
        server.until_nothing_waits(60)
        return {name_of(message) for message in list(sink.messages)}

    def check(self, server, sink, accepted, lost):
        """All but `lost` arrive, and each of those has been put aside and named."""
        arrived = self.delivered(server, sink)
        self.assertEqual(set(accepted.values()) - arrived, {accepted[id] for id in lost})
        aside = [path.name for path in (server.directory / "queue/quarantine").iterdir()]
        for id in lost:
            self.assertLogged(server, re.compile(rf"\bcorrupt\b.*quarantined={id}\b"))
            self.assertTrue(any(name.startswith(id) for name in aside), aside)
        self.assertEqual(server.starts, 2)
        self.assertTrue(server.is_running)

    @staticmethod
    def numbered(accepted, number):
        """The id and the name of one message; its size is SIZES[number % len(SIZES)]."""
        return list(accepted.items())[number]


def flipped(octets, text, distance):
    """A bit flipped so many octets behind each place where `text` stands, pages that are free now included."""
    place = octets.find(text)
    while place >= 0:
        octets[place + distance] ^= 0x10
        place = octets.find(text, place + 1)
    return octets


def pages(octets, kind):
    """The numbers of the pages of a kind (1 branch, 2 leaf, 4 overflow), free ones included."""
    return [number for number in range(2, len(octets) // PAGE)
            if int.from_bytes(octets[number * PAGE : number * PAGE + 8], "little") == number
            and octets[number * PAGE + 10] & 0x0F == kind]


def invert(octets, page, count):
    """Flips every bit of the first octets of a page."""
    start = page * PAGE
    octets[start : start + count] = bytes(octet ^ 0xFF for octet in octets[start : start + count])


class Records(Damage):
    def each_way(self, number, distance):
        for is_clean in (False, True):
            with self.subTest(is_clean=is_clean):
                def damage(octets, accepted):
                    return flipped(octets, b"Subject: %s\r\n" % self.numbered(accepted, number)[1].encode(), distance)

                server, sink, accepted = self.restarted(damage, is_clean)
                self.check(server, sink, accepted, [self.numbered(accepted, number)[0]])

    def test_a_flipped_bit_beside_the_envelope(self):
        self.each_way(40, 60)

    def test_a_flipped_bit_in_a_piece(self):
        self.each_way(41, 60)

    def test_a_flipped_bit_in_one_of_many_pieces(self):
        self.each_way(42, 3000)

    def test_a_bit_that_flips_while_the_server_runs(self):
        server, sink, accepted = self.filled()
        id, name = self.numbered(accepted, 50)
        with open(server.directory / "queue/spool.mdb", "r+b") as file:
            octets = bytearray(file.read())
            place = octets.find(b"Subject: %s\r\n" % name.encode())
            while place >= 0:
                file.seek(place + 20)
                file.write(bytes((octets[place + 20] ^ 4,)))
                place = octets.find(b"Subject: %s\r\n" % name.encode(), place + 1)
        server.starts += 1
        self.check(server, sink, accepted, [id])


class Pages(Damage):
    def assertNamed(self, server, sink, accepted):
        """What arrives and what the log names is everything."""
        arrived = self.delivered(server, sink)
        log = server.log
        named = set(re.findall(r"corrupt.*(?:quarantined|lost)=(\w{13})\b", log))
        line = next(line for line in log.splitlines() if "quarantine/spool.mdb" in line)
        lost = re.search(r"lost=(\w+)", line)[1]
        silent = {id for id, name in accepted.items() if name not in arrived} - named
        self.assertTrue(lost == "unknown" or len(silent) <= int(lost), (lost, silent))
        self.assertEqual(server.starts, 2)
        return arrived

    def test_a_flipped_page_of_each_kind(self):
        self.each_kind(PAGE)

    def test_a_page_number_that_is_wrong_in_a_page_of_each_kind(self):
        self.each_kind(2)

    def each_kind(self, count):
        for kind in (1, 2, 4):
            with self.subTest(kind=kind):
                def damage(octets, accepted):
                    found = pages(octets, kind)
                    # The last that was written is one in use.
                    invert(octets, found[-1] if kind != 4 else found[len(found) // 2], count)
                    return octets

                server, sink, accepted = self.restarted(damage)
                if "quarantine/spool.mdb" in server.log:
                    arrived = self.assertNamed(server, sink, accepted)
                else:
                    arrived = self.delivered(server, sink)
                    missing = {id for id, name in accepted.items() if name not in arrived}
                    self.assertLessEqual(missing, set(re.findall(r"corrupt.*quarantined=(\w{13})\b", server.log)))
                # A page holds a piece of one message, or what some twenty of them begin with.
                self.assertGreaterEqual(len(arrived), COUNT - 40)

    def test_headers_of_leaf_pages(self):
        def damage(octets, accepted):
            for number in pages(octets, 2)[:3]:
                octets[number * PAGE : number * PAGE + 16] = bytes(16)
            return octets

        server, sink, accepted = self.restarted(damage)
        self.assertLogged(server, re.compile(rf"corrupt.*quarantine/spool\.mdb.*saved={COUNT}\b"))
        self.assertEqual(self.delivered(server, sink), set(accepted.values()))

    def test_zeroed_pages(self):
        def damage(octets, accepted):
            used = len(octets) // PAGE
            for number in range(10, used, used // 40):
                octets[number * PAGE : (number + 1) * PAGE] = bytes(PAGE)
            return octets

        server, sink, accepted = self.restarted(damage)
        self.assertGreater(len(self.assertNamed(server, sink, accepted)), COUNT // 2)

    def test_a_truncated_tail(self):
        server, sink, accepted = self.restarted(lambda octets, _: octets[: len(octets) * 3 // 4])
        self.assertGreater(len(self.assertNamed(server, sink, accepted)), COUNT // 2)

    def test_both_meta_pages_zeroed(self):
        server, sink, accepted = self.restarted(lambda octets, _: bytes(2 * PAGE) + octets[2 * PAGE :])
        self.assertEqual(self.delivered(server, sink), set(accepted.values()))
        self.assertLogged(server, re.compile(r"\bcorrupt\b.*quarantine/spool\.mdb"))
        self.assertEqual(server.starts, 2)


class ContentFiles(Damage):
    def test_damaged_files(self):
        def turn(path):
            octets = bytearray(path.read_bytes())
            octets[len(octets) // 2] ^= 1
            path.write_bytes(octets)

        def behead(path):
            path.write_bytes(bytes(64) + path.read_bytes()[64:])

        def cut(path):
            os.truncate(path, path.stat().st_size // 2)

        ways = {"turned": turn, "beheaded": behead, "cut": cut, "emptied": lambda path: os.truncate(path, 0),
                "gone": os.unlink, "another's": lambda path: path.write_bytes(self.other.read_bytes())}
        server, sink, accepted = self.filled()
        server.kill()
        ids = [self.numbered(accepted, 3 + 4 * number)[0] for number in range(len(ways) + 1)]
        files = [server.directory / f"queue/content/{id[-2:]}/{id}" for id in ids]
        self.other = files.pop()
        for file, way in zip(files, ways.values()):
            way(file)
        server.start()
        until(lambda: "queue_recovered" in server.log, "the queue back")
        self.check(server, sink, accepted, ids[:-1])


class Starts(Damage):
    def test_after_an_unclean_stop_the_queue_is_looked_at_and_after_a_clean_one_not(self):
        server, sink, accepted = self.restarted(lambda octets, _: octets)
        self.assertLogged(server, "queue_check")
        self.assertNotIn("corrupt", server.log)
        server.stop()
        server.start()
        until(lambda: "queue_recovered" in server.log, "the queue back")
        self.assertNotIn("queue_check", server.log)
        self.assertEqual({message["id"] for message in server.queue()}, accepted.keys())

    def test_commands_leave_a_damaged_queue_as_it_is(self):
        server, sink, accepted = self.filled()
        server.kill()
        file = server.directory / "queue/spool.mdb"
        with open(file, "r+b") as spool:
            spool.write(bytes(2 * PAGE))
        before = file.read_bytes()
        for command in (["list"], ["delete", "--all"]):
            self.assertIn("corrupt", server.run("queue", *command, status=os.EX_UNAVAILABLE))
        self.assertEqual(file.read_bytes(), before)
        server.start()
        until(lambda: "queue_recovered" in server.log, "the queue back")
        self.assertEqual({message["id"] for message in server.queue()}, accepted.keys())
