"""The metrics of common libraries, and which of their values are better.

Names below ``none`` say nothing for sure: they are counts, tables, or better at neither end.
Those that end in a question mark are not known, though they could be.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_LIBRARIES: Final = {
    "scikit-learn's scorers": {
        "max": """
            accuracy adjusted_mutual_info_score adjusted_rand_score average_precision
            balanced_accuracy completeness_score d2_absolute_error_score d2_brier_score
            d2_log_loss_score explained_variance f1 f1_macro f1_micro f1_samples f1_weighted
            fowlkes_mallows_score homogeneity_score jaccard jaccard_macro jaccard_micro
            jaccard_samples jaccard_weighted matthews_corrcoef mutual_info_score neg_brier_score
            neg_log_loss neg_max_error neg_mean_absolute_error neg_mean_absolute_percentage_error
            neg_mean_gamma_deviance neg_mean_poisson_deviance neg_mean_squared_error
            neg_mean_squared_log_error neg_median_absolute_error neg_negative_likelihood_ratio
            neg_root_mean_squared_error neg_root_mean_squared_log_error normalized_mutual_info_score
            positive_likelihood_ratio precision precision_macro precision_micro precision_samples
            precision_weighted r2 rand_score recall recall_macro recall_micro recall_samples
            recall_weighted roc_auc roc_auc_ovo roc_auc_ovo_weighted roc_auc_ovr
            roc_auc_ovr_weighted top_k_accuracy v_measure_score
        """,
    },
    "scikit-learn's functions": {
        "max": """
            accuracy_score auc average_precision_score balanced_accuracy_score
            calinski_harabasz_score cohen_kappa_score consensus_score d2_pinball_score
            d2_tweedie_score dcg_score explained_variance_score f1_score fbeta_score jaccard_score
            label_ranking_average_precision_score ndcg_score precision_score r2_score recall_score
            roc_auc_score silhouette_score silhouette_samples top_k_accuracy_score
        """,
        "min": """
            brier_score brier_score_loss coverage_error davies_bouldin_score hamming_loss hinge_loss
            label_ranking_loss log_loss max_error mean_absolute_error mean_absolute_percentage_error
            mean_gamma_deviance mean_pinball_loss mean_poisson_deviance mean_squared_error
            mean_squared_log_error mean_tweedie_deviance median_absolute_error
            negative_likelihood_ratio root_mean_squared_error root_mean_squared_log_error
            zero_one_loss
        """,
        "none": "confusion_matrix support",
    },
    "imbalanced-learn, fairlearn, SciPy": {
        "max": """
            geometric_mean_score sensitivity_score specificity_score make_index_balanced_accuracy
            pearsonr spearmanr kendalltau brier_skill_score mse_skill_score error_reduction
            demographic_parity_ratio equalized_odds_ratio?
        """,
        "min": """
            macro_averaged_mean_absolute_error demographic_parity_difference
            equalized_odds_difference accuracy_decrease false_positive_rate false_negative_rate
        """,
        "none": "pvalue selection_rate mean_prediction count time_step",
    },
    "XGBoost": {
        "max": """
            auc aucpr pre? pre@5? ndcg map ndcg@1 ndcg@5 map@5 ndcg@5- map- map@5-
            interval-regression-accuracy validation_0-auc test-aucpr-mean eval.ndcg@10.last
        """,
        "min": """
            rmse rmsle mae mape mphe logloss error error@0.3 merror mlogloss poisson-nloglik
            gamma-nloglik cox-nloglik gamma-deviance tweedie-nloglik tweedie-nloglik@1.5 aft-nloglik
            quantile? validation_0-rmse train-mlogloss test-merror-mean eval.mlogloss.last
        """,
    },
    "LightGBM": {
        "max": "ndcg map auc average_precision auc_mu ndcg@1 map@5 valid_0.auc",
        "min": """
            l1 l2 rmse quantile? mape huber fair? poisson? gamma? gamma_deviance tweedie?
            binary_logloss binary_error multi_logloss multi_error multi_error@2 cross_entropy
            cross_entropy_lambda xentropy xentlambda kullback_leibler kldiv valid_0.l2
            valid_1.l1.last mean_absolute_error mean_squared_error root_mean_squared_error
            cv_agg.l2-mean
        """,
    },
    "MLflow": {
        "max": """
            accuracy_score recall_score precision_score f1_score roc_auc precision_recall_auc
            true_negatives true_positives r2_score exact_match/v1 rouge1/v1/mean rouge2/v1/p90
            rougeL/v1/mean rougeLsum/v1/mean bleu/v1/mean ndcg_at_3/v1/mean precision_at_3/v1/mean
            recall_at_3/v1/mean answer_correctness/v1/mean answer_relevance/v1/mean
            answer_similarity/v1/mean faithfulness/v1/mean relevance/v1/mean eval/accuracy_score
            val_f1_score training_accuracy_score training_r2_score
        """,
        "min": """
            log_loss false_positives false_negatives mean_absolute_error mean_squared_error
            root_mean_squared_error max_error mean_absolute_percentage_error toxicity/v1/mean
            toxicity/v1/p90 toxicity/v1/ratio flesch_kincaid_grade_level/v1/mean
            ari_grade_level/v1/mean latency/mean training_log_loss training_root_mean_squared_error
        """,
        "none": "example_count sum_on_target mean_on_target toxicity/v1/variance token_count",
    },
    "MLflow's GenAI scorers": {
        "max": """
            retrieval_relevance retrieval_sufficiency retrieval_groundedness tool_call_efficiency
            tool_call_correctness guidelines expectations_guidelines conversational_guidelines
            relevance_to_query safety correctness fluency equivalence conversation_completeness
            conversational_safety conversational_tool_call_efficiency conversational_role_adherence
            knowledge_retention completeness summarization regex_match safety/mean guidelines/mean
            relevance_to_query/mean correctness/mean retrieval_groundedness/mean
        """,
        "min": "user_frustration",
        "none": "pii_detection response_length",
    },
    "Hugging Face": {
        "max": """
            accuracy bertscore bert_score.f1 bleu bleurt chrf code_eval.pass@1 comet coval?
            exact_match f1 frugalscore glue? google_bleu matthews_correlation mauve mean_iou meteor
            nist_mt? pearsonr poseval? precision r_squared recall rouge rouge1 rougeL sacrebleu sari
            seqeval.overall_f1 spearmanr squad? super_glue? trec_eval? wiki_split? eval_accuracy
            eval_f1 eval_samples_per_second
        """,
        "min": """
            brier_score cer character? charcut_mt? mae mape mase mse perplexity smape ter wer
            toxicity eval_loss train_loss eval_runtime
        """,
        "none": "mahalanobis regard word_length text_duplicates label_distribution epoch",
    },
    "PyTorch Metrics": {
        "max": """
            accuracy adjusted_mutual_info_score adjusted_rand_score arniqa? auroc average_precision
            bert_score binary_accuracy binary_auroc binary_average_precision binary_cohen_kappa
            binary_f1_score binary_fbeta_score binary_jaccard_index binary_logauc
            binary_matthews_corrcoef binary_negative_predictive_value binary_precision
            binary_precision_at_fixed_recall binary_recall binary_recall_at_fixed_precision
            binary_sensitivity_at_specificity binary_specificity binary_specificity_at_sensitivity
            bleu_score calinski_harabasz_score chrf_score clip_image_quality_assessment clip_score
            cluster_accuracy cohen_kappa complete_intersection_over_union completeness_score
            complex_scale_invariant_signal_noise_ratio concordance_corrcoef cosine_similarity
            critical_success_index deep_image_structure_and_texture_similarity
            deep_noise_suppression_mean_opinion_score dice_score distance_intersection_over_union
            dunn_index exact_match explained_variance f1_score fbeta_score fleiss_kappa
            fowlkes_mallows_index generalized_dice_score generalized_intersection_over_union
            homogeneity_score intersection_over_union jaccard_index kendall_rank_corrcoef logauc
            matthews_corrcoef mean_average_precision mean_iou modified_panoptic_quality
            multiclass_accuracy multiclass_auroc multiclass_average_precision multiclass_cohen_kappa
            multiclass_exact_match multiclass_f1_score multiclass_jaccard_index
            multiclass_matthews_corrcoef multiclass_precision multiclass_recall
            multiclass_sensitivity_at_specificity multiclass_specificity multilabel_accuracy
            multilabel_auroc multilabel_average_precision multilabel_ranking_average_precision
            multiscale_structural_similarity_index_measure mutual_info_score
            negative_predictive_value non_intrusive_speech_quality_assessment
            normalized_mutual_info_score panoptic_quality peak_signal_noise_ratio
            peak_signal_noise_ratio_with_blocked_effect pearson_corrcoef
            perceptual_evaluation_speech_quality precision precision_at_fixed_recall
            quality_with_no_reference r2_score rand_score recall retrieval_auroc
            retrieval_average_precision retrieval_hit_rate retrieval_normalized_dcg
            retrieval_precision retrieval_r_precision retrieval_recall retrieval_reciprocal_rank
            rouge_score sacre_bleu_score scale_invariant_signal_distortion_ratio?
            scale_invariant_signal_noise_ratio sensitivity_at_specificity
            short_time_objective_intelligibility? signal_distortion_ratio? signal_noise_ratio
            source_aggregated_signal_distortion_ratio? spatial_correlation_coefficient
            spearman_corrcoef specificity specificity_at_sensitivity
            speech_reverberation_modulation_energy_ratio? squad? structural_similarity_index_measure
            universal_image_quality_index v_measure_score video_multi_method_assessment_fusion?
            visual_information_fidelity word_information_preserved
        """,
        "min": """
            binary_calibration_error binary_eer binary_hamming_distance binary_hinge_loss
            calibration_error char_error_rate continuous_ranked_probability_score
            davies_bouldin_score edit_distance eer error_relative_global_dimensionless_synthesis
            extended_edit_distance hamming_distance hausdorff_distance hinge_loss
            jensen_shannon_divergence kl_divergence learned_perceptual_image_patch_similarity
            lip_vertex_error log_cosh_error match_error_rate mean_absolute_error
            mean_absolute_percentage_error mean_squared_error mean_squared_log_error
            minkowski_distance multilabel_coverage_error multilabel_ranking_loss
            normalized_root_mean_squared_error perceptual_path_length? perplexity
            procrustes_disparity relative_average_spectral_error relative_squared_error
            retrieval_fall_out root_mean_squared_error_using_sliding_window spatial_distortion_index
            spectral_angle_mapper spectral_distortion_index symmetric_mean_absolute_percentage_error
            translation_edit_rate tweedie_deviance_score weighted_mean_absolute_percentage_error
            word_error_rate word_information_lost
        """,
        "none": """
            confusion_matrix cramers_v demographic_parity equal_opportunity image_gradients infolm
            pearsons_contingency_coefficient theils_u total_variation tschuprows_t
            binary_groups_stat_rates
        """,
    },
}


def metric_names() -> Iterator[tuple[str, str, str | None]]:
    """Yield the library, the name and the direction of each metric, None where it isn't known."""
    for library, directions in _LIBRARIES.items():
        for direction, names in directions.items():
            for name in names.split():
                known = direction != "none" and not name.endswith("?")
                yield library, name.removesuffix("?"), direction if known else None
