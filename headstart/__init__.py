"""Transfer learning on a folder of labeled images, as a declared and reproducible pipeline.

The public API, which docs/python-api.md describes:

>>> import headstart as hs
>>> hs.__all__
['FeatureExtractor', 'HeadClassifier', 'RejectedImagesError', 'load_model', 'load_run']

Importing the package imports nothing else: each name is loaded when it is first used, because the
commands and the stages import the package too, and have to start quickly.
"""

# The types of the names stand in __init__.pyi. An import here, even one for type checkers alone,
# would make every room depend on the topmost one.
_MODULES = {
    "FeatureExtractor": "headstart.api.extractor",
    "HeadClassifier": "headstart.api.head",
    "RejectedImagesError": "headstart.api.images",
    "load_model": "headstart.api.model",
    "load_run": "headstart.api.run",
}

__all__ = ["FeatureExtractor", "HeadClassifier", "RejectedImagesError", "load_model", "load_run"]


def __getattr__(name: str) -> object:
    """Load a public name when it is first used (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        return version("headstart")
    if name not in _MODULES:
        raise AttributeError(f"module 'headstart' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
