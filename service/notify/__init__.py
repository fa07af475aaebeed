"""Tells receivers how jobs end: at least once, in order within a job, and at nobody's cost but theirs."""
