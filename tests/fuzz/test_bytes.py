"""Every reader, on valid files with bits turned and parts cut out, doubled or exchanged, seeded; and long runs."""

import functools
import gc
import gzip
import itertools
import random
import re
import types
import warnings

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from scipy import stats

from ssan import Pairs, Singles, Surrogates, find_surrogates, load_surrogates, search_to_disk
from ssan.data import catalogue, fetching, image, sources, text
from ssan.files import load_model, save_model
from ssan.study.examples import load_examples, save_examples
from ssan.widgets import SamplingExplorer
from tests.data.test_image import write_fashion
from tests.data.test_sources import file_of, tar_of, zip_of
from tests.fuzz.conftest import FACTOR, SAID, SEED, attempt
from tests.helpers import additive, random_sentences, text_model
from tests.study import tiny
from tests.widgets.subjects import subject

WORDS, ERRORS = random_sentences(5, longest=4), (ValueError, OSError, fetching.FetchError)
PIECES = b"|\0|\xff\xff\xff\x7f|\t|\n|1e999|NaN|-1|0|null|true|1.5|1000000000|[]|[1]|{}|x|F64".split(b"|")
PIECES += [b"[" * 100_000, b"[-1, 8]", b'"x"', b"Infinity"]
TOKEN = re.compile(rb'\\*"[^"\\]*\\*"|-?[\d.]+|\[[^][]*\]|[a-z]+')


def spoiled(rng, blob):
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        (at, end), kind = sorted(rng.randrange(len(blob) + 1) for _ in range(2)), rng.randrange(8)
        end = len(blob) if kind == 5 else min(end, at + rng.choice([1, 4, 64, 10**9]))
        turned = bytes([blob[at] ^ 1 << rng.randrange(8)]) + blob[at + 1 : end] if at < end else b""
        made = [b"", blob[at:end] * 2, rng.choice(PIECES), rng.randbytes(min(8, end - at)), turned, b""]
        # What safetensors begin with says how long it is.
        head = (8, min(len(blob), 8 + int.from_bytes(blob[:8], "little"))) if blob[8:9] == b"{" else (0, len(blob))
        if kind > 5 and (tokens := [*TOKEN.finditer(blob, *head)]):
            at, end = rng.choice(tokens).span()
            blob = blob[:at] + (piece := rng.choice(PIECES)) + blob[end:]
            length = (head[1] - 8 + len(piece) - end + at) % 2**64
            blob = length.to_bytes(8, "little") + blob[8:] if head[0] else blob
        else:
            blob = blob[:at] + made[kind % 6] + blob[end:]
    return blob


def same(a, b):  # what is damaged is refused, or was not needed
    a, b = (each.state_dict() if isinstance(each, torch.nn.Module) else vars(each) for each in (a, b))
    return all(torch.equal(value, b[name]) for name, value in a.items())


# A reader writes files into a folder, and gives for each of them what reads it and says whether it was read right.
def own(folder, _):
    found, experiment = find_surrogates(additive(), WORDS, Singles()), tiny.of_text(folder)
    found.save(folder / "surrogates", {"a": [1, 2], "b": "c"})
    save_model(folder / "model", additive(), "here", seconds="1.5")
    rows = pd.DataFrame({"what": ["a", "b"], "index": [1, 2], "score": [0.5, 1.0], "map": [np.ones(3), None]})
    save_examples(folder / "examples", rows)
    row = functools.partial(experiment.row, "baseline", "scratch", "smoke")
    numbers = [name for name, value in row().items() if type(value) is float]
    return {
        folder / "surrogates": lambda: same(found, Surrogates.load(folder / "surrogates", {"a": [1, 2]})),
        folder / "model": lambda: same(additive(), load_model(folder / "model", additive(1), "here")),
        folder / "examples": lambda: load_examples(folder / "examples") is not None,
        next(folder.glob("rows/*.json")): lambda: (
            (new := row()) and all(abs(new.get(name, 0)) < 1e300 for name in numbers)
        ),
    }


def shards(folder, _):
    search = functools.partial(search_to_disk, additive(), WORDS, Singles(), folder, examples_per_shard=3)
    paths, found = search(), load_surrogates(folder)
    turn = itertools.cycle([lambda: search() == paths, lambda: same(found, load_surrogates(folder))])
    return dict.fromkeys([folder / "search.json", *paths], lambda: next(turn)())


