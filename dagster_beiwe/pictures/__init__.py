"""Pictures of a study's coverage: who sends what, day by day. They are small, and need no plotting library.

A ``Chart`` is a matrix of levels with its labels. ``heat_maps`` and ``bars`` make charts of tables; ``drawing`` makes
images of charts.
"""
