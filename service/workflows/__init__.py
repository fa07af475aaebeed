"""What a workflow of ComfyUI needs: the models that it names, and where they come from."""

from service.workflows.catalogue import Catalogue, Entry
from service.workflows.needs import Need, needs_of
from service.workflows.reader import NamedModel, read_workflow

__all__ = ["Catalogue", "Entry", "NamedModel", "Need", "needs_of", "read_workflow"]
