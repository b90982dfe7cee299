"""A simulated Beiwe server for tests, demos and benchmarks: real HTTP on the loopback interface, synthetic data.

Example::

    from dagster_beiwe.simulator import SimulatedServer, StudyPlan, World

    world = World.build(StudyPlan(name="Sleep", participants=2))
    with SimulatedServer(world) as server:
        ...  # point a client at server.url with server.access_key and server.secret_key
"""

from dagster_beiwe.simulator.content import ContentPlan
from dagster_beiwe.simulator.files import StoredFile
from dagster_beiwe.simulator.misbehavior import Misbehavior
from dagster_beiwe.simulator.people import Participant, Researcher, Study
from dagster_beiwe.simulator.plans import ParticipantPlan, StudyPlan
from dagster_beiwe.simulator.profiles import PROFILE_NAMES
from dagster_beiwe.simulator.server import RequestRecord, SimulatedServer
from dagster_beiwe.simulator.world import World

__all__ = [
    "PROFILE_NAMES",
    "ContentPlan",
    "Misbehavior",
    "Participant",
    "ParticipantPlan",
    "RequestRecord",
    "Researcher",
    "SimulatedServer",
    "StoredFile",
    "Study",
    "StudyPlan",
    "World",
]
