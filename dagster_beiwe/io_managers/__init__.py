"""IO managers: a skin over ``reading`` and ``tables``."""

from dagster_beiwe.io_managers.io_managers import EncryptedLakeIOManager, EncryptedTableIOManager, TablePartitions

__all__ = ["EncryptedLakeIOManager", "EncryptedTableIOManager", "TablePartitions"]
