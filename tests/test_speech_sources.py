"""Speech as it is distributed, and as people keep it: transcripts, speakers, words, splits."""

import pickle

import media
import pytest

from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import speaker_of
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.data.sources.spoken_names import SpokenNames, held_out, read_names

FROG = "A frog.\nde.utf8=Ein Frosch.\nfr.utf8=Une grenouille.\npt_BR.utf8=\nxx=nothing\n"


def speak(path, seconds=0.2, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = "flac" if path.suffix == ".flac" else "pcm_s16le"
    media.write(path, frames=0, wave=media.noise(seconds, 16000, seed=seed), audio_codec=codec)


@pytest.fixture(scope="module")
def stamps(tmp_path_factory):
    """Two folders of stamps; the frog is said twice in French, once copied, once encoded twice."""
    root = tmp_path_factory.mktemp("spoken")
    inside = root / "usr" / "share" / "stamps"
    frog, pond = inside / "animals" / "frog", inside / "town" / "green" / "pond-frog"
    speak(inside / "animals" / "frog_desc_fr.wav", 0.2)
    speak(inside / "animals" / "frog_desc_de.wav", 0.3, seed=1)
    speak(inside / "animals" / "frog_desc.wav", 0.25, seed=2)
    speak(inside / "animals" / "frog_desc_zz.wav", 0.25, seed=2)
    speak(inside / "town" / "green" / "pond-frog_desc_fr.wav", 0.35, seed=3)
    speak(inside / "town" / "green" / "pond-frog_desc_de.wav", 0.3, seed=4)
    speak(inside / "town" / "copy_desc_fr.wav", 0.2)  # the bytes of the first
    for stem in (frog, pond, inside / "town" / "copy"):
        stem.with_suffix(".txt").write_text(FROG)
    (inside / "animals" / "frog.wav").write_bytes(b"the frog's own croak")
    (inside / "town" / "broken_desc_fr.ogg").write_bytes(b"no audio")
    (inside / "town" / "broken.txt").write_text("A broken one.\nfr.utf8=Une grenouille.\n")
    return str(root)


def test_spoken_names_are_captions_in_their_language(stamps):
    source = SpokenNames(stamps, split="")
    found = {item.path.rpartition("/")[2]: item for item in source.items}
    assert "frog.wav" not in found
    assert "copy_desc_fr.wav" not in found
    assert found["frog_desc_fr.wav"].captions[0].text == "Une grenouille."
    assert found["frog_desc_fr.wav"].captions[0].language == "fr"
    assert found["frog_desc.wav"].captions[0].language == "en"
    assert found["frog_desc_zz.wav"].captions == ()
    assert source.label_names == ("de", "en", "fr", "zz")
    number = [item.path for item in source.items].index(found["frog_desc_de.wav"].path)
    record = pickle.loads(pickle.dumps(source))[number]
    assert (record.label, record.sample_rate, record.num_frames) == (0, 16000, 0)
    assert record.extra["name"] == "A frog."
    assert record.extra["folder"] == "animals"
    assert record.audio(0.0, record.duration).shape == (4800,)


def test_spoken_names_of_chosen_languages(stamps):
    assert SpokenNames(stamps, languages=("de",), split="").label_names == ("de",)
    assert SpokenNames(stamps, label="folder", split="").label_names == ("animals", "town")
    with pytest.raises(ConfigError, match=r"no spoken names.*tuxpaint-stamps-default"):
        len(SpokenNames(stamps, languages=("ko",)))
    split = "train" if held_out("A frog.") else "test"
    with pytest.raises(ConfigError, match="no spoken name is left"):
        len(SpokenNames(stamps, languages=("de",), split=split))


def test_a_name_is_on_one_side_in_every_language():
    names = [f"A thing number {number}." for number in range(2000)]
    share = sum(map(held_out, names)) / len(names)
    assert abs(share - 0.2) < 0.03
    assert all(held_out(name) == held_out(name.upper().strip(".")) for name in names)


def test_words_are_those_recorded_twice(stamps):
    train, test = (SpokenNames(stamps, label="word", split=split) for split in ("train", "test"))
    # The German recordings have one length: one recording, encoded twice.
    assert train.label_names == test.label_names == ("fr: Une grenouille.",)
    assert len(train) == len(test) == 1
    assert train[0].label == test[0].label == 0
    assert train[0].name != test[0].name


def test_names_of_a_stamp(tmp_path):
    file = tmp_path / "frog.txt"
    file.write_text(FROG)
    names = {"en": "A frog.", "de": "Ein Frosch.", "fr": "Une grenouille."}
    assert read_names(str(file)) == names
    file.write_bytes("fr.utf8=Église".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"frog\.txt: cannot be read as text in UTF-8"):
        read_names(str(file))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"label": "speaker"}, "label='speaker' must be one of"),
        ({"split": "val"}, "split='val' must be one of"),
        ({"limit": -1}, "limit"),
    ],
)
def test_mistakes_in_knobs_of_spoken_names(knobs, message):
    with pytest.raises(ConfigError, match=message):
        SpokenNames(**knobs)


