from __future__ import annotations

import pytest
from metric_names import metric_names

from pytest_mlflow_experiments.regression.direction import infer_direction, is_cost

HIGHER = """
    accuracy acc ACC val_acc roc_auc AUC AUROC f1 F1Score f1-score fbeta_score macro_f1 precision
    recall report.recall r2 r2_score R² ndcg@10 NDCG_10 mAP map50 mAP@0.5 mrr mIoU dice bleu4
    rougeL rouge1 meteor cosine_similarity hits@10 hit_rate coverage log_likelihood
    explained_variance cohen_kappa matthews_corrcoef mcc specificity sensitivity reward psnr ssim
    topKAccuracy balanced_accuracy_score accuracy/val model.score scores.test
    true_positive_rate negative_predictive_value win_rate episode_return pass@1
    neg_mean_squared_error neg_log_loss negative_log_loss silhouette_score inception_score
    timeseries_accuracy recall_at_5_seconds accuracy_over_time real_time_accuracy
    accuracy_within_10_ms accuracy_for_price token_accuracy time.accuracy r_squared
    1-shot_accuracy precision_score reward_per_episode accuracy_gain
    error_reduction error_reduction_rate loss_decrease brier_skill_score d2_absolute_error
"""
LOWER = """
    loss valLoss train_loss_epoch losses.total error max_error mean_absolute_error rmse RMSE
    report.rmse mse mae mape deviance wer cer perplexity fid FID fid_score brier_score
    brier_score_loss ece calibration_error hinge_loss logloss log_loss kl_divergence kl nll
    regret false_positive_rate false_negatives violations n_violations drift error_rate miss_rate
    misses missed_targets zero_one_loss cross_entropy neg_log_likelihood neg_accuracy
    negative_log_likelihood davies_bouldin_score toxicity_score accuracy_drop accuracy_loss
    loss_of_accuracy generalization_gap rate_of_error rmse_price mae_energy price_error memory_error
    errors_per_page errors_per_second incorrect abs_bias loss_per_sample
    accuracy_decrease recall_reduction dimensionality_reduction_error neg_d2_score quality_issues
"""
COST = """
    duration_seconds seconds fit_time score_time time_to_accuracy time_to_first_token latency
    latency_p99 latency.p99 latency_ms elapsed runtime memory peak_memory_mb mem rss size_mb
    model_size n_params params_count tokens completion_tokens cost total_cost_usd price energy_kwh
    co2 flops inference_time_ms ms_per_token time_per_epoch cost_per_1k_tokens usd_per_hour
    loss_seconds accuracy_job.duration seconds_per_step
"""
SPEED = """
    throughput qps tokens_per_second samples_per_sec tokens/s samples/second requests_per_minute
    mb_per_second images_per_second fps throughput_at_32
"""
UNKNOWN = """
    x value result sample_size batch_size learning_rate 1-accuracy one_minus_auc accuracy_std
    loss_variance bias count p_value report.support weighted_delta epoch timeline recaller
    accurate_enough memorable oscillation latent erroneous mean_time_between_failures no_match
    time_weighted_return error_free_rate no_violations win_loss_ratio reduction_in_error l1_ratio
    scores.pstdev score_range
"""


def each(names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("metric", names.split())


@each(HIGHER)
def test_greater_is_better(metric: str) -> None:
    assert (infer_direction(metric, [">"]), is_cost(metric)) == ("max", False)


@each(LOWER)
def test_smaller_is_better(metric: str) -> None:
    assert (infer_direction(metric, ["<"]), is_cost(metric)) == ("min", False)


@each(COST)
def test_a_cost(metric: str) -> None:
    assert (infer_direction(metric, ["<"]), is_cost(metric)) == ("min", True)


@each(SPEED)
def test_a_speed_is_a_cost_too(metric: str) -> None:
    assert (infer_direction(metric, [">"]), is_cost(metric)) == ("max", True)


@each(UNKNOWN)
def test_a_name_that_says_nothing(metric: str) -> None:
    assert (infer_direction(metric, []), is_cost(metric)) == (None, False)


@pytest.mark.parametrize("metric", ["weighted avg.f1-score", "F1 score", "mean squared error", ""])
def test_names_with_spaces(metric: str) -> None:
    expected = {"": None, "mean squared error": "min"}.get(metric, "max")
    assert infer_direction(metric, []) == expected


@pytest.mark.parametrize(
    ("operators", "direction"),
    [
        ([">="], "max"),
        ([">", ">="], "max"),
        (["<", "<="], "min"),
        (["<", ">"], None),
        (["=="], None),
        (["==", ">"], None),
        ([], None),
    ],
)
def test_the_assertion_decides_where_the_name_does_not(
    operators: list[str], direction: str | None
) -> None:
    assert infer_direction("x", operators) == direction


def test_nobody_knows_where_name_and_assertion_disagree() -> None:
    assert infer_direction("loss", [">"]) is None
    assert infer_direction("accuracy", ["<"]) is None


def test_an_assertion_on_both_sides_does_not_disagree() -> None:
    assert infer_direction("loss", [">", "<"]) == "min"


@pytest.mark.parametrize(("library", "metric", "direction"), [*metric_names()])
def test_metrics_of_libraries(library: str, metric: str, direction: str | None) -> None:
    assert infer_direction(metric, []) == direction, library