def archives(folder, patch):
    content, paths = bytes(range(256)) * 4, [folder / name for name in ("x.zip", "x.tar", "x.tar.gz", "x.gz")]
    for make, path in zip((zip_of, tar_of, tar_of), paths, strict=False):
        make(path, {"a/b": content, "c": b"c"})
    paths[3].write_bytes(gzip.compress(content))

    def read(path):
        members = [] if path.name == "x.gz" else ["a/b"]
        source = types.SimpleNamespace(deliver=lambda file, target, _: sources.extract(path, members, target, file))
        patch.setitem(catalogue.DATA_SETS, "d", catalogue.DataSet((file_of("b", content),), (source,), "", ""))
        got = fetching.fetch("d", folder / "cache") / "b"
        right = got.read_bytes() == content and {*folder.iterdir()} == {*paths, folder / "cache"}
        return got.unlink() or right

    return {path: lambda path=path: read(path) for path in paths}


def downloaded(folder, patch):
    lines = "\n".join(f"{kind} words {number} ?" for kind in ("DESC:a", "ENTY:b", "NUM:c") for number in range(6))
    rows = "\r\n".join(f"{k}\t{(-1) ** k * 2.5}\tthe film number {k} isn''t &amp; bad" for k in range(1, 25))
    for name in ("train_5500.label", "TREC_10.label", "movieReviewSnippets_GroundTruth.txt"):
        (folder / name).write_text(rows if "movie" in name else lines)
    patch.setattr(text, "fetch", lambda *_: folder)
    test, movie, trec = sorted(folder.iterdir())
    write_fashion(folder, (4, 4))
    few = {"n_train": 2, "n_valid": 2, "n_test": 2, "n_fragments": 0, "root": folder}
    reads = dict.fromkeys(folder.glob("*/*/*"), lambda: image.cluttered_fashion_task(**few))
    reads |= dict.fromkeys([trec, test], lambda: text.text_task("trec", vectors=None))
    return reads | {movie: lambda: text.text_task("movie", vectors=None)}


READERS = {own: 32_000, shards: 12_000, archives: 12_000, downloaded: 18_000}


@pytest.mark.parametrize("reader", READERS, ids=lambda each: each.__name__)
def test_damaged_files_are_refused_in_words_or_read(reader, tmp_path, monkeypatch):
    reads = reader(tmp_path, monkeypatch)
    valid = {path: path.read_bytes() for path in reads}
    for number in range(int(READERS[reader] * FACTOR)):
        rng = random.Random(f"{SEED} {reader.__name__} {number}")
        path = rng.choice([*reads])
        path.write_bytes(blob := spoiled(rng, valid[path]))
        with warnings.catch_warnings(action="ignore"):
            right = attempt(f"{reader.__name__}: {path.name}", ERRORS, reads[path])
        assert right, f"taken for whole: number {number} of {path.name}, {blob[:2000]!r}"
        for each in valid:
            if each == path or not each.exists():
                each.write_bytes(valid[each])


def test_memory_is_flat():
    """The 95% interval of its slope holds 0, or lies below 1 MB per 1,000 steps, after a quarter as many to warm up."""
    panel, model, process = SamplingExplorer([subject("text")]), text_model(), psutil.Process()

    def search(number):
        find_surrogates(model, WORDS, Pairs(), selector=("best", "importance", "ridge")[number % 3])

    def update(number):
        (panel.window if number % 2 else panel.example).value = 1 + number // 2 % 3

    for step, steps in ((search, int(2000 * FACTOR)), (update, int(500 * FACTOR))):
        resident = []
        for number in range(-steps // 4, steps):
            attempt(step.__name__, (), step, number)
            if number >= 0 and number % max(1, steps // 100) == 0:
                gc.collect()
                resident.append((number / 1000, process.memory_info().rss / 1e6))
        line = stats.linregress(*np.array(resident).T)
        half = float(stats.t.ppf(0.975, len(resident) - 2)) * line.stderr
        SAID.append(f"memory: {line.slope:+.2f} ± {half:.2f} MB per 1,000 of {step.__name__}")
        assert line.slope - half <= 0 or line.slope + half < 1, SAID[-1]
