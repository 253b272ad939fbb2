"""What a spare does ahead of time is what a wake does."""

import pytest

from kernels.numpy_backend import NumpyBackend
from torpor.internal.v1 import frames_pb2 as frames
from torpor.internal.v1 import twin_pb2 as twin
from worker.backends import choose_backend
from worker.rehearsal import Rehearsal, WideScan


@pytest.mark.parametrize("threads", [1, 2])
def test_a_rehearsal_opens_an_index_and_answers_all_ways_of_asking(threads: int) -> None:
    backend = choose_backend(threads)
    rehearsal = Rehearsal()
    for _ in range(2):
        (_, ready), *answers = rehearsal.play(backend)
        assert frames.Ready.FromString(ready).outcome == frames.OUTCOME_OK
        near, exact, filtered = (frames.Done.FromString(body) for _, body in answers)
        assert [done.outcome for done in (near, exact, filtered)] == 3 * [frames.OUTCOME_OK]
        assert (near.exact, exact.exact) == (False, True)
        found = [ids(done) for done in (near, exact, filtered)]
        assert [len(one) for one in found] == [10, 10, 10]
        assert found[1][0] == b"0" and all(int(one) % 2 == 0 for one in found[2])
    backend.close()


def test_a_wide_scan_is_answered_from_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = choose_backend(2)

    def refuse(*_: object) -> None:
        raise AssertionError("the codes could not tell the rows apart")

    monkeypatch.setattr(NumpyBackend, "survivors", refuse)
    WideScan(2).play(backend)
    backend.close()


def ids(done: frames.Done) -> list[bytes]:
    return [match.id for match in twin.QueryResponseTwin.FromString(done.response).matches]
