SELECT gap.client_code, found.priority
FROM unnest($1, $2, $3) AS gap (client_code, above, below)
CROSS JOIN LATERAL (
    SELECT o.priority
    FROM target_profile.outbox o
    WHERE o.client_code = gap.client_code AND o.priority > gap.above AND o.priority < gap.below
    ORDER BY o.priority DESC
    LIMIT 1
) found
