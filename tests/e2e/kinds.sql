-- Every kind of object that a database can hold, in schema "kinds", with rows in what can hold rows. A line that ends in
-- "-- icu", "-- contrib" or "-- 18" is only for servers that have it.
CREATE SCHEMA kinds;
CREATE SCHEMA extensions;
COMMENT ON SCHEMA kinds IS 'every kind';
COMMENT ON SCHEMA public IS 'not what initdb says';

-- extensions, and what stands on them
CREATE EXTENSION citext SCHEMA extensions; -- contrib
CREATE EXTENSION hstore SCHEMA extensions; -- contrib
CREATE EXTENSION btree_gist SCHEMA extensions; -- contrib
CREATE TABLE kinds.extended (id int PRIMARY KEY, label extensions.citext UNIQUE, attributes extensions.hstore); -- contrib
INSERT INTO kinds.extended VALUES (1, 'Label', 'a=>b'), (2, 'label 2', NULL); -- contrib
CREATE INDEX extended_attributes ON kinds.extended USING gist (attributes extensions.gist_hstore_ops (siglen = 32)); -- contrib

-- languages, access methods, conversions, foreign data
CREATE FUNCTION kinds.call_handler() RETURNS language_handler LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler';
CREATE FUNCTION kinds.inline_handler(internal) RETURNS void LANGUAGE c STRICT AS '$libdir/plpgsql', 'plpgsql_inline_handler';
CREATE FUNCTION kinds.validator(oid) RETURNS void LANGUAGE c STRICT AS '$libdir/plpgsql', 'plpgsql_validator';
CREATE LANGUAGE plkinds HANDLER kinds.call_handler INLINE kinds.inline_handler VALIDATOR kinds.validator;
COMMENT ON LANGUAGE plkinds IS 'a language';
CREATE ACCESS METHOD kindsheap TYPE TABLE HANDLER heap_tableam_handler;
CREATE ACCESS METHOD kindstree TYPE INDEX HANDLER bthandler;
COMMENT ON ACCESS METHOD kindsheap IS 'an access method';
CREATE CONVERSION kinds.latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE FOREIGN DATA WRAPPER nowhere OPTIONS (debug 'true');
CREATE SERVER far TYPE 'none' VERSION '1' FOREIGN DATA WRAPPER nowhere OPTIONS (host 'a''b');
CREATE USER MAPPING FOR PUBLIC SERVER far OPTIONS (secret 'x');
CREATE FOREIGN TABLE kinds.abroad (id int OPTIONS (column_name 'ID') NOT NULL, v text DEFAULT 'x') SERVER far OPTIONS (path '/');
COMMENT ON FOREIGN TABLE kinds.abroad IS 'a foreign table';

-- collations and text search
CREATE COLLATION kinds.plain FROM "C";
CREATE COLLATION kinds.numeric (provider = icu, locale = 'en-u-kn-true', deterministic = false); -- icu
CREATE TEXT SEARCH PARSER kinds.parser (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, HEADLINE = prsd_headline, LEXTYPES = prsd_lextype);
CREATE TEXT SEARCH TEMPLATE kinds.template (INIT = dsimple_init, LEXIZE = dsimple_lexize);
CREATE TEXT SEARCH DICTIONARY kinds.dictionary (TEMPLATE = kinds.template, STOPWORDS = 'english');
CREATE TEXT SEARCH CONFIGURATION kinds.words (PARSER = kinds.parser);
ALTER TEXT SEARCH CONFIGURATION kinds.words ADD MAPPING FOR asciiword, word WITH kinds.dictionary, simple;
COMMENT ON TEXT SEARCH CONFIGURATION kinds.words IS 'words';
COMMENT ON COLLATION kinds.plain IS 'a collation';

