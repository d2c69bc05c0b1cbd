-- What the gateway changed in a message, so that it could be sent: a list of [field, kind, description].

ALTER TABLE relaypost.messages ADD COLUMN adjustments jsonb NOT NULL DEFAULT '[]';
