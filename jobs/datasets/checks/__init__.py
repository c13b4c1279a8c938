"""What is worth knowing about a set of examples: every check, its sentence, and which rows it is about."""

from __future__ import annotations

from jobs.datasets.checks.checker import Checker
from jobs.datasets.checks.problems import FIX_ALL, FIXABLE, Problem, fix_all_codes

__all__ = ["FIXABLE", "FIX_ALL", "Checker", "Problem", "fix_all_codes"]
