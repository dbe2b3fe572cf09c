"""The table of verdicts, and dvc.lock against itself."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.pipeline.recorded import Input, Output, Record
from headstart.runs.verdict import FileVerdict, Kind, Verdict, contradictions, overall

EXACT, NUMERICAL, METRIC, DIFFERENT = Verdict
KINDS = st.sampled_from([EXACT, NUMERICAL, DIFFERENT])
FILES = st.lists(st.tuples(st.sampled_from([Kind.OUTPUT, Kind.METRIC, Kind.INPUT]), KINDS))


def entry(kind: Kind, verdict: Verdict) -> FileVerdict:
    return FileVerdict("path", "stage", kind, verdict)


@pytest.mark.parametrize(
    ("outputs", "metrics", "verdict"),
    [
        ([EXACT, EXACT], [EXACT], EXACT),
        ([EXACT, NUMERICAL], [EXACT], NUMERICAL),
        ([EXACT], [NUMERICAL], NUMERICAL),
        ([DIFFERENT, EXACT], [EXACT], METRIC),
        ([DIFFERENT, NUMERICAL], [EXACT, NUMERICAL], METRIC),
        ([EXACT], [EXACT, DIFFERENT], DIFFERENT),
        ([DIFFERENT], [], DIFFERENT),
        ([], [], DIFFERENT),
    ],
)
def test_the_verdict_in_all(
    outputs: list[Verdict], metrics: list[Verdict], verdict: Verdict
) -> None:
    found = [entry(Kind.OUTPUT, each) for each in outputs]
    found += [entry(Kind.METRIC, each) for each in metrics]
    assert overall(found) is verdict


@given(FILES, FILES)
def test_another_file_never_makes_it_better(
    some: list[tuple[Kind, Verdict]], more: list[tuple[Kind, Verdict]]
) -> None:
    few = [entry(*each) for each in some]
    many = few + [entry(*each) for each in more]
    # Metrics are what "metric-equal" rests on: without any, there is nothing to say of them.
    if few and (any(e.kind is Kind.METRIC for e in few) or overall(few) is not DIFFERENT):
        assert overall(few).reaches(overall(many))


@given(FILES)
def test_a_record_that_contradicts_itself_proves_nothing(some: list[tuple[Kind, Verdict]]) -> None:
    assert overall([*(entry(*e) for e in some), entry(Kind.RECORD, DIFFERENT)]) is DIFFERENT


def test_what_reaches_what() -> None:
    order = [EXACT, NUMERICAL, METRIC, DIFFERENT]
    for (i, got), (j, wanted) in itertools.product(enumerate(order), repeat=2):
        assert got.reaches(wanted) == (i <= j)


def test_a_lock_that_contradicts_itself() -> None:
    def records(read: str) -> dict[str, Record]:
        outs = (Output("a.csv", "1" * 32, None, cached=True, metric=False),)
        return {
            "first": Record("first", ("make",), {}, {}, outs),
            "second": Record("second", ("use",), {}, {"a.csv": Input(read, None)}, ()),
            "third": Record("third", ("use",), {}, {"a.csv": Input(read, None)}, ()),
        }

    assert contradictions(records("1" * 32)) == []
    (found,) = contradictions(records("2" * 32))
    assert (found.path, found.stage, found.kind) == ("a.csv", "first", Kind.RECORD)
    assert "first wrote this, second read the other" in found.why
