"""Has Apache Beam make shards, on this machine or wherever its runner says."""

import os
import threading

from ssl_jax.config import ConfigError
from ssl_jax.data import shards
from ssl_jax.data.shard_blocks import under_way

# Beam's own DirectRunner first looks for an engine to download; this is its engine in process.
IN_PROCESS = "apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"


def run(jobs: list[shards.Job], runner: str, flags: tuple[str, ...]) -> None:
    """Has Beam make every shard, and shows how many there are."""
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise ConfigError("prepare needs Apache Beam: pip install 'ssl_jax[prepare]'") from error

    if runner == "DirectRunner":
        workers = min(os.cpu_count() or 1, len(jobs))
        local = ("--direct_running_mode=multi_threading", f"--direct_num_workers={workers}")
        runner, flags = IN_PROCESS, (*local, *flags)
    try:
        pipeline = beam.Pipeline(options=PipelineOptions([f"--runner={runner}", *flags]))
    except (ValueError, ImportError, AttributeError) as error:
        raise ConfigError(f"runner={runner!r}: {error}") from error
    stop = threading.Event()
    watcher = threading.Thread(target=_show_progress, args=(jobs, stop), daemon=True)
    watcher.start()
    try:
        # Without the reshuffle one worker would be given all of them.
        _ = pipeline | beam.Create(jobs) | beam.Reshuffle() | beam.Map(shards.make)
        pipeline.run().wait_until_finish()
    finally:
        stop.set()
        watcher.join()


def _show_progress(jobs: list[shards.Job], stop: threading.Event) -> None:
    """Counts the reports, which a shard has as soon as it is whole, wherever it is made.

    Of shards that this process makes it also tells how far their videos are.
    """
    from tqdm import tqdm

    waiting = {shards.plan_of(job): job for job in jobs}  # reports of other options do not count
    with tqdm(total=len(jobs), unit="shard", desc="prepare") as bar:
        last = False
        while not last:
            last = stop.wait(1.0)
            videos = list(under_way.values())
            at = [f"{os.path.basename(v)} {done:.0f} of {all_:.0f} s" for v, done, all_ in videos]
            bar.set_postfix_str("; ".join(at[:2]) + (f"; {len(at) - 2} more" if at[2:] else ""))
            for plan, job in list(waiting.items()):
                if (shards.report_of(job.file) or {}).get("plan") == plan:
                    del waiting[plan]
                    bar.update()
