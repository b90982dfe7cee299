"""Partitions of participants and windows, and rectangles of them."""

from dagster_beiwe.partitions.definitions import participant_partitions, raw_data_partitions, window_partitions

__all__ = ["participant_partitions", "raw_data_partitions", "window_partitions"]
