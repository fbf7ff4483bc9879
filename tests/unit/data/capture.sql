-- The workload behind the golden frames, but for what needs two sessions (capture.sh). Rows of "noise" are not published:
-- they only fill logical_decoding_work_mem, so that a transaction is streamed without making the capture long.

-- inserts: every form of a value, a generated column that is not sent, a table without columns
BEGIN;
INSERT INTO plain (id, note, amount, feeling, place, tag, raw, born)
    VALUES (1, 'eins', 12.50, 'ok', ROW(7, 'left'), 'label text', '\x00ff00', '2020-02-29');
INSERT INTO plain (id, note) VALUES (2, NULL), (3, '');
INSERT INTO bare DEFAULT VALUES;
INSERT INTO no_identity VALUES (1, 'never changed');
COMMIT;

-- updates: without and with a change of the key; deletes
UPDATE plain SET note = 'zwei' WHERE id = 2;
UPDATE plain SET id = 30 WHERE id = 3;
DELETE FROM plain WHERE id = 30;

-- a TOAST value that a statement does not touch
INSERT INTO toasted VALUES (1, 0, repeat('0123456789abcdef', 160));
UPDATE toasted SET counter = 1;
UPDATE toasted SET id = 2;

-- identity full: two equal rows, NULLs in the old row
INSERT INTO full_identity VALUES (1, NULL, 'x'), (1, NULL, 'x');
UPDATE full_identity SET c = 'y' WHERE ctid = '(0,1)';
DELETE FROM full_identity WHERE c = 'x';

-- identity by an index over the second and the first column
INSERT INTO index_identity VALUES (1, 'one', 'v');
UPDATE index_identity SET v = 'w';
UPDATE index_identity SET k2 = 'two';
DELETE FROM index_identity;

-- names
INSERT INTO "Sch""ema.ü"."Tab.le ""q"" ä" VALUES (1, 'groß', 'x', E'tab\there');
UPDATE "Sch""ema.ü"."Tab.le ""q"" ä" SET "größe" = 'klein';

TRUNCATE parent, child RESTART IDENTITY CASCADE;
TRUNCATE plain;

-- logical messages
BEGIN;
SELECT pg_logical_emit_message(true, 'walferry.test', 'in a transaction');
SELECT pg_logical_emit_message(false, 'walferry.test', '\x00010203'::bytea);
COMMIT;
SELECT pg_logical_emit_message(false, '', '');

-- schema changes inside of a transaction: each row has the columns of its own version
BEGIN;
INSERT INTO changing VALUES (1, 'a');
ALTER TABLE changing ADD COLUMN d int DEFAULT 4;
INSERT INTO changing VALUES (2, 'b', 5);
ALTER TABLE changing RENAME COLUMN b TO c;
ALTER TABLE changing DROP COLUMN d;
INSERT INTO changing VALUES (3, 'c');
COMMIT;

-- from another server
SELECT pg_replication_origin_session_setup('origin ö');
BEGIN;
SELECT pg_replication_origin_xact_setup('1/23456789', '2021-01-01 00:00:00+00');
INSERT INTO plain (id, note) VALUES (4, 'from elsewhere');
COMMIT;
SELECT pg_replication_origin_session_reset();

-- streamed; savepoints that are taken back, one nested, one whose first change is a message
BEGIN;
INSERT INTO plain (id, note) VALUES (100, 'streamed');
INSERT INTO noise SELECT generate_series(1, 600);
SAVEPOINT a;
INSERT INTO plain (id, note) VALUES (101, 'taken back');
SAVEPOINT b;
INSERT INTO full_identity VALUES (101, 'taken back', 'with its parent');
INSERT INTO noise SELECT generate_series(1, 600);
ROLLBACK TO a;
INSERT INTO plain (id, note) VALUES (102, 'survives');
SAVEPOINT c;
SELECT pg_logical_emit_message(true, 'walferry.test', 'taken back');
INSERT INTO plain (id, note) VALUES (103, 'taken back');
INSERT INTO noise SELECT generate_series(1, 600);
ROLLBACK TO c;
UPDATE plain SET id = 104 WHERE id = 102;
DELETE FROM plain WHERE id = 100;
SELECT pg_logical_emit_message(true, 'walferry.test', 'survives');
TRUNCATE parent, child;
ALTER TABLE changing ADD COLUMN streamed text;
INSERT INTO changing VALUES (4, 'd', 'new column');
INSERT INTO noise SELECT generate_series(1, 600);
COMMIT;

-- streamed, and taken back as a whole
BEGIN;
INSERT INTO plain (id, note) VALUES (200, 'taken back');
INSERT INTO noise SELECT generate_series(1, 600);
ROLLBACK;

-- two-phase: small and streamed, committed and taken back
BEGIN;
INSERT INTO plain (id, note) VALUES (300, 'prepared');
PREPARE TRANSACTION 'small kept';
COMMIT PREPARED 'small kept';
BEGIN;
INSERT INTO plain (id, note) VALUES (301, 'prepared');
PREPARE TRANSACTION 'small dropped';
ROLLBACK PREPARED 'small dropped';
BEGIN;
INSERT INTO plain (id, note) VALUES (302, 'prepared');
INSERT INTO noise SELECT generate_series(1, 600);
PREPARE TRANSACTION 'large kept';
COMMIT PREPARED 'large kept';
BEGIN;
INSERT INTO plain (id, note) VALUES (303, 'prepared');
INSERT INTO noise SELECT generate_series(1, 600);
PREPARE TRANSACTION 'large dropped';
ROLLBACK PREPARED 'large dropped';
