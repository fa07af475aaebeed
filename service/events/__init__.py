"""The ground: events, the parser that makes them from bytes, and the job that they add up to. No I/O, no clock."""
