"""Debian's buildah with a storage of its own: images are built and run without a daemon, by chroot."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from .debian import base, mounts_below, needs_root_and, remove
from .server import ROOT, environment
from .waiting import PATIENCE

PROGRAM = shutil.which("buildah") or str(ROOT / ".build-tools/buildah/usr/bin/buildah")


class Buildah:
    """`close` gives back what is mounted, and the disk."""

    def __init__(self):
        needs_root_and(PROGRAM)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="elemta-buildah-"))
        self.policy = self.folder / "policy.json"
        self.policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
        # Nothing is looked for in a registry: bases have to be here.
        (self.folder / "registries.conf").write_text("")
        (self.folder / "storage.conf").write_text(
            f'[storage]\ndriver = "vfs"\nrunroot = "{self.folder}/run"\ngraphroot = "{self.folder}/storage"\n'
        )

    @property
    def variables(self):
        return environment({
            "CONTAINERS_REGISTRIES_CONF": str(self.folder / "registries.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "TMPDIR": str(self.folder),
            "BUILDAH_ISOLATION": "chroot",
        })

    def command(self, *words):
        return [PROGRAM, "--root", str(self.folder / "storage"), "--runroot", str(self.folder / "run"),
                "--storage-driver", "vfs", *map(str, words)]

    def run(self, *words, seconds=300):
        finished = subprocess.run(
            self.command(*words), env=self.variables, cwd=ROOT, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=seconds * PATIENCE, check=False,
        )
        if finished.returncode != 0:
            said = (finished.stdout + finished.stderr).decode(errors="backslashreplace")
            raise AssertionError(f"buildah {words[0]}: exit status {finished.returncode}:\n{said[-6000:]}")
        return finished.stdout.decode(errors="backslashreplace").strip()

    def container(self, image):
        return self.run("from", "--signature-policy", self.policy, "--pull-never", image)

    def commit(self, container, image):
        self.run("commit", "--disable-compression", "--signature-policy", self.policy, "--rm", container, image, seconds=900)


    def import_debian(self, name):
        """debootstrap's smallest Debian under the name of the image that the Dockerfile begins with."""
        container = self.run("from", "scratch")
        self.run("add", container, base(), "/")
        self.commit(container, name)

    def import_swift(self, name, debian):
        """The same with this machine's Swift, and with where its SwiftPM gets packages from."""
        # Beside usr it may hold libraries of its own.
        toolchain = pathlib.Path(os.path.realpath(shutil.which("swift"))).parents[2]
        container = self.container(debian)
        archive = self.folder / "swift.tar"
        # What compiles and links; not the debugger, the language server, other platforms.
        left_out = ("lldb*", "liblldb*", "sourcekit*", "libsourcekit*", "docc*", "wasm*", "embedded", "swift-format",
                    "libIndexStore*", "libSwiftSourceKit*", "sourcekitd*")
        subprocess.run(["tar", "-C", "/", *(f"--exclude={pattern}" for pattern in left_out), "-cf", archive,
                        str(toolchain).lstrip("/")], check=True)
        self.run("add", container, archive, "/", seconds=900)
        archive.unlink()
        # What the image of swift.org has beside the toolchain.
        packages = "binutils libc6-dev libcurl4 libedit2 libgcc-12-dev libncurses6 libsqlite3-0 libstdc++-12-dev libxml2 zlib1g-dev"
        self.run("run", container, "--", "sh", "-c", "apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get"
                 f" -qq install --yes --no-install-recommends ca-certificates git {packages} >/dev/null", seconds=900)
        for mirror in package_mirrors():
            self.run("add", container, mirror, mirror)
        self.run("config", "--env", f"PATH={toolchain}/usr/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", container)
        self.commit(container, name)

    def close(self):
        for verb in (["rm", "--all"], ["rmi", "--all", "--force"]):
            subprocess.run(self.command(*verb), env=self.variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           timeout=300 * PATIENCE, check=False)
        if mounted := mounts_below(self.folder):
            raise AssertionError(f"{self.folder} stays: mounted there are {mounted}")
        remove(self.folder)


def package_mirrors():
    """Git's configuration of this machine, and the folders that it names instead of github.com."""
    said = subprocess.run(["git", "config", "--system", "--get-regexp", r"^url\..*\.insteadof$"],
                          stdout=subprocess.PIPE, check=False).stdout.decode()
    folders = {line.split(" ")[0].removeprefix("url.").removesuffix(".insteadof").rstrip("/") for line in said.splitlines()}
    found = sorted(folder for folder in folders if folder.startswith("/") and os.path.isdir(folder))
    return [*found, "/etc/gitconfig"] if found else []


def without_buildah():
    """Why no image can be built here; empty when one can."""
    if os.geteuid() != 0:
        return "not root: buildah's chroot isolation takes mount and chroot"
    if not pathlib.Path(PROGRAM).is_file():
        return "buildah is neither installed nor unpacked: scripts/dependencies image"
    tried = subprocess.run([PROGRAM, "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if tried.returncode != 0:
        return f"buildah doesn't run: {tried.stdout.decode(errors='backslashreplace').strip()}"
    return ""


def require():
    if reason := without_buildah():
        raise unittest.SkipTest(reason)
