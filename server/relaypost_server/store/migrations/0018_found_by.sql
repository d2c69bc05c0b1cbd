-- Messages are found by their provider's id, by request_id, by batch, and by tags and metadata.

-- The id of the provider that took it is in `messages`; of a provider that was asked before or after that one, as with
-- a second copy, only in `attempts`.
CREATE INDEX messages_by_provider_id ON relaypost.messages (provider_message_id, id) WHERE provider_message_id <> '';
CREATE INDEX attempts_by_provider_id ON relaypost.attempts (provider_message_id, message_id)
    WHERE provider_message_id <> '' AND (number > 1 OR kind <> 'accepted');

-- By any caller.
CREATE INDEX batches_by_request_id ON relaypost.batches (request_id);
CREATE INDEX otps_by_request_id ON relaypost.otps (request_id) WHERE request_id IS NOT NULL;

-- The messages of a batch in order, too: by all of its states one after the other.
DROP INDEX relaypost.messages_by_batch;
CREATE INDEX messages_by_batch ON relaypost.messages (batch_id, state, id) WHERE batch_id IS NOT NULL;

-- Messages without tags and metadata are not in it.
CREATE INDEX messages_by_label ON relaypost.messages USING gin (tags jsonb_path_ops, metadata jsonb_path_ops)
    WHERE tags <> '{}' OR metadata <> '{}';
