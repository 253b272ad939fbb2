"""The control plane: indexes are made, described, changed and deleted."""

import pytest
from client import GRPC, SERVERLESS, VERSION, open_index, refused
from pinecone import (
    AwsRegion,
    CloudProvider,
    DeletionProtection,
    Metric,
    PodSpec,
    ServerlessSpec,
    VectorType,
)

pytestmark = pytest.mark.skipif(GRPC, reason="the control plane speaks REST")

DEDICATED = {
    "mode": "Dedicated",
    "dedicated": {
        "node_type": "t1",
        "scaling": "Manual",
        "manual": {"shards": 1, "replicas": 1},
    },
}


def create(pc, name, **settings):
    given = {"name": name, "dimension": 3, "metric": "cosine", "spec": SERVERLESS}
    return pc.create_index(**(given | settings))


def tags_of(pc, name):
    tags = pc.describe_index(name).tags
    return {} if tags is None else tags if isinstance(tags, dict) else tags.to_dict()


def test_an_index_is_what_was_asked_for(pc, name):
    spec = ServerlessSpec(cloud="aws", region="us-west-2")
    made = pc.create_index(name=name, dimension=8, metric="dotproduct", spec=spec)
    for one in (made, pc.describe_index(name), pc.describe_index(name=name)):
        assert (one.name, one.dimension, one.metric) == (name, 8, "dotproduct")
        assert one.vector_type == "dense" and one.deletion_protection == "disabled"
        assert (one.status.ready, one.status.state) == (True, "Ready")
        assert one.host == made.host
        assert one.spec.serverless.cloud == "aws" and one.spec.serverless.region == "us-west-2"
        assert one.spec["serverless"]["cloud"] == "aws"
        assert not one.tags


def test_a_metric_is_cosine_unless_said(pc, name):
    pc.create_index(name=name, dimension=2, spec=SERVERLESS)
    assert pc.describe_index(name).metric == "cosine"


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dotproduct"])
def test_every_metric_is_kept(pc, name, metric):
    assert create(pc, name, metric=metric).metric == metric
    assert pc.describe_index(name).metric == metric


@pytest.mark.parametrize("dimension", [1, 2, 1536, 20_000])
def test_a_dimension_is_kept(pc, name, dimension):
    create(pc, name, dimension=dimension)
    assert pc.describe_index(name).dimension == dimension


def test_words_may_be_enums(pc, name):
    pc.create_index(
        name=name,
        dimension=4,
        metric=Metric.EUCLIDEAN,
        vector_type=VectorType.DENSE,
        deletion_protection=DeletionProtection.DISABLED,
        spec=ServerlessSpec(cloud=CloudProvider.AWS, region=AwsRegion.US_EAST_1),
    )
    found = pc.describe_index(name)
    assert (found.metric, found.vector_type) == ("euclidean", "dense")
    assert found.spec.serverless.region == "us-east-1"


@pytest.mark.parametrize("timeout", [None, 30, -1])
def test_an_index_is_ready_when_it_is_made(pc, name, timeout):
    create(pc, name, timeout=timeout)
    assert pc.describe_index(name).status.ready


def test_a_sparse_index_has_no_dimension(pc, name):
    pc.create_index(name=name, metric="dotproduct", vector_type="sparse", spec=SERVERLESS)
    found = pc.describe_index(name)
    assert (found.vector_type, found.metric, found.dimension) == ("sparse", "dotproduct", None)
    listed = next(one for one in pc.list_indexes() if one.name == name)
    assert listed.dimension is None and listed.vector_type == "sparse"


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.skipif(VERSION == 10, reason="this client sends no metric of a sparse index")
def test_a_sparse_index_is_dotproduct(pc, name, metric):
    with refused(400, "Sparse vector indexes must use the metric dotproduct"):
        pc.create_index(name=name, metric=metric, vector_type="sparse", spec=SERVERLESS)


def test_indexes_are_listed(pc, name):
    create(pc, name)
    listed = pc.list_indexes()
    assert name in listed.names() and name in [one.name for one in listed]
    assert len(listed) == len(listed.names())
    assert next(one for one in listed if one.name == name).dimension == 3
    assert pc.has_index(name) and not pc.has_index("nobody")


def test_an_index_is_gone_when_it_is_deleted(pc, name):
    create(pc, name)
    pc.delete_index(name)
    assert not pc.has_index(name) and name not in pc.list_indexes().names()
    with refused(404):
        pc.describe_index(name)
    with refused(404):
        pc.delete_index(name)


