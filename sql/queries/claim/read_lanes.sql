-- The condition client_code >= … is redundant. Only the index of the lanes can use it, so the planner estimates fewer rows for that index than
-- for any other, even if the statistics show only one client. Otherwise it might scan all entries by their ids.
SELECT lane.number::pg_catalog.int4, head.id, head.id_kind, head.profile_id, head.enqueued_at, head.next_attempt_at
FROM unnest($1, $2, $3, $4, $5) WITH ORDINALITY
    AS lane (client_code, priority, first, up_to, row_limit, number)
CROSS JOIN LATERAL (
    SELECT o.id, o.id_kind, o.profile_id, o.enqueued_at, o.next_attempt_at
    FROM target_profile.outbox o
    WHERE o.client_code = lane.client_code AND o.priority = lane.priority AND o.id >= lane.first AND o.id <= lane.up_to
      AND o.client_code >= lane.client_code
    ORDER BY o.client_code, o.priority, o.id
    LIMIT lane.row_limit
) head
