"""The one way by which the service itself fetches something from a site: bounded, and never from a private network."""

from service.outbound.fetcher import Answer, Outbound
from service.outbound.targets import origin_of

__all__ = ["Answer", "Outbound", "origin_of"]
