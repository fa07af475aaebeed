"""removals and waiting"""

import sqlalchemy as sa
from alembic import op


revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None

WHOLE_NUMBER = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.add_column('jobs', sa.Column('removes', sa.Text(), server_default='[]', nullable=False))
    op.add_column('jobs', sa.Column('wait_for_ssh_seconds', WHOLE_NUMBER, nullable=True))


def downgrade() -> None:
    op.drop_column('jobs', 'wait_for_ssh_seconds')
    op.drop_column('jobs', 'removes')
