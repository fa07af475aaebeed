"""keys"""

import sqlalchemy as sa
from alembic import op


revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None

WHOLE_NUMBER = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table(
        'keys',
        sa.Column('name', sa.String(length=40), nullable=False),
        sa.Column('sealed', sa.Text(), nullable=False),
        sa.Column('set_at_ms', WHOLE_NUMBER, nullable=False),
        sa.PrimaryKeyConstraint('name', name=op.f('pk_keys')),
    )


def downgrade() -> None:
    op.drop_table('keys')
