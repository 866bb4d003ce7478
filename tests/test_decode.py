"""Real files: the right frames, sound in sync with them, and one clear line for broken files."""

import concurrent.futures
import shutil
from pathlib import Path

import av
import media
import numpy as np
import pytest
import scipy.signal
from PIL import Image

from ssl_jax.data.audio import fit_length, resample
from ssl_jax.data.decode import decode_audio, decode_image, probe, read_audio, read_frames
from ssl_jax.data.image import center_crop, crop, resize, resize_short, square
from ssl_jax.data.record import MediaError

UNEVEN = [(i + (i % 3) * 0.3) / 20 for i in range(40)]  # seconds between frames vary
VIDEOS = {
    "b_frames.mp4": {"options": {"g": "12", "bf": "3"}},
    "one_key_frame.mp4": {"options": {"g": "999", "sc_threshold": "0", "bf": "3"}},
    "open_groups.mp4": {
        "options": {"x264-params": "keyint=12:open-gop=1:bframes=3:scenecut=0"},
    },
    "striped_refresh.mp4": {
        "options": {"x264-params": "intra-refresh=1:bframes=0:keyint=12:scenecut=0"},
    },
    "uneven.mp4": {"options": {"g": "12", "bf": "3"}, "times": UNEVEN},
    "uneven.mkv": {"options": {"g": "12", "bf": "3"}, "times": UNEVEN},
    "transport.ts": {"options": {"g": "12", "bf": "3"}},
    "interlaced.ts": {"options": {"x264-params": "keyint=12:interlaced=1:bframes=2"}},
    "hevc.mkv": {
        "codec": "libx265",
        "options": {"x265-params": "log-level=none:open-gop=1:keyint=12"},
    },
    "old.avi": {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}},
    "disc.mpg": {"codec": "mpeg2video", "options": {"g": "12", "bf": "2"}},
    "hidden_frames.webm": {"codec": "libvpx", "options": {"g": "16", "auto-alt-ref": "1"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "16", "lag-in-frames": "12"}},
    "stills.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le"},
    "no_times.avi": {"options": {"g": "12", "bf": "2"}},  # its packets tell no display order
    "raw.h264": {"options": {"g": "12", "bf": "2"}},
}


@pytest.mark.parametrize("name", VIDEOS)
def test_frames_are_exactly_those_asked_for(tmp_path, name):
    path = media.write(tmp_path / name, **VIDEOS[name])
    found = probe(path)
    assert found.num_frames == 40
    assert (found.height, found.width, found.sample_rate) == (48, 80, 0)
    assert media.numbers_of(read_frames(path, range(40))) == list(range(40))
    rng = np.random.default_rng(0)
    for _ in range(12):
        wanted = rng.integers(0, 40, rng.integers(1, 6))  # any order, repeats
        assert media.numbers_of(read_frames(path, wanted)) == wanted.tolist()
    if "times" in VIDEOS[name]:
        np.testing.assert_allclose(found.times, np.round(UNEVEN, 3), atol=6e-4)
    elif not found.video_index.counted:
        np.testing.assert_allclose(found.times, np.arange(40) / 25, atol=1.1e-3)
        assert found.duration == pytest.approx(1.6, abs=0.042)
        assert found.fps * found.duration == pytest.approx(40)


def test_frames_hidden_by_an_edit_list_do_not_count(tmp_path):
    path = media.write(tmp_path / "edited.mp4", options={"g": "12", "bf": "3"})
    media.set_edit_start(path, 10 * 512)  # the stream's clock ticks 512 times a frame
    assert probe(path).num_frames == 30
    assert not probe(path).video_index.counted
    assert media.numbers_of(read_frames(path, [0, 29, 3])) == [10, 39, 13]
    assert probe(path).times[:2].tolist() == [0.0, 0.04]


def positions(path):
    """Where the packets of the pictures lie in the file, in decoding order."""
    import av

    with av.open(path) as container:
        return [p.pos for p in container.demux(video=0) if p.size]


