"""Running a program in a client's environment, and what it said of its checks."""

import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.clients.environment import HERE, Environment

PROGRAM_SECONDS_MAX = 240


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the checks of a program ended; `failures` are their names, with what they said."""

    passed: int
    skipped: int
    failures: tuple[str, ...]


def run(environment: Environment, variables: Mapping[str, str], *arguments: str | Path) -> str:
    """What a program prints; fails the test if it ends badly or does not end."""
    status, said = _run(environment, variables, environment.command(*arguments))
    assert status == 0, said
    return said


def check(
    environment: Environment, variables: Mapping[str, str], folder: str, report: Path
) -> Outcome:
    """Runs all checks of a folder, with pytest or with Node's own runner."""
    programs = HERE / folder
    if environment.is_node:
        command = environment.command(
            "--test", "--test-reporter=junit", f"--test-reporter-destination={report}", programs
        )
    else:
        command = environment.command(
            *("-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider"),
            *("--rootdir", programs, "--confcutdir", programs, "--timeout", "60"),
            *(f"--junitxml={report}", programs),
        )
    status, said = _run(environment, variables, command)
    assert status in (0, 1) and report.is_file(), said
    outcome = _read(report)
    assert outcome.passed, said
    return outcome


def _run(
    environment: Environment, variables: Mapping[str, str], command: list[str]
) -> tuple[int, str]:
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment.variables | dict(variables),
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=PROGRAM_SECONDS_MAX)
    finally:
        if process.poll() is None:
            # Node's runner has a child for every file.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return process.returncode, said


def _read(report: Path) -> Outcome:
    """An outcome from a report in JUnit's format."""
    passed = skipped = 0
    failures = []
    for case in ET.parse(report).iter("testcase"):
        fault = case.find("failure")
        if fault is None:
            fault = case.find("error")
        if fault is not None:
            text = fault.get("message") or fault.text or ""
            failures.append(f"{case.get('name')}: {text.strip()[:600]}")
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    return Outcome(passed, skipped, tuple(failures))
