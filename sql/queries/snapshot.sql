SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text, s.last_value FROM target_profile.outbox_id_seq s
