"""The Dockerfile: built with buildah on bases of this machine's own, and run. `make image-test`."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import unittest

from harness.buildah import Buildah, require
from harness.case import Case
from harness.client import Client
from harness.dovecot import LIBRARIES, PACKAGE
from harness.server import BINARY, LISTENER, ROOT, environment, run_elemta
from harness.tools import run
from harness.waiting import PATIENCE, until

# What the image may add to its base.
MAXIMUM_OCTETS = 60 * 1024 * 1024
USER = 1001


def bases():
    """The images that the Dockerfile begins with: that of Swift, that of Debian."""
    return re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


class Container:
    """The server in a container, started as the image says, with no capability."""

    def __init__(self, buildah, image, **variables):
        self.buildah = buildah
        self.name = buildah.container(image)
        self.root = pathlib.Path(buildah.run("mount", self.name))
        self.log = buildah.folder / f"{self.name}.log"
        # chroot isolation shares this machine's network: its ports are the kernel's choice.
        settings = {"ELEMTA_LISTEN_ADDR": "127.0.0.1:0", "ELEMTA_HTTP_LISTEN_ADDR": "", **variables}
        for name, value in settings.items():
            buildah.run("config", "--env", f"{name}={value}", self.name)
        self.before = self.files()
        image = json.loads(buildah.run("inspect", "--type", "image", image))["OCIv1"]["config"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                buildah.command("run", "--cap-drop", "all", self.name, "--", *image["Entrypoint"], *image["Cmd"]),
                env=buildah.variables, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )
        found = until(self._ready, "the log line `ready`", 60)
        v6, v4, port = LISTENER.search(found[0]).groups()
        self.address = (v6 or v4, int(port))

    def _ready(self):
        text = self.log.read_text(errors="backslashreplace")
        if self.process.poll() is not None:
            raise AssertionError(f"ended with {self.process.returncode}:\n{text}")
        return re.search(r"\bready\b.*\blisteners=.*\n", text)

    def files(self):
        """Every file of the container, with its size and when it was changed."""
        return {
            (str(path.relative_to(self.root)), path.lstat().st_size, path.lstat().st_mtime_ns)
            for path in self.root.rglob("*") if not path.is_dir() or path.is_symlink()
        }

    def server(self):
        """The server's process, below those of buildah."""
        below = [self.process.pid]
        for process in below:
            folder = pathlib.Path(f"/proc/{process}")
            if (folder / "comm").read_text() == "elemta\n":
                return process, (folder / "status").read_text()
            for children in folder.glob("task/*/children"):
                below += map(int, children.read_text().split())
        raise AssertionError("no elemta runs in the container")

    def run(self, *words):
        return self.buildah.run("run", "--cap-drop", "all", self.name, "--", *words)

    def stop(self):
        if self.process.poll() is None:
            os.kill(self.server()[0], 15)
        return self.process.wait(30 * PATIENCE)


