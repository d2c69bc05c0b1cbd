-- What providers reported about messages after they had taken them.

CREATE TABLE relaypost.delivery_events (
    provider text NOT NULL,
    event_id text NOT NULL,              -- the provider's own, or what stands for it
    message_id uuid NOT NULL,            -- of a message that may not be on record yet
    provider_message_id text NOT NULL,
    type text NOT NULL,
    state text,                          -- that the event alone would put the message in
    rank smallint NOT NULL,              -- 0: the event says nothing about the state
    event_time timestamptz NOT NULL,     -- by the provider's clock
    receive_time timestamptz NOT NULL DEFAULT now(),
    reject_reason text NOT NULL,         -- or empty
    permanent boolean NOT NULL,
    provider_code text NOT NULL,
    detail text NOT NULL,
    raw jsonb NOT NULL,                  -- as reported, without text, subject and links of the message
    waiting boolean NOT NULL DEFAULT true, -- the message has not caught up with it
    PRIMARY KEY (provider, event_id)
);

CREATE INDEX delivery_events_by_message ON relaypost.delivery_events (message_id, event_time);
CREATE INDEX delivery_events_waiting ON relaypost.delivery_events (receive_time) WHERE waiting;

ALTER TABLE relaypost.messages
    ADD COLUMN delivery_rank smallint NOT NULL DEFAULT 0, -- above 0: the state is what receipts add up to
    ADD COLUMN delivery_time timestamptz;                 -- of the event that decided the state

ALTER TABLE relaypost.requests
    ADD COLUMN proven boolean NOT NULL DEFAULT false;     -- a receipt has told what became of it

-- Most messages end in one of these two states; the others are the ones that are looked for.
DROP INDEX relaypost.messages_not_sent;
CREATE INDEX messages_not_sent ON relaypost.messages (state, id) WHERE state <> 'sent' AND state <> 'delivered';
