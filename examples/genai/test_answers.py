"""An evaluation of a language model, here a stub: no key and no network are needed.

    pytest --mlflow examples/genai

Each question is a case. ``correct`` is 0 or 1 in each of them, so it is judged by its rate over all
questions; the report lists the answers that changed. With ``mlflow_run`` the traces of the model's
code belong to the run of their case.
"""

import mlflow
import pytest

FACTS = {"capital of France": "Paris", "capital of Japan": "Tokyo", "boiling point": "100 degrees"}
QUESTIONS = [
    ("What is the capital of France?", "Paris"),
    ("Name the capital of Japan.", "Tokyo"),
    ("What is the boiling point of water?", "100"),
    ("Who wrote Faust?", "Goethe"),
]


@mlflow.trace(span_type="RETRIEVER")
def retrieve(question):
    return [fact for topic, fact in FACTS.items() if topic in question]


@mlflow.trace(span_type="CHAT_MODEL")
def ask(question):
    """Stand in for a call of a model."""
    found = retrieve(question)
    return f"It is {found[0]}." if found else "I don't know."


@pytest.mark.parametrize(("question", "expected"), QUESTIONS)
def test_answers(question, expected, mlflow_run, mlflow_case):
    answer = ask(question)
    mlflow_case.log_text(answer, "answer.txt")
    mlflow_case.log_metric("correct", float(expected in answer))
    conciseness = 1 / len(answer.split())
    assert conciseness > 0.1