def test_decoding_begins_at_the_last_key_frame(tmp_path):
    options = {"x264-params": "keyint=20:min-keyint=20:scenecut=0:bframes=0"}
    path = media.write(tmp_path / "video.mp4", options=options)
    frames = read_frames(path, [25, 39])
    with open(path, "r+b") as file:  # frames 10 to 19 are lost
        begin, end = positions(path)[10], positions(path)[20]
        file.seek(begin)
        file.write(b"\xff" * (end - begin))
    np.testing.assert_array_equal(read_frames(path, [25, 39]), frames)
    assert media.numbers_of(read_frames(path, [9, 20])) == [9, 20]  # and it goes no further
    with pytest.raises(MediaError, match=r"video\.mp4"):
        read_frames(path, [10])


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [
        ((0, 1, -1, 0), (0, -1)),  # a quarter clockwise, as telephones store upright videos
        ((0, -1, 1, 0), (-1, 0)),
        ((-1, 0, 0, -1), (-1, -1)),
        ((-1, 0, 0, 1), (0, -1)),  # mirrored, as by front cameras
        ((1, 0, 0, -1), (-1, 0)),
    ],
)
def test_stored_rotation_is_applied(tmp_path, matrix, corner):
    def bright_top_left(number):
        picture = np.full((48, 80, 3), 20, np.uint8)
        picture[:16, :16] = 230
        return picture

    path = media.write(tmp_path / "phone.mp4", frames=3, draw=bright_top_left)
    media.set_display_matrix(path, *matrix)
    frame = read_frames(path, [1])[0]
    found = probe(path)
    assert frame.shape == (found.height, found.width, 3)
    assert frame.shape[:2] == ((80, 48) if matrix[0] == 0 else (48, 80))
    assert frame[corner].mean() > 200
    assert frame.mean() < 60
    assert abs(found.rotation) == {0: 90, -1: 180, 1: 0}[matrix[0]]


def test_wrong_frame_numbers_are_refused(tmp_path):
    path = media.write(tmp_path / "video.mp4", frames=5)
    for wrong in (-1, 5):
        with pytest.raises(MediaError, match=rf"video.mp4: frame {wrong} .* has 5"):
            read_frames(path, [0, wrong])
    assert read_frames(path, []).shape == (0, 48, 80, 3)


def test_many_threads_read_at_once(tmp_path):
    wave = media.noise(1.6, 16000)
    path = media.write(tmp_path / "video.mov", options={"g": "12", "bf": "3"}, wave=wave)

    def read(i):
        numbers = [i % 40, (i * 7) % 40]
        sound = read_audio(path, 0.1, 0.2, 16000)
        return media.numbers_of(read_frames(path, numbers)) == numbers and sound.std() > 0.1

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(read, range(64)))


def test_a_changed_file_is_probed_again(tmp_path):
    path = media.write(tmp_path / "video.mp4", frames=5)
    assert probe(path).num_frames == 5
    media.write(tmp_path / "video.mp4", frames=7)
    assert probe(path).num_frames == 7


# Sound


LOSSLESS = [
    ("video.mov", "pcm_s16le", 44100, 2, 50),
    ("video.mkv", "pcm_s16le", 44100, 1, 50),  # Matroska's clock ticks in milliseconds
    ("video.mkv", "flac", 48000, 2, 50),
    ("video.avi", "pcm_s16le", 22050, 1, 50),
    ("six.mov", "pcm_s16le", 48000, 6, 50),
    ("sound.wav", "pcm_s16le", 16000, 2, 0),
    ("sound.flac", "flac", 44100, 1, 0),
    ("sound.ogg", "flac", 44100, 1, 0),
]


