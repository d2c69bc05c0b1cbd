-- Messages that are sent later. What they say is kept here until they are sent, and no longer.

CREATE TABLE relaypost.queue (
    message_id uuid PRIMARY KEY,
    lane text NOT NULL,
    channel text NOT NULL,
    content bytea NOT NULL,              -- as store/contents.py writes it
    due_time timestamptz NOT NULL,
    expire_time timestamptz NOT NULL,
    tries smallint NOT NULL DEFAULT 0,
    handed_time timestamptz,             -- when the engine got a pointer to it; NULL: it is to get one
    death text                           -- why it was given up, or NULL
);

CREATE INDEX queue_to_hand_over ON relaypost.queue (due_time) WHERE handed_time IS NULL AND death IS NULL;
CREATE INDEX queue_in_hand ON relaypost.queue (handed_time) WHERE handed_time IS NOT NULL AND death IS NULL;
-- Those that some worker had: few at any time, and all that may need to be put right.
CREATE INDEX queue_tried ON relaypost.queue (message_id) WHERE tries > 0 AND death IS NULL;
CREATE INDEX queue_dead ON relaypost.queue (message_id) WHERE death IS NOT NULL;

-- Many messages that were queued together.
CREATE TABLE relaypost.batches (
    id uuid PRIMARY KEY,
    caller text NOT NULL,
    request_id text NOT NULL,
    fingerprint text NOT NULL,           -- of what holds for all messages
    create_time timestamptz NOT NULL DEFAULT now(),
    stored bigint NOT NULL DEFAULT 0,    -- every place up to this one is stored or was refused
    closed boolean NOT NULL DEFAULT false,
    UNIQUE (caller, request_id)
);

ALTER TABLE relaypost.messages ADD COLUMN batch_id uuid;
CREATE INDEX messages_by_batch ON relaypost.messages (batch_id, state) WHERE batch_id IS NOT NULL;

-- What may still be sent through a provider now, shared by all workers.
CREATE TABLE relaypost.rates (
    provider text PRIMARY KEY,
    tokens double precision NOT NULL,
    take_time timestamptz NOT NULL
);
