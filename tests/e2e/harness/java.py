"""A program of the jars that tests/broker has brought, as a process with a log."""
import os
import signal
import subprocess

from .place import clean_environment, kafka_part
from .poll import NotInTime, poll_until

LOGGING = """rootLogger.level = info
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %c{1} %m%n
logger.options.name = org.apache.kafka.common.config.AbstractConfig
logger.options.level = warn
"""
# Up soon and small. For throughput pass -XX:TieredStopAtLevel=4: the last one counts.
OPTIONS = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xms64m", "-XX:+ExitOnOutOfMemoryError",
           "-Djava.awt.headless=true"]


class Java:
    def __init__(self, name, directory, main, arguments, heap_mib, options=()):
        self.name = name
        self.directory = directory
        self.log_path = directory / f"{name}.log"
        logging = directory / "log4j2.properties"
        logging.write_text(LOGGING)
        self.command = ["java", f"-Xmx{heap_mib}m", *OPTIONS, *options, f"-Dlog4j2.configurationFile={logging}",
                        "-cp", f"{kafka_part('kafka')}/*", main, *map(str, arguments)]
        self.process = None

    @property
    def pid(self):
        return self.process.pid

    def start(self, ready, timeout=60):
        """Until ready(what it wrote since) is true."""
        assert self.process is None, f"{self.name} runs already"
        begin = self.log_position()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command, cwd=self.directory, env=clean_environment(),
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

        def is_ready():
            assert self.process.poll() is None, f"{self.name} did not start:\n{self.log(begin)[-4000:]}"
            return ready(self.log(begin))
        try:
            poll_until(is_ready, f"{self.name} is up", timeout)
        except BaseException as error:  # the test's own deadline, too: nothing may be left behind
            self.kill()
            if isinstance(error, NotInTime):
                raise NotInTime(f"{error}\n{self.log(begin)[-4000:]}") from None
            raise

    def cpu_seconds(self):
        fields = open(f"/proc/{self.pid}/stat").read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def signal(self, number):
        if self.alive():
            os.kill(self.process.pid, number)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def stop(self, timeout=60):
        """SIGTERM: it puts away what it has. Returns the exit code."""
        self.signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise NotInTime(f"{self.name} did not end within {timeout} s:\n{self.log()[-3000:]}") from None
        self.process = None
        return code

    def kill(self):
        """kill -9, also of one that is paused."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self):
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def log_position(self):
        return self.log_path.stat().st_size if self.log_path.exists() else 0

    def log(self, offset=0):
        if not self.log_path.exists():
            return ""
        with open(self.log_path, "rb") as file:
            file.seek(offset)
            return file.read().decode("utf-8", "replace")
