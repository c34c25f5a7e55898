"""One self-contained page: no script, nothing fetched, everything escaped."""

from evalkit.report.page import Example, Page, Series, render

__all__ = ["Example", "Page", "Series", "render"]
