"""one of a kind

One started job an instance, one active retry of a job. Should an older file hold two, the later one gets out of the
way: an index that cannot be made would keep the service from starting.
"""

import sqlalchemy as sa
from alembic import op


revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None

STARTED = "started_at_ms IS NOT NULL AND state IN ('running', 'paused')"
ACTIVE = "state IN ('queued', 'running', 'paused')"
RULES = (
    ('uq_jobs_busy_instance', 'instance_key', STARTED, "instance_key || '#' || number"),
    ('uq_jobs_active_retry', 'retry_of', ACTIVE, 'NULL'),
)


def upgrade() -> None:
    for name, column, condition, otherwise in RULES:
        op.execute(
            f'UPDATE jobs SET {column} = {otherwise} WHERE {condition} AND {column} IS NOT NULL AND number NOT IN '
            f'(SELECT min(number) FROM jobs WHERE {condition} GROUP BY {column})'
        )
        where = sa.text(condition)
        op.create_index(name, 'jobs', [column], unique=True, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    for name, *_ in RULES:
        op.drop_index(name, 'jobs')
