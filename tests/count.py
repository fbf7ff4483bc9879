#!/usr/bin/python3
"""Counts JUnit reports of ctest and pytest: prints "PASSED FAILED". What was skipped, not run or not reported at all is
failed: nothing that did not run may look green. A ctest is a cmocka program of several tests; those are counted."""
import re
import sys
import xml.etree.ElementTree as ElementTree

GREEN = re.compile(r"^\[  PASSED  \] (\d+) test", re.M)
RED = re.compile(r"^\[  FAILED  \] (?:\S+: )?(\d+) test", re.M)
SKIPPED = re.compile(r"^\[  SKIPPED ?\] (?:\S+: )?(\d+) test", re.M)


def sum_of(pattern, text):
    return sum(int(number) for number in pattern.findall(text))


def counts_of(case):
    """(passed, failed) of one testcase element."""
    bad = any(case.find(tag) is not None for tag in ("failure", "error", "skipped")) or \
        case.get("status", "run") != "run"
    output = case.findtext("system-out") or ""
    green, red = sum_of(GREEN, output), sum_of(RED, output) + sum_of(SKIPPED, output)
    if bad:
        return green, max(red, 1)
    return (green, red) if green + red > 0 else (1, 0)


def main(paths):
    passed = failed = 0
    for path in paths:
        try:
            cases = list(ElementTree.parse(path).iter("testcase"))
        except (OSError, ElementTree.ParseError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            cases = []
        if not cases:
            print(f"{path}: no test ran", file=sys.stderr)
            failed += 1
        for case in cases:
            green, red = counts_of(case)
            passed, failed = passed + green, failed + red
    print(passed, failed)


if __name__ == "__main__":
    main(sys.argv[1:])