@pytest.mark.parametrize(("name", "codec", "rate", "channels", "frames"), LOSSLESS)
def test_lossless_sound_is_exact_to_the_sample(tmp_path, name, codec, rate, channels, frames):
    wave = media.noise(4, rate, channels)
    path = media.write(tmp_path / name, frames, wave=wave, rate=rate, audio_codec=codec)
    found = probe(path)
    assert found.sample_rate == rate
    assert found.duration == pytest.approx(2.0 if frames else 4.0, abs=1e-3)
    mono = wave.mean(axis=0)
    silence = np.zeros(2 * rate)
    padded = np.concatenate([silence, mono, silence])
    rng = np.random.default_rng(0)
    for start in [-1.0, 0.0, 3.5, 4.5, *rng.uniform(-0.2, 4, 12)]:
        stop = start + rng.uniform(0.01, 1)
        sound = read_audio(path, start, stop, rate)
        assert sound.dtype == np.float32
        assert len(sound) == round((stop - start) * rate)
        first = 2 * rate + round(start * rate)
        np.testing.assert_allclose(sound, padded[first : first + len(sound)], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("video.mp4", "aac", 44100),
        ("video.mkv", "aac", 48000),
        ("video.webm", "libopus", 48000),
        ("sound.mp3", "libmp3lame", 44100),
        ("sound.m4a", "aac", 44100),
        ("sound.ogg", "libopus", 48000),
    ],
)
def test_lossy_sound_keeps_its_place(tmp_path, name, codec, rate):
    # A chirp is at every moment another pitch, so a shift of few samples shows.
    t = np.arange(round(3 * rate)) / rate
    wave = 0.5 * np.sin(2 * np.pi * (200 * t + 400 * t**2))[None]
    video = {"codec": "libvpx"} if name.endswith("webm") else {}
    frames = 50 if name.startswith("video") else 0
    path = media.write(tmp_path / name, frames, wave=wave, rate=rate, audio_codec=codec, **video)
    whole = read_audio(path, 0.0, 2.8, rate)
    np.testing.assert_allclose(whole[:-1000], wave[0, : len(whole) - 1000], atol=0.05)
    for start in (0.3, 1.1, 1.9):  # the decoder's memory must not show where reading began
        piece = read_audio(path, start, start + 0.4, rate)
        first = round(start * rate)
        np.testing.assert_allclose(piece, whole[first : first + len(piece)], atol=2e-3)


def test_sound_shares_its_zero_with_the_pictures(tmp_path):
    rate = 16000
    wave = media.noise(1, rate)
    path = media.write(tmp_path / "late.mov", wave=wave, rate=rate, audio_start=4000)
    np.testing.assert_array_equal(read_audio(path, 0.0, 0.25, rate), np.zeros(4000))
    np.testing.assert_allclose(read_audio(path, 0.25, 0.5, rate), wave[0, :4000], atol=1e-6)
    # MPEG transport streams begin at some large time, both tracks alike.
    tone = np.zeros((1, 2 * 48000))
    tone[0, 48000:] = 0.5 * np.sin(np.arange(48000) * 0.2)
    path = media.write(tmp_path / "stream.ts", 50, wave=tone, rate=48000, audio_codec="aac")
    sound = read_audio(path, 0.0, 2.0, 48000)
    assert np.abs(sound[:47000]).max() < 0.05
    np.testing.assert_allclose(sound[49000:60000], tone[0, 49000:60000], atol=0.05)


HOLES = [
    # Name, codec, rate, and what of the file is overwritten in the middle: bytes, or a share of it.
    ("clusters.mkv", "libopus", 48000, 0.05),
    ("clusters.mka", "pcm_s16le", 16000, 0.05),
    ("video.webm", "libopus", 48000, 0.05),
    ("pages.ogg", "libopus", 48000, 4),  # its checksum no longer fits, so the page is left out
    ("pages.oga", "flac", 44100, 4),
    ("frames.flac", "flac", 44100, 4),
    ("frames.mka", "flac", 44100, 4),
    ("stream.ts", "aac", 44100, 0.05),
]


