-- Messages and the attempts to send them. No text, subject or attachment is kept.

CREATE TABLE relaypost.messages (
    id uuid PRIMARY KEY,                 -- version 7: sorts by create_time
    channel text NOT NULL,
    state text NOT NULL,
    guarantee text NOT NULL,
    sender text NOT NULL,
    recipients text[] NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    provider text NOT NULL,              -- that accepted it, or empty
    provider_message_id text NOT NULL,
    possible_duplicate boolean NOT NULL,
    cost_micros bigint,
    cost_currency text,
    tags jsonb NOT NULL,
    metadata jsonb NOT NULL
);

CREATE INDEX messages_by_recipient ON relaypost.messages USING gin (recipients);

-- Few messages are in any other state, and those are the ones that are looked for.
CREATE INDEX messages_not_sent ON relaypost.messages (state, id) WHERE state <> 'sent';

CREATE TABLE relaypost.attempts (
    message_id uuid NOT NULL,            -- written by the statement that writes the message
    number smallint NOT NULL,            -- 1 for the first
    provider text NOT NULL,
    kind text NOT NULL,
    skipped text NOT NULL,               -- why the provider was passed over, or empty
    provider_code text NOT NULL,
    detail text NOT NULL,
    provider_message_id text NOT NULL,
    circuit text NOT NULL,
    start_time timestamptz NOT NULL,
    duration double precision NOT NULL,  -- seconds
    cost_micros bigint,
    cost_currency text,
    segments integer NOT NULL,
    refused jsonb NOT NULL,              -- [[address, provider_code, temporary], ...]
    PRIMARY KEY (message_id, number)
);
