-- What attempts cost, as estimated and as billed.

ALTER TABLE relaypost.attempts
    ADD COLUMN units integer NOT NULL DEFAULT 0, -- that are billed: recipients or segments; 0: not known to be any
    ADD COLUMN billed_micros bigint,             -- what the provider itself says that it cost; NULL: it has not said
    ADD COLUMN billed_currency text,
    ADD COLUMN price_due timestamptz,            -- when to ask the provider for its price; NULL: never, or no more
    ADD COLUMN price_asked smallint NOT NULL DEFAULT 0;

UPDATE relaypost.attempts AS attempt
SET units = CASE
    WHEN attempt.segments > 0 THEN attempt.segments
    ELSE cardinality(message.recipients) - jsonb_array_length(attempt.refused)
END
FROM relaypost.messages AS message
WHERE message.id = attempt.message_id AND attempt.kind IN ('accepted', 'unconfirmed');

CREATE INDEX attempts_without_price ON relaypost.attempts (provider, price_due) WHERE price_due IS NOT NULL;
