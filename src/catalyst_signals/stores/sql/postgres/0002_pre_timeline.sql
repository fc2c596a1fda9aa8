-- Of the same row: PostgreSQL's timeline as of the newest change, which is another one after a standby was promoted, and
-- whether commits waited for a standby then, so that a promoted one has them all.
ALTER TABLE catalyst.fence
    ADD COLUMN timeline bigint NOT NULL DEFAULT 0,
    ADD COLUMN waits    boolean NOT NULL DEFAULT false;
UPDATE catalyst.fence SET
    timeline = ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint,
    waits = current_setting('synchronous_standby_names') <> '';

UPDATE catalyst.schema SET version = 2;
