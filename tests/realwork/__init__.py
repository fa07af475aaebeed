"""What people really paste, run by the real tools over a real sshd through the real service.

``python -m tests.realwork`` runs all of it and prints the table: section, cases, right. The sections are the kinds of
fault that real work showed: half files, scripts that end before their downloads, nothing installed, error bodies saved
as models, commands that the service broke, quiet tools, wrong causes, SSH, cards, clients; then the traps of the ledger
of runs, what was decided about truth, kill tables, whole scripts and background runs.

A case is data (``case.py``, ``cases/``); what needs a hand has a test of its own. What the service gets wrong stands in
``open.py`` and nowhere else.
"""
