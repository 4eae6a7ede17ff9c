-- Dead letters: back to the outbox, or gone on purpose. They run as the extension's owner; who may call them is a grant.

CREATE FUNCTION target_profile.retry(id bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    letter target_profile.dead_letter;
    checked record;
BEGIN
    PERFORM target_profile._check_owners('dead_letter', 'overtaken', 'superseded', 'outbox');
    SELECT * INTO letter FROM target_profile.dead_letter d WHERE d.id = retry.id FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM target_profile._raise_no_dead_letter(retry.id);
    END IF;
    IF letter.discarded_at IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = 'the dead letter was discarded',
            DETAIL = format('The id is %s; it was discarded at %s.', retry.id, letter.discarded_at),
            HINT = 'If its values are to be sent all the same, enqueue them anew with target_profile_update.';
    END IF;
    SELECT * INTO checked FROM target_profile._check_update(
        letter.client_code, letter.id_kind, letter.profile_id, letter.attrs, letter.raw);
    IF checked.fault IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the dead letter cannot be sent as it is',
            DETAIL = checked.fault,
            HINT = 'Fix the cause and call target_profile.retry again, write the row again, or discard the dead letter with target_profile.discard.';
    END IF;
    IF NOT EXISTS (
        SELECT name COLLATE "C" FROM jsonb_object_keys(checked.attrs::jsonb) name
        EXCEPT
        SELECT target_profile._overtaken(letter.id, letter.client_code, letter.id_kind, letter.profile_id))
    THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = 'newer updates of the profile have set all attributes of the dead letter',
            DETAIL = format('The id is %s.', retry.id),
            HINT = 'Discard it with target_profile.discard. If its older values are to replace the newer ones, '
                'enqueue them anew with target_profile_update.';
    END IF;
    IF EXISTS (SELECT FROM target_profile.outbox o WHERE o.id = retry.id) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = 'an entry of the outbox has the id of the dead letter',
            DETAIL = format('The id is %s; the sequence was set back.', retry.id),
            HINT = 'Call target_profile.retry again once that entry is sent.';
    END IF;
    PERFORM target_profile._put_back(ARRAY[retry.id]);
END
$$;

-- The number of those that went back. What cannot be sent, or has nothing left to say, stays a dead letter.
CREATE FUNCTION target_profile.retry_all(client_code text, since timestamptz DEFAULT '-infinity') RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    ids bigint[];
    asked bigint;
    fault text;
BEGIN
    PERFORM target_profile._check_owners('dead_letter', 'overtaken', 'superseded', 'outbox');
    IF NOT EXISTS (SELECT FROM target_profile.client c WHERE c.client_code = retry_all.client_code) THEN
        PERFORM target_profile._raise_unregistered(retry_all.client_code);
    END IF;
    WITH letter AS (
        SELECT d.id, d.client_code, d.id_kind, d.profile_id, d.attrs, d.raw
        FROM target_profile.dead_letter d
        WHERE d.client_code = retry_all.client_code AND d.failed_at >= retry_all.since AND d.discarded_at IS NULL
        FOR UPDATE
    ), checked AS (
        SELECT l.id, coalesce(c.fault, CASE
            WHEN NOT EXISTS (
                SELECT name COLLATE "C" FROM jsonb_object_keys(c.attrs::jsonb) name
                EXCEPT
                SELECT target_profile._overtaken(l.id, l.client_code, l.id_kind, l.profile_id))
            THEN 'newer updates of the profile have set all of its attributes'
            WHEN EXISTS (SELECT FROM target_profile.outbox o WHERE o.id = l.id)
            THEN 'an entry of the outbox has its id' END) AS fault
        FROM letter l
        CROSS JOIN LATERAL target_profile._check_update(l.client_code, l.id_kind, l.profile_id, l.attrs, l.raw) c
    )
    SELECT array_agg(c.id ORDER BY c.id) FILTER (WHERE c.fault IS NULL), count(*), min(c.fault)
    INTO ids, asked, fault
    FROM checked c;
    PERFORM target_profile._put_back(ids);
    IF fault IS NOT NULL THEN
        RAISE WARNING USING
            MESSAGE = format('%s of %s dead letters stay where they are', asked - coalesce(cardinality(ids), 0), asked),
            DETAIL = format('One of the reasons: %s.', fault),
            HINT = 'target_profile.retry(id) says the reason of each.';
    END IF;
    RETURN coalesce(cardinality(ids), 0);
END
$$;

CREATE FUNCTION target_profile.discard(id bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM target_profile._check_owners('dead_letter');
    -- The first time counts.
    UPDATE target_profile.dead_letter AS d SET discarded_at = coalesce(d.discarded_at, clock_timestamp())
    WHERE d.id = discard.id;
    IF NOT FOUND THEN
        PERFORM target_profile._raise_no_dead_letter(discard.id);
    END IF;
END
$$;

-- Attributes that newer updates of the profile have set since: whoever sends the dead letter again leaves them out.
CREATE FUNCTION target_profile._overtaken(id bigint, client_code text, id_kind text, profile_id text)
    RETURNS TABLE (attr text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT o.attr FROM target_profile.overtaken o WHERE o.id = $1
    UNION
    SELECT s.attr
    FROM target_profile.superseded s
    WHERE s.client_code = $2 AND s.id_kind = $3 AND s.profile_id = $4
      AND s.before_id > $1 AND (s.before_id > 1) = ($1 > 0);
$$;

-- Moves dead letters that were checked to the outbox. They keep their ids, so that entries which were written later and still
-- wait win over them, and their attempts and age count anew.
CREATE FUNCTION target_profile._put_back(ids bigint[]) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH letter AS (
        DELETE FROM target_profile.dead_letter d WHERE d.id = ANY ($1) RETURNING d.*
    ), back AS (
        INSERT INTO target_profile.outbox
            (id, client_code, id_kind, profile_id, attrs, priority, source, enqueued_at, last_outcome, retried_at,
             enqueued_by)
        SELECT l.id, l.client_code,
            -- An alias, as a row was buried with by 0.1.0.
            CASE l.id_kind WHEN 'pcId' THEN 'mboxPC' WHEN 'tntId' THEN 'mboxPC' WHEN 'thirdPartyId' THEN 'mbox3rdPartyId' ELSE l.id_kind END,
            l.profile_id, c.attrs::jsonb, l.priority, l.source,
            CASE WHEN isfinite(l.enqueued_at) THEN l.enqueued_at ELSE clock_timestamp() END,
            l.last_outcome, clock_timestamp(), l.enqueued_by
        FROM letter l
        CROSS JOIN LATERAL target_profile._check_update(l.client_code, l.id_kind, l.profile_id, l.attrs, l.raw) c
        ORDER BY l.id
        RETURNING 1
    )
    SELECT target_profile._check_moved('outbox', coalesce(cardinality($1), 0), (SELECT count(*) FROM back));
    SELECT target_profile._wake_for_all() WHERE cardinality($1) > 0;
$$;

CREATE FUNCTION target_profile._raise_no_dead_letter(id bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'invalid_parameter_value',
        MESSAGE = 'there is no dead letter with this id',
        DETAIL = format('The id is %s.', coalesce(id::text, 'null')),
        HINT = 'target_profile.dead_letter lists them; target_profile.result(id) says what became of an entry.';
END
$$;
