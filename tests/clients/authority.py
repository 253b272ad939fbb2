"""A certificate authority of a test's own, and what each client must be told to trust it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import trustme

# Indexes have the addresses 127.1.0.1, 127.1.0.2 and so on; no test makes more than these.
_INDEXES_MAX = 200


@dataclass(frozen=True, slots=True)
class Authority:
    """The PEM files of an authority and of a server's certificate for the addresses of this machine."""

    certificate: Path
    server_chain: Path
    server_key: Path

    @classmethod
    def make(cls, folder: Path) -> Self:
        """Makes both."""
        authority = trustme.CA()
        names = ["localhost", "127.0.0.1"]
        names += [f"127.1.{number >> 8}.{number & 255}" for number in range(1, _INDEXES_MAX + 1)]
        issued = authority.issue_cert(*names)
        made = cls(folder / "authority.pem", folder / "server.pem", folder / "server.key")
        authority.cert_pem.write_to_path(str(made.certificate))
        issued.private_key_pem.write_to_path(str(made.server_key))
        for blob in issued.cert_chain_pems:
            blob.write_to_path(str(made.server_chain), append=True)
        return made

    @property
    def settings(self) -> list[str]:
        """The arguments of `torpor serve`."""
        return [
            "--tls-certificate",
            str(self.server_chain),
            "--tls-key",
            str(self.server_key),
        ]

    @property
    def variables(self) -> dict[str, str]:
        """What makes every client that looks at its environment trust the server."""
        path = str(self.certificate)
        # Version 9 and later, and Node; versions 7 and 8 are given the file as an argument.
        return {"SSL_CERT_FILE": path, "NODE_EXTRA_CA_CERTS": path, "AUTHORITY": path}
