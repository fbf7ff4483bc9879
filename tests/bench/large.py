"""Large transactions between two servers of this machine: one of many rows, and many open at once. For each: seconds
from the COMMIT to the last row at the target, peak memory of walferry, the most bytes that its spill had on disk, the
bytes that it wrote there, and whether both sides are equal at the end."""
import argparse
import os
import shutil
import sys
import threading
import time
from pathlib import Path

from harness.oracle import differences
from harness.place import Place
from harness.poll import poll_until
from harness.server import Server
from harness.walferry import Job

MIB = 1 << 20
SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "16GB", "fsync": "on", "wal_sender_timeout": "60s",
            "checkpoint_timeout": "30min", "max_connections": 300, "logical_decoding_work_mem": "64MB",
            "autovacuum": "off"}
TABLE = "CREATE TABLE {} (id bigint PRIMARY KEY, account int NOT NULL, amount numeric(12,2) NOT NULL, note text)"
FILL = ("INSERT INTO {} SELECT i, i %% 100000, i %% 1000000 / 100.0, md5(i::text)"
        " FROM generate_series(%s::bigint, %s::bigint) i")
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


def peak_rss(process):
    return int(Path(f"/proc/{process.pid}/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


class Large:
    def __init__(self, place, arguments):
        self.place, self.arguments = place, arguments
        self.source = Server(place, "source", "source", SETTINGS).start()
        self.target = Server(place, "target", "target", SETTINGS).start()

    def close(self):
        for server in (self.source, self.target):
            server.stop("immediate")

    def measure(self, name, rows, commit):
        """commit(database) writes the rows into the table and returns when they are committed."""
        source, target = self.source.database(name), self.target.database(name)
        source.sql(TABLE.format(name))
        spill = self.place.folder(f"spill-{name}")
        job = Job(self.place.folder(f"job-{name}"), name, source.dsn(), target.dsn(),
                  {"memory": self.arguments.memory, "spill": {"dir": str(spill), "max": "200GiB"}, "source": {"heartbeat": "1s"}})
        job.start()
        job.wait_for("running")
        watch = Watch(job.process, spill)
        committed = commit(source)
        poll_until(lambda: self.arrived(job, target, name, rows), f"{name}: all rows arrive", 24 * 3600, every=0.2)
        seconds = time.monotonic() - committed
        watch.stop()
        peak = peak_rss(job.process)
        job.drain(source, 600)
        left = differences(source, target)
        code = job.process.terminate()
        print(f"{name}: {rows} rows; {seconds:.1f} s from the commit, {rows / seconds:.0f} rows/s; peak memory"
              f" {peak / MIB:.1f} MiB (memory: {self.arguments.memory}); spill: at most {watch.peak_bytes / MIB:.1f} MiB"
              f" on disk in {watch.peak_files} files, {watch.written_bytes / MIB:.1f} MiB written;"
              f" both sides {'equal' if not left else 'DIFFER'}", flush=True)
        source.drop()
        target.drop()
        shutil.rmtree(spill)
        if left or code != 0:
            sys.exit(f"{name}: exit {code}; " + "; ".join(left))

    @staticmethod
    def arrived(job, target, name, rows):
        if not job.process.alive():
            sys.exit(f"walferry ended with {job.process.popen.returncode}: {job.process.err[-2000:]}")
        # nothing of a transaction is visible before its end, so one row is enough for a look that costs nothing
        return target.one(f"SELECT EXISTS (SELECT FROM {name})") and target.one(f"SELECT count(*) FROM {name}") == rows

    def one(self):
        rows = self.arguments.rows

        def commit(source):
            source.sql(FILL.format("one"), (1, rows))
            return time.monotonic()
        self.measure("one", rows, commit)

    def many(self):
        count, each = self.arguments.transactions, self.arguments.each

        def commit(source):
            sessions = [source.connect(autocommit=False) for _ in range(count)]
            for begin in range(0, each, INTERLEAVED_ROWS):
                for number, session in enumerate(sessions):
                    first = number * each + begin + 1
                    last = number * each + min(begin + INTERLEAVED_ROWS, each)
                    session.cursor().execute(FILL.format("many"), (first, last))
            committed = time.monotonic()
            for session in reversed(sessions):
                session.commit()
                session.close()
            return committed
        self.measure("many", count * each, commit)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the one transaction")
    parser.add_argument("--transactions", type=int, default=100, help="open at the same time")
    parser.add_argument("--each", type=int, default=100_000, help="rows of each of them")
    parser.add_argument("--memory", default="64MiB")
    parser.add_argument("--only", choices=("one", "many"))
    arguments = parser.parse_args()
    place = Place()
    large = Large(place, arguments)
    try:
        for name in ("one", "many"):
            if arguments.only in (None, name):
                getattr(large, name)()
    finally:
        large.close()
        place.close()


if __name__ == "__main__":
    main()
