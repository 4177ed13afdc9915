"""Several commands one after the other in one process of several, which costs one import of torch instead of many."""

import json
import os
import sys
from dataclasses import asdict

from tests.cli.command import elbo

if __name__ == "__main__":
    told = []
    for port, words in json.loads(sys.argv[1]):
        os.environ["MASTER_PORT"] = port  # a meeting place for each: who is early must not meet who is late
        told.append(asdict(elbo(*words)))
    sys.stdout.write(json.dumps(told))
