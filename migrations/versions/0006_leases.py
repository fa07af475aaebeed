"""leases"""

import sqlalchemy as sa
from alembic import op


revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None

WHOLE_NUMBER = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.add_column('replicas', sa.Column('library_sha256', sa.String(length=64), nullable=True))
    op.add_column('replicas', sa.Column('lease_until_ms', WHOLE_NUMBER, nullable=True))


def downgrade() -> None:
    op.drop_column('replicas', 'lease_until_ms')
    op.drop_column('replicas', 'library_sha256')
