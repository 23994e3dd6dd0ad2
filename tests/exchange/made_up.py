"""Small made-up files in the form of each public data set."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterator

N_USERS, N_ITEMS = 12, 12


def zipped(files: dict[str, str], encoding: str = "utf-8") -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text.encode(encoding))
    return written.getvalue()


def packed(*lines: str) -> bytes:
    return gzip.compress("".join(f"{line}\n" for line in lines).encode())


def pairs() -> Iterator[tuple[int, int]]:
    """Every user has most items, so that a core of five or ten leaves something."""
    for user in range(1, N_USERS + 1):
        for item in range(1, N_ITEMS + 1):
            if user != item:
                yield user, item


def _movies_csv() -> dict[str, str]:
    ratings = "".join(f"{u},{i},{4 + (u + i) % 2},{978300000 + u * 100 + i}\n" for u, i in pairs())
    movies = "".join(f'{i},"Film, The {i} (1995)",Comedy|Drama\n' for i in range(1, N_ITEMS + 1))
    return {
        "ratings.csv": f"userId,movieId,rating,timestamp\n{ratings}",
        "movies.csv": f"movieId,title,genres\n{movies}",
        "README.txt": "terms\n",
    }


def _csv_release(name: str) -> dict[str, bytes]:
    return {f"{name}.zip": zipped({f"{name}/{path}": text for path, text in _movies_csv().items()})}


def ml_100k() -> dict[str, bytes]:
    ratings = "".join(f"{u}\t{i}\t5\t{880000000 + u * 100 + i}\n" for u, i in pairs())
    flags = "|".join(["0"] * 5 + ["1"] + ["0"] * 13)
    movies = "".join(f"{i}|Café {i} (1995)|01-Jan-1995||http://x|{flags}\n" for i in range(1, N_ITEMS + 1))
    inside = {"ml-100k/u.data": ratings, "ml-100k/u.item": movies, "ml-100k/README": "terms\n"}
    return {"ml-100k.zip": zipped(inside, "latin-1")}


def ml_1m() -> dict[str, bytes]:
    ratings = "".join(f"{u}::{i}::5::{978300000 + u * 100 + i}\n" for u, i in pairs())
    movies = "".join(f"{i}::Film {i} (1995)::Comedy|Drama\n" for i in range(1, N_ITEMS + 1))
    return {"ml-1m.zip": zipped({"ml-1m/ratings.dat": ratings, "ml-1m/movies.dat": movies, "ml-1m/README": "terms\n"})}


def gowalla() -> dict[str, bytes]:
    lines = (f"{u}\t2010-10-{u:02d}T19:44:{i:02d}Z\t30.2\t-97.7\t{i}" for u, i in pairs() for u in (u, u + 12))
    return {"loc-gowalla_totalCheckins.txt.gz": packed(*lines)}


def lastfm() -> dict[str, bytes]:
    plays = "".join(f"{u}\t{i}\t{u * i}\n" for u, i in pairs())
    artists = "".join(f'{i}\t"Odd {i}" Name\thttp://x\thttp://y\n' for i in range(1, N_ITEMS + 1))
    inside = {
        "user_artists.dat": f"userID\tartistID\tweight\n{plays}",
        "artists.dat": f"id\tname\turl\tpictureURL\n{artists}",
        "readme.txt": "terms\n",
    }
    return {"hetrec2011-lastfm-2k.zip": zipped(inside)}


def steam() -> dict[str, bytes]:
    reviews = (
        f"{{u'username': u'user {u}', u'hours': 0.5, u'product_id': u'{i}', u'date': u'2017-12-{i + 10}',"
        f" u'text': u'It\\'s \\u2665', u'early_access': False, u'page': 1}}"
        for u, i in pairs()
    )
    games = (
        f"{{u'publisher': u'P', u'genres': [u'Action', u'Indie'], u'app_name': u'Game {i}', u'title': u'Game {i}',"
        f" u'tags': [u'Fun'], u'id': u'{i}', u'developer': u\"Bob's\"}}"
        for i in range(1, N_ITEMS + 1)
    )
    return {"steam_reviews.json.gz": packed(*reviews), "steam_games.json.gz": packed(*games)}


def bookcrossing() -> dict[str, bytes]:
    ratings = "".join(f'"{u}";"00{i:08d}";"{(u + i) % 11}"\n' for u, i in pairs())
    tail = '"1999";"Verlag";"http://s";"http://m";"http://l"'
    books = "".join(f'"00{i:08d}";"Das \\"große\\" Buch {i}";"Müller";{tail}\n' for i in range(1, N_ITEMS + 1))
    heads = '"Year-Of-Publication";"Publisher";"Image-URL-S";"Image-URL-M";"Image-URL-L"'
    inside = {
        "BX-Book-Ratings.csv": f'"User-ID";"ISBN";"Book-Rating"\n{ratings}',
        "BX-Books.csv": f'"ISBN";"Book-Title";"Book-Author";{heads}\n{books}',
        "BX-Users.csv": '"User-ID";"Location";"Age"\n"1";"nyc, new york, usa";NULL\n',
    }
    return {"BX-CSV-Dump.zip": zipped(inside, "latin-1")}


def amazon2018() -> dict[str, bytes]:
    reviews = (
        {
            "reviewerID": f"A{u}", "asin": f"B{i}", "overall": 5.0, "unixReviewTime": 1400000000 + u * 100 + i,
            "reviewText": "Fine.", "summary": "Good",
        }
        for u, i in pairs()
    )  # fmt: skip
    items = (
        {"asin": f"B{i}", "title": f"Toy {i}", "brand": "Acme", "category": ["Toys", "Games"], "description": ["Nice"]}
        for i in range(1, N_ITEMS + 1)
    )
    return {
        "Toys_and_Games_5.json.gz": packed(*map(json.dumps, reviews)),
        "meta_Toys_and_Games.json.gz": packed(*map(json.dumps, items)),
    }


def amazon2023() -> dict[str, bytes]:
    reviews = (
        {
            "user_id": f"A{u}", "parent_asin": f"B{i}", "asin": f"C{i}", "rating": 5.0,
            "timestamp": 1600000000000 + u * 100000 + i, "title": "Good", "text": "Fine.",
        }
        for u, i in pairs()
    )  # fmt: skip
    items = (
        {
            "parent_asin": f"B{i}", "title": f"Cream {i}", "store": "Acme", "main_category": "All Beauty",
            "categories": [], "description": ["Nice"],
        }
        for i in range(1, N_ITEMS + 1)
    )  # fmt: skip
    return {
        "All_Beauty.jsonl.gz": packed(*map(json.dumps, reviews)),
        "meta_All_Beauty.jsonl.gz": packed(*map(json.dumps, items)),
    }


MADE: dict[str, Callable[[], dict[str, bytes]]] = {
    "ml-100k": ml_100k,
    "ml-1m": ml_1m,
    "ml-32m": lambda: _csv_release("ml-32m"),
    "ml-latest-small": lambda: _csv_release("ml-latest-small"),
    "ml-latest": lambda: _csv_release("ml-latest"),
    "gowalla": gowalla,
    "lastfm": lastfm,
    "steam": steam,
    "bookcrossing": bookcrossing,
    "amazon2018/Toys_and_Games": amazon2018,
    "amazon2023/All_Beauty": amazon2023,
}
"""Files of each data set by its name."""
