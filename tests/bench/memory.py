"""Work M of the performance page, large transactions: one of many rows, and many that are open at once. Beside the peak
memory: seconds from the COMMIT to the last row at the target, the most bytes that the spill had on disk, and those that
it wrote there. Both sides are equal at the end."""
import os
import sys
import threading
import time
from pathlib import Path

from harness.poll import poll_until

MIB = 1 << 20
TABLE = "CREATE TABLE {} (id bigint PRIMARY KEY, account int NOT NULL, amount numeric(12,2) NOT NULL, note text)"
FILL = ("INSERT INTO {} SELECT i, i % 100000, i % 1000000 / 100.0, md5(i::text)"
        " FROM generate_series({}::bigint, {}::bigint) i")
TRANSACTIONS = 100
INTERLEAVED_ROWS = 1000  # what one of many transactions writes at a time


class Watch(threading.Thread):
    """The spill's files have no name: they are seen through the process's descriptors. Their blocks are what is on disk;
    what was written is how much each file grew from look to look, cut ones counted anew."""

    def __init__(self, process, folder):
        super().__init__(daemon=True)
        self.process, self.folder = process, str(folder)
        self.peak_bytes = self.peak_files = self.written_bytes = 0
        self.sizes = {}
        self.ended = threading.Event()
        self.start()

    def look(self):
        now = {}
        for entry in Path(f"/proc/{self.process.pid}/fd").iterdir():
            try:
                if os.readlink(entry).startswith(self.folder):
                    seen = entry.stat()
                    now[seen.st_ino] = (seen.st_size, seen.st_blocks * 512)
            except OSError:
                continue
        for inode, (size, _) in now.items():
            self.written_bytes += max(size - self.sizes.get(inode, 0), 0)
        self.sizes = {inode: size for inode, (size, _) in now.items()}
        self.peak_bytes = max(self.peak_bytes, sum(blocks for _, blocks in now.values()))
        self.peak_files = max(self.peak_files, len(now))

    def run(self):
        while not self.ended.wait(0.02):
            try:
                self.look()
            except OSError:
                return

    def stop(self):
        self.ended.set()
        self.join(10)


def of_process(process, key):
    """Bytes, by /proc: VmRSS now, VmHWM at most."""
    return int(Path(f"/proc/{process.pid}/status").read_text().split(f"{key}:")[1].split()[0]) * 1024


class Memory:
    def __init__(self, bench):
        self.b = bench

    def measure(self, name, rows, commit):
        """commit(database) writes the rows into the table and returns when they are committed."""
        bench = self.b
        source, target = bench.source.database(name), bench.target.database(f"{name}_target")
        source.sql(TABLE.format(name))
        job = bench.job(name, source, target)
        job.start()
        job.wait_for("running")
        watch = Watch(job.process, job.config["spill"]["dir"])
        committed = commit(source)
        poll_until(lambda: self.arrived(job, target, name), f"{name}: the rows arrive", 24 * 3600, every=0.05)
        seconds = time.monotonic() - committed
        watch.stop()
        peak = of_process(job.process, "VmHWM")
        bench.prove_equal(name, bench.checksums(source, [name]), target)
        code = job.process.terminate(60)
        if code != 0:
            sys.exit(f"{name}: exit {code}: {job.process.err[-2000:]}")
        bench.slot_free(job.slot)
        source.drop()
        bench.drop(bench.target, target.name)
        bench.note(f"memory, {name}", f"{rows} rows; {seconds:.1f} s from the commit, {rows / seconds:.0f} rows/s; spill: at"
                   f" most {watch.peak_bytes / MIB:.1f} MiB on disk in {watch.peak_files} files,"
                   f" {watch.written_bytes / MIB:.1f} MiB written")
        bench.limit(f"memory, {name}", peak / MIB, "MiB", 128)

    @staticmethod
    def arrived(job, target, name):
        """Nothing of a transaction is visible before its end; the last one to commit has the smallest id."""
        if not job.process.alive():
            sys.exit(f"walferry ended with {job.process.popen.returncode}: {job.process.err[-2000:]}")
        return target.one(f"SELECT EXISTS (SELECT FROM {name} WHERE id = 1)")

    def one(self):
        rows = 1000000 if self.b.quick else 10000000

        def commit(source):
            self.b.long(source, FILL.format("one", 1, rows))
            return time.monotonic()
        self.measure("one", rows, commit)

    def many(self):
        each = 10000 if self.b.quick else 100000

        def commit(source):
            sessions = [source.connect(autocommit=False) for _ in range(TRANSACTIONS)]
            for begin in range(0, each, INTERLEAVED_ROWS):
                for number, session in enumerate(sessions):
                    first = number * each + begin + 1
                    session.cursor().execute(FILL.format("many", first, first + INTERLEAVED_ROWS - 1))
            for session in reversed(sessions):
                session.commit()
                session.close()
            return time.monotonic()
        self.measure("many", TRANSACTIONS * each, commit)


def measure(bench):
    memory = Memory(bench)
    memory.one()
    memory.many()
