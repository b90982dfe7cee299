"""IO managers: raw data as a lazy view, and DataFrames as encrypted Parquet."""

from dagster_beiwe.io_managers.raw_files import EncryptedLakeIOManager
from dagster_beiwe.io_managers.tables import EncryptedTableIOManager

__all__ = ["EncryptedLakeIOManager", "EncryptedTableIOManager"]
