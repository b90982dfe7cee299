"""What callers name."""

from enum import Enum


class Frequency(Enum):
    DAILY = 24 * 60
