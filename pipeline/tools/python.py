"""Python tools: imports a function by name and calls it, in a thread when it is not async."""

import importlib
import inspect
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec
from anyio import to_thread

from pipeline.errors import SettingsError
from pipeline.interfaces.tools import ToolRun
from pipeline.tools.signature import KEY, signature_of


class PythonTool:
    """One Python function."""

    def __init__(self, where: str) -> None:
        """``where`` is ``module:function``. Raises SettingsError when it cannot be imported."""
        self._function = _function_at(where)
        signature = signature_of(where, self._function)
        self.description, self.schema = signature.description, signature.schema
        self._arguments, self._wants_key = signature.arguments, signature.wants_key

    async def run(self, call: ToolRun) -> Any:
        # convert what a JSON Schema cannot express: dates, enums, structs
        given: Any = msgspec.convert(call.arguments, self._arguments, strict=False)
        named = {name: getattr(given, name) for name in self._arguments.__struct_fields__}
        if self._wants_key:
            named[KEY] = call.key
        if inspect.iscoroutinefunction(self._function):
            found = await self._function(**named)
        else:
            work = partial(self._function, **named)
            found = await to_thread.run_sync(work, abandon_on_cancel=True)
        return msgspec.to_builtins(found)


def _function_at(where: str) -> Callable[..., Any]:
    module, _, name = where.partition(":")
    if not module or not name:
        raise SettingsError(f"{where!r} is not module:function")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # appended, so that a module beside pipeline.toml shadows none
    try:
        found: object = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise SettingsError(
            f"no function {where} in this directory or in the installed packages: {error}"
        ) from error
    if not callable(found):
        raise SettingsError(f"{where} is not a function")
    return cast("Callable[..., Any]", found)