-- types
CREATE TYPE kinds.mood AS ENUM ('sad', 'ok', 'it''s fine', 'happy');
ALTER TYPE kinds.mood ADD VALUE 'calm' BEFORE 'ok';
CREATE TYPE kinds.later; -- a shell
CREATE TYPE kinds.word;
CREATE FUNCTION kinds.word_in(cstring) RETURNS kinds.word LANGUAGE internal STRICT IMMUTABLE AS 'textin';
CREATE FUNCTION kinds.word_out(kinds.word) RETURNS cstring LANGUAGE internal STRICT IMMUTABLE AS 'textout';
CREATE TYPE kinds.word (INPUT = kinds.word_in, OUTPUT = kinds.word_out, LIKE = text, CATEGORY = 'S', COLLATABLE = true);
CREATE TYPE kinds.pair AS (a int, b text COLLATE kinds.plain);
CREATE TYPE kinds.nested AS (p kinds.pair, many kinds.pair[]);
CREATE DOMAIN kinds.percent AS int NOT NULL DEFAULT 5 CONSTRAINT low CHECK (VALUE >= 0) CHECK (VALUE <= 100);
CREATE DOMAIN kinds.even_percent AS kinds.percent CHECK (VALUE % 2 = 0);
ALTER DOMAIN kinds.even_percent ADD CONSTRAINT not_ten CHECK (VALUE <> 10) NOT VALID;
CREATE DOMAIN kinds.pairs AS kinds.pair[];
CREATE FUNCTION kinds.float_gap(a float8, b float8) RETURNS float8 LANGUAGE sql IMMUTABLE STRICT AS 'SELECT a - b';
CREATE TYPE kinds.float_range AS RANGE (subtype = float8, subtype_diff = kinds.float_gap, multirange_type_name = kinds.float_ranges);
COMMENT ON TYPE kinds.pair IS 'a pair';
COMMENT ON COLUMN kinds.pair.a IS 'its first';
COMMENT ON DOMAIN kinds.percent IS 'a domain';
COMMENT ON CONSTRAINT low ON DOMAIN kinds.percent IS 'its constraint';
CREATE CAST (kinds.pair AS text) WITH INOUT AS ASSIGNMENT;
CREATE CAST (kinds.word AS text) WITHOUT FUNCTION AS IMPLICIT;
CREATE FUNCTION kinds.to_pair(int) RETURNS kinds.pair LANGUAGE sql IMMUTABLE AS 'SELECT ROW($1, NULL)::kinds.pair';
CREATE CAST (int AS kinds.pair) WITH FUNCTION kinds.to_pair(int);
COMMENT ON CAST (int AS kinds.pair) IS 'a cast';
CREATE FUNCTION kinds.from_sql(internal) RETURNS internal LANGUAGE internal IMMUTABLE AS 'prsd_lextype';
CREATE TRANSFORM FOR kinds.pair LANGUAGE plkinds (FROM SQL WITH FUNCTION kinds.from_sql(internal));

