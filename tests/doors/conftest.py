"""What was loaded while a test ran."""

import pytest

from flenlib.models.families.base import Family


@pytest.fixture
def loads(monkeypatch):
    """What was loaded while a test ran, by source."""
    found, load = [], Family.load.__func__

    def counted(cls, source, **options):
        found.append(str(source))
        return load(cls, source, **options)

    monkeypatch.setattr(Family, "load", classmethod(counted))
    return found
