"""Hooks of MkDocs: the pages of the repository's root join the site, and links fit there as they do in the repository.

README.md is the site's first page. A link from a page to a file that is no page, such as a module, shows its text
only.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
FOLDER = "docs/"
"""Where the pages are in the repository."""

AT_THE_ROOT = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "SECURITY.md": "SECURITY.md",
    "QUALITY_DECLARATION.md": "QUALITY_DECLARATION.md",
    "LICENSE": "LICENSE",
}
"""Files of the repository's root -> where they are on the site."""

ON_THE_SITE = {page: name for name, page in AT_THE_ROOT.items()}

LINK = re.compile(r"(?P<before>\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\()(?P<target>[^()\s#]+)(?P<rest>(?:#[^()\s]*)?\))")
"""A Markdown link to a file; its text may hold an image."""

ATTRIBUTE = re.compile(r"(?P<before>(?:src|srcset|href)=\")(?P<target>[^\"#]+)")
"""A link of an HTML element."""


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the repository's root."""
    for name, page in AT_THE_ROOT.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn links that hold in the repository into links that hold on the site."""
    source = page.file.src_uri
    here = ON_THE_SITE.get(source) or FOLDER + source
    # Twice: the text of a link may be an image with a link of its own.
    for _ in range(2):
        markdown = LINK.sub(lambda link: _link(link, here, source, files), markdown)
    return ATTRIBUTE.sub(lambda link: link["before"] + (_target(link["target"], here, source, files) or ""), markdown)


def _link(link: re.Match[str], here: str, source: str, files: Files) -> str:
    target = _target(link["target"], here, source, files)
    if target is None:
        return link["text"]
    return f"{link['before']}{target}{link['rest']}"


def _target(target: str, here: str, source: str, files: Files) -> str | None:
    """Return a link's target as it is on the site; None where it is a file of the repository that is not there."""
    if re.match(r"[a-z]+:|/", target):
        return target
    meant = posixpath.normpath(posixpath.join(posixpath.dirname(here), target))
    on_site = AT_THE_ROOT.get(meant) or meant.removeprefix(FOLDER)
    if meant in AT_THE_ROOT or meant.startswith(FOLDER):
        return posixpath.relpath(_page(on_site, files), posixpath.dirname(source) or ".")
    return None if (ROOT / meant).exists() else target


def _page(path: str, files: Files) -> str:
    """Return a page, or that of a folder."""
    readme = posixpath.join(path, "README.md")
    return readme if files.get_file_from_path(readme) else path
