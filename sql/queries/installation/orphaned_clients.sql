WITH RECURSIVE waiting (client_code) AS (
    (SELECT o.client_code FROM target_profile.outbox o ORDER BY o.client_code LIMIT 1)
    UNION ALL
    SELECT (SELECT o.client_code FROM target_profile.outbox o
            WHERE o.client_code > waiting.client_code ORDER BY o.client_code LIMIT 1)
    FROM waiting
    WHERE waiting.client_code IS NOT NULL
)
SELECT w.client_code
FROM waiting w
WHERE w.client_code IS NOT NULL
  AND NOT EXISTS (SELECT FROM target_profile.client c WHERE c.client_code = w.client_code)
