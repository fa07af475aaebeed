"""replicas"""

import sqlalchemy as sa
from alembic import op


revision = '0006'
down_revision = '0003'
branch_labels = None
depends_on = None

# 64 bits on every engine. SQLite's INTEGER has them.
WHOLE = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table('replicas',
    sa.Column('replica_id', WHOLE, autoincrement=True, nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('version', sa.Text(), nullable=False),
    sa.Column('library_sha256', sa.String(length=64), nullable=False),
    sa.Column('started_at_ms', WHOLE, nullable=False),
    sa.Column('lease_until_ms', WHOLE, nullable=False),
    sa.PrimaryKeyConstraint('replica_id', name=op.f('pk_replicas')),
    sqlite_autoincrement=True
    )


def downgrade() -> None:
    op.drop_table('replicas')
