"""sqlite-vec: an extension of SQLite, through apsw, whose SQLite can always load extensions."""

from pathlib import Path

import apsw
import sqlite_vec

from bench.engines.engine import Floats, Numbers, Opened, padded

_FILE = "rows.sqlite"


class SqliteVec:
    """Every vector, in C."""

    def build(self, vectors: Floats, folder: Path) -> None:
        database = _connect(folder)
        # Rows are normalised: the order by cosine is that of the inner product.
        kind = f"embedding float[{vectors.shape[1]}] distance_metric=cosine"
        database.execute(f"CREATE VIRTUAL TABLE rows USING vec0({kind})")
        with database:
            database.executemany(
                "INSERT INTO rows(rowid, embedding) VALUES (?, ?)",
                ((number, vector.tobytes()) for number, vector in enumerate(vectors)),
            )
        database.close()

    def open(self, folder: Path, effort: int) -> Opened:
        return _Opened(_connect(folder))


class _Opened:
    def __init__(self, database: apsw.Connection) -> None:
        self._database = database

    def query(self, vectors: Floats, k: int) -> Numbers:
        return padded([self._one(vector, k) for vector in vectors], k)

    def close(self) -> None:
        self._database.close()

    def _one(self, vector: Floats, k: int) -> list[int]:
        statement = "SELECT rowid FROM rows WHERE embedding MATCH ? AND k = ? ORDER BY distance"
        return [int(row) for (row,) in self._database.execute(statement, (vector.tobytes(), k))]


def _connect(folder: Path) -> apsw.Connection:
    database = apsw.Connection(str(folder / _FILE))
    database.enable_load_extension(True)
    database.load_extension(sqlite_vec.loadable_path())
    return database
