"""What of the cost benchmark measures nothing: its arithmetic, tables and chart, and what its stand-in counts."""

from __future__ import annotations

import ast
import json
import re
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

# At the end: the package that is tested is the installed one, not what lies beside the benchmarks.
sys.path.append(str(Path(__file__).parents[1]))

from benchmarks.cost import measures
from benchmarks.cost.cells import Cell, Process, Sample
from benchmarks.cost.chart import Bars, chart, drawing
from benchmarks.cost.contestants import ALL, BARE, JUNIT, OURS, OURS_FAR, QASE
from benchmarks.cost.figures import cost, ends, plain, step
from benchmarks.cost.forms import full, quick
from benchmarks.cost.markdown import table, told
from benchmarks.cost.measures import Results
from benchmarks.cost.stand_in import Counts, Handler, Server
from benchmarks.cost.suites import START, Suite
from benchmarks.cost.tables import document

PROJECT = "/api/v1/reporter/v1/projects/DEMO"
SMALL, LARGE = Cell(Suite(100)), Cell(Suite(300))


def sample(wall: float, cpu: float = 0.0, memory: float = 0.0, **seen: int) -> Sample:
    return Sample(wall, cpu, Process(cpu, memory), (Process(cpu, memory), Process(cpu, memory)), seen)


@pytest.fixture
def results() -> Results:
    """Three rounds of two contestants; in the last one the machine was three times as slow."""
    found = Results(BARE.name)
    for round_, (base, slowness) in enumerate([(1.0, 1), (1.1, 1), (3.0, 3)]):
        found.add(BARE.name, SMALL, round_, sample(base))
        found.add(BARE.name, LARGE, round_, sample(base + 0.2 * slowness))
        found.add(OURS.name, SMALL, round_, sample(base * 1.5, requests=5, connections=1))
        found.add(OURS.name, LARGE, round_, sample(base * 1.5 + 0.3 * slowness, requests=6, connections=1))
    return found


def test_medians_and_ratios_are_taken_within_rounds(results: Results) -> None:
    assert results.middle(BARE.name, SMALL, measures.wall) == 1.1
    assert results.ratio(OURS.name, SMALL, measures.wall) == pytest.approx(1.5)
    assert results.ratio(BARE.name, SMALL, measures.wall) == 1
    assert results.excess(OURS.name, SMALL, measures.wall) == pytest.approx(0.55)


def test_a_slope_has_no_start_up_in_it(results: Results) -> None:
    assert results.slope(BARE.name, SMALL, LARGE, measures.wall) == pytest.approx(0.001)
    assert results.excess_slopes(OURS.name, SMALL, LARGE, measures.wall) == pytest.approx(
        {0: 0.0005, 1: 0.0005, 2: 0.0015}
    )
    assert results.excess_slope(OURS.name, SMALL, LARGE, measures.wall) == pytest.approx(0.0005)


def test_a_round_without_its_base_does_not_count(results: Results) -> None:
    results.add(OURS.name, SMALL, 7, sample(1000))

    assert results.ratio(OURS.name, SMALL, measures.wall) == pytest.approx(1.5)


def test_costs_are_compared_with_those_of_another(results: Results) -> None:
    for round_, seconds in enumerate([0.0, 0.0, 0.0]):
        results.add(JUNIT.name, SMALL, round_, sample(seconds))
        results.add(JUNIT.name, LARGE, round_, sample(seconds + 0.4))

    assert results.cost_ratio(OURS.name, JUNIT.name, SMALL, LARGE, measures.wall) == pytest.approx(0.5)
    assert results.cost_ratio(OURS.name, BARE.name, SMALL, LARGE, measures.wall) is None
    assert results.cost_ratio(OURS_FAR.name, JUNIT.name, SMALL, LARGE, measures.wall) is None


def test_a_step_costs_what_a_test_with_steps_costs_beyond_one_without(results: Results) -> None:
    for round_ in range(3):
        results.add(OURS.name, Cell(Suite(10, steps=5)), round_, sample(1))
        results.add(OURS.name, Cell(Suite(110, steps=5)), round_, sample(1 + 100 * (0.0015 + 5 * 0.001)))

    assert step(results, OURS.name, 0, measures.wall) == pytest.approx(0.001)
    assert step(results, OURS.name, 2, measures.wall) is None


