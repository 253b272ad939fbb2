PRAGMA user_version=2;
BEGIN TRANSACTION;
CREATE TABLE indexes (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, dimension INTEGER NOT NULL,
    metric TEXT NOT NULL, cloud TEXT NOT NULL, region TEXT NOT NULL,
    deletion_protection INTEGER NOT NULL, tags TEXT NOT NULL, idle_seconds REAL,
    created_unix_ms INTEGER NOT NULL, wakes REAL NOT NULL DEFAULT 0, awake_seconds REAL NOT NULL DEFAULT 0, cpu_seconds REAL NOT NULL DEFAULT 0, build_cpu_seconds REAL NOT NULL DEFAULT 0, queries REAL NOT NULL DEFAULT 0, upserted_vectors REAL NOT NULL DEFAULT 0, log_bytes REAL NOT NULL DEFAULT 0
) WITHOUT ROWID
;
INSERT INTO "indexes" VALUES('0123456789abcdef','all-fields',20000,'euclidean','aws','eu-west-1',1,'{"team": "s\u00fc\u00df"}',0.25,1700000000123,1.0,2.5,3.25,4.125,5.0,6.0,7.0);
INSERT INTO "indexes" VALUES('fedcba9876543210','no-fields',1,'cosine','local','default',0,'{}',NULL,0,0.0,0.0,0.0,0.0,0.0,0.0,0.0);
CREATE TABLE keys (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
INSERT INTO "keys" VALUES('page',X'000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F');
COMMIT;
