SELECT target_profile._drop_response_partition($1::pg_catalog.name)
