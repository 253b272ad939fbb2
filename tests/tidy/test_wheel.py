"""A wheel built from the tree installs and runs outside of it, and takes one name."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
WHEEL_BYTES_MAX = 6 << 20


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel holds, and nothing else of the project."""
    folder = tmp_path_factory.mktemp("wheel")
    uv = ROOT / ".venv" / "bootstrap" / "bin" / "uv"
    subprocess.run(
        [uv, "build", "--quiet", "--wheel", "--out-dir", folder, ROOT], check=True, cwd=folder
    )
    (wheel,) = folder.glob("*.whl")
    assert wheel.stat().st_size < WHEEL_BYTES_MAX
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `python -P -m torpor` with the wheel's content and the dependencies, not the checkout."""
    # -S leaves the checkout's editable install out; the dependencies come back by name.
    path = os.pathsep.join([str(installed), sysconfig.get_paths()["purelib"]])
    return subprocess.run(
        [sys.executable, "-S", "-P", "-m", "torpor", *arguments],
        cwd=installed,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_takes_one_name(installed: Path) -> None:
    names = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert names == {"torpor"}
    assert {path.name for path in (installed / "torpor" / "_server").iterdir()} == {
        "router",
        "worker",
        "storage",
        "kernels",
    }


def test_the_wheel_holds_the_source_of_the_kernel(installed: Path) -> None:
    kernel = installed / "torpor" / "_server" / "kernels" / "gpu" / "selection.cu"
    assert "join_rows" in kernel.read_text()


def test_the_wheel_runs_outside_the_checkout(installed: Path) -> None:
    helped = run(installed, "--help")
    assert "serve" in helped.stdout, helped.stderr


def test_the_demonstration_runs_from_the_wheel_and_leaves_nothing(
    installed: Path, tmp_path: Path
) -> None:
    done = run(installed, "demo")
    assert done.returncode == 0, done.stderr
    assert "0 worker processes" in done.stdout and "gnuchess" in done.stdout
    folder = done.stdout.split("its data in ")[1].split(".\n")[0].replace("\n", "")
    assert folder.startswith("/") and not Path(folder).exists()
