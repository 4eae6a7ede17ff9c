-- Text that is not valid UTF-8, as current_setting can return it, is an error of every function, and nothing beyond its end is read.
CREATE EXTENSION target_profile;
CREATE CAST (bytea AS text) WITHOUT FUNCTION;
SELECT target_profile.add_client('acme', endpoint => 'http://127.0.0.1:9/');
CREATE TABLE public.secret (owner text, v text);

CREATE FUNCTION public.outcome(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
BEGIN
    EXECUTE call;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RETURN format('%s%s', SQLSTATE, CASE WHEN octet_length(detail) > 200 OR detail LIKE '%u{0}%' THEN ', and shows more than it was given' END);
END
$$;

-- Each argument in turn; the others are NULL, or their type's plainest value where the function is strict.
SELECT p.proname, a.name, public.outcome(format('SELECT * FROM %s(%s)', p.oid::regproc, (
    SELECT string_agg(CASE
        WHEN b.number = a.number AND b.type = 'text[]'::regtype THEN $c$ARRAY['\x41f0'::bytea::text]$c$
        WHEN b.number = a.number THEN $c$'\x41f0'::bytea::text$c$
        WHEN p.proisstrict AND b.type = 'text'::regtype THEN $c$'a'$c$
        WHEN p.proisstrict THEN format('1::%s', b.type::regtype)
        ELSE format('NULL::%s', b.type::regtype) END, ', ' ORDER BY b.number)
    FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS b (type, number))))
FROM pg_proc p
JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'target_profile'
CROSS JOIN LATERAL (
    SELECT t.number, p.proargnames[t.number] AS name
    FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS t (type, number)
    WHERE t.type IN ('text'::regtype, 'text[]'::regtype)
) a
JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'c'
WHERE p.prokind = 'f'
ORDER BY p.proname COLLATE "C", a.number;

-- Where all is well but the text.
SELECT public.outcome($c$SELECT target_profile_update('acme', '\x41f0'::bytea::text, 'x', '{"a": 1}')$c$),
    public.outcome($c$SELECT target_profile_update('acme', 'mboxPC', '\x31f0'::bytea::text, '{"a": 1}')$c$),
    public.outcome($c$SELECT target_profile.add_client('\x41f0'::bytea::text)$c$),
    public.outcome($c$SELECT target_profile.set_client('acme', method => '\x41f0'::bytea::text)$c$),
    public.outcome($c$SELECT target_profile.watch('public.secret', 'acme', 'mbox3rdPartyId', 'owner', ARRAY['\x41f0'::bytea::text])$c$);
-- A row is written all the same, with a value that is stored in the row or elsewhere.
SELECT target_profile.watch('public.secret', 'acme', 'mbox3rdPartyId', 'owner', '{v}');
INSERT INTO public.secret VALUES ('\x41f0'::bytea::text, 'a'), ('b', '\x41f0'::bytea::text);
ALTER TABLE public.secret ALTER v SET STORAGE EXTERNAL;
INSERT INTO public.secret VALUES ('c', (repeat('a', 10000)::bytea || '\xf0')::text);
UPDATE public.secret SET owner = 'd' WHERE owner = 'c';
SELECT count(*) FROM public.secret;
SELECT count(*) FROM target_profile.outbox;
SELECT reason FROM target_profile.dead_letter ORDER BY id;

DROP TABLE public.secret;
DROP FUNCTION public.outcome;
DROP CAST (bytea AS text);
DROP EXTENSION target_profile;
