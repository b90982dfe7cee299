"""``type: dagster_beiwe.BeiweComponent``: a project in YAML."""

from dagster_beiwe.component.component import BeiweComponent
from dagster_beiwe.component.fields import Deployment, StudyInYaml

__all__ = ["BeiweComponent", "Deployment", "StudyInYaml"]
