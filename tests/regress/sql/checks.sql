-- What the outbox and the dead letters refuse, whoever writes the row; what the extension writes is never refused, and goes the short way.
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme');
CREATE TABLE customer (id text PRIMARY KEY, tier text);
SELECT target_profile.watch('customer', 'acme', 'mbox3rdPartyId', 'id', '{tier}');
SELECT conrelid::regclass, conname, convalidated, pg_get_constraintdef(oid)
FROM pg_constraint WHERE conrelid IN ('target_profile.outbox'::regclass, 'target_profile.dead_letter'::regclass) AND contype = 'c'
ORDER BY conrelid::regclass::text, conname COLLATE "C";

-- Each by hand: a row that is taken but for one column.
CREATE FUNCTION refused(its_table regclass, row_taken jsonb, wrong jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    name text;
BEGIN
    EXECUTE format('INSERT INTO %1$s SELECT * FROM jsonb_populate_record(NULL::%1$s, $1)', its_table) USING row_taken || wrong;
    RETURN 'taken';
EXCEPTION WHEN check_violation THEN
    GET STACKED DIAGNOSTICS name = CONSTRAINT_NAME;
    RETURN name;
END
$$;
SELECT wrong, refused('target_profile.outbox', '{"id": 1, "client_code": "acme", "id_kind": "mboxPC", "profile_id": "p", "attrs": {"a": "1"},
    "priority": 0, "source": "hand", "enqueued_at": "2020-01-01", "attempts": 0}', jsonb_build_object('id', n) || wrong::jsonb)
FROM unnest(ARRAY[
    '{}', '{"client_code": "a"}', '{"client_code": "0-9"}', '{"client_code": ""}', '{"client_code": "Acme"}',
    '{"client_code": "-acme"}', '{"client_code": "acme-"}', '{"client_code": "ac.me"}', '{"client_code": "acme\n"}',
    '{"client_code": "é"}',
    '{"id_kind": "mbox3rdPartyId"}', '{"id_kind": "tntId"}', '{"id_kind": "mboxpc"}', '{"id_kind": ""}',
    '{"profile_id": ""}', '{"profile_id": "a+b/c\n"}',
    '{"attrs": {}}', '{"attrs": []}', '{"attrs": "x"}', '{"attrs": 1}',
    '{"attempts": -1}', '{"attempts": 2147483647}',
    '{"enqueued_at": "infinity"}', '{"enqueued_at": "-infinity"}', '{"next_attempt_at": "infinity"}',
    '{"next_attempt_at": "-infinity"}', '{"retried_at": "infinity"}', '{"retried_at": "2020-01-01"}'
]) WITH ORDINALITY AS v (wrong, n);
SELECT characters, length, refused('target_profile.outbox', '{"client_code": "acme", "id_kind": "mboxPC", "attrs": {},
    "priority": 0, "source": "hand", "enqueued_at": "2020-01-01", "attempts": 0}',
    jsonb_build_object('id', 1000 * ascii(characters) + length, 'profile_id', repeat(characters, length))) AS id,
    refused('target_profile.outbox', '{"profile_id": "p", "id_kind": "mboxPC", "attrs": {},
    "priority": 0, "source": "hand", "enqueued_at": "2020-01-01", "attempts": 0}',
    jsonb_build_object('id', -1000 * ascii(characters) - length, 'client_code', repeat(characters, length))) AS client_code
FROM unnest(ARRAY['x', '😀']) characters, unnest(ARRAY[63, 64, 256, 257]) length;
SELECT wrong, refused('target_profile.dead_letter', '{"priority": 0, "source": "hand", "enqueued_at": "2020-01-01", "attempts": 0,
    "reason": "", "failed_at": "2020-01-01", "raw": false}', jsonb_build_object('id', n) || wrong::jsonb)
FROM unnest(ARRAY['{}', '{"attempts": -1}', '{"failed_at": "infinity"}', '{"failed_at": "-infinity"}', '{"enqueued_at": "infinity"}',
    '{"client_code": "Nobody''s", "id_kind": "x", "profile_id": "", "attrs": []}']) WITH ORDINALITY AS v (wrong, n);
\set VERBOSITY sqlstate
INSERT INTO target_profile.outbox (client_code, id_kind, profile_id, attrs) VALUES ('acme', 'mboxPC', '1', '[]');
UPDATE target_profile.outbox SET attempts = -1 WHERE id = 1;
\set VERBOSITY default
DELETE FROM target_profile.outbox;
DELETE FROM target_profile.dead_letter;