def test_what_was_not_measured_has_no_number(results: Results) -> None:
    assert results.middle(QASE.name, SMALL, measures.wall) is None
    assert results.ratio(QASE.name, SMALL, measures.wall) is None
    assert results.excess_slope(QASE.name, SMALL, LARGE, measures.wall) is None
    assert cost(results, QASE.name, 0, measures.wall) is None


def test_slopes_leave_the_session_of_one_test_out_where_they_can(results: Results) -> None:
    for name in (BARE.name, OURS.name, QASE.name):
        results.add(name, Cell(START), 0, sample(1))
    results.add(QASE.name, SMALL, 0, sample(2))

    assert plain(results, OURS.name, 0) == [Cell(START), SMALL, LARGE]
    assert ends(results, OURS.name, 0) == (SMALL, LARGE)
    assert ends(results, QASE.name, 0) == (Cell(START), SMALL)
    assert ends(results, QASE.name, 2) is None


def test_workers_and_controllers_are_told_apart() -> None:
    workers = (Process(1, 50), Process(3, 70))
    found = Sample(1, 2, Process(0.5, 90, 0.25), workers)

    assert (measures.controller_cpu(found), measures.worker_cpu(found)) == (0.5, 2)
    assert (measures.controller_memory(found), measures.worker_memory(found)) == (90, 70)
    assert measures.ending(found) == 0.25


def test_what_is_left_when_the_last_test_ends_is_told_beyond_bare(results: Results) -> None:
    for name, seconds in ((BARE.name, 0.25), (OURS.name, 0.375), (OURS_FAR.name, 0.5)):
        results.add(name, LARGE, 0, Sample(1, 1, Process(1, 1, seconds)))
        results.add(name, SMALL, 0, Sample(1, 1, Process(1, 1, 0.25)))
    page = document(results, ["here"])

    assert "| what 100 ms away adds from the last test to the end, ms | 2 round trips | 125 |" in page
    assert "| famacase-xdist, 100 ms away | 0 | 250 |" in page


def test_a_failed_contestant_is_named(results: Results) -> None:
    results.add(QASE.name, SMALL, 0, sample(9))
    results.fail(QASE.name, SMALL, "exit status 3: ...\nINTERNALERROR `x`")
    page = document(results, ["here"])

    assert results.middle(QASE.name, SMALL, measures.wall) is None
    assert re.search(r"^\| qase-pytest \| failed \|", page, re.M)
    assert "- qase-pytest, 100 tests, one process: `exit status 3: ... INTERNALERROR 'x'`" in page


def test_every_table_is_whole(results: Results) -> None:
    page = document(results, ["here"])

    assert "| famacase-xdist | 500 / 0 (100 to 300, 3 rounds) |" in page
    assert "| famacase-xdist | 1.65 (1.50) | 1.95 (1.50) |" in page
    for block in re.findall(r"(?:^\|.*\n)+", page, re.M):
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_a_page_of_nothing_is_a_page() -> None:
    assert "Not measured in this form." in document(Results(BARE.name), [])


def test_markdown() -> None:
    assert table([["", "a|b"], ["x", "1"]]) == ["|  | a\\|b |", "| --- | ---: |", "| x | 1 |"]
    assert (told(None), told(1234.5), told(0.0015, ".1f", 1000)) == ("-", "1,234", "1.5")


def test_the_chart_is_well_formed_and_labelled(results: Results) -> None:
    root = ElementTree.fromstring(chart(results))
    texts = ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]

    assert {each.name for each in ALL} - {BARE.name} <= set(texts)
    assert {"500", "not measured", "one process", "-n 2"} <= set(texts)


