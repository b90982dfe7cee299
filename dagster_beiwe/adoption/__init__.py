"""Take over a tree of files that another tool downloaded: mano, lochness, or a script that unpacks archives.

``old_tree`` finds the files and what their names say, ``old_files`` opens them, ``taking`` stages them for a sync,
``forecast`` compares sizes, and ``adoption`` plans windows and reports. If the tree is a lake, ``old_lake`` lets the
new log continue its log. The old tree is only read. Knows nothing of Dagster.
"""
