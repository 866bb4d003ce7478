"""Emoji and their names in 28 languages.

    emojibase-data         en/data.json, de/data.json, ...
                           [{"hexcode": "1F9A0", "label": "microbe", "group": 3, "subgroup": 39}]
                           en/messages.json    names of the groups and subgroups
    fluent-emoji-anim-1    assets/1f9a0.webp, ...; and -2, -3 and -4: animations of three seconds

Both are npm packages. A record has a caption in every language, the emoji's name, without times;
its label is the group, `extra` has 'subgroup' and 'hexcode'. Near-duplicates, such as clocks of all
hours, are of one subgroup: every fifth subgroup is the split 'test', the others are 'train'. Skin
tones are left out, being the same pictures. Languages go by their folders: 'en-gb', 'zh-hant'.
"""

import re
from collections.abc import Sequence

from ssl_jax.config import ConfigError
from ssl_jax.data import paths
from ssl_jax.data.record import Caption
from ssl_jax.data.sources.caption_entries import entry_of, load
from ssl_jax.data.sources.manifest import Item
from ssl_jax.data.sources.sound_lists import Listing, found_files

LANGUAGE = re.compile(r"[a-z]{2}(-[a-z]+)?")
EVERY = 5  # of so many subgroups one tests


def read(folder: str, media: str, there: Sequence[str], kinds: Sequence[str]) -> Listing | None:
    """(records, names of groups) of the lists `there` in `folder`; None for those of other sets.

    Args:
      media: the folder of the pictures.
      kinds: of files that are taken.

    Raises:
      ConfigError: a file that makes no sense, or not one emoji of the lists is in `media`.
    """
    if "en" not in there or not paths.exists(paths.join(folder, "en/data.json")):
        return None
    messages = paths.join(folder, "en/messages.json")
    groups, subgroups = (_keys(messages, name) for name in ("groups", "subgroups"))
    names: dict[str, list[Caption]] = {}
    for code in filter(LANGUAGE.fullmatch, there):
        file = paths.join(folder, f"{code}/data.json")
        for entry in load(file, list):
            hexcode, label = (entry_of(entry, key, file, str) for key in ("hexcode", "label"))
            names.setdefault(hexcode, []).append(Caption(label, language=code))
    wanted = []
    for entry in load(paths.join(folder, "en/data.json"), list):
        if "group" not in entry:  # parts of flags
            continue
        hexcode, group = entry["hexcode"], entry_of(entry, "group", folder, int)
        subgroup = entry_of(entry, "subgroup", folder, int)
        if group not in groups or subgroup not in subgroups:
            raise ConfigError(f"{messages}: does not name group {group}, subgroup {subgroup}")
        extra = (("subgroup", subgroups[subgroup]), ("hexcode", hexcode))
        split = "train" if subgroup % EVERY else "test"
        item = Item("", group, split, captions=tuple(names[hexcode]), extra=extra)
        wanted.append((_stems(hexcode), item))
    return found_files(folder, media, kinds, wanted, tuple(groups.values()))


def _keys(file: str, kind: str) -> dict[int, str]:
    entries = entry_of(load(file, dict), kind, file, list)
    found = {entry_of(one, "order", file, int): entry_of(one, "key", file, str) for one in entries}
    if sorted(found) != [*range(len(found))]:
        raise ConfigError(f"{file}: the {kind} should be numbered from 0")
    return dict(sorted(found.items()))


def _stems(hexcode: str) -> tuple[str, ...]:
    """What its picture may be called: with or without the selector of pictures, FE0F."""
    name = "-".join(part.lstrip("0") for part in hexcode.lower().split("-"))
    return name, f"{name}-fe0f", name.replace("-fe0f", "")
