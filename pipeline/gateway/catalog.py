"""Model catalog of a server: parameters, regions and prices; checks requests. Pure."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, cast

import msgspec
from msgspec import Struct

from pipeline.errors import GatewayLost
from pipeline.interfaces.llm import CompletionRequest, Prices

MILLION = 1_000_000
MAX_PRICE = 1e6  #: USD per million tokens; the dearest model cost 600 in 2025
MAX_COUNT = 1e12  #: tokens, or seconds since 1970


class Model(Struct, frozen=True, kw_only=True):
    """One entry. Empty ``supported`` or ``regions``: not listed by the server."""

    id: str
    name: str = ""
    creator: str = ""
    context_length: int | None = None  #: tokens
    supported: frozenset[str] = frozenset()  #: parameters of a request
    regions: tuple[str, ...] = ()
    prices: dict[str, Prices] = {}  #: by us, eu, global; or by "" for a server with one price
    retires: int = 0  #: seconds since 1970; 0 is never

    def price(self, region: str) -> Prices | None:
        """Return the price in ``region``, or the price that holds for all regions."""
        return self.prices.get(region) or self.prices.get("") or self._default_price(region)

    def _default_price(self, region: str) -> Prices | None:
        return None if region else self.prices.get("global") or self.prices.get("us")


class Problem(Struct, frozen=True):
    """One reason why the server would refuse a request."""

    kind: str  #: model, region or parameter
    message: str


class Catalog(Struct, frozen=True):
    """The models of one server, by id. The list changes often: keep it for minutes only."""

    models: dict[str, Model]
    read_at: float = 0.0  #: seconds, on the caller's clock
    is_whole: bool = True  #: False: the server also accepts models or names that it does not list

    def price(self, model: str, region: str) -> Prices | None:
        """Return the price of ``model``; None when unknown."""
        found = self.models.get(model)
        return found.price(region) if found else None

    def can_stream(self, model: str) -> bool:
        """Return whether ``model`` streams; True when the catalog does not list it."""
        found = self.models.get(model)
        if found is None or not found.supported or "stream" in found.supported:
            return True
        return not any("stream" in other.supported for other in self.models.values())

    def problems(self, request: CompletionRequest, region: str = "") -> list[Problem]:
        """Return why the server would refuse ``request``; empty when the catalog has no answer."""
        if not self.models:
            return []
        model = self.models.get(request.model)
        if model is None and not self.is_whole:
            return []
        if model is None:
            suggestions = self._suggestions(request.model, region)
            return [Problem("model", f"{request.model!r} is not in the catalog{suggestions}")]
        found: list[Problem] = []
        if region and model.regions and region not in model.regions:
            suggestions = self._suggestions(request.model, region)
            offered = ", ".join(model.regions)
            message = f"{model.id} is not offered in {region}, only in {offered}{suggestions}"
            found.append(Problem("region", message))
        return found + [
            Problem("parameter", f"{model.id} does not support {name}")
            for name in self._unsupported(request, model)
        ]

    def _unsupported(self, request: CompletionRequest, model: Model) -> list[str]:
        """Return the parameters that other models list and ``model`` does not.

        A parameter that no model lists is accepted: the catalog does not cover it.
        """
        if not model.supported:
            return []
        known = frozenset[str]().union(*(other.supported for other in self.models.values()))
        requested = set(request.extra)
        requested |= {"stream"} if request.stream else set()
        requested |= {"temperature"} if request.temperature is not None else set()
        requested |= {"max_tokens"} if request.max_tokens is not None else set()
        return sorted((requested & known) - model.supported)

    def _suggestions(self, model: str, region: str) -> str:
        offered = [
            other.id
            for other in self.models.values()
            if other.id != model and (not region or not other.regions or region in other.regions)
        ]
        suggestions = get_close_matches(model, offered, n=3, cutoff=0.4) or sorted(offered)[:3]
        return f"; there is {', '.join(suggestions)}" if suggestions else ""


def parse(body: bytes, read_at: float = 0.0, *, is_whole: bool = True) -> Catalog:
    """Parse the response of ``GET /models``; raises GatewayLost when it is not JSON.

    Servers other than AssemblyAI's list ids and little else, or OpenRouter's flat prices.
    """
    try:
        value: object = msgspec.json.decode(body)
    except (ValueError, RecursionError) as cause:
        raise GatewayLost(f"the model list is not JSON: {cause}") from cause
    listed = _mapping(value).get("data", value)
    models = [model for model in map(_model, _list(listed)) if model is not None]
    return Catalog({model.id: model for model in models}, read_at, is_whole)


def _model(found: object) -> Model | None:
    entry = _mapping(found)
    name = entry.get("id")
    if not isinstance(name, str) or not name:
        return None
    return Model(
        id=name,
        name=_text(entry.get("name")),
        creator=_text(entry.get("creator") or entry.get("owned_by")),
        context_length=_count(entry.get("context_length")),
        supported=frozenset(_texts(entry.get("supported_parameters"))),
        regions=tuple(_texts(entry.get("available_regions"))),
        prices=_tiers(_mapping(entry.get("pricing"))),
        retires=_count(entry.get("retirement_date")) or 0,
    )


def _tiers(pricing: Mapping[str, Any]) -> dict[str, Prices]:
    """Parse USD per million tokens in up to three tiers, or (OpenRouter) flat USD per token.

    A region without its own tier costs the global price plus ``regional_increase_percent``,
    which is a fraction: 0.1 is 10 % (AssemblyAI, observed 2026-09).
    """
    tiers = {
        name: prices
        for name in ("us", "eu", "global")
        if (prices := _prices(_mapping(pricing.get(name)))) is not None
    }
    increase = _amount(pricing.get("regional_increase_percent"))
    if "global" in tiers and increase is not None:
        for name in ("us", "eu"):
            tiers.setdefault(name, tiers["global"].times(1 + increase))
    flat = None if tiers else _prices(pricing)
    return {"": flat.times(MILLION)} if flat else tiers


def _prices(found: Mapping[str, Any]) -> Prices | None:
    prompt = _amount(found.get("prompt"))
    completions = _amount(found.get("completions", found.get("completion")))
    if prompt is None or completions is None:
        return None
    return Prices(prompt, completions, _amount(found.get("input_cache_read")))


def _amount(found: object, limit: float = MAX_PRICE) -> float | None:
    """Return a number from 0 to ``limit``, also from a text; None for anything else."""
    try:
        amount = float(cast("str", found))
    except (TypeError, ValueError, OverflowError):
        return None
    return amount if 0 <= amount <= limit else None


def _count(found: object) -> int | None:
    amount = _amount(found, MAX_COUNT)
    return None if amount is None else int(amount)


def _text(found: object) -> str:
    return found if isinstance(found, str) else ""


def _texts(found: object) -> list[str]:
    return [item for item in _list(found) if isinstance(item, str)]


def _list(found: object) -> list[object]:
    return cast("list[object]", found) if isinstance(found, list) else []


def _mapping(found: object) -> Mapping[str, Any]:
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
