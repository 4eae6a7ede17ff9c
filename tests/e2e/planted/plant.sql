-- For each operator, function, type and relation whose name occurs in a text: better matches of that name in a schema, each of which says in
-- the server's log that it was called. Called by whoever may create objects in the schema.
CREATE FUNCTION pg_temp.plant(place pg_catalog.text, sql pg_catalog.text) RETURNS pg_catalog.int8 LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $plant$
DECLARE
    -- What our tables, functions and queries of the catalog consist of.
    kinds regtype[] := '{bool,"\"char\"",name,int2,int4,int8,oid,float8,numeric,text,regclass,regnamespace,regprocedure,regtype,regrole,
        timestamptz,interval,jsonb,xid,text[],int8[],oid[],name[],timestamptz[]}';
    -- Those that something else is mostly found for.
    inexact regtype[] := '{name,"\"char\"",int2,int4,int8,oid,text,regclass,timestamptz}';
    words text[] := ARRAY(SELECT DISTINCT (regexp_matches(lower(sql), '[a-z_][a-z0-9_]*', 'g'))[1]);
    signs text[] := ARRAY(
        SELECT DISTINCT o.oprname FROM pg_operator o
        WHERE o.oprname = ANY (ARRAY(SELECT (regexp_matches(sql, '[-+*/<>=~!@#%^&|`?]+', 'g'))[1]) || '{=,<>,<,>,<=,>=,~~}'::text[]));
    planted bigint := 0;
    one record;
    sign text;
BEGIN
    EXECUTE format($f$
        CREATE FUNCTION %1$I.called(what pg_catalog.text) RETURNS pg_catalog.bool LANGUAGE plpgsql SET search_path = pg_catalog AS $$
        BEGIN
            RAISE LOG 'PLANTED: %% ran as %%', what, current_user;
            RETURN true;
        END
        $$ $f$, place);

    -- Operators: for each pair of types, one function.
    FOR one IN
        SELECT format('pg_catalog.%I', l.typname) AS l, format('pg_catalog.%I', r.typname) AS r
        FROM pg_type l, pg_type r WHERE l.oid = ANY (kinds) AND r.oid = ANY (kinds)
    LOOP
        EXECUTE format($f$
            CREATE FUNCTION %1$I.operator(%2$s, %3$s) RETURNS pg_catalog.bool LANGUAGE plpgsql SET search_path = pg_catalog AS $$
            BEGIN
                RETURN %1$I.called('operator of %2$s, %3$s');
            END
            $$ $f$, place, one.l, one.r);
        FOREACH sign IN ARRAY signs LOOP
            CONTINUE WHEN to_regoperator(format('%I.%s(%s, %s)', place, sign, one.l, one.r)) IS NOT NULL;
            EXECUTE format('CREATE OPERATOR %1$I.%2$s (FUNCTION = %1$I.operator, LEFTARG = %3$s, RIGHTARG = %4$s)', place, sign, one.l, one.r);
            planted := planted + 1;
        END LOOP;
    END LOOP;

    -- Functions and aggregates: with the arguments that they have, with each type where they take any, and with a type that matches better
    -- in the place of each argument.
    FOR one IN
        WITH original AS (
            SELECT p.proname, p.oid, p.proargtypes::oid[] AS arguments
            FROM pg_proc p
            WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = ANY (words) AND p.prokind IN ('f', 'a', 'w')
              AND p.pronargs <= 5
        ), variant AS (
            SELECT o.proname, o.arguments::regtype[] AS arguments FROM original o
            UNION
            SELECT o.proname, ARRAY(
                SELECT CASE
                    WHEN a.type::regtype::text IN ('"any"', 'anyelement', 'anynonarray', 'anycompatible', 'anycompatiblenonarray')
                    THEN k::oid
                    WHEN a.type::regtype::text IN ('anyarray', 'anycompatiblearray')
                    THEN (SELECT t.typarray FROM pg_type t WHERE t.oid = k)
                    ELSE a.type END
                FROM unnest(o.arguments) WITH ORDINALITY a (type, n) ORDER BY a.n)::regtype[]
            FROM original o, unnest(kinds) k
            UNION
            SELECT o.proname, ARRAY(
                SELECT CASE WHEN a.n = place.n THEN k::oid ELSE a.type END
                FROM unnest(o.arguments) WITH ORDINALITY a (type, n) ORDER BY a.n)::regtype[]
            FROM original o, unnest(inexact) k, generate_series(1, least(cardinality(o.arguments), 2)) AS place (n)
        )
        SELECT v.proname AS name, array_to_string(v.arguments, ', ') AS arguments
        FROM variant v
        WHERE NOT EXISTS (
            SELECT FROM unnest(v.arguments) a JOIN pg_type t ON t.oid = a
            WHERE t.typtype = 'p' AND t.typname NOT IN ('anyelement', 'anyarray', 'anynonarray'))
          AND array_position(v.arguments, 0::oid::regtype) IS NULL
        GROUP BY 1, 2
    LOOP
        CONTINUE WHEN to_regprocedure(format('%I.%I(%s)', place, one.name, one.arguments)) IS NOT NULL;
        EXECUTE format($f$
            CREATE FUNCTION %1$I.%2$I(%3$s) RETURNS pg_catalog.bool LANGUAGE plpgsql SET search_path = pg_catalog AS $$
            BEGIN
                RETURN %1$I.called('%2$s');
            END
            $$ $f$, place, one.name, one.arguments);
        planted := planted + 1;
    END LOOP;
    RETURN planted;
END
$plant$;

-- Types and relations: also what is temporary is found by their names.
CREATE FUNCTION pg_temp.plant_names(place pg_catalog.text, called pg_catalog.text, sql pg_catalog.text) RETURNS pg_catalog.int8
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $plant$
DECLARE
    words text[] := ARRAY(SELECT DISTINCT (regexp_matches(lower(sql), '[a-z_][a-z0-9_]*', 'g'))[1]);
    planted bigint := 0;
    one record;
BEGIN
    FOR one IN
        SELECT c.relname AS name, string_agg(format('c.%I', a.attname), ', ' ORDER BY a.attnum) AS columns
        FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        JOIN pg_type t ON t.oid = a.atttypid AND t.typtype <> 'p'
        WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind IN ('r', 'v') AND c.relname = ANY (words)
          AND has_table_privilege(c.oid, 'SELECT')
        GROUP BY c.relname
    LOOP
        EXECUTE format('CREATE VIEW %1$I.%2$I AS SELECT %3$s FROM pg_catalog.%2$I c WHERE %4$s(%5$L)', place, one.name, one.columns, called,
            'relation ' || one.name);
        planted := planted + 1;
    END LOOP;
    FOR one IN
        SELECT t.typname AS name FROM pg_type t
        WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype = 'b' AND t.typname = ANY (words) AND t.typelem = 0
    LOOP
        EXECUTE format('CREATE DOMAIN %1$I.%2$I AS pg_catalog.%2$I CHECK (%3$s(%4$L))', place, one.name, called, 'type ' || one.name);
        planted := planted + 1;
    END LOOP;
    RETURN planted;
END
$plant$;
