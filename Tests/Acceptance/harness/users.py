"""Users files, password hashes, and what a client says to log in."""

import base64
import ctypes
import hashlib
import json
import os

_crypt = ctypes.CDLL("libcrypt.so.1").crypt
_crypt.restype = ctypes.c_char_p

# By what a users file calls them. The digests end with their salt.
DIGESTS = {"SHA": "sha1", "SHA256": "sha256", "SHA512": "sha512"}


def crypt(password, setting):
    """crypt(3) by libxcrypt; the setting says how: `$6$salt`, `$2b$05$` and 22 characters..."""
    hashed = _crypt(password.encode(), setting.encode())
    if hashed is None or hashed.startswith(b"*"):
        raise AssertionError(f"libxcrypt knows no {setting}")
    return hashed.decode()


def bcrypt(password, cost=4):
    return crypt(password, f"$2b${cost:02}$abcdefghijklmnopqrstuu")


def sha512crypt(password):
    return crypt(password, "$6$" + os.urandom(6).hex())


def yescrypt(password):
    return crypt(password, "$y$j9T$" + os.urandom(8).hex())


def digest(password, scheme):
    """`{SHA256}...` or, for a scheme that begins with S twice, `{SSHA256}...`."""
    salt = os.urandom(8) if scheme.startswith("SS") else b""
    name = DIGESTS[scheme[1:] if salt else scheme]
    octets = hashlib.new(name, password.encode() + salt).digest() + salt
    return f"{{{scheme}}}{base64.b64encode(octets).decode()}"


def user_list(users):
    """The list form. `users` maps names to a hash or to a pair of hash and allowed senders."""
    entries = []
    for name, value in users.items():
        password, senders = value if isinstance(value, tuple) else (value, None)
        entry = {"username": name, "password": password}
        entries.append(entry | ({"allowed_senders": senders} if senders is not None else {}))
    return json.dumps({"users": entries}, indent=2)


def encoded(text):
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def plain(user, password, acting_for=""):
    """The message of PLAIN, in base 64 (RFC 4616)."""
    return encoded(f"{acting_for}\0{user}\0{password}")


def auth_plain(user, password, acting_for=""):
    """The whole command."""
    return f"AUTH PLAIN {plain(user, password, acting_for)}"
