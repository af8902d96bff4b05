"""How often a long-lived process looks for garbage that holds on to itself."""

import gc

THRESHOLDS = (5_000, 10, 10)
"""Objects until a look at the newest, and looks until one at older ones. A cached workflow that is given up
is such garbage, so not much higher: half a million objects are some hundred megabytes."""


def collect_seldom() -> None:
    """Look seldom, and never again at what is there by now; to be called when all is imported. By default an
    eighth of all time goes into it, since messages become trees of values that hold no cycle."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
