"""Raw data for analysts: lazy views of a lake or of a tree written by mano, and DataFrames. Knows no Dagster."""

from dagster_beiwe.reading.mano_tree import ManoTree
from dagster_beiwe.reading.raw_files import RawFile, RawFiles, TimeRange
from dagster_beiwe.reading.views import BeiwePartitions, WindowFiles

__all__ = ["BeiwePartitions", "ManoTree", "RawFile", "RawFiles", "TimeRange", "WindowFiles"]