@pytest.mark.parametrize(("name", "codec", "rate", "damage"), HOLES)
def test_a_hole_in_audio_is_refused_and_not_filled_with_silence(
    tmp_path, name, codec, rate, damage
):
    frames = 200 if name.startswith("video") else 0
    path = media.write(
        tmp_path / name,
        frames,
        codec="libvpx",
        wave=media.noise(8, rate),
        rate=rate,
        audio_codec=codec,
        container_options={"cluster_time_limit": "300"} if name[-3:] in ("mkv", "mka") else {},
    )
    assert np.abs(read_audio(path, 0.0, 7.9, rate)).max() > 0.1
    data = bytearray(Path(path).read_bytes())
    size = damage if damage >= 1 else int(damage * len(data))
    begin = len(data) // 2
    data[begin : begin + size] = np.random.default_rng(0).bytes(size)
    damaged = tmp_path / f"damaged_{name}"
    damaged.write_bytes(data)
    with pytest.raises(MediaError, match=f"damaged_{name}: ") as whole:
        read_audio(damaged, 0.0, 7.9, rate)
    assert len(str(whole.value).splitlines()) == 1
    # What was asked for before the hole is there, and so is what comes after it.
    before = read_audio(damaged, 0.5, 1.0, rate)
    np.testing.assert_array_equal(before, read_audio(path, 0.5, 1.0, rate))
    assert np.abs(read_audio(damaged, 7.0, 7.5, rate)).max() > 0.1


def test_a_single_time_stamp_that_is_late_is_no_hole(tmp_path):
    """As FFmpeg states them where the blocks of Vorbis change their length."""
    rate = 16000
    path = media.write(tmp_path / "right.mka", 0, wave=media.noise(3, rate), rate=rate)
    late = tmp_path / "late.mka"
    with av.open(path) as source, av.open(str(late), "w") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for number, packet in enumerate(source.demux(audio=0)):
            if packet.dts is not None:
                packet.pts = packet.dts = packet.pts + (40 if number == 20 else 0)  # milliseconds
                packet.stream = stream
                target.mux(packet)
    stamps = [packet.pts for packet in av.open(str(late)).demux(audio=0) if packet.dts is not None]
    assert len(set(np.diff(stamps))) > 2
    np.testing.assert_array_equal(
        read_audio(late, 0.0, 3.0, rate), read_audio(path, 0.0, 3.0, rate)
    )
    piece = read_audio(late, 1.2, 2.9, rate)
    np.testing.assert_array_equal(piece, read_audio(path, 1.2, 2.9, rate))
    wave, _ = decode_audio("set 7", late.read_bytes())
    np.testing.assert_array_equal(wave, decode_audio("set 7", Path(path).read_bytes())[0])


def test_the_end_of_an_ogg_file_may_lie_before_its_last_block(tmp_path):
    path = str(tmp_path / "a.ogg")
    with av.open(path, "w") as container:
        stream = container.add_stream(
            "vorbis", rate=8000, layout="stereo", options={"strict": "experimental"}
        )
        wave = np.repeat(media.noise(1, 8000), 2, axis=0).astype(np.float32)
        block = av.AudioFrame.from_ndarray(wave, format="fltp", layout="stereo")
        block.sample_rate, block.pts = 8000, 0
        for frame in (block, None):
            for packet in stream.encode(frame):
                container.mux(packet)
    data = bytearray(Path(path).read_bytes())
    page = data.rindex(b"OggS")
    end = int.from_bytes(data[page + 6 : page + 14], "little")
    data[page + 6 : page + 14] = (end - 900).to_bytes(8, "little")
    data[page + 22 : page + 26] = bytes(4)
    data[page + 22 : page + 26] = ogg_checksum(data[page:]).to_bytes(4, "little")
    Path(path).write_bytes(data)
    assert 7100 / 8000 <= probe(path).duration <= 7168 / 8000  # to a block
    assert np.abs(read_audio(path, 0.2, 0.7, 8000)).max() > 0.1


