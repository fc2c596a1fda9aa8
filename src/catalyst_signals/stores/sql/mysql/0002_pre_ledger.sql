-- Who was sent and who has acknowledged what, outside every channel. A receiver's row is kept up to date with its newest
-- receipt; receipts lie in the order of time, so that a second's worth is written to one place and old ones go together.
CREATE TABLE IF NOT EXISTS receivers (
    number     BIGINT NOT NULL PRIMARY KEY,
    channel    VARBINARY(64) NOT NULL,
    session    VARCHAR(255) NOT NULL,
    subject    VARBINARY(1024) NOT NULL,
    key_id     VARCHAR(255) NOT NULL,
    filter     MEDIUMTEXT NOT NULL,
    modifiers  TEXT NOT NULL,
    began      BIGINT NOT NULL,
    head       BIGINT NOT NULL,
    started_us BIGINT NOT NULL,
    sent       BIGINT NOT NULL,
    acked      BIGINT NOT NULL,
    at_us      BIGINT NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS receipts (
    at_us  BIGINT NOT NULL,
    number BIGINT NOT NULL,
    sent   BIGINT NOT NULL,
    acked  BIGINT NOT NULL,
    PRIMARY KEY (at_us, number)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

UPDATE `schema` SET version = 2 WHERE one = 1;
