"""The client of the Beiwe data-access API; usable from a plain script."""

from dagster_beiwe.client.answers import AppVersion, DailyBytes, Upload
from dagster_beiwe.client.capabilities import ServerCapabilities
from dagster_beiwe.client.client import BeiweClient
from dagster_beiwe.client.downloads import DataStream
from dagster_beiwe.client.http import HttpPolicy, Traffic
from dagster_beiwe.client.studies import StudyListing

__all__ = [
    "AppVersion",
    "BeiweClient",
    "DailyBytes",
    "DataStream",
    "HttpPolicy",
    "ServerCapabilities",
    "StudyListing",
    "Traffic",
    "Upload",
]
