-- First of all. CREATE EXTENSION puts the schema that it was given first, and whoever may create objects there could offer operators
-- and functions that match better than Postgres' own: they would run as superuser, and stay in the views. So every name is looked for
-- in pg_catalog, every object is made in a schema that is named, and what is temporary is found by nobody.
SET LOCAL search_path = pg_catalog, pg_temp;
-- And whatever new tables of this database are stored as, these are read and written as heaps.
SET LOCAL default_table_access_method = heap;
