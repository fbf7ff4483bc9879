"""What one run of a work of apply.py spends its time on, in three recordings: walferry, and the backends of either
server. Shares are of all three together, so that they tell whose work is the longest."""
import argparse
import collections
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import apply
from bench import Bench
from harness.place import Place
from harness.poll import poll_until

# A clock, because virtual machines seldom have counters.
RECORD = ("perf", "record", "-q", "-g", "-e", "cpu-clock", "-F", "997")
REPORT = ("perf", "report", "--stdio", "--no-children", "-g", "none", "-n", "--sort", "dso,symbol", "-w", "0,0")
# "    12.34%      1234  walferry   [.] function     -      -"
LINE = re.compile(r"^\s*[\d.]+%\s+(\d+)\s+(\S+)\s+\[(.)\]\s+(.*?)[\s-]*$")
SHARE_MIN = 0.002


class Watched:
    """A server's backends: perf follows what its postmaster forks while it records."""

    def __init__(self, server, path):
        self.path = path
        self.process = subprocess.Popen([*RECORD, "-o", path, "-p", str(server.process.pid)], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE)
        poll_until(lambda: path.exists() and path.stat().st_size > 0 or self.process.poll() is not None,
                   "perf records", 30)
        time.sleep(0.5)  # its file is there before its events are

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        complaint = self.process.stderr.read().decode()
        if self.process.wait() not in (0, -signal.SIGINT):
            sys.exit(f"perf record: {complaint}")


class Waits:
    """What a server's backends that work for walferry wait for, seen a hundred times a second: samples say where CPU goes,
    this says where time goes."""
    SEEN = ("SELECT application_name || CASE backend_type WHEN 'walsender' THEN ' (walsender)' ELSE '' END, CASE"
            " WHEN state = 'idle' THEN 'idle' WHEN state LIKE 'idle%' THEN 'idle in transaction'"
            " ELSE coalesce(wait_event_type || ': ' || wait_event, 'on the CPU') END"
            " FROM pg_stat_activity WHERE application_name LIKE 'walferry\\_%'")
    EVERY_S = 0.01

    def __init__(self, server):
        self.name, self.seconds, self.over = server.name, collections.Counter(), threading.Event()
        self.connection = server.connect()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()

    def look(self):
        cursor, last = self.connection.cursor(), time.monotonic()
        while not self.over.wait(self.EVERY_S):
            cursor.execute(self.SEEN)
            last, passed = time.monotonic(), time.monotonic() - last
            for seen in cursor.fetchall():
                self.seconds[seen] += passed

    def stop(self):
        self.over.set()
        self.thread.join()
        self.connection.close()

    def show(self):
        print(f"\n{self.name}: seconds of each backend by what it waits for")
        for (backend, what), seconds in sorted(self.seconds.items(), key=lambda item: (item[0][0], -item[1])):
            if seconds >= 0.02:
                print(f"  {seconds:6.2f} s  {backend:32} {what}")


def functions(path):
    """(samples, dso, symbol), the most first."""
    said = subprocess.run([*REPORT, "-i", path], check=True, capture_output=True, text=True).stdout
    found = [(int(seen[1]), seen[2], ("kernel: " if seen[3] == "k" else "") + seen[4])
             for seen in map(LINE.match, said.splitlines()) if seen]
    return sorted(found, reverse=True)


def show(recordings, top):
    seen = {name: functions(path) for name, path in recordings.items()}
    total = sum(samples for rows in seen.values() for samples, _, _ in rows)
    for name, rows in seen.items():
        own = sum(samples for samples, _, _ in rows)
        print(f"\n{name}: {own / total:.1%} of the samples of all three, {own / 997:.2f} s of CPU")
        for samples, dso, symbol in rows[:top]:
            if samples >= total * SHARE_MIN:
                print(f"  {samples / total:6.1%} {samples / own:7.1%} of it  {dso:24} {symbol}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=sorted(apply.KINDS))
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--top", type=int, default=30, help="functions of each")
    parser.add_argument("--waits", action="store_true", help="what the servers' backends wait for, without perf")
    parser.add_argument("--keep", type=Path, help="folder for perf's files")
    arguments = parser.parse_args()
    place = Place()
    folder = arguments.keep or place.path
    folder.mkdir(parents=True, exist_ok=True)
    recordings = {name: folder.resolve() / f"{name}.perf" for name in ("walferry", "source", "target")}
    bench = Bench(place, arguments.quick)
    try:
        work = apply.make(bench, arguments.name)
        watchers = []

        def watch():
            watchers.extend(Waits(server) if arguments.waits else Watched(server, recordings[server.name])
                            for server in (bench.source, bench.target))
            return watchers
        run = work.by_walferry(() if arguments.waits else (*RECORD, "-o", recordings["walferry"], "--"), watch)
        print(f"{arguments.name}: {run.seconds:.2f} s, {run.cpu_seconds:.2f} s of CPU in walferry"
              f"{'' if arguments.waits else ' and perf itself'}")
        if arguments.waits:
            for watcher in watchers:
                watcher.show()
        else:
            show(recordings, arguments.top)
    finally:
        bench.close()
        place.close()


if __name__ == "__main__":
    main()
