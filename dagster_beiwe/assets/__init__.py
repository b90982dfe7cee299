"""The assets of a study, and how they look in Dagster."""

from dagster_beiwe.assets.studies import build_studies_asset
from dagster_beiwe.assets.study_asset import AssetOptions
from dagster_beiwe.assets.study_assets import StudyAssets, build_study_assets
from dagster_beiwe.assets.translator import DEFAULT_TRANSLATOR, BeiweTranslator, BeiweTranslatorData, translated

__all__ = [
    "DEFAULT_TRANSLATOR",
    "AssetOptions",
    "BeiweTranslator",
    "BeiweTranslatorData",
    "StudyAssets",
    "build_studies_asset",
    "build_study_assets",
    "translated",
]
