"""Certificates for tests, made by openssl."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """PEM files of a certificate that is signed with itself, and of its key."""

    path: Path
    key: Path

    @classmethod
    def make(cls, folder: Path, name: str, *subjects: str) -> "Certificate":
        """One for subjects like DNS:localhost and IP:127.0.0.1."""
        made = cls(folder / f"{name}.pem", folder / f"{name}.key")
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-days", "2", "-nodes", "-subj", f"/CN={name}"),
                *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
                *("-keyout", str(made.key), "-out", str(made.path)),
                *("-addext", f"subjectAltName={','.join(subjects)}"),
            ],
            check=True,
            capture_output=True,
        )
        return made
