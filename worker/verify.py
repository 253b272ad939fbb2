"""`torpor verify`: reads all that indexes and collections have on disk and checks its checksums.

It only reads, so it may run beside a server; what a fold replaces meanwhile is looked up again.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from storage import manifest as manifests
from storage.errors import DataLoss, FormatTooNew
from storage.files import Files
from storage.folders import all_folders
from storage.log_reader import LogReader
from storage.masks import read_mask
from storage.namespaces import NamespaceDirectory
from storage.segment import Segment

# How often an index is looked at again because a fold replaced what was being read.
_ATTEMPTS = 5


@dataclass(slots=True)
class Report:
    """What was found in one folder."""

    folder: Path
    segments: int = 0
    rows: int = 0
    log_records: int = 0
    damage: str = ""


def main(arguments: Sequence[str]) -> int:
    """Prints a report; returns 1 if something is damaged, 2 if there is nothing to look at."""
    parser = argparse.ArgumentParser(
        prog="torpor verify",
        description="Check every checksum of the indexes and collections in a data folder. Only "
        "reads; a server may be running. Exits with 1 if anything is damaged.",
    )
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    parser.add_argument("--index", help="only the index or collection with this id")
    options = parser.parse_args(arguments)
    console = Console()
    if not options.data.is_dir():
        console.print(f"There is no data folder {options.data}.")
        return 2
    folders = [
        folder
        for folder in all_folders(options.data)
        if options.index is None or folder.name == options.index
    ]
    if not folders:
        console.print(f"There is no such index in {options.data}.")
        return 2
    files = Files()
    with Progress(transient=True, console=console) as progress:
        reports = [verify(files, one) for one in progress.track(folders, description="Verifying")]
    _print(console, reports)
    return 1 if any(report.damage for report in reports) else 0


def verify(files: Files, folder: Path) -> Report:
    """Checks one folder; damage is told in the report."""
    for _ in range(_ATTEMPTS):
        report = Report(folder)
        manifest = None
        try:
            manifest = manifests.load(files, folder)
            _verify(files, manifest, report)
        except (DataLoss, FormatTooNew) as error:
            report.damage = str(error)
            if _moved_on(files, folder, manifest):
                continue
        break
    return report


def _moved_on(files: Files, folder: Path, manifest: manifests.Manifest | None) -> bool:
    """Whether a fold has replaced the manifest meanwhile, and perhaps what it named."""
    try:
        return manifest is not None and manifests.load(files, folder) != manifest
    except (DataLoss, FormatTooNew):
        return False


def _verify(files: Files, manifest: manifests.Manifest, report: Report) -> None:
    NamespaceDirectory.open(files, report.folder, manifest)
    for entry in manifest.segments:
        segment = Segment(files, report.folder, entry)
        segment.verify()
        if entry.mask is not None:
            read_mask(files, report.folder / entry.mask, entry.rows)
        report.segments += 1
        report.rows += entry.rows - entry.dead
    for header, _ in LogReader(files, report.folder, manifest.log).read_all():
        report.log_records += header.records


def _print(console: Console, reports: Sequence[Report]) -> None:
    table = Table()
    for column in ("folder", "segments", "rows", "log records", "verdict"):
        table.add_column(column, justify="left" if column in ("folder", "verdict") else "right")
    for report in reports:
        table.add_row(
            "/".join(report.folder.parts[-3:]),
            str(report.segments),
            f"{report.rows:,}",
            str(report.log_records),
            f"[red]damaged[/]: {report.damage}" if report.damage else "[green]whole[/]",
        )
    console.print(table)
