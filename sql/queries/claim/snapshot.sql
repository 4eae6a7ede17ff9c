-- The last outbox id that was drawn. A sequence that has given no id shows the first one that it will give, and the lowest bigint has no
-- predecessor.
SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text,
    CASE WHEN s.is_called OR s.last_value = -9223372036854775808 THEN s.last_value ELSE s.last_value - 1 END
FROM target_profile.outbox_id_seq s
