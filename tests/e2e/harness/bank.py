"""Bank and counter: a workload whose every prefix can be recognised.

Each transaction moves money between three tables, raises its writer's counter and appends to the log what else it did
to the writer's own rows. So a copy of the database as of some commit satisfies check_prefix, and (almost) nothing else
does. Writers survive restarts of the source: a commit whose answer was lost is looked up by the counter."""
import bisect
import random
import threading
import time

import psycopg2

from .poll import poll_until
from .server import is_down

ACCOUNTS = 60
BALANCE = 10000
TOTAL = 3 * ACCOUNTS * BALANCE
BIG_ROWS = 3000

SCHEMA = """
CREATE TABLE accounts_a (id int PRIMARY KEY, balance bigint NOT NULL);
CREATE TABLE accounts_b (id int PRIMARY KEY, balance bigint NOT NULL);
CREATE TABLE accounts_c (id int PRIMARY KEY, balance bigint NOT NULL);
CREATE TABLE counters (writer int PRIMARY KEY, seq bigint NOT NULL);
CREATE TABLE log (
    writer int NOT NULL REFERENCES counters, seq bigint NOT NULL, kind text NOT NULL, at timestamptz DEFAULT now(),
    details int NOT NULL, key_id bigint NOT NULL, document bigint NOT NULL, scratch bigint NOT NULL,
    PRIMARY KEY (writer, seq));
CREATE TABLE detail (
    writer int NOT NULL, seq bigint NOT NULL, n int NOT NULL, note text NOT NULL,
    PRIMARY KEY (writer, seq, n), FOREIGN KEY (writer, seq) REFERENCES log);
CREATE TABLE documents (
    writer int PRIMARY KEY, version bigint NOT NULL, remark text, body text NOT NULL, checksum text NOT NULL);
ALTER TABLE documents ALTER body SET STORAGE EXTERNAL;
CREATE TABLE full_rows (writer int NOT NULL, seq bigint NOT NULL, note text);
ALTER TABLE full_rows REPLICA IDENTITY FULL;
CREATE TABLE keys (id bigint PRIMARY KEY, writer int NOT NULL UNIQUE, seq bigint NOT NULL);
CREATE TABLE scratch (n int PRIMARY KEY, seq bigint NOT NULL);
"""
FILL = """
INSERT INTO accounts_a SELECT i, %(balance)s FROM generate_series(1, %(accounts)s) i;
INSERT INTO accounts_b SELECT i, %(balance)s FROM generate_series(1, %(accounts)s) i;
INSERT INTO accounts_c SELECT i, %(balance)s FROM generate_series(1, %(accounts)s) i;
INSERT INTO counters SELECT w, 0 FROM generate_series(0, %(writers)s - 1) w;
INSERT INTO log SELECT w, 0, 'birth', now(), 0, w * 1000000000::bigint, 0, 0 FROM generate_series(0, %(writers)s - 1) w;
INSERT INTO documents SELECT w, 0, NULL, b, md5(b)
  FROM generate_series(0, %(writers)s - 1) w, LATERAL (SELECT repeat(md5(w::text), 300) AS b) AS x;
INSERT INTO full_rows SELECT w, 0, NULL FROM generate_series(0, %(writers)s - 1) w, generate_series(1, 2);
INSERT INTO keys SELECT w * 1000000000::bigint, w, 0 FROM generate_series(0, %(writers)s - 1) w;
"""
# So that no row is alike another, and the catch-up gear takes all of it as sets.
KEYED = """
ALTER TABLE full_rows ADD COLUMN n serial, ADD PRIMARY KEY (writer, n);
ALTER TABLE full_rows REPLICA IDENTITY DEFAULT;
"""
BALLAST = """
CREATE TABLE ballast_{n} (id bigint PRIMARY KEY, v text, k int NOT NULL);
CREATE INDEX ON ballast_{n} (k);
INSERT INTO ballast_{n} SELECT i, repeat(md5(i::text), 3), i % 97 FROM generate_series(1, {rows}) i;
"""

