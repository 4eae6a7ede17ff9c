-- What tables of the documents say and the catalog does not, or the other way round: nothing, if they agree. tests/documents/run has put the
-- tables of the documents beside this session as files.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION target_profile;
CREATE TEMPORARY TABLE server_setting (name text, standard text, range text, meaning text);
CREATE TEMPORARY TABLE client_setting (LIKE server_setting);
CREATE TEMPORARY TABLE function_row (signature text, meaning text);
CREATE TEMPORARY TABLE relation_row (name text, contents text);
\copy server_setting FROM 'server_settings'
\copy client_setting FROM 'client_settings'
\copy function_row FROM 'functions'
\copy relation_row FROM 'relations'

CREATE TEMPORARY VIEW member AS
SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
WHERE e.extname = 'target_profile' AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e';

-- Settings of the server: a number with its unit, as a number of the smallest.
CREATE FUNCTION pg_temp.number(value text, unit text) RETURNS numeric LANGUAGE sql AS $$
    SELECT CASE
        WHEN unit IN ('ms', 's', 'min') THEN extract(epoch FROM value::interval)
        ELSE regexp_replace(value, ' ?B$', '')::numeric END
$$;
SELECT 'setting ' || coalesce(s.name, d.name) || ': documented ' || coalesce(concat_ws(', ', nullif(d.standard, ''), nullif(d.range, '')), 'nowhere')
    || ', in pg_settings ' || coalesce(concat_ws(' ', s.boot_val, s.unit, s.min_val, s.max_val), 'missing')
FROM server_setting d
FULL JOIN (SELECT * FROM pg_settings WHERE name LIKE 'target\_profile.%') s USING (name)
WHERE d.name IS NULL OR s.name IS NULL OR NOT CASE s.vartype
    WHEN 'integer' THEN
        pg_temp.number(d.standard, s.unit) = pg_temp.number(s.boot_val || coalesce(s.unit, ''), s.unit)
        AND pg_temp.number(split_part(d.range, ' to ', 1), s.unit) = pg_temp.number(s.min_val || coalesce(s.unit, ''), s.unit)
        AND pg_temp.number(split_part(d.range, ' to ', 2), s.unit) = pg_temp.number(s.max_val || coalesce(s.unit, ''), s.unit)
    ELSE d.standard = coalesce(s.boot_val, '') END;

-- Settings of a client: the parameters of add_client, with the defaults of the columns.
SELECT 'client setting ' || coalesce(c.name, d.name) || ': documented ' || coalesce(d.standard, 'nowhere') || ', is ' || coalesce(c.standard, 'missing')
FROM client_setting d
FULL JOIN (
    SELECT p.name, coalesce(substring(pg_get_expr(a.adbin, a.adrelid) FROM $$^'?(.*?)'?(?:::.*)?$$ || '$'), 'none') AS standard,
        format_type(t.atttypid, NULL) AS type
    FROM pg_proc f, unnest(f.proargnames) AS p (name)
    JOIN pg_attribute t ON t.attrelid = 'target_profile.client'::regclass AND t.attname = p.name
    LEFT JOIN pg_attrdef a ON a.adrelid = t.attrelid AND a.adnum = t.attnum
    WHERE f.oid = (SELECT oid FROM pg_proc WHERE proname = 'add_client') AND p.name <> 'client_code'
) c USING (name)
WHERE c.name IS NULL OR d.name IS NULL
   OR CASE c.type WHEN 'interval' THEN d.standard::interval <> c.standard::interval ELSE d.standard <> c.standard END;

-- Functions: names and the names of the parameters, but for those that are named as the settings.
CREATE TEMPORARY VIEW documented AS
SELECT name, ARRAY(
        SELECT substring(trim(parameter) FROM '^"?([a-z_]+)"?') FROM regexp_split_to_table(parameters, ',(?![^(]*\))') parameter
        WHERE trim(parameter) NOT IN ('', '…')) AS parameters
FROM function_row f
CROSS JOIN LATERAL (
    SELECT trim(both FROM m[1]) AS name, m[2] AS parameters
    FROM regexp_matches(regexp_replace(f.signature, '→.*$', ''), '((?:target_profile\.)?[a-z_]+)\(((?:[^()]|\([^()]*\))*)\)', 'g') m) m;
CREATE TEMPORARY VIEW existing AS
SELECT CASE p.pronamespace::regnamespace::text WHEN 'target_profile' THEN 'target_profile.' ELSE '' END || p.proname AS name,
    coalesce(p.proargnames[1:p.pronargs], '{}') AS parameters
FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
WHERE p.proname NOT LIKE '\_%';
SELECT 'function ' || name || ': documented ' || coalesce(d.parameters::text, 'nowhere') || ', is ' || coalesce(e.parameters::text, 'missing')
FROM documented d FULL JOIN existing e USING (name)
WHERE d.parameters IS NULL OR e.parameters IS NULL
   OR (d.parameters <> e.parameters AND name NOT IN ('target_profile.add_client', 'target_profile.set_client'));

-- Relations, and the columns of views.
CREATE TEMPORARY VIEW relation AS
SELECT 'target_profile.' || c.relname || CASE c.relkind WHEN 'v' THEN ' (view)' ELSE '' END AS name, c.oid, c.relkind
FROM pg_class c JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
WHERE c.relkind IN ('r', 'p', 'v');
SELECT 'relation ' || name || ': ' || CASE WHEN d.contents IS NULL THEN 'not documented' ELSE 'documented and missing' END
FROM relation_row d FULL JOIN relation r USING (name)
WHERE d.contents IS NULL OR r.oid IS NULL;
SELECT 'view ' || name || ': column ' || a.attname || ' is not documented'
FROM relation_row d JOIN relation r USING (name)
JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0
WHERE r.relkind = 'v' AND d.contents !~ ('\m' || a.attname || '\M');
