"""The user's instances at Vast.ai: listed with the address that an install needs, stopped only where that is let."""

from service.vast.account import VastAccount
from service.vast.rented import Rented

__all__ = ["Rented", "VastAccount"]
