"""HowTo100M's text-video embedding: gated units of 4,096 on features that were computed before.

    python -m ssl_jax.train --config=video_text/margin_howto100m.py --workdir=runs/howto100m

Data: data/howto100m/features, files YOUTUBE_ID.npy of (t 4096), one row a second (in the paper
ResNet-152 and ResNeXt-101 side by side); data/howto100m/lists with caption.json, and words.txt, the
words without stop words, with their counts; word2vec's vectors. For retrieval the same of MSR-VTT.
Cost: less than 3 days on one P100 in the paper; here not measured. The 136 million captions take
about 32 GB of memory in each process that reads records, and 37 GB while caption.json is read (236
and 269 bytes a caption, measured on 22,000): keep data.workers=0, or shorten caption.json.
Paper: MSR-VTT (1k-A, not trained on) R@1 7.5, R@5 21.2, R@10 29.6 %, median rank 38; YouCook2 6.1,
17.3, 24.8 %, 46.
Ours, in the paper's setting: not measured.

Variants: `:nce` has InfoNCE in place of the margin; `:across` no pairs of the same video (paper:
R@10 30.1 on MSR-VTT, 18.1 on YouCook2); `:frames` trains S3D-G on frames instead; `:synthetic`
trains a narrow network on frames in minutes on a CPU, on videos of six scenes, each
described in its time; `:tiny` is four steps.

    :synthetic                 text to video, R@10 of 48     linear probe, shape
                               (chance 0.208)                (chance 0.208)
    ours                       not measured                  not measured
    random initialisation      not measured                  not measured
    shuffled captions          not measured                  not measured
"""

from ssl_jax import presets
from ssl_jax.config import call, choose, load
from ssl_jax.data.sources.feature_folder import FeatureFolder
from ssl_jax.data.sources.narrated import Narrated
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.data.tokenizers import Words
from ssl_jax.data.words import CountedWords
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evals.text_video_retrieval import TextVideoRetrieval
from ssl_jax.experiment import Experiment
from ssl_jax.methods.video_text.margin import Margin
from ssl_jax.models.feature_groups import FeatureGroups
from ssl_jax.models.resnet3d import ResNet3D
from ssl_jax.models.s3d import S3D
from ssl_jax.models.word_pool import WordPool
from ssl_jax.models.word_table import WordTable
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, Step

EPOCH = 1_220_000 // 32  # steps: videos over videos a step


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, howto100m, nce, across, frames, synthetic, tiny)


def howto100m():
    return call(
        Experiment,
        source=call(FeatureFolder, path="data/howto100m/features", lists="../lists"),
        method=call(
            Margin,
            vision=call(FeatureGroups, widths=(2048, 2048)),
            tokenizer=call(Words, path="data/howto100m/words.txt"),
            table=call(WordTable, width=300),
            text=call(WordPool, width=4096),
            vectors="data/word2vec/GoogleNews-vectors-negative300.bin.gz",
            features="features",
            rate=1.0,
        ),
        optimizer=call(
            Optimizer,
            name="adam",
            learning_rate=1e-4,
            schedule=call(Step, boundaries=tuple(EPOCH * k for k in range(1, 15)), decay=0.9),
            freeze=("table",),
        ),
        steps=15 * EPOCH,
        batch_size=32,
        evaluators={
            "retrieval": call(
                TextVideoRetrieval,
                test=call(
                    FeatureFolder, path="data/msrvtt/features", lists="../lists", split="1k-A test"
                ),
                languages=("en",),
                clips=1,
                similarity="cosine",
            ),
        },
    )


def nce():
    config = howto100m()
    config.method.criterion = "nce"
    return config


def across():
    config = howto100m()
    config.method.intra_video = 0.0
    return config


def frames():
    config = howto100m()
    config.source = load("video_text/multiple_instance_howto100m.py").source
    config.method.vision = call(S3D, gated=True)
    config.method.features, config.method.rate, config.method.pairs = "", 5.0, 4
    config.evaluators = load("video_text/multiple_instance_howto100m.py").evaluators
    return config


def synthetic():
    config = load("video_text/multiple_instance_howto100m.py:synthetic")
    config.source = call(Narrated, source=config.source.source)
    config.method = call(
        Margin,
        vision=call(ResNet3D, layers=(1, 1, 1, 1), width=0.125),
        tokenizer=config.method.tokenizer,
        table=call(WordTable, width=32),
        text=call(WordPool, width=64),
        frames=4,
        rate=4.0,
        size=32,
        pairs=4,
        length=5,
        test_length=5,
        least=2.0,
        embedding=64,
    )
    config.optimizer = call(
        Optimizer, name="adam", learning_rate=1e-3, schedule=call(Cosine, warmup=20)
    )
    config.batch_size = 8
    return config


def tiny():
    size = {"height": 16, "width": 16, "frames": 8}
    train, test = (call(SyntheticSource, size=64, seed=seed, **size) for seed in (0, 1))
    single = call(SyntheticSource, size=16, seed=1, **size)
    method = call(
        Margin,
        vision=call(ResNet3D, layers=(1, 1, 1, 1), width=0.0625),
        tokenizer=call(CountedWords, source=single, min_count=1),
        table=call(WordTable, width=6),
        text=call(WordPool, width=8),
        frames=2,
        rate=8.0,
        size=16,
        pairs=2,
        length=5,
        test_length=6,
        least=0.5,
        embedding=8,
    )
    train, test = (call(Narrated, source=one, parts=3, jitter=0.5) for one in (train, test))
    return presets.tiny(
        method,
        (train, test),
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=8),
            "retrieval": call(
                TextVideoRetrieval, test=single, clips=2, ks=(1, 5), several="best", drawn=0
            ),
        },
    )
