"""Other event logs on SQLite, driven as their own documentation does: ``appends(folder, jobs, seconds)`` each.

Each checks that what it promises of durability is what this service promises (WAL, ``synchronous=FULL``), and that
the events which it counts are in the file.
"""
