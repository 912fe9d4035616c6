"""Certificates made by the openssl command, each authority in a folder of its own."""

import pathlib
import ssl

from .tools import run

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Pair:
    """A certificate and its key, two PEM files."""

    def __init__(self, cert_file, key_file):
        self.cert_file = pathlib.Path(cert_file)
        self.key_file = pathlib.Path(key_file)

    @property
    def settings(self):
        """As the configuration names them."""
        return {"cert_file": str(self.cert_file), "key_file": str(self.key_file)}

    @property
    def der(self):
        """The certificate as a peer shows it."""
        return ssl.PEM_cert_to_DER_cert(self.cert_file.read_text())

    @property
    def server_context(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert_file, self.key_file)
        return context

    def replace_with(self, other):
        """The files get the other pair's content, the way a program that renews them does it."""
        for ours, theirs in ((self.cert_file, other.cert_file), (self.key_file, other.key_file)):
            replace(ours, theirs.read_bytes())


class Authority:
    """Signs certificates. `file` is what clients trust."""

    def __init__(self, folder, name="Elemta's tests"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / "authority.pem"
        self.key_file = self.folder / "authority-key.pem"
        run(
            ["openssl", "req", "-x509", *NEW_KEY, "-batch", "-days", 2, "-subj", f"/CN={name}",
             "-addext", "keyUsage=critical,keyCertSign", "-keyout", self.key_file, "-out", self.file]
        )

    def pair(self, stem="server", names=("mail.example.com", "localhost"),
             addresses=("127.0.0.1", "::1"), expired=False):
        """A certificate for these names and addresses in `STEM.pem`, its key in `STEM-key.pem`."""
        pair = Pair(self.folder / f"{stem}.pem", self.folder / f"{stem}-key.pem")
        alternatives = [f"DNS:{name}" for name in names] + [f"IP:{address}" for address in addresses]
        request = self.folder / f"{stem}.csr"
        run(
            ["openssl", "req", "-new", *NEW_KEY, "-batch", "-subj", f"/CN={names[0]}",
             "-addext", f"subjectAltName={','.join(alternatives)}",
             "-addext", "extendedKeyUsage=serverAuth,clientAuth",
             "-keyout", pair.key_file, "-out", request]
        )
        run(
            ["openssl", "x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self.key_file,
             "-copy_extensions", "copyall", "-days", -1 if expired else 2, "-out", pair.cert_file]
        )
        return pair

    def client_context(self, minimum=None, maximum=None, ciphers=None):
        """A client that trusts this authority alone and checks the server's name."""
        context = trusting(self.file)
        if minimum is not None:
            context.minimum_version = minimum
        if maximum is not None:
            context.maximum_version = maximum
        if ciphers is not None:
            context.set_ciphers(ciphers)
        return context


def trusting(file):
    """A client that trusts the authorities in the file alone and checks the server's name."""
    return ssl.create_default_context(cafile=file)


def replace(path, octets):
    """The file is the old one or the new one, never half of it."""
    path = pathlib.Path(path)
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_bytes(octets)
    temporary.replace(path)
