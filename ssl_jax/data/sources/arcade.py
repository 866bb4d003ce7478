"""Arcade: real game video with audio, played on demand by the Atari 2600 emulator of ale-py.

Nothing is downloaded: the wheel of ale-py (3 MB) carries about a hundred games. A random player
holds each joystick action for a random number of frames, and short clips are cut from its play.
"""

import collections
import concurrent.futures
import dataclasses
import difflib
import functools
import itertools
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.record import MediaError, Record
from ssl_jax.data.sources.arcade_counters import counters
from ssl_jax.knobs import above, at_least, one_of, within

FPS = 60  # emulator frames a second
SAMPLES = 512  # audio samples that the emulator makes in one frame
RATE = FPS * SAMPLES
SPLITS = ("train", "test")
LABELS = ("game", "action", "reward")
CACHE_BYTES = 2 << 30  # plays kept in memory by one process
TRIES = 20  # clips thrown away for being too quiet, in a row, before a game counts as silent


@dataclasses.dataclass(frozen=True)
class ArcadeSource:
    """Clips of arcade games, with audio in exact step with the image.

    Clip `i` is number `i % clips_per_game` of game `i // clips_per_game`. Everything about it is
    a pure function of the knobs and `i`, in every process. Clips of the two
    splits come from different plays, and no two clips overlap. A play of `clips_per_play` clips
    is emulated when its first clip is decoded (about a second) and kept: up to 2 GiB of plays
    stay in memory, so a source bigger than that, at `height * width * 3` bytes a stored frame,
    is emulated again and again.

    Frame k of a clip is the image after the clip's emulator frame `frame_skip * k`, that is at
    `k / fps` seconds; the 512 samples of audio that the emulator made with that frame start at the
    same time. The audio (30,720 Hz, 8 bits) is given without its mean over the clip, which is up
    to half of full scale and inaudible. `extra` holds `game`, `group` (its place in `games`),
    `play` (a number), and, emulating when called, `actions()` (each emulator frame's action, 0 to
    17) and `rewards()` (what each added to the score); of thirteen games `overlays`, where scores,
    lives and clocks stand. These tell time: a network that is to learn from time reads them.

    Attributes:
      games: names as in `ale_py.roms`, for example "seaquest".
      clips_per_game: how many clips of each game.
      seconds: of a clip.
      height: of a stored frame; the whole screen (210 x 160 in most games) is scaled to it.
      width: of a stored frame.
      frame_skip: store every n-th of the 60 frames a second.
      split: "train" or "test": other plays of the same games.
      seed: other seeds are other plays.
      label: what `Record.label` is: "game" (place in `games`), "action" (the one taken in the
        middle of the clip, 0 to 17) or "reward" (1 if the score rose during the clip, else 0).
        The latter two have to play the clip first.
      min_loudness: skip clips whose audio, at its own mean, has a lower root mean square
        (0 to 1; 0 keeps all; 0.02 drops silence). A game that stays silent raises MediaError.
      hide_counters: make those places black. Of games where they are not known nothing is hidden.
      clips_per_play: clips cut from one play, up to a second of play between them.
      hold_min: an action is held for at least so many emulator frames,
      hold_max: and at most so many.
    """

    games: tuple[str, ...] = ("seaquest",)
    clips_per_game: int = 256
    seconds: float = 2.0
    height: int = 64
    width: int = 64
    frame_skip: int = 4
    split: str = "train"
    seed: int = 0
    label: str = "game"
    min_loudness: float = 0.0
    hide_counters: bool = False
    clips_per_play: int = 16
    hold_min: int = 6
    hold_max: int = 30

    def __post_init__(self):
        known = _games()
        if not self.games:
            raise ConfigError("games is empty: name at least one, for example 'seaquest'")
        for game in self.games:
            if game not in known:
                near = difflib.get_close_matches(game, known, n=3, cutoff=0.5)
                hint = f"did you mean {' or '.join(near)}?" if near else f"one of {known}"
                raise ConfigError(f"games: there is no game {game!r}; {hint}")
        one_of(self, "split", SPLITS)
        one_of(self, "label", LABELS)
        at_least(self, 1, "clips_per_game", "clips_per_play", "height", "width")
        at_least(self, 1, "frame_skip", "hold_min")
        above(self, 0, "seconds")
        at_least(self, 0, "seed")
        within(self, 0, 1, "min_loudness")
        if self.hold_max < self.hold_min:
            raise ConfigError(f"hold_max={self.hold_max} is below hold_min={self.hold_min}")

    def __len__(self) -> int:
        return len(self.games) * self.clips_per_game

    def __getitem__(self, index: int) -> Record:
        index = int(index)
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        place, clip = divmod(index, self.clips_per_game)
        number, clip = divmod(clip, self.clips_per_play)
        game = self.games[place]
        # Records are often made only to be counted or filtered by label: play when asked, once.
        play = functools.partial(self._clip, game, number, clip)
        if self.label == "action":
            label = int(play().actions[self._length // 2])
        elif self.label == "reward":
            label = int(play().rewards.sum() > 0)
        else:
            label = place

        name, boxes = f"arcade/{game}/{self.split}/{number}/{clip}", counters(game)

        def frames(indices: Sequence[int] | np.ndarray) -> np.ndarray:
            return play().frames[np.asarray(indices, int)]

        def audio(start: float | int, end: float | int) -> np.ndarray:
            samples = play().samples
            first = round(start * RATE)
            last = first + round((end - start) * RATE)
            if last == len(samples) + 1:  # both roundings went up
                first, last = first - 1, last - 1
            if not 0 <= first <= last <= len(samples):
                raise ValueError(
                    f"{name}: lasts {self._length / FPS:g} s, asked for {start:g} to {end:g} s"
                )
            return (samples[first:last] - np.float32(play().level)) / np.float32(128)

        return Record(
            name=name,
            index=index,
            num_frames=-(-self._length // self.frame_skip),
            fps=FPS / self.frame_skip,
            frames=frames,
            audio=audio,
            sample_rate=RATE,
            duration=self._length / FPS,
            label=label,
            extra={
                "game": game,
                "group": place,
                "play": number,
                "actions": lambda: play().actions,
                "rewards": lambda: play().rewards,
                **({} if boxes is None else {"overlays": () if self.hide_counters else boxes}),
            },
        )

    @property
    def _length(self) -> int:
        """Emulator frames of a clip."""
        return max(1, round(self.seconds * FPS))

    def _clip(self, game: str, number: int, clip: int) -> "_Clip":
        # The label and the number of clips do not change a play: leave them out of its name.
        one = dataclasses.replace(self, games=(game,), clips_per_game=1, label="game")
        return _cached((one, number), lambda: one._play(number))[clip]

    def _play(self, number: int) -> list["_Clip"]:
        """Emulates one play and cuts its clips."""
        import cv2
        from ale_py import ALEInterface, roms

        (game,) = self.games
        rng = np.random.default_rng(
            [self.seed, SPLITS.index(self.split), number, zlib.crc32(game.encode())]
        )
        # A fresh emulator for every play: audio does not start again on a mere reset.
        emulator = ALEInterface()
        emulator.setInt("random_seed", int(rng.integers(2**31)))
        emulator.setFloat("repeat_action_probability", 0.0)
        emulator.setBool("sound_obs", True)
        emulator.loadROM(roms.get_rom_path(game))
        actions = _player(emulator, rng, self.hold_min, self.hold_max)

        def step():
            if emulator.game_over():
                emulator.reset_game()
            action = next(actions)
            return action.value, emulator.act(action)

        for _ in range(rng.integers(2 * FPS, 6 * FPS)):
            step()

        boxes = counters(game) if self.hide_counters else None
        clips = []
        quiet = 0
        while len(clips) < self.clips_per_play:
            for _ in range(rng.integers(FPS)):
                step()
            frames, samples, taken, rewards = [], [], [], []
            for i in range(self._length):
                action, reward = step()
                taken.append(action)
                rewards.append(reward)
                samples.append(np.array(emulator.getAudio()))
                if i % self.frame_skip == 0:
                    size = (self.width, self.height)
                    screen = emulator.getScreenRGB()
                    for top, _, bottom, _ in boxes or ():
                        screen[round(top * len(screen)) : round(bottom * len(screen))] = 0
                    frames.append(cv2.resize(screen, size, interpolation=cv2.INTER_AREA))
            wave = np.concatenate(samples)
            if wave.std() / 128 < self.min_loudness:
                quiet += 1
                if quiet == TRIES:
                    raise MediaError(
                        f"{game}: {TRIES} clips in a row are quieter than "
                        f"min_loudness={self.min_loudness}; lower it or leave the game out"
                    )
                continue
            quiet = 0
            clips.append(
                _Clip(
                    frames=np.stack(frames),
                    samples=wave,
                    level=float(wave.mean()),
                    actions=np.array(taken, np.int32),
                    rewards=np.array(rewards, np.float32),
                )
            )
        return clips


@dataclasses.dataclass(frozen=True)
class _Clip:
    frames: np.ndarray  # uint8 [t, h, w, 3]
    samples: np.ndarray  # uint8 [s]
    level: float  # mean of the audio
    actions: np.ndarray  # int32, one per emulator frame
    rewards: np.ndarray  # float32, one per emulator frame

    @property
    def nbytes(self) -> int:
        return sum(x.nbytes for x in (self.frames, self.samples, self.actions, self.rewards))


def _player(emulator, rng, hold_min, hold_max):
    """Endless actions: the fire button to start the game, then random ones, each held a while."""
    from ale_py import Action

    choices = emulator.getMinimalActionSet()
    yield from itertools.repeat(Action.FIRE, 10)
    while True:
        action = choices[rng.integers(len(choices))]
        yield from itertools.repeat(action, rng.integers(hold_min, hold_max, endpoint=True))


@functools.cache
def _games() -> tuple[str, ...]:
    """Games that ale-py carries and can play; also keeps the emulator from chatting on stderr.

    It ends the whole process when asked for one that it carries but cannot play ("combat").
    """
    try:
        from ale_py import ALEInterface, LoggerMode, roms
    except ImportError:
        raise MediaError("arcade needs ale-py: pip install 'ssl_jax[arcade]'") from None
    ALEInterface.setLoggerMode(LoggerMode.Error)
    carried = Path(roms.__file__).parent.glob("*.bin")
    return tuple(sorted(rom.stem for rom in carried if ALEInterface.isSupportedROM(rom)))


_cache: collections.OrderedDict = collections.OrderedDict()
_cache_lock = threading.Lock()


def _cached(key, play):
    """The least recently used plays are dropped; two threads never play the same one at once."""
    with _cache_lock:
        future = _cache.get(key)
        mine = future is None
        if mine:
            future = _cache[key] = concurrent.futures.Future()
        _cache.move_to_end(key)
    if mine:
        try:
            future.set_result(play())
        except BaseException as error:
            with _cache_lock:
                _cache.pop(key, None)
            future.set_exception(error)
            raise
        with _cache_lock:
            done = [(k, f.result()) for k, f in _cache.items() if f.done()]
            size = sum(clip.nbytes for _, clips in done for clip in clips)
            for old, clips in done:
                if size <= CACHE_BYTES or old == key:
                    break
                size -= sum(clip.nbytes for clip in clips)
                del _cache[old]
    return future.result()