def test_no_folder_of_spoken_names(tmp_path):
    with pytest.raises(ConfigError, match="there is no folder"):
        len(SpokenNames(str(tmp_path / "none")))


SPEAKERS = """; The public LibriVox speakers
;ID  |SEX| SUBSET           |MINUTES| NAME
14   | F | train-clean-100  | 25.03 | A Name
103  | M | dev-clean        | 8.02  | Another | of bars
"""


def librispeech(root, more=""):
    (root / "SPEAKERS.TXT").write_text(SPEAKERS)
    for subset, speaker, chapter, texts in [
        ("train-clean-100", 14, 208, ["A MAN SAID TO THE UNIVERSE", "SIR I EXIST"]),
        ("dev-clean", 103, 1240, ["THE REPLY"]),
    ]:
        folder = root / subset / str(speaker) / str(chapter)
        stems = [f"{speaker}-{chapter}-{number:04d}" for number in range(len(texts))]
        for number, stem in enumerate(stems):
            speak(folder / f"{stem}.flac", 0.2 + 0.1 * number, seed=speaker + number)
        lines = [f"{stem} {text}" for stem, text in zip(stems, texts, strict=True)]
        (folder / f"{speaker}-{chapter}.trans.txt").write_text("\n".join([*lines, more]))
    return str(root)


def test_librispeech_as_it_is_distributed(tmp_path):
    path = librispeech(tmp_path, more="14-208-0009 A LINE WHOSE AUDIO IS GONE")
    source = FolderSource(path, lists=".", split="train-clean-100")
    assert [item.path for item in source.items] == [
        "train-clean-100/14/208/14-208-0000.flac",
        "train-clean-100/14/208/14-208-0001.flac",
    ]
    assert source.label_names == ("14", "103")  # of all splits, so they agree
    record = source[1]
    assert record.captions[0].text == "SIR I EXIST"
    assert record.captions[0].language == "en"
    assert record.extra["speaker"] == "14"
    assert (record.extra["chapter"], record.extra["sex"], record.label) == ("208", "F", 0)
    assert record.duration == pytest.approx(0.3)
    assert speaker_of(record) == speaker_of(source[0])
    every = FolderSource(path, lists=".")
    assert [item.split for item in every.items] == ["dev-clean", *["train-clean-100"] * 2]
    assert every[0].label == 1


def test_what_has_no_recording_or_no_transcript_is_counted(tmp_path, caplog):
    path = librispeech(tmp_path, more="14-208-0009 ITS AUDIO IS GONE\n14-208-0010 SO IS ITS")
    speak(tmp_path / "train-clean-100" / "14" / "208" / "14-208-0042.flac")
    assert len(FolderSource(path, lists=".", split="train-clean-100")) == 2
    assert "train-clean-100: 2 transcripts have no recording" in caplog.text
    assert "such as 14-208-0009" in caplog.text
    assert "1 recordings have no transcript and are left out, such as 14-208-0042" in caplog.text


