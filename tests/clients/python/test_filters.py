"""Filters mean what the client's documentation says, and nothing else is taken for one."""

import pytest
from client import GRPC, VERSION, refused

FILMS = {
    "alien": {"genre": "horror", "year": 1979, "seen": True, "tags": ["space", "cult"]},
    "brazil": {"genre": "comedy", "year": 1985, "seen": False, "tags": ["cult"]},
    "casablanca": {"genre": "drama", "year": 1942, "seen": True},
    "dune": {"genre": "drama", "year": 2021, "rating": 8.5, "tags": []},
    "eraserhead": {"year": "1977"},
}
EVERY = set(FILMS)


@pytest.fixture(scope="module")
def films(index):
    index.upsert(
        vectors=[(name, [1.0, 1.0], metadata) for name, metadata in FILMS.items()],
        namespace="films",
    )
    return index


CASES = [
    ({"genre": "drama"}, {"casablanca", "dune"}),
    ({"genre": {"$eq": "drama"}}, {"casablanca", "dune"}),
    ({"genre": {"$ne": "drama"}}, EVERY - {"casablanca", "dune"}),
    ({"year": 1979}, {"alien"}),
    ({"year": {"$eq": 1979.0}}, {"alien"}),
    ({"year": "1977"}, {"eraserhead"}),
    ({"year": 1977}, set()),
    ({"year": {"$gt": 1979}}, {"brazil", "dune"}),
    ({"year": {"$gte": 1979}}, {"alien", "brazil", "dune"}),
    ({"year": {"$lt": 1979}}, {"casablanca"}),
    ({"year": {"$lte": 1979}}, {"alien", "casablanca"}),
    ({"year": {"$gte": 1950, "$lt": 2000}}, {"alien", "brazil"}),
    ({"rating": {"$gt": 8.4}}, {"dune"}),
    ({"seen": True}, {"alien", "casablanca"}),
    ({"seen": {"$eq": False}}, {"brazil"}),
    ({"seen": {"$ne": True}}, {"brazil", "dune", "eraserhead"}),
    ({"genre": {"$in": ["horror", "comedy"]}}, {"alien", "brazil"}),
    ({"genre": {"$in": ["nothing"]}}, set()),
    ({"year": {"$in": [1942, 2021, "1977"]}}, {"casablanca", "dune", "eraserhead"}),
    ({"genre": {"$nin": ["horror", "comedy"]}}, {"casablanca", "dune", "eraserhead"}),
    ({"tags": "cult"}, {"alien", "brazil"}),
    ({"tags": {"$eq": "space"}}, {"alien"}),
    ({"tags": {"$ne": "cult"}}, {"casablanca", "dune", "eraserhead"}),
    ({"tags": {"$in": ["space", "other"]}}, {"alien"}),
    ({"tags": {"$nin": ["space"]}}, EVERY - {"alien"}),
    ({"genre": {"$exists": True}}, EVERY - {"eraserhead"}),
    ({"genre": {"$exists": False}}, {"eraserhead"}),
    ({"genre": "drama", "seen": True}, {"casablanca"}),
    ({"$and": [{"genre": "drama"}, {"year": {"$gt": 2000}}]}, {"dune"}),
    ({"$or": [{"genre": "horror"}, {"year": 1942}]}, {"alien", "casablanca"}),
    (
        {"$and": [{"seen": True}, {"$or": [{"genre": "horror"}, {"genre": "comedy"}]}]},
        {"alien"},
    ),
    (
        {"$or": [{"$and": [{"genre": "drama"}, {"seen": True}]}, {"tags": "space"}]},
        {"alien", "casablanca"},
    ),
    ({"missing": "anything"}, set()),
    ({"missing": {"$ne": "anything"}}, EVERY),
]


@pytest.mark.parametrize(("condition", "expected"), CASES, ids=lambda value: str(value)[:50])
def test_a_filter_selects(films, condition, expected):
    answer = films.query(vector=[1.0, 1.0], top_k=10, namespace="films", filter=condition)
    assert {match.id for match in answer.matches} == expected


@pytest.mark.skipif(
    VERSION == 7 or (VERSION == 9 and GRPC), reason="this client has no fetch_by_metadata"
)
@pytest.mark.parametrize(("condition", "expected"), CASES[::3], ids=lambda value: str(value)[:50])
def test_a_filter_fetches(films, condition, expected):
    answer = films.fetch_by_metadata(filter=condition, namespace="films")
    assert set(answer.vectors) == expected and answer.namespace == "films"
    assert all(found.metadata == FILMS[name] for name, found in answer.vectors.items())


@pytest.mark.parametrize(
    "condition",
    [
        {"genre": {"$like": "d"}},
        {"$not": {"genre": "drama"}},
        {"genre": {"$gt": "drama"}},
        {"seen": {"$lt": True}},
        {"genre": {"$in": "drama"}},
        {"genre": {"$in": [["drama"]]}},
        {"genre": {"$nin": 5}},
        {"genre": {"$exists": "yes"}},
        {"$and": {"genre": "drama"}},
        {"$or": "drama"},
        {"genre": None},
        {"genre": {"$eq": {"nested": 1}}},
    ],
    ids=str,
)
def test_what_is_no_filter_is_refused(films, condition):
    with refused(400):
        films.query(vector=[1.0, 1.0], top_k=10, namespace="films", filter=condition)
