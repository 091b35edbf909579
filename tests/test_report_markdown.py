from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from comparisons import (
    hostile,
    large,
    make_comparison,
    make_metric,
    make_session,
    make_unjudged,
)
from comparisons import one_of_everything as everything
from sweep_values import grid, make_sweep, twelve
from swept import hostile_sweeps, many, ordinary

from pytest_mlflow_experiments.regression import Status
from pytest_mlflow_experiments.regression.comparison import Acceptance, Comparison
from pytest_mlflow_experiments.report.headline import GATE_FAILED
from pytest_mlflow_experiments.report.links import Links
from pytest_mlflow_experiments.report.markdown import (
    marker,
    render_comment,
    render_markdown,
    render_short,
)
from pytest_mlflow_experiments.report.sweep_markdown import render_sweep
from pytest_mlflow_experiments.report.text import block, code, inline_text

# Mentions and references count outside of code only; an escaped backtick starts none.
_FENCE = re.compile(r"^(`{3,})text\n.*?^\1$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)|<code>.*?</code>")


def outside_code(text: str) -> str:
    return _CODE.sub("", re.sub(r"\\.", "", _FENCE.sub("", text)))


def rows(text: str) -> list[list[str]]:
    """Return the cells of every row of a table; a backslash takes a bar's meaning away."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_what_got_worse_comes_first_and_the_rest_is_folded() -> None:
    text = render_markdown(everything())
    head, table, rest = text.partition("<details>")[0], rows(text), text.partition("<details>")[2]
    assert head.startswith("### ❌ Gate failed: 3 metrics regressed, 1 missing")
    assert "+11.4&nbsp;%" in head
    assert [row[0] for row in table if "&nbsp;" in row[0]] == [
        *("✕&nbsp;3&nbsp;regressed", "○&nbsp;1&nbsp;missing"),
        *("~&nbsp;1&nbsp;drifting", "✓&nbsp;1&nbsp;accepted", "▲&nbsp;1&nbsp;improved"),
    ]
    assert "duration_seconds" not in head
    assert "duration_seconds" in rest
    assert "Compared with the last 5 passing sessions on main (branch:main); the newest is" in rest
    assert "0.012 above the assertion's 0.9 (was 0.031)" in rest


def test_a_line_has_room_in_800_pixels() -> None:
    name = "test_" + "long" * 40
    metric = make_metric("regressed", case=f"t.py::{name}[{'x' * 90}]", metric="m" * 80)
    text = render_markdown(make_comparison(metric))
    (_, _, (case, name_of_metric, values, change)) = rows(text)
    assert (len(case), len(name_of_metric)) == (42, 22)
    assert (values, change) == ("0.9314&nbsp;→&nbsp;0.912", "-2.1&nbsp;%")
    assert "m" * 80 in text.partition("<details>")[2]


@pytest.mark.parametrize(
    ("comparison", "headline"),
    [
        (make_comparison(make_metric()), "✅ Gate passed: nothing got worse"),
        (make_comparison(make_metric(), gated=False), "✅ Nothing got worse"),
        (
            make_comparison(make_metric(), make_metric("new"), make_metric("inconclusive")),
            "✅ Gate passed: nothing got worse, 2 undecided",
        ),
        (
            make_comparison(make_metric(), make_metric("drifting"), make_metric("new")),
            "⚠️ Gate passed: nothing got worse, 1 metric is drifting, 1 undecided",
        ),
        (
            make_comparison(make_metric("drifting", gates=True), make_metric("regressed")),
            "❌ Gate failed: 1 metric regressed, 1 drifting",
        ),
        (
            make_comparison(make_metric("accepted")),
            "✅ Gate passed: 1 metric is accepted, nothing else got worse",
        ),
        (make_comparison(make_metric("new")), "⚪ Gate passed: no metric could be judged yet"),
        (
            make_comparison(make_metric("regressed", gates=False)),
            "✅ Gate passed: nothing that gates got worse",
        ),
        (make_comparison(make_metric("regressed"), gated=False), "⚠️ 1 metric regressed"),
        (
            make_comparison(baseline=None),
            "⚠️ Gate passed (first run); the next runs compare with this one",
        ),
        (make_comparison(), "⚪ Gate passed: there is no metric to compare"),
        (make_comparison(problem="x"), "❌ Gate failed: the comparison could not be made"),
        (make_comparison(problem="x", gated=False), "⚠️ The comparison could not be made"),
        (
            make_comparison(make_metric(), unjudged=(make_unjudged("failed", "t.py::t"),)),
            "⚠️ Gate passed: nothing got worse; 1 failed case has no verdict",
        ),
        (
            make_comparison(make_metric(), unjudged=(make_unjudged("skipped", "t.py::t"),)),
            "✅ Gate passed: nothing got worse",
        ),
    ],
)
def test_headline(comparison: Comparison, headline: str) -> None:
    assert render_markdown(comparison).splitlines()[0] == f"### {headline}"


def test_all_rows_of_a_table_have_its_cells() -> None:
    for comparison in (everything(), hostile(), ordinary(), hostile_sweeps()):
        text = render_markdown(comparison)
        for table in re.split(r"\n\n", text):
            assert len({len(row) for row in rows(table)}) <= 1


def test_nothing_notifies_and_nothing_is_markup() -> None:
    texts = [render_markdown(hostile()), render_short(hostile()), render_markdown(hostile_sweeps())]
    for text in (*texts, *map(render_sweep, hostile_sweeps().sweeps)):
        plain = outside_code(text).replace(GATE_FAILED, "")
        assert not re.search(r"@|#\d|GH-\d|://|www\.", plain)
        assert set(re.findall(r"<[^>]*>", plain)) <= {
            "<details>",
            "</details>",
            "<summary>",
            "</summary>",
        }
        assert plain.count("<details>") == plain.count("</details>")


@pytest.mark.parametrize("limit", [1_000, 1_500, 4_000, 10_000, 60_000, 1_000_000])
@pytest.mark.parametrize(
    "make", [everything, hostile, lambda: large(100), ordinary, many, hostile_sweeps]
)
def test_length_has_a_limit_and_what_was_left_out_is_told(
    make: Callable[[], Comparison], limit: int
) -> None:
    comparison = make()
    text = render_markdown(comparison, limit=limit)
    assert len(text.encode()) <= limit
    plain = outside_code(text)
    assert plain.count("<details>") == plain.count("</details>")
    whole = render_markdown(comparison, limit=10_000_000)
    assert "…" in plain or text == whole
    # A row is there or not: none is cut.
    assert {line for line in text.splitlines() if line.startswith("|")} <= set(whole.splitlines())


def test_what_was_left_out_is_counted() -> None:
    comparison = make_comparison(*(make_metric("regressed", metric=f"m{n}") for n in range(500)))
    text = render_markdown(comparison, limit=10_000)
    first, rest = text.split("<summary>470 more regressed</summary>")
    assert len(rows(first)) - 2 == 30
    shown = len(rows(rest)) - 2
    assert 10 < shown < 470
    assert f"\n\n… and {470 - shown} more\n" in rest


def test_many_regressions_leave_room_for_failures() -> None:
    comparison = replace(
        make_comparison(*(make_metric("regressed", metric=f"m{n}") for n in range(5_000))),
        unjudged=(make_unjudged("failed", "t.py::test_x", "E   assert 17 == 18"),),
    )
    assert "E   assert 17 == 18" in render_markdown(comparison)


def test_a_sweep_has_its_answer_and_its_first_points() -> None:
    text = render_markdown(make_comparison(sweeps=(twelve(),)))
    best = twelve().configurations[0]
    _, _, section = text.partition("#### Sweep `test_digits`: 12 points ")
    params = f"`C = {best.params['C']}, kernel = {best.params['kernel']}`"
    assert f"`accuracy` (max) is best with {params}: **0.9" in section
    table = rows(section)
    assert table[2][:3] == ["1", params, table[2][2]]
    assert table[2][5] == "best"
    assert all(re.match("within noise, p = |worse, p ", row[5]) for row in table[3:])
    assert len(table) == 2 + 5
    assert "… and 7 more" in section


def test_no_more_than_five_sweeps_are_told_of_and_no_single_point() -> None:
    text = render_markdown(many())
    assert text.count("#### Sweep") == 5
    assert "… and 36 more sweeps" in text
    single = make_sweep(grid(k=[1]), lambda params, dice: 0.5)
    assert "Sweep" not in render_markdown(make_comparison(sweeps=(single,)))


@pytest.mark.parametrize("make", [ordinary, many, hostile_sweeps])
def test_the_description_of_a_sweep_s_run_is_short(make: Callable[[], Comparison]) -> None:
    for sweep in make().sweeps:
        assert len(render_sweep(sweep).encode()) <= 6_000


def test_advisory_rows_and_accepted_ones_keep_what_is_special() -> None:
    cost = make_metric("regressed", advisory=True, gates=False, metric="cpu_seconds")
    step = Acceptance(id="x", reason="half the size")
    new = make_metric("new", accepted=step, reason="any value passes now")
    text = render_markdown(make_comparison(cost, new))
    assert "| `cpu_seconds` | 0.9314&nbsp;→&nbsp;0.912 | ✕&nbsp;-2.1&nbsp;% |" in text
    assert "any value passes now" in text


@pytest.mark.parametrize(
    ("status", "title"), [("new", "3 new"), ("inconclusive", "3 that could not be judged")]
)
def test_undecided_rows_are_folded(status: Status, title: str) -> None:
    metrics = [make_metric(status, metric=f"m{n}", values=(0.123,)) for n in range(3)]
    head, _, rest = render_markdown(make_comparison(*metrics)).partition(f"<summary>{title}<")
    assert "`m2`" not in head
    assert "`m2`" in rest
    assert "0.123" in rest


SERVED = replace(
    everything(), session=make_session("x", tracking_uri="https://ml.example", experiment_id="7")
)
FILTER = (
    "tags.%60pytest.session_id%60%20%3D%20%27{}%27%20and%20"
    "tags.%60pytest.case%60%20%3D%20%27tests%2Ftest_model.py%3A%3Atest_forest%5B100%5D%27"
)


@pytest.mark.parametrize(
    ("environ", "base", "query"),
    [
        ({}, "https://ml.example", ""),
        ({"MLFLOW_UI_URI": "https://ui.example/ml/"}, "https://ui.example/ml", ""),
        ({"MLFLOW_WORKSPACE": "team a"}, "https://ml.example", "workspace=team{}a"),
        ({"MLFLOW_WORKSPACE": "default"}, "https://ml.example", ""),
        ({"MLFLOW_UI_URI": "http://ui/?workspace=b"}, "http://ui", "workspace=b"),
        ({"MLFLOW_UI_URI": "http://ui/#/?workspace=b"}, "http://ui", "workspace=b"),
        ({"MLFLOW_UI_URI": "https://me:secret@ui"}, "https://ui", ""),
    ],
)
def test_links_lead_to_mlflow(environ: dict[str, str], base: str, query: str) -> None:
    session = replace(SERVED.session, run_id="abc")
    links = Links.of(session, environ=environ)
    page = f"{base}/#/experiments/7/runs"
    rest = query.format("+")
    kind = "workflowType=machine_learning"
    assert links.session() == f"{page}/abc?{kind}{f'&{rest}' if rest else ''}"
    more = query.format("%20")
    where = FILTER.format(session.session_id)
    flat = "orderByKey=metrics.%60duration_seconds%60&orderByAsc=false"
    case = f"{page}?searchFilter={where}&{flat}&{kind}{f'&{more}' if more else ''}"
    assert links.case("tests/test_model.py::test_forest[100]") == case
    text = render_markdown(replace(SERVED, session=session), links=links)
    assert f"[session in MLflow]({links.session()})" in text
    assert f"[`test_forest[100]`]({case})" in text
    assert "secret" not in text


@pytest.mark.parametrize("uri", ["", "databricks", "postgresql://db/x", "javascript:alert(1)"])
def test_there_are_no_links_to_what_is_no_web_address(uri: str) -> None:
    session = replace(SERVED.session, tracking_uri=uri, run_id="abc")
    for environ in ({}, {"MLFLOW_UI_URI": uri}):
        links = Links.of(session, environ=environ)
        assert (links.session(), links.case("x"), links.report) == ("", "", "")
    assert not Links.of(session, artifact_url="javascript:alert(1)", environ={}).report


def test_link_to_the_html_report(tmp_path: Path) -> None:
    session, html = make_session("x"), tmp_path / ".pytest_mlflow" / "a b" / "report.html"
    github = {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "5", "GITHUB_REPOSITORY": "me/it"}
    gitlab = {"CI_JOB_URL": "https://gl/me/it/-/jobs/3", "CI_PROJECT_DIR": str(tmp_path)}
    page = "https://github.com/me/it/actions/runs/5#artifacts"
    assert Links.of(session, html=html, environ=github).report == page
    page = "https://gl/me/it/-/jobs/3/artifacts/file/.pytest_mlflow/a%20b/report.html"
    assert Links.of(session, html=html, environ=gitlab).report == page
    assert Links.of(session, artifact_url="https://x/1", html=html, environ=github).report == (
        "https://x/1"
    )
    other = {**gitlab, "CI_PROJECT_DIR": str(tmp_path / "elsewhere")}
    assert Links.of(session, html=html, environ=other).report == ""


def test_too_small_a_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a limit of 1,000 bytes or more, not 999"):
        render_markdown(everything(), limit=999)


@pytest.mark.parametrize("make", [everything, hostile, large])
def test_short_is_short(make: Callable[[], Comparison]) -> None:
    text = render_short(make())
    assert len(text) <= 4_000
    assert text.startswith("**❌ Gate failed: ")


def test_short_counts_the_regressions_that_it_leaves_out() -> None:
    metrics = (make_metric("regressed", metric=f"m{n}") for n in range(12))
    text = render_short(make_comparison(*metrics))
    assert text.count("- regressed: ") == 10
    assert text.endswith("- … and 2 more\n")


def test_comment_starts_with_its_marker_and_keeps_the_limit() -> None:
    text = render_comment(large(100), "models", limit=5_000)
    assert text.splitlines()[0] == marker("models") == "<!-- pytest-mlflow: models -->"
    assert len(text.encode()) <= 5_000


@pytest.mark.parametrize("key", ["a --> b", "a\nb", "--", "a--", "é", "\ud800"])
def test_no_key_ends_the_marker(key: str) -> None:
    text = marker(key)
    assert re.fullmatch(r"<!-- pytest-mlflow: [^\n]* -->", text)
    assert "--" not in text[4:-3]
    assert text.isascii()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("a <b> & c", "a &lt;b&gt; &amp; c"),
        ("ask @you, see #1", "ask `@you`, see `#1`"),
        ("$x$ _y_", r"\$x\$ \_y\_"),
        ("two\n\nlines", "two lines"),
        ("5 % worse (n = 5)", "5 % worse (n = 5)"),
    ],
)
def test_inline(text: str, expected: str) -> None:
    assert inline_text(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("test_a[x-@you]", "`test_a[x-@you]`"),
        ("a|`b`\\|", "<code>a&#124;&#96;b&#96;&#92;&#124;</code>"),
        ("", "<code></code>"),
        ("a" * 200 + "b" * 200, f"`{'a' * 99}…{'b' * 100}`"),
    ],
)
def test_code(text: str, expected: str) -> None:
    assert code(text) == expected


def test_block_is_not_ended_by_its_text() -> None:
    assert block("a\n````\nb") == "`````text\na\n````\nb\n`````"
    assert block("\n".join("abc"), lines=2) == "```text\n…\nb\nc\n```"
