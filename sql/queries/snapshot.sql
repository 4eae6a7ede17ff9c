-- The last outbox id drawn: a sequence that has given out nothing shows the one that it will give out first.
SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text,
    CASE WHEN s.is_called THEN s.last_value ELSE s.last_value - 1 END
FROM target_profile.outbox_id_seq s
