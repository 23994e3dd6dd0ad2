"""The public data sets that can be fetched: where they are, what they may be used for, and how they are read.

A digest stands here only where the publisher gives it or independent projects agree on it. A file without one is
trusted when it is fetched first and checked from then on, see :mod:`hnlm_ray.exchange.obtain`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from hnlm_ray.errors import ConfigError

__all__ = ["FAMILIES", "SETS", "DataSet", "Family", "SetFile", "data_set"]


@dataclass(frozen=True)
class SetFile:
    """One file of a data set.

    Attributes:
        name: in the folder of the set.
        addresses: of the same file, tried in this order.
        digest: ``md5:...`` or ``sha256:...``; None where none is known for certain.
        size: bytes; None where that is not known.
        members: paths inside the archive that are unpacked; none of a file that is read as it is.
    """

    name: str
    addresses: tuple[str, ...]
    digest: str | None = None
    size: int | None = None
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataSet:
    """A public data set.

    Attributes:
        name: as it is asked for.
        about: what it holds.
        files: to fetch.
        licence: what its publisher allows, in a sentence.
        link: where the publisher says so.
        citation: the publication that the publisher asks to cite.
        config: name of the shipped configuration that reads it.
    """

    name: str
    about: str
    files: tuple[SetFile, ...]
    licence: str
    link: str
    citation: str
    config: str

    @property
    def size(self) -> int | None:
        """Bytes of all files; None where one is not known."""
        sizes = [file.size for file in self.files]
        return sum(size for size in sizes if size is not None) if None not in sizes else None

    @property
    def is_pinned(self) -> bool:
        """Whether the digest of every file is known beforehand."""
        return all(file.digest is not None for file in self.files)


@dataclass(frozen=True)
class Family:
    """Data sets of the same form, one per category of a shop.

    Attributes:
        name: before the slash of ``amazon2018/Toys_and_Games``; also that of the configuration.
        about: what they hold.
        files: name of a file and its addresses, with ``{}`` for the category.
        categories: as in the names of the files.
        link: the publisher's page.
        citation: the publication that the publisher asks to cite.
    """

    name: str
    about: str
    files: Mapping[str, tuple[str, ...]]
    categories: tuple[str, ...]
    link: str
    citation: str

    def of(self, category: str) -> DataSet:
        """The data set of one category."""
        files = (
            SetFile(name.format(category), tuple(address.format(category) for address in addresses))
            for name, addresses in self.files.items()
        )
        name, about = f"{self.name}/{category}", f"{category.replace('_', ' ')}: {self.about}"
        return DataSet(name, about, tuple(files), _OF_UCSD, self.link, self.citation, self.name)


_OF_GROUPLENS = (
    "for research: cite it, imply no endorsement, ask before any commercial use; the README says what may be"
    " redistributed"
)
_OF_UCSD = (
    "published for research with a request to cite it; the publisher's page grants no other right, and the texts belong"
    " to those who wrote them"
)
_HARPER = "Harper and Konstan, The MovieLens Datasets: History and Context, ACM TiiS 5(4), 2015"
_GROUPLENS = "https://files.grouplens.org/datasets/movielens"
_UCSD = "https://mcauleylab.ucsd.edu/public_datasets/data"


def _movielens(
    name: str, about: str, members: tuple[str, ...], readme: str, digest: str | None = None, size: int | None = None
) -> DataSet:
    inside = tuple(f"{name}/{member}" for member in members)
    archive = SetFile(f"{name}.zip", (f"{_GROUPLENS}/{name}.zip",), digest, size, inside)
    return DataSet(name, about, (archive,), _OF_GROUPLENS, f"{_GROUPLENS}/{readme}", _HARPER, "movielens")


_CSV = ("ratings.csv", "movies.csv", "README.txt")
_ALL = (
    _movielens(
        "ml-100k", "100,000 ratings of films by 943 users", ("u.data", "u.item", "README"), "ml-100k-README.txt",
        "md5:0e33842e24a9c977be4e0107933c0723", 4_924_029,
    ),
    _movielens(
        "ml-1m", "1,000,209 ratings of films by 6,040 users", ("ratings.dat", "movies.dat", "README"),
        "ml-1m-README.txt", "md5:c4d9eecfca2ab87c1945afe126590906", 5_917_549,
    ),
    _movielens(
        "ml-32m", "32,000,204 ratings of films by 200,948 users", _CSV, "ml-32m-README.html",
        "md5:d472be332d4daa821edc399621853b57", 238_950_008,
    ),
    _movielens(
        "ml-latest-small", "about 100,000 ratings of films; changes with time", _CSV, "ml-latest-small-README.html"
    ),
    _movielens("ml-latest", "all ratings of films; changes with time", _CSV, "ml-latest-README.html"),
    DataSet(
        "gowalla", "6,442,890 check-ins of users at places, 2009 to 2010",
        (SetFile("loc-gowalla_totalCheckins.txt.gz", ("https://snap.stanford.edu/data/loc-gowalla_totalCheckins.txt.gz",)),),
        "published for research with a request to cite it; the publisher's page grants no other right",
        "https://snap.stanford.edu/data/loc-gowalla.html",
        "Cho, Myers and Leskovec, Friendship and Mobility, KDD 2011", "gowalla",
    ),
    DataSet(
        "lastfm", "92,834 counts of how often 1,892 users listened to artists (HetRec 2011)",
        (
            SetFile(
                "hetrec2011-lastfm-2k.zip",
                ("https://files.grouplens.org/datasets/hetrec2011/hetrec2011-lastfm-2k.zip",),
                "sha256:6738f48195667ff03caaab4d32ca9a3133d8cc026b7c3cdaf6ce1010e913c59c",
                members=("user_artists.dat", "artists.dat", "readme.txt"),
            ),
        ),
        "for non-commercial use, by permission of Last.fm; cite it",
        "https://files.grouplens.org/datasets/hetrec2011/hetrec2011-lastfm-readme.txt",
        "Cantador, Brusilovsky and Kuflik, HetRec 2011, RecSys 2011", "lastfm",
    ),
    DataSet(
        "steam", "7,793,069 reviews of games, with the games",
        tuple(
            SetFile(name, (f"{_UCSD}/steam/{name}", f"https://cseweb.ucsd.edu/~wckang/{name}"))
            for name in ("steam_reviews.json.gz", "steam_games.json.gz")
        ),
        _OF_UCSD, "https://cseweb.ucsd.edu/~jmcauley/datasets.html#steam_data",
        "Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018", "steam",
    ),
    DataSet(
        "bookcrossing", "1,149,780 ratings of books by 278,858 users, most implicit; its site is often down",
        (
            SetFile(
                "BX-CSV-Dump.zip", ("http://www2.informatik.uni-freiburg.de/~cziegler/BX/BX-CSV-Dump.zip",),
                members=("BX-Book-Ratings.csv", "BX-Books.csv"),
            ),
        ),
        "for research, acknowledged by a citation",
        "http://www2.informatik.uni-freiburg.de/~cziegler/BX/",
        "Ziegler, McNee, Konstan and Lausen, Improving Recommendation Lists Through Topic Diversification, WWW 2005",
        "bookcrossing",
    ),
)  # fmt: skip

SETS: Mapping[str, DataSet] = {one.name: one for one in _ALL}
"""Data sets by their names."""

_BOTH_YEARS = (
    "All_Beauty", "Appliances", "Arts_Crafts_and_Sewing", "Automotive", "Books", "CDs_and_Vinyl",
    "Cell_Phones_and_Accessories", "Clothing_Shoes_and_Jewelry", "Digital_Music", "Electronics", "Gift_Cards",
    "Grocery_and_Gourmet_Food", "Home_and_Kitchen", "Industrial_and_Scientific", "Kindle_Store",
    "Magazine_Subscriptions", "Movies_and_TV", "Musical_Instruments", "Office_Products", "Patio_Lawn_and_Garden",
    "Pet_Supplies", "Software", "Sports_and_Outdoors", "Tools_and_Home_Improvement", "Toys_and_Games", "Video_Games",
)  # fmt: skip

FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family(
            "amazon2018", "reviews and products of Amazon, users and products with at least five",
            {
                "{}_5.json.gz": (
                    f"{_UCSD}/amazon_v2/categoryFilesSmall/{{}}_5.json.gz",
                    "https://jmcauley.ucsd.edu/data/amazon_v2/categoryFilesSmall/{}_5.json.gz",
                ),
                "meta_{}.json.gz": (
                    f"{_UCSD}/amazon_v2/metaFiles2/meta_{{}}.json.gz",
                    "https://jmcauley.ucsd.edu/data/amazon_v2/metaFiles2/meta_{}.json.gz",
                ),
            },
            tuple(sorted((*_BOTH_YEARS, "AMAZON_FASHION", "Luxury_Beauty", "Prime_Pantry"))),
            "https://nijianmo.github.io/amazon",
            "Ni, Li and McAuley, Justifying Recommendations using Distantly-Labeled Reviews, EMNLP 2019",
        ),
        Family(
            "amazon2023", "all reviews and products of Amazon",
            {
                "{}.jsonl.gz": (f"{_UCSD}/amazon_2023/raw/review_categories/{{}}.jsonl.gz",),
                "meta_{}.jsonl.gz": (f"{_UCSD}/amazon_2023/raw/meta_categories/meta_{{}}.jsonl.gz",),
            },
            tuple(sorted((
                *_BOTH_YEARS, "Amazon_Fashion", "Baby_Products", "Beauty_and_Personal_Care", "Handmade_Products",
                "Health_and_Household", "Health_and_Personal_Care", "Subscription_Boxes", "Unknown",
            ))),
            "https://amazon-reviews-2023.github.io",
            "Hou et al., Bridging Language and Items for Retrieval and Recommendation, arXiv 2403.03952, 2024",
        ),
    )
}  # fmt: skip
"""Families of data sets by their names."""


def data_set(name: str) -> DataSet:
    """A data set by its name, for example ``ml-1m`` or ``amazon2023/All_Beauty``.

    Raises:
        ConfigError: there is none of that name.
    """
    if name in SETS:
        return SETS[name]
    first, slash, category = name.partition("/")
    family = FAMILIES.get(first)
    if family is not None and category in family.categories:
        return family.of(category)
    if family is not None:
        near = difflib.get_close_matches(category, family.categories, n=1, cutoff=0.5)
        hint = f"give {first}/{near[0]}" if near else f"`hnlm data list {first}` names the categories"
        what = f"there is no category {category!r} of {first}" if slash else f"{first} has one data set per category"
        raise ConfigError(what, hint)
    near = difflib.get_close_matches(name, [*SETS, *FAMILIES], n=1)
    hint = f"give {near[0]}" if near else "`hnlm data list` names those that there are"
    raise ConfigError(f"there is no data set {name!r}", hint)
