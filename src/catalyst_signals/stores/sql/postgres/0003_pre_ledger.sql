-- Who was sent and who has acknowledged what, outside every channel. A receiver's row is kept up to date with its newest
-- receipt; receipts lie in the order of time, so that a second's worth is written to one place and old ones go together.
CREATE TABLE catalyst.receivers (
    number     bigint PRIMARY KEY,
    channel    text COLLATE "C" NOT NULL,
    session    text NOT NULL,
    subject    text COLLATE "C" NOT NULL,
    key_id     text NOT NULL,
    filter     text NOT NULL,
    modifiers  text NOT NULL,
    began      bigint NOT NULL,
    head       bigint NOT NULL,
    started_us bigint NOT NULL,
    sent       bigint NOT NULL,
    acked      bigint NOT NULL,
    at_us      bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE catalyst.receipts (
    at_us  bigint NOT NULL,
    number bigint NOT NULL,
    sent   bigint NOT NULL,
    acked  bigint NOT NULL,
    PRIMARY KEY (at_us, number)
);

UPDATE catalyst.schema SET version = 3;