def ogg_checksum(page: bytes) -> int:
    total = 0
    for byte in page:
        total ^= byte << 24
        for _ in range(8):
            total = (total << 1) ^ (0x104C11DB7 if total >> 31 else 0)
    return total


def test_a_hole_in_encoded_audio_of_a_data_set_is_refused(tmp_path):
    path = media.write(
        tmp_path / "a.flac", 0, wave=media.noise(4, 44100), rate=44100, audio_codec="flac"
    )
    data = bytearray(Path(path).read_bytes())
    assert len(decode_audio("set 7", bytes(data))[0]) == 4 * 44100
    data[len(data) // 2] ^= 255
    with pytest.raises(MediaError, match=r"^set 7: "):
        decode_audio("set 7", bytes(data))


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mkv", "libopus"), ("a.mp3", "libmp3lame"), ("a.flac", "flac"), ("a.mp4", "aac")],
)
def test_silence_in_the_file_stays(tmp_path, name, codec):
    wave = media.noise(6, 48000)
    wave[:, 2 * 48000 : 4 * 48000] = 0
    path = media.write(tmp_path / name, 0, wave=wave, rate=48000, audio_codec=codec)
    assert np.abs(read_audio(path, 2.5, 3.5, 48000)).max() < 1e-3
    assert np.abs(read_audio(path, 0.0, 6.0, 48000)).max() > 0.1


def test_resampled_pieces_join_without_a_seam(tmp_path):
    t = np.arange(3 * 44100) / 44100
    wave = 0.4 * np.sin(2 * np.pi * 1000 * t)[None]
    path = media.write(tmp_path / "video.mov", 50, wave=wave, rate=44100)
    whole = read_audio(path, 0.0, 2.0, 16000)
    # 1 kHz is still 1 kHz and not shifted; the beginning rings, as silence is before it.
    expected = 0.4 * np.sin(2 * np.pi * 1000 * np.arange(32000) / 16000)
    np.testing.assert_allclose(whole[50:], expected[50:], atol=2e-3)
    for start, stop in ((0.0, 0.5), (0.123, 0.9), (1.5, 2.0)):
        first = round(start * 16000)
        piece = read_audio(path, start, stop, 16000)
        np.testing.assert_allclose(piece, whole[first : first + len(piece)], atol=1e-6)
        assert len(piece) == round((stop - start) * 16000)


def test_resampling_removes_what_the_new_rate_cannot_hold(tmp_path):
    t = np.arange(44100) / 44100
    wave = np.sin(2 * np.pi * 12000 * t).astype(np.float32)  # beyond 8 kHz, half of 16 kHz
    assert np.abs(resample(wave, 44100, 16000)[100:-100]).max() < 0.01
    assert len(resample(wave, 44100, 16000)) == 16000
    assert resample(wave, 44100, 44100) is wave
    with pytest.raises(ValueError, match="0 Hz"):
        resample(wave, 44100, 0)


def test_resampling_is_scipys_and_designs_a_filter_once(monkeypatch):
    wave = media.noise(1, 3007)[0].astype(np.float32)
    expected = scipy.signal.resample_poly(wave, 91, 97)  # primes, so no other test's filter
    np.testing.assert_allclose(resample(wave, 9700, 9100), expected, rtol=1e-6, atol=1e-6)
    monkeypatch.delattr(scipy.signal, "firwin")
    begin = resample(wave[:1000], 9700, 9100)[:900]
    np.testing.assert_allclose(begin, expected[:900], rtol=1e-6, atol=1e-6)


def test_fit_length():
    wave = np.arange(1, 4, dtype=np.float32)
    assert fit_length(wave, 2).tolist() == [1, 2]
    assert fit_length(wave, 5).tolist() == [1, 2, 3, 0, 0]


