PRAGMA user_version=3;
BEGIN TRANSACTION;
CREATE TABLE collections (
    name TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, source TEXT NOT NULL,
    dimension INTEGER NOT NULL, metric TEXT NOT NULL, cloud TEXT NOT NULL, region TEXT NOT NULL,
    environment TEXT NOT NULL, schema TEXT NOT NULL, record_count INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL, created_unix_ms INTEGER NOT NULL
) WITHOUT ROWID
;
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO "counters" VALUES('hosts',2);
CREATE TABLE indexes (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, dimension INTEGER NOT NULL,
    metric TEXT NOT NULL, cloud TEXT NOT NULL, region TEXT NOT NULL,
    deletion_protection INTEGER NOT NULL, tags TEXT NOT NULL, idle_seconds REAL,
    created_unix_ms INTEGER NOT NULL, wakes REAL NOT NULL DEFAULT 0, awake_seconds REAL NOT NULL DEFAULT 0, cpu_seconds REAL NOT NULL DEFAULT 0, build_cpu_seconds REAL NOT NULL DEFAULT 0, queries REAL NOT NULL DEFAULT 0, upserted_vectors REAL NOT NULL DEFAULT 0, log_bytes REAL NOT NULL DEFAULT 0, host_number INTEGER NOT NULL DEFAULT 0, dedicated TEXT, pod TEXT, schema TEXT NOT NULL DEFAULT '{"dense_field": "_values", "sparse_field": "_sparse_values", "filterable": []}', source_collection TEXT
) WITHOUT ROWID
;
INSERT INTO "indexes" VALUES('0123456789abcdef','all-fields',20000,'euclidean','aws','eu-west-1',1,'{"team": "s\u00fc\u00df"}',0.25,1700000000123,1.0,2.5,3.25,4.125,5.0,6.0,7.0,2,'{"replicas": 2, "node_type": "t1", "shards": 3}','{"environment": "eu", "pod_type": "s1.x2", "shards": 3}','{"dense_field": "embedding", "sparse_field": "terms", "filterable": ["year"]}','before');
INSERT INTO "indexes" VALUES('fedcba9876543210','no-fields',1,'cosine','local','default',0,'{}',NULL,0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1,NULL,NULL,'{"dense_field": "_values", "sparse_field": "_sparse_values", "filterable": []}',NULL);
CREATE TABLE keys (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
INSERT INTO "keys" VALUES('page',X'000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F');
COMMIT;
