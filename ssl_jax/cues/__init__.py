"""Cues: what may give the answer of a puzzle away without any understanding; see `cue.Cue`."""

from ssl_jax.cues.audio_track import FrameGrid, Loudness, Silence
from ssl_jax.cues.bars import Bars
from ssl_jax.cues.camera import CameraMotion
from ssl_jax.cues.colours import ColourHistogram
from ssl_jax.cues.compression import JpegGrid
from ssl_jax.cues.cuts import Cuts, Fades
from ssl_jax.cues.frame_timing import Duplicates, KeyFrames
from ssl_jax.cues.identity import VideoIdentity
from ssl_jax.cues.lens import Aberration
from ssl_jax.cues.network import BatchNormLeak, ZeroPadding
from ssl_jax.cues.overlays import Counters, Watermark
from ssl_jax.cues.resampling import Resampling
from ssl_jax.cues.tiles import PatchBorders, TileStatistics

ALL = (
    Aberration(),
    PatchBorders(),
    TileStatistics(),
    JpegGrid(),
    Bars(),
    CameraMotion(),
    Cuts(),
    Fades(),
    Duplicates(),
    KeyFrames(),
    FrameGrid(),
    Silence(),
    Loudness(),
    Counters(),
    Watermark(),
    ColourHistogram(),
    ZeroPadding(),
    Resampling(),
    BatchNormLeak(),
    VideoIdentity(),
)
