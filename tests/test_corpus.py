"""What `make fuzz` found once: refused in words ever since, or given what is asked of it."""

import pytest
import torch

from ssan import TokenRegions
from tests.fuzz import test_bytes, test_values
from tests.fuzz.conftest import attempt

MAP, EXISTS, IDS, NESTED = torch.full((3, 4), 0.25), torch.ones(3, 4, dtype=torch.bool), torch.arange(3), b"[" * 100_000
FLOATS, TOKENS = {"ids": IDS, "label": IDS}, {"tokens": EXISTS.long(), "words": None, "lengths": IDS + 1}
SCORES, BOXES = {"score": "logit", "perturbations_per_eval": None}, (torch.zeros(3, 2, 2), torch.ones(3, 2, 2))
SEARCH = ((0, MAP[:, :3], MAP), ("singles", {}), TokenRegions(), "best", SCORES)
pytestmark = pytest.mark.filterwarnings("ignore")
PAINTED = (torch.ones(3, 1, 4, 4), torch.ones(3, 1, 1, 1))
# The function, and what it is called with.
VALUES = [
    ("searched", "comprehensiveness", *SEARCH, (0, 0, 0.2, MAP, None), "cpu"),
    *[("searched", "replay", *SEARCH, (n, 1, None, None, None), "cpu") for n in (0, 3)],
    ("boxes", *BOXES, (12, 12), (2, 2), MAP, 10**30),
    ("boxes", *BOXES, (12, 12), (2, 2), EXISTS, 0.0),
    # Mended elsewhere than in metrics and data.
    *[("maps", MAP, MAP, some, 1.0, what) for some in (EXISTS[:, :0], EXISTS[:1], EXISTS.long()) for what in (0, 2)],
    *[("loss", name, None, MAP[0], MAP[0], None) for name in ("kl", "rank", "mmd_batch")],
    ("loss", "mse", None, torch.tensor(0.5), torch.tensor(0.5), None),
    ("loss", "kl", None, MAP, MAP, EXISTS.long()),
    *[("searched", "find_surrogates", *SEARCH, (3, 0, None, None, None), bad) for bad in ("nonsense", "cpu:x")],
    *[("training", {"epochs": 1}, None, *how) for how in (("nonsense", 1, 1), ("cpu", 1, 0), ("cpu", 1, -1))],
    *[("makers", 0, {"seed": seed, "name": "lstm"}, {}, {}, {}) for seed in ("2", None)],
    *[("regions", (TOKENS | {"words": words}, {"hidden_id": 0}), FLOATS, "abc", 1) for words in (MAP, IDS[:, None])],
    ("regions", ({"image": torch.ones(3, 1, 4, 4)}, {"grid": (2, 2), "fill": (float("nan"),)}), FLOATS, "abc", 2),
    ("regions", (TOKENS, {"hidden_id": 0}), {"ids": IDS, "label": EXISTS[:, :0].long()}, "abc", 0),
    ("regions", ({"image": torch.ones(3, 4, 4)}, {"grid": (2, 2)}), FLOATS, "abc", 0),
    ("regions", ({"features": MAP[..., None]}, {"grid": {}}), FLOATS, "abc", 1),
    *[
        ("masks", 0, ("random", {"n_masks": 1}), 4, 0, grid, {"example_id": 0, "width": None}, PAINTED, IDS, IDS)
        for grid in ((0, 3), (), {}, b"x")
    ],
    ("masks", 2, ("pairs", {}), 4, None, (2, 2), {"example_id": 0, "width": None}, (MAP, MAP), IDS, IDS),
    *[("searched", "insertion_deletion", *SEARCH, (1, 0, n, None, None), "cpu") for n in (2**63, 2**64)],
    ("loss", "coral", None, MAP[:, :0], MAP[:, :0], None),
    ("regions", (TOKENS, {"hidden_id": 0}), {"ids": IDS, "label": torch.full((3,), torch.inf)}, "abc", 2),
    ("regions", ({"image": torch.ones(3, 1, 4, 4).byte()}, {"grid": (2, 2)}), FLOATS, "abc", 2),
]
# The reader, a part of the file's name, and what takes the place of what in there; of nothing, of the whole or the end.
FILES = [
    ("own", "examples", b"", b"\0"),
    *[("own", "examples", name, b"other") for name in (b"arrays", b'"rows"', b",map")],
    *[("downloaded", "labels", b"\0\0\x08", other) for other in (b"", b"\0\0\x09", b"\0\0\x0a")],
    *[("downloaded", "movie", rating, b"x\t") for rating in (b"2.5\t", b"1\t", b"\t-2.5\t")],
    # Mended elsewhere than in study and data.
    *[("own", name, None, b"\1") for name in ("surrogates", "model")],
    *[("own", "baseline", b"", row) for row in (b"[]", b"NaN", NESTED)],
    ("own", "baseline", b'"accuracy": ', b'"accuracy": NaN, "": '),
    *[("shards", "search.json", b"", manifest) for manifest in (b"{}", b"[]", b"3", NESTED)],
    *[("shards", "search.json", b'shard": 3', b'shard": ' + n) for n in (b"0", b"[1]", b"Infinity")],
    ("shards", "search.json", b'n_examples": 5', b'n_examples": 1000000000'),
    ("shards", "shard-00000", None, b"\1"),
]


@pytest.mark.parametrize(("name", "arguments"), [(name, arguments) for name, *arguments in VALUES])
def test_values_that_were_found(name, arguments):
    attempt(name, (ValueError, TypeError), test_values.TARGETS[name][2], *arguments)


@pytest.mark.parametrize(("reader", "part", "old", "new"), FILES)
def test_files_that_were_found(reader, part, old, new, tmp_path, monkeypatch):
    reads = getattr(test_bytes, reader)(tmp_path, monkeypatch)
    path = next(path for path in reads if part in path.name)
    blob = path.read_bytes()
    path.write_bytes(blob[:-1] + new if old is None else blob.replace(old, new, 1) if old else new)
    for _ in range(2):  # some files have two readers, which take turns
        assert attempt(reader, test_bytes.ERRORS, reads[path])
