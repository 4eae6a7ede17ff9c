SELECT target_profile._ensure_response_partition($1)
