-- The newest dead letter, waiting or sent again, that is older than an entry of its profile that has arrived. Once among the ids above 0, and
-- once among the others, which are not in the order in which entries were enqueued. The row comparison and ORDER BY need an index on the
-- profile and the id, so that the planner does not scan dead letters by their ids.
SELECT arrived.number::pg_catalog.int4, max(older.id)
FROM unnest($1, $2, $3, $4) WITH ORDINALITY AS arrived (client_code, id_kind, profile_id, newest, number)
CROSS JOIN (VALUES (1::pg_catalog.int8, 9223372036854775807), (-9223372036854775808, 1)) AS ids (low, beyond)
CROSS JOIN LATERAL (
    (SELECT d.id
    FROM target_profile.dead_letter d
    WHERE d.client_code = arrived.client_code AND d.id_kind = arrived.id_kind
      AND (d.profile_id, d.id) < (arrived.profile_id, least(arrived.newest, ids.beyond))
      AND (d.profile_id, d.id) >= (arrived.profile_id, ids.low)
      AND d.discarded_at IS NULL
    ORDER BY d.profile_id DESC, d.id DESC
    LIMIT 1)
    UNION ALL
    (SELECT o.id
    FROM target_profile.outbox o
    WHERE o.client_code = arrived.client_code AND o.id_kind = arrived.id_kind
      AND (o.profile_id, o.id) < (arrived.profile_id, least(arrived.newest, ids.beyond))
      AND (o.profile_id, o.id) >= (arrived.profile_id, ids.low)
      AND o.retried_at IS NOT NULL
    ORDER BY o.profile_id DESC, o.id DESC
    LIMIT 1)
) older
GROUP BY arrived.number, ids.low