-- functions, procedures, aggregates, operators
CREATE FUNCTION kinds.twice(n int) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 7 RETURN 2 * n;
CREATE FUNCTION kinds.many(INOUT a int DEFAULT 1, OUT b text, VARIADIC c int[] DEFAULT '{}') LANGUAGE plkinds SECURITY DEFINER SET search_path = kinds, pg_temp SET work_mem = '1MB' AS $body$BEGIN b := '$$ -- '';' || a; END$body$;
CREATE FUNCTION kinds.rows_of(n int) RETURNS TABLE (i int, v text) LANGUAGE sql STABLE ROWS 3 AS $$ SELECT g, 'v' FROM generate_series(1, n) g $$;
CREATE FUNCTION kinds.poly(anycompatible, anycompatiblearray) RETURNS anycompatible LANGUAGE sql AS 'SELECT $1';
CREATE PROCEDURE kinds.do_nothing(INOUT n int) LANGUAGE plpgsql AS $$BEGIN COMMIT; END$$;
COMMENT ON FUNCTION kinds.twice(int) IS E'a function;\n--\n-- Name: with a header; Type: FUNCTION; Schema: kinds; Owner: -\n--\n';
COMMENT ON PROCEDURE kinds.do_nothing(int) IS 'a procedure';
CREATE FUNCTION kinds.add(state int, n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT state + n';
CREATE FUNCTION kinds.take(state int, n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT state - n';
CREATE AGGREGATE kinds.total(int) (SFUNC = kinds.add, STYPE = int, INITCOND = '0', COMBINEFUNC = int4pl, PARALLEL = SAFE, MSFUNC = kinds.add, MINVFUNC = kinds.take, MSTYPE = int, MINITCOND = '0');
CREATE AGGREGATE kinds.middle(float8 ORDER BY anyelement) (SFUNC = ordered_set_transition, STYPE = internal, FINALFUNC = percentile_disc_final, FINALFUNC_EXTRA);
CREATE AGGREGATE kinds.place(VARIADIC "any" ORDER BY VARIADIC "any") (SFUNC = ordered_set_transition_multi, STYPE = internal, FINALFUNC = rank_final, FINALFUNC_EXTRA, HYPOTHETICAL);
COMMENT ON AGGREGATE kinds.total(int) IS 'an aggregate';
CREATE FUNCTION kinds.below(kinds.mood, kinds.mood) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 < $2';
CREATE FUNCTION kinds.above(kinds.mood, kinds.mood) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 > $2';
CREATE OPERATOR kinds.<< (LEFTARG = kinds.mood, RIGHTARG = kinds.mood, FUNCTION = kinds.below, COMMUTATOR = OPERATOR(kinds.>>), RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR kinds.>> (LEFTARG = kinds.mood, RIGHTARG = kinds.mood, FUNCTION = kinds.above, COMMUTATOR = OPERATOR(kinds.<<));
CREATE OPERATOR kinds.@@@ (RIGHTARG = int, FUNCTION = kinds.twice);
COMMENT ON OPERATOR kinds.<< (kinds.mood, kinds.mood) IS 'an operator';
CREATE OPERATOR FAMILY kinds.backward USING btree;
CREATE FUNCTION kinds.int_back(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT btint4cmp($2, $1)';
CREATE OPERATOR CLASS kinds.int_backward FOR TYPE int USING btree FAMILY kinds.backward AS OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <, FUNCTION 1 kinds.int_back(int, int);
CREATE OPERATOR CLASS kinds.int_kindstree DEFAULT FOR TYPE int USING kindstree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 btint4cmp(int, int);
COMMENT ON OPERATOR CLASS kinds.int_backward USING btree IS 'an operator class';
COMMENT ON OPERATOR FAMILY kinds.backward USING btree IS 'an operator family';

-- sequences
CREATE SEQUENCE kinds.odd AS smallint INCREMENT -7 MINVALUE -30000 MAXVALUE 100 START 50 CACHE 5 CYCLE;
SELECT nextval('kinds.odd');
CREATE SEQUENCE kinds.unused START 77;
CREATE SEQUENCE kinds.set_back; SELECT setval('kinds.set_back', 33, false);
CREATE UNLOGGED SEQUENCE kinds.unlogged;
COMMENT ON SEQUENCE kinds.odd IS 'a sequence';

-- tables: columns of every sort
CREATE FUNCTION kinds.stamp() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.touched := NEW.touched + 1; RETURN NEW; END$$;
CREATE TABLE kinds.thing (
    id int GENERATED ALWAYS AS IDENTITY (START 10 INCREMENT 10) PRIMARY KEY, gone int,
    code bigint GENERATED BY DEFAULT AS IDENTITY UNIQUE, serial bigserial, mood kinds.mood DEFAULT 'ok',
    part kinds.percent, even kinds.even_percent, pair kinds.pair, nest kinds.nested, pairs kinds.pairs, word kinds.word,
    tags text[] NOT NULL DEFAULT ARRAY['a', NULL], doc jsonb, span kinds.float_range, spans kinds.float_ranges,
    name text COLLATE kinds.plain, touched int NOT NULL DEFAULT 0, number int DEFAULT nextval('kinds.odd'),
    twofold int GENERATED ALWAYS AS (touched * 2) STORED, made timestamptz DEFAULT '2026-01-01 00:00+00', wide text,
    day daterange, point point, words tsvector,
    CONSTRAINT later UNIQUE (code, touched) DEFERRABLE INITIALLY DEFERRED, CONSTRAINT touched_low CHECK (touched >= 0) NO INHERIT,
    EXCLUDE USING gist (day WITH &&) WHERE (touched > 1000) DEFERRABLE) WITH (fillfactor = 70, autovacuum_enabled = off, toast.autovacuum_enabled = off);
ALTER TABLE kinds.thing DROP gone;
ALTER TABLE kinds.thing ALTER name SET STATISTICS 500, ALTER wide SET STORAGE EXTERNAL, ALTER wide SET COMPRESSION pglz, ALTER code SET (n_distinct = -0.5);
INSERT INTO kinds.thing (mood, part, even, pair, nest, pairs, word, doc, span, spans, name, wide, point, words, day)
    SELECT 'happy', i % 100, 2 * (i % 4), ROW(i, 'x')::kinds.pair, ROW(ROW(i, NULL), ARRAY[ROW(1, 'y')]::kinds.pair[])::kinds.nested, ARRAY[ROW(i, 'z')]::kinds.pair[], ('word' || i)::kinds.word,
           '{"a": [1]}', '[1,2)', '{[1,2),[3,4)}', 'name ' || i, repeat('w', 3000), point(i, i), to_tsvector('kinds.words', 'one two'), '[2026-01-01,2026-01-02)'
      FROM generate_series(1, 200) i;
COMMENT ON TABLE kinds.thing IS 'a table; with ''quotes'' and
two lines';
COMMENT ON COLUMN kinds.thing.mood IS 'a column';
COMMENT ON CONSTRAINT touched_low ON kinds.thing IS 'a check';
COMMENT ON CONSTRAINT later ON kinds.thing IS 'a unique constraint';
COMMENT ON CONSTRAINT thing_pkey ON kinds.thing IS 'a primary key';
CREATE TABLE kinds.typed OF kinds.pair (PRIMARY KEY (a), b WITH OPTIONS DEFAULT 'typed');
INSERT INTO kinds.typed VALUES (1, 'one');
CREATE TABLE kinds.wayside (id int PRIMARY KEY) USING kindsheap;
INSERT INTO kinds.wayside VALUES (1), (2);
CREATE UNLOGGED TABLE kinds.fleeting (id int PRIMARY KEY);
INSERT INTO kinds.fleeting SELECT generate_series(1, 10);
CREATE TABLE kinds.parent (id int PRIMARY KEY, v text, CONSTRAINT inherited CHECK (id > 0));
CREATE TABLE kinds.second_parent (w int DEFAULT 3);
CREATE TABLE kinds.child (extra int, v text DEFAULT 'child', PRIMARY KEY (id)) INHERITS (kinds.parent, kinds.second_parent);
CREATE TABLE kinds.grandchild (PRIMARY KEY (id)) INHERITS (kinds.child);
ALTER TABLE kinds.second_parent ADD PRIMARY KEY (w);
INSERT INTO kinds.parent VALUES (1, 'parent');
INSERT INTO kinds.child VALUES (2, 'child', 3, 4);
INSERT INTO kinds.grandchild VALUES (3, 'grandchild', 3, 4);
CREATE TABLE kinds.by_index (a int NOT NULL, b int NOT NULL);
CREATE UNIQUE INDEX by_index_b ON kinds.by_index (b);
ALTER TABLE kinds.by_index REPLICA IDENTITY USING INDEX by_index_b;
INSERT INTO kinds.by_index VALUES (1, 2);
CREATE TABLE kinds.whole (a int, b text);
ALTER TABLE kinds.whole REPLICA IDENTITY FULL;
INSERT INTO kinds.whole VALUES (1, 'x'), (1, 'y'), (NULL, NULL);
CREATE TABLE kinds.unset (id int PRIMARY KEY, v int, UNIQUE NULLS NOT DISTINCT (v));
INSERT INTO kinds.unset VALUES (0, 5), (1, NULL), (2, 2);

-- partitions: range, list, hash, default, several levels, another order of columns
CREATE TABLE kinds.visit (day date NOT NULL, id int NOT NULL, who text DEFAULT 'root', touched int NOT NULL DEFAULT 0, PRIMARY KEY (day, id)) PARTITION BY RANGE (day);
CREATE TABLE kinds.visit_old PARTITION OF kinds.visit FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
CREATE TABLE kinds.visit_new PARTITION OF kinds.visit FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY LIST (id);
CREATE TABLE kinds.visit_new_1 PARTITION OF kinds.visit_new FOR VALUES IN (1, 2, 3) PARTITION BY HASH (id);
CREATE TABLE kinds.visit_new_1_0 PARTITION OF kinds.visit_new_1 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE kinds.visit_new_1_1 (touched int NOT NULL DEFAULT 0, gone int, id int NOT NULL, who text DEFAULT 'leaf', day date NOT NULL);
ALTER TABLE kinds.visit_new_1_1 DROP gone;
ALTER TABLE kinds.visit_new_1 ATTACH PARTITION kinds.visit_new_1_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE kinds.visit_new_rest PARTITION OF kinds.visit_new DEFAULT;
CREATE TABLE kinds.visit_rest PARTITION OF kinds.visit DEFAULT;
CREATE INDEX visit_who ON kinds.visit (who);
CREATE INDEX visit_old_only ON kinds.visit_old (lower(who));
CREATE INDEX visit_unattached ON ONLY kinds.visit (id);
COMMENT ON INDEX kinds.visit_who IS 'an index of partitions';
INSERT INTO kinds.visit (day, id, who) SELECT '2025-06-01'::date + i * 2, i % 7, 'visitor ' || i FROM generate_series(1, 400) i;
CREATE TABLE kinds.by_expression (id int, v text) PARTITION BY RANGE (kinds.twice(id));
CREATE TABLE kinds.by_expression_1 PARTITION OF kinds.by_expression FOR VALUES FROM (0) TO (100);
ALTER TABLE kinds.by_expression_1 ADD PRIMARY KEY (id);
INSERT INTO kinds.by_expression VALUES (1, 'x');
CREATE TABLE kinds.note (id int PRIMARY KEY, day date, visit int, above int REFERENCES kinds.note ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED,
    thing bigint CONSTRAINT of_thing REFERENCES kinds.thing (code) ON UPDATE CASCADE ON DELETE CASCADE, FOREIGN KEY (day, visit) REFERENCES kinds.visit MATCH FULL);
INSERT INTO kinds.note SELECT i, CASE WHEN i < 10 THEN '2025-06-01'::date + i * 2 END, CASE WHEN i < 10 THEN i % 7 END, nullif(i - 1, 0), i FROM generate_series(1, 100) i;
SET CONSTRAINTS ALL IMMEDIATE;
ALTER TABLE kinds.note ADD CONSTRAINT not_fifty CHECK (id <> 50) NOT VALID;
CREATE TABLE kinds.orphan (id int PRIMARY KEY, parent int);
INSERT INTO kinds.orphan VALUES (1, 99);
ALTER TABLE kinds.orphan ADD CONSTRAINT unproven FOREIGN KEY (parent) REFERENCES kinds.parent NOT VALID;
ALTER TABLE kinds.visit ADD CONSTRAINT visit_unset FOREIGN KEY (touched) REFERENCES kinds.unset DEFERRABLE NOT VALID; -- 18
COMMENT ON CONSTRAINT of_thing ON kinds.note IS 'a foreign key';

-- indexes of every method
CREATE INDEX thing_partial ON kinds.thing (mood DESC NULLS LAST) INCLUDE (part) WHERE mood = 'sad';
CREATE INDEX thing_expression ON kinds.thing (kinds.twice(touched), (name || 'x') text_pattern_ops) WITH (fillfactor = 50);
ALTER INDEX kinds.thing_expression ALTER COLUMN 2 SET STATISTICS 321;
CREATE INDEX thing_hash ON kinds.thing USING hash (name);
CREATE INDEX thing_gin ON kinds.thing USING gin (doc jsonb_path_ops) WITH (fastupdate = off);
CREATE INDEX thing_gist ON kinds.thing USING gist (span, point);
CREATE INDEX thing_siglen ON kinds.thing USING gist (words tsvector_ops (siglen = 100));
CREATE INDEX thing_spgist ON kinds.thing USING spgist (point quad_point_ops);
CREATE INDEX thing_brin ON kinds.thing USING brin (touched int4_bloom_ops (false_positive_rate = 0.02)) WITH (pages_per_range = 4, autosummarize = on);
CREATE INDEX thing_own_class ON kinds.thing (touched kinds.int_backward);
CREATE UNIQUE INDEX thing_unset ON kinds.thing (id, part) NULLS NOT DISTINCT;
CREATE INDEX thing_collated ON kinds.thing (name COLLATE kinds.numeric); -- icu
COMMENT ON INDEX kinds.thing_partial IS 'an index';
ALTER TABLE kinds.thing CLUSTER ON thing_unset;
CREATE STATISTICS kinds.thing_statistics (ndistinct, mcv) ON part, mood FROM kinds.thing;
ALTER STATISTICS kinds.thing_statistics SET STATISTICS 42;
CREATE STATISTICS kinds.thing_expressions ON (touched + 1), (name || 'y') FROM kinds.thing;
COMMENT ON STATISTICS kinds.thing_statistics IS 'statistics';

-- views
CREATE VIEW kinds.happy AS SELECT id, name, mood FROM kinds.thing WHERE mood = 'happy' WITH CASCADED CHECK OPTION;
CREATE VIEW kinds.happy_few WITH (security_barrier, security_invoker) AS SELECT * FROM kinds.happy WHERE id < 100;
SET search_path = kinds, pg_catalog;
CREATE RECURSIVE VIEW counting (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM counting WHERE n < 5;
RESET search_path;
CREATE VIEW kinds.keyed AS SELECT t.id, t.name, count(*) AS n FROM kinds.thing t GROUP BY t.id;
-- stands on a primary key, and so does what stands on it: made after the rows
CREATE MATERIALIZED VIEW kinds.keyed_kept AS SELECT t.id, t.name, count(*) AS n FROM kinds.thing t GROUP BY t.id;
CREATE UNIQUE INDEX keyed_kept_id ON kinds.keyed_kept (id);
CREATE INDEX a_keyed_kept_n ON kinds.keyed_kept (n);
CREATE MATERIALIZED VIEW kinds.a_of_keyed_kept AS SELECT count(*) AS n FROM kinds.keyed_kept;
CREATE FUNCTION kinds.keyed_first() RETURNS SETOF text LANGUAGE sql STABLE BEGIN ATOMIC SELECT t.name FROM kinds.thing t GROUP BY t.id ORDER BY t.id; END;
CREATE VIEW kinds.of_keyed_first AS SELECT f FROM kinds.keyed_first() f;
COMMENT ON MATERIALIZED VIEW kinds.keyed_kept IS 'kept';
ALTER VIEW kinds.happy ALTER mood SET DEFAULT 'happy';
COMMENT ON VIEW kinds.happy IS 'a view';
COMMENT ON COLUMN kinds.happy.name IS 'its column';
-- named against the order of what they stand on
CREATE MATERIALIZED VIEW kinds.z_by_mood AS SELECT mood, count(*) AS n FROM kinds.thing GROUP BY 1;
CREATE VIEW kinds.y_between AS SELECT sum(n) AS n FROM kinds.z_by_mood;
CREATE MATERIALIZED VIEW kinds.a_sum WITH (fillfactor = 60) AS SELECT n FROM kinds.y_between;
CREATE MATERIALIZED VIEW kinds.never AS SELECT 1 AS one WITH NO DATA;
CREATE MATERIALIZED VIEW kinds.never_either AS SELECT one FROM kinds.never WITH NO DATA;
CREATE UNIQUE INDEX z_by_mood_key ON kinds.z_by_mood (mood);
ALTER MATERIALIZED VIEW kinds.z_by_mood CLUSTER ON z_by_mood_key;
CREATE INDEX never_index ON kinds.never (one);
COMMENT ON MATERIALIZED VIEW kinds.a_sum IS 'a materialized view';

-- rules, triggers in every state, policies
CREATE TABLE kinds.log (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, by_whom text);
CREATE FUNCTION kinds.note_down() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO kinds.log (by_whom) VALUES (TG_NAME); RETURN NULL; END$$;
CREATE FUNCTION kinds.refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'refused by %', TG_NAME; END$$;
CREATE TABLE kinds.triggered (id int PRIMARY KEY, v text, touched int NOT NULL DEFAULT 0);
INSERT INTO kinds.triggered VALUES (1, 'one'), (2, 'two'), (3, 'three');
CREATE TRIGGER origin BEFORE INSERT OR UPDATE OF v ON kinds.triggered FOR EACH ROW WHEN (NEW.v <> 'quiet') EXECUTE FUNCTION kinds.stamp('an argument');
CREATE TRIGGER always BEFORE UPDATE ON kinds.triggered FOR EACH ROW EXECUTE FUNCTION kinds.stamp();
CREATE TRIGGER replica BEFORE UPDATE ON kinds.triggered FOR EACH ROW EXECUTE FUNCTION kinds.refuse();
CREATE TRIGGER disabled BEFORE UPDATE ON kinds.triggered FOR EACH ROW EXECUTE FUNCTION kinds.refuse();
CREATE TRIGGER statement AFTER INSERT ON kinds.triggered REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION kinds.note_down();
CREATE TRIGGER truncation AFTER TRUNCATE ON kinds.triggered EXECUTE FUNCTION kinds.note_down();
CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON kinds.triggered DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION kinds.note_down();
ALTER TABLE kinds.triggered ENABLE ALWAYS TRIGGER always, ENABLE REPLICA TRIGGER replica, DISABLE TRIGGER disabled;
COMMENT ON TRIGGER always ON kinds.triggered IS 'a trigger';
CREATE TRIGGER of_partitions BEFORE UPDATE ON kinds.visit FOR EACH ROW EXECUTE FUNCTION kinds.stamp();
CREATE TRIGGER always_of_partitions BEFORE UPDATE ON kinds.visit FOR EACH ROW EXECUTE FUNCTION kinds.stamp();
ALTER TABLE kinds.visit_new ENABLE ALWAYS TRIGGER always_of_partitions;
ALTER TABLE kinds.visit_old DISABLE TRIGGER of_partitions;
CREATE TRIGGER instead INSTEAD OF UPDATE ON kinds.keyed FOR EACH ROW EXECUTE FUNCTION kinds.note_down();
CREATE TABLE kinds.ruled (id int PRIMARY KEY, v text);
CREATE RULE origin AS ON INSERT TO kinds.ruled DO ALSO INSERT INTO kinds.log (by_whom) VALUES ('rule');
CREATE RULE always AS ON UPDATE TO kinds.ruled DO ALSO INSERT INTO kinds.log (by_whom) VALUES ('always');
CREATE RULE replica AS ON DELETE TO kinds.ruled DO INSTEAD NOTHING;
CREATE RULE disabled AS ON DELETE TO kinds.ruled DO INSTEAD NOTHING;
ALTER TABLE kinds.ruled ENABLE ALWAYS RULE always, ENABLE REPLICA RULE replica, DISABLE RULE disabled;
CREATE RULE of_view AS ON DELETE TO kinds.happy WHERE OLD.id > 5 DO INSTEAD (DELETE FROM kinds.log; UPDATE kinds.ruled SET v = 'x');
COMMENT ON RULE origin ON kinds.ruled IS 'a rule';
INSERT INTO kinds.ruled VALUES (1, 'one'), (2, 'two');
CREATE TABLE kinds.secret (id int PRIMARY KEY, owner name DEFAULT current_user);
INSERT INTO kinds.secret VALUES (1, 'somebody'), (2, 'public');
ALTER TABLE kinds.secret ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON kinds.secret USING (owner = current_user);
CREATE POLICY insert ON kinds.secret AS RESTRICTIVE FOR INSERT TO PUBLIC WITH CHECK (id > 0);
COMMENT ON POLICY own ON kinds.secret IS 'a policy';

-- new with 18
CREATE TABLE kinds.virtual (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) VIRTUAL, v text CONSTRAINT v_there NOT NULL NO INHERIT, w int); -- 18
INSERT INTO kinds.virtual (id, v) VALUES (1, 'x'), (2, 'y'); -- 18
ALTER TABLE kinds.virtual ADD CONSTRAINT w_there NOT NULL w NOT VALID; -- 18
ALTER TABLE kinds.virtual ADD CONSTRAINT unforced CHECK (id < 2) NOT ENFORCED; -- 18
CREATE TABLE kinds.period (id int4range, during daterange, v text, PRIMARY KEY (id, during WITHOUT OVERLAPS)); -- 18
INSERT INTO kinds.period VALUES ('[1,2)', '[2026-01-01,2026-02-01)', 'x'); -- 18
CREATE TABLE kinds.within (id int PRIMARY KEY, of_period int4range, during daterange, FOREIGN KEY (of_period, PERIOD during) REFERENCES kinds.period (id, PERIOD during)); -- 18
CREATE TABLE kinds.unforced (id int PRIMARY KEY REFERENCES kinds.parent NOT ENFORCED); -- 18
CREATE TABLE kinds.counted (id int GENERATED ALWAYS AS IDENTITY, k int NOT NULL, PRIMARY KEY (id, k)) PARTITION BY LIST (k); -- 18
CREATE TABLE kinds.counted_1 PARTITION OF kinds.counted FOR VALUES IN (1); -- 18
INSERT INTO kinds.counted (k) VALUES (1), (1); -- 18

-- what must not be copied, or only on request
CREATE PUBLICATION of_the_user FOR TABLE kinds.thing;
CREATE FUNCTION kinds.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN IF tg_tag LIKE 'CREATE TABLE%' THEN RAISE WARNING 'event'; END IF; END$$;
CREATE EVENT TRIGGER on_ddl ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS') EXECUTE FUNCTION kinds.on_ddl();
COMMENT ON EVENT TRIGGER on_ddl IS 'an event trigger';
