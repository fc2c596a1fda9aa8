-- Who was sent and who has acknowledged what, outside every channel. A receiver's row is kept up to date with its newest
-- receipt; receipts lie in the order of time, so that a second's worth is written to one place and old ones go together.
CREATE TABLE receivers (
    number     INTEGER PRIMARY KEY,
    channel    TEXT NOT NULL,
    session    TEXT NOT NULL,
    subject    TEXT NOT NULL,
    key_id     TEXT NOT NULL,
    filter     TEXT NOT NULL,
    modifiers  TEXT NOT NULL,
    began      INTEGER NOT NULL,
    head       INTEGER NOT NULL,
    started_us INTEGER NOT NULL,
    sent       INTEGER NOT NULL,
    acked      INTEGER NOT NULL,
    at_us      INTEGER NOT NULL
) STRICT;

CREATE TABLE receipts (
    at_us  INTEGER NOT NULL,
    number INTEGER NOT NULL,
    sent   INTEGER NOT NULL,
    acked  INTEGER NOT NULL,
    PRIMARY KEY (at_us, number)
) STRICT, WITHOUT ROWID;

UPDATE schema SET version = 3;
