CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE place AS (number int, side text);
CREATE DOMAIN tag AS text;
CREATE TABLE plain (
    id int PRIMARY KEY,
    note text,
    amount numeric(10, 2),
    feeling mood,
    place place,
    tag tag,
    raw bytea,
    born date,
    doubled int GENERATED ALWAYS AS (id * 2) STORED
);
CREATE TABLE bare ();
CREATE TABLE no_identity (a int, b text);
ALTER TABLE no_identity REPLICA IDENTITY NOTHING;
CREATE TABLE toasted (id int PRIMARY KEY, counter int, big text);
ALTER TABLE toasted ALTER COLUMN big SET STORAGE EXTERNAL;
CREATE TABLE full_identity (a int, b text, c text);
ALTER TABLE full_identity REPLICA IDENTITY FULL;
CREATE TABLE index_identity (k1 int NOT NULL, k2 text NOT NULL, v text);
CREATE UNIQUE INDEX index_identity_key ON index_identity (k2, k1);
ALTER TABLE index_identity REPLICA IDENTITY USING INDEX index_identity_key;
CREATE SCHEMA "Sch""ema.ü";
CREATE TABLE "Sch""ema.ü"."Tab.le ""q"" ä" (
    "Col.umn ""1""" int PRIMARY KEY,
    "größe" varchar(20),
    "a name of sixty-three bytes, the longest there is, with äöü!" text,
    "tab	in it" text
);
CREATE TABLE parent (id serial PRIMARY KEY);
CREATE TABLE child (id serial PRIMARY KEY, parent int REFERENCES parent);
CREATE TABLE changing (a int PRIMARY KEY, b text);
CREATE TABLE noise (n int);
CREATE PUBLICATION p FOR TABLE plain, bare, no_identity, toasted, full_identity, index_identity,
    "Sch""ema.ü"."Tab.le ""q"" ä", parent, child, changing;
SELECT pg_replication_origin_create('origin ö');
SELECT pg_create_logical_replication_slot('one_phase', 'pgoutput', false, false);
SELECT pg_create_logical_replication_slot('two_phase', 'pgoutput', false, true);
