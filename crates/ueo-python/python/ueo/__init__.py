"""Fine-tunes CLIP without labels, and tells known classes from unknown ones.

From a CLIP checkpoint, the names of the classes you know and unlabeled images, of which some may show something else, to
a model that names the known classes better and tells the other images apart:

    import ueo

    demo = ueo.demo()
    adapter = ueo.Adapter(demo.model, demo.classes, **demo.settings).fit(demo.images)
    adapter.decide(demo.images)
    adapter.save("run")

The work is done in Rust, on all cores, while other threads of Python go on. The command `ueo` comes with this package and
shares its files: what `Adapter.save` writes is a run directory, and `load` reads one.
"""

from __future__ import annotations

from ._adapter import Adapter, Predictions, load
from ._demo import Demo, demo
from ._errors import Error, UeoWarning
from ._progress import Progress
from ._settings import Settings, default_settings
from ._ueo import VERSION as __version__

__all__ = [
    "Adapter",
    "Demo",
    "Error",
    "Predictions",
    "Progress",
    "Settings",
    "UeoWarning",
    "__version__",
    "default_settings",
    "demo",
    "load",
]
