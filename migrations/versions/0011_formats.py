"""formats"""

import sqlalchemy as sa
from alembic import op


revision = '0011'
down_revision = '0010'
branch_labels = None
depends_on = None

WHOLE_NUMBER = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.add_column('replicas', sa.Column('events_format', WHOLE_NUMBER, server_default='1', nullable=False))
    op.add_column('jobs', sa.Column('events_format', WHOLE_NUMBER, server_default='1', nullable=False))


def downgrade() -> None:
    op.drop_column('jobs', 'events_format')
    op.drop_column('replicas', 'events_format')
