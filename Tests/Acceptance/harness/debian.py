"""A Debian of its own: a folder that debootstrap has filled, entered by chroot.

Programs inside see /proc, without which a Swift program doesn't know its arguments: mounted in a name
space that ends with them, so that nothing is ever mounted in the folder as others see it.
"""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from .server import ROOT, environment
from .waiting import PATIENCE

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
# What debootstrap has made, kept for the next time; `make clean` forgets it.
KEPT = ROOT / ".build-tools/debootstrap"
# A Debian's paths, whatever PATH is here.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def mounts_below(folder):
    """What is mounted at or below a folder."""
    points = (line.split()[1] for line in pathlib.Path("/proc/mounts").read_text().splitlines())
    real = os.path.realpath(folder)
    return [point for point in points if point == real or point.startswith(f"{real}/")]


def remove(folder):
    """Deletes a folder, unless anything is mounted there: that is somebody else's."""
    if mounted := mounts_below(folder):
        raise AssertionError(f"{folder} stays: mounted there are {mounted}")
    subprocess.run(["rm", "-rf", "--one-file-system", folder], check=True)


def needs_root_and(*programs):
    """Skips the test, and says why, where it can't run."""
    if os.geteuid() != 0:
        raise unittest.SkipTest("not root: a Debian of its own takes chroot and mknod")
    for program in programs:
        if not shutil.which(program):
            raise unittest.SkipTest(f"{program} isn't installed")


def base():
    """The smallest Debian as a tar archive."""
    archive = KEPT / f"{SUITE}-minbase.tar"
    if archive.is_file():
        return archive
    needs_root_and("debootstrap", "unshare")
    (KEPT / "packages").mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="elemta-debootstrap-"))
    try:
        # debootstrap mounts /proc and /sys while it works: in a name space that ends with it.
        made = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "debootstrap", "--variant=minbase",
             f"--cache-dir={KEPT / 'packages'}", SUITE, folder / "root", MIRROR],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900 * PATIENCE, check=False,
        )
        if made.returncode != 0:
            said = made.stdout.decode(errors="backslashreplace").strip().splitlines()[-1:]
            raise unittest.SkipTest(f"debootstrap has made no Debian (no network?): {said}")
        # What was downloaded is no part of it.
        for name in ("var/cache/apt/archives", "var/lib/apt/lists"):
            remove(folder / "root" / name)
            (folder / "root" / name / "partial").mkdir(parents=True)
        new = archive.with_suffix(".new")
        subprocess.run(["tar", "--numeric-owner", "--xattrs", "-C", folder / "root", "-cf", new, "."], check=True)
        new.rename(archive)
    finally:
        remove(folder)
    return archive


class Debian:
    """One in `root`; `remove` takes it away."""

    def __init__(self):
        archive = base()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="elemta-debian-"))
        self.root = self.folder / "root"
        self.root.mkdir(mode=0o755)
        subprocess.run(["tar", "--numeric-owner", "--xattrs", "-C", self.root, "-xpf", archive], check=True)
        # As they are where this runs now, not where the archive was made.
        for name in ("resolv.conf", "hosts"):
            shutil.copyfile(f"/etc/{name}", self.root / "etc" / name)

    def path(self, name):
        """Where a path inside is seen from outside."""
        return self.root / name.lstrip("/")

    def command(self, *words):
        entry = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", entry, str(self.root), *map(str, words)]

    @property
    def variables(self):
        kept = {name: value for name, value in environment().items() if name.endswith("_proxy")}
        return kept | {"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}

    def run(self, *words, status=0, seconds=120):
        """Runs a program inside to its end; what it prints, both streams together."""
        finished = subprocess.run(
            self.command(*words), env=self.variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=seconds * PATIENCE, check=False,
        )
        said = finished.stdout.decode(errors="backslashreplace")
        if finished.returncode != status:
            raise AssertionError(f"{words}: exit status {finished.returncode}, not {status}:\n{said}")
        return said

    def install(self, *packages):
        self.run("apt-get", "install", "--yes", "--no-install-recommends", *packages)

    def remove(self):
        remove(self.folder)
