"""Things by name: one registry for data sets, networks, detectors, rankings, figures and items.

What the toolkit brings is entered as users enter their own. A name can carry parameters:
`mask_distance(threshold=0.05)`.
"""

import ast
import inspect
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from tf_earlyticket import checks
from tf_earlyticket.errors import InputError, suggestion

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """Entries by name, in the order in which they were registered.

    Args:
        argument: What users call the name: the argument or config field that takes it.

    Example:
        >>> DETECTORS = Registry("detector")
        >>> DETECTORS.register("mask_distance", MaskDistance)
        >>> DETECTORS.make("mask_distance(threshold=0.05)")
    """

    def __init__(self, argument: str):
        self.argument = argument
        self._entries: dict[str, Entry] = {}
        self._own: set[str] = set()

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._entries))

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def register(self, name: str, entry: Entry, *, own: bool = False) -> None:
        """Makes an entry known by a name; one of the user's that is there is replaced.

        Args:
            name: A Python identifier, "/" and "." allowed within, such as "tfds/cifar100".
            entry: What the name stands for.
            own: Whether it is the toolkit's own, which users cannot replace.

        Raises:
            InputError: If the name cannot be one, or is the toolkit's own.
        """
        plain = isinstance(name, str) and name.replace("/", "_").replace(".", "_").isidentifier()
        if not plain:
            raise checks.refuse("name", name, "a name of letters, digits and underscores")
        if name in self._own and not own:
            raise checks.refuse("name", name, f"another name than {', '.join(sorted(self._own))}")
        if own:
            self._own.add(name)
        self._entries[name] = entry

    def get(self, name: str) -> Entry:
        """Returns the entry of a name.

        Raises:
            InputError: If it is unknown.
        """
        return self._entries[checks.choice(self.argument, name, self._entries)]

    def parse(self, text: str) -> tuple[str, dict[str, Any]]:
        """Returns the name and the parameters of a text such as "name(key=1, other='x')".

        Raises:
            InputError: If the text has another form, or the name is unknown.
        """
        name, opened, rest = text.partition("(") if isinstance(text, str) else (text, "", "")
        name = name.strip() if isinstance(name, str) else name
        self.get(name)
        if not opened:
            return name, {}
        try:
            call = ast.parse(f"_({rest}", mode="eval").body
            # Of "name(a=1)(b=2)" what is called is a call again.
            plain = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and not call.args
            keywords = call.keywords if plain else [None]
            if not all(keyword and keyword.arg for keyword in keywords):
                raise ValueError
            found = {str(k.arg): ast.literal_eval(k.value) for k in keywords}
            if len(found) < len(keywords):
                raise ValueError
            return name, found
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            expected = f"parameters by name with plain values, such as {name}(size=2)"
            raise checks.refuse(self.argument, text, expected) from None

    def make(self, text: str, *positional: Any, **given: Any) -> Any:
        """Returns what the entry of a name makes, called with the name's parameters.

        Args:
            text: A name, or one with parameters.
            *positional: The entry's first arguments, whatever it calls them.
            **given: Arguments from the program; those that the entry does not take are left out.

        Raises:
            InputError: If name or parameters are unknown, or the entry refuses a value.
        """
        name, parameters = self.parse(text)
        entry = self.get(name)
        accepted = parameters_of(entry)[len(positional) :]
        own = [key for key in accepted if key not in given]
        for key in parameters:
            if key not in own:
                error = checks.refuse(
                    self.argument, text, f"parameters of {name} among {', '.join(own) or 'none'}"
                )
                raise InputError(f"{error}{suggestion(key, own)}")
        prefix = f"{self.argument}={text!r}: " if parameters else ""
        parameters |= {key: value for key, value in given.items() if key in accepted}
        try:
            inspect.signature(entry).bind(*positional, **parameters)
        except TypeError as error:
            expected = f"a value for each parameter of {name}; {error}"
            raise checks.refuse(self.argument, text, expected) from None
        with checks.prefixed(prefix):
            return entry(*positional, **parameters)


def parameters_of(function: Callable) -> list[str]:
    """Returns the names of the parameters that a function or class takes by keyword."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(function).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind in kinds]
