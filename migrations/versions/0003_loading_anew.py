"""loading anew"""

import sqlalchemy as sa
from alembic import op


revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('jobs', sa.Column('reinstall', sa.Boolean(), server_default='0', nullable=False))


def downgrade() -> None:
    op.drop_column('jobs', 'reinstall')
