"""The warning about a job whose ``ui_home`` is not a ComfyUI: nobody would look for its files there. Pure."""

from __future__ import annotations

from service.events.event_types import ResourceWarned
from service.runner.instance.remote import Found, UiHome

UI_HOME_MISSING = "ui_home_missing"


def ui_home_warning(ui_home: str, found: Found) -> ResourceWarned | None:
    """None if there is nothing to say: it is a ComfyUI, or a folder of another kind on an instance without one, such as
    a volume that holds only models; or the instance did not tell."""
    if found.ui_home is UiHome.MISSING:
        problem = f"ui_home {ui_home} does not exist on the instance: the install makes it"
    elif found.ui_home is UiHome.OTHER and found.elsewhere:
        problem = f"ui_home {ui_home} is not a ComfyUI: it has no main.py beside a folder models"
    else:
        return None
    way_out = "no ComfyUI was found in the usual places"
    if found.elsewhere:
        way_out = f"found {', '.join(found.elsewhere)}: if one of these is meant, install again with it as ui_home"
    return ResourceWarned(code=UI_HOME_MISSING, text=f"{problem}; {way_out}", paths=list(found.elsewhere))