# Every row of an answer is a violation: the check's name and what was seen.
PREFIX_CHECKS = """
SELECT 'sum of money', total::text FROM (
    SELECT sum(balance) AS total FROM (SELECT balance FROM accounts_a UNION ALL SELECT balance FROM accounts_b
                                       UNION ALL SELECT balance FROM accounts_c) AS all_accounts) AS s
 WHERE total IS DISTINCT FROM %(total)s
UNION ALL
SELECT 'counter and log', format('writer %%s: counter %%s, log max %%s, count %%s', c.writer, c.seq, l.top, l.n)
  FROM counters c LEFT JOIN (SELECT writer, max(seq) AS top, count(*) AS n FROM log GROUP BY 1) l USING (writer)
 WHERE l.top IS DISTINCT FROM c.seq OR l.n IS DISTINCT FROM c.seq + 1
UNION ALL
SELECT 'writers', count(*)::text FROM counters HAVING count(*) <> %(writers)s
UNION ALL
SELECT 'details', format('writer %%s seq %%s: %%s rows, log says %%s', writer, seq, coalesce(d.n, 0), details)
  FROM log l FULL JOIN (SELECT writer, seq, count(*) AS n FROM detail GROUP BY 1, 2) d USING (writer, seq)
 WHERE coalesce(d.n, 0) IS DISTINCT FROM details
UNION ALL
SELECT 'full rows', format('writer %%s: counter %%s, rows %%s', c.writer, c.seq, f.seqs)
  FROM counters c LEFT JOIN (SELECT writer, array_agg(seq) AS seqs FROM full_rows GROUP BY 1) f USING (writer)
 WHERE f.seqs IS DISTINCT FROM ARRAY[c.seq, c.seq]
UNION ALL
SELECT 'documents', format('writer %%s: version %%s, log says %%s, body %%s', d.writer, d.version, l.document,
                           CASE WHEN md5(d.body) = d.checksum THEN 'right' ELSE 'wrong' END)
  FROM counters c JOIN log l ON l.writer = c.writer AND l.seq = c.seq LEFT JOIN documents d ON d.writer = c.writer
 WHERE d.version IS DISTINCT FROM l.document OR md5(d.body) IS DISTINCT FROM d.checksum
UNION ALL
SELECT 'keys', format('writer %%s: %%s at %%s, log says %%s at %%s', c.writer, k.id, k.seq, l.key_id, c.seq)
  FROM counters c JOIN log l ON l.writer = c.writer AND l.seq = c.seq LEFT JOIN keys k ON k.writer = c.writer
 WHERE k.id IS DISTINCT FROM l.key_id OR k.seq IS DISTINCT FROM c.seq
UNION ALL
SELECT 'scratch', format('log says %%s, rows %%s', l.scratch, s.rows)
  FROM (SELECT scratch FROM log WHERE writer = 0 ORDER BY seq DESC LIMIT 1) l,
       (SELECT count(*) AS n, min(seq) AS low, max(seq) AS high, format('%%s of %%s..%%s', count(*), min(seq), max(seq))
               AS rows FROM scratch) s
 WHERE NOT (l.scratch = 0 AND s.n = 0 OR s.n = 5 AND s.low = l.scratch AND s.high = l.scratch)
UNION ALL
SELECT 'poison', t || ': ' || count(*) FROM (
    SELECT 'log' AS t FROM log WHERE kind = 'poison' UNION ALL SELECT 'detail' FROM detail WHERE note = 'poison'
    UNION ALL SELECT 'full_rows' FROM full_rows WHERE note = 'poison'
    UNION ALL SELECT 'documents' FROM documents WHERE remark = 'poison') AS p GROUP BY t
"""


def prefix_violations(database, writers):
    """(violations, {writer: counter}), both of one snapshot."""
    connection = database.connect(autocommit=False)
    try:
        connection.set_session(isolation_level="REPEATABLE READ")
        cursor = connection.cursor()
        # Before the snapshot: TRUNCATE is not MVCC, so a snapshot older than one would see an empty table.
        cursor.execute("LOCK TABLE scratch IN ACCESS SHARE MODE")
        cursor.execute(PREFIX_CHECKS, {"total": TOTAL, "writers": writers})
        violations = [f"{name}: {seen}" for name, seen in cursor.fetchall()]
        cursor.execute("SELECT writer, seq FROM counters")
        return violations, dict(cursor.fetchall())
    finally:
        connection.close()


