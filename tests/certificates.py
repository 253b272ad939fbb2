"""An authority of a test's own, and certificates that it signs; made with the openssl command."""

import shutil
import subprocess
from pathlib import Path

import pytest

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


class Authority:
    """Signs certificates; skips the test where there is no openssl."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not installed")
        folder.mkdir()
        self._folder = folder
        self.certificate = folder / "authority.pem"
        self._key = folder / "authority.key"
        name = ["-subj", "/CN=test authority", "-days", "2", "-x509"]
        self._openssl("req", *_KEY, *name, "-keyout", self._key, "-out", self.certificate)

    def sign(self, name: str, *alternatives: str) -> tuple[Path, Path]:
        """The certificate and the key of a name, which is also that of the files."""
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        more = ["-subj", f"/CN={name}", "-days", "2", "-x509"]
        if alternatives:
            more += ["-addext", f"subjectAltName={','.join(alternatives)}"]
        more += ["-CA", str(self.certificate), "-CAkey", str(self._key)]
        more += ["-addext", "basicConstraints=critical,CA:FALSE"]
        self._openssl("req", *_KEY, *more, "-keyout", key, "-out", certificate)
        return certificate, key

    def _openssl(self, *arguments: str | Path) -> None:
        command = ["openssl", *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True, timeout=20)
