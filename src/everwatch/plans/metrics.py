"""Metrics of a worker's plans."""

from prometheus_client import Gauge

PLANS_OK = Gauge("everwatch_plans_ok", "1: plans are as their file has them, or there is none; 0: the file is wrong.")
PLANS_OK.set(1)
