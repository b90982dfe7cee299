"""Tables of a lake: DataFrames as encrypted Parquet, under the same log as raw data."""