def test_missing_tracks(tmp_path):
    silent = media.write(tmp_path / "silent.mp4", 5)
    with pytest.raises(MediaError, match=r"silent\.mp4: has no audio"):
        read_audio(silent, 0.0, 0.1, 16000)
    sound = media.write(tmp_path / "sound.wav", 0, wave=media.noise(1, 8000), rate=8000)
    assert not probe(sound).has_frames
    with pytest.raises(MediaError, match=r"sound\.wav: frame 0 .* has 0"):
        read_frames(sound, [0])


# Broken files


def test_broken_videos(tmp_path):
    wave = media.noise(1.6, 16000)
    path = media.write(tmp_path / "video.mov", wave=wave, options={"g": "12"})
    data = Path(path).read_bytes()
    start = {"movflags": "faststart"}
    early = media.write(tmp_path / "early.mov", options={"g": "12"}, container_options=start)
    wav = media.write(tmp_path / "sound.wav", 0, wave=wave)
    broken = {
        "empty.mp4": b"",
        "text.mp4": b"This is not a video, whatever its name says.\n" * 20,
        "playlist.mp4": b"#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        "cut.mov": data[: len(data) // 2],
        "cut_index_first.mov": Path(early).read_bytes()[:-3000],
        "head.mov": data[:40],
        "cut.wav": Path(wav).read_bytes()[:-3000],
        "video_named.jpg": data,
        "missing.mp4": None,
    }
    for name, content in broken.items():
        file = tmp_path / name
        if content is not None:
            file.write_bytes(content)
        for read in (probe, lambda p: read_frames(p, [0]), lambda p: read_audio(p, 0, 1, 8000)):
            with pytest.raises(MediaError, match=name) as caught:
                read(str(file))
            assert "\n" not in str(caught.value)


# Pictures


def save(path, values, **options):
    Image.fromarray(values).save(path, **options)
    return str(path)


