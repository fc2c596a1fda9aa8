-- The log of any number of processes. `number` stands for a channel in the big tables, which keep each channel's rows
-- together in the order of their seq. Every statement may be run again: MySQL cannot take a migration back as a whole.

-- Names and ids are bytes: compared and ordered as such, and `a` is not `a `, as it would be in a text of any collation
-- that MySQL and MariaDB both know.
CREATE TABLE IF NOT EXISTS heads (
    channel     VARBINARY(64) NOT NULL PRIMARY KEY,
    number      INT UNSIGNED NOT NULL AUTO_INCREMENT UNIQUE,
    epoch       VARCHAR(64) NOT NULL,     -- the newest epoch's name: a locked head is all that an append needs
    first       BIGINT NOT NULL,          -- the first kept seq
    last        BIGINT NOT NULL,          -- the newest given out, or the end of a void
    ts_us       BIGINT NOT NULL,          -- of the newest commit: never goes back
    hash_before BINARY(32) NOT NULL,      -- of the event before `first`
    hash        BINARY(32) NOT NULL       -- of the newest event: what the next one joins
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS epochs (
    number      INT UNSIGNED NOT NULL,
    first       BIGINT NOT NULL,
    name        VARCHAR(64) NOT NULL,
    last_before BIGINT NOT NULL,
    hash_before BINARY(32) NOT NULL,
    reason      TEXT NOT NULL,
    PRIMARY KEY (number, first)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS events (
    number    INT UNSIGNED NOT NULL,
    seq       BIGINT NOT NULL,
    type      TEXT NOT NULL,
    id        VARBINARY(1024) NOT NULL,
    version   BIGINT NOT NULL,
    ts_us     BIGINT NOT NULL,
    salt      VARBINARY(64) NOT NULL,
    body      LONGBLOB NOT NULL,
    body_hash BINARY(32) NOT NULL,
    hash      BINARY(32) NOT NULL,
    PRIMARY KEY (number, seq)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Kept for ever, also when the event was dropped: an id is never used twice.
CREATE TABLE IF NOT EXISTS ids (
    number     INT UNSIGNED NOT NULL,
    id         VARBINARY(1024) NOT NULL,
    seq        BIGINT NOT NULL,
    subject    TEXT NOT NULL,
    draft_hash VARBINARY(64) NOT NULL,
    version    BIGINT NOT NULL,
    ts_us      BIGINT NOT NULL,
    PRIMARY KEY (number, id)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS kept (
    name     VARBINARY(255) NOT NULL,
    channel  VARBINARY(64) NOT NULL,
    seq      BIGINT NOT NULL,
    state    LONGBLOB NOT NULL,
    holder   TEXT,
    until_us BIGINT NOT NULL,
    PRIMARY KEY (name, channel)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- One row. Whoever changes the log holds it shared; whoever raises the fence holds it alone.
CREATE TABLE IF NOT EXISTS fence (
    one      TINYINT NOT NULL PRIMARY KEY,
    until_us BIGINT NOT NULL,
    moved_to TEXT NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT IGNORE INTO fence (one, until_us, moved_to) VALUES (1, 0, '');

-- One row, which means nothing: a commit of it is on the disk only when every commit before it is.
CREATE TABLE IF NOT EXISTS flushes (
    one   TINYINT NOT NULL PRIMARY KEY,
    count BIGINT NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT IGNORE INTO flushes (one, count) VALUES (1, 0);

-- One row: the newest migration that was applied, and the oldest code (by the newest migration it brings) that can still
-- work with the tables. Each later migration updates both.
CREATE TABLE IF NOT EXISTS `schema` (
    one     TINYINT NOT NULL PRIMARY KEY,
    version INT NOT NULL,
    oldest  INT NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT IGNORE INTO `schema` (one, version, oldest) VALUES (1, 1, 1);
