"""The limits of the process and of its disk: each ends the run with a sentence that names it, and the next run goes on."""
import os
import resource
import subprocess
from pathlib import Path

import pytest

from harness.place import walferry_binary
from harness.poll import poll_until
from harness.walferry import BROKEN, Process

MIB = 1 << 20
STREAMED = {"logical_decoding_work_mem": "64kB"}
TABLE = "CREATE TABLE e (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'x' FROM generate_series(1, 10) i"
# About 40 MB of frames that lz4 cannot make much smaller.
LARGE = ("INSERT INTO t SELECT 1000 + i, (SELECT string_agg(md5((i * 32 + k)::text), '') FROM generate_series(1, 32) k)"
         " FROM generate_series(1, 40000) i")
# A transaction with a TRUNCATE is not applied while it arrives: it waits in the spill.
LARGE_SPILLED = f"TRUNCATE e; {LARGE}"


class Limited(Process):
    """A run under limits of the kernel, as another user where a limit does not hold for root."""

    def __init__(self, job, limits, number, user=None):
        self.limits = limits
        self.user = user
        base = job.directory / f"limited-{number}"
        self.out_path, self.err_path = base.with_suffix(".out"), base.with_suffix(".err")
        self.fault_log = base.with_suffix(".faults")
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.popen = subprocess.Popen(
                [str(walferry_binary()), "run", str(job.file), "--until", "now", "--wait", "3s"], cwd=job.directory,
                env=job._environment(None, None, None), stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                start_new_session=True, user=user, group=user, extra_groups=None if user is None else [],
                preexec_fn=self.limit)
        job.processes.append(self)

    def limit(self):
        for name, value in self.limits.items():
            resource.setrlimit(name, (value, value))


def ends_with_a_sentence(process, *words):
    """No hang, no crash, and what was refused is named."""
    code = process.wait(60)
    assert code in (2, 5, 6), f"ended with {code}: {process.err[-2000:]}"
    said = process.err.lower()
    assert not any(word.lower() in said for word in BROKEN), said[-2000:]
    assert any(word in said for word in words), said[-2000:]
    assert "hint:" in said, said[-2000:]


def goes_on(pair, job):
    """Without the limit the same job comes to its end."""
    done = job.run("--until", "now")
    assert done.exit == 0, done.err
    pair.check_equal()


@pytest.mark.parametrize("files", [5, 6, 7, 8, 9, 10, 12])
def test_too_few_file_descriptors(pair, files):
    """F07: ulimit -n."""
    pair.source.sql(TABLE)
    job = pair.job()
    process = Limited(job, {resource.RLIMIT_NOFILE: files}, files)
    if process.wait(60) != 0:
        ends_with_a_sentence(process, "open files")
    goes_on(pair, job)


def test_too_few_file_descriptors_while_streaming(pair):
    """F07: the job is there; what is lacking is the descriptors of a session."""
    pair.source.sql(TABLE)
    job = pair.job()
    assert job.run("--until", "now").exit == 0
    refused = 0
    for files in range(6, 13):
        pair.source.sql("UPDATE t SET v = v || 'y'")
        process = Limited(job, {resource.RLIMIT_NOFILE: files}, files)
        if process.wait(60) != 0:
            refused += 1
            ends_with_a_sentence(process, "open files")
    assert refused >= 3
    goes_on(pair, job)


LONELY = 61000  # a user with no other process on this machine: the kernel counts them by user


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_too_few_threads(pair):
    """F07: ulimit -u. One limit after the other, so that each thread is refused once."""
    pair.source.sql(TABLE)
    job = pair.job()
    folder = job.directory
    for path in (folder, *folder.iterdir()):
        os.chown(path, LONELY, LONELY)
    refused = 0
    for threads in range(1, 12):
        pair.source.sql("UPDATE t SET v = v || 'y'")
        process = Limited(job, {resource.RLIMIT_NPROC: threads}, threads, user=LONELY)
        if process.wait(60) == 0:
            break
        refused += 1
        ends_with_a_sentence(process, "processes and threads", "could not fork", "pg_dump")
    assert refused >= 4
    for path in (folder, *folder.rglob("*")):
        os.chown(path, os.geteuid(), os.getegid())
    goes_on(pair, job)


@pytest.mark.deadline(240)
def test_too_little_memory(make_pair):
    """F06: ulimit -v, from nearly nothing to enough: never a hang, never half of a transaction, always a sentence, also
    where a library dies of it by a signal."""
    pair = make_pair(source=STREAMED)
    pair.source.sql(TABLE)
    job = pair.job(memory="16MiB")
    assert job.run("--until", "now").exit == 0
    pair.source.sql(LARGE)
    refused = 0
    for mib in (8, 16, 20, 32, *range(48, 84), 96, 128, 192, 256):
        process = Limited(job, {resource.RLIMIT_AS: mib * MIB}, mib)
        code = process.wait(60)
        if code == 0:
            break
        refused += 1
        there = pair.target.one("SELECT count(*) FROM t")
        assert there in (10, 40010), f"{there} rows under {mib} MiB"
        assert process.err.strip(), f"ended with {code} under {mib} MiB without a word"
        assert code in (2, 5, 6, 127), f"{process.err[-3000:]}\nended with {code} under {mib} MiB"
        assert "memory" in process.err or "failed to map" in process.err, process.err[-1000:]
    assert refused >= 3
    goes_on(pair, job)


