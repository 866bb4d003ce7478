"""Where games of the Atari 2600 write scores, clocks and lives over the screen."""

# Rows (first, last + 1) of the screen, and its height. They were read from screens; the scores of
# those with rewards in a minute of play were checked: they change when the score does.
_ROWS = {
    "assault": (210, (0, 13), (188, 210)),
    "beam_rider": (210, (0, 45), (180, 194)),
    "berzerk": (210, (178, 210)),
    "carnival": (214, (0, 13), (200, 214)),
    "demon_attack": (210, (0, 19), (187, 200)),
    "enduro": (210, (158, 210)),
    "galaxian": (210, (0, 14), (186, 210)),
    "hero": (210, (141, 210)),
    "ms_pacman": (210, (171, 210)),
    "phoenix": (210, (0, 21)),
    "riverraid": (210, (161, 210)),
    "seaquest": (210, (0, 28), (163, 210)),
    "space_invaders": (210, (0, 24), (194, 210)),
}


def counters(game: str) -> tuple[tuple[float, float, float, float], ...] | None:
    """Boxes (top, left, bottom, right), as shares of height and width; None for other games.

    Beside scores they hold lives, fuel, oxygen and bonuses, which change with time as well.
    """
    if game not in _ROWS:
        return None
    height, *rows = _ROWS[game]
    return tuple((first / height, 0.0, last / height, 1.0) for first, last in rows)
