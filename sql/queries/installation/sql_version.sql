-- Runs under the search_path of the session that reads the view worker: every operator is qualified.
SELECT e.extversion FROM pg_catalog.pg_extension e WHERE e.extname OPERATOR(pg_catalog.=) 'target_profile'
