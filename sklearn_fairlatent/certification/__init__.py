"""Bounds on the disparity of every classifier that sees only a finite code, from rows that training did not see."""

from ._certificate import Certificate
from ._certify import certify, certify_codes

__all__ = ["Certificate", "certify", "certify_codes"]