def check_prefix(database, writers):
    """The database is the source as of some commit; returns the counters."""
    violations, counters = prefix_violations(database, writers)
    assert not violations, "not a prefix of the source:\n  " + "\n  ".join(violations)
    return counters


class Bank:
    """pause: seconds between a writer's transactions, at most (a random part of it). lossy: a failover may take back
    what was committed. keyed: every table has a key."""

    def __init__(self, database, writers=3, seed=0, pause=0.02, truncates=True, big=True, lossy=False, keyed=False):
        self.database = database
        self.writers = [Writer(self, number, seed * 1000 + number) for number in range(writers)]
        self.pause = pause
        self.truncates = truncates
        self.big = big
        self.lossy = lossy
        self.keyed = keyed
        self.running = threading.Event()
        self.ended = threading.Event()

    def create(self, ballast_tables=0, ballast_rows=0):
        self.database.sql(SCHEMA)
        self.database.sql(FILL, {"accounts": ACCOUNTS, "balance": BALANCE, "writers": len(self.writers)})
        if self.keyed:
            self.database.sql(KEYED)
        for n in range(ballast_tables):
            self.database.sql(BALLAST.format(n=n, rows=ballast_rows))
        return self

    def start(self):
        self.running.set()
        for writer in self.writers:
            writer.start()
        return self

    def pause_writers(self):
        """Returns when no transaction is open."""
        self.running.clear()
        for writer in self.writers:
            poll_until(lambda w=writer: w.idle.is_set() or not w.is_alive(), f"writer {writer.number} pauses")
        self.raise_failures()

    def resume_writers(self):
        self.running.set()

    def stop(self):
        self.ended.set()
        self.running.set()
        for writer in filter(lambda writer: writer.ident, self.writers):  # never started: nothing to wait for
            writer.join(60)
            assert not writer.is_alive(), f"writer {writer.number} does not end"
        self.raise_failures()

    def raise_failures(self):
        for writer in self.writers:
            if writer.failure:
                raise AssertionError(f"writer {writer.number} failed: {writer.failure!r}") from writer.failure

    def transactions(self):
        return sum(len(writer.lsns) for writer in self.writers)

    def counters(self):
        return {writer.number: writer.seq for writer in self.writers}

    def due_at(self, confirmed):
        """{writer: highest counter whose writer saw a WAL position <= confirmed after its commit}."""
        return {writer.number: writer.seq_at(confirmed) for writer in self.writers}

    def check_prefix(self, database):
        return check_prefix(database, len(self.writers))


