"""The event log: append before publish, history before live."""
