-- The last outbox id drawn: a sequence that has given out nothing shows the one that it will give out first. There is no
-- number below the first one of bigint.
SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text,
    CASE WHEN s.is_called OR s.last_value = -9223372036854775808 THEN s.last_value ELSE s.last_value - 1 END
FROM target_profile.outbox_id_seq s