class Writer(threading.Thread):
    def __init__(self, bank, number, seed):
        super().__init__(daemon=True, name=f"writer-{number}")
        self.bank = bank
        self.number = number
        self.random = random.Random(seed)
        self.seq = 0         # last counter that is known to be committed
        self.lsns = []       # of every commit, ascending; lsns[i] belongs to seqs[i]
        self.seqs = []
        self.key_id = self.document = self.scratch = 0
        self.detailed = {}   # seq -> detail rows that the log speaks of
        self.wanted = None   # (rows, bytes): a large transaction somebody asked for
        self.failure = None
        self.idle = threading.Event()
        self.connection = None

    def ask_large(self, rows, row_bytes):
        """The next transaction inserts that many rows of that size."""
        self.wanted = (rows, row_bytes)

    def seq_at(self, confirmed):
        known = bisect.bisect_right(self.lsns, confirmed)
        return self.seqs[known - 1] if known else 0

    def run(self):
        try:
            while not self.bank.ended.is_set():
                if not self.bank.running.is_set():
                    self.idle.set()
                    self.bank.running.wait()
                    self.idle.clear()
                    continue
                self.one_round()
                time.sleep(self.random.random() * self.bank.pause)
        except Exception as error:  # kept for the main thread, which raises it
            self.failure = error
        finally:
            self.idle.set()
            if self.connection:
                self.connection.close()

    def one_round(self):
        try:
            if self.connection is None:
                self.connect()
            self.transaction()
        except psycopg2.Error as error:
            if not is_down(error):
                raise
            if self.connection:
                self.connection.close()
            self.connection = None
            time.sleep(0.05)

    def connect(self):
        """Also finds out what became of a commit whose answer was lost: nobody else writes this counter."""
        connection = self.bank.database.connect()
        cursor = connection.cursor()
        cursor.execute("SELECT c.seq, l.key_id, l.document, l.scratch, pg_current_wal_lsn() - '0/0' FROM counters c"
                       " JOIN log l USING (writer, seq) WHERE writer = %s", (self.number,))
        seq, self.key_id, self.document, self.scratch, lsn = cursor.fetchone()
        cursor.execute("SELECT seq, details FROM log WHERE writer = %s AND details > 0", (self.number,))
        self.detailed = dict(cursor.fetchall())
        if self.bank.lossy:
            self.forget_beyond(seq)
        assert seq in (self.seq, self.seq + 1), f"counter {seq} after {self.seq}"
        if seq > self.seq:
            self.note(seq, lsn)
        self.connection = connection

    def note(self, seq, lsn):
        self.seqs.append(seq)
        self.lsns.append(int(lsn))
        self.seq = seq

    def forget_beyond(self, seq):
        kept = bisect.bisect_right(self.seqs, seq)
        del self.seqs[kept:], self.lsns[kept:]
        self.seq = min(self.seq, seq)

    def transaction(self):
        cursor = self.connection.cursor()
        plan = self.plan()
        self.move_money(cursor)
        self.write(cursor, plan)
        if plan["poison"]:
            self.poison(cursor, plan)
        if plan["abandon"]:
            cursor.execute("ROLLBACK")
            return
        if self.random.random() < 0.2:
            time.sleep(self.random.random() * 0.01)  # so that others commit in between
        cursor.execute("COMMIT; SELECT pg_current_wal_lsn() - '0/0'")
        lsn = cursor.fetchone()[0]
        self.key_id, self.document, self.scratch = plan["key_id"], plan["document"], plan["scratch"]
        self.detailed.pop(plan["delete"], None)
        if plan["details"]:
            self.detailed[plan["seq"]] = plan["details"]
        self.note(plan["seq"], lsn)

    def plan(self):
        chance = self.random.random
        seq = self.seq + 1
        rows, row_bytes = self.random.randint(0, 3), 40
        if self.bank.big and chance() < 1 / 300:
            rows = BIG_ROWS
        if self.wanted:
            (rows, row_bytes), self.wanted = self.wanted, None
        abandon = rows < 10 and chance() < 0.04
        truncate = self.bank.truncates and self.number == 0 and chance() < 1 / 150
        new_body = chance() < 0.1
        old = self.random.choice(list(self.detailed)) if self.detailed and chance() < 0.25 else None
        return {
            "seq": seq, "details": rows, "row_bytes": row_bytes, "delete": old, "abandon": abandon,
            "poison": chance() < 0.3, "truncate": truncate, "new_body": new_body,
            "document": seq if new_body or chance() < 0.3 else self.document,
            "key_id": self.number * 1000000000 + seq if chance() < 0.2 else self.key_id,
            "scratch": seq if truncate else self.scratch,
        }

    def move_money(self, cursor):
        """Always in the order a, b, c: writers never deadlock."""
        first, second = self.random.randint(1, 50), self.random.randint(-50, 50)
        ids = [self.random.randint(1, ACCOUNTS) for _ in range(3)]
        cursor.execute("BEGIN; UPDATE accounts_a SET balance = balance - %s WHERE id = %s;"
                       " UPDATE accounts_b SET balance = balance - %s WHERE id = %s;"
                       " UPDATE accounts_c SET balance = balance + %s WHERE id = %s",
                       (first, ids[0], second, ids[1], first + second, ids[2]))

    def write(self, cursor, plan):
        values = {**plan, "writer": self.number, "old_key": self.key_id, "repeat": max(plan["row_bytes"] // 32, 1)}
        statements = [
            "UPDATE counters SET seq = %(seq)s WHERE writer = %(writer)s",
            "INSERT INTO log (writer, seq, kind, details, key_id, document, scratch) VALUES"
            " (%(writer)s, %(seq)s, 'move', %(details)s, %(key_id)s, %(document)s, %(scratch)s)",
            "UPDATE full_rows SET seq = %(seq)s WHERE writer = %(writer)s",
            "UPDATE keys SET id = %(key_id)s, seq = %(seq)s WHERE id = %(old_key)s"]
        if plan["details"]:
            statements.append("INSERT INTO detail SELECT %(writer)s, %(seq)s, n, repeat(md5(n::text), %(repeat)s)"
                              " FROM generate_series(1, %(details)s) n")
        if plan["delete"] is not None:
            statements += ["DELETE FROM detail WHERE writer = %(writer)s AND seq = %(delete)s",
                           "UPDATE log SET details = 0 WHERE writer = %(writer)s AND seq = %(delete)s"]
        if plan["new_body"]:
            values["body"] = self.random.randbytes(self.random.randint(2000, 12000)).hex()
            statements.append("UPDATE documents SET version = %(seq)s, remark = NULL, body = %(body)s,"
                              " checksum = md5(%(body)s) WHERE writer = %(writer)s")
        elif plan["document"] == plan["seq"]:
            statements.append("UPDATE documents SET version = %(seq)s, remark = 'kept' WHERE writer = %(writer)s")
        if plan["truncate"]:
            statements += ["TRUNCATE scratch", "INSERT INTO scratch SELECT n, %(seq)s FROM generate_series(1, 5) n"]
        cursor.execute("; ".join(statements), values)

    def poison(self, cursor, plan):
        """Rows that must never be seen, in a savepoint that is rolled back, inside one that is kept."""
        cursor.execute(
            "SAVEPOINT kept; UPDATE accounts_c SET balance = balance WHERE id = 1;"
            "SAVEPOINT bad;"
            "INSERT INTO log VALUES (%(writer)s, %(high)s, 'poison', now(), 0, 0, 0, 0);"
            "INSERT INTO detail VALUES (%(writer)s, %(high)s, 1, 'poison');"
            "UPDATE full_rows SET note = 'poison' WHERE writer = %(writer)s;"
            "UPDATE documents SET remark = 'poison' WHERE writer = %(writer)s;"
            "UPDATE accounts_c SET balance = balance + 1000000 WHERE id = 1;"
            "ROLLBACK TO SAVEPOINT bad; RELEASE SAVEPOINT kept",
            {"writer": self.number, "high": plan["seq"] + 1000000})


class Watcher(threading.Thread):
    """I6: what is confirmed to the source is at the destination. Every 50 ms the slot's position is read first, then
    the destination's counters. Asks only while active; servers that are down are waited for."""

    def __init__(self, bank, source, target, slot, every=0.05):
        super().__init__(daemon=True, name="watcher")
        self.bank = bank
        self.source = source
        self.target = target
        self.slot = slot
        self.every = every
        self.active = threading.Event()
        self.ended = threading.Event()
        self.turn = threading.Lock()
        self.connections = {}
        self.violations = []
        self.looks = 0

    def watch(self):
        self.active.set()

    def rest(self):
        """Returns when no look is under way."""
        self.active.clear()
        with self.turn:
            for connection in self.connections.values():
                connection.close()
            self.connections = {}

    def stop(self):
        self.rest()
        self.ended.set()
        self.join(10)

    def run(self):
        while not self.ended.wait(self.every):
            with self.turn:
                if self.active.is_set():
                    self.look()

    def ask(self, database, statement, params=None):
        if database not in self.connections:
            self.connections[database] = database.connect()
        with self.connections[database].cursor() as cursor:
            cursor.execute(statement, params)
            return cursor.fetchall()

    def look(self):
        try:
            rows = self.ask(self.source, "SELECT confirmed_flush_lsn - '0/0' FROM pg_replication_slots"
                            " WHERE slot_name = %s", (self.slot,))
            if not rows or rows[0][0] is None:
                return
            due = self.bank.due_at(int(rows[0][0]))
            there = dict(self.ask(self.target, "SELECT writer, seq FROM counters"))
        except psycopg2.errors.UndefinedTable:
            there = {}
        except psycopg2.Error as error:
            self.connections = {}
            if is_down(error):
                return
            raise
        self.looks += 1
        for writer, seq in due.items():
            if there.get(writer, -1) < seq:
                self.violations.append(f"confirmed {int(rows[0][0]):x} but writer {writer}: destination has"
                                       f" {there.get(writer)}, {seq} was committed before")

    def check(self):
        assert not self.violations, "confirmed but not there (I6):\n  " + "\n  ".join(self.violations[:10])
