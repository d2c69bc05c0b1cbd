-- Lists of messages by one property, newest first, without a scan; and requests that are remembered from a later day on.

DROP INDEX relaypost.messages_not_sent;
CREATE INDEX messages_by_state ON relaypost.messages (state, id);
CREATE INDEX messages_by_provider ON relaypost.messages (provider, id);
CREATE INDEX messages_by_channel ON relaypost.messages (channel, id);

-- A request is forgotten some time after this: a message that waits in the queue is remembered for longer. A batch is
-- remembered for ever, and so are the names of its messages: its stream may be repeated at any time.
ALTER TABLE relaypost.requests ADD COLUMN remembered_from timestamptz NOT NULL DEFAULT now();
CREATE INDEX requests_to_forget ON relaypost.requests (remembered_from) WHERE lease_until IS NULL AND method <> 'SendBulk';
DROP INDEX relaypost.requests_by_age;
