"""The user's keys for other sites, and the SSH key of the service's own: set without a restart, kept encrypted."""

from service.keys.checks import KeyCheck, check_key
from service.keys.names import KEYS, SSH, KeyKind
from service.keys.vault import Keys, KeyState

__all__ = ["KEYS", "SSH", "KeyCheck", "KeyKind", "KeyState", "Keys", "check_key"]