@unittest.skipUnless(os.environ.get("IMAGE"), "takes a quarter of an hour, 12 GiB of disk and the network: make image-test")
class Image(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        require()
        if not shutil.which("swift") or os.path.realpath(shutil.which("swift")).startswith("/usr/"):
            raise unittest.SkipTest("no Swift in a folder of its own here, which the build stage could have")
        cls.buildah = Buildah()
        cls.addClassCleanup(cls.buildah.close)
        swift, debian = bases()
        cls.buildah.import_debian(debian)
        cls.buildah.import_swift(swift, debian)
        cls.buildah.run(
            "build", "--signature-policy", cls.buildah.policy, "--isolation", "chroot", "--pull-never", "--layers=false",
            "--format", "docker", "--tag", "elemta", ROOT, seconds=1800,
        )
        cls.debian = debian

    def octets(self, image):
        root = self.buildah.run("mount", container := self.buildah.container(image))
        try:
            said = subprocess.run(["du", "-sbx", root], stdout=subprocess.PIPE, check=True).stdout
            return int(said.split()[0])
        finally:
            self.buildah.run("rm", container)

    def test_it_is_small(self):
        added = self.octets("elemta") - self.octets(self.debian)
        print(f"the image adds {added / 1e6:.1f} MB to its base")
        self.assertLess(added, MAXIMUM_OCTETS)

    def test_it_says_how_it_is_to_be_run(self):
        said = json.loads(self.buildah.run("inspect", "--type", "image", "elemta"))["Docker"]["config"]
        self.assertEqual(said["User"], f"{USER}:{USER}")
        self.assertEqual(set(said["Volumes"]), {"/app/queue", "/app/config", "/app/logs"})
        self.assertEqual(set(said["ExposedPorts"]), {"2525/tcp", "8080/tcp"})
        self.assertEqual(said["Healthcheck"]["Test"][:2], ["CMD", "elemta"])

    def test_a_message_through_it(self):
        container = Container(self.buildah, "elemta", ELEMTA_DELIVERY_RELAY_HOST="[127.0.0.1]:9")
        self.addCleanup(container.stop)
        status = container.server()[1]
        self.assertEqual(set(re.search(r"^Uid:\s*(.*)$", status, re.MULTILINE)[1].split()), {str(USER)})
        self.assertEqual(int(re.search(r"^CapEff:\s*(.*)$", status, re.MULTILINE)[1], 16), 0)
        client = Client(container.address)
        self.addCleanup(client.close)
        self.assertReply(client.ehlo("client.example.org"), "250")
        self.assertReply(client.message("alice@example.net", ["kim@example.org"], b"Subject: here\r\n\r\nhello\r\n"), "250")
        # The image's own word on its health, and the message that waits.
        said = json.loads(self.buildah.run("inspect", "--type", "image", "elemta"))["Docker"]["config"]
        container.run(*said["Healthcheck"]["Test"][1:])
        self.assertIn("kim@example.org", container.run("elemta", "queue", "list"))
        # A root that can only be read is no loss: nothing but volumes, which lie elsewhere, was written to.
        written = {name for name, *_ in container.files() - container.before}
        self.assertEqual([name for name in written if not name.startswith(("app/queue/", "app/logs/"))], [])
        self.assertEqual(container.stop(), 0)


class Libraries(Case):
    """Those of the runtime stage: building the image, which would show it too, takes a quarter of an hour."""

    # In Debian's smallest image, or there because of another.
    THERE = {"libc6", "libgcc-s1"}

    def test_the_image_has_all_that_the_server_is_linked_to(self):
        said = run(["readelf", "--dynamic", "--wide", BINARY])
        installed = set(re.findall(r"[\w.+-]+", (ROOT / "Dockerfile").read_text())) | self.THERE
        names = re.findall(r"\(NEEDED\).*\[(.+)\]", said)
        # Swift's own are in the binary that the image has.
        names = [name for name in names if not re.match(r"libswift|lib_?Foundation|libdispatch|libBlocks", name)]
        self.assertGreater(len(names), 5)
        for name in names:
            with self.subTest(name):
                owners = re.findall(r"^([^\s:,]+)", run(["dpkg-query", "--search", f"*/{name}*"]), re.MULTILINE)
                self.assertTrue(installed & set(owners), f"none of {owners} is in the Dockerfile")


class Compose(Case):
    """What compose.yaml names, as far as it can be looked at without Docker."""

    def test_the_folders_and_files_that_it_mounts_are_there(self):
        text = (ROOT / "compose.yaml").read_text()
        mounted = re.findall(r"^      - \./(\S+?):/", text, re.MULTILINE)
        self.assertIn("config/compose", mounted)
        self.assertEqual([path for path in mounted if not (ROOT / path).exists()], [])
        # To nobody but this machine.
        ports = re.findall(r'^      - "(.*:\d+:\d+)"$', text, re.MULTILINE)
        self.assertGreater(len(ports), 1)
        self.assertEqual([port for port in ports if not port.startswith("127.0.0.1:")], [])

    def test_the_configuration_is_right(self):
        said = run_elemta("check", "--config", ROOT / "config/compose/elemta.yaml", directory=self.directory())
        self.assertIn("lmtp://dovecot:24", said)

    def test_dovecot_takes_its_configuration(self):
        # Its users of its own aren't here; Debian's nobody is.
        file = self.directory() / "dovecot.conf"
        file.write_text(
            (ROOT / "config/dovecot/dovecot.conf").read_text()
            + "default_login_user = nobody\ndefault_internal_user = nobody\ndefault_internal_group = nogroup\n"
        )
        libraries = [*PACKAGE.glob("usr/lib/*-linux-gnu"), *PACKAGE.glob("lib/*-linux-gnu"), LIBRARIES]
        said = run([PACKAGE / "usr/bin/doveconf", "-n", "-c", file],
                   env=environment({"LD_LIBRARY_PATH": ":".join(map(str, libraries))}))
        self.assertRegex(said, r"inet_listener lmtp \{\n\s*port = 24\n")
