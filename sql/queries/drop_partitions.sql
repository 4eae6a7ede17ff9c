SELECT target_profile._drop_response_partitions($1)
