SELECT o.partition_name::pg_catalog.text
FROM target_profile._response_partitions_before($1) o
WHERE o.partition_name <> ALL ($2::pg_catalog.name[])
ORDER BY o.day
LIMIT $3
