-- The requests that an update becomes. Nothing is sent or stored.
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme');
SELECT target_profile.add_client('segmentexchangepartn');
SELECT target_profile.add_client('indexed', arrays => 'indexed');
SELECT target_profile.add_client('nulls', null_value => 'none');
SELECT target_profile.add_client('posts', method => 'post');
SELECT target_profile.add_client('gets', method => 'get');
SELECT target_profile.add_client('own', endpoint => 'https://profiles.example.com/{client}/update');
\pset format unaligned
\pset tuples_only on

-- the examples of Adobe's documentation and of a connector that works
SELECT * FROM target_profile_preview('acme', 'mboxPC', '1368007744041-575948.01_00', '{"attr": 0, "attr2": 1}');
SELECT * FROM target_profile_preview('acme', 'mbox3rdPartyId', '123456', '{"attr": 0, "attr2": 1}');
SELECT * FROM target_profile_preview('segmentexchangepartn', 'mbox3rdPartyId', '123-test',
    '{"city": "New York City", "name": "Rajul", "age": "21", "param1": "value1", "param2": "value2"}');
SELECT * FROM target_profile_preview('own', 'thirdPartyId', '1', '{"a": 1}');

-- arrays, falsy values, nulls, nesting
SELECT url FROM target_profile_preview('indexed', 'mboxPC', '1', '{"tags": ["a", "b"], "n": 0, "f": false, "e": "", "x": 1.5}');
SELECT url FROM target_profile_preview('acme', 'mboxPC', '1', '{"tags": ["a", "b"], "n": 0, "f": false, "e": "", "x": 1.5, "none": null}');
SELECT url FROM target_profile_preview('nulls', 'mboxPC', '1', '{"a": null, "b": {"c": null}, "d": [null]}');
SELECT url FROM target_profile_preview('acme', 'mboxPC', '1', '{"address": {"city": {"name": "Basel"}, "zip": 4001}}');

-- names: one leading profile. is dropped; case matters
SELECT url FROM target_profile_preview('acme', 'mboxPC', '1', '{"profile.key1": "test1.!", "key2": "test2~"}');
SELECT url FROM target_profile_preview('acme', 'mboxPC', '1', '{"profileLevel": 1, "profile": 2, "profile.profile.x": 3, "Attr": 4, "attr": 5}');
SELECT url FROM target_profile_preview('acme', 'mboxPC', '1', '{"profile": {"age": 42}}');

-- every digit, every byte
SELECT url FROM target_profile_preview('acme', 'mboxPC', '1', '{"n": 12345678901234567890.10, "i": 9007199254740993, "e": 1e400, "s": -0.0}') \gset
\echo :url
SELECT url FROM target_profile_preview('acme', 'mbox3rdPartyId', 'a b&c=d#e%f?g', '{"a&b=c#d+e%f": " !\"#$%&''()*+,-./:;<=>?@[\\]^_`{|}~", "日本": "é😀\n"}');

-- the last GET and the first POST
SELECT method, bytes, length(body) FROM target_profile_preview('acme', 'mbox3rdPartyId', '1', jsonb_build_object('a', repeat('a', 7923)));
SELECT method, bytes, length(body), url FROM target_profile_preview('acme', 'mbox3rdPartyId', '1', jsonb_build_object('a', repeat('a', 7924)));

-- more than a POST holds: several, no attribute lost or sent twice
CREATE TEMP TABLE part AS
SELECT p.* FROM (SELECT jsonb_object_agg('attr' || n, repeat('x', 1000)) FROM generate_series(1, 200) n) a (attrs),
    target_profile_preview('acme', 'mboxPC', '1', attrs) p;
SELECT method, count(*), max(bytes) <= 60000 AS fit, bool_and(length(body) = bytes) AS counted FROM part GROUP BY method;
SELECT count(*), count(DISTINCT pair) FROM part, string_to_table(body, '&') pair WHERE pair LIKE 'profile.%';
SELECT count(*) FROM part WHERE body LIKE 'mboxPC=1&%';
-- the same for a client that only sends GETs
SELECT method, count(*), max(bytes) <= 8000 AS fit
FROM (SELECT jsonb_object_agg('attr' || n, repeat('x', 1000)) FROM generate_series(1, 200) n) a (attrs),
    target_profile_preview('gets', 'mboxPC', '1', attrs) GROUP BY method;

-- a client that only sends POSTs
SELECT * FROM target_profile_preview('posts', 'mboxPC', '1', '{"a": "b c"}');

-- nothing is stored, and no id is spent
SELECT count(*) FROM target_profile.outbox;
SELECT nextval('target_profile.outbox_id_seq');
DROP EXTENSION target_profile;
