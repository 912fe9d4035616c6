"""The documents, held to the program: their commands run, their configuration is right, and what they name is there."""

import re
import shlex
import shutil
import subprocess
import unittest

from harness.case import Case, WithCertificates, with_tls
from harness.server import ROOT, merged, run_elemta, yaml
from harness.waiting import until

DOCUMENTS = sorted(
    [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "perf/README.md")]
    + [ROOT / "Tests/Acceptance/README.md", *(ROOT / "docs").glob("*.md")]
)
# Words of other programs.
FOREIGN = {"stop_grace_period"}
# `elemta`, as somebody types it: behind a prompt, sudo, or a program that writes to it.
COMMAND = re.compile(r"^(?:\$ )?(?:[^#|]*\| )?(?:sudo )?elemta\b(.*)")
MESSAGE_ID = re.compile(r"^1h[0-9a-z]{11}$")
SHELL = {"", "sh", "shell", "console"}


def blocks(document, languages):
    """(number of the first line, lines) of each fenced block in one of these languages."""
    found, language, first = [], None, 0
    for number, line in enumerate(document.read_text().splitlines(), 1):
        if not line.startswith("```"):
            if language is not None:
                found[-1][1].append(line)
        elif language is None:
            language, first = line[3:].strip(), number + 1
            found.append((first, [], language))
        else:
            language = None
    return [(first, lines) for first, lines, language in found if language in languages]


def place(document, number):
    return f"{document.relative_to(ROOT)}:{number}"


