"""Methods by name, as a configuration writes them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType

from .base import Method
from .maml import MAMLenLLM
from .metaicl import MetaICL
from .reptile import Reptile


@dataclass(frozen=True)
class Entry:
    """A class, and what is fixed of it. Called with settings, it takes those it has."""

    kind: type
    fixed: Mapping = field(default_factory=dict)

    @property
    def takes(self) -> tuple[str, ...]:
        """Names of the settings that change something."""
        known = [each.name for each in fields(self.kind)]
        return tuple(name for name in known if name not in self.fixed)

    def __call__(self, **settings) -> Method:
        """The method; settings of other methods are left alone."""
        own = {name: settings[name] for name in self.takes if name in settings}
        return self.kind(**own, **self.fixed)


METHODS: Mapping[str, Entry] = MappingProxyType(
    {
        "metaicl": Entry(MetaICL),
        "metaict": Entry(MetaICL, {"instructions": True}),
        "multi-task": Entry(MetaICL, {"demonstrations": False}),
        "maml-en-llm": Entry(MAMLenLLM),
        "fomaml": Entry(MAMLenLLM, {"mode": "first_order"}),
        "reptile": Entry(Reptile),
    }
)
