-- Whatever target_profile_update refuses: SQLSTATE, message, DETAIL and HINT; and nothing of it is stored.
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme');
SELECT target_profile.add_client('acme-get', method => 'get');

-- The error of a call, a line each for its parts.
CREATE FUNCTION pg_temp.refusal(client_code text, id_kind text, id text, attrs jsonb, priority smallint DEFAULT 0)
    RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    message text;
    detail text;
    hint text;
BEGIN
    PERFORM target_profile_update(client_code, id_kind, id, attrs, priority);
    RETURN NEXT 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN NEXT SQLSTATE || ' ' || message;
    RETURN QUERY SELECT '    DETAIL ' || detail WHERE detail <> '';
    RETURN QUERY SELECT '    HINT ' || hint WHERE hint <> '';
END
$$;
\pset format unaligned
\pset tuples_only on

-- client codes
SELECT pg_temp.refusal(code, 'mboxPC', '1', '{"a": 1}')
FROM unnest(ARRAY['unknown', 'Acme', 'acme.evil.com/', 'x@y', 'a b', '-a', 'a-', '', 'acme ', repeat('a', 64), E'a\nb', 'xn--acme']) code;

-- id kinds
SELECT pg_temp.refusal('acme', kind, '1', '{"a": 1}') FROM unnest(ARRAY['mboxpc', 'MBOXPC', 'email', '']) kind;

-- ids
SELECT pg_temp.refusal('acme', 'mbox3rdPartyId', id, '{"a": 1}')
FROM unnest(ARRAY['a+b', 'a/b', '', '   ', repeat('x', 257), repeat('é', 257), E'a\tb', E'a\u202eb/']) id;
SELECT pg_temp.refusal('acme', 'mboxPC', id, '{"a": 1}') FROM unnest(ARRAY['a.b.c', '', repeat('1', 129), E'\x7f']) id;

-- attributes
SELECT pg_temp.refusal('acme', 'mboxPC', '1', attrs::jsonb)
FROM unnest(ARRAY[
    '[1, 2]', '"text"', '1', 'true', 'null', '{}', '{"a": null}', '{"a": {"b": null, "c": {}}}',
    '{" ": 1}', '{"": 1}', '{"a": {"": 1}}', '{"profile.": 1}',
    '{"a.b": 1, "a": {"b": 2}}', '{"profile.a": 1, "a": 2}', '{"profile": {"a": null}, "a": 2}']) attrs;

-- sizes
SELECT pg_temp.refusal('acme', 'mboxPC', '1', (repeat('{"a":', 200) || '1' || repeat('}', 200))::jsonb);
SELECT pg_temp.refusal('acme', 'mboxPC', '1', ('{"a":' || repeat('[', 200) || repeat(']', 200) || '}')::jsonb);
SELECT pg_temp.refusal('acme', 'mboxPC', '1', ('{"a":' || repeat('[', 6000) || repeat(']', 6000) || '}')::jsonb);
SELECT pg_temp.refusal('acme', 'mboxPC', '1', jsonb_build_object('big', repeat('x', 60000)));
SELECT pg_temp.refusal('acme', 'mboxPC', '1', jsonb_build_object('big', repeat('日', 7000)));
SELECT pg_temp.refusal('acme', 'mboxPC', '1', jsonb_build_object(repeat('n', 60000), 1));
SELECT pg_temp.refusal('acme-get', 'mboxPC', '1', jsonb_build_object('big', repeat('x', 8000)));
SELECT pg_temp.refusal('acme-get', 'mboxPC', '1', jsonb_build_object('big', repeat('x', 60000)));
SELECT pg_temp.refusal('acme', 'mboxPC', '1', jsonb_build_object('a', repeat('x', 17000000)));

-- NULL arguments
SELECT pg_temp.refusal(NULL, 'mboxPC', '1', '{"a": 1}');
SELECT pg_temp.refusal('acme', NULL, '1', '{"a": 1}');
SELECT pg_temp.refusal('acme', 'mboxPC', NULL, '{"a": 1}');
SELECT pg_temp.refusal('acme', 'mboxPC', '1', NULL);
SELECT pg_temp.refusal('acme', 'mboxPC', '1', '{"a": 1}', NULL);

-- a transaction that may not write; preview works in it
BEGIN READ ONLY;
SELECT count(*) FROM target_profile_preview('acme', 'mboxPC', '1', '{"a": 1}');
SELECT target_profile_update('acme', 'mboxPC', '1', '{"a": 1}');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;

-- preview refuses the same
SELECT target_profile_preview('acme', 'mbox3rdPartyId', 'a/b', '{"a": 1}');
SELECT target_profile_preview('acme-get', 'mboxPC', '1', jsonb_build_object('big', repeat('x', 8000)));
SELECT target_profile_preview('acme', 'mboxPC', '1', NULL);

-- nothing of all this is stored
SELECT count(*) FROM target_profile.outbox;
SELECT count(*) FROM target_profile.dead_letter;

-- what is just allowed
SELECT pg_temp.refusal('acme', 'mbox3rdPartyId', repeat('é', 256), '{"a": 1}');
SELECT pg_temp.refusal('acme', 'mboxPC', repeat('1', 128), '{"a": 1}');
SELECT pg_temp.refusal('acme', 'mboxPC', '1368007744041-575948.01_00', '{"a": 1}');
SELECT pg_temp.refusal('acme', kind, 'a b&c', '{"": null, "a": 1}'::jsonb - '')
FROM unnest(ARRAY['mboxPC', 'pcId', 'tntId', 'mbox3rdPartyId', 'thirdPartyId']) kind;
SELECT id_kind, count(*) FROM target_profile.outbox WHERE profile_id = 'a b&c' GROUP BY id_kind ORDER BY id_kind;
-- 60,000 bytes of body: mboxPC=1 and &profile.big= take 21 of them
SELECT pg_temp.refusal('acme', 'mboxPC', '1', jsonb_build_object('big', repeat('x', 59979)));
SELECT pg_temp.refusal('acme', 'mboxPC', '1', jsonb_build_object('big', repeat('x', 59980)));

DROP EXTENSION target_profile;