def prose(document):
    """The document without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.M | re.S)


def code_spans(document):
    return re.findall(r"`([^`\n]+)`", prose(document))


def anchors(document):
    """As GitHub names them."""
    headings = re.findall(r"^#+ (.*)$", prose(document), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def documented_keys():
    return set(re.findall(r"^### `(.*)`$", (ROOT / "docs/configuration.md").read_text(), re.M))


def text_of(folder, suffixes):
    files = (file for file in (ROOT / folder).rglob("*") if file.suffix in suffixes)
    return "\n".join(file.read_text() for file in files)


class Commands(WithCertificates, Case):
    def setUp(self):
        super().setUp()
        self.folder = self.directory()
        shutil.copytree(ROOT / "config", self.folder / "config", ignore=shutil.ignore_patterns("certs"))
        subprocess.run(
            [ROOT / "scripts/certificate", self.folder / "config/certs"], check=True, stdout=subprocess.DEVNULL
        )
        settings = {
            "auth": {"enabled": True, "file_path": str(self.folder / "users.json")},
            "delivery": {"routes": [{"domain": "*", "deliver": "lmtp+unix:///nobody/listens/here"}]},
            **with_tls(self.pair),
        }
        (self.folder / "users.json").write_text('{"users": []}')
        (self.folder / "users.json").chmod(0o600)
        self.running = self.server(settings)
        self.stopped = self.server(merged(settings, {"queue_dir": "other"}))
        self.stopped.stop()
        # As whoever types commands has it: with the port that clients come to.
        self.file = self.running.directory / "typed.yaml"
        self.file.write_text(yaml({**self.running.configuration, "listen_addr": f"127.0.0.1:{self.running.port}"}))

    def queued(self):
        """The id of a message that waits; one is sent where there is none."""
        def first():
            said = run_elemta("queue", "list", "--config", self.file, directory=self.running.directory)
            return next((line.split()[0] for line in said.splitlines() if MESSAGE_ID.match(line.split()[0])), None)

        if not first():
            self.perform(["sendmail", "-f", "alice@example.net", "bob@example.com"])
        return until(first, "a message that waits", 20)

    def perform(self, words):
        """Runs the command where it can do what it says; it must end with status 0."""
        if not words or words[0] == "server":
            # Not started: its options must be some, and what it would be started with must be right.
            known = run_elemta("server", "--help")
            for option in (word for word in words if word.startswith("-")):
                self.assertRegex(known, rf"(?<![\w-]){option}(?![\w-])")
            words = ["check"] + (["--config", words[words.index("--config") + 1]] if "--config" in words else [])
        if words[:2] == ["queue", "compact"]:
            directory, file = self.stopped.directory, self.stopped.file
        else:
            directory, file = self.running.directory, self.file
        if "--config" in words:
            at = words.index("--config")
            if words[0] == "check" and (self.folder / words[at + 1]).exists():
                directory = self.folder
            else:
                words = words[:at] + words[at + 2:]
        run_elemta(
            *words, directory=directory, input=b"Subject: hello\n\nhello\n",
            variables={"ELEMTA_CONFIG": str(file)},
        )

    def test_every_command_of_the_documents_runs(self):
        count = 0
        for document in DOCUMENTS:
            for number, lines in blocks(document, SHELL):
                for offset, line in enumerate(lines):
                    found = COMMAND.match(line)
                    if not found:
                        continue
                    words = shlex.split(re.sub(r"\s[>&].*", "", found[1]), comments=True)
                    with self.subTest(f"{place(document, number + offset)}: elemta {' '.join(words)}"):
                        if words[:1] == ["queue"]:
                            waiting = self.queued()
                            words = [waiting if word == "ID" or MESSAGE_ID.match(word) else word for word in words]
                        self.perform(words)
                        count += 1
        self.assertGreater(count, 20, "the documents have more commands than were found")

    def test_a_command_that_is_none_is_found_out(self):
        for words in (["queue", "lost"], ["check", "--bogus"], ["server", "--bogus"], ["explain", "--from", "<>"]):
            with self.subTest(words), self.assertRaises(AssertionError):
                self.perform(words)


class Reference(unittest.TestCase):
    def test_it_says_what_nothing_means_where_that_is_allowed(self):
        sections = re.split(r"^### ", (ROOT / "docs/configuration.md").read_text(), flags=re.MULTILINE)[1:]
        count = 0
        for section in sections:
            key, allowed, *text = section.split("\n\n")
            words = " ".join(text)
            for form, said in (
                (r"number from 0 ", r"\b0( is\b|:|\))"), (r'or ""', r"\b[Ee]mpty\b|\b[Ww]ithout\b|`\"\"`"),
            ):
                if re.search(form, " ".join(allowed.split())):
                    count += 1
                    with self.subTest(key):
                        self.assertRegex(words, said)
        self.assertGreater(count, 20)


class Configurations(WithCertificates, Case):
    def setUp(self):
        super().setUp()
        self.folder = self.directory()
        certificates = self.folder / "elemta/certs"
        certificates.mkdir(parents=True)
        for name, file in (("cert.pem", self.pair.cert_file), ("key.pem", self.pair.key_file)):
            shutil.copy(file, certificates / name)
        for name, content in (
            ("users.json", '{"users": []}'), ("relay-password", "open sesame\n"), ("addresses.txt", self.addresses())
        ):
            file = self.folder / "elemta" / name
            file.write_text(content)
            file.chmod(0o600)

    def addresses(self):
        """The sample of an address file that the guide has."""
        sample = [lines for _, lines in blocks(ROOT / "docs/guide.md", {""}) if lines[0].startswith("# addresses.txt")]
        self.assertEqual(len(sample), 1)
        return "\n".join(sample[0]) + "\n"

    def check(self, lines, suffix):
        file = self.folder / f"block.{suffix}"
        file.write_text("\n".join(lines).replace("/etc/elemta/", f"{self.folder}/elemta/") + "\n")
        return run_elemta("check", "--config", file, directory=self.folder)

    def test_every_block_of_the_documents_is_right(self):
        sections = {re.split(r"[.\[]", key)[0] for key in documented_keys()}
        count = 0
        for document in DOCUMENTS:
            for suffix in "yaml", "toml":
                for number, lines in blocks(document, {suffix}):
                    names = {found[1] for line in lines if (found := re.match(r"\[*(\w+)", line))}
                    # Other programs have YAML, too.
                    if not names & sections:
                        continue
                    with self.subTest(place(document, number)):
                        self.check(lines, suffix)
                        count += 1
        self.assertGreater(count, 5, "the documents have more configuration than was found")

    def test_the_demonstration_of_the_readme_is_right(self):
        demonstrations = [
            lines[begin + 1:lines.index("END")]
            for _, lines in blocks(ROOT / "README.md", {""})
            for begin, line in enumerate(lines) if "<<'END'" in line
        ]
        self.assertEqual(len(demonstrations), 1)
        self.assertIn("example.com -> smtp://127.0.0.1:2600", self.check(demonstrations[0], "yaml"))

    def test_a_key_that_is_none_is_found_out(self):
        with self.assertRaises(AssertionError):
            self.check(["local_domain: [example.com]"], "yaml")


class Names(unittest.TestCase):
    """What the documents speak of is there."""

    def setUp(self):
        self.evidence = []

    def log_tails(self):
        return ""

    def test_links_lead_somewhere(self):
        for document in DOCUMENTS:
            for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
                if "://" in target:
                    continue
                with self.subTest(f"{place(document, 0)} -> {target}"):
                    path, _, anchor = target.partition("#")
                    file = document.parent / path if path else document
                    self.assertTrue(file.exists(), "no such file")
                    if anchor:
                        self.assertIn(anchor, anchors(file))

    def test_the_readme_leads_to_every_document(self):
        linked = set(re.findall(r"\]\(docs/([^)#\s]+)", (ROOT / "README.md").read_text()))
        self.assertEqual(linked, {document.name for document in (ROOT / "docs").glob("*.md")})

    def test_files_are_there(self):
        for document in DOCUMENTS:
            for name in code_spans(document):
                if not re.match(r"(?:Sources|Tests|docs|config|perf|scripts|\.ci)/", name):
                    continue
                # Made at the first start.
                if name.startswith("config/certs"):
                    continue
                with self.subTest(f"{place(document, 0)}: {name}"):
                    self.assertTrue(list(ROOT.glob(name.split()[0].rstrip("/"))), "no such file")

    def test_tests_are_there(self):
        declared = set(re.findall(r"\b(?:struct|class|enum) (\w+Tests)\b", text_of("Tests", {".swift"})))
        for document in (ROOT / "docs").glob("*.md"):
            for name in code_spans(document):
                with self.subTest(f"{document.name}: {name}"):
                    if found := re.fullmatch(r"(test_\w+)\.([A-Z]\w+)", name):
                        file = ROOT / f"Tests/Acceptance/{found[1]}.py"
                        self.assertIn(found[2], re.findall(r"(?m)^class (\w+)", file.read_text()))
                    elif re.fullmatch(r"[A-Z]\w+Tests", name):
                        self.assertIn(name, declared)

    def test_keys_and_events_are_there(self):
        """`section.key` is a key, and `a_word_like_this` occurs in the sources."""
        keys = documented_keys()
        sections = {key.split(".")[0] for key in keys if "." in key and "[" not in key.split(".")[0]}
        known = set(re.findall(r"\w+", text_of("Sources", {".swift", ".md"}))) | FOREIGN
        for document in (ROOT / "README.md", ROOT / "docs/guide.md", ROOT / "docs/operations.md",
                         ROOT / "docs/upgrading.md", ROOT / "docs/security.md", ROOT / "docs/flow.md", ROOT / "docs/configuration.md"):
            for name in code_spans(document):
                word = re.split(r"[:= ]", name)[0]
                with self.subTest(f"{place(document, 0)}: {name}"):
                    if re.fullmatch(r"[a-z]+(?:\.[a-z_\[\]]+)+", word) and word.split(".")[0] in sections:
                        self.assertTrue(any(key == word or key.startswith(f"{word}.") for key in keys), "no such key")
                    elif re.fullmatch(r"[a-z]+(?:_[a-z]+)+", word) and not word.startswith("test_"):
                        self.assertTrue(word in known, "no such word in the sources")

    def test_figures_of_sizing_are_those_of_the_readme(self):
        """Whoever measures anew and changes the one is told of the other."""
        def section(document, heading):
            return re.search(rf"^## {heading}$(.*?)(?=^## )", prose(document) + "\n## ", re.M | re.S)[1]

        figures = set(re.findall(r"[\d,.]*\d", section(ROOT / "README.md", "Figures")))
        rows = [line.split("|") for line in section(ROOT / "docs/operations.md", "Sizing").splitlines() if line.startswith("| ")]
        used = [number for row in rows for cell in row for number in re.findall(r"[\d,.]*\d", cell)]
        self.assertGreater(len(used), 5)
        for number in used:
            with self.subTest(number):
                self.assertIn(number, figures)

    def test_targets_of_make_are_there(self):
        rules = "\n".join(file.read_text() for file in [ROOT / "Makefile", *ROOT.glob("*/*.mk")])
        targets = set(re.findall(r"^([a-z-]+):", rules, re.M))
        for document in DOCUMENTS:
            typed = [line for _, lines in blocks(document, SHELL) for line in lines] + code_spans(document)
            for line in typed:
                if found := re.match(r"make ([a-z-]+)", line):
                    with self.subTest(f"{place(document, 0)}: {line}"):
                        self.assertIn(found[1], targets)

    def test_threads_are_there(self):
        named = set(re.findall(r'"(elemta-[a-z]+)["\\-]', text_of("Sources", {".swift"})))
        documented = re.findall(r"^\| .*", (ROOT / "docs/flow.md").read_text(), re.M)
        threads = {name for line in documented for name in re.findall(r"`(elemta-[a-z]+)(?:-N)?`", line.split("|")[1])}
        self.assertGreater(len(threads), 5)
        self.assertLessEqual(threads, named)