def test_a_new_index_of_an_old_name_is_empty(pc, name):
    create(pc, name, dimension=2)
    open_index(pc, name).upsert(vectors=[("a", [1.0, 1.0])])
    old = pc.describe_index(name).host
    pc.delete_index(name)
    create(pc, name, dimension=3)
    assert pc.describe_index(name).host != old
    assert open_index(pc, name).describe_index_stats().total_vector_count == 0


def test_a_host_never_changes(pc, name):
    host = create(pc, name).host
    pc.configure_index(name, tags={"a": "b"})
    create(pc, name + "-other")
    assert pc.describe_index(name).host == host != pc.describe_index(name + "-other").host


def test_an_index_is_opened_by_its_host(pc, name):
    create(pc, name, dimension=2)
    index = pc.Index(host=pc.describe_index(name).host)
    index.upsert(vectors=[("a", [1.0, 1.0])])
    assert pc.Index(name=name).describe_index_stats().total_vector_count == 1


def test_two_indexes_do_not_mix(pc, name):
    first, second = (
        open_index(pc, create(pc, name + end, dimension=2).name) for end in ("-1", "-2")
    )
    first.upsert(vectors=[("a", [1.0, 1.0])])
    assert not second.fetch(ids=["a"]).vectors
    second.upsert(vectors=[("a", [2.0, 2.0])])
    assert list(first.fetch(ids=["a"]).vectors["a"].values) == [1.0, 1.0]


def test_an_index_that_is_not_there(pc):
    with refused(404):
        pc.describe_index("nobody")
    with refused(404):
        pc.Index("nobody").describe_index_stats()
    with refused(404):
        pc.configure_index("nobody", tags={"a": "b"})


@pytest.mark.parametrize(
    "name",
    ["Upper", "under_score", "-first", "last-", "a" * 46, "with space", "dot.ted", "ümlaut", ""],
)
def test_a_bad_name_is_refused(pc, name):
    with refused(400):
        create(pc, name)


