"""Catalog check: refuses a request before sending when the catalog excludes it. Pure."""

from collections.abc import Callable

from pipeline.gateway.catalog import Catalog
from pipeline.interfaces.llm import CompletionRequest

MAX_RESULTS = 256  #: kinds of request with a cached result

Kind = tuple[object, ...]


class CatalogGate:
    """Callable that returns why the server would refuse a request, or None.

    Returns None while the catalog is not known. With ``warn``, an unsupported parameter is
    reported to it once and the request is sent; an unknown model or region is still refused.
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
        self._results: dict[Kind, str | None] = {}

    def __call__(self, request: CompletionRequest) -> str | None:
        catalog = self._catalog()
        if catalog is None:
            return None
        kind = _kind(catalog, request)
        if kind not in self._results:
            if len(self._results) >= MAX_RESULTS:
                self._results.clear()
            self._results[kind] = self._check(catalog, request)
        return self._results[kind]

    def _check(self, catalog: Catalog, request: CompletionRequest) -> str | None:
        region = str(request.extra.get("model_region", self._region))
        reasons: list[str] = []
        for problem in catalog.problems(request, region):
            if self._warn is not None and problem.kind == "parameter":
                self._warn(problem.message)
            else:
                reasons.append(problem.message)
        return "; ".join(reasons) or None


def _kind(catalog: Catalog, request: CompletionRequest) -> Kind:
    """Return the cache key: requests of one kind have one result per catalog."""
    return (
        catalog.read_at,
        request.model,
        request.stream,
        request.temperature is None,
        request.max_tokens is None,
        request.extra.get("model_region"),
        frozenset(request.extra),
    )
