"""One JSON line for each subject: name, tried, survived, lost, seconds, command, machine."""

import argparse
import importlib
import os
import sys

SUBJECTS = ("kill", "disk", "corrupt", "hostile", "surfaces", "sweep_files", "fuzz", "numbers", "load")


def main() -> int:
    """Run the subjects that were asked for; exit code 1 if anything was lost."""
    os.environ["OMP_NUM_THREADS"] = "1"  # a fork is safe only while there is one thread
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__)
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=f"of {', '.join(SUBJECTS)}; all by default")
    parser.add_argument("--count", type=int, help="cases, in the place of each subject's own number")
    options = parser.parse_args()
    if wrong := [name for name in options.subjects if name not in SUBJECTS]:
        parser.error(f"no subject is called {wrong[0]}; there are {', '.join(SUBJECTS)}")
    lost = 0
    for name in options.subjects or SUBJECTS:
        subject = importlib.import_module(f"benchmarks.reliability.{name}")
        words = [name, *([f"--count {options.count}"] if options.count else [])]
        for tally in subject.run(options.count):
            print(tally.line(words), flush=True)
            lost += len(tally.lost)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