@pytest.mark.parametrize(
    "settings",
    [
        {"dimension": 0},
        {"dimension": -1},
        {"dimension": 20_001},
        {"dimension": None},
        {"metric": "manhattan"},
        {"vector_type": "sparse", "metric": "dotproduct", "dimension": 4},
        {"vector_type": "fuzzy"},
        {"deletion_protection": "perhaps"},
        {"spec": {"serverless": {"cloud": "aws", "region": "No Such Place"}}},
        {"tags": {"a": "b" * 121}},
        {"tags": {"k" * 81: "b"}},
        {"tags": {str(number): "b" for number in range(21)}},
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_settings_are_refused(pc, name, settings):
    caught = None
    try:
        create(pc, name, **settings)
    except Exception as error:  # noqa: BLE001 - each client has classes of its own
        caught = error
    assert caught is not None and not pc.has_index(name)
    status = getattr(caught, "status", None) or getattr(caught, "status_code", None)
    assert status in (None, 400, 422), caught


def test_an_index_that_exists_is_not_made_again(pc, name):
    create(pc, name)
    with refused(409):
        create(pc, name)
    with refused(409):
        create(pc, name, dimension=5)
    assert pc.describe_index(name).dimension == 3


@pytest.mark.parametrize("words", [("enabled", "disabled"), tuple(DeletionProtection)], ids=str)
def test_a_protected_index_is_not_deleted(pc, name, words):
    on, off = sorted(words, key=lambda word: str(getattr(word, "value", word)) != "enabled")
    create(pc, name, deletion_protection=on)
    assert pc.describe_index(name).deletion_protection == "enabled"
    with refused(403, "Deletion protection is enabled for this index"):
        pc.delete_index(name)
    pc.configure_index(name, deletion_protection=off)
    assert pc.describe_index(name).deletion_protection == "disabled"
    pc.configure_index(name, deletion_protection=on)
    with refused(403):
        pc.delete_index(name)
    pc.configure_index(name, deletion_protection=off)
    pc.delete_index(name)
    assert not pc.has_index(name)


def test_tags_are_merged(pc, name):
    create(pc, name, tags={"env": "test", "old": "yes"})
    assert tags_of(pc, name) == {"env": "test", "old": "yes"}
    pc.configure_index(name, tags={"env": "prod", "new": "1"})
    assert tags_of(pc, name) == {"env": "prod", "old": "yes", "new": "1"}
    pc.configure_index(name, tags={"old": ""})
    assert tags_of(pc, name) == {"env": "prod", "new": "1"}
    pc.configure_index(name, deletion_protection="disabled")
    assert tags_of(pc, name) == {"env": "prod", "new": "1"}
    pc.configure_index(name, tags={"env": "", "new": ""})
    assert tags_of(pc, name) == {}


with_capacity = pytest.mark.skipif(VERSION < 8, reason="this client knows no read capacity")


def capacity_of(pc, name):
    found = pc.describe_index(name)
    return found.spec.serverless.read_capacity if VERSION < 10 else found.read_capacity


def mode_of(pc, name):
    found = capacity_of(pc, name)
    # Version 10 says the mode by the class.
    return field(found, "mode") if VERSION < 10 else type(found).__name__[12:-8]


def field(value, *names):
    for name in names:
        value = value[name] if isinstance(value, dict) else getattr(value, name)
    return value


@with_capacity
def test_read_capacity_is_on_demand_unless_said(pc, name):
    create(pc, name)
    assert mode_of(pc, name) == "OnDemand"


@with_capacity
def test_read_capacity_is_kept(pc, name):
    spec = {"serverless": {"cloud": "aws", "region": "us-east-1", "read_capacity": DEDICATED}}
    create(pc, name, spec=spec)
    found = capacity_of(pc, name)
    assert mode_of(pc, name) == "Dedicated"
    assert field(found, "dedicated", "node_type") == "t1"
    assert field(found, "dedicated", "manual", "replicas") == 1
    index = open_index(pc, name)
    index.upsert(vectors=[("a", [1.0, 2.0, 3.0])])
    assert index.query(vector=[1.0, 2.0, 3.0], top_k=1).matches[0].id == "a"


@with_capacity
def test_read_capacity_is_changed(pc, name):
    create(pc, name)
    pc.configure_index(name, read_capacity=DEDICATED)
    found = capacity_of(pc, name)
    assert mode_of(pc, name) == "Dedicated"
    assert field(found, "dedicated", "scaling") == "Manual"
    assert field(found, "dedicated", "manual", "shards") == 1
    assert field(found, "status", "state") in ("Ready", "Scaling", "Migrating")
    pc.configure_index(name, read_capacity={"mode": "OnDemand"})
    assert mode_of(pc, name) == "OnDemand"


@with_capacity
def test_a_schema_of_metadata_is_kept(pc, name):
    fields = {"genre": {"filterable": True}}
    if VERSION == 10:
        pytest.skip("this client says a schema otherwise")
    schema = {"fields": fields}
    spec = {"serverless": {"cloud": "aws", "region": "us-east-1", "schema": schema}}
    create(pc, name, spec=spec)
    kept = pc.describe_index(name).spec.serverless.schema
    assert kept


def test_a_pod_index_is_made_and_changed(pc, name):
    spec = PodSpec(environment="us-east1-gcp", pod_type="p1.x1", replicas=1)
    pc.create_index(name=name, dimension=2, metric="euclidean", spec=spec, tags={"a": "b"})
    found = pc.describe_index(name)
    assert found.spec.pod.environment == "us-east1-gcp" and found.spec.pod.pod_type == "p1.x1"
    assert (found.spec.pod.replicas, found.metric, found.status.state) == (1, "euclidean", "Ready")
    pc.configure_index(name, replicas=2)
    assert pc.describe_index(name).spec.pod.replicas == 2
    pc.configure_index(name, replicas=1, pod_type="p1.x2")
    found = pc.describe_index(name).spec.pod
    assert (found.replicas, found.pod_type) == (1, "p1.x2")
    assert tags_of(pc, name) == {"a": "b"}
    index = open_index(pc, name)
    index.upsert(vectors=[("a", [1.0, 1.0])])
    assert index.query(vector=[1.0, 1.0], top_k=1).matches[0].score == 0
    pc.delete_index(name)
    assert not pc.has_index(name)


def test_replicas_are_no_matter_of_serverless_indexes(pc, name):
    create(pc, name)
    with refused(400, "Configuring replicas and pod type is not supported for serverless"):
        pc.configure_index(name, replicas=2)


def test_a_pod_type_keeps_its_kind(pc, name):
    spec = PodSpec(environment="us-east1-gcp", pod_type="p1.x1")
    pc.create_index(name=name, dimension=2, spec=spec)
    with refused(400, "Cannot change pod type"):
        pc.configure_index(name, pod_type="s1.x1")


def test_what_is_not_there_says_so(pc, name):
    create(pc, name)
    with refused(400, "not there yet"):
        pc.create_backup(index_name=name, backup_name="kept")
    with refused(400, "no embedding models"):
        pc.create_index_for_model(
            name=name + "-model",
            cloud="aws",
            region="us-east-1",
            embed={"model": "multilingual-e5-large", "field_map": {"text": "text"}},
        )
    index = pc.Index(name)
    with refused(400, "not there yet"):
        index.start_import(uri="s3://bucket/folder")
    with refused(400, "no embedding models"):
        index.upsert_records(namespace="a", records=[{"_id": "1", "text": "words"}])
