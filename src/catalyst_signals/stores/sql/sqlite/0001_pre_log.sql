-- The log of one process. `number` stands for a channel in the big tables; `place` is number * 2^40 + seq, so that each
-- channel's events lie together in the order of their seq and an append is always at the end of its stretch.

-- One row: the newest migration that was applied, and the oldest code (by the newest migration it brings) that can still
-- work with the file. Each later migration updates both.
CREATE TABLE schema (
    version INTEGER NOT NULL,
    oldest  INTEGER NOT NULL
) STRICT;
INSERT INTO schema (version, oldest) VALUES (1, 1);

CREATE TABLE heads (
    channel     TEXT PRIMARY KEY,
    number      INTEGER NOT NULL UNIQUE,
    first       INTEGER NOT NULL,  -- the first kept seq
    last        INTEGER NOT NULL,  -- the newest given out, or the end of a void
    ts_us       INTEGER NOT NULL,  -- of the newest commit: never goes back
    hash_before BLOB NOT NULL,     -- of the event before `first`
    hash        BLOB NOT NULL      -- of the newest event: what the next one joins
) STRICT, WITHOUT ROWID;

CREATE TABLE epochs (
    number      INTEGER NOT NULL,
    first       INTEGER NOT NULL,
    name        TEXT NOT NULL,
    last_before INTEGER NOT NULL,
    hash_before BLOB NOT NULL,
    reason      TEXT NOT NULL,
    PRIMARY KEY (number, first)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    place     INTEGER PRIMARY KEY,
    type      TEXT NOT NULL,
    id        TEXT NOT NULL,
    version   INTEGER NOT NULL,
    ts_us     INTEGER NOT NULL,
    salt      BLOB NOT NULL,
    body      BLOB NOT NULL,
    body_hash BLOB NOT NULL,
    hash      BLOB NOT NULL
) STRICT;

-- Kept for ever, also when the event was dropped: an id is never used twice.
CREATE TABLE ids (
    number     INTEGER NOT NULL,
    id         TEXT NOT NULL,
    seq        INTEGER NOT NULL,
    subject    TEXT NOT NULL,
    draft_hash BLOB NOT NULL,
    version    INTEGER NOT NULL,
    ts_us      INTEGER NOT NULL,
    PRIMARY KEY (number, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE kept (
    name     TEXT NOT NULL,
    channel  TEXT NOT NULL,
    seq      INTEGER NOT NULL,
    state    BLOB NOT NULL,
    holder   TEXT,
    until_us INTEGER NOT NULL,
    PRIMARY KEY (name, channel)
) STRICT, WITHOUT ROWID;