def test_mistakes_in_librispeech(tmp_path):
    path = librispeech(tmp_path)
    with pytest.raises(ConfigError, match=r"no folder test-clean; it has \['dev-clean'"):
        len(FolderSource(path, lists=".", split="test-clean"))
    file = tmp_path / "dev-clean" / "103" / "1240" / "103-1240.trans.txt"
    file.write_text("103-1240-0000\n")
    with pytest.raises(ConfigError, match=r"103-1240\.trans\.txt:1: 'SPEAKER-CHAPTER-NUMBER TEXT'"):
        len(FolderSource(path, lists=".", split="dev-clean"))
    file.write_text("9-1240-0000 WHO\n")
    with pytest.raises(ConfigError, match=r"no recording"):
        len(FolderSource(path, lists=".", split="dev-clean"))
    file.unlink()
    with pytest.raises(ConfigError, match="no recording with a transcript; split='dev-clean'"):
        len(FolderSource(path, lists=".", split="dev-clean"))
    (tmp_path / "SPEAKERS.TXT").write_text("14 F\n")
    with pytest.raises(ConfigError, match=r"SPEAKERS\.TXT:1: 'ID \| SEX"):
        len(FolderSource(path, lists="."))


def test_libri_lights_limited_training_set(tmp_path):
    for place, speaker in [("1h/0/clean", 25), ("1h/1/other", 7), ("9h/clean", 103)]:
        folder = tmp_path / place / str(speaker) / "1"
        speak(folder / f"{speaker}-1-0000.flac")
        (folder / f"{speaker}-1.trans.txt").write_text(f"{speaker}-1-0000 HELLO\n")
    found = {
        split: [i.extra[0] for i in FolderSource(str(tmp_path), lists=".", split=split).items]
        for split in ("10min", "1h", "10h")
    }
    assert found["10min"] == [("speaker", "25")]
    assert found["1h"] == [("speaker", "25"), ("speaker", "7")]
    assert found["10h"] == [("speaker", "25"), ("speaker", "7"), ("speaker", "103")]
    source = FolderSource(str(tmp_path), lists=".")
    assert source.label_names == ("7", "25", "103")
    assert source[0].captions[0].text == "HELLO"
    with pytest.raises(ConfigError, match=r"no split '100h', there is \['10min', '1h', '10h'\]"):
        len(FolderSource(str(tmp_path), lists=".", split="100h"))


def test_speech_commands_as_they_are_distributed(tmp_path):
    lists = {
        "validation_list.txt": "no/b_nohash_0.wav\n",
        "testing_list.txt": "yes/c_nohash_1.wav\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
    files = ["_background_noise_/pink.wav", "no/a_nohash_0.wav", "no/b_nohash_0.wav"]
    for number, name in enumerate([*files, "yes/a_nohash_0.wav", "yes/c_nohash_1.wav"]):
        speak(tmp_path / name, seed=number)
    source = FolderSource(str(tmp_path), lists=".")
    assert [(i.path, i.label, i.split) for i in source.items] == [
        ("no/a_nohash_0.wav", 0, "train"),
        ("no/b_nohash_0.wav", 0, "val"),
        ("yes/a_nohash_0.wav", 1, "train"),
        ("yes/c_nohash_1.wav", 1, "test"),
    ]
    record = source[3]
    assert source.label_names[record.label] == record.captions[0].text == "yes"
    assert record.extra["speaker"] == "c"
    assert speaker_of(source[0]) == speaker_of(source[2]) != speaker_of(record)
    (tmp_path / "media").mkdir()
    with pytest.raises(ConfigError, match=r"media.*has no recordings such as yes/"):
        len(FolderSource(str(tmp_path / "media"), lists=".."))


def test_a_csv_of_transcripts(tmp_path):
    speak(tmp_path / "a.wav")
    speak(tmp_path / "b.flac", seed=1)
    file = tmp_path / "list.csv"
    file.write_text(
        "path,Transcript,speaker,language,split\n"
        'a.wav,"Guten Morgen, Welt",anna,de,train\n'
        "b.flac,你好,7,zh,test\n"
    )
    train, test = (FolderSource(str(tmp_path), "list.csv", split=s) for s in ("train", "test"))
    assert train[0].captions[0].text == "Guten Morgen, Welt"
    assert (train[0].captions[0].language, test[0].captions[0].language) == ("de", "zh")
    assert (train[0].extra["speaker"], test[0].extra["speaker"]) == ("anna", "7")
    assert "Transcript" not in train[0].extra
    file.write_text("path,transcript,caption\na.wav,one,two\n")
    with pytest.raises(ConfigError, match=r"columns 'caption' and 'transcript'; rename one"):
        len(FolderSource(str(tmp_path), "list.csv"))
