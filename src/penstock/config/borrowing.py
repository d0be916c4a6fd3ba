"""Providers under names of your own (``vertex-eu``, ``claude-two``) that are a known one: they have its rows of the catalogue.

Rule: it is the address that says who somebody is. At the known provider's own address, or where none is written and the
dialect is that provider's, its prices and limits hold; anywhere else (a proxy, a region with prices of its own) nobody knows.
"""

from penstock.config.catalogue import Catalogue
from penstock.config.schema import Config


def borrowed(config: Config, catalogue: Catalogue) -> dict[str, str]:
    """Each such name, and whose rows it has."""
    found: dict[str, str] = {}
    for name, settings in config.providers.items():
        if settings.dialect is None or catalogue.provider(name) is not None:
            continue
        url = settings.network.base_url
        row = catalogue.provider(settings.dialect) if url is None else catalogue.provider_by_url(url)
        if row is not None and row.dialect == settings.dialect and row.kind != "local":
            found[name] = row.name
    return found


def catalogue_for(config: Config, catalogue: Catalogue) -> Catalogue:
    """The catalogue with the configuration's own prices and names. ValueError, with a sentence, for a price that is none."""
    names = borrowed(config, catalogue)
    return Catalogue(config.prices, names) if config.prices or names else catalogue
