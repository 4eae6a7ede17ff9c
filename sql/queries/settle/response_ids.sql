SELECT pg_catalog.nextval('target_profile.response_id_seq') FROM pg_catalog.generate_series(1, $1)