@pytest.fixture
def small_disk(place):
    """A tmpfs of 4 MiB."""
    folder = place.folder(f"spill{os.urandom(3).hex()}")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder], capture_output=True)
    assert mounted.returncode == 0, mounted.stderr
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def free_bytes(folder):
    seen = os.statvfs(folder)
    return seen.f_bavail * seen.f_frsize


def test_spill_disk_full_ends_with_a_sentence_and_gives_everything_back(make_pair, small_disk):
    """F08: nothing is confirmed of what was not applied; after there is room the same transaction comes again."""
    pair = make_pair(source=STREAMED)
    pair.source.sql(TABLE)
    job = pair.running_job(memory="16MiB", spill={"dir": str(small_disk)})
    empty = free_bytes(small_disk)
    pair.source.sql(LARGE_SPILLED)
    assert job.process.wait(60) == 5, job.process.err
    last = job.process.err.rstrip().splitlines()[-2:]
    assert f'no room left in the spill folder "{small_disk}"' in last[0] and "hint: free disk space" in last[1]
    assert free_bytes(small_disk) == empty and list(small_disk.iterdir()) == []
    assert pair.target.one("SELECT count(*) FROM t") == 10
    job.start()
    assert job.process.wait(60) == 5, "without room it ends the same way again"
    subprocess.run(["mount", "-o", "remount,size=200m", small_disk], check=True)
    goes_on(pair, job)


def test_spill_max_ends_with_a_sentence_and_nothing_else_is_harmed(make_pair):
    """F08: small transactions before the large one are applied and confirmed all the same."""
    pair = make_pair(source=STREAMED)
    pair.source.sql(TABLE)
    folder = pair.directory / "spill"
    job = pair.running_job(memory="16MiB", spill={"dir": str(folder), "max": "4MiB"})
    large = pair.source.connect(autocommit=False)
    large.cursor().execute("SELECT pg_current_xact_id()")
    pair.source.sql("UPDATE t SET v = 'before'")
    pair.wait_equal()
    large.cursor().execute(LARGE_SPILLED)
    assert job.process.wait(60) == 5, job.process.err
    last = job.process.err.rstrip().splitlines()[-2:]
    assert "at most 4194304 bytes" in last[0] and "hint: raise spill.max" in last[1], last
    assert pair.target.sql("SELECT DISTINCT v FROM t") == [("before",)]
    large.commit()
    large.close()
    job.rewrite({"spill": {"max": "1GiB"}})
    goes_on(pair, job)
    assert list(folder.iterdir()) == []


def test_spill_folder_that_cannot_be_written_ends_with_a_sentence(make_pair):
    pair = make_pair(source=STREAMED)
    pair.source.sql(TABLE)
    folder = pair.directory / "file"
    folder.write_text("not a folder")
    job = pair.running_job(memory="16MiB", spill={"dir": str(folder)})
    pair.source.sql(LARGE_SPILLED)
    assert job.process.wait(60) == 5, job.process.err
    assert str(folder) in job.process.err and "spill.dir" in job.process.err
    assert pair.target.one("SELECT count(*) FROM t") == 10


def test_damaged_spill_block_is_never_applied(make_pair):
    """A bit of a block on disk changes while its transaction is open: an error, and nothing of it at the target."""
    pair = make_pair(source=STREAMED)
    pair.source.sql(TABLE)
    folder = pair.directory / "spill"
    job = pair.running_job(memory="16MiB", spill={"dir": str(folder)})
    large = pair.source.connect(autocommit=False)
    large.cursor().execute(LARGE_SPILLED)
    spilled = poll_until(lambda: [entry for entry in Path(f"/proc/{job.process.pid}/fd").iterdir()
                                  if str(os.readlink(entry)).startswith(str(folder)) and entry.stat().st_size > MIB],
                         "it is spilled", forgiving=(OSError,))
    file = os.open(spilled[0], os.O_RDWR)
    byte = os.pread(file, 1, 500000)
    os.pwrite(file, bytes([byte[0] ^ 1]), 500000)
    os.close(file)
    large.commit()
    large.close()
    assert job.process.wait(60) == 5, job.process.err
    assert "damaged" in job.process.err and "hint:" in job.process.err
    assert pair.target.one("SELECT count(*) FROM t") == 10
    goes_on(pair, job)


def test_left_over_files_are_never_taken_for_data(make_pair):
    """F12: what a killed run of an older version, or anybody, has left in our folders."""
    pair = make_pair(source=STREAMED)
    pair.source.sql(TABLE)
    folder = pair.directory / "spill"
    folder.mkdir()
    planted = {name: os.urandom(100000) for name in ("spill-AAAAAA", "spill-000001", f"{pair.name}.spill", "core")}
    for name, bytes_ in planted.items():
        (folder / name).write_bytes(bytes_)
    job = pair.job(memory="16MiB", spill={"dir": str(folder)})
    runtime = job.directory / "walferry"
    runtime.mkdir(mode=0o700)
    (runtime / f"{pair.name}.pid").write_text("1")
    (runtime / f"{pair.name}.sock").write_text("not a socket")
    job.start()
    job.wait_for("running")
    pair.source.sql(LARGE)
    pair.wait_equal()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == planted
