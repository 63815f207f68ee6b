"""Diagnosis of a running system, with remedies: the checks behind ``everwatch doctor``."""

from everwatch.diagnosis.check_list import CHECKS, diagnose
from everwatch.diagnosis.finding import Finding
from everwatch.diagnosis.system import System

__all__ = ["CHECKS", "Finding", "System", "diagnose"]
