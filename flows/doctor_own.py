"""What `rushes doctor` asks of what a studio wrote itself: its presets, whom it tells of nights."""

from __future__ import annotations

from flows.finding import Finding, faulty
from flows.post import unknown_addresses
from manifests.errors import BadInput
from manifests.preset import list_presets, unread_files
from manifests.settings import Studio
from manifests.text import listed


def presets(studio: Studio) -> Finding:
    """Presets of the studio's own that are whole, and no file that is taken for one in vain."""
    name, folder = "presets", studio.presets_dir
    if folder is None:
        return Finding(name=name, well=True, words="those that come with Rushes")
    try:
        own = [each for each in list_presets(studio) if each.path.is_relative_to(folder)]
    except BadInput as error:
        return faulty(name, error.faults)
    words = f"{listed(each.qualified_name for each in own) or 'none'} of your own, in {folder}"
    unread = unread_files(studio)
    remedy = ""
    if unread:
        words += f"; not read: {listed(str(path.relative_to(folder)) for path in unread)}"
        remedy = "name them <family>/<name>.yaml, as in wan/mine.yaml: else the bundled ones hold"
    return Finding(name=name, well=not unread, words=words, remedy=remedy)


def messages(studio: Studio) -> Finding:
    """Addresses that messages can be sent to. None of them is shown: they hold tokens."""
    name, rules = "messages", studio.notify
    if not rules.urls:
        words = "nobody is told of a night (see docs/monitoring.md)"
        return Finding(name=name, well=True, words=words)
    unknown = unknown_addresses(rules)
    addresses = "1 address" if len(rules.urls) == 1 else f"{len(rules.urls)} addresses"
    words = f"{addresses}, told of {', '.join(rules.on) or 'nothing'}"
    remedy = ""
    if unknown:
        which = listed(map(str, unknown))
        words += f"; no address that apprise knows: number {which}"
        remedy = "write it as apprise does: slack://..., mailto://..., ntfy://..."
    return Finding(name=name, well=not unknown, words=words, remedy=remedy)


OWN_CHECKS = (presets, messages)
