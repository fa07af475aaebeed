"""owners"""

import sqlalchemy as sa
from alembic import op


revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None

WHOLE_NUMBER = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table('replicas',
    sa.Column('replica_id', WHOLE_NUMBER, autoincrement=True, nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('version', sa.Text(), nullable=False),
    sa.Column('started_at_ms', WHOLE_NUMBER, nullable=False),
    sa.PrimaryKeyConstraint('replica_id', name=op.f('pk_replicas')),
    sqlite_autoincrement=True
    )
    op.add_column('jobs', sa.Column('owner', WHOLE_NUMBER, nullable=True))
    op.add_column('jobs', sa.Column('epoch', WHOLE_NUMBER, server_default='0', nullable=False))
    where = sa.text("state IN ('running', 'paused')")
    op.create_index('ix_jobs_owner', 'jobs', ['owner'], sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    op.drop_index('ix_jobs_owner', 'jobs')
    op.drop_column('jobs', 'epoch')
    op.drop_column('jobs', 'owner')
    op.drop_table('replicas')
