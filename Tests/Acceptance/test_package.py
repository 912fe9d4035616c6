"""What an operator installs: the manual page, `make install`, the Debian package."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import unittest

from harness.case import Case
from harness.server import BINARY, ROOT, run_elemta
from harness.tools import run

PAGE = ROOT / "man/elemta.1"
MANDOC = shutil.which("mandoc") or ROOT / ".build-tools/mandoc/usr/bin/mandoc"
# The library that comes with Swift, by the name that the dynamic linker would look for.
IS_STATIC = b"libswiftCore.so" not in BINARY.read_bytes()


def commands(command, path=()):
    """Each subcommand that --help shows, as (words, the options it has)."""
    if not command.get("shouldDisplay", True):
        return
    options = [
        ("--" if name["kind"] == "long" else "-") + name["name"]
        for argument in command.get("arguments", [])
        if argument["shouldDisplay"] and argument["kind"] != "positional"
        for name in argument["names"]
    ]
    yield path, options
    for inner in command.get("subcommands", []):
        yield from commands(inner, (*path, inner["commandName"]))


class Manual(Case):
    def setUp(self):
        super().setUp()
        said = json.loads(run_elemta("--experimental-dump-help"))
        self.commands = list(commands(said["command"]))
        # Without the terminal's bold and underlined letters, and without line breaks.
        text = re.sub(".\x08", "", run([MANDOC, "-Tutf8", "-O", "width=200", PAGE]))
        self.text = re.sub(r"[\s|,]+", " ", text)

    def test_every_subcommand_is_in_it(self):
        self.assertGreater(len(self.commands), 10)
        for words, _ in self.commands:
            group, *names = ("elemta", *words)[-2:]
            with self.subTest(" ".join(words)):
                # "queue retry | hold" names "queue hold".
                named = rf"\b{group}(?: [a-z]+){{0,3}}? {' '.join(names)}\b" if names else group
                self.assertTrue(re.search(named, self.text))

    def test_every_option_is_in_it_and_no_other(self):
        known = {option for _, options in self.commands for option in options}
        self.assertIn("--config", known)
        self.assertLessEqual(known, set(re.findall(r"(?<![\w-])--?[\w-]+", self.text)))
        self.assertLessEqual(set(re.findall(r"(?<![\w-])--[\w-]+", self.text)), known)

    def test_each_synopsis_has_the_options_of_its_help(self):
        """Also which of the queue's subcommands take ids, and which a selection."""
        synopsis = re.search(r"^\.Sh SYNOPSIS\n(.*?)^\.Sh", PAGE.read_text(), re.MULTILINE | re.DOTALL)[1]
        told = {}
        for block in re.split(r"^\.Nm\n", synopsis, flags=re.MULTILINE)[1:]:
            named = re.search(r"^\.(?:Op )?Cm (.*)", block)[1].split(" | ")
            *group, first = named[0].split()
            options = {f"--{name}" for name in re.findall(r"Fl Fl ([\w-]+)", block)}
            selects = "Ar selection" in block
            self.assertEqual(selects, "Ar id ..." in block, named)
            if selects:
                options |= {"--domain", "--sender", "--state", "--all"}
            for name in (first, *named[1:]):
                told[*group, name] = options
        everywhere = {"--config", "--help", "--version"}
        for words, options in self.commands:
            # Sendmail's and the help's words are of another kind; groups have no options of their own.
            if words and words[0] not in {"sendmail", "help"} and words not in {("queue",), ("user",)}:
                with self.subTest(" ".join(words)):
                    long = {option for option in options if option.startswith("--")}
                    self.assertEqual(told[words], long - everywhere)

    def test_it_says_what_the_help_says_of_asking_and_of_modes(self):
        for words, common in (
            (["explain"], "a directory or the next hop knows who exists it is asked for the recipient as at RCPT"),
            (["user", "add"], "0640 and of the group of the configuration's user when root runs this"),
            (["status"], "77 when this user may not ask"),
        ):
            with self.subTest(words):
                said = re.sub(r"[\s|,]+", " ", run_elemta("help", *words))
                self.assertIn(common, said)
                self.assertIn(common, self.text.replace("’", "'"))

    def test_its_markup_is_right(self):
        self.assertEqual(run([MANDOC, "-Tlint", "-W", "warning", PAGE]), "")
        if shutil.which("man"):
            warnings = subprocess.run(
                ["man", "--warnings", "-l", PAGE], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True
            )
            self.assertEqual(warnings.stderr.decode(), "")


