"""What ``hf download`` of huggingface_hub 2.4 prints off a terminal: for one file a tqdm bar with the file's address as
its label, for several a count of files and two lines of its own, redrawn. It counts in thousands.
"""

from __future__ import annotations

import re

from service.events.event_types import Progress
from service.events.tools.quantities import percent, whole

BASE = 1000
FETCHING = re.compile(r"^Fetching \d{1,9} files:?$")
# It ends with status 0 behind this sentence: what lay in the folder before is all there is.
NOT_DOWNLOADED = re.compile(r"^Returning existing local_dir ")
_SIZE = r"[\d.]{1,20}[kMGTP]?B"
_FILES = re.compile(
    rf"^Reconstruct(?:ing|ion)\b[^|]{{0,60}}?:\s*(?:(?P<percent>\d{{1,3}})%)?\|[^|]*\|\s*(?P<done>{_SIZE})"
    rf"(?: /\s*(?P<total>{_SIZE}))?\s*(?:✓ Downloaded)?$"
)
_NETWORK = re.compile(rf"^Download(?:ing bytes| complete):[^|]*\|\s*{_SIZE}\s*$")


def base_name(label: str) -> str:
    """The file's name: the label is an address, shortened from the left."""
    return label.rstrip(": ").rpartition("/")[2].strip()


def is_network(text: str) -> bool:
    """The bytes that came over the network: the same as the files' but for what was there already."""
    return _NETWORK.match(text) is not None


def progress(text: str) -> Progress | None:
    """All files of one download together; the total grows until all of them are known."""
    found = _FILES.match(text)
    if found is None:
        return None
    total = whole(found["total"], BASE) if found["total"] else None
    return Progress(
        stage="download",
        percent=percent(found["percent"]) if found["percent"] and total else None,
        downloaded=found["done"],
        total=found["total"] if total else None,
        downloaded_bytes=whole(found["done"], BASE),
        total_bytes=total or None,
    )
