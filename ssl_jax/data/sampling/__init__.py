"""Which frames, seconds, captions and patches to use: arithmetic on numbers, before any decoding.

Pure functions of the video's length and a random generator. Frames are counted from 0. The defaults
follow the papers.
"""

from ssl_jax.data.sampling.by_motion import (
    frame_motion,
    high_motion_patch,
    ordered_tuple,
    tracked_frames,
    verified_tuple,
    window_by_motion,
)
from ssl_jax.data.sampling.captions import (
    caption_window,
    captions_at,
    merged_captions,
    nearest_captions,
)
from ssl_jax.data.sampling.clips import (
    clip_with_sound,
    clips_in_cells,
    even_clips,
    even_frames,
    frames_kept,
    narrow_and_broad,
    odd_one_out,
    odd_order,
    random_clip,
    random_frame,
    spaced_clips,
    starts_apart,
    timed_clip,
    two_speeds,
)
from ssl_jax.data.sampling.patches import (
    OFFSETS,
    PAIRS,
    jittered_corners,
    neighbouring_cells,
    neighbours,
)
from ssl_jax.data.sampling.sound import (
    audio_window,
    even_times,
    hard_pair,
    misaligned_starts,
    shifted_start,
    speech_window,
)

__all__ = [
    "OFFSETS",
    "PAIRS",
    "audio_window",
    "caption_window",
    "captions_at",
    "clip_with_sound",
    "clips_in_cells",
    "even_clips",
    "even_frames",
    "even_times",
    "frame_motion",
    "frames_kept",
    "hard_pair",
    "high_motion_patch",
    "jittered_corners",
    "merged_captions",
    "misaligned_starts",
    "narrow_and_broad",
    "nearest_captions",
    "neighbouring_cells",
    "neighbours",
    "odd_one_out",
    "odd_order",
    "ordered_tuple",
    "random_clip",
    "random_frame",
    "shifted_start",
    "spaced_clips",
    "speech_window",
    "starts_apart",
    "timed_clip",
    "tracked_frames",
    "two_speeds",
    "verified_tuple",
    "window_by_motion",
]
