-- Registering, changing, pausing and removing clients: what they leave behind, and what they refuse.
CREATE EXTENSION target_profile;

-- The error of a statement, a line each for its parts.
CREATE FUNCTION pg_temp.refusal(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE statement;
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

-- defaults
SELECT target_profile.add_client('acme');
\x on
SELECT client_code, endpoint, auth_token, method, daily_quota, backfill_share, delay, arrays, null_value, max_attempts,
    max_age, max_in_flight, timeout, paused_at, paused_by, pause_reason
FROM target_profile.client;

-- each setting, then each back to its default
SELECT target_profile.set_client('acme', endpoint => 'https://profiles.example.com/{client}/update', auth_token => 'SECRET',
    method => 'post', daily_quota => 7, backfill_share => 1, delay => '3 s', arrays => 'indexed', null_value => '',
    max_attempts => 1, max_age => '1 hour', max_in_flight => 1, timeout => '100 ms');
SELECT target_profile.set_client('acme', method => 'get');
SELECT client_code, endpoint, auth_token, method, daily_quota, backfill_share, delay, arrays, null_value, max_attempts,
    max_age, max_in_flight, timeout, paused_at, paused_by, pause_reason
FROM target_profile.client;
SELECT target_profile.set_client('acme', reset => '{endpoint,auth_token,method,daily_quota,backfill_share,delay,arrays,null_value,max_attempts,max_age,max_in_flight,timeout}');
SELECT client_code, endpoint, auth_token, method, daily_quota, backfill_share, delay, arrays, null_value, max_attempts,
    max_age, max_in_flight, timeout, paused_at, paused_by, pause_reason
FROM target_profile.client;
\x off

-- registered twice; codes that cannot be
SELECT pg_temp.refusal($$SELECT target_profile.add_client('acme', method => 'post')$$);
SELECT pg_temp.refusal(format('SELECT target_profile.add_client(%L)', code))
FROM unnest(ARRAY['Acme', 'acme.evil.com/', 'x@y', 'a b', '-a', '', NULL]) code;

-- settings out of range, at both ends
SELECT pg_temp.refusal(format('SELECT target_profile.set_client(%L, %s)', 'acme', setting))
FROM unnest(ARRAY[
    'method => ''put''', 'method => ''''', 'arrays => ''csv''',
    'daily_quota => 0', 'daily_quota => -1',
    'backfill_share => 0', 'backfill_share => 1.01', 'backfill_share => ''NaN''', 'backfill_share => -1',
    'delay => ''-1 ms''', 'delay => ''1 day 1 us''', 'delay => ''-3 months''',
    'max_attempts => 0', 'max_attempts => 1001',
    'max_age => ''59 s''', 'max_age => ''366 days''',
    'max_in_flight => 0', 'max_in_flight => 1001',
    'timeout => ''99 ms''', 'timeout => ''301 s''',
    'reset => ''{client_code}''', 'reset => ''{method,NULL}''', 'reset => ''{"method = 1, paused_by"}''']) setting;
SELECT pg_temp.refusal(format('SELECT target_profile.add_client(%L, %s)', 'other', setting))
FROM unnest(ARRAY['method => ''put''', 'daily_quota => 0', 'timeout => ''0''']) setting;

-- endpoints; one with credentials or a query is not shown whole
SELECT pg_temp.refusal(format('SELECT target_profile.set_client(%L, endpoint => %L)', 'acme', endpoint))
FROM unnest(ARRAY[
    'http://acme.tt.omtrdc.net/m2/acme/profile/update', 'http://{client}.localhost/', 'ftp://example.com/', 'SECRET', '',
    'https://me:SECRET@example.com/', 'https://SECRET@example.com/', 'https://example.com/#SECRET', 'https://example.com/?token=SECRET',
    'https://example.com/{tenant}', 'https://example.com/{client', 'https://{client}', 'https://{client}/x',
    'https://evil{client}.example.com/', 'https://example.com/%zz', 'https://EXAMPLE.com/', 'https://example.com:443/', 'https://example.com',
    'https://example.com/' || repeat('x', 1000)]) endpoint;
SELECT pg_temp.refusal(format('SELECT target_profile.set_client(%L, endpoint => %L)', 'acme', endpoint))
FROM unnest(ARRAY['http://localhost:8080/', 'http://127.0.0.1:8080/{client}', 'http://[::1]/', 'https://{client}.example.com/m2/{client}']) endpoint;
SELECT target_profile.set_client('acme', reset => '{endpoint}');

-- tokens; an error never shows one
SELECT pg_temp.refusal(format('SELECT target_profile.set_client(%L, auth_token => %L)', 'acme', token))
FROM unnest(ARRAY['', 'Bearer SECRET', E'SECRET\r\nX-Evil: 1', 'SECRÉT', repeat('SECRET', 1000)]) token;
CREATE FUNCTION pg_temp.shows_token(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text;
    detail text;
    hint text;
    context text;
BEGIN
    EXECUTE statement USING 'SECRET', 'SECRET TOKEN';
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT,
        context = PG_EXCEPTION_CONTEXT;
    RETURN CASE WHEN concat(message, detail, hint, context) ~ 'SECRET' THEN 'shown: ' ELSE 'hidden: ' END || message;
END
$$;
SELECT pg_temp.shows_token($$SELECT target_profile.add_client('third', auth_token => $2)$$);
SELECT pg_temp.shows_token($$SELECT target_profile.add_client('third', auth_token => $1, method => 'put')$$);
SELECT pg_temp.shows_token($$SELECT target_profile.add_client('acme', auth_token => $1)$$);
SELECT pg_temp.shows_token($$SELECT target_profile.set_client('unknown', auth_token => $1)$$);
SELECT pg_temp.shows_token($$SELECT target_profile.set_client('acme', auth_token => $1, reset => '{nothing}')$$);
SELECT pg_temp.shows_token($$SELECT target_profile.set_client('acme', auth_token => $1, max_attempts => 0)$$);
SELECT pg_temp.shows_token($$SELECT target_profile.set_client('acme', endpoint => 'https://' || $1 || '@example.com/')$$);
SELECT pg_temp.shows_token($$UPDATE target_profile.client SET auth_token = $2$$);
SELECT pg_temp.shows_token($$UPDATE target_profile.client SET auth_token = $1, timeout = NULL$$);

-- a row that is changed by hand is checked as well
SELECT pg_temp.refusal($$INSERT INTO target_profile.client (client_code) VALUES ('A')$$);
SELECT pg_temp.refusal($$UPDATE target_profile.client SET daily_quota = -1$$);
SELECT pg_temp.refusal($$UPDATE target_profile.client SET timeout = NULL$$);

-- clients that are not registered
SELECT pg_temp.refusal(format('SELECT target_profile.%s', call))
FROM unnest(ARRAY[
    'set_client(''unknown'')', 'set_client(''unknown'', method => ''get'')', 'set_client(NULL)', 'pause(''unknown'', ''x'')', 'pause(NULL)',
    'resume(''unknown'')', 'resume(NULL)', 'remove_client(''unknown'')', 'remove_client(''unknown'', true)', 'remove_client(NULL)']) call;

-- pause and resume
SELECT target_profile.pause('acme', 'maintenance');
SELECT client_code, paused_at IS NOT NULL, paused_by, pause_reason FROM target_profile.client;
SELECT client_code, state, reason, since IS NOT NULL, next_try_at, backlog, oldest_age FROM target_profile.status;
-- an entry of a paused client is accepted, and waits
SELECT target_profile_update('acme', 'mboxPC', '1', '{"a": 1}') > 0;
SELECT client_code, state, reason, since IS NOT NULL, next_try_at, backlog, oldest_age > interval '0' FROM target_profile.status;
-- a new token ends no pause that an admin ordered, and ends one that the old token caused
SELECT target_profile.set_client('acme', auth_token => 'NEW');
SELECT client_code, state, reason FROM target_profile.status;
UPDATE target_profile.client SET paused_by = 'unauthorized', pause_reason = 'HTTP 403';
SELECT client_code, state, reason FROM target_profile.status;
SELECT target_profile.set_client('acme', auth_token => 'NEWER');
SELECT client_code, state, reason, since FROM target_profile.status;
SELECT target_profile.pause('acme');
SELECT target_profile.resume('acme');
SELECT target_profile.resume('acme');
SELECT client_code, state, reason, since FROM target_profile.status;

-- removal: refused while entries wait, unless they shall become dead letters
SELECT pg_temp.refusal($$SELECT target_profile.remove_client('acme')$$);
SELECT count(*) FROM target_profile.client;
SELECT target_profile.remove_client('acme', dead_letter_waiting => true);
SELECT count(*) FROM target_profile.client;
SELECT count(*) FROM target_profile.outbox;
SELECT client_code, id_kind, profile_id, attrs, priority, source, attempts, reason, failed_at IS NOT NULL, response_id, discarded_at
FROM target_profile.dead_letter;
SELECT pg_temp.refusal($$SELECT target_profile_update('acme', 'mboxPC', '1', '{"a": 1}')$$);
SELECT target_profile.add_client('acme');
SELECT target_profile.remove_client('acme');

-- adoption: the first add_client binds, and a copy sends nothing until adopt()
SELECT target_profile.add_client('acme');
SELECT client_code, state, reason FROM target_profile.status;
UPDATE target_profile.binding SET database_oid = 1;
SELECT client_code, state, reason FROM target_profile.status;
SELECT target_profile.adopt();
SELECT client_code, state, reason FROM target_profile.status;

-- what surrounds an error: the function that was called, and not its statements
CREATE FUNCTION pg_temp.surroundings(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    context text;
BEGIN
    EXECUTE statement;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
    RETURN regexp_replace(split_part(context, E'\nSQL statement "SELECT target_profile', 1), ' line \d+', '', 'g');
END
$$;
SELECT pg_temp.surroundings($$SELECT target_profile.add_client('Acme')$$);
SELECT pg_temp.surroundings($$SELECT target_profile.add_client('other', timeout => '0')$$);
SELECT pg_temp.surroundings($$SELECT target_profile.set_client('acme', timeout => '0')$$);

DROP EXTENSION target_profile;
