"""replicas at work: the host keys that they share, and whose sessions are whose"""

import sqlalchemy as sa
from alembic import op


revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None

WHOLE_NUMBER = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.add_column('replicas', sa.Column('session', sa.Text(), nullable=True))
    op.create_table('works_from',
    sa.Column('revision', sa.String(length=32), nullable=False),
    sa.PrimaryKeyConstraint('revision', name=op.f('pk_works_from'))
    )
    op.create_table('known_hosts',
    sa.Column('host', sa.Text(), nullable=False),
    sa.Column('port', WHOLE_NUMBER, autoincrement=False, nullable=False),
    sa.Column('algorithm', sa.String(length=40), nullable=False),
    sa.Column('key', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('host', 'port', name=op.f('pk_known_hosts'))
    )


def downgrade() -> None:
    op.drop_table('known_hosts')
    op.drop_table('works_from')
    op.drop_column('replicas', 'session')
