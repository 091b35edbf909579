"""Infer from a metric's name which direction is better, and whether it is a cost."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Final, Literal, NamedTuple


class _Meaning(NamedTuple):
    """The meaning of a word; in a part of a name the last one of the highest rank decides."""

    direction: Literal["max", "min"] | None
    cost: bool = False
    rank: int = 1

    def turned(self) -> _Meaning:
        """Return the meaning of the opposite."""
        if self.direction is None:
            return self
        return self._replace(direction="min" if self.direction == "max" else "max")


_UNKNOWN = _Meaning(None)
_HIGHER = _Meaning("max")
_LOWER = _Meaning("min")
_SKILL = _Meaning("max", rank=2)  # d2_log_loss is the share of the loss that is explained
_SCORE = _Meaning("max", rank=0)
_COST = _Meaning("min", cost=True)
_SUBJECT = _Meaning("min", cost=True, rank=0)  # rmse_price is the error of a predicted price
_SPEED = _Meaning("max", cost=True)

_TABLE: Final = (
    (
        _HIGHER,
        """accuracy accuracies acc auc auroc auprc roc prauc ap map f1 f2 fbeta fscore precision
        recall sensitivity specificity tpr tnr ppv npv r2 rsquared ndcg dcg mrr hit hits iou miou
        jaccard dice kappa mcc matthews correlation corr pearson spearman kendall concordance bleu
        sacrebleu rouge meteor chrf cider bertscore similarity cosine likelihood loglik
        loglikelihood elbo silhouette calinski harabasz ari nmi ami homogeneity completeness purity
        coverage psnr ssim snr sdr reward rewards profit revenue sharpe gain improvement uplift lift
        success successes solved passed pass correct correctness faithfulness groundedness relevance
        relevancy helpfulness coherence fluency safety guidelines equivalence sufficiency adherence
        retention summarization efficiency quality fidelity intersection aucpr rocauc logauc
        pearsonr spearmanr kendalltau corrcoef preserved dunn fowlkes mauve sari bleurt comet
        frugalscore""",
    ),
    (
        _LOWER,
        """loss losses error errors err rmse mse mae mape smape wape mase medae msle rmsle sse rmsd
        deviance perplexity ppl bpc nll logloss hinge pinball crps brier hamming wer cer ter fid
        kid fvd lpips ece mce aic bic kl divergence wasserstein mmd distance drift regret risk fpr
        fnr fdr false miss misses missed misclassification misclassified incorrect wrong invalid
        violation violations violated failure failures failed fail hallucination hallucinations
        toxicity drop drops dropped degradation gap drawdown davies bouldin merror mlogloss mphe
        nloglik xentropy xentlambda kldiv kullback eer disparity lost frustration mismatch
        mismatches issue issues""",
    ),
    (_SKILL, "d2 skill"),
    (_SCORE, "score scores match matches"),
    (_LOWER._replace(rank=0), "l1 l2 huber"),
    (
        _COST,
        """time times duration durations seconds second secs sec milliseconds millis ms minutes
        hours latency latencies elapsed runtime walltime bytes kb mb gb kib mib gib rss vram flops
        macs tokens joules kwh co2 emissions""",
    ),
    (_SUBJECT, "cost costs usd eur dollars price energy memory mem ram size params parameters"),
    (_SPEED, "throughput qps rps tps fps speedup"),
    (_SPEED._replace(rank=0), "speed bandwidth"),
    # Signed, a measure of scatter, or a setting: the words before these decide nothing.
    (_UNKNOWN, "bias std stdev stddev sd stderr variance var threshold support delta diff pvalue"),
    (_UNKNOWN, "pstdev pvariance nanstd nanvar ptp iqr sem spread range"),
)
_PHRASES: Final = (
    (
        _HIGHER,
        """true positive, true positives, true negative, true negatives, explained variance, r
        squared, area under, v measure, f measure, f beta, predictive value, win rate, episode
        return, mean return, average return, cumulative return, discounted return, noise ratio,
        reciprocal rank, parity ratio""",
    ),
    (
        _LOWER,
        """cross entropy, false negative, false negatives, abs bias, absolute bias, negative
        likelihood, probability score, patch similarity, fall out, edit rate, parity difference,
        odds difference, distortion index, spectral angle, grade level""",
    ),
    (_UNKNOWN._replace(rank=2), "time between"),  # the longer between failures, the better
    (
        _UNKNOWN,
        """p value, learning rate, effect size, sample size, batch size, test size, train size,
        step size, time step, time steps, short time, energy ratio, window size, dataset size, data
        size, vocab size, population size, time weighted, error free, win loss, l1 ratio""",
    ),
)
_WORDS: Final = {word: meaning for meaning, words in _TABLE for word in words.split()}
_PAIRS: Final = {
    tuple(phrase.split()): meaning for meaning, phrases in _PHRASES for phrase in phrases.split(",")
}

# What comes before one of these is what is measured: recall_at_5_seconds, time_to_accuracy.
_AFTERWARDS = "@ at over after before within until to in of on for from with without by vs given"
_PREPOSITIONS: Final = frozenset(_AFTERWARDS.split())
_TIME_UNITS: Final = frozenset({"s", "sec", "secs", "second", "seconds", "minute", "hour", "day"})
_COUNTED: Final = frozenset(
    {"tokens", "bytes", "kb", "mb", "gb", "kib", "mib", "gib", "flops", "macs"}
)

# Less of what comes before: error_reduction.
_LESS: Final = frozenset({"decrease", "reduction"})
_NEGATED: Final = re.compile(
    r"(neg|negated|minus)\b|negative (log(lik|likelihood)?|mean|median|root|max)\b"
)
_COMPLEMENT: Final = re.compile(r"\s*1\s*-(?!shot)|(one|1)[-_ ]minus|no[-_ ]|inver(se|ted)")
_OPERATOR: Final = re.compile(r"_(?:minus|plus|over|times|pow|mod)_(?!times_)")
_PER_TIME: Final = re.compile(r"/(s|secs?|seconds?|min|minute|hour)$", re.IGNORECASE)
_WORD: Final = re.compile(r"[^\W_]+|@")
_CAMEL: Final = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[^\WA-Z_\d]+\d*|[A-Z]+\d*|\d+|@")


def infer_direction(metric: str, operators: Iterable[str]) -> Literal["max", "min"] | None:
    """Infer which values of a metric are better; None if unknown.

    Name and ``operators``, those of the assertions that guard the metric, must not contradict each
    other, and one of them must say it.
    """
    named, wanted = direction_by_name(metric), direction_by_operators(operators)
    return None if named and wanted and named != wanted else named or wanted


def direction_by_name(metric: str) -> Literal["max", "min"] | None:
    """Infer the direction from the name of a metric.

    The last part of a dotted or slashed name with a known word decides, and in it the last such
    word.
    """
    return _meaning(metric).direction


def direction_by_operators(operators: Iterable[str]) -> Literal["max", "min"] | None:
    """Infer the direction from assertions: who asserts ``x >= 0.9`` wants ``x`` to be large."""
    found = set(operators)
    if found and found <= {">", ">="}:
        return "max"
    if found and found <= {"<", "<="}:
        return "min"
    return None


def is_cost(metric: str) -> bool:
    """Whether a metric is a time, a memory size, money or the like, by its name.

    Such metrics depend on the machine and scatter with it; so does throughput.
    """
    return _meaning(metric).cost


def is_cost_of_expression(metric: str) -> bool:
    """Whether what was calculated, as ``end_minus_start``, depends on a cost."""
    known = [one for one in map(_meaning, _OPERATOR.split(metric)) if one.direction is not None]
    return any(one.cost and one.rank for one in known) or (
        bool(known) and all(one.cost for one in known)
    )


def metric_words(name: str) -> list[str]:
    """Return the words and phrases in a name that say what is measured."""
    parts = re.split(r"[./\\]", name)
    return [said for part in parts for said, _ in _said([*_tokens(part)])]


def are_other_metrics(old: str, new: str) -> bool | None:
    """Whether two names say different things, as ``recall`` and ``precision``.

    It is False for ``acc`` and ``accuracy``, ``rmse`` and ``root_mean_squared_error``; None where
    one of them says nothing.
    """
    said = [{*metric_words(name)} - {"score", "scores"} for name in (old, new)]
    if not all(said):
        return None
    for mine, name in zip(said, (new, old), strict=True):
        tokens = [token for part in re.split(r"[./\\]", name) for token in _tokens(part)]
        short = ("".join(token[0] for token in tokens), "".join(tokens))
        if any(one.startswith(token) or one in short for one in mine for token in tokens):
            return False
    return True


# A session repeats a few names in every case.
@lru_cache(maxsize=4_096)
def _meaning(metric: str) -> _Meaning:
    name = _PER_TIME.sub("_per_second", metric.strip().replace("²", "2"))
    for part in reversed(re.split(r"[./\\]", name)):
        if _COMPLEMENT.match(part):
            return _UNKNOWN
        tokens = list(_tokens(part))
        meaning = _meaning_of_words(tokens)
        if meaning is None:
            continue
        return meaning.turned() if _NEGATED.match(" ".join(tokens)) else meaning
    return _UNKNOWN


def _tokens(part: str) -> Iterator[str]:
    """Split a part into words in lower case, ``camelCase`` and ``HTTPCode`` too."""
    for word in _WORD.findall(part):
        if _known(word.lower()):
            yield word.lower()
        else:
            yield from map(str.lower, _CAMEL.findall(word))


def _known(token: str) -> _Meaning | None:
    """Return the meaning of a word, also with a number at its end: ``rouge1``, ``map50``."""
    return _WORDS.get(token) or _WORDS.get(token.rstrip("0123456789"))


def _meaning_of_words(tokens: list[str]) -> _Meaning | None:
    """Return the meaning of the words before the first preposition, else after it, and so on."""
    if "per" in tokens:
        return _meaning_of_rate(tokens)
    for segment in _segments(tokens):
        meaning = _meaning_of_segment(segment)
        if meaning is not None:
            return meaning
    return None


def _meaning_of_segment(tokens: list[str]) -> _Meaning | None:
    place = next((place for place, token in enumerate(tokens) if token in _LESS), len(tokens))
    if tokens[place:]:
        head, tail = map(_meaning_of_segment, (tokens[:place], tokens[place + 1 :]))
        return tail or (head or _UNKNOWN).turned()
    said = list(_meanings(tokens))
    rank = max((meaning.rank for meaning in said), default=0)
    return next((meaning for meaning in reversed(said) if meaning.rank == rank), None)


def _meaning_of_rate(tokens: list[str]) -> _Meaning | None:
    """Return the meaning of ``head per unit``: a speed if the head is what gets done."""
    position = tokens.index("per")
    head, unit = tokens[:position], tokens[position + 1 : position + 2]
    meaning = _meaning_of_words(head)
    if _TIME_UNITS.issuperset(unit) and unit and (meaning is None or _COUNTED & set(head)):
        return _SPEED
    return meaning


def _segments(tokens: list[str]) -> Iterator[list[str]]:
    segment: list[str] = []
    for token, following in pairwise([*tokens, ""]):
        if token in _PREPOSITIONS or (token == "times" and following.isdecimal()):
            yield segment
            segment = []
        else:
            segment.append(token)
    yield segment


def _meanings(tokens: list[str]) -> Iterator[_Meaning]:
    """Yield the meaning of each word or phrase, in order."""
    return (meaning for _, meaning in _said(tokens))


def _said(tokens: list[str]) -> Iterator[tuple[str, _Meaning]]:
    """Yield each word or phrase that is known, with its meaning."""
    position = 0
    while position < len(tokens):
        pair = _PAIRS.get(tuple(tokens[position : position + 2]))
        meaning = pair or _known(tokens[position])
        number = 2 if pair else 1
        if meaning:
            yield " ".join(tokens[position : position + number]), meaning
        position += number