def test_pictures_become_rgb(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    path = save(tmp_path / "grey.PNG", grey)
    assert probe(path).num_frames == 1
    assert probe(path).fps == 1
    np.testing.assert_array_equal(read_frames(path, [0, 0])[1], np.stack([grey] * 3, -1))

    path = save(tmp_path / "deep.png", grey.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_frames(path, [0])[0, ..., 0], grey)

    clear = np.zeros((4, 4, 4), np.uint8)  # black, but nothing of it to be seen
    clear[0, 0] = 10, 20, 30, 255
    frame = read_frames(save(tmp_path / "clear.png", clear), [0])[0]
    assert frame[0, 0].tolist() == [10, 20, 30]
    assert (frame.reshape(-1, 3)[1:] == 255).all()

    colours = Image.fromarray(np.full((4, 4, 3), (204, 51, 51), np.uint8))
    for name, mode in (("palette.png", "P"), ("print.jpg", "CMYK"), ("print.tif", "CMYK")):
        colours.convert(mode).save(tmp_path / name)
        frame = read_frames(tmp_path / name, [0])[0]
        assert np.abs(frame.astype(int) - (204, 51, 51)).max() < 12

    ghost = colours.convert("P")
    ghost.save(tmp_path / "ghost.gif", transparency=ghost.getpixel((0, 0)))
    assert (read_frames(tmp_path / "ghost.gif", [0]) == 255).all()


def test_pictures_are_turned_upright(tmp_path):
    picture = Image.fromarray(np.pad(np.full((8, 8), 255, np.uint8), ((0, 8), (0, 24))))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter clockwise
    picture.save(tmp_path / "turned.jpg", exif=exif)
    frame = read_frames(tmp_path / "turned.jpg", [0])[0]
    assert frame.shape == (32, 16, 3)
    assert (probe(tmp_path / "turned.jpg").height, probe(tmp_path / "turned.jpg").width) == (32, 16)
    assert frame[2, -3].mean() > 200
    assert frame[-3, 2].mean() < 50


@pytest.mark.parametrize("ending", ["gif", "png", "webp"])
def test_moving_pictures_are_videos(tmp_path, ending):
    pages = [Image.fromarray(media.picture(i)) for i in range(5)]
    options = {"lossless": True} if ending == "webp" else {}
    path = tmp_path / f"moving.{ending}"
    pages[0].save(
        path, save_all=True, append_images=pages[1:], duration=[40, 40, 80, 40, 40], **options
    )
    found = probe(path)
    assert found.num_frames == 5
    assert found.duration == pytest.approx(0.24)
    np.testing.assert_allclose(found.times, [0, 0.04, 0.08, 0.16, 0.2])
    assert media.numbers_of(read_frames(path, [4, 0, 2, 2])) == [4, 0, 2, 2]


def test_broken_pictures(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    whole = save(tmp_path / "whole.jpg", noise)
    data = Path(whole).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("no picture")
    for name in ("cut.jpg", "empty.png", "text.png", "missing.jpg"):
        with pytest.raises(MediaError, match=name):
            read_frames(tmp_path / name, [0])
    shutil.copy(whole, tmp_path / "picture.mp4")
    with pytest.raises(MediaError, match=r"picture\.mp4: is an image"):
        probe(tmp_path / "picture.mp4")
    with pytest.raises(MediaError, match="record 7"):
        decode_image("record 7", data[:100])
    assert decode_image("record 7", data).shape == (64, 64, 3)


def test_a_jpeg_with_a_hole_is_refused_and_one_with_bytes_too_many_is_not(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / "whole.jpg", noise)
    data, whole = (tmp_path / "whole.jpg").read_bytes(), read_frames(path, [0])[0]
    end = b"\xff\xd9"  # decoders would fill what comes before it with grey
    (tmp_path / "hole.jpg").write_bytes(data[: len(data) // 2] + end)
    with pytest.raises(MediaError, match=r"hole\.jpg: cannot be read .*premature end"):
        read_frames(tmp_path / "hole.jpg", [0])
    (tmp_path / "rest.jpg").write_bytes(data[:-2] + b"abc" + end)  # of a code out of step
    with pytest.raises(MediaError, match=r"rest\.jpg: cannot be read .*extraneous"):
        read_frames(tmp_path / "rest.jpg", [0])
    table = data.index(b"\xff\xdb")
    long = data[:table] + b"abc" + data[table:] + b"trailer"
    (tmp_path / "long.jpg").write_bytes(long)
    assert np.array_equal(read_frames(tmp_path / "long.jpg", [0])[0], whole)


def test_a_decompression_bomb_is_refused(tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("1", (20000, 6000)).save(path)  # few bytes, 360 MB once decoded
    with pytest.raises(MediaError, match=r"bomb\.png: 20000x6000 pixels"):
        probe(path)


# Resizing


def test_resizing_keeps_the_mean_and_does_not_alias():
    stripes = np.zeros((2, 64, 64, 3), np.uint8)
    stripes[:, :, ::2] = 200  # finer than the small picture can show
    assert np.abs(resize(stripes, (16, 16)).astype(int) - 100).max() <= 1
    assert resize(stripes, (16, 128)).shape == (2, 16, 128, 3)
    assert resize(stripes[..., :1], (16, 16)).shape == (2, 16, 16, 1)
    assert resize(stripes, (64, 64)) is stripes
    with pytest.raises(ValueError, match="0x4"):
        resize(stripes, (0, 4))


def test_proportions_and_crops():
    frames = np.zeros((1, 48, 80, 3), np.uint8)
    frames[:, :, 40:] = 255
    assert resize_short(frames, 24).shape == (1, 24, 40, 3)
    assert resize_short(frames.swapaxes(1, 2), 24).shape == (1, 40, 24, 3)
    assert square(frames, 24).shape == (1, 24, 24, 3)
    middle = center_crop(frames, (48, 40))
    assert (middle[:, :, :20] == 0).all()
    assert (middle[:, :, 20:] == 255).all()
    assert (crop(frames, 0, 40, 10, 40) == 255).all()
    with pytest.raises(ValueError, match="50x50"):
        center_crop(frames, (50, 50))
