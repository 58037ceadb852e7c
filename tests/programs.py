"""Reading what a program of the examples says and writes."""

import csv


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def read_until(process, text):
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(process.stderr.read())
