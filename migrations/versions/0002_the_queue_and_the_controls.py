"""the queue and the controls

Columns are added and nothing is rebuilt: to make the table of jobs anew would take its resources along with it.
"""

import sqlalchemy as sa
from alembic import op


revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None

# 64 bits on every engine. SQLite's INTEGER has them.
WHOLE = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')
# The order of its bytes, as SQLite has it.
ORDERED = sa.Text().with_variant(sa.Text(collation='C'), 'postgresql')

RESOURCES = (
    ('size_bytes', WHOLE, dict(nullable=True)),
    ('phase', sa.String(length=20), dict(server_default='download', nullable=False)),
    ('bandwidth', WHOLE, dict(nullable=True)),
    ('retry_at_ms', WHOLE, dict(nullable=True)),
    ('verified', sa.String(length=20), dict(nullable=True)),
    ('resource_eta_seconds', sa.Float(), dict(nullable=True)),
    ('job_eta_seconds', sa.Float(), dict(nullable=True)),
    ('progress_at_ms', WHOLE, dict(nullable=True)),
)
JOBS = (
    ('parallel', WHOLE, dict(server_default='1', nullable=False)),
    ('bandwidth_limit', WHOLE, dict(nullable=True)),
    ('max_attempts', WHOLE, dict(server_default='3', nullable=False)),
    ('verify', sa.Boolean(), dict(server_default='1', nullable=False)),
    ('instance_key', ORDERED, dict(server_default='', nullable=False)),
    ('place', ORDERED, dict(server_default='', nullable=False)),
    ('queue_position', WHOLE, dict(nullable=True)),
    ('cancel_requested_at_ms', WHOLE, dict(nullable=True)),
    ('retry_of', sa.String(length=36), dict(nullable=True)),
    ('idempotency_key', sa.Text(), dict(nullable=True)),
    ('body_sha256', sa.String(length=64), dict(nullable=True)),
    ('thinned_at_ms', WHOLE, dict(nullable=True)),
)
INDEXES = (
    ('ix_jobs_state_instance_key_place', ['state', 'instance_key', 'place'], False),
    ('ix_jobs_retry_of', ['retry_of'], False),
    ('ix_jobs_ended_at_ms', ['ended_at_ms'], False),
    ('ix_jobs_idempotency_key', ['idempotency_key'], True),
)


def upgrade() -> None:
    for table, columns in (('job_resources', RESOURCES), ('jobs', JOBS)):
        for name, kind, options in columns:
            op.add_column(table, sa.Column(name, kind, **options))
    digits = "'000000000000' || number"
    place = f"substr({digits}, length({digits}) - 11)"
    op.execute(f"update jobs set instance_key = ssh_host || ':' || ssh_port, place = {place}")
    op.drop_index('ix_jobs_ssh_host_ssh_port_state', 'jobs')
    for name, columns, unique in INDEXES:
        op.create_index(name, 'jobs', columns, unique=unique)


def downgrade() -> None:
    for name, _, _ in INDEXES:
        op.drop_index(name, 'jobs')
    op.create_index('ix_jobs_ssh_host_ssh_port_state', 'jobs', ['ssh_host', 'ssh_port', 'state'])
    for table, columns in (('jobs', JOBS), ('job_resources', RESOURCES)):
        for name, _, _ in columns:
            op.drop_column(table, name)
