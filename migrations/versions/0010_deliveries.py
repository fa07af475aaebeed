"""deliveries"""

import sqlalchemy as sa
from alembic import op


revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None

WHOLE_NUMBER = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table(
        'receivers',
        sa.Column('receiver_id', sa.String(length=36), nullable=False),
        sa.Column('name', sa.Text(), nullable=False),
        sa.Column('kind', sa.String(length=10), nullable=False),
        sa.Column('shown', sa.Text(), nullable=False),
        sa.Column('sealed', sa.Text(), nullable=True),
        sa.Column('kinds', sa.Text(), nullable=False),
        sa.Column('created_at_ms', WHOLE_NUMBER, nullable=False),
        sa.PrimaryKeyConstraint('receiver_id', name=op.f('pk_receivers')),
    )
    op.create_table(
        'deliveries',
        sa.Column('delivery_id', WHOLE_NUMBER, autoincrement=True, nullable=False),
        sa.Column('receiver_id', sa.String(length=36), nullable=False),
        sa.Column('job_id', sa.String(length=36), nullable=False),
        sa.Column('sequence', WHOLE_NUMBER, nullable=False),
        sa.Column('kind', sa.String(length=20), nullable=False),
        sa.Column('at_ms', WHOLE_NUMBER, nullable=False),
        sa.Column('body', sa.Text(), nullable=False),
        sa.Column('state', sa.String(length=10), server_default='pending', nullable=False),
        sa.Column('tries', WHOLE_NUMBER, server_default='0', nullable=False),
        sa.Column('next_at_ms', WHOLE_NUMBER, nullable=False),
        sa.Column('claimed_until_ms', WHOLE_NUMBER, server_default='0', nullable=False),
        sa.Column('ended_at_ms', WHOLE_NUMBER, nullable=True),
        sa.Column('status', WHOLE_NUMBER, nullable=True),
        sa.Column('error', sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint('delivery_id', name=op.f('pk_deliveries')),
        sa.UniqueConstraint('job_id', 'sequence', 'receiver_id', name=op.f('uq_deliveries_job_id_sequence_receiver_id')),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f('ix_deliveries_receiver_id_state_next_at_ms'), 'deliveries', ['receiver_id', 'state', 'next_at_ms']
    )
    op.create_index(op.f('ix_deliveries_state_next_at_ms'), 'deliveries', ['state', 'next_at_ms'])
    op.create_index(op.f('ix_job_resources_resource'), 'job_resources', ['resource'])


def downgrade() -> None:
    op.drop_index(op.f('ix_job_resources_resource'), table_name='job_resources')
    op.drop_table('deliveries')
    op.drop_table('receivers')
