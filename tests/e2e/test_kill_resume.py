"""The load under kill -9, again and again, while the bank works: nothing is lost, nothing twice, little copied again."""
import os
import random
import time
from collections import Counter

import pytest

KILLS = int(os.environ.get("WALFERRY_LOAD_KILLS", 20))
TABLES, ROWS, WORKERS = 18, 1500, 2


@pytest.mark.deadline(240)
def test_killed_20_times_in_schema_load_and_indexes_it_ends_exact(pair):
    """Issue 5, point 5; F67. Prints what it was killed in and the bytes that were copied again."""
    seed = int(os.environ.get("WALFERRY_SEED", random.SystemRandom().randrange(1 << 30)))
    choose = random.Random(seed)
    bank = pair.bank(ballast_tables=TABLES, ballast_rows=ROWS)
    for number in range(0, TABLES, 3):
        pair.source.sql(f"CREATE INDEX ON ballast_{number} (v); CREATE INDEX ON ballast_{number} (v, k)")
    bank.start()
    job = pair.job(load={"workers": WORKERS}, throttle={"load": {"rows_per_s": 3500}})
    rows_copied, killed_in = 0, Counter()
    while killed_in.total() < KILLS and not job.reached("catching-up"):
        process = job.start(fault="snapshot.build:sleep:100")
        time.sleep(choose.uniform(0.02, 1.6))
        status = job.status()
        runs = status["state"] == "running"
        rows_copied += status["totals"]["rows_copied"] if runs else 0
        process.kill9()
        indexes = runs and status["phase"] == "full" and all(table["state"] == "loaded" for table in status["tables"])
        killed_in["indexes" if indexes else status["phase"] if runs else "start"] += 1
    job.start()
    job.wait_for("running", timeout=120)
    last = job.status()
    bank.pause_writers()
    bank.check_prefix(pair.target)
    pair.wait_equal()
    tables = last["tables"]
    rows, size = sum(table["rows"] for table in tables), sum(table["bytes"] for table in tables)
    again = rows_copied + last["totals"]["rows_copied"] - rows
    print(f"\nseed {seed}: killed {killed_in.total()} times: {dict(killed_in)}; copied again: {again} of {rows} rows,"
          f" about {again * size // rows} of {size} bytes")
    assert killed_in.total() >= KILLS // 2 and killed_in["full"] >= KILLS // 4, f"seed {seed}: {killed_in}"
    largest = max(table["rows"] for table in tables)
    assert again <= killed_in.total() * WORKERS * largest, "more than the unfinished tables was copied again"
