-- Runs with the owner's rights under the caller's search_path: every operator is qualified.
SELECT o.xmin FROM target_profile.outbox o WHERE o.id OPERATOR(pg_catalog.=) $1
