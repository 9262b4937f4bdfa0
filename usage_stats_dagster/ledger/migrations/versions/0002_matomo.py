"""what was sent to a Matomo, and how far."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Positions, the batch on its way, and the counts of a day."""
    op.create_table(
        "matomo_site",
        sa.Column("idsite", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "next_number", sa.BigInteger(), nullable=False, comment="number of the next hit sent: its mark in Matomo"
        ),
        sa.Column(
            "pending",
            sa.LargeBinary(length=2**24),
            nullable=True,
            comment="the batch on its way, as it was made; null when every batch is acknowledged",
        ),
        sa.Column(
            "time_zone",
            sa.String(length=64),
            nullable=True,
            comment="the platform's, which decides the days that positions name",
        ),
        sa.Column("message", sa.Text(), nullable=True, comment="why sending waits; null when it does not"),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("idsite"),
    )
    op.create_table(
        "matomo_position",
        sa.Column("idsite", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "source",
            sa.String(length=64),
            nullable=False,
            comment="day/log identity, or replay/content hash of the file",
        ),
        sa.Column("line", sa.BigInteger(), nullable=False, comment="the last line whose batch Matomo has acknowledged"),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("idsite", "source"),
    )
    op.create_table(
        "matomo_day",
        sa.Column("idsite", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("sent", sa.BigInteger(), server_default="0", nullable=False, comment="requests acknowledged"),
        sa.Column(
            "refused",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="of them, called invalid by Matomo",
        ),
        sa.Column(
            "kept_back",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="hits not sent: robots, impossible dates",
        ),
        sa.Column(
            "stored",
            sa.BigInteger(),
            nullable=True,
            comment="actions that Matomo has of the site's day; null before it was asked",
        ),
        sa.Column(
            "twice",
            sa.BigInteger(),
            nullable=True,
            comment="marks that Matomo has more than once; null when it can't be asked",
        ),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("idsite", "day"),
    )
