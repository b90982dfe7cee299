"""The client of the Beiwe data-access API; usable from a plain script."""

from dagster_beiwe.client.answers import AppVersion, DailyBytes, Upload
from dagster_beiwe.client.capabilities import ServerCapabilities
from dagster_beiwe.client.client import BeiweClient
from dagster_beiwe.client.downloads import Download
from dagster_beiwe.client.http import Traffic
from dagster_beiwe.client.studies import StudyListing
from dagster_beiwe.retries import HttpPolicy

__all__ = [
    "AppVersion",
    "BeiweClient",
    "DailyBytes",
    "Download",
    "HttpPolicy",
    "ServerCapabilities",
    "StudyListing",
    "Traffic",
    "Upload",
]
