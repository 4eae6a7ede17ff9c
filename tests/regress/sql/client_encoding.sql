-- A WARNING that the client's encoding cannot show is escaped: the write does not fail for it.
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme', endpoint => 'http://127.0.0.1:9/');
CREATE TABLE public.enc (id text, v text);
SELECT target_profile.watch('public.enc', 'acme', 'mbox3rdPartyId', 'id', '{v}');
CREATE TABLE public.source AS SELECT U&'\0141/\00f3d\017a' AS id;
SET client_encoding = 'LATIN1';
INSERT INTO public.enc VALUES (NULL, 'x');
INSERT INTO public.enc SELECT id, 'x' FROM public.source;
UPDATE public.enc SET v = 'y';
SET client_encoding = 'SQL_ASCII';
INSERT INTO public.enc VALUES ('a/b', 'x');
RESET client_encoding;
SELECT count(*) FROM public.enc;
SELECT count(*) FROM target_profile.dead_letter;
-- A column whose long values have no place in a page: the write goes on as well.
ALTER TABLE target_profile.outbox ALTER attrs SET STORAGE PLAIN;
\set VERBOSITY terse
INSERT INTO public.enc VALUES ('big', (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 1500) n));
\set VERBOSITY default
SELECT count(*) FROM public.enc WHERE id = 'big';
SELECT reason FROM target_profile.dead_letter WHERE profile_id = 'big';
DROP TABLE public.enc, public.source;
DROP EXTENSION target_profile;
