"""Stops a request that its server would refuse, by what the catalog says. Pure."""

from collections.abc import Callable

from pipeline.gateway.catalog import Catalog
from pipeline.interfaces.llm import CompletionRequest

MAX_KNOWN = 256  #: kinds of request whose verdict is remembered

Kind = tuple[object, ...]


class CatalogGate:
    """Says why a request would be refused; None while the catalog is not known.

    With ``warn``, a parameter that the model does not support is only told, once; a model or
    a region that is not there stops the request all the same.
    """

    def __init__(
        self,
        catalog: Callable[[], Catalog | None],
        region: str = "",
        *,
        warn: Callable[[str], object] | None = None,
    ) -> None:
        self._catalog = catalog
        self._region = region
        self._warn = warn
        self._known: dict[Kind, str | None] = {}

    def __call__(self, request: CompletionRequest) -> str | None:
        catalog = self._catalog()
        if catalog is None:
            return None
        kind = _kind(catalog, request)
        if kind not in self._known:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[kind] = self._verdict(catalog, request)
        return self._known[kind]

    def _verdict(self, catalog: Catalog, request: CompletionRequest) -> str | None:
        region = str(request.extra.get("model_region", self._region))
        stops: list[str] = []
        for problem in catalog.problems(request, region):
            if self._warn is not None and problem.kind == "parameter":
                self._warn(problem.message)
            else:
                stops.append(problem.message)
        return "; ".join(stops) or None


def _kind(catalog: Catalog, request: CompletionRequest) -> Kind:
    """Requests of one kind have one verdict, for as long as the catalog is the same."""
    return (
        catalog.read_at,
        request.model,
        request.stream,
        request.temperature is None,
        request.max_tokens is None,
        request.extra.get("model_region"),
        frozenset(request.extra),
    )