-- The ways of the extension: an INSERT looks for the id that it is going to write, the short way does not.
CREATE FUNCTION scans() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT seq_scan + idx_scan FROM pg_stat_xact_all_tables WHERE relid = 'target_profile.outbox'::regclass;
$$;
CREATE FUNCTION way() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    before bigint := scans();
    called text;
    written text;
BEGIN
    PERFORM target_profile_update('acme', 'thirdPartyId', repeat('😀', 256), '{"a": {"b": [1]}, "c": null}');
    called := CASE WHEN scans() > before THEN 'INSERT' ELSE 'short' END;
    before := scans();
    INSERT INTO customer SELECT 'c' || n, 'tin' FROM generate_series(1, 300) n;
    written := CASE WHEN scans() > before THEN 'INSERT' ELSE 'short' END;
    DELETE FROM customer;
    RETURN format('called: %s, watched: %s', called, written);
END
$$;
SELECT way();
-- one more, another one instead, one less
ALTER TABLE target_profile.outbox ADD CONSTRAINT theirs CHECK (true) NOT VALID;
SELECT way();
ALTER TABLE target_profile.outbox DROP CONSTRAINT times_are_finite;
SELECT way();
ALTER TABLE target_profile.outbox DROP CONSTRAINT theirs;
SELECT way();
-- as it was, of older rows
ALTER TABLE target_profile.outbox ADD CONSTRAINT times_are_finite
    CHECK (isfinite(enqueued_at) AND isfinite(next_attempt_at) AND isfinite(retried_at)) NOT VALID;
SELECT way();
SELECT count(*), count(DISTINCT id) FROM target_profile.outbox;
ALTER TABLE target_profile.outbox VALIDATE CONSTRAINT times_are_finite;
-- what was written the short way is what the constraints ask for
ALTER TABLE target_profile.outbox
    DROP CONSTRAINT client_code_is_a_label, DROP CONSTRAINT id_kind_is_known, DROP CONSTRAINT profile_id_fits,
    DROP CONSTRAINT attrs_are_an_object, DROP CONSTRAINT attempts_are_counted, DROP CONSTRAINT times_are_finite;
ALTER TABLE target_profile.outbox
    ADD CONSTRAINT client_code_is_a_label
        CHECK (octet_length(client_code) <= 63 AND client_code ~ '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$'),
    ADD CONSTRAINT id_kind_is_known CHECK (id_kind IN ('mboxPC', 'mbox3rdPartyId')),
    ADD CONSTRAINT profile_id_fits CHECK (char_length(profile_id) BETWEEN 1 AND 256),
    ADD CONSTRAINT attrs_are_an_object CHECK (jsonb_typeof(attrs) = 'object'),
    ADD CONSTRAINT attempts_are_counted CHECK (attempts >= 0),
    ADD CONSTRAINT times_are_finite CHECK (isfinite(enqueued_at) AND isfinite(next_attempt_at) AND isfinite(retried_at));
SELECT way();

-- A dead letter of whatever age is taken back, and what was changed while a constraint was dropped is buried.
TRUNCATE target_profile.outbox;
INSERT INTO target_profile.dead_letter (id, client_code, id_kind, profile_id, attrs, priority, source, enqueued_at, attempts, reason, raw)
VALUES (-1, 'acme', 'tntId', '28.0', '{"seg": 1}', 0, 'hand', '-infinity', 3, 'x', true),
    (-2, 'acme', 'mboxPC', '29.0', '{"seg": "1"}', 0, 'hand', 'infinity', 3, 'x', false);
SELECT target_profile.retry(-1);
SELECT target_profile.retry_all('acme');
SELECT id, id_kind, profile_id, attrs, attempts, isfinite(enqueued_at), isfinite(retried_at) FROM target_profile.outbox ORDER BY id;
ALTER TABLE target_profile.outbox DROP CONSTRAINT attempts_are_counted;
UPDATE target_profile.outbox SET attempts = -7;
SELECT target_profile.remove_client('acme', dead_letter_waiting => true);
SELECT id, attempts, reason FROM target_profile.dead_letter ORDER BY id;

DROP TABLE customer;
DROP FUNCTION refused(regclass, jsonb, jsonb), way(), scans();
DROP EXTENSION target_profile;
