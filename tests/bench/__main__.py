"""`make bench`: run every measurement and print one JSON document on stdout; progress goes to stderr."""

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict

from tests.bench.checks import (
    added_latency_p99,
    checks_per_second,
    cpu_per_check,
    rss_1000_checks,
    schedule_lag_p99,
    start_100_checks,
)
from tests.bench.direct import backfill_100k, detect_1m, detect_10m
from tests.bench.rest_detect import rest_detect_1m
from tests.bench.result import Measured

BENCHES: dict[str, Callable[[float], Awaitable[list[Measured]]]] = {
    "cpu_per_check": cpu_per_check,
    "checks_per_second": checks_per_second,
    "schedule_lag_p99": schedule_lag_p99,
    "added_latency_p99": added_latency_p99,
    "rss_1000_checks": rss_1000_checks,
    "start_100_checks": start_100_checks,
    "rest_detect_1m": rest_detect_1m,
    "detect_1m": detect_1m,
    "backfill_100k": backfill_100k,
    "detect_10m": detect_10m,
}


async def _run(names: list[str], scale: float) -> list[Measured]:
    return [measured for name in names for measured in await BENCHES[name](scale)]


def main() -> None:
    """Run the named measurements, or all of them."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHES], help="measurements; all when none")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full size, to try things out")
    options = parser.parse_args()
    results = asyncio.run(_run(options.names or list(BENCHES), options.scale))
    json.dump({"results": [asdict(measured) for measured in results]}, sys.stdout, indent=1)
    sys.stdout.write("\n")


main()
