"""pgbench's TPC-B at the source's full speed for ten minutes, and beside it what `walferry status --json` says each
second: a table, a plot where matplotlib is there, the largest and the median lag, and the time to zero afterwards.
lag_bytes is against the source as the last beat saw it; behind_bytes against the source as it is."""
import csv
import statistics
import subprocess
import time

from harness.place import clean_environment
from harness.server import lsn_number

COLUMNS = ("second", "writing", "lag_ms", "behind_bytes", "lag_bytes", "retained_bytes", "gear", "rss_bytes", "transactions")
LAG_MS, BEHIND, RSS = 2, 3, 7  # where they are in a row
ZERO_S = 3600  # patience for the time to zero


class Tpcb:
    def __init__(self, bench):
        self.b = bench
        self.db = bench.source.database("tpcb")
        bench.pgbench(self.db, "-i", "-q", "-s", "10")
        self.db.sql("ALTER TABLE pgbench_history ADD id bigserial PRIMARY KEY")
        self.target = bench.target.database("ours")
        self.job = bench.job("tpcb", self.db, self.target)
        self.job.start()
        self.job.wait_for("running", 300)
        self.rows = []

    def sample(self, writing):
        status = self.job.status()
        second, applied = time.monotonic() - self.begin, lsn_number(status["applied_lsn"])
        self.rows.append((round(second, 2), int(writing), status["lag"]["ms"], max(self.db.lsn() - applied, 0),
                          status["lag"]["bytes"], status["slot"]["retained_bytes"], status["gear"], status["rss_bytes"],
                          status["totals"]["transactions"]))
        return applied

    def run(self):
        """Seconds from the last transaction until everything is applied."""
        self.begin = time.monotonic()
        pgbench = subprocess.Popen(self.b.pgbench_command(self.db, "-n", "-c", "8", "-j", "2", "-M", "prepared", "-T",
                                                          str(self.b.seconds)),
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=clean_environment())
        while pgbench.poll() is None:
            self.sample(True)
            time.sleep(max(0, self.begin + len(self.rows) - time.monotonic()))
        self.said = next(line for line in pgbench.stdout.read().splitlines() if line.startswith("tps"))
        ended, end = time.monotonic(), self.db.lsn()
        while self.sample(False) < end:
            assert time.monotonic() < ended + ZERO_S, f"not everything is applied {ZERO_S} s after the last write"
            time.sleep(0.2)
        return time.monotonic() - ended

    def close(self):
        tables = ("pgbench_accounts", "pgbench_branches", "pgbench_tellers", "pgbench_history")
        self.b.prove_equal("tpcb", self.b.checksums(self.db, tables), self.target)
        code = self.job.process.terminate(60)
        assert code == 0, f"exit {code}: {self.job.process.err[-2000:]}"
        self.b.slot_free(self.job.slot)
        self.db.drop()
        self.b.drop(self.b.target, "ours")

    def write(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "tpcb.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS, *self.rows])
        self.b.note("table", folder / "tpcb.csv")
        try:
            from matplotlib.figure import Figure
        except ImportError:
            self.b.note("plot", "none: apt-get install python3-matplotlib")
            return
        self.plot(Figure(figsize=(10, 6), layout="constrained"), folder / "tpcb.png")

    def plot(self, figure, path):
        upper, lower = figure.subplots(2, 1, sharex=True)
        seconds, writing = ([row[at] for row in self.rows] for at in (0, 1))
        ended = next((second for second, on in zip(seconds, writing) if not on), seconds[-1])
        upper.plot(seconds, [nan_for_none(row[LAG_MS], 1000) for row in self.rows])
        upper.set_ylabel("lag, s")
        lower.plot(seconds, [row[BEHIND] / (1 << 20) for row in self.rows])
        lower.set_ylabel("behind the source, MiB")
        lower.set_xlabel("s")
        for axes in (upper, lower):
            axes.axvline(ended, color="grey", linestyle="--", label="pgbench ends")
            axes.set_ylim(bottom=0)
            axes.grid(alpha=0.3)
        upper.legend()
        figure.suptitle(f"pgbench TPC-B at full speed: {self.said}")
        figure.savefig(path, dpi=120)
        self.b.note("plot", path)


def nan_for_none(value, divisor):
    return float("nan") if value is None else value / divisor


def measure(bench):
    tpcb = Tpcb(bench)
    to_zero = tpcb.run()
    tpcb.close()
    while_writing = [row for row in tpcb.rows if row[1]]
    bench.note("pgbench", tpcb.said)
    for at, name, unit, divisor in ((LAG_MS, "lag", "s", 1000), (BEHIND, "behind the source", "MiB", 1 << 20)):
        values = [row[at] / divisor for row in while_writing if row[at] is not None]
        bench.note(name, f"at most {max(values):.2f} {unit}, median {statistics.median(values):.2f} {unit}")
    bench.note("time to zero", f"{to_zero:.2f} s")
    bench.limit("tpcb, peak memory", max(row[RSS] for row in tpcb.rows) / 2**20, "MiB", 128)
    tpcb.write(bench.out)