class Installed(Case):
    def install(self, root, *variables):
        return run(["make", "--no-print-directory", "install", f"release={BINARY}", f"DESTDIR={root}", *variables],
                   directory=ROOT)

    def test_everything_is_at_its_place(self):
        root = self.directory()
        subprocess.run([ROOT / "scripts/certificate", root / "certs"], check=True, stdout=subprocess.DEVNULL)
        self.install(root, f"CERTIFICATE={root}/certs/cert.pem", f"KEY={root}/certs/key.pem")
        self.assertEqual(run([root / "usr/local/bin/elemta", "version"]), run_elemta("version"))
        self.assertTrue((root / "usr/local/share/man/man1/elemta.1").is_file())
        unit = (root / "usr/local/lib/systemd/system/elemta.service").read_text()
        self.assertIn("\nExecStart=/usr/local/bin/elemta server --config /etc/elemta/elemta.yaml\n", unit)
        self.assertTrue((root / "usr/local/lib/systemd/system/elemta.socket").is_file())
        self.assert_links_lead_somewhere(root / "usr/local/share/doc/elemta")

        configuration = root / "etc/elemta/elemta.yaml"
        lines = configuration.read_text().splitlines()
        for line in ("user: elemta", "queue_dir: /var/lib/elemta/queue", "  file: /var/log/elemta/elemta.log"):
            self.assertIn(line, lines)
        # This machine has no user elemta.
        said = run_elemta("check", "--config", configuration, variables={"ELEMTA_USER": ""})
        self.assertIn("/var/lib/elemta/queue", said)

    def assert_links_lead_somewhere(self, folder):
        count = 0
        for document in folder.rglob("*.md"):
            for target in re.findall(r"\]\(([^)#\s]+\.md)", document.read_text()):
                # Whoever changes the program has its sources.
                if "://" in target or target in ("CHANGELOG.md", "CONTRIBUTING.md") or "/Sources/" in target:
                    continue
                with self.subTest(f"{document.name} -> {target}"):
                    self.assertTrue((document.parent / target).is_file())
                    count += 1
        self.assertGreater(count, 10)

    def test_a_configuration_that_is_there_stays(self):
        root = self.directory()
        configuration = root / "etc/elemta/elemta.yaml"
        configuration.parent.mkdir(parents=True)
        configuration.write_text("hostname: mine.example.com\n")
        self.assertIn("stays as it is", self.install(root))
        self.assertEqual(configuration.read_text(), "hostname: mine.example.com\n")
        run(["make", "uninstall", f"DESTDIR={root}"], directory=ROOT)
        left = {path.relative_to(root) for path in root.rglob("*") if path.is_file()}
        self.assertEqual(left, {pathlib.Path("etc/elemta/elemta.yaml")})

    def test_the_shells_complete_the_command_line(self):
        root = self.directory()
        self.install(root)
        share = root / "usr/local/share"
        script = share / "bash-completion/completions/elemta"
        completed = run(["bash", "-c", f"""
            source {script}
            COMP_LINE='elemta queue rel' COMP_POINT=16 COMP_WORDS=(elemta queue rel) COMP_CWORD=2
            $(complete -p elemta | sed 's/.*-F \\([^ ]*\\).*/\\1/') elemta rel queue
            echo "${{COMPREPLY[@]}}" """])
        self.assertEqual(completed.split(), ["release"])
        self.assertTrue((share / "zsh/site-functions/_elemta").read_text().startswith("#compdef elemta\n"))
        self.assertIn("complete -c 'elemta'", (share / "fish/vendor_completions.d/elemta.fish").read_text())


@unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze isn't installed")
class Units(Case):
    def setUp(self):
        super().setUp()
        self.folder = self.directory()
        for name in ("elemta.service", "elemta.socket"):
            text = (ROOT / "config" / name).read_text()
            (self.folder / name).write_text(text.replace("/usr/bin/elemta ", f"{BINARY} "))

    def test_systemd_understands_them(self):
        for name in ("elemta.service", "elemta.socket"):
            with self.subTest(name):
                self.assertEqual(self.verify(name), (0, ""))

    def test_what_systemd_does_not_understand_is_found_out(self):
        unit = self.folder / "elemta.service"
        unit.write_text(unit.read_text().replace("\nProtectSystem=strict\n", "\nProtectSystems=strict\n"))
        self.assertIn("'ProtectSystems'", self.verify("elemta.service")[1])

    def verify(self, name):
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", self.folder / name],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )
        return done.returncode, done.stdout.decode()

    def test_the_service_is_confined(self):
        run(["systemd-analyze", "security", "--offline=yes", "--threshold=25", self.folder / "elemta.service"])

    def test_the_socket_and_the_configuration_agree(self):
        port = re.search(r"^ListenStream=(.*)$", (self.folder / "elemta.socket").read_text(), re.MULTILINE)[1]
        self.assertIn(f'\nlisten_addr: ":{port}"\n', run([ROOT / "packaging/configuration", "cert.pem", "key.pem"]))


@unittest.skipUnless(shutil.which("dpkg-deb"), "dpkg-deb isn't installed")
@unittest.skipUnless(IS_STATIC, "the binary isn't one of `make build`: it takes Swift's library from the toolchain")
class Package(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.built = pathlib.Path(run([ROOT / "packaging/deb", BINARY], directory=ROOT, seconds=300).splitlines()[-1])
        cls.built = ROOT / cls.built

    def field(self, name):
        return run(["dpkg-deb", "--field", self.built, name]).strip()

    def test_lintian_has_nothing_to_say(self):
        self.assertEqual(run([ROOT / "packaging/lintian", self.built]), "")

    def test_what_is_in_it_runs(self):
        root = self.directory()
        run(["dpkg-deb", "--extract", self.built, root])
        self.assertEqual(run([root / "usr/bin/elemta", "version"]), run_elemta("version"))
        unit = (root / "lib/systemd/system/elemta.service").read_text()
        program, configuration = re.search(r"^ExecStart=(\S+) server --config (\S+)$", unit, re.MULTILINE).groups()
        self.assertTrue(os.access(root / program[1:], os.X_OK))
        self.assertTrue((root / configuration[1:]).is_file())
        # Nothing but configuration is where an administrator changes it.
        control = self.directory()
        run(["dpkg-deb", "--control", self.built, control])
        ours = {f"/{path.relative_to(root)}" for path in (root / "etc").rglob("*") if path.is_file()}
        self.assertEqual(ours, set((control / "conffiles").read_text().split()))

    def test_it_depends_on_the_libraries_and_not_on_swift(self):
        depends = self.field("Depends")
        for package in ("libc6", "libevent-core", "liblmdb0", "libssl3", "libunbound8", "adduser"):
            self.assertIn(package, depends)
        self.assertNotIn("swift", depends)
        self.assertEqual(f"elemta {self.field('Version').rsplit('-', 1)[0]}", run_elemta("version").strip())
