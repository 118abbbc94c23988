"""Patterns of paths on a card: which files of a folder they name, and the id of each."""

from __future__ import annotations

import glob
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path

from ssl_bench.errors import UserError

PIECES = re.compile(r"(\{id\}|\{folder\}|\*|\?|\[!?[^\]/]+\])")
BRACKETS = re.compile(r"(?!\[[\[*?]\])\[!?[^\]/]+\]")
WILDCARD = re.compile(r"\*|\?|\[!?[^\]/]+\]")


def named(
    folder: Path, pattern: str, suffixes: Sequence[str] = ("",), exclude: Sequence[str] = ()
) -> list[tuple[str, Path]]:
    """Find the files of a pattern with their ids, ordered by path; what is hidden does not count.

    Pattern and names are compared in the Unicode normal form NFC, which the ids have, too: the file systems of one
    machine and another store the same name in different forms.

    Args:
        folder: where to look.
        pattern: relative path in which {id} stands for the case's id and {folder} for the first part of it, both the
            same wherever they stand. `*` is any text in one folder's or file's name, `?` one character, `[LR]` one of
            these. From left to right, each of them takes as little text as possible.
        suffixes: what may follow, in small or capital letters.
        exclude: patterns of files that do not count (see `is_excluded`).

    Raises:
        UserError: a file's name has the brackets that are wildcards in the pattern.
    """
    plain = _with_plain_brackets(pattern)
    meant = named(folder, plain, suffixes) if plain != pattern else []
    if meant:
        raise UserError(f"{meant[0][1]}: has the brackets of '{pattern}' in its name{bracket_hint(pattern)}")
    ends = "|".join(map(re.escape, suffixes))
    wanted, found = re.compile(f"{_expression(nfc(pattern))}(?i:{ends})"), []
    for path in sorted(folder.glob(broad(pattern))):
        name = nfc(path.relative_to(folder).as_posix())
        match = wanted.fullmatch(name)
        if match and not is_excluded(name, exclude):
            groups = match.groupdict()
            found.append((f"{groups['folder']}/{groups['id']}" if "folder" in groups else groups["id"], path))
    return found


def require_one_id(files: Sequence[tuple[str, Path]], pattern: str, root: Path, ids: Iterable[str]) -> None:
    """Check that no file whose id is taken for as little text as possible fits a longer id, too.

    Args:
        files: with their ids, as `named` found them.
        pattern: of these files.
        root: where they were looked for.
        ids: of the files that they are paired with: masks for images, images for masks.

    Raises:
        UserError: a file fits two of these ids.
    """
    if not has_wildcards(pattern):
        return
    ordered = sorted(ids)
    for name, path in files:
        for place in range(bisect_right(ordered, name), len(ordered)):
            other = ordered[place]
            if not other.startswith(name):
                break
            expression = _expression(nfc(filled_in(pattern, literal(other))))
            if re.fullmatch(f"{expression}(\\.[^/]*)?", nfc(path.relative_to(root).as_posix())):
                raise UserError(
                    f"{path}: fits the ids '{name}' and '{other}'; expected a pattern that tells them apart"
                )


def require_one_folder(images: str, masks: str, pairs: Iterable[tuple[Path, Path]]) -> None:
    """Check that image and mask lie in one folder where both patterns begin with the same wildcards.

    Raises:
        UserError: a pair lies in different folders.
    """
    before = images.partition("{id}")[0]
    if before != masks.partition("{id}")[0] or not has_wildcards(before) or "{folder}" in before:
        return
    for image, mask in pairs:
        if image.parent != mask.parent:
            raise UserError(f"{mask}: expected the mask in the folder of its image, {image}")


def is_excluded(name: str, exclude: Sequence[str]) -> bool:
    """Whether a relative path fits one of the patterns; a pattern without / is compared with the file's name."""
    return any(
        re.fullmatch(_expression(nfc(pattern)), nfc(name if "/" in pattern else name.rpartition("/")[2]))
        for pattern in exclude
    )


def filled_in(pattern: str, name: str) -> str:
    """Put a case's id into a pattern."""
    folder, _, rest = name.partition("/") if "{folder}" in pattern else ("", "", name)
    return pattern.replace("{folder}", folder).replace("{id}", rest)


def literal(text: str) -> str:
    """Return a pattern of this text alone: what would be a wildcard is put into brackets."""
    return re.sub(r"[*?[]", r"[\g<0>]", text)


def bracket_hint(*patterns: str | None) -> str:
    """What an error adds where a pattern with brackets fits no file, or not the right ones; else nothing."""
    if all(pattern is None or _with_plain_brackets(pattern) == pattern for pattern in patterns):
        return ""
    return "; brackets in a pattern stand for one of their characters, and [[] for a ["


def _with_plain_brackets(pattern: str) -> str:
    """The pattern as older cards meant it, whose brackets were no wildcards; `[[]`, `[*]` and `[?]` stay."""
    return BRACKETS.sub(lambda found: literal(found[0]), pattern)


def has_wildcards(pattern: str) -> bool:
    """Whether a pattern has a part that stands for several texts, apart from {id}, {folder} and {channel}."""
    return WILDCARD.search(pattern) is not None


def nfc(text: str) -> str:
    """Return a text in the Unicode normal form NFC."""
    return unicodedata.normalize("NFC", text)


def one_of(piece: str) -> str:
    """[LR], [0-9] or [!0-9] as a regular expression."""
    characters = piece[1:-1]
    negated = len(characters) > 1 and characters[0] == "!"
    return f"[{'^' * negated}{re.escape(characters[negated:]).replace(chr(92) + '-', '-')}]"


def _expression(pattern: str) -> str:
    """The pattern as a regular expression with the groups id and folder."""
    least = "?" if has_wildcards(pattern) or "{folder}" in pattern else ""
    text, seen = "", set[str]()
    for piece in PIECES.split(pattern):
        shown = "(?!\\.)" if not text or text.endswith("/") else ""  # names that begin with . are hidden
        if piece in ("{id}", "{folder}"):
            name = piece[1:-1]
            text += f"(?P={name})" if name in seen else f"(?P<{name}>[^/.][^/]*{least})"
            seen.add(name)
        elif piece in ("*", "?"):
            text += shown + ("[^/]*?" if piece == "*" else "[^/]")
        elif WILDCARD.fullmatch(piece):
            text += f"{shown}(?!/){one_of(piece)}"
        else:
            text += re.escape(piece)
    return text


def broad(pattern: str) -> str:
    """Return a glob pattern of at least a pattern's files, in which accented letters have either normal form."""
    parts = PIECES.split(pattern)
    broad = "*".join(_either_form(part) for part in parts[::2])
    return re.sub(r"\*{2,}", "*", broad + "*")


def _either_form(part: str) -> str:
    decomposed = unicodedata.normalize("NFD", part)
    return "*".join(map(glob.escape, re.split(r"[^/]?[^/\x00-\x7f]+", decomposed)))
