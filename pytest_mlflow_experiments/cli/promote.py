"""``pytest-mlflow promote``: a model that a case logged becomes a version, and the champion."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..analysis.comparison import parse_all
from ..analysis.location import UsageError
from ..analysis.named_sessions import ChosenSession, parse_comparison
from ..baseline.choice import why_excluded
from ..records.reader import StoredSession
from ..regression.compare import session_info
from ..regression.comparison import Comparison
from ..regression.tolerance import Tolerance, mentions, parse_rule
from ..report.headline import counts, describe_session
from ..report.numbers import value
from ..tracker.errors import TrackerError
from . import admission
from .arguments import (
    LOCATION,
    REPEATABLE,
    SESSION,
    SWEEP,
    asked_sweeps,
    command,
    say,
    session_of,
)
from .candidate import PromotionCandidate, choose_candidate

if TYPE_CHECKING:
    from ..tracker.registry import LoggedModel, Registry

_NAME = re.compile(r"[^/:]*[^/:\s][^/:]*")
_ALIAS = re.compile(r"(?!latest$|v\d+$)[\w-]+", re.ASCII | re.IGNORECASE)


@command(
    "promote",
    {
        "name NAME": "the registered model; it is made if needed",
        **SWEEP,
        "--case CASE": "a node id, or any part of it that fits one point; default: the best one",
        **SESSION,
        "--alias ALIAS": ("default: champion", {"default": "champion"}),
        "--model MODEL": "which model, where the case logged several",
        "--tolerance METRIC:AMOUNT": (
            "how much worse than the champion a metric may be (repeatable)",
            REPEATABLE,
        ),
        **LOCATION,
    },
)
def run(options: argparse.Namespace) -> int:
    """Register the model of the best case, and make it the champion.

    Register the model that the best case of a sweep logged (its test uses mlflow_run and
    mlflow.<flavor>.log_model) as a version of the registered model NAME. Where nothing speaks
    against it, ALIAS stands for that version from then on: its session must be complete and its
    test without a regression, and its objective not worse than that of the version that the
    alias stands for. Else the exit status is 1.
    """
    if not _ALIAS.fullmatch(options.alias):
        raise UsageError(
            f"--alias {options.alias}: expected letters, digits, - and _, and neither 'latest' nor "
            "a version such as 'v1'"
        )
    if not _NAME.fullmatch(options.name):
        raise UsageError(
            f"NAME {options.name!r}: a registered model has a name without / and :, which its URI "
            "models:/NAME@ALIAS needs"
        )
    rules = parse_all("--tolerance", options.tolerance, parse_rule)
    session = session_of(options)
    comparison, candidate = session.local_comparison(), None
    if comparison is not None:
        # What is wrong with the options is told at once.
        candidate = _chosen(session.stored, comparison, rules, options)
    with session.location.registry() as registry:
        run_id = registry.session_run(session.stored.header)
        if run_id is None:
            # A version must lead back to where it comes from.
            raise TrackerError(
                f"session {session.stored.header.session_id} has not arrived in MLflow, or not "
                "wholly; `pytest-mlflow sync` sends it"
            )
        if comparison is None and (text := registry.report(run_id)) is not None:
            comparison = parse_comparison(text, f"report.json of run {run_id}")
        candidate = candidate or _chosen(session.stored, comparison, rules, options)
        named = describe_session(session_info(session.stored.header))
        say(*candidate.story, f"session {session.stored.header.session_id}, {named}")
        model = _model(registry, candidate, options.model)
        kept = session.directory.exclusion if session.directory is not None else None
        decisions = filter(None, (registry.exclusion(run_id), kept))
        excluded = why_excluded(max(decisions, key=lambda one: one.time, default=None))
        return _decide(session, comparison, candidate, model, registry, rules, excluded, options)


def _decide(
    session: ChosenSession,
    comparison: Comparison | None,
    candidate: PromotionCandidate,
    model: LoggedModel,
    registry: Registry,
    rules: Sequence[tuple[str, Tolerance]],
    excluded: str | None,
    options: argparse.Namespace,
) -> int:
    name, alias = options.name, options.alias
    refusals = list(admission.against_session(session.stored, comparison, candidate, excluded))
    before = registry.version_of(name, alias)
    if before is not None and (before.run_id, before.source) != (model.run_id, model.source):
        champion = admission.Champion.of(before, candidate.objective)
        if champion.value is not None:
            say(
                f"{name}@{alias}, version {before.number}, has {candidate.objective} "
                f"{value(champion.value)} ({champion.origin}): the candidate is at "
                f"{admission.difference(candidate.mean, champion.value)}"
            )
        refusals += admission.against_champion(candidate, champion, rules)
        refusals += admission.against_its_session(
            session, comparison, candidate, before.session_id, rules, options
        )
    verdicts = _verdicts(comparison)
    version, is_new = registry.register(
        name,
        model,
        admission.tags_of(session.stored, candidate, verdicts, refusals),
        "\n\n".join([*candidate.story, *(f"refused: {reason}" for reason in refusals)]),
        lasting=admission.LASTING,
    )
    say(
        f"{'registered as' if is_new else 'registered already:'} {name} version {version.number}, "
        f"the model {model.name!r} of run {model.run_id}"
    )
    if refusals:
        stays = f"stays at version {before.number}" if before is not None else "stands for nothing"
        say(
            f"Not promoted: version {version.number} is kept without the alias, "
            f"{name}@{alias} {stays}:",
            *(f"  {reason}" for reason in refusals),
        )
        return 1
    registry.set_alias(name, alias, version.number)
    was = "" if before is None else f", and was version {before.number}"
    was = ", as before" if before is not None and before.number == version.number else was
    say(f"{name}@{alias} is version {version.number}{was} (its session: {verdicts})")
    return 0


def _chosen(
    session: StoredSession,
    comparison: Comparison | None,
    rules: Sequence[tuple[str, Tolerance]],
    options: argparse.Namespace,
) -> PromotionCandidate:
    """Return the case to promote; raise a UsageError if a rule matches none of its metrics."""
    candidate = choose_candidate(session, asked_sweeps(options, session, comparison), options)
    metrics = (candidate.objective, *candidate.configuration.metrics)
    for rule in rules:
        if not any(mentions(metric, [rule]) for metric in metrics):
            raise UsageError(
                f"--tolerance {rule[0]}: {candidate.record.nodeid} has no such metric; it has "
                f"{', '.join(metrics)}"
            )
    return candidate


def _model(registry: Registry, candidate: PromotionCandidate, name: str | None) -> LoggedModel:
    """Return the model that the case logged, the last step's if it logged several times.

    Raise a UsageError if the case logged no model, or several without a choice.
    """
    nodeid = candidate.record.nodeid
    models = registry.models(candidate.record)
    if not models:
        raise UsageError(
            f"{nodeid} logged no model: its test must use the fixture mlflow_run and "
            "call log_model of one of MLflow's flavors, such as mlflow.sklearn.log_model(model, "
            'name="model"), in a session that reaches MLflow'
        )
    names = list(dict.fromkeys(model.name for model in models))
    if name is None and len(names) > 1:
        raise UsageError(f"{nodeid} logged several models; --model says which: {', '.join(names)}")
    if name is not None and name not in names:
        raise UsageError(f"{nodeid} logged no model {name!r}; there is {', '.join(names)}")
    return next(model for model in reversed(models) if name in (None, model.name))


def _verdicts(comparison: Comparison | None) -> str:
    if comparison is None:
        return "not compared"
    if comparison.problem is not None:
        return f"not compared: {comparison.problem}"
    return counts(comparison) if comparison.baseline is not None else "no baseline yet"