def test_bars_stay_inside_the_chart() -> None:
    drawn = drawing("a < b & c", ["one"], [Bars("<x>", (-5.0,)), Bars("y", (12_345.6,)), Bars("z", (None,))])
    root = ElementTree.fromstring(drawn)
    width = float(root.attrib["viewBox"].split()[2])
    bars = [each for each in root.iter("{http://www.w3.org/2000/svg}rect") if float(each.attrib.get("y", 0)) > 50]

    assert len(bars) == 3
    assert all(float(bar.attrib["x"]) + float(bar.attrib["width"]) < width for bar in bars)
    assert all(float(bar.attrib["width"]) >= 0 for bar in bars)


@pytest.mark.parametrize("form", [quick(), full(5), full(1)], ids=["quick", "full", "full, one round"])
def test_whoever_is_measured_has_a_base_to_be_compared_with(form: object) -> None:
    blocks = form.blocks  # type: ignore[attr-defined]
    bases = {block.cell: block.rounds for block in blocks if BARE in block.contestants}

    assert len({(block.cell, each.name) for block in blocks for each in block.contestants}) == sum(
        len(block.contestants) for block in blocks
    )
    for block in blocks:
        assert block.cell.suite.steps or block.rounds <= bases[block.cell]


@pytest.mark.parametrize("dialect", ["bare", "allure", "qase", "famacase"])
@pytest.mark.parametrize("suite", [START, Suite(101), Suite(250, 0.01, 5, 1000)], ids=str)
def test_a_suite_has_as_many_tests_as_it_says(suite: Suite, dialect: str, tmp_path: Path) -> None:
    count = 0
    for path in suite.write(tmp_path, dialect).glob("test_*.py"):
        text = path.read_text()
        ast.parse(text)
        ranges = re.findall(r"range\((\d+), (\d+)\)", text)
        count += len(re.findall(r"^def test_\d", text, re.M)) + sum(int(last) - int(first) for first, last in ranges)

    assert count == suite.tests


@pytest.fixture
def stand_in() -> Iterator[str]:
    """Serve the stand-in from a thread; give its address."""
    Handler.counts = Counts()
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def call(url: str, body: bytes | None = None) -> dict[str, object]:
    with urllib.request.urlopen(url, body) as answer:
        found: dict[str, object] = json.load(answer)
    return found


@pytest.mark.parametrize(
    ("results_path", "complete_path", "attachments_path", "key"),
    [
        (f"{PROJECT}/runs/1/results", f"{PROJECT}/runs/1/complete", f"{PROJECT}/attachments", "attachments"),
        ("/v2/DEMO/run/1/results", "/v1/run/DEMO/1/complete", "/v1/attachment/DEMO", "result"),
    ],
    ids=["famacase", "qase"],
)
def test_the_stand_in_counts(
    stand_in: str, results_path: str, complete_path: str, attachments_path: str, key: str
) -> None:
    call(f"{stand_in}/reset", b'{"delay": 0}')
    body = json.dumps({"results": [{"id": "a"}, {"id": "b"}]}).encode()
    call(stand_in + results_path, body)
    call(stand_in + results_path, body)
    uploaded = call(stand_in + attachments_path, b'; filename="one.txt"\r\n...; filename="two.txt"\r\n')
    call(stand_in + complete_path, b"")

    assert len(uploaded[key]) == 2  # type: ignore[arg-type]
    expected = {"requests": 4, "connections": 4, "results": 2, "attachments": 2, "completed": 1, "unknown": 0}
    assert call(f"{stand_in}/seen") == expected
    call(f"{stand_in}/reset", b'{"delay": 0}')
    assert not any(call(f"{stand_in}/seen").values())


def test_a_session_that_did_not_report_all_is_seen() -> None:
    whole = {"results": 3, "attachments": 0, "completed": 1, "unknown": 0}

    assert OURS.reported(Path(), whole) == OURS.expected(Suite(3)) == (3, 0)
    assert OURS.reported(Path(), {**whole, "completed": 0}) != OURS.expected(Suite(3))
    assert OURS.reported(Path(), {**whole, "unknown": 1}) != OURS.expected(Suite(3))
    assert OURS.expected(Suite(3, attached=10)) == (3, 3)
    assert JUNIT.expected(Suite(3, attached=10)) == (3, 0)
    assert BARE.reported(Path(), {}) is None
