"""Whether the time of a change stays what it is: after 100,000, 1,000,000 and 10,000,000 changes, in transactions of four
like those of work T; and what 10,000 tables take more than 10. Time is from exec to exit less that of a run that has
nothing to consume."""
import statistics

import apply
import idle
import load

TABLES = """
CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL, filler char(60) NOT NULL) WITH (fillfactor = 50);
INSERT INTO account SELECT i, 0, '' FROM generate_series(1, 100000) i;
CREATE TABLE history (id bigint PRIMARY KEY, account int NOT NULL, amount int NOT NULL, at timestamptz NOT NULL);
VACUUM ANALYZE"""
WRITE = """
DO $$ BEGIN
    FOR n IN {} .. {} LOOP
        UPDATE account SET balance = balance + 1 WHERE id = n::bigint * 7919 % 100000 + 1;
        UPDATE account SET balance = balance - 2 WHERE id = n::bigint * 104729 % 100000 + 1;
        UPDATE account SET balance = balance + 1 WHERE id = n % 100 + 1;
        INSERT INTO history VALUES (n, n % 100000, 1, now());
        COMMIT;
    END LOOP;
END $$"""
CHANGES_EACH = 4


class Growth(apply.Apply):
    """One workload, of which ever larger parts are consumed."""
    TABLES = ("account", "history")

    def fill(self):
        load.make(self.db, TABLES, 0)
        self.sizes = (10**4, 10**5) if self.b.quick else (10**5, 10**6, 10**7)
        self.ends = {}

    def change(self):
        self.ends[0] = self.db.one("SELECT pg_current_wal_lsn()")
        done = 0
        for size in self.sizes:
            upto = size // CHANGES_EACH
            self.b.long(self.db, "SET synchronous_commit = off", WRITE.format(done + 1, upto))
            done = upto
            self.db.sql("INSERT INTO marker VALUES (%s)", (size,))  # and everything before it is flushed
            self.ends[size] = self.db.one("SELECT pg_current_wal_lsn()")

    def part(self, size):
        """Seconds of a whole run up to there."""
        target = self.b.fresh(self.b.target, "ours", "loaded")
        self.slot_copy("filled", self.job.slot)
        self.b.checkpoint()
        run = self.b.walferry(self.job, "--until", self.ends[size])
        count = target.one("SELECT count(*) FROM history")
        assert count == size // CHANGES_EACH, f"{count} rows after {size} changes"
        if size == self.sizes[-1]:
            self.b.prove_equal(self.name, {table: self.expected[table] for table in self.TABLES}, target)
        self.slot_drop(self.job.slot)
        return run


def by_changes(bench):
    work = Growth(bench, "growth")
    runs = {size: [] for size in (0, *work.sizes)}
    for _ in range(bench.rounds):
        for size, seen in runs.items():
            seen.append(work.part(size))
    work.close()
    seconds = {size: statistics.median(run.seconds for run in seen) for size, seen in runs.items()}
    bench.note("a run without changes", f"{seconds[0]:.2f} s")
    each_us = {size: (seconds[size] - seconds[0]) / size * 1e6 for size in work.sizes}
    for size in work.sizes:
        peak = max(run.peak_mib for run in runs[size])
        bench.rounds_note(f"{size} changes", [run.seconds for run in runs[size]])
        bench.note("", f"{each_us[size]:.2f} us each, peak memory {peak:.1f} MiB")
    first = work.sizes[0]
    for size in work.sizes[1:]:
        bench.line(f"growth, {size // first} times as many", each_us[size], each_us[first], "us")
    bench.limit("growth, peak memory", max(run.peak_mib for run in runs[work.sizes[-1]]), "MiB", 128)


def by_tables(bench):
    many = 1000 if bench.quick else 10000
    _, _, few_mib = idle.tables_start(bench, "few", idle.FEW, 1)
    seconds, cpu, many_mib = idle.tables_start(bench, "many", many, bench.rounds)
    bench.rounds_note(f"starts with {many} tables", seconds)
    bench.note("CPU of one, with both servers", f"{cpu:.2f} s")
    bench.limit(f"growth, start, {many} tables", statistics.median(seconds), "s", 3)
    bench.note("memory", f"{many_mib:.1f} MiB with {many} tables, {few_mib:.1f} MiB with {idle.FEW}")
    bench.limit(f"growth, memory, {many} tables", many_mib - few_mib, "MiB", 64)


def measure(bench):
    by_changes(bench)
    by_tables(bench)
